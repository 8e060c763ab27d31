//! Entries that wait to be written, the calls that wait for them, and whether the log can write.

use std::collections::hash_map::Entry;
use std::task::Waker;

use super::super::{Draft, NewAction, ReceiptError};
use hospes_core::id::{ById, CallId};

/// An entry that has a place but is not serialised yet.
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
    /// The place of each receipt and action, written or not.
    pub(super) calls: ById<CallId, u64>,
    /// Entries that have a place but are not in the file yet.
    pending: Vec<Pending>,
    /// The number of entries in the file. Later ones wait, or were lost in a failed write.
    pub(super) written: u64,
    /// The waiters. The first of them writes.
    pub(super) waiting: Vec<Waker>,
    pub(super) has_writer: bool,
    /// Why nothing is written now.
    stopped: Option<Stopped>,
    /// The number of lost receipts whose calls have not been uncounted yet.
    unsettled: usize,
    /// Unwritten places whose calls no longer wait.
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
    /// Cut the file to its known content.
    Cut,
    /// Rewrite what was not synced. After a failed sync, a later sync does not write the dropped data.
    WriteAgain,
    /// Only a restart helps, because the state in memory may be inconsistent.
    Restart,
}

impl Queue {
    /// The queue of a log that contains the receipts of these calls.
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

    /// Checks that the log can write.
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

    /// Called when all taken entries are in the file, which now has `written` entries.
    pub(super) fn wrote(&mut self, written: u64) {
        self.written = written;
        self.left.retain(|index| *index >= written);
        self.wake_all();
    }

    /// Stops writing until the fault is repaired. The receipts of the calls in `lost` and all waiting ones are lost, and their calls are told
    /// so.
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

    /// Called when the fault is repaired.
    pub(super) fn resume(&mut self) {
        self.stopped = None;
    }

    /// Called when the call with this place has been counted or uncounted.
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
