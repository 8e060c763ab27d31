//! The minimum speed of a peer. The host waits for a peer for a grace period, and longer only if the peer keeps a minimum rate.
//!
//! Only the time of waiting for the peer counts, not the host's own time.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use hospes_config as config;

/// How long the host waits for a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The grace period.
    grace: Duration,
    /// The average bytes per second at which the peer gets more time.
    bytes_per_second_min: u64,
    /// Maximum total wait.
    most: Duration,
    /// Maximum wait without progress.
    stretch: Duration,
}

impl Pace {
    /// The pace of these settings, with a total wait of at most `most`.
    pub fn of(api: &config::Api, most: Duration) -> Self {
        let bytes_per_second_min = api.body_bytes_per_second_min.get() as u64;
        Self { grace: api.body_grace.min(most), bytes_per_second_min, most, stretch: most }
    }

    /// The pace for a peer that blocks a sandbox: the host never waits longer than the grace period without progress, however many bytes came
    /// before.
    #[must_use]
    pub fn before_others(self) -> Self {
        Self { stretch: self.grace, ..self }
    }

    /// The total wait for a peer that has sent or received this many bytes.
    fn allowed(&self, bytes: u64) -> Duration {
        let earned = Duration::from_millis(bytes.saturating_mul(1000) / self.bytes_per_second_min);
        earned.clamp(self.grace, self.most.max(self.grace))
    }
}

/// A peer was too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooSlow {
    bytes: u64,
    waited: Duration,
    pace: Pace,
}

impl std::fmt::Display for TooSlow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { bytes, waited, pace } = self;
        if *waited >= pace.most {
            let seconds = pace.most.as_secs_f64();
            return write!(
                f,
                "the body did not arrive within {seconds} s, only {bytes} bytes of it"
            );
        }
        write!(
            f,
            "the body came too slowly: {bytes} bytes in {:.1} s, but after {} s (`api.body_grace`) the average must be {} bytes a second (`api.body_bytes_per_second_min`)",
            waited.as_secs_f64(),
            pace.grace.as_secs_f64(),
            pace.bytes_per_second_min
        )
    }
}

impl std::error::Error for TooSlow {}

/// Measures the waiting time.
#[derive(Debug)]
pub struct Watch {
    pace: Pace,
    bytes: u64,
    waited: Duration,
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Watch {
    pub fn new(pace: Pace) -> Self {
        Self { pace, bytes: 0, waited: Duration::ZERO, since: None, timer: None }
    }

    /// Records that the peer has sent or received `bytes`.
    pub fn moved(&mut self, bytes: u64) {
        if let Some(since) = self.since.take() {
            self.waited += since.elapsed();
        }
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Starts again, with no progress and no wait so far.
    pub fn again(&mut self) {
        (self.bytes, self.waited, self.since) = (0, Duration::ZERO, None);
    }

    /// Records that there is no progress. Ready when the wait has become too long.
    pub fn poll_wait(&mut self, context: &mut Context<'_>) -> Poll<TooSlow> {
        let allowed = self.pace.allowed(self.bytes);
        let begins = self.since.is_none();
        let since = *self.since.get_or_insert_with(Instant::now);
        let left = allowed.saturating_sub(self.waited).min(self.pace.stretch);
        let until = since + left;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if begins {
            timer.as_mut().reset(until);
        }
        if timer.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        let waited = self.waited + since.elapsed();
        Poll::Ready(TooSlow { bytes: self.bytes, waited, pace: self.pace })
    }
}
