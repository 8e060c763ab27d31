//! Tests of ledgers.

use super::limits::{Rate, Tariff};
use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).expect("a time")
}

fn want(second: i64) -> Want {
    let wall_max = Duration::from_secs(30);
    Want { now: at(second), rows: 1, input_bytes: 10, output_bytes_max: 100, wall_max }
}

fn calls(most: u64) -> Limits {
    Limits { most: [Some(most), None, None, None], ..Limits::default() }
}

fn spent(bytes: u64) -> Spent {
    Spent { bytes, wall: Duration::from_secs(1) }
}

/// Reserves and charges one call; the charge.
fn charge(ledger: &Arc<Ledger>, want: &Want, bytes: u64) -> Result<Charge, Limit> {
    let reservation = ledger.reserve(want).map_err(|exhausted| exhausted.limit)?;
    Ok(reservation.commit(&spent(bytes), Ok::<_, ()>).expect("charged").0)
}

#[test]
fn a_dropped_reservation_or_a_failed_charge_gives_everything_back() {
    let ledger = Ledger::new(calls(2), None);
    charge(&ledger, &want(0), 20).expect("one left");
    let before = ledger.usage(at(1));
    drop(ledger.reserve(&want(1)).expect("one left"));
    let failed = ledger
        .reserve(&want(1))
        .expect("one left")
        .commit(&spent(20), |_| Err::<(), _>("disk full"));
    assert_eq!(failed.map(|_| ()), Err("disk full"));
    assert_eq!(ledger.usage(at(1)), before);
    assert_eq!(charge(&ledger, &want(1), 20).map(|charge| charge.calls), Ok(2));
    assert_eq!(charge(&ledger, &want(1), 20), Err(Limit::Count(Metered::Calls)));
    assert_eq!(ledger.calls_left(), Some(0));
}

#[test]
fn what_was_charged_for_a_receipt_that_was_lost_is_taken_back_everywhere() {
    let rate = Rate { burst: 3, period: Duration::from_secs(30) };
    let above = Ledger::new(Limits { rate: Some(rate), ..calls(3) }, None);
    let ledger = Ledger::new(calls(2), Some(Arc::clone(&above)));
    charge(&ledger, &want(0), 20).expect("two left");
    let before = [ledger.usage(at(1)), above.usage(at(1))];
    let reservation = ledger.reserve(&want(1)).expect("one left");
    let (charge_of_lost, charged) = reservation.commit(&spent(20), Ok::<_, ()>).expect("charged");
    assert_eq!(charge_of_lost.calls, 2);
    assert_eq!(charge(&ledger, &want(1), 20), Err(Limit::Count(Metered::Calls)));
    charged.take_back();
    assert_eq!([ledger.usage(at(1)), above.usage(at(1))], before);
    assert_eq!(charge(&ledger, &want(1), 20).map(|charge| charge.calls), Ok(2));
}

#[test]
fn threads_that_race_never_count_past_the_limit_and_charge_in_order() {
    const MAX: u64 = 1000;
    let above = Ledger::new(calls(MAX), None);
    let ledgers = [
        Ledger::new(calls(MAX), Some(Arc::clone(&above))),
        Ledger::new(Limits::default(), Some(Arc::clone(&above))),
    ];
    let charged = [Mutex::new(Vec::new()), Mutex::new(Vec::new())];
    std::thread::scope(|scope| {
        for thread in 0..8_usize {
            let (ledger, charged) = (&ledgers[thread % 2], &charged[thread % 2]);
            scope.spawn(move || {
                for turn in 0..400 {
                    let Ok(reservation) = ledger.reserve(&want(0)) else { continue };
                    let outcome = reservation.commit(&spent(1), |charge| {
                        if (turn + thread) % 7 == 0 {
                            return Err(());
                        }
                        charged.lock().expect("no panic").push(charge.calls);
                        Ok(())
                    });
                    let _ = outcome;
                }
            });
        }
    });
    let mut total = 0;
    for charged in charged {
        let charged = charged.into_inner().expect("no panic");
        assert_eq!(charged, (1..=charged.len() as u64).collect::<Vec<_>>());
        total += charged.len() as u64;
    }
    assert_eq!(total, MAX, "siblings share what is above them");
    assert_eq!(above.usage(at(0)).used[0], MAX);
    assert_eq!(above.usage(at(0)).reserved, [0; 4]);
}

