//! A clock that never goes back, so that what has expired stays expired.
//!
//! If the clock beneath it goes back, this one continues at half the pace until the other has caught up. Rates and intervals keep working,
//! and a correction of one second is absorbed in two.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use jiff::Timestamp;

use super::Clock;

/// How far the known time runs ahead of the present, in microseconds, so that it is not written by every call. Only larger steps back are
/// noticed.
const AHEAD_MICROS: i64 = 1000;

/// A steady clock over another one.
#[derive(Debug)]
pub struct SteadyClock {
    beneath: Clock,
    /// No returned time is later, in microseconds.
    known: AtomicI64,
    behind: Mutex<Behind>,
}

/// Where the time continues from while the clock beneath is behind.
#[derive(Debug)]
struct Behind {
    from: i64,
    since: Instant,
    /// The last returned time. If the known time has changed since, the clock beneath was ahead meanwhile.
    told: i64,
}

impl SteadyClock {
    pub(super) fn new(beneath: Clock) -> Self {
        let behind = Behind { from: i64::MIN, since: Instant::now(), told: i64::MIN };
        Self { beneath, known: AtomicI64::new(i64::MIN), behind: Mutex::new(behind) }
    }

    pub(super) fn now(&self) -> Timestamp {
        let now = self.beneath.now();
        let micros = now.as_microsecond();
        let known = self.known.load(Ordering::Relaxed);
        if micros > known {
            self.known.fetch_max(micros.saturating_add(AHEAD_MICROS), Ordering::Relaxed);
            now
        } else if known.saturating_sub(micros) <= AHEAD_MICROS {
            now
        } else {
            Timestamp::from_microsecond(self.go_on(micros)).unwrap_or(now)
        }
    }

    pub(super) fn has_been(&self, at: Timestamp) {
        self.known.fetch_max(at.as_microsecond().saturating_add(AHEAD_MICROS), Ordering::Relaxed);
    }

    fn go_on(&self, beneath: i64) -> i64 {
        let mut behind = self.behind.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let known = self.known.load(Ordering::Relaxed);
        if behind.told != known {
            let micros = known.saturating_sub(beneath);
            tracing::warn!(
                micros,
                "the clock was set back: time continues from the latest known time at half speed"
            );
            *behind = Behind { from: known, since: Instant::now(), told: known };
        }
        let elapsed = i64::try_from(behind.since.elapsed().as_micros() / 2).unwrap_or(i64::MAX);
        behind.told = behind.from.saturating_add(elapsed).max(known);
        self.known.fetch_max(behind.told, Ordering::Relaxed);
        behind.told
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::ManualClock;
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_goes_on() {
        let noon: Timestamp = "2026-12-01T12:00:00Z".parse().expect("a time");
        let manual = ManualClock::at(noon);
        let clock = Clock::Manual(manual.clone()).steady();
        assert_eq!(clock.now(), noon);
        manual.advance(Duration::from_secs(60));
        let later = clock.now();
        assert_eq!(later, noon + Duration::from_secs(60));
        manual.set(noon);
        let began = Instant::now();
        let mut last = clock.now();
        assert!(last >= later);
        std::thread::sleep(Duration::from_millis(20));
        for _ in 0..100 {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
        assert!(last >= later + Duration::from_millis(10), "it does not stand still");
        let most = later + Duration::from_millis(1) + began.elapsed();
        assert!(last <= most, "{last} {most}");
        // As soon as the other has caught up, both agree again.
        manual.set(later + Duration::from_secs(1));
        assert_eq!(clock.now(), later + Duration::from_secs(1));
        // Times known before its start count too.
        let clock = Clock::Manual(ManualClock::at(noon)).steady();
        clock.has_been(later);
        assert!(clock.now() >= later);
    }
}
