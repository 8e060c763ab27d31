//! An agreement's events after signing. They are stored before they take effect, and end running calls.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};

use super::{Active, Agreements, AgreementsError, Directory, Standing};
use crate::agreement::events::{
    Actor, AgreementState, Applied, Change, Event, EventError, Happened, Lifecycle, Reason,
    SignedEvent,
};
use crate::agreement::{SignedAgreement, StatementError};
use crate::id::{Digest, Party};
use crate::state::accounts::Caller;
use crate::stop::Stop;
use crate::store::Table;

/// Why an event was rejected.
#[derive(Debug, thiserror::Error)]
pub enum LifeError {
    #[error(transparent)]
    Agreements(#[from] AgreementsError),
    #[error("the event was refused")]
    Event(#[from] EventError),
    #[error("agreement `{0}` is not in force yet: both parties have to sign it first")]
    NotSigned(Digest),
    #[error("agreement `{id}` takes no events: {reason}; ask the host's operator")]
    Frozen { id: Digest, reason: String },
}

/// The history of one agreement, with a quickly readable summary.
pub(super) struct Life {
    lifecycle: Mutex<Lifecycle>,
    /// Why it is unknown whether the agreement runs.
    frozen: OnceLock<String>,
    /// Until when the agreement is known to run, in microseconds.
    runs_until: AtomicI64,
    /// Ends running calls, if the agreement says so.
    stop: ArcSwap<Stop>,
    /// Ends running calls unconditionally, for the operator.
    halt: ArcSwap<Stop>,
    /// How often that happened.
    halts: AtomicU64,
}

/// What ends a call under an agreement.
pub(super) struct Ends {
    /// An event of the agreement.
    pub event: Arc<Stop>,
    /// The operator.
    pub operator: Arc<Stop>,
}

impl Life {
    pub fn new(signed: &SignedAgreement, operator: Party) -> Self {
        let agreement = signed.agreement();
        let parties = [*agreement.assigner(), *agreement.assignee(), operator];
        let notice = SignedDuration::try_from(agreement.clauses().notice.as_duration());
        let notice = notice.unwrap_or(SignedDuration::MAX);
        Self {
            lifecycle: Mutex::new(Lifecycle::new(*signed.id(), parties, notice)),
            frozen: OnceLock::new(),
            runs_until: AtomicI64::new(i64::MIN),
            stop: ArcSwap::default(),
            halt: ArcSwap::default(),
            halts: AtomicU64::new(0),
        }
    }

    /// Whether the agreement runs. Quick if it does and nothing was announced.
    ///
    /// # Errors
    /// The reason why not, for its parties.
    pub fn in_force(&self, now: Timestamp) -> Result<(), String> {
        if now.as_microsecond() < self.runs_until.load(Ordering::Acquire) {
            return Ok(());
        }
        if let Some(reason) = self.frozen.get() {
            return Err(reason.clone());
        }
        let lifecycle = self.lock();
        let state = lifecycle.state_at(now);
        if state != AgreementState::Started {
            let last = lifecycle.events().iter().rfind(|event| event.effective <= now);
            let why = last.map(|last| {
                let Happened { role, change, reason, effective, .. } = last;
                format!(" (the {role}: {change}, {reason}, at {effective})")
            });
            return Err(format!("it is {state}{}", why.unwrap_or_default()));
        }
        let until = lifecycle.next_change(now).map_or(i64::MAX, Timestamp::as_microsecond);
        self.runs_until.store(until, Ordering::Release);
        Ok(())
    }

    /// How often it has changed: its events, those that have taken effect, and how often the operator has ended its calls.
    pub fn changes(&self, now: Timestamp) -> [u64; 3] {
        let lifecycle = self.lock();
        let events = lifecycle.events();
        let effective = events.iter().filter(|event| event.effective <= now).count();
        [events.len() as u64, effective as u64, self.halts.load(Ordering::Acquire)]
    }

    /// One of its events cannot be read and may have ended it: it permits nothing.
    fn freeze(&self, reason: String) {
        let _ = self.frozen.set(reason);
    }

    /// The signal that ends calls which begin now. Take it before asking [`Life::in_force`], so that no call slips through.
    pub fn ends(&self) -> Ends {
        Ends { event: self.stop.load_full(), operator: self.halt.load_full() }
    }

    /// Ends running calls, whatever the agreement says.
    pub fn halt(&self) {
        self.halts.fetch_add(1, Ordering::AcqRel);
        self.halt.swap(Arc::default()).set();
    }

    /// Ends running calls.
    fn interrupt(&self) {
        self.stop.swap(Arc::default()).set();
    }

    /// Whether an announced event has taken effect and calls may still run.
    fn is_due(&self, now: Timestamp) -> bool {
        let until = self.runs_until.load(Ordering::Acquire);
        until != i64::MIN && now.as_microsecond() >= until
    }

    fn lock(&self) -> MutexGuard<'_, Lifecycle> {
        self.lifecycle.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Standing {
    /// The state of an agreement in force.
    pub fn state_at(&self, now: Timestamp) -> Option<AgreementState> {
        match self {
            Standing::Proposed(_) => None,
            Standing::Active(active) if active.life().frozen.get().is_some() => {
                Some(AgreementState::Frozen)
            }
            Standing::Active(active) => Some(active.life().lock().state_at(now)),
        }
    }

    /// Its history; `None` before it is in force.
    pub fn history(&self) -> Option<Lifecycle> {
        match self {
            Standing::Proposed(_) => None,
            Standing::Active(active) => Some(active.life().lock().clone()),
        }
    }
}

impl Agreements {
    /// Takes an event that one of the parties signed.
    ///
    /// # Errors
    /// [`LifeError`]; nothing was changed.
    pub fn event(
        &self,
        caller: &Caller,
        id: &Digest,
        envelope: &[u8],
    ) -> Result<(Applied, Standing), LifeError> {
        let standing = self.find(caller, id)?;
        let event = SignedEvent::parse(envelope).map_err(EventError::from)?;
        if event.content().by != *caller.party() {
            let Event { by, role, .. } = *event.content();
            return Err(EventError::NotThatRole { party: by, role }.into());
        }
        let applied = self.apply(&standing, &event)?;
        Ok((applied, standing))
    }

    /// Suspends or resumes an agreement in the name of the host's operator.
    ///
    /// # Errors
    /// [`LifeError`].
    pub fn operate(
        &self,
        id: &Digest,
        change: Change,
        reason: Reason,
        note: Option<Box<str>>,
    ) -> Result<Standing, LifeError> {
        let found = self.directory.load().get(id).cloned();
        let standing = found.ok_or(AgreementsError::NotFound(*id))?;
        let Standing::Active(active) = &standing else { return Err(LifeError::NotSigned(*id)) };
        let event = self.own_event(active, change, reason, None, note)?;
        self.apply(&standing, &event)?;
        Ok(standing)
    }

    /// The signed events of an agreement in force, without pending ones.
    ///
    /// # Errors
    /// [`AgreementsError::Store`], [`AgreementsError::DamagedEvent`].
    pub fn events_of(&self, id: &Digest) -> Result<Vec<SignedEvent>, AgreementsError> {
        let directory = self.directory.load();
        let active = directory.active(id).ok_or(AgreementsError::NotFound(*id))?;
        let happened = active.life().lock().events().to_vec();
        let mut events = Vec::with_capacity(happened.len());
        for (key, record) in self.store.below(Table::Events, &format!("{id}/"))? {
            if self.store.why_aside(Table::Events, &key).is_some() {
                continue;
            }
            // They were verified when taken; check that this is the same event.
            let (_, event) = read_record(&key, &record, SignedEvent::read_kept)?;
            if happened.get(events.len()).is_some_and(|happened| happened.id == *event.id()) {
                events.push(event);
            }
        }
        Ok(events)
    }

    fn own_event(
        &self,
        active: &Active,
        change: Change,
        reason: Reason,
        evidence: Option<Digest>,
        note: Option<Box<str>>,
    ) -> Result<SignedEvent, EventError> {
        let (sequence, previous) = active.life().lock().next();
        let now = self.now_kept();
        let (role, by) = (Actor::Operator, self.key.party());
        let event = Event {
            agreement: *active.id(),
            sequence,
            previous,
            change,
            role,
            by,
            reason,
            effective: now,
            issued: now,
            evidence,
            note,
        };
        Ok(SignedEvent::sign(event, &[&self.key])?)
    }

    fn apply(&self, standing: &Standing, event: &SignedEvent) -> Result<Applied, LifeError> {
        let Standing::Active(active) = standing else {
            return Err(LifeError::NotSigned(*standing.id()));
        };
        if let Some(reason) = active.life().frozen.get() {
            return Err(LifeError::Frozen { id: *active.id(), reason: reason.clone() });
        }
        let now = self.now_kept();
        let Event { role, change, .. } = *event.content();
        if (role, change) == (Actor::Publisher, Change::Complete)
            && !standing.is_over(now.max(event.content().effective))
        {
            return Err(EventError::NotOver.into());
        }
        let mut lifecycle = active.life().lock();
        let mut changed = lifecycle.clone();
        let applied = changed.apply(event, now, |one, other| self.auth.are_one(one, other))?;
        if applied != Applied::Known {
            let (key, record) = record(event, now);
            self.store.put(Table::Events, &key, &record).map_err(AgreementsError::from)?;
            self.count_events(&lifecycle, event);
            *lifecycle = changed;
            active.life().runs_until.store(i64::MIN, Ordering::Release);
        }
        let runs = lifecycle.state_at(now) == AgreementState::Started;
        drop(lifecycle);
        if !runs {
            self.interrupt(active.id());
        }
        Ok(applied)
    }

    /// An event replaces a pending one of its number, left by an earlier host; otherwise it adds a record.
    fn count_events(&self, before: &Lifecycle, event: &SignedEvent) {
        let sequence = event.content().sequence;
        if before.waiting().all(|waiting| waiting.content().sequence != sequence) {
            self.events_kept.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The present time to the microsecond, as stored.
    pub(super) fn now_kept(&self) -> Timestamp {
        let now = self.now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    /// Ends the running calls of an agreement and its parts, if they say so.
    fn interrupt(&self, id: &Digest) {
        let directory = self.directory.load();
        let all = directory.values().filter_map(|standing| match standing {
            Standing::Active(active) => Some(active),
            Standing::Proposed(_) => None,
        });
        for active in all {
            let mut above = Some(active);
            while let Some(one) = above {
                if one.id() == id {
                    active.life().interrupt();
                    break;
                }
                above = one.parent();
            }
        }
    }

    /// Applies announced events that are now due to running calls.
    pub(super) fn interrupt_due(&self) {
        let now = self.now();
        let directory = self.directory.load();
        for standing in directory.values() {
            if let Standing::Active(active) = standing
                && active.life().is_due(now)
                && active.life().in_force(now).is_err()
            {
                active.life().runs_until.store(i64::MIN, Ordering::Release);
                self.interrupt(active.id());
            }
        }
    }

    /// Restores the stored events. If one cannot be read, it is set aside and its agreement permits nothing, because the event may have
    /// ended it.
    pub(super) fn restore_events(&self, directory: &Directory) -> Result<(), AgreementsError> {
        self.store.each(Table::Events, |key, record| {
            self.events_kept.fetch_add(1, Ordering::Relaxed);
            let id = key.split_once('/').and_then(|(id, _)| id.parse::<Digest>().ok());
            let Some(active) = id.and_then(|id| directory.active(&id)) else {
                let of = |id: Digest| self.store.why_aside(Table::Agreements, &id.to_string());
                if id.and_then(of).is_none() {
                    self.store.set_aside_as(Table::Events, key, "there is no such agreement");
                }
                return Ok(());
            };
            if let Err(error) = self.restore_event(active, key, record) {
                self.store.set_aside(Table::Events, key, &error);
                active.life().freeze(format!("its event `{key}` cannot be read: {error}"));
            }
            Ok::<_, AgreementsError>(())
        })?;
        Ok(())
    }

    fn restore_event(
        &self,
        active: &Active,
        key: &str,
        record: &[u8],
    ) -> Result<(), AgreementsError> {
        let (at, event) = read_record(key, record, SignedEvent::parse)?;
        if event.content().agreement != *active.id() {
            return Err(unreadable(key, "it belongs to another agreement"));
        }
        // A pending event that did not fit was never part of the history.
        let restored =
            active.life().lock().restore(&event, at, |one, other| self.auth.are_one(one, other));
        if let Err(error) = restored {
            tracing::warn!(key, %error, "an event that does not fit is ignored");
        }
        Ok(())
    }

    /// Stores an agreement together with the event that ends the superseded one.
    pub(super) fn supersede(
        &self,
        earlier: &Arc<Active>,
        later: &Standing,
        bytes: &[u8],
    ) -> Result<(), AgreementsError> {
        let evidence = Some(*later.id());
        let event = self.own_event(earlier, Change::Complete, Reason::Superseded, evidence, None);
        let event = event.map_err(AgreementsError::Event)?;
        let now = self.now_kept();
        let mut lifecycle = earlier.life().lock();
        let mut changed = lifecycle.clone();
        changed.apply(&event, now, |one, other| one == other).map_err(AgreementsError::Event)?;
        let ((key, record), id) = (record(&event, now), later.id().to_string());
        self.store.put_all(&[(Table::Events, &key, &record), (Table::Agreements, &id, bytes)])?;
        self.count_events(&lifecycle, &event);
        *lifecycle = changed;
        earlier.life().runs_until.store(i64::MIN, Ordering::Release);
        Ok(())
    }
}

/// A stored event: when the host took it, and its envelope.
fn record(event: &SignedEvent, now: Timestamp) -> (String, Vec<u8>) {
    let Event { agreement, sequence, .. } = event.content();
    let mut record = now.as_microsecond().to_le_bytes().to_vec();
    record.extend_from_slice(&event.to_bytes());
    (format!("{agreement}/{sequence:010}"), record)
}

fn read_record(
    key: &str,
    record: &[u8],
    read: fn(&[u8]) -> Result<SignedEvent, StatementError>,
) -> Result<(Timestamp, SignedEvent), AgreementsError> {
    let (at, envelope) =
        record.split_first_chunk::<8>().ok_or_else(|| unreadable(key, "its time is missing"))?;
    let at = Timestamp::from_microsecond(i64::from_le_bytes(*at));
    let at = at.map_err(|_| unreadable(key, "its time is not valid"))?;
    let event = read(envelope).map_err(|error| AgreementsError::DamagedEvent {
        key: key.to_owned(),
        source: error.into(),
    })?;
    Ok((at, event))
}

fn unreadable(key: &str, reason: &str) -> AgreementsError {
    AgreementsError::DamagedEvent {
        key: key.to_owned(),
        source: StatementError::Malformed { reason: reason.to_owned() }.into(),
    }
}
