//! What is on its way into the file, and who waits for it.

use std::collections::hash_map::Entry;
use std::task::Waker;

use super::super::{Draft, ReceiptError};
use crate::id::{ById, CallId};

/// Receipts on their way into the file.
#[derive(Default)]
pub(super) struct Queue {
    /// Where the receipt of each call is, or is going to be: as many as have a place.
    pub(super) calls: ById<CallId, u64>,
    /// Those that have their place in the log and are not in the file yet.
    pending: Vec<Draft>,
    /// How many are in the file: those from here on wait, or were lost when a write failed.
    pub(super) written: u64,
    /// Those who wait for them; the first of them writes.
    pub(super) waiting: Vec<Waker>,
    pub(super) has_writer: bool,
    /// Why nothing is written any more.
    stopped: Option<String>,
}

impl Queue {
    /// The queue of a log that holds the receipts of these calls.
    pub(super) fn behind(calls: ById<CallId, u64>) -> Self {
        Self { written: calls.len() as u64, calls, ..Self::default() }
    }

    /// Gives a receipt its place in the log.
    pub(super) fn enter(&mut self, draft: Draft) -> Result<u64, ReceiptError> {
        self.goes_on()?;
        let index = self.calls.len() as u64;
        match self.calls.entry(draft.call) {
            Entry::Occupied(_) => return Err(ReceiptError::Repeated(draft.call)),
            Entry::Vacant(place) => place.insert(index),
        };
        self.pending.push(draft);
        Ok(index)
    }

    /// Whether receipts are still written.
    pub(super) fn goes_on(&self) -> Result<(), ReceiptError> {
        match &self.stopped {
            None => Ok(()),
            Some(cause) => Err(ReceiptError::Stopped { cause: cause.clone() }),
        }
    }

    /// Hands over those that wait, in order, into `taken`, which is empty.
    pub(super) fn take(&mut self, taken: &mut Vec<Draft>) -> Result<(), ReceiptError> {
        self.goes_on()?;
        std::mem::swap(&mut self.pending, taken);
        Ok(())
    }

    /// From here on nothing is written.
    pub(super) fn stop(&mut self, cause: &str) {
        self.stopped.get_or_insert_with(|| cause.to_owned());
    }

    pub(super) fn wake_all(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }
}