#[test]
fn each_unit_has_its_own_count_and_bytes_bound_the_answer() {
    let most = [None, Some(10), Some(150), None];
    let ledger = Ledger::new(Limits { most, ..Limits::default() }, None);
    let rows = |rows| Want { rows, ..want(0) };
    let reservation = ledger.reserve(&rows(4)).expect("rows left");
    assert_eq!(reservation.output_bytes_max(10), 100);
    // Of the 150 bytes 110 are reserved: 40 are left, 10 of them for the arguments.
    assert_eq!(ledger.reserve(&rows(4)).expect("rows left").output_bytes_max(10), 30);
    assert_eq!(reservation.commit(&spent(60), Ok::<_, ()>).expect("charged").0.rows, 4);
    assert_eq!(charge(&ledger, &rows(7), 20), Err(Limit::Count(Metered::Rows)));
    assert_eq!(ledger.usage(at(0)).used, [1, 4, 60, 0]);
    let much = Want { input_bytes: 91, ..want(0) };
    assert_eq!(charge(&ledger, &much, 91), Err(Limit::Count(Metered::Bytes)));
}

#[test]
fn tokens_are_reserved_one_computation_at_a_time_and_only_while_the_call_runs() {
    let most = [None, None, None, Some(10)];
    let above =
        Ledger::new(Limits { most: [None, None, None, Some(7)], ..Limits::default() }, None);
    let ledger = Ledger::new(Limits { most, ..Limits::default() }, Some(Arc::clone(&above)));
    let reservation = ledger.reserve(&want(0)).expect("tokens left");
    let tab = Arc::clone(reservation.tokens().expect("tokens are counted"));
    assert!(tab.take(4) && tab.take(3));
    assert!(!tab.take(1), "the ledger above has none left");
    tab.give_back(2);
    assert_eq!(above.usage(at(0)).reserved[3], 5);
    assert!(tab.take(2) && !tab.take(1), "what is not used can be taken again");
    assert_eq!(ledger.usage(at(0)).reserved[3], 7, "nothing is half taken");
    assert_eq!(charge(&ledger, &want(0), 1), Err(Limit::Count(Metered::Tokens)));
    assert_eq!(reservation.commit(&spent(20), Ok::<_, ()>).expect("charged").0.tokens, 7);
    assert!(!tab.take(1), "the call has ended");
    tab.give_back(1);
    assert_eq!((ledger.usage(at(0)).used[3], above.usage(at(0)).used[3]), (7, 7));
    assert_eq!(ledger.usage(at(0)).reserved, [0; 4]);
}

#[test]
fn a_price_begins_after_the_free_units_and_credit_is_never_overdrawn() {
    let price = Tariff { unit: Metered::Rows, micros: 300, free: 5, credit: Some(1000) };
    let ledger = Ledger::new(Limits { price: Some(price), ..Limits::default() }, None);
    let rows = |rows| charge(&ledger, &Want { rows, ..want(0) }, 20);
    assert_eq!(rows(4).map(|charge| charge.price), Ok(Some(0)));
    assert_eq!(rows(3).map(|charge| charge.price), Ok(Some(600)));
    assert_eq!(rows(2), Err(Limit::Credit(Metered::Rows)), "400 are left, and a row is 300");
    assert_eq!(rows(1).map(|charge| charge.price), Ok(Some(300)));
    assert_eq!(rows(1), Err(Limit::Credit(Metered::Rows)));
}

