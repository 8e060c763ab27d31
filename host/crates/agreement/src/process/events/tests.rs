//! Tests of events.

use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;
use hospes_core::key::PartyKey;

fn key(seed: u8) -> PartyKey {
    PartyKey::from_secret(&[seed; 32])
}

fn key_of(role: Actor) -> PartyKey {
    key(match role {
        Actor::Publisher => 1,
        Actor::Consumer => 2,
        Actor::Operator => 3,
    })
}

const ROLES: [Actor; 3] = [Actor::Publisher, Actor::Consumer, Actor::Operator];
const CHANGES: [Change; 4] = [Change::Suspend, Change::Resume, Change::Terminate, Change::Complete];

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_796_083_200 + second).expect("a time")
}

fn agreement() -> Digest {
    Digest::of(b"agreement")
}

fn lifecycle(notice: SignedDuration) -> Lifecycle {
    Lifecycle::new(agreement(), ROLES.map(|role| key_of(role).party()), notice)
}

/// The next event of a history, signed by its author, with immediate effect.
fn next(
    of: &Lifecycle,
    role: Actor,
    change: Change,
    reason: Reason,
    now: Timestamp,
) -> SignedEvent {
    let (sequence, previous) = of.next();
    let event = Event {
        agreement: agreement(),
        sequence,
        previous,
        change,
        role,
        by: key_of(role).party(),
        reason,
        effective: now,
        issued: now,
        evidence: None,
        note: None,
    };
    SignedEvent::sign(event, &[&key_of(role)]).expect("signed")
}

fn applied(
    of: &mut Lifecycle,
    role: Actor,
    change: Change,
    reason: Reason,
    now: Timestamp,
) -> Result<Applied, EventError> {
    let event = next(of, role, change, reason, now);
    of.apply(&event, now, |a, b| a == b)
}

#[test]
fn who_may_do_what_and_why() {
    use Reason::*;
    for role in ROLES {
        for change in CHANGES {
            for reason in Reason::ALL {
                let mut life = lifecycle(SignedDuration::ZERO);
                if change == Change::Resume {
                    let why = if role == Actor::Operator { Abuse } else { Routine };
                    applied(&mut life, role, Change::Suspend, why, at(0)).expect("suspended");
                }
                let expected = match (role, change) {
                    (Actor::Operator, Change::Suspend) => {
                        [Maintenance, Abuse, LegalOrder, Security, KeyCompromise].contains(&reason)
                    }
                    (Actor::Operator, Change::Resume) => true,
                    (Actor::Operator, Change::Complete) => reason == Superseded,
                    (Actor::Operator, Change::Terminate) => false,
                    (Actor::Publisher, Change::Complete) => [Expired, Exhausted].contains(&reason),
                    (Actor::Publisher | Actor::Consumer, _) => reason != Superseded,
                };
                let seen = applied(&mut life, role, change, reason, at(1));
                assert_eq!(seen.is_ok(), expected, "{role} {change} {reason}: {seen:?}");
                let state = match (expected, change) {
                    (true, Change::Suspend) => AgreementState::Suspended,
                    (true, Change::Terminate) => AgreementState::Terminated,
                    (true, Change::Complete) => AgreementState::Completed,
                    (false, Change::Resume) => AgreementState::Suspended,
                    _ => AgreementState::Started,
                };
                assert_eq!(life.state_at(at(1)), state, "{role} {change} {reason}");
            }
        }
    }
}

#[test]
fn notice_is_held_to_the_microsecond_unless_the_reason_is_urgent() {
    let day = SignedDuration::from_hours(24);
    for reason in Reason::ALL.into_iter().filter(|reason| *reason != Reason::Superseded) {
        for (early, micros) in [(true, -1), (false, 0), (false, 1)] {
            let mut life = lifecycle(day);
            let mut event =
                next(&life, Actor::Publisher, Change::Terminate, reason, at(0)).content().clone();
            event.effective = at(0) + day + SignedDuration::from_micros(micros);
            let event = SignedEvent::sign(event, &[&key_of(Actor::Publisher)]).expect("signed");
            let refused =
                matches!(life.apply(&event, at(0), |a, b| a == b), Err(EventError::Notice { .. }));
            assert_eq!(refused, early && !reason.is_urgent(), "{reason}");
            if !refused {
                let last = at(0) + day + SignedDuration::from_micros(micros - 1);
                assert_eq!(life.state_at(last), AgreementState::Started, "{reason}");
                assert_eq!(life.next_change(last), Some(event.content().effective));
                assert_eq!(
                    life.state_at(event.content().effective),
                    AgreementState::Terminated,
                    "{reason}"
                );
            }
        }
    }
    // The consumer needs no notice period.
    let mut life = lifecycle(day);
    applied(&mut life, Actor::Consumer, Change::Terminate, Reason::Routine, at(0))
        .expect("at once");
    assert!(matches!(
        applied(&mut life, Actor::Consumer, Change::Suspend, Reason::Routine, at(1)),
        Err(EventError::Over { state: AgreementState::Terminated })
    ));
}

