//! Limits how much one tenant or library may log.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hospes_core::id::{AccountName, ById};

/// Burst, in seconds' worth.
const BURST_SECONDS: u64 = 4;

/// Size of a line besides its text: time, level, call.
const LINE_BYTES: u64 = 120;

/// How often dropped lines are reported while lines are dropped.
const NOTICE_INTERVAL: Duration = Duration::from_secs(10);

/// A log rate limit in bytes per second. Excess lines are dropped, counted and reported.
#[derive(Debug)]
pub struct Allowance {
    who: Box<str>,
    bytes_per_second: u64,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    bytes: u64,
    filled: Instant,
    /// Dropped lines not reported yet.
    dropped: u64,
    said: Option<Instant>,
}

impl Allowance {
    /// The allowance of `who`: this many bytes per second, with a burst of four times that.
    pub fn new(who: &str, bytes_per_second: u64) -> Self {
        let bytes = bytes_per_second.saturating_mul(BURST_SECONDS);
        let bucket = Bucket { bytes, filled: Instant::now(), dropped: 0, said: None };
        Self { who: who.into(), bytes_per_second, bucket: Mutex::new(bucket) }
    }

    /// Its owner.
    pub fn who(&self) -> &str {
        &self.who
    }

    /// Whether a line of this size may be written now.
    pub fn admits(&self, bytes: usize) -> bool {
        self.admits_at(bytes, Instant::now())
    }

    fn admits_at(&self, bytes: usize, now: Instant) -> bool {
        let (admitted, dropped) = {
            let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
            let admitted = bucket.take(bytes as u64 + LINE_BYTES, self.bytes_per_second, now);
            if !admitted {
                bucket.dropped += 1;
            }
            (admitted, bucket.notice(admitted, now))
        };
        if dropped > 0 {
            let (who, limit) = (&*self.who, self.bytes_per_second);
            tracing::warn!(
                who,
                lines = dropped,
                limit,
                "log lines were dropped: they exceeded the limit of bytes per second"
            );
        }
        admitted
    }
}

/// Each publisher's allowance, shared by its plugins and the workers that compute its models.
#[derive(Debug)]
pub struct Allowances {
    bytes_per_second: u64,
    of: Mutex<ById<AccountName, Arc<Allowance>>>,
}

impl Allowances {
    /// This many bytes per second for each.
    pub fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, of: Mutex::default() }
    }

    /// A publisher's allowance.
    pub fn of(&self, publisher: &AccountName) -> Arc<Allowance> {
        let mut all = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Allowance::new(publisher.as_str(), self.bytes_per_second));
        Arc::clone(all.entry(publisher.clone()).or_insert_with(new))
    }
}

impl Bucket {
    fn take(&mut self, bytes: u64, rate: u64, now: Instant) -> bool {
        let millis = now.saturating_duration_since(self.filled).as_millis();
        let gained = u64::try_from(millis).unwrap_or(u64::MAX).saturating_mul(rate) / 1000;
        if gained > 0 {
            let most = rate.saturating_mul(BURST_SECONDS);
            self.bytes = self.bytes.saturating_add(gained).min(most);
            self.filled = now;
        }
        let enough = self.bytes >= bytes;
        if enough {
            self.bytes -= bytes;
        }
        enough
    }

    /// Dropped lines to be reported now.
    fn notice(&mut self, admitted: bool, now: Instant) -> u64 {
        let due =
            self.said.is_none_or(|said| now.saturating_duration_since(said) >= NOTICE_INTERVAL);
        if self.dropped == 0 || !(due || admitted) {
            return 0;
        }
        self.said = Some(now);
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_rate_is_dropped_and_every_drop_is_spoken_of() {
        let allowance = Allowance::new("mallory", 1000);
        let began = Instant::now();
        let admitted = |millis: u64, lines: u64| {
            let now = began + Duration::from_millis(millis);
            (0..lines).filter(|_| allowance.admits_at(880, now)).count()
        };
        assert_eq!(admitted(0, 100), 4, "what may come at once");
        assert_eq!(admitted(500, 100), 0);
        assert_eq!(admitted(2_600, 100), 2, "what has been gained since");
        let (mut lines, mut said) = (0_u64, 0);
        let mut bucket = Bucket { bytes: 0, filled: began, dropped: 0, said: None };
        for millis in (0..60_000).step_by(10) {
            let now = began + Duration::from_millis(millis);
            let admitted = bucket.take(5000, 1000, now);
            bucket.dropped += u64::from(!admitted);
            lines += u64::from(!admitted);
            said += bucket.notice(admitted, now);
        }
        assert!(lines > 5_900 && said + bucket.dropped == lines, "{said} of {lines}");
    }
}
