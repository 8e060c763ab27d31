//! An agreement's state, derived from its events.

use std::collections::BTreeMap;
use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::{
    AHEAD_DAYS_MAX, Actor, Change, ENDINGS_PER_ROLE_MAX, EVENT_SKEW_SECONDS, EVENTS_PER_ROLE_MAX,
    Event, EventError, OPERATOR_SUSPENSION_DAYS, Reason, SignedEvent,
};
use hospes_core::id::{Digest, Party};

/// An agreement's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgreementState {
    /// Calls are permitted within the terms.
    Started,
    Suspended,
    /// An event is missing, so no calls are permitted. Occurs only in data of older hosts that accepted events out of order.
    Frozen,
    /// Ended as fulfilled.
    Completed,
    /// Ended early.
    Terminated,
}

/// The result of submitting an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It is now part of the history.
    Now,
    /// It already was.
    Known,
}

/// The essential part of an event in the history. The event itself is stored elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Happened {
    /// The event's identifier: SHA-256 of what was signed.
    pub id: Digest,
    pub role: Actor,
    pub change: Change,
    pub reason: Reason,
    pub effective: Timestamp,
}

impl Happened {
    /// When a suspension lapses.
    fn lapse(&self) -> Option<Timestamp> {
        let by_operator = self.role == Actor::Operator && self.change == Change::Suspend;
        let days = SignedDuration::from_hours(24 * OPERATOR_SUSPENSION_DAYS);
        by_operator.then(|| self.effective.checked_add(days).unwrap_or(Timestamp::MAX))
    }
}

/// The effective events of one agreement.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    agreement: Digest,
    publisher: Party,
    consumer: Party,
    operator: Party,
    notice: SignedDuration,
    history: Vec<Happened>,
    /// Pending events of an older host, by sequence. No new ones are accepted.
    pending: BTreeMap<u32, SignedEvent>,
}

impl Lifecycle {
    /// An agreement that has just come into force. `notice` is how long in advance a publisher must announce an event without urgent
    /// reason.
    pub fn new(
        agreement: Digest,
        [publisher, consumer, operator]: [Party; 3],
        notice: SignedDuration,
    ) -> Self {
        let (history, pending) = (Vec::new(), BTreeMap::new());
        Self { agreement, publisher, consumer, operator, notice, history, pending }
    }

    /// The history in order, without pending events.
    pub fn events(&self) -> &[Happened] {
        &self.history
    }

    /// Events that wait for an earlier one, accepted by an older host.
    pub fn waiting(&self) -> impl Iterator<Item = &SignedEvent> {
        self.pending.values()
    }

    /// The next event's number and predecessor.
    pub fn next(&self) -> (u32, Digest) {
        let sequence = u32::try_from(self.history.len()).unwrap_or(u32::MAX).saturating_add(1);
        (sequence, self.history.last().map_or(self.agreement, |last| last.id))
    }

    /// Takes the next event at `now`, by the host's clock. `are_one` tells whether one key has replaced the other.
    ///
    /// # Errors
    /// [`EventError`]; nothing was changed.
    pub fn apply(
        &mut self,
        signed: &SignedEvent,
        now: Timestamp,
        are_one: impl Fn(&Party, &Party) -> bool,
    ) -> Result<Applied, EventError> {
        if self.is_known(signed, are_one)? {
            return Ok(Applied::Known);
        }
        let event = signed.content();
        let (next, previous) = self.next();
        if event.sequence > next {
            return Err(EventError::OutOfOrder { sequence: event.sequence, next, previous });
        }
        check_times(event, now)?;
        self.check(event, now)?;
        self.check_room(event, now)?;
        self.enter(signed, now)?;
        Ok(Applied::Now)
    }

    /// Restores an event that this or an older host took at `at`. It is not checked against today's limits, and hosts up to commit 66eee3d
    /// accepted events out of order.
    ///
    /// # Errors
    /// [`EventError`]; nothing was changed.
    pub fn restore(
        &mut self,
        signed: &SignedEvent,
        at: Timestamp,
        are_one: impl Fn(&Party, &Party) -> bool,
    ) -> Result<(), EventError> {
        if self.is_known(signed, are_one)? {
            return Ok(());
        }
        check_times(signed.content(), at)?;
        if signed.content().sequence > self.next().0 {
            self.pending.insert(signed.content().sequence, signed.clone());
            return Ok(());
        }
        self.enter(signed, at)
    }

