//! What one rule of an agreement allows over all of its calls, as numbers.

use std::time::Duration;

use jiff::Timestamp;

/// Something that is counted. The numbers of the four lie in arrays by this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Metered {
    Calls,
    Rows,
    Bytes,
    Tokens,
}

impl Metered {
    pub const ALL: [Metered; 4] = [Metered::Calls, Metered::Rows, Metered::Bytes, Metered::Tokens];

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Metered::Calls => "calls",
            Metered::Rows => "rows",
            Metered::Bytes => "bytes",
            Metered::Tokens => "tokens",
        }
    }
}

/// How much of each was used.
pub type Amounts = [u64; 4];

/// Limits over all calls of a rule. What is `None` is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Most of each that may be used in all.
    pub most: [Option<u64>; 4],
    pub price: Option<Price>,
    /// Most time that all calls may run.
    pub metered_time: Option<Duration>,
    /// Time after the first call in which others may begin.
    pub elapsed_time: Option<Duration>,
    /// Least time between the beginnings of calls.
    pub interval: Option<Duration>,
    /// Most calls in each period.
    pub per_interval: Option<PerInterval>,
    pub rate: Option<Rate>,
    /// Most calls at the same time.
    pub concurrency: Option<u64>,
}

impl Limits {
    /// Whether what earlier calls used can forbid a later one: who forgets some of them can let too many happen.
    pub fn remember_calls(&self) -> bool {
        let Self { most, price, metered_time, elapsed_time, interval, per_interval, rate, .. } =
            self;
        most.iter().any(Option::is_some)
            || price.as_ref().is_some_and(|price| price.credit.is_some())
            || metered_time.is_some()
            || elapsed_time.is_some()
            || interval.is_some()
            || per_interval.is_some()
            || rate.is_some()
    }
}

/// So many calls in each period from a moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerInterval {
    pub most: u64,
    /// At least a microsecond.
    pub period: Duration,
    pub from: Timestamp,
}

/// A bucket of so many calls, refilled evenly over a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub burst: u64,
    pub period: Duration,
}

/// What units cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    pub unit: Metered,
    /// Millionths of the currency.
    pub micros: u64,
    /// Units that cost nothing.
    pub free: u64,
    /// Most that all units may cost, in millionths, if they are paid for in advance.
    pub credit: Option<u64>,
}

impl Price {
    /// What so many units cost in all, in millionths.
    pub fn of(&self, units: u64) -> u64 {
        units.saturating_sub(self.free).saturating_mul(self.micros)
    }

    /// Most units that the credit pays for.
    pub fn units_max(&self) -> Option<u64> {
        Some(self.free.saturating_add(self.credit? / self.micros.max(1)))
    }
}

impl PerInterval {
    /// The number of the period that `at` lies in.
    pub(super) fn index(&self, at: Timestamp) -> i64 {
        let period = i64::try_from(self.period.as_micros()).unwrap_or(i64::MAX).max(1);
        at.as_microsecond().saturating_sub(self.from.as_microsecond()).div_euclid(period)
    }

    /// When the next period begins.
    pub(super) fn next(&self, at: Timestamp) -> Timestamp {
        let period = i64::try_from(self.period.as_micros()).unwrap_or(i64::MAX).max(1);
        let next = (self.index(at) + 1).saturating_mul(period);
        Timestamp::from_microsecond(self.from.as_microsecond().saturating_add(next))
            .unwrap_or(Timestamp::MAX)
    }
}
