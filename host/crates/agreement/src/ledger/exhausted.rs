//! Which limit is exhausted, and when to retry.

use std::time::Duration;

use super::limits::Metered;

/// An exhausted limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    Count(Metered),
    Credit(Metered),
    MeteredTime,
    ElapsedTime,
    Interval,
    PerInterval,
    Rate,
    Concurrency,
}

/// Why nothing could be reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted {
    pub limit: Limit,
    /// The limit: units, calls, or microseconds.
    pub max: u64,
    /// When to retry, if waiting helps.
    pub retry_after: Option<Duration>,
    /// Whether the limit belongs to a parent of the caller's agreement.
    pub above: bool,
}

impl Limit {
    /// A stable name, for receipts and problems.
    pub const fn code(self) -> &'static str {
        match self {
            Limit::Count(_) => "count-used-up",
            Limit::Credit(_) => "credit-used-up",
            Limit::MeteredTime => "metered-time-used-up",
            Limit::ElapsedTime => "elapsed-time-over",
            Limit::Interval => "interval",
            Limit::PerInterval => "calls-per-interval",
            Limit::Rate => "call-rate",
            Limit::Concurrency => "concurrency",
        }
    }

    /// The term of the agreement.
    pub const fn term(self) -> &'static str {
        match self {
            Limit::Count(_) => "count",
            Limit::Credit(_) => "hospes:credit",
            Limit::MeteredTime => "meteredTime",
            Limit::ElapsedTime => "elapsedTime",
            Limit::Interval => "timeInterval",
            Limit::PerInterval => "hospes:callsPerInterval",
            Limit::Rate => "hospes:callRate",
            Limit::Concurrency => "hospes:concurrency",
        }
    }
}

impl std::fmt::Display for Exhausted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (max, seconds) = (self.max, Duration::from_micros(self.max).as_secs_f64());
        match self.limit {
            Limit::Count(unit) => {
                write!(f, "all {max} {} that the agreement allows are used", unit.name())
            }
            Limit::Credit(unit) => {
                write!(f, "the credit is used up: it pays for {max} {}", unit.name())
            }
            Limit::MeteredTime => write!(f, "all {seconds} s of running time are used"),
            Limit::ElapsedTime => write!(f, "{seconds} s have passed since the first call"),
            Limit::Interval => write!(f, "calls begin {seconds} s apart"),
            Limit::PerInterval => write!(f, "all {max} calls of this period are used"),
            Limit::Rate => {
                write!(f, "calls come faster than the agreement allows (bursts of {max})")
            }
            Limit::Concurrency => {
                write!(f, "{max} calls are already running, the most that the agreement allows")
            }
        }?;
        if self.above {
            f.write_str(", in an agreement above this one")?;
        }
        Ok(())
    }
}