#[test]
fn an_operator_s_suspension_lapses() {
    let mut life = lifecycle(SignedDuration::ZERO);
    applied(&mut life, Actor::Operator, Change::Suspend, Reason::Security, at(0))
        .expect("suspended");
    let lapse = at(OPERATOR_SUSPENSION_DAYS * 86_400);
    assert_eq!(life.next_change(at(0)), Some(lapse));
    assert_eq!(life.state_at(at(OPERATOR_SUSPENSION_DAYS * 86_400 - 1)), AgreementState::Suspended);
    assert_eq!(life.state_at(lapse), AgreementState::Started);
}

#[test]
fn limits_of_events() {
    let mut life = lifecycle(SignedDuration::ZERO);
    let ahead =
        next(&life, Actor::Consumer, Change::Suspend, Reason::Routine, at(0)).content().clone();
    let mut resumes = false;
    for _ in 0..EVENTS_PER_ROLE_MAX {
        let change = if resumes { Change::Resume } else { Change::Suspend };
        applied(&mut life, Actor::Consumer, change, Reason::Routine, at(0)).expect("room");
        resumes = !resumes;
    }
    let max = EVENTS_PER_ROLE_MAX;
    assert_eq!(
        applied(&mut life, Actor::Consumer, Change::Suspend, Reason::Routine, at(0)),
        Err(EventError::TooMany { role: Actor::Consumer, max })
    );
    // The others have their own room, and ending events have more.
    let ending = |life: &Lifecycle, after: i64| {
        let event = next(life, Actor::Consumer, Change::Terminate, Reason::Routine, at(0));
        let event = Event { effective: at(after), ..event.content().clone() };
        SignedEvent::sign(event, &[&key_of(Actor::Consumer)]).expect("signed")
    };
    for earlier in (0..i64::try_from(ENDINGS_PER_ROLE_MAX).expect("few")).rev() {
        life.apply(&ending(&life, 10 + earlier), at(0), |a, b| a == b).expect("room to end it");
    }
    assert!(matches!(
        life.apply(&ending(&life, 9), at(0), |a, b| a == b),
        Err(EventError::TooMany { .. })
    ));
    for (role, change, reason) in [
        (Actor::Publisher, Change::Suspend, Reason::Abuse),
        (Actor::Operator, Change::Suspend, Reason::Abuse),
        (Actor::Operator, Change::Resume, Reason::Abuse),
        (Actor::Consumer, Change::Terminate, Reason::Routine),
    ] {
        applied(&mut life, role, change, reason, at(0)).expect("it has room");
    }
    assert_eq!(life.state_at(at(0)), AgreementState::Terminated);
    for (note, fits) in [
        ("é".repeat(NOTE_CHARS_MAX), true),
        ("é".repeat(NOTE_CHARS_MAX + 1), false),
        ("a\nb".into(), false),
    ] {
        let event = Event { note: Some(note.into()), ..ahead.clone() };
        assert_eq!(SignedEvent::sign(event, &[&key_of(Actor::Consumer)]).is_ok(), fits);
    }
    for (issued, now, fits) in [
        (0, EVENT_SKEW_SECONDS, true),
        (0, EVENT_SKEW_SECONDS + 1, false),
        (EVENT_SKEW_SECONDS + 1, 0, false),
    ] {
        let mut life = lifecycle(SignedDuration::ZERO);
        let event = next(&life, Actor::Consumer, Change::Suspend, Reason::Routine, at(issued));
        assert_eq!(life.apply(&event, at(now), |a, b| a == b).is_ok(), fits, "{issued} {now}");
    }
    let mut life = lifecycle(SignedDuration::ZERO);
    let far = Event { sequence: 1, effective: at(AHEAD_DAYS_MAX * 86_400 + 1), ..ahead };
    let far = SignedEvent::sign(far, &[&key_of(Actor::Consumer)]).expect("signed");
    assert!(matches!(life.apply(&far, at(0), |a, b| a == b), Err(EventError::Effective { .. })));
}

