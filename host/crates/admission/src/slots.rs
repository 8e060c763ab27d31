//! Sandboxes: their number limits concurrent calls, and calls queue for them.
//!
//! Accounts share them fairly ([`super::fair`]), by the time that their calls hold sandboxes. No account can take all of them: see
//! [`super::may_take_more`].

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::AdmissionError;
use super::fair::{FairLine, FairTurn, FairTurns, NoTurn};
use super::wish::Wish;
use hospes_core::id::{AccountName, ById};

/// Expected time for which a call holds a sandbox. It is corrected by the actual time.
const HOLD_EXPECTED: Duration = Duration::from_millis(1);

/// The sandboxes of this host.
#[derive(Debug)]
pub struct Slots {
    slots: usize,
    turns: FairTurns<AccountName>,
    late: AtomicU64,
    abandoned: AtomicU64,
}

/// A call's sandbox. Dropping it gives it to the next call.
#[derive(Debug)]
pub struct Slot(#[expect(dead_code, reason = "held for its drop")] FairTurn<AccountName>);

/// The number of sandboxes, and the limits on waiting for them.
#[derive(Debug, Clone)]
pub struct Line {
    pub slots: NonZeroUsize,
    /// Maximum waiting calls.
    pub queue_length_max: usize,
    /// Maximum wait.
    pub queue_wait_max: Duration,
    /// Weights of accounts, where they are not 1.
    pub weights: ById<AccountName, NonZeroU32>,
}

impl Slots {
    /// Creates the sandboxes' slots, all free.
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
        let (late, abandoned) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { slots, turns: FairTurns::new(line), late, abandoned }
    }

    /// The number of calls that got no sandbox because of their deadline.
    pub fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    /// The number of calls that got no sandbox because their callers had left.
    pub fn abandoned(&self) -> u64 {
        self.abandoned.load(Ordering::Relaxed)
    }

    pub(super) fn count_abandoned(&self) {
        self.abandoned.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of free sandboxes.
    pub fn free(&self) -> usize {
        self.turns.free()
    }

    /// Takes a sandbox for a call of `account`, waiting if none is free for it. Calls of one account are served in order of their priority,
    /// then of arrival. A call that cannot end before its deadline gets none.
    ///
    /// # Errors
    /// [`AdmissionError::QueueFull`], [`AdmissionError::QueueShareFull`] and [`AdmissionError::Late`] at once,
    /// [`AdmissionError::QueueTimeout`] and [`AdmissionError::Overdue`] after the wait.
    pub async fn acquire(
        &self,
        account: &AccountName,
        wish: &Wish,
    ) -> Result<Slot, AdmissionError> {
        let slots = self.slots;
        let none = match self.turns.wait(account, wish).await {
            Ok(turn) => return Ok(Slot(turn)),
            Err(none) => none,
        };
        if matches!(none, NoTurn::Overdue { .. } | NoTurn::Late(_)) {
            self.late.fetch_add(1, Ordering::Relaxed);
        }
        Err(match none {
            NoTurn::Full { waiting_max: queue_length_max } => {
                AdmissionError::QueueFull { slots, queue_length_max }
            }
            NoTurn::ShareFull { own, waiting_max: queue_length_max } => {
                AdmissionError::QueueShareFull { own, queue_length_max }
            }
            NoTurn::Timeout { waited, .. } => AdmissionError::QueueTimeout { waited },
            NoTurn::Overdue { waited } => AdmissionError::Overdue { waited },
            NoTurn::Late(late) => AdmissionError::Late(late),
        })
    }
}

#[cfg(test)]
mod tests;
