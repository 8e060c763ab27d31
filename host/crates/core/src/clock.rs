//! The host's clock, the only place that asks the system for the time, so that tests can set it.

mod steady;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;

pub use steady::SteadyClock;

/// Tells the time of day: the system's, or a test's.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The operating system's clock.
    #[default]
    System,
    /// A clock that stands still until [`ManualClock::advance`] moves it.
    Manual(Arc<ManualClock>),
    /// A clock that never goes back, for the host's decisions.
    Steady(Arc<SteadyClock>),
}

impl Clock {
    /// The time now, in UTC.
    pub fn now(&self) -> Timestamp {
        match self {
            Clock::System => Timestamp::now(),
            Clock::Manual(clock) => clock.now(),
            Clock::Steady(clock) => clock.now(),
        }
    }

    /// The same clock, made steady: it never goes back.
    #[must_use]
    pub fn steady(self) -> Self {
        match self {
            Clock::Steady(_) => self,
            Clock::System | Clock::Manual(_) => Clock::Steady(Arc::new(SteadyClock::new(self))),
        }
    }

    /// Tells a steady clock that `at` was once the present.
    pub fn has_been(&self, at: Timestamp) {
        if let Clock::Steady(clock) = self {
            clock.has_been(at);
        }
    }
}

/// A clock for tests.
#[derive(Debug)]
pub struct ManualClock {
    /// Microseconds since the Unix epoch.
    micros: AtomicI64,
}

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn at(start: Timestamp) -> Arc<Self> {
        Arc::new(Self { micros: AtomicI64::new(start.as_microsecond()) })
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: std::time::Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.micros.fetch_add(micros, Ordering::SeqCst);
    }

    /// Sets the clock, also backwards.
    pub fn set(&self, to: Timestamp) {
        self.micros.store(to.as_microsecond(), Ordering::SeqCst);
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_microsecond(self.micros.load(Ordering::SeqCst)).unwrap_or(Timestamp::MAX)
    }
}
