//! Ends a running call that has computed for too long, or that waits when it must end.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::limits::LimitReached;
use crate::stop::Stops;

/// What ends a call while it waits for the host: the epoch does not tick there.
pub(super) struct Ends {
    pub(super) stop: Stops,
    pub(super) deadline: Instant,
}

impl Ends {
    /// The result of `work`, unless the call must end first.
    pub(super) async fn bound<T>(&self, work: impl Future<Output = T>) -> Result<T, LimitReached> {
        let deadline = tokio::time::Instant::from_std(self.deadline);
        tokio::select! {
            biased;
            cause = self.stop.wait() => Err(LimitReached::Ended(cause)),
            done = tokio::time::timeout_at(deadline, work) => {
                done.map_err(|_elapsed| LimitReached::Deadline)
            }
        }
    }
}

/// Measures the time that a call computes, without waiting.
#[derive(Debug)]
pub(super) struct CpuClock {
    began: Instant,
    max: Duration,
    /// Microseconds of finished polls.
    spent: AtomicU64,
    /// When the present poll began, in microseconds since `began`.
    since: AtomicU64,
}

impl CpuClock {
    pub fn new(max: Duration) -> Self {
        let (spent, since) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { began: Instant::now(), max, spent, since }
    }

    /// Whether there is time left; if not, how much there was.
    pub fn check(&self) -> Result<(), Duration> {
        let running = self.now().saturating_sub(self.since.load(Ordering::Relaxed));
        let spent = self.spent.load(Ordering::Relaxed).saturating_add(running);
        if Duration::from_micros(spent) >= self.max { Err(self.max) } else { Ok(()) }
    }

    /// Runs a future and measures each of its polls.
    pub async fn measure<F: Future>(clock: Arc<Self>, future: F) -> F::Output {
        struct Measured<'a, F> {
            clock: Arc<CpuClock>,
            future: Pin<&'a mut F>,
        }
        impl<F: Future> Future for Measured<'_, F> {
            type Output = F::Output;

            fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
                let began = self.clock.now();
                self.clock.since.store(began, Ordering::Relaxed);
                let polled = self.future.as_mut().poll(cx);
                let ended = self.clock.now();
                self.clock.spent.fetch_add(ended.saturating_sub(began), Ordering::Relaxed);
                self.clock.since.store(ended, Ordering::Relaxed);
                polled
            }
        }
        Measured { clock, future: pin!(future) }.await
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}
