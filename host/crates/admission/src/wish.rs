//! What a caller asks for besides a turn: its place among its own account's waiters, and until when a turn is of use to it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The order of one account's waiters among each other. It never changes the order of accounts, so that nobody gets more by asking for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// The number of levels. The first is served first.
    pub const LEVELS: u8 = 9;

    /// The level of callers that name none.
    pub const DEFAULT: Self = Self(5);

    /// The level in Triton's numbers: 1 is the first, 0 the default. A number above [`Self::LEVELS`] is the last level.
    pub fn of(number: u64) -> Self {
        match u8::try_from(number) {
            Ok(0) => Self::DEFAULT,
            Ok(level) => Self(level.min(Self::LEVELS)),
            Err(_) => Self(Self::LEVELS),
        }
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What a caller asks for besides a turn.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish {
    pub priority: Priority,
    /// How long its turn takes, as measured before; `None` if too little was measured.
    pub takes: Option<Took>,
    /// When its answer is of no use any more.
    pub until: Option<Instant>,
}

/// How long something took so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Took {
    /// On average over the latest.
    pub mean_nanos: u64,
    /// As long as it takes at least: almost the shortest of the latest.
    pub least_nanos: u64,
}

/// Measurements below this number are no basis for a refusal.
const SAMPLES_MIN: u64 = 16;

/// The latest measurements that an average covers, about.
const COVERED: u64 = 8;

/// The least rises by this part of its distance to a longer measurement, so that one lucky run does not count for ever.
const LEAST_RISES: u64 = 32;

/// A running estimate of how long something takes. Writers may overwrite each other's measurement, which is one of many.
#[derive(Debug, Default)]
pub struct Estimate {
    samples: AtomicU64,
    mean: AtomicU64,
    least: AtomicU64,
}

impl Estimate {
    /// Counts one measurement.
    pub fn learn(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).clamp(1, u64::MAX / COVERED);
        let seen = self.samples.load(Ordering::Relaxed);
        let mean = self.mean.load(Ordering::Relaxed);
        let least = self.least.load(Ordering::Relaxed);
        if seen == 0 {
            self.mean.store(nanos, Ordering::Relaxed);
            self.least.store(nanos, Ordering::Relaxed);
        } else {
            // The first few count as much as they are, so that a slow first run is soon forgotten.
            let covered = seen.min(COVERED - 1);
            let mean = (mean.saturating_mul(covered).saturating_add(nanos)) / (covered + 1);
            let raised = least.saturating_add(nanos.saturating_sub(least) / LEAST_RISES);
            self.mean.store(mean, Ordering::Relaxed);
            self.least.store(raised.min(nanos), Ordering::Relaxed);
        }
        self.samples.store(seen.saturating_add(1), Ordering::Relaxed);
    }

    /// What it takes; `None` after too few measurements.
    pub fn took(&self) -> Option<Took> {
        (self.samples.load(Ordering::Relaxed) >= SAMPLES_MIN).then(|| Took {
            mean_nanos: self.mean.load(Ordering::Relaxed),
            least_nanos: self.least.load(Ordering::Relaxed),
        })
    }
}

impl Wish {
    /// Whether a turn that begins after `ahead_nanos` of others' work, which `at_once` of them do at the same time, cannot end in time.
    /// Without measurements nothing is certain.
    pub fn comes_too_late(&self, ahead_nanos: u64, at_once: usize, now: Instant) -> Option<Late> {
        let (until, takes) = (self.until?, self.takes?);
        let at_once = u64::try_from(at_once).unwrap_or(u64::MAX).max(1);
        let wait = Duration::from_nanos(ahead_nanos / at_once);
        let takes = Duration::from_nanos(takes.least_nanos);
        let left = until.saturating_duration_since(now);
        (wait.saturating_add(takes) > left).then_some(Late { wait, takes, left })
    }
}

/// Why something is not begun: it would end after its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it would end after its deadline: it has {} ms, but about {} ms of work wait before it, and it takes at least {} ms",
    millis(*left), millis(*wait), millis(*takes)
)]
pub struct Late {
    /// How long it would wait.
    pub wait: Duration,
    /// How long it takes at least.
    pub takes: Duration,
    /// The time until its deadline.
    pub left: Duration,
}

impl Late {
    /// When a try may succeed; `None` if its time is too short even without waiting.
    pub fn again_after(&self) -> Option<Duration> {
        (self.takes <= self.left).then_some(self.wait)
    }
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e4).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: u64 = 1_000_000;

    #[test]
    fn zero_is_the_default_and_one_the_first() {
        assert_eq!(Priority::of(0), Priority::default());
        assert!(Priority::of(1) < Priority::of(2) && Priority::of(4) < Priority::of(0));
        assert!(Priority::of(0) < Priority::of(6));
        for beyond in [9, 10, 255, 256, u64::MAX] {
            assert_eq!(Priority::of(beyond).number(), Priority::LEVELS);
        }
    }

    #[test]
    fn nothing_is_known_after_few_measurements_and_a_slow_first_one_is_forgotten() {
        let estimate = Estimate::default();
        estimate.learn(Duration::from_secs(10));
        for _ in 2..SAMPLES_MIN {
            estimate.learn(Duration::from_millis(2));
            assert_eq!(estimate.took(), None);
        }
        for _ in 0..50 {
            estimate.learn(Duration::from_millis(2));
        }
        let took = estimate.took().expect("enough");
        assert_eq!(took.least_nanos, 2 * MILLI);
        assert!((2 * MILLI..3 * MILLI).contains(&took.mean_nanos), "{took:?}");
        estimate.learn(Duration::from_millis(1));
        for _ in 0..1000 {
            estimate.learn(Duration::from_millis(4));
        }
        let took = estimate.took().expect("enough");
        assert!(took.least_nanos > 3 * MILLI, "one quick run does not count for ever: {took:?}");
        assert!(took.least_nanos <= took.mean_nanos, "{took:?}");
    }

    #[test]
    fn only_what_is_sure_to_come_too_late_is_refused() {
        let now = Instant::now();
        let takes = Some(Took { mean_nanos: 10 * MILLI, least_nanos: 8 * MILLI });
        let until = Some(now + Duration::from_millis(20));
        let wish = Wish { takes, until, ..Wish::default() };
        assert_eq!(wish.comes_too_late(0, 1, now), None);
        assert_eq!(wish.comes_too_late(24 * MILLI, 2, now), None, "two work at once");
        let late = wish.comes_too_late(26 * MILLI, 2, now).expect("13 + 8 > 20");
        assert_eq!(late.again_after(), Some(Duration::from_millis(13)));
        let short = Wish { until: Some(now + Duration::from_millis(7)), ..wish };
        let late = short.comes_too_late(0, 1, now).expect("8 > 7");
        assert_eq!(late.again_after(), None, "waiting does not help");
        assert!(Wish { takes: None, ..short }.comes_too_late(u64::MAX, 1, now).is_none());
        assert!(Wish { until: None, ..short }.comes_too_late(u64::MAX, 1, now).is_none());
    }
}
