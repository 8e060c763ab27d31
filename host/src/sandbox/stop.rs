//! Ending a running call: from outside, or because it has computed long enough.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Ends every call that holds it.
#[derive(Debug, Default)]
pub struct Stop {
    set: AtomicBool,
    notify: Notify,
}

impl Stop {
    /// Ends the calls. A running guest notices at the next tick of the epoch, a waiting one at once.
    pub fn set(&self) {
        self.set.store(true, Ordering::SeqCst);
        self.notify.notify_waiters();
    }

    /// Whether calls have to end.
    pub fn is_set(&self) -> bool {
        self.set.load(Ordering::SeqCst)
    }

    /// Waits until calls have to end.
    pub(super) async fn wait(&self) {
        let mut notified = pin!(self.notify.notified());
        // Registered before the flag is read, so that nothing is missed in between.
        notified.as_mut().enable();
        if !self.is_set() {
            notified.await;
        }
    }
}

/// Measures the time that a call spends computing, not waiting.
#[derive(Debug)]
pub(super) struct CpuClock {
    began: Instant,
    max: Duration,
    /// Microseconds of polls that have ended.
    spent: AtomicU64,
    /// Microseconds since `began` at which the present poll began.
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