#[test]
fn the_clock_s_limits() {
    let second = Duration::from_secs(1);
    let limits =
        Limits { interval: Some(second * 5), elapsed_time: Some(second * 60), ..Limits::default() };
    let ledger = Ledger::new(limits, None);
    let call = |second| charge(&ledger, &want(second), 1).map(|charge| charge.calls);
    assert_eq!((call(0), call(4), call(5)), (Ok(1), Err(Limit::Interval), Ok(2)));
    assert_eq!((call(60), call(66)), (Ok(3), Err(Limit::ElapsedTime)));

    let rate = Rate { burst: 3, period: second * 30 };
    let ledger = Ledger::new(Limits { rate: Some(rate), ..Limits::default() }, None);
    let call = |second| charge(&ledger, &want(second), 1).map(|charge| charge.calls);
    assert_eq!((call(0), call(0), call(0), call(9)), (Ok(1), Ok(2), Ok(3), Err(Limit::Rate)));
    let refused = ledger.reserve(&want(9)).expect_err("too fast");
    assert_eq!(refused.retry_after, Some(second));
    assert_eq!((call(10), call(19)), (Ok(4), Err(Limit::Rate)));

    let per = PerInterval { most: 2, period: second * 100, from: at(50) };
    let ledger = Ledger::new(Limits { per_interval: Some(per), ..Limits::default() }, None);
    let call = |second| charge(&ledger, &want(second), 1).map(|charge| charge.calls);
    assert_eq!((call(60), call(149), call(149)), (Ok(1), Ok(2), Err(Limit::PerInterval)));
    assert_eq!(ledger.reserve(&want(149)).expect_err("used up").retry_after, Some(second));
    assert_eq!(
        (call(150), call(40), call(40)),
        (Ok(3), Ok(4), Err(Limit::PerInterval)),
        "a clock that goes back wins nothing"
    );

    let ledger = Ledger::new(Limits { concurrency: Some(1), ..Limits::default() }, None);
    let held = ledger.reserve(&want(0)).expect("free");
    assert_eq!(charge(&ledger, &want(0), 1), Err(Limit::Concurrency));
    drop(held);
    assert!(charge(&ledger, &want(0), 1).is_ok());

    let ledger = Ledger::new(Limits { metered_time: Some(second * 31), ..Limits::default() }, None);
    assert!(charge(&ledger, &want(0), 1).is_ok());
    let reservation = ledger.reserve(&want(0)).expect("30 s left");
    assert_eq!(reservation.wall_max(), second * 30);
    assert_eq!(charge(&ledger, &want(0), 1), Err(Limit::MeteredTime), "all of it is reserved");
    drop(reservation);
    let long = Spent { bytes: 1, wall: second * 90 };
    let _ = ledger.reserve(&want(0)).expect("left").commit(&long, Ok::<_, ()>).expect("charged");
    assert_eq!(ledger.usage(at(0)).time, second * 31, "never more than was reserved");
}

#[test]
fn a_call_that_did_not_take_place_gives_its_place_in_a_rate_back() {
    let rate = Rate { burst: 1, period: Duration::from_secs(10) };
    let limits =
        Limits { rate: Some(rate), interval: Some(Duration::from_secs(1)), ..Limits::default() };
    let ledger = Ledger::new(limits, None);
    drop(ledger.reserve(&want(0)).expect("free"));
    let usage = ledger.usage(at(0));
    assert_eq!((usage.first, usage.last, usage.running), (None, None, 0), "nothing is left of it");
    assert!(charge(&ledger, &want(0), 1).is_ok());
}

#[test]
fn what_was_charged_before_a_restart_counts_after_it() {
    let second = Duration::from_secs(1);
    let per = PerInterval { most: 3, period: second * 100, from: at(0) };
    let limits = Limits {
        most: [Some(3), Some(10), None, None],
        per_interval: Some(per),
        elapsed_time: Some(second * 50),
        metered_time: Some(second * 100),
        ..Limits::default()
    };
    let above = Ledger::new(calls(100), None);
    let before = Ledger::new(limits.clone(), Some(Arc::clone(&above)));
    let charged: Vec<_> =
        [1, 2].map(|second| (second, charge(&before, &want(second), 30).expect("left"))).into();
    let after = Ledger::new(limits, Some(Ledger::new(calls(100), None)));
    for (second, charge) in &charged {
        after.replay(at(*second), at(*second), charge, spent(30));
    }
    assert_eq!(after.usage(at(3)), before.usage(at(3)));
    assert_eq!(above.usage(at(3)).used, after.above.as_ref().expect("above").usage(at(3)).used);
    assert!(charge(&after, &want(3), 30).is_ok());
    assert_eq!(charge(&after, &want(3), 30), Err(Limit::Count(Metered::Calls)));
}

#[test]
fn an_amendment_goes_on_where_the_old_agreement_stands() {
    let old = Ledger::new(calls(10), None);
    for _ in 0..4 {
        charge(&old, &want(0), 1).expect("left");
    }
    let running = old.reserve(&want(0)).expect("left");
    let new = Ledger::continuing(calls(6), &old, None);
    assert_eq!(charge(&new, &want(0), 1).map(|charge| charge.calls), Ok(5));
    assert_eq!(
        charge(&new, &want(0), 1),
        Err(Limit::Count(Metered::Calls)),
        "a call of the old one still runs"
    );
    let _ = running.commit(&spent(1), Ok::<_, ()>).expect("charged");
    assert_eq!(new.usage(at(0)).used[0], 6);
}
