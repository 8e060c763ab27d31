//! The state of an agreement as its events make it.

use std::collections::BTreeMap;
use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::{
    AHEAD_DAYS_MAX, Actor, Change, EVENT_SKEW_SECONDS, EVENTS_MAX, Event, EventError,
    OPERATOR_SUSPENSION_DAYS, PENDING_MAX, Reason, SignedEvent,
};
use crate::id::{Digest, Party};

/// Where an agreement stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Calls may be made, as far as the terms allow them.
    Started,
    Suspended,
    /// An event is missing: nobody knows where it stands, so no call may be made.
    Frozen,
    /// Ended as agreed.
    Completed,
    /// Ended before its time.
    Terminated,
}

/// What became of an event that was handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It is part of the history now.
    Now,
    /// It was already.
    Known,
    /// It waits for one before it; the agreement is frozen.
    Waiting,
}

/// The events of one agreement.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    agreement: Digest,
    publisher: Party,
    consumer: Party,
    operator: Party,
    notice: SignedDuration,
    history: Vec<SignedEvent>,
    /// By sequence.
    pending: BTreeMap<u32, SignedEvent>,
}

impl Lifecycle {
    /// An agreement that has just come into force. `notice` is how long before it takes effect a publisher has to announce an
    /// event without urgent reason.
    pub fn new(
        agreement: Digest,
        [publisher, consumer, operator]: [Party; 3],
        notice: SignedDuration,
    ) -> Self {
        let (history, pending) = (Vec::new(), BTreeMap::new());
        Self { agreement, publisher, consumer, operator, notice, history, pending }
    }

    /// The events, in order, without those that wait.
    pub fn events(&self) -> &[SignedEvent] {
        &self.history
    }

    /// Events that wait for one before them.
    pub fn waiting(&self) -> impl Iterator<Item = &SignedEvent> {
        self.pending.values()
    }

    /// The number and the predecessor of the next event.
    pub fn next(&self) -> (u32, Digest) {
        let sequence = u32::try_from(self.history.len()).unwrap_or(u32::MAX).saturating_add(1);
        (sequence, self.history.last().map_or(self.agreement, |last| *last.id()))
    }

    /// Takes an event at `now`, by the host's clock. `are_one` says whether one key has followed the other.
    ///
    /// # Errors
    /// [`EventError`]; nothing was changed then.
    pub fn apply(
        &mut self,
        signed: &SignedEvent,
        now: Timestamp,
        are_one: impl Fn(&Party, &Party) -> bool,
    ) -> Result<Applied, EventError> {
        let event = signed.content();
        if event.agreement != self.agreement {
            return Err(EventError::OtherAgreement { seen: event.agreement });
        }
        let party = match event.role {
            Actor::Publisher => self.publisher,
            Actor::Consumer => self.consumer,
            Actor::Operator => self.operator,
        };
        if !are_one(&party, &event.by) {
            return Err(EventError::NotThatRole { party: event.by, role: event.role });
        }
        let (next, _) = self.next();
        let sequence = event.sequence;
        let known = match sequence.checked_sub(1).and_then(|at| usize::try_from(at).ok()) {
            Some(at) if sequence < next => self.history.get(at),
            Some(_) | None => self.pending.get(&sequence),
        };
        match known {
            Some(known) if known.id() == signed.id() => return Ok(Applied::Known),
            Some(_) => return Err(EventError::Fork { sequence }),
            None if sequence < next => return Err(EventError::Unlinked { sequence }),
            None => {}
        }
        if self.history.len() >= EVENTS_MAX || self.pending.len() >= PENDING_MAX {
            return Err(EventError::TooMany { max: EVENTS_MAX });
        }
        check_times(event, now)?;
        if sequence > next {
            self.pending.insert(sequence, signed.clone());
            return Ok(Applied::Waiting);
        }
        self.check(event, now)?;
        self.history.push(signed.clone());
        self.unfreeze(now);
        Ok(Applied::Now)
    }

    /// Those that waited follow, as far as they fit. What turns out not to fit is dropped: it was never part of the history.
    fn unfreeze(&mut self, now: Timestamp) {
        loop {
            let (next, _) = self.next();
            let Some(waiting) = self.pending.remove(&next) else { return };
            if self.check(waiting.content(), now).is_ok() {
                self.history.push(waiting);
            }
        }
    }