    /// Whether the event is already there; an error if another one has its number.
    fn is_known(
        &self,
        signed: &SignedEvent,
        are_one: impl Fn(&Party, &Party) -> bool,
    ) -> Result<bool, EventError> {
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
        let sequence = event.sequence;
        let Some(at) = sequence.checked_sub(1).and_then(|at| usize::try_from(at).ok()) else {
            return Err(EventError::Unlinked { sequence });
        };
        match self.history.get(at) {
            Some(known) if known.id == *signed.id() => Ok(true),
            Some(_) => Err(EventError::Fork { sequence }),
            None => Ok(false),
        }
    }

    /// Each role has its own room, so that nobody can fill another's, and ending events have extra room. Ending at once is never refused:
    /// it can happen only once.
    fn check_room(&self, event: &Event, now: Timestamp) -> Result<(), EventError> {
        let ends = matches!(event.change, Change::Terminate | Change::Complete);
        if ends && event.effective <= now {
            return Ok(());
        }
        let role = event.role;
        let made = self.history.iter().filter(|made| made.role == role).count();
        let max = EVENTS_PER_ROLE_MAX + if ends { ENDINGS_PER_ROLE_MAX } else { 0 };
        if made >= max { Err(EventError::TooMany { role, max }) } else { Ok(()) }
    }

    fn enter(&mut self, signed: &SignedEvent, now: Timestamp) -> Result<(), EventError> {
        self.check(signed.content(), now)?;
        self.push(signed);
        self.unfreeze(now);
        Ok(())
    }

    fn push(&mut self, signed: &SignedEvent) {
        let Event { role, change, reason, effective, .. } = *signed.content();
        self.history.push(Happened { id: *signed.id(), role, change, reason, effective });
    }

    /// Adds the pending events that now fit. Those that do not are dropped: they were never part of the history.
    fn unfreeze(&mut self, now: Timestamp) {
        loop {
            let (next, _) = self.next();
            let Some(waiting) = self.pending.remove(&next) else { return };
            if self.check(waiting.content(), now).is_ok() {
                self.push(&waiting);
            }
        }
    }

    /// Whether an event fits the history and its author may make it.
    fn check(&self, event: &Event, now: Timestamp) -> Result<(), EventError> {
        let (sequence, previous) = self.next();
        if event.sequence != sequence || event.previous != previous {
            return Err(EventError::Unlinked { sequence: event.sequence });
        }
        let state = self.history_at(now.max(event.effective));
        if matches!(state.state(), AgreementState::Completed | AgreementState::Terminated) {
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
            // `check_times` has compared the clocks, so backdating gains minutes at most.
            let earliest = event.issued.checked_add(self.notice).unwrap_or(Timestamp::MAX);
            if event.effective < earliest {
                return Err(EventError::Notice { earliest });
            }
        }
        Ok(())
    }

    /// The state at a given time.
    pub fn state_at(&self, now: Timestamp) -> AgreementState {
        let state = self.history_at(now).state();
        match state {
            AgreementState::Completed | AgreementState::Terminated => state,
            _ if !self.pending.is_empty() => AgreementState::Frozen,
            _ => state,
        }
    }

    /// When the state may next change by itself.
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let effective = self.history.iter().map(|happened| happened.effective);
        let lapses = self.history.iter().filter_map(Happened::lapse);
        effective.chain(lapses).filter(|at| *at > now).min()
    }

    fn history_at(&self, now: Timestamp) -> History {
        let mut history = History { suspended: [false; 3], ended: None };
        // In order of effect; events at the same time keep their order, because the sort is stable.
        let due = self.history.iter().filter(|happened| happened.effective <= now);
        let mut due: Vec<&Happened> = due.collect();
        due.sort_by_key(|event| event.effective);
        for event in due {
            let lapsed = event.lapse().is_some_and(|lapse| lapse <= now);
            match event.change {
                _ if history.ended.is_some() => {}
                Change::Suspend => history.suspended[event.role as usize] = !lapsed,
                Change::Resume => history.suspended[event.role as usize] = false,
                Change::Terminate => history.ended = Some(AgreementState::Terminated),
                Change::Complete => history.ended = Some(AgreementState::Completed),
            }
        }
        history
    }
}

struct History {
    suspended: [bool; 3],
    ended: Option<AgreementState>,
}

impl History {
    fn state(&self) -> AgreementState {
        match self.ended {
            Some(ended) => ended,
            None if self.suspended.contains(&true) => AgreementState::Suspended,
            None => AgreementState::Started,
        }
    }
}

/// Which role may do what, and for which reason.
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
        // The host ends an agreement only if a co-signed one supersedes it.
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

impl fmt::Display for AgreementState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AgreementState::Started => "STARTED",
            AgreementState::Suspended => "SUSPENDED",
            AgreementState::Frozen => "FROZEN",
            AgreementState::Completed => "COMPLETED",
            AgreementState::Terminated => "TERMINATED",
        })
    }
}
