//! What is on its way into the file, who waits for it, and whether anything is written at all.

use std::collections::hash_map::Entry;
use std::task::Waker;

use super::super::{Draft, NewAction, ReceiptError};
use hospes_core::id::{ById, CallId};

/// What has a place in the log and is not spelled yet.
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

/// Receipts on their way into the file.
#[derive(Default)]
pub(super) struct Queue {
    /// Where the receipt of each call, and each action, is or is going to be: as many as have a place.
    pub(super) calls: ById<CallId, u64>,
    /// Those that have their place in the log and are not in the file yet.
    pending: Vec<Pending>,
    /// How many are in the file: those from here on wait, or were lost when a write failed.
    pub(super) written: u64,
    /// Those who wait for them; the first of them writes.
    pub(super) waiting: Vec<Waker>,
    pub(super) has_writer: bool,
    /// Why nothing is written now.
    stopped: Option<Stopped>,
    /// Lost receipts whose calls have not taken back yet what they counted.
    unsettled: usize,
    /// Places that nobody waits for any more, of receipts that are not in the file yet.
    left: Vec<u64>,
}

/// Why nothing is written now.
#[derive(Debug, Clone)]
pub(super) struct Stopped {
    pub(super) cause: String,
    pub(super) cure: Cure,
}

/// What has to be done before receipts are written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cure {
    /// The file is cut to what it holds for certain.
    Cut,
    /// What was not synced is written once more: what a failed sync has dropped, no later one brings back.
    WriteAgain,
    /// There is none but a restart: what is in memory may be half done.
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

    /// Hands over those that wait, in order, into `taken`, which is empty.
    pub(super) fn take(&mut self, taken: &mut Vec<Pending>) -> Result<(), ReceiptError> {
        self.goes_on()?;
        std::mem::swap(&mut self.pending, taken);
        Ok(())
    }

    /// All that had been handed over is in the file, which holds so many now.
    pub(super) fn wrote(&mut self, written: u64) {
        self.written = written;
        self.left.retain(|index| *index >= written);
        self.wake_all();
    }

    /// From here on nothing is written until what is wrong is cured. The receipts of these calls and all that wait are lost: they
    /// do not exist, and their calls are told so.
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

    /// What has to be done before receipts are written again; none while they are, or while calls are still to take back what they
    /// counted: a receipt that is written then would say more than was used.
    pub(super) fn cure(&self) -> Option<Cure> {
        let cure = self.stopped.as_ref().map(|stopped| stopped.cure);
        cure.filter(|cure| *cure != Cure::Restart && self.unsettled == 0)
    }

    /// What was wrong is cured.
    pub(super) fn resume(&mut self) {
        self.stopped = None;
    }

    /// The call with this place has what it counted, or has taken it back.
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
