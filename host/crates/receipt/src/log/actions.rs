//! Actions in the log, between the receipts.

use std::ops::Range;

use super::queue::Pending;
use super::{Log, Shared, Signed};
use crate::{Action, NewAction, ReceiptError, ReceiptProof};

impl Log {
    /// Appends an action durably.
    ///
    /// # Errors
    /// [`ReceiptError::UnsoundAction`], [`ReceiptError::Write`], [`ReceiptError::Stopped`]. The action may still be in the log after a
    /// restart.
    pub fn act(&self, new: NewAction) -> Result<(), ReceiptError> {
        if !new.is_sound() {
            return Err(ReceiptError::UnsoundAction);
        }
        let index = self.shared.queue().enter(new.id, Pending::Action(new))?;
        let written = self.shared.flush();
        // An action has no counts to correct.
        self.shared.queue().leave(index);
        written
    }

    /// Every action, in order, with its place in the log.
    pub fn actions(&self) -> Vec<(u64, Action)> {
        self.actions_in(0..usize::MAX)
    }

    /// The existing actions with these numbers, with their places in the log.
    pub fn actions_in(&self, numbers: Range<usize>) -> Vec<(u64, Action)> {
        drop(self.shared.write_pending());
        let state = self.shared.state();
        let end = numbers.end.min(state.actions.len());
        state.actions[numbers.start.min(end)..end].to_vec()
    }

    /// The number of actions. Waits for running writes.
    pub fn action_count(&self) -> u64 {
        self.shared.state().actions.len() as u64
    }

    /// The action at a place in the log, with its inclusion proof.
    ///
    /// # Errors
    /// [`ReceiptError::NoAction`]; as [`Log::find`] and [`Log::flush`].
    pub fn prove_action(&self, index: u64) -> Result<ReceiptProof, ReceiptError> {
        if !self.shared.state().is_action(index) {
            return Err(ReceiptError::NoAction(index));
        }
        self.shared.prove(index)?.ok_or(ReceiptError::NoAction(index))
    }
}

impl Shared {
    /// The proof of the entry at a place; `None` if there is none. Flushes first if no checkpoint covers it yet.
    pub(super) fn prove(&self, index: u64) -> Result<Option<ReceiptProof>, ReceiptError> {
        if self.signed().size <= index {
            self.flush()?;
        }
        let Signed { note, size, .. } = self.signed();
        let bytes = self.read_leaf(index)?;
        let path = self.state().tree.inclusion(index, size);
        Ok(path.map(|path| ReceiptProof::new(bytes, index, path, note)))
    }
}
