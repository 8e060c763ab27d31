//! Sandboxes: how many calls run at once, who waits for one, and whose turn it is.
//!
//! Accounts have fair turns ([`super::fair`]), by the time that their calls hold sandboxes. No account takes all of what there is: see
//! [`super::may_take_more`].

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use super::AdmissionError;
use super::fair::{FairLine, FairTurn, FairTurns, NoTurn};
use hospes_core::id::{AccountName, ById};

/// How long a sandbox is expected to be held. It is corrected when the sandbox is given back.
const HOLD_EXPECTED: Duration = Duration::from_millis(1);

/// The sandboxes of this host.
#[derive(Debug)]
pub struct Slots {
    slots: usize,
    turns: FairTurns<AccountName>,
}

/// A sandbox that one call has. Dropping it lets the next call in.
#[derive(Debug)]
pub struct Slot(#[expect(dead_code, reason = "held for its drop")] FairTurn<AccountName>);

/// How many sandboxes there are, and how calls wait for one.
#[derive(Debug, Clone)]
pub struct Line {
    pub slots: NonZeroUsize,
    /// Calls that wait.
    pub queue_length_max: usize,
    /// How long each of them waits.
    pub queue_wait_max: Duration,
    /// Shares of accounts, where they are not 1.
    pub weights: ById<AccountName, NonZeroU32>,
}

impl Slots {
    /// All sandboxes, free.
    pub fn new(line: Line) -> Self {
        let Line { slots, queue_length_max, queue_wait_max, weights } = line;
        let slots = slots.get();
        let line = FairLine {
            turns: slots,
            each_max: slots,
            waiting_max: queue_length_max,
            wait_max: queue_wait_max,
            expected: HOLD_EXPECTED,
            weights,
        };
        Self { slots, turns: FairTurns::new(line) }
    }

    /// Sandboxes that no call has.
    pub fn free(&self) -> usize {
        self.turns.free()
    }

    /// Takes a sandbox for a call of `account`, waiting for one if none is free for it. An account's own calls are served in the order
    /// they came.
    ///
    /// # Errors
    /// [`AdmissionError::QueueFull`] and [`AdmissionError::QueueShareFull`] at once, [`AdmissionError::QueueTimeout`] after the wait.
    pub async fn acquire(&self, account: &AccountName) -> Result<Slot, AdmissionError> {
        let slots = self.slots;
        self.turns.wait(account).await.map(Slot).map_err(|none| match none {
            NoTurn::Full { waiting_max: queue_length_max } => {
                AdmissionError::QueueFull { slots, queue_length_max }
            }
            NoTurn::ShareFull { own, waiting_max: queue_length_max } => {
                AdmissionError::QueueShareFull { own, queue_length_max }
            }
            NoTurn::Timeout { waited, .. } => AdmissionError::QueueTimeout { waited },
        })
    }
}

#[cfg(test)]
mod tests;
