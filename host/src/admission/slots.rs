//! Sandboxes: how many calls run at once, and how many wait for their turn.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::AdmissionError;

/// The sandboxes of this host.
#[derive(Debug)]
pub struct Slots {
    slots: usize,
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
    queue_length_max: usize,
    queue_wait_max: Duration,
}

/// A sandbox that one call has. Dropping it lets the next call in.
#[derive(Debug)]
pub struct Slot(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Slots {
    /// `slots` sandboxes, with at most `queue_length_max` calls waiting at most `queue_wait_max` each.
    pub fn new(slots: NonZeroUsize, queue_length_max: usize, queue_wait_max: Duration) -> Self {
        let slots = slots.get();
        Self {
            slots,
            free: Arc::new(Semaphore::new(slots)),
            waiting: AtomicUsize::new(0),
            queue_length_max,
            queue_wait_max,
        }
    }

    /// Sandboxes that no call has.
    pub fn free(&self) -> usize {
        self.free.available_permits()
    }

    /// Takes a sandbox, waiting for one if all are busy. Calls are served in the order they came.
    ///
    /// # Errors
    /// [`AdmissionError::QueueFull`] at once, [`AdmissionError::QueueTimeout`] after the wait.
    pub async fn acquire(&self) -> Result<Slot, AdmissionError> {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Ok(Slot(permit));
        }
        let _place = self.queue()?;
        let permit = Arc::clone(&self.free).acquire_owned();
        match tokio::time::timeout(self.queue_wait_max, permit).await {
            Ok(permit) => Ok(Slot(permit.expect("invariant: the semaphore is never closed"))),
            Err(_elapsed) => Err(AdmissionError::QueueTimeout { waited: self.queue_wait_max }),
        }
    }

    /// Takes a place in the queue.
    fn queue(&self) -> Result<Place<'_>, AdmissionError> {
        let place = Place(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= self.queue_length_max {
            return Err(AdmissionError::QueueFull {
                slots: self.slots,
                queue_length_max: self.queue_length_max,
            });
        }
        Ok(place)
    }
}

/// A place in the queue, given up when dropped: also when the caller stops waiting.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(queue_length_max: usize) -> Arc<Slots> {
        let one = NonZeroUsize::MIN;
        Arc::new(Slots::new(one, queue_length_max, Duration::from_millis(50)))
    }

    #[tokio::test]
    async fn a_call_waits_its_turn_and_no_longer_than_allowed() {
        let slots = slots(1);
        let held = slots.acquire().await.expect("free");
        let refused = slots.acquire().await.expect_err("busy");
        assert!(matches!(refused, AdmissionError::QueueTimeout { .. }), "{refused}");
        drop(held);
        assert!(slots.acquire().await.is_ok());
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_a_caller_who_left_holds_no_place() {
        let slots = slots(1);
        let held = slots.acquire().await.expect("free");
        let waiting = tokio::spawn({
            let slots = Arc::clone(&slots);
            async move { slots.acquire().await.map(drop) }
        });
        tokio::task::yield_now().await;
        let refused = slots.acquire().await.expect_err("full");
        assert!(matches!(refused, AdmissionError::QueueFull { queue_length_max: 1, .. }));
        waiting.abort();
        let _ = waiting.await;
        let next = tokio::spawn({
            let slots = Arc::clone(&slots);
            async move { slots.acquire().await.map(drop) }
        });
        tokio::task::yield_now().await;
        drop(held);
        assert!(next.await.expect("no panic").is_ok(), "the place was free again");
    }
}
