//! Decides whether a permitted call may start now.
//!
//! Refuses at once: the count of the agreement, which no waiting brings back. Waits, a bounded time in a bounded queue: a
//! free sandbox. Does not know why the caller may call (`agreement`) nor what the call runs (`sandbox`).

pub mod quota;
pub mod slots;

use std::sync::Arc;

use jiff::Timestamp;

pub use quota::{Counter, Reservation};
pub use slots::{Slot, Slots};

/// Why a call may not start now.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    #[error("all {max} calls that the agreement allows are used{}", until(*.ends))]
    CountUsedUp { max: u64, ends: Option<Timestamp> },
    #[error(
        "all {slots} sandboxes are busy and {queue_length_max} calls wait already; try again shortly"
    )]
    QueueFull { slots: usize, queue_length_max: usize },
    #[error("no sandbox became free within {} ms; try again shortly", waited.as_millis())]
    QueueTimeout { waited: std::time::Duration },
}

fn until(ends: Option<Timestamp>) -> String {
    ends.map_or_else(String::new, |ends| format!("; it ends at {ends}"))
}

/// A way in which a call may be counted: one permission that allows it.
#[derive(Debug, Clone)]
pub struct Allowance {
    /// Which rule of the agreement allows the call.
    pub rule: u16,
    /// Where that rule's calls are counted.
    pub counter: Arc<Counter>,
    /// When the rule ends, for the caller whose count is used up.
    pub ends: Option<Timestamp>,
}

/// Permission for one call to run. Dropping it frees the sandbox and gives the reserved call back.
#[must_use]
#[derive(Debug)]
pub struct Admission {
    rule: u16,
    reservation: Reservation,
    slot: Slot,
}

impl Admission {
    /// Reserves one call on the first of `allowances` that has one left, then waits for a sandbox.
    ///
    /// # Errors
    /// [`AdmissionError`] names the limit that refused. Nothing is held then.
    pub async fn admit(
        slots: &Slots,
        allowances: impl IntoIterator<Item = Allowance>,
    ) -> Result<Self, AdmissionError> {
        let (rule, reservation) = reserve(allowances)?;
        let slot = slots.acquire().await?;
        Ok(Self { rule, reservation, slot })
    }

    /// The rule of the agreement that the call is counted under.
    pub fn rule(&self) -> u16 {
        self.rule
    }

    /// Frees the sandbox and keeps the reserved call, to be counted or given back.
    pub fn end(self) -> (u16, Reservation) {
        drop(self.slot);
        (self.rule, self.reservation)
    }
}

fn reserve(
    allowances: impl IntoIterator<Item = Allowance>,
) -> Result<(u16, Reservation), AdmissionError> {
    let mut refused = AdmissionError::CountUsedUp { max: 0, ends: None };
    for Allowance { rule, counter, ends } in allowances {
        match counter.reserve() {
            Some(reservation) => return Ok((rule, reservation)),
            None => refused = AdmissionError::CountUsedUp { max: counter.max(), ends },
        }
    }
    Err(refused)
}
