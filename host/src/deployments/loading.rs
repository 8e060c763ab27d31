//! Versions that are still to be loaded, in the order in which they will be.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use super::{Deployment, Published};

/// Longest time that a call waits for its version to be loaded; then it is told to try again.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// Calls that wait for a version to be loaded; one more is told to try again.
const WAITING_MAX: usize = 1024;

/// The versions that wait to be loaded, and how many have not been tried.
pub struct Loading {
    queue: Mutex<VecDeque<Arc<Published>>>,
    left: watch::Sender<usize>,
    settled: AtomicU64,
    /// For calls that wait.
    places: Semaphore,
}

impl Default for Loading {
    fn default() -> Self {
        Self {
            queue: Mutex::default(),
            left: watch::Sender::new(0),
            settled: AtomicU64::new(0),
            places: Semaphore::new(WAITING_MAX),
        }
    }
}

impl Loading {
    /// Adds versions that are to be loaded.
    pub fn add(&self, versions: impl IntoIterator<Item = Arc<Published>>) {
        let mut queue = self.lock();
        let before = queue.len();
        queue.extend(versions);
        let added = queue.len() - before;
        self.left.send_modify(|left| *left += added);
    }

    /// The version that is to be loaded next, by the caller, who then says what came of it with [`Loading::done`].
    pub fn next(&self) -> Option<Arc<Published>> {
        let mut queue = self.lock();
        std::iter::from_fn(|| queue.pop_front()).find(|published| published.claim())
    }

    /// Waits until it is known whether a version loads, [`WAIT_MAX`] at most. It is the next that is loaded.
    pub async fn wait_for(&self, wanted: &Arc<Published>) {
        let Ok(_place) = self.places.try_acquire() else { return };
        if wanted.hurry() {
            // It is in the queue twice now, and claimed once.
            self.lock().push_front(Arc::clone(wanted));
        }
        // Who has waited in vain finds that it is still being loaded.
        let _ = tokio::time::timeout(WAIT_MAX, wanted.settled()).await;
    }

    /// What came of a version that was to be loaded.
    pub fn done(&self, published: &Published, loaded: Result<Arc<Deployment>, Arc<str>>) {
        published.settle(loaded);
        self.settled.fetch_add(1, Ordering::Release);
        self.left.send_modify(|left| *left = left.saturating_sub(1));
    }

    /// How many have been loaded or could not be.
    pub fn settled(&self) -> u64 {
        self.settled.load(Ordering::Acquire)
    }

    /// How many have not been tried yet.
    pub fn left(&self) -> usize {
        *self.left.borrow()
    }

    /// Waits until all have been tried.
    pub async fn finished(&self) {
        // The sender is this one's own, so it is never gone.
        let _ = self.left.subscribe().wait_for(|left| *left == 0).await;
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Published>>> {
        self.queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
