//! One rule's limits over all its calls, as numbers.

use std::time::Duration;

use jiff::Timestamp;

/// A countable unit. Arrays of the four units have this order.
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

/// Usage of each unit.
pub type Amounts = [u64; 4];

/// A rule's limits over all its calls. `None` means unlimited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Maximum of each unit in total.
    pub most: [Option<u64>; 4],
    pub price: Option<Tariff>,
    /// Maximum time of all calls.
    pub metered_time: Option<Duration>,
    /// How long after the first call others may begin.
    pub elapsed_time: Option<Duration>,
    /// Minimum time between the starts of calls.
    pub interval: Option<Duration>,
    /// Maximum calls per period.
    pub per_interval: Option<PerInterval>,
    pub rate: Option<Rate>,
    /// Maximum concurrent calls.
    pub concurrency: Option<u64>,
}

impl Limits {
    /// Whether earlier usage can deny a later call: forgetting some of it could then permit too much.
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

/// A number of calls per period, from a moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerInterval {
    pub most: u64,
    /// At least a microsecond.
    pub period: Duration,
    pub from: Timestamp,
}

/// A bucket for a number of calls, refilled evenly over a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub burst: u64,
    pub period: Duration,
}

/// Unit prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tariff {
    pub unit: Metered,
    /// Millionths of the currency.
    pub micros: u64,
    /// Free units.
    pub free: u64,
    /// Maximum total price in millionths, if prepaid.
    pub credit: Option<u64>,
}

impl Tariff {
    /// The total price of these units, in millionths.
    pub fn of(&self, units: u64) -> u64 {
        units.saturating_sub(self.free).saturating_mul(self.micros)
    }

    /// Maximum units covered by the credit.
    pub fn units_max(&self) -> Option<u64> {
        Some(self.free.saturating_add(self.credit? / self.micros.max(1)))
    }
}

impl Rate {
    /// Microseconds until one call is refilled, rounded up.
    pub(super) fn each(self) -> i64 {
        let period = u64::try_from(self.period.as_micros()).unwrap_or(u64::MAX);
        i64::try_from(period.div_ceil(self.burst.max(1))).unwrap_or(i64::MAX)
    }
}

impl PerInterval {
    /// The number of the period containing `at`.
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
