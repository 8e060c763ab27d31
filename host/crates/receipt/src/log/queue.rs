//! Entries waiting to be written, their waiters, and whether the log can write at all.

use std::collections::hash_map::Entry;
use std::task::Waker;

use super::super::{Draft, NewAction, ReceiptError};
use hospes_core::id::{ById, CallId};

/// An entry with a place that is not serialised yet.
#[expect(clippy::large_enum_variant, reason = "nearly all of them are receipts")]
pub(super) enum Pending {
    Receipt(Draft),
    Action(NewAction),
}

impl Pending {
    fn id(&self) -> CallId {
        match self {
            Pending::Receipt(draft) => draft.call,
            Pending::Action(new) => new.id,
        }
    }
}

/// Receipts waiting to be written.
#[derive(Default)]
pub(super) struct Queue {
    /// The place of each call's receipt and each action, written or not.
    pub(super) calls: ById<CallId, u64>,
    /// Entries that have a place and are not in the file yet.
    pending: Vec<Pending>,
    /// The number in the file: later ones are waiting, or were lost in a failed write.
    pub(super) written: u64,
    /// The waiters; the first of them writes.
    pub(super) waiting: Vec<Waker>,
    pub(super) has_writer: bool,
    /// Why nothing is written now.
    stopped: Option<Stopped>,
    /// Lost receipts whose calls have not been uncounted yet.
    unsettled: usize,
    /// Unwritten places that nobody waits for any more.
    left: Vec<u64>,
}

/// Why nothing is written now.
#[derive(Debug, Clone)]
pub(super) struct Stopped {
    pub(super) cause: String,
    pub(super) cure: Cure,
}

/// What must be done before writing resumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cure {
    /// Cut the file to its certain content.
    Cut,
    /// Rewrite what was not synced: data dropped by a failed sync is not brought back by a later one.
    WriteAgain,
    /// Only a restart helps: the state in memory may be inconsistent.
    Restart,
}

impl Queue {
    /// The queue of a log that holds the receipts of these calls.
    pub(super) fn behind(calls: ById<CallId, u64>) -> Self {
        Self { written: calls.len() as u64, calls, ..Self::default() }
    }

    /// Gives a receipt or an action its place in the log.
    pub(super) fn enter(&mut self, id: CallId, pending: Pending) -> Result<u64, ReceiptError> {
        self.goes_on()?;
        let index = self.calls.len() as u64;
        match self.calls.entry(id) {
            Entry::Occupied(_) => return Err(ReceiptError::Repeated(id)),
            Entry::Vacant(place) => place.insert(index),
        };
        self.pending.push(pending);
        Ok(index)
    }

    /// Whether receipts are still written.
    pub(super) fn goes_on(&self) -> Result<(), ReceiptError> {
        match &self.stopped {
            None => Ok(()),
            Some(Stopped { cause, .. }) => Err(ReceiptError::Stopped { cause: cause.clone() }),
        }
    }

    /// Moves the waiting entries, in order, into `taken`, which is empty.
    pub(super) fn take(&mut self, taken: &mut Vec<Pending>) -> Result<(), ReceiptError> {
        self.goes_on()?;
        std::mem::swap(&mut self.pending, taken);
        Ok(())
    }

    /// All taken entries are in the file, which now has this many.
    pub(super) fn wrote(&mut self, written: u64) {
        self.written = written;
        self.left.retain(|index| *index >= written);
        self.wake_all();
    }

    /// Stops writing until the fault is repaired. These calls' receipts and all waiting ones are lost: they do not exist, and their calls
    /// are told so.
    pub(super) fn stop(&mut self, stopped: Stopped, lost: impl IntoIterator<Item = CallId>) {
        let before = self.calls.len();
        for call in lost {
            self.calls.remove(&call);
        }
        for pending in self.pending.drain(..) {
            self.calls.remove(&pending.id());
        }
        self.unsettled += before - self.calls.len();
        self.unsettled = self.unsettled.saturating_sub(self.left.len());
        self.left.clear();
        match &mut self.stopped {
            Some(earlier) if earlier.cure == Cure::Restart => {}
            earlier => *earlier = Some(stopped),
        }
        self.wake_all();
    }

    /// What must be done before writing resumes. `None` while the log writes, or while calls have yet to be uncounted, because a receipt
    /// written then would overstate usage.
    pub(super) fn cure(&self) -> Option<Cure> {
        let cure = self.stopped.as_ref().map(|stopped| stopped.cure);
        cure.filter(|cure| *cure != Cure::Restart && self.unsettled == 0)
    }

    /// The fault is repaired.
    pub(super) fn resume(&mut self) {
        self.stopped = None;
    }

    /// The call with this place has its count, or has been uncounted.
    pub(super) fn leave(&mut self, index: u64) {
        if index < self.written {
            return;
        }
        match self.stopped {
            Some(_) => self.unsettled = self.unsettled.saturating_sub(1),
            None => self.left.push(index),
        }
    }

    pub(super) fn wake_all(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }
}
