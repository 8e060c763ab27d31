//! Tests that windows are neither lost nor given twice, and who gets them.

use std::num::NonZeroU32;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use hospes_admission::Took;

type Taking<'a> = Pin<Box<dyn Future<Output = Option<u32>> + 'a>>;

/// So many windows of a worker with one thread, none of them for newcomers.
fn all(count: u32) -> Windows {
    Windows::new(Layout::new(count, 1), 1, Arc::default())
}

impl Windows {
    /// Takes a window without a deadline.
    async fn only(&self, caller: Caller) -> Option<u32> {
        match self.take(caller, &Wish::default(), None).await {
            Ok(Place::Window(window)) => Some(window),
            Ok(Place::Aboard(_)) | Err(_) => None,
        }
    }
}

fn poll(taking: &mut Taking<'_>) -> Poll<Option<u32>> {
    taking.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn who_has_many_calls_under_way_lets_others_go_first() {
    const MILLIS: u64 = 1_000_000;
    let windows = all(2);
    let mut crowd: Vec<Taking<'_>> =
        (0..64).map(|_| Box::pin(windows.only(Caller::new(1))) as _).collect();
    let first = crowd.iter_mut().filter_map(|taking| match poll(taking) {
        Poll::Ready(window) => window,
        Poll::Pending => None,
    });
    let first: Vec<u32> = first.collect();
    assert_eq!(first.len(), 2, "there are two");
    let mut others: Vec<Taking<'_>> =
        [2, 3].map(|caller| Box::pin(windows.only(Caller::new(caller))) as _).into();
    assert!(others.iter_mut().all(|taking| poll(taking).is_pending()));
    let mut more: Taking<'_> = Box::pin(windows.only(Caller::new(2)));
    assert!(poll(&mut more).is_pending());
    // A returned window goes to a caller with less computing time. A report of more than the elapsed time counts as that time.
    std::thread::sleep(Duration::from_millis(20));
    for window in first {
        windows.give_back(window, Some(u64::MAX));
    }
    let theirs: Vec<_> = others.iter_mut().map(poll).collect();
    let [Poll::Ready(Some(one)), Poll::Ready(Some(_))] = theirs[..] else {
        panic!("62 others were there first: {theirs:?}")
    };
    // The actual costs count: the second call of caller 2 comes before the third of caller 1.
    windows.give_back(one, Some(MILLIS));
    assert!(poll(&mut more).is_ready());
}

#[test]
fn a_caller_of_weight_four_has_four_windows_for_one_of_another() {
    let windows = all(1);
    let callers =
        [Caller { number: 1, weight: NonZeroU32::new(4).expect("not zero") }, Caller::new(2)];
    let mut held = poll(&mut (Box::pin(windows.only(Caller::new(3))) as Taking<'_>));
    let mut waiting: Vec<(u64, Taking<'_>)> = Vec::new();
    for caller in callers.into_iter().cycle().take(80) {
        let mut taking: Taking<'_> = Box::pin(windows.only(caller));
        assert!(poll(&mut taking).is_pending());
        waiting.push((caller.number, taking));
    }
    let mut served = Vec::new();
    while let Poll::Ready(Some(window)) = held {
        // Longer than the time that is reported.
        std::thread::sleep(std::time::Duration::from_micros(200));
        windows.give_back(window, Some(100_000));
        held = Poll::Pending;
        waiting.retain_mut(|(caller, taking)| {
            let polled = poll(taking);
            if polled.is_ready() {
                served.push(*caller);
                held = polled;
            }
            polled.is_pending()
        });
    }
    let of_other = served[..50].iter().filter(|caller| **caller == 2).count();
    assert!((9..=11).contains(&of_other), "{served:?}");
}

#[test]
fn a_worker_that_has_ended_has_no_windows() {
    let windows = all(1);
    let mut taking: Vec<Taking<'_>> =
        (0..3).map(|_| Box::pin(windows.only(Caller::new(1))) as _).collect();
    assert_eq!(poll(&mut taking[0]), Poll::Ready(Some(0)));
    assert!(poll(&mut taking[1]).is_pending() && poll(&mut taking[2]).is_pending());
    windows.close();
    assert_eq!(poll(&mut taking[1]), Poll::Ready(None));
    windows.give_back(0, None);
    assert_eq!(poll(&mut taking[2]), Poll::Ready(None));
    assert_eq!(
        poll(&mut (Box::pin(windows.only(Caller::new(2))) as Taking<'_>)),
        Poll::Ready(None)
    );
}

/// Windows for two jobs in each of two threads, and one for newcomers.
fn with_newcomers() -> Windows {
    Windows::new(Layout::new(4, 1).and_for_newcomers(1), 2, Arc::default())
}

#[test]
fn one_that_has_nothing_in_the_worker_passes_what_a_crowd_has_queued_there() {
    let windows = with_newcomers();
    let mut crowd: Vec<Taking<'_>> =
        (0..10).map(|_| Box::pin(windows.only(Caller::new(1))) as _).collect();
    let theirs = crowd.iter_mut().map(poll).filter(Poll::is_ready).count();
    assert_eq!(theirs, 4, "the last window is for others");
    let mut quiet: Taking<'_> = Box::pin(windows.only(Caller::new(2)));
    assert_eq!(poll(&mut quiet), Poll::Ready(Some(4)), "at once, and past the queue");
    let mut again: Taking<'_> = Box::pin(windows.only(Caller::new(2)));
    let mut third: Taking<'_> = Box::pin(windows.only(Caller::new(3)));
    assert!(poll(&mut again).is_pending() && poll(&mut third).is_pending());
    windows.give_back(4, Some(1));
    assert_eq!(poll(&mut third), Poll::Ready(Some(4)), "it has nothing else there");
    assert!(poll(&mut again).is_ready() || windows.lock().turns.len_of(&Caller::new(2)) == 1);
    std::thread::sleep(Duration::from_millis(5));
    windows.give_back(0, None);
    assert!(poll(&mut again).is_ready(), "the crowd has had more");
}

#[test]
fn while_threads_are_idle_everybody_has_the_usual_windows() {
    let windows = with_newcomers();
    for caller in 1..=2 {
        let mut taking: Taking<'_> = Box::pin(windows.only(Caller::new(caller)));
        assert!(matches!(poll(&mut taking), Poll::Ready(Some(window)) if window < 4));
    }
    let mut third: Taking<'_> = Box::pin(windows.only(Caller::new(3)));
    assert_eq!(poll(&mut third), Poll::Ready(Some(4)), "both threads have a job");
}

#[test]
fn what_would_end_after_its_deadline_is_refused_at_once_or_when_its_turn_comes() {
    const MILLI: u64 = 1_000_000;
    let figures = Arc::<Figures>::default();
    let windows = Windows::new(Layout::new(1, 1), 1, Arc::clone(&figures));
    let takes = Some(Took { mean_nanos: 10 * MILLI, least_nanos: 10 * MILLI });
    let wish = |millis: Option<u64>| Wish {
        takes,
        until: millis.map(|millis| Instant::now() + Duration::from_millis(millis)),
        ..Wish::default()
    };
    let caller = Caller::new(1);
    let take = |wish: Wish| {
        let windows = &windows;
        Box::pin(async move { windows.take(caller, &wish, None).await.map(|_| ()) })
    };
    let mut context = Context::from_waker(Waker::noop());
    assert!(take(wish(None)).as_mut().poll(&mut context).is_ready());
    let mut before = take(wish(None));
    assert!(before.as_mut().poll(&mut context).is_pending());
    let late = take(wish(Some(15))).as_mut().poll(&mut context);
    assert!(matches!(late, Poll::Ready(Err(NoWindow::Late(_)))), "10 + 10 ms are more than 15");
    let unknown = Wish { takes: None, ..wish(Some(1)) };
    assert!(take(unknown).as_mut().poll(&mut context).is_pending(), "nothing is known of it");
    let mut later = take(wish(Some(40)));
    assert!(later.as_mut().poll(&mut context).is_pending(), "there is time enough");
    std::thread::sleep(Duration::from_millis(50));
    windows.give_back(0, Some(MILLI));
    assert!(before.as_mut().poll(&mut context).is_ready());
    windows.give_back(0, Some(MILLI));
    let late = later.as_mut().poll(&mut context);
    assert!(matches!(late, Poll::Ready(Err(NoWindow::Late(_)))), "its turn came too late");
    assert_eq!(windows.free(), 1, "its window is free again");
    let late = figures.snapshot().late;
    assert_eq!((late, figures.snapshot().abandoned), (3, 0), "the unknown one's deadline came");
}

#[derive(Debug, Clone)]
enum Step {
    Take(u64),
    Poll(usize),
    Leave(usize),
    GiveBack(usize, Option<u64>),
}

fn step() -> impl Strategy<Value = Step> {
    let number = 0..20_usize;
    prop_oneof![
        3 => (0..4_u64).prop_map(Step::Take),
        2 => number.clone().prop_map(Step::Poll),
        1 => number.clone().prop_map(Step::Leave),
        3 => (number, proptest::option::of(0..u64::MAX)).prop_map(|(n, c)| Step::GiveBack(n, c)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Whatever callers do, no window is lost or given twice, and none is free while somebody waits.
    #[test]
    fn windows_are_neither_lost_nor_given_twice(steps in vec(step(), 1..120)) {
        const COUNT: usize = 5;
        let windows = with_newcomers();
        let (mut waiting, mut taken): (Vec<Taking<'_>>, Vec<u32>) = Default::default();
        for step in steps {
            match step {
                Step::Take(caller) => {
                    let mut taking: Taking<'_> = Box::pin(windows.only(Caller::new(caller)));
                    match poll(&mut taking) {
                        Poll::Ready(window) => taken.extend(window),
                        Poll::Pending => waiting.push(taking),
                    }
                }
                Step::Poll(number) if number < waiting.len() => {
                    if let Poll::Ready(window) = poll(&mut waiting[number]) {
                        taken.extend(window);
                        drop(waiting.remove(number));
                    }
                }
                Step::Leave(number) if number < waiting.len() => {
                    drop(waiting.remove(number));
                }
                Step::GiveBack(number, nanos) if number < taken.len() => {
                    windows.give_back(taken.remove(number), nanos);
                }
                Step::Poll(_) | Step::Leave(_) | Step::GiveBack(..) => {}
            }
            let mut unique = taken.clone();
            unique.sort_unstable();
            unique.dedup();
            prop_assert_eq!(unique.len(), taken.len(), "{:?}", taken);
            let mut state = windows.lock();
            prop_assert!(state.free.is_empty() || state.turns.is_empty());
            if !state.free_first.is_empty() {
                let State { turns, taken, .. } = &mut *state;
                let has_none = |caller: &Caller| {
                    !taken.iter().flatten().any(|taken| taken.caller == *caller)
                };
                prop_assert!(turns.next_turn_of(has_none).is_none(), "a newcomer waits for nothing");
            }
        }
        drop(waiting);
        taken.into_iter().for_each(|window| windows.give_back(window, None));
        let state = windows.lock();
        prop_assert_eq!(state.free.len() + state.free_first.len(), COUNT);
        prop_assert!(state.turns.is_empty() && state.taken.iter().all(Option::is_none));
    }
}
