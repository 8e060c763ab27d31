//! Decides whether a permitted call may start now, and shares other contended resources: turns, memory, and space for request bodies.
//!
//! If one of the agreement's limits on all calls is reached, the call is refused at once, because waiting does not help. Otherwise it waits
//! for a free sandbox, in a bounded queue and for a bounded time. This crate does not know agreements, guests or HTTP.

pub mod apart;
pub mod bodies;
pub mod fair;
pub mod heavy;
pub mod memory;
pub mod pace;
pub mod room;
mod share;
pub mod slots;
pub mod spools;
pub mod turns;
mod wish;

use std::sync::Arc;

use jiff::Timestamp;

pub use hospes_agreement::ledger::{
    Charge, Charged, Exhausted, Ledger, Limit, Reservation, Spent, TokenTab, Usage, Want,
};
use hospes_core::id::AccountName;

pub use apart::{ApartError, READ_HERE_BYTES_MAX, Reader};
pub use bodies::{Bodies, BodiesError, BodyLimits, Held, Holder};
pub use fair::{Asker, FairLine, FairTurn, FairTurns};
pub use heavy::{PerAccount, Rate, TurnError, UnderWay};
pub use memory::{Allotment, Memory, MemoryExhausted};
pub use pace::{Pace, TooSlow, Watch};
pub use room::{Footprint, NeverFits, Room, Taken};
pub use share::may_take_more;
pub use slots::{Line, Slot, Slots};
pub use spools::{Spooling, Spools};
pub use turns::{Cost, Ticket, Turn, Turns};
pub use wish::{Estimate, Late, Priority, Took, Wish};

/// Why a call may not start now.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    #[error("{}{}", exhausted, until(*.ends))]
    Exhausted { exhausted: Exhausted, ends: Option<Timestamp> },
    #[error(
        "all {slots} sandboxes are busy and {queue_length_max} calls are already waiting; try again shortly"
    )]
    QueueFull { slots: usize, queue_length_max: usize },
    #[error(
        "{own} of your calls are already waiting, your share of the {queue_length_max} places (`admission.queue_length_max`); try again shortly"
    )]
    QueueShareFull { own: usize, queue_length_max: usize },
    #[error("no sandbox became free within {} ms; try again shortly", waited.as_millis())]
    QueueTimeout { waited: std::time::Duration },
    #[error("no sandbox became free before the call's deadline, {} ms after it came", waited.as_millis())]
    Overdue { waited: std::time::Duration },
    #[error("{0}")]
    Late(#[from] Late),
    #[error("its caller has left")]
    Left,
}

fn until(ends: Option<Timestamp>) -> String {
    ends.map_or_else(String::new, |ends| format!("; it ends at {ends}"))
}

/// A permission that permits a call, and under which the call can be counted.
#[derive(Debug, Clone)]
pub struct Allowance {
    /// The agreement's rule that permits the call.
    pub rule: u16,
    /// The ledger of that rule's calls.
    pub ledger: Arc<Ledger>,
    /// The maximum that the call may use under that rule.
    pub want: Want,
    /// The end of the rule, which is shown to a caller who has used it up.
    pub ends: Option<Timestamp>,
}

/// Permission for one call to run. Dropping it frees the sandbox and releases the reservation.
#[must_use]
#[derive(Debug)]
pub struct Admission {
    rule: u16,
    reservation: Reservation,
    slot: Slot,
}

impl Admission {
    /// Reserves the call's maximum under the first of `allowances` that has enough left, then waits for a sandbox, unless `left` comes
    /// first.
    ///
    /// # Errors
    /// [`AdmissionError`] names the exhausted limit. Nothing stays reserved.
    pub async fn admit(
        slots: &Slots,
        (account, wish): (&AccountName, &Wish),
        allowances: impl IntoIterator<Item = Allowance>,
        left: impl Future<Output = ()>,
    ) -> Result<Self, AdmissionError> {
        let (rule, reservation) = reserve(allowances)?;
        let slot = tokio::select! {
            biased;
            slot = slots.acquire(account, wish) => slot?,
            () = left => {
                slots.count_abandoned();
                return Err(AdmissionError::Left);
            }
        };
        Ok(Self { rule, reservation, slot })
    }

    /// The agreement's rule that counts the call.
    pub fn rule(&self) -> u16 {
        self.rule
    }

    /// The call's reservation.
    pub fn reservation(&self) -> &Reservation {
        &self.reservation
    }

    /// Frees the sandbox and keeps the reservation, to be charged or released.
    pub fn end(self) -> (u16, Reservation) {
        drop(self.slot);
        (self.rule, self.reservation)
    }
}

fn reserve(
    allowances: impl IntoIterator<Item = Allowance>,
) -> Result<(u16, Reservation), AdmissionError> {
    let nothing = Exhausted { limit: Limit::Concurrency, max: 0, retry_after: None, above: false };
    let mut refused = AdmissionError::Exhausted { exhausted: nothing, ends: None };
    for Allowance { rule, ledger, want, ends } in allowances {
        match ledger.reserve(&want) {
            Ok(reservation) => return Ok((rule, reservation)),
            Err(exhausted) => refused = AdmissionError::Exhausted { exhausted, ends },
        }
    }
    Err(refused)
}