#[test]
fn every_single_byte_change_of_an_event_is_refused() {
    let life = lifecycle(SignedDuration::ZERO);
    let bytes = next(&life, Actor::Publisher, Change::Suspend, Reason::Abuse, at(0)).to_bytes();
    for index in 0..bytes.len() {
        for value in 0..=u8::MAX {
            let mut changed = bytes.clone();
            changed[index] = value;
            assert!(
                changed == bytes || SignedEvent::parse(&changed).is_err(),
                "byte {index} as {value:#x}"
            );
        }
    }
}

#[test]
fn events_that_an_earlier_host_let_wait_freeze_it_until_others_have_their_numbers() {
    let mut straight = lifecycle(SignedDuration::ZERO);
    let mut events = Vec::new();
    for change in [Change::Suspend, Change::Resume, Change::Suspend] {
        let event = next(&straight, Actor::Consumer, change, Reason::Routine, at(0));
        straight.apply(&event, at(0), |a, b| a == b).expect("applied");
        events.push(event);
    }
    let frozen = || {
        let mut life = lifecycle(SignedDuration::ZERO);
        life.restore(&events[2], at(0), |a, b| a == b).expect("restored");
        assert_eq!(life.state_at(at(0)), AgreementState::Frozen);
        assert_eq!(life.waiting().count(), 1);
        life
    };
    // The missing event arrives, or a different one in its place.
    let mut life = frozen();
    life.apply(&events[0], at(0), |a, b| a == b).expect("applied");
    life.apply(&events[1], at(0), |a, b| a == b).expect("applied");
    assert_eq!(life.events(), straight.events());
    assert_eq!(life.state_at(at(0)), AgreementState::Suspended);
    let mut life = frozen();
    for change in [Change::Suspend, Change::Resume] {
        applied(&mut life, Actor::Publisher, change, Reason::Abuse, at(0)).expect("applied");
    }
    assert_eq!((life.state_at(at(0)), life.waiting().count()), (AgreementState::Started, 0));
    let mut life = frozen();
    applied(&mut life, Actor::Publisher, Change::Terminate, Reason::Abuse, at(0)).expect("ended");
    assert_eq!(life.state_at(at(0)), AgreementState::Terminated);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    // An event out of order changes nothing, and its author is told the next number; the end state is the same.
    #[test]
    fn the_order_in_which_events_arrive_makes_no_difference(
        choices in proptest::collection::vec((0_usize..3, any::<bool>()), 1..10),
        order in proptest::collection::vec(any::<prop::sample::Index>(), 30),
    ) {
        let mut straight = lifecycle(SignedDuration::ZERO);
        let mut events = Vec::new();
        for (role, resume) in choices {
            let change = if resume { Change::Resume } else { Change::Suspend };
            let event = next(&straight, ROLES[role], change, Reason::Security, at(0));
            if straight.apply(&event, at(0), |a, b| a == b).is_ok() {
                events.push(event);
            }
        }
        let mut shuffled = lifecycle(SignedDuration::ZERO);
        let all: Vec<_> = order.iter().map(|index| index.index(events.len().max(1))).chain(0..events.len()).collect();
        for index in all {
            let Some(event) = events.get(index) else { continue };
            let there = shuffled.events().len();
            let before = shuffled.state_at(at(0));
            let result = shuffled.apply(event, at(0), |a, b| a == b);
            let expected = match index.cmp(&there) {
                std::cmp::Ordering::Less => Ok(Applied::Known),
                std::cmp::Ordering::Equal => Ok(Applied::Now),
                std::cmp::Ordering::Greater => {
                    let (next, previous) = shuffled.next();
                    Err(EventError::OutOfOrder { sequence: event.content().sequence, next, previous })
                }
            };
            prop_assert_eq!(&result, &expected);
            prop_assert!(result == Ok(Applied::Now) || shuffled.state_at(at(0)) == before);
        }
        prop_assert_eq!(shuffled.state_at(at(0)), straight.state_at(at(0)));
        prop_assert_eq!(shuffled.events(), straight.events());
    }
}