    /// Whether an event fits the history and its maker may make it.
    fn check(&self, event: &Event, now: Timestamp) -> Result<(), EventError> {
        let (sequence, previous) = self.next();
        if event.sequence != sequence || event.previous != previous {
            return Err(EventError::Unlinked { sequence: event.sequence });
        }
        let state = self.history_at(now.max(event.effective));
        if matches!(state.state(), State::Completed | State::Terminated) {
            return Err(EventError::Over { state: state.state() });
        }
        let Event { role, change, reason, .. } = *event;
        if !may(role, change, reason) {
            return Err(EventError::NotAllowed { role, change, reason });
        }
        if change == Change::Resume && !state.suspended[role as usize] {
            return Err(EventError::NotSuspended { role });
        }
        let ends = matches!(change, Change::Suspend | Change::Terminate);
        if role == Actor::Publisher && ends && !reason.is_urgent() {
            // `check_times` has held its clock to the host's, so who dates an event back wins minutes at most.
            let earliest = event.issued.checked_add(self.notice).unwrap_or(Timestamp::MAX);
            if event.effective < earliest {
                return Err(EventError::Notice { earliest });
            }
        }
        Ok(())
    }

    /// Where the agreement stands at a time.
    pub fn state_at(&self, now: Timestamp) -> State {
        let state = self.history_at(now).state();
        match state {
            State::Completed | State::Terminated => state,
            _ if !self.pending.is_empty() => State::Frozen,
            _ => state,
        }
    }

    /// When the state may change next by itself.
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let effective = self.history.iter().map(|signed| signed.content().effective);
        let lapses = self.history.iter().filter_map(|signed| lapse(signed.content()));
        effective.chain(lapses).filter(|at| *at > now).min()
    }

    fn history_at(&self, now: Timestamp) -> History {
        let mut history = History { suspended: [false; 3], ended: None };
        // In the order in which they take effect; of those at the same time, in their own.
        let mut due: Vec<&Event> = self
            .history
            .iter()
            .map(SignedEvent::content)
            .filter(|event| event.effective <= now)
            .collect();
        due.sort_by_key(|event| (event.effective, event.sequence));
        for event in due {
            let lapsed = lapse(event).is_some_and(|lapse| lapse <= now);
            match event.change {
                _ if history.ended.is_some() => {}
                Change::Suspend => history.suspended[event.role as usize] = !lapsed,
                Change::Resume => history.suspended[event.role as usize] = false,
                Change::Terminate => history.ended = Some(State::Terminated),
                Change::Complete => history.ended = Some(State::Completed),
            }
        }
        history
    }
}

struct History {
    suspended: [bool; 3],
    ended: Option<State>,
}

impl History {
    fn state(&self) -> State {
        match self.ended {
            Some(ended) => ended,
            None if self.suspended.contains(&true) => State::Suspended,
            None => State::Started,
        }
    }
}

/// When a suspension ends by itself.
fn lapse(event: &Event) -> Option<Timestamp> {
    let by_operator = event.role == Actor::Operator && event.change == Change::Suspend;
    let days = SignedDuration::from_hours(24 * OPERATOR_SUSPENSION_DAYS);
    by_operator.then(|| event.effective.checked_add(days).unwrap_or(Timestamp::MAX))
}

/// Which role may do what, and why.
fn may(role: Actor, change: Change, reason: Reason) -> bool {
    use Reason::{
        Abuse, Exhausted, Expired, KeyCompromise, LegalOrder, Maintenance, Security, Superseded,
    };
    match (role, change) {
        (
            Actor::Publisher | Actor::Consumer,
            Change::Suspend | Change::Resume | Change::Terminate,
        )
        | (Actor::Consumer, Change::Complete) => !matches!(reason, Superseded),
        (Actor::Publisher, Change::Complete) => matches!(reason, Expired | Exhausted),
        (Actor::Operator, Change::Suspend) => {
            matches!(reason, Maintenance | Abuse | LegalOrder | Security | KeyCompromise)
        }
        (Actor::Operator, Change::Resume) => true,
        // The host ends an agreement only where a co-signed one takes its place.
        (Actor::Operator, Change::Complete) => reason == Superseded,
        (Actor::Operator, Change::Terminate) => false,
    }
}

fn check_times(event: &Event, now: Timestamp) -> Result<(), EventError> {
    let apart = now.duration_since(event.issued).abs();
    if apart > SignedDuration::from_secs(EVENT_SKEW_SECONDS) {
        return Err(EventError::Clock { issued: event.issued, now });
    }
    let ahead = event.effective.duration_since(event.issued);
    if ahead.is_negative() || ahead > SignedDuration::from_hours(24 * AHEAD_DAYS_MAX) {
        return Err(EventError::Effective { effective: event.effective });
    }
    Ok(())
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Started => "STARTED",
            State::Suspended => "SUSPENDED",
            State::Frozen => "FROZEN",
            State::Completed => "COMPLETED",
            State::Terminated => "TERMINATED",
        })
    }
}
