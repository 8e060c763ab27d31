//! The queue of versions to be loaded: publishers take turns, so that one with slow versions does not block the others.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use super::{Deployment, Published};
use crate::id::AccountName;

/// Versions loaded at once: each bundle is held in memory while it is checked.
pub const LOADING_MAX: usize = 4;

/// The same per publisher: one turn is always left for others.
const OF_PUBLISHER_MAX: usize = LOADING_MAX - 1;

/// How long a call waits for its version to be loaded before it is told to retry.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// Calls that wait for a version to be loaded; further ones are told to retry.
const WAITING_MAX: usize = 1024;

/// The queue, and the number of versions not tried yet.
pub struct Loading {
    turns: Mutex<Turns>,
    left: watch::Sender<usize>,
    settled: AtomicU64,
    /// Notifies waiting calls.
    places: Semaphore,
}

/// Queued versions by publisher.
#[derive(Default)]
struct Turns {
    waiting: HashMap<AccountName, VecDeque<Arc<Published>>>,
    /// The same publishers: one of those with the fewest running loads is next.
    order: VecDeque<AccountName>,
    /// Versions being loaded: at most [`LOADING_MAX`].
    under_way: HashMap<AccountName, usize>,
}

impl Turns {
    fn add(&mut self, published: Arc<Published>) {
        let publisher = published.model().publisher.clone();
        let versions = self.waiting.entry(publisher.clone()).or_default();
        if versions.is_empty() {
            self.order.push_back(publisher);
        }
        versions.push_back(published);
    }

    /// Before its publisher's others, and its publisher before others.
    fn add_in_front(&mut self, published: Arc<Published>) {
        let publisher = published.model().publisher.clone();
        self.waiting.entry(publisher.clone()).or_default().push_front(published);
        self.order.retain(|name| *name != publisher);
        self.order.push_front(publisher);
    }

    /// The next version to load, if another may start. It counts until [`Turns::end`].
    fn next(&mut self) -> Option<Arc<Published>> {
        while self.under_way.values().sum::<usize>() < LOADING_MAX {
            let under_way = |name: &AccountName| self.under_way.get(name).copied().unwrap_or(0);
            let counts = self.order.iter().map(under_way).enumerate();
            let (place, fewest) = counts.min_by_key(|(_, count)| *count)?;
            if fewest >= OF_PUBLISHER_MAX {
                return None;
            }
            let publisher = self.order.remove(place)?;
            let mut versions = self.waiting.remove(&publisher).unwrap_or_default();
            let next =
                std::iter::from_fn(|| versions.pop_front()).find(|published| published.claim());
            if !versions.is_empty() {
                self.order.push_back(publisher.clone());
                self.waiting.insert(publisher.clone(), versions);
            }
            if next.is_some() {
                *self.under_way.entry(publisher).or_default() += 1;
                return next;
            }
        }
        None
    }

    fn end(&mut self, publisher: &AccountName) {
        if let Some(count) = self.under_way.get_mut(publisher) {
            *count -= 1;
            if *count == 0 {
                self.under_way.remove(publisher);
            }
        }
    }
}

impl Default for Loading {
    fn default() -> Self {
        Self {
            turns: Mutex::default(),
            left: watch::Sender::new(0),
            settled: AtomicU64::new(0),
            places: Semaphore::new(WAITING_MAX),
        }
    }
}

impl Loading {
    /// Queues versions.
    pub fn add(&self, versions: impl IntoIterator<Item = Arc<Published>>) {
        let mut turns = self.lock();
        let mut added = 0;
        for published in versions {
            turns.add(published);
            added += 1;
        }
        self.left.send_modify(|left| *left += added);
    }

    /// The next version to load. The caller reports the result with [`Loading::done`] and asks again. `None` if none may start now.
    pub fn next(&self) -> Option<Arc<Published>> {
        self.lock().next()
    }

    /// Waits until loading has succeeded or failed, at most [`WAIT_MAX`]. Moves the version to the front of its publisher's queue.
    pub async fn wait_for(&self, wanted: &Arc<Published>) {
        let Ok(_place) = self.places.try_acquire() else { return };
        if wanted.hurry() {
            // It is now in the queue twice, and claimed once.
            self.lock().add_in_front(Arc::clone(wanted));
        }
        // After the timeout it is still loading.
        let _ = tokio::time::timeout(WAIT_MAX, wanted.settled()).await;
    }

    /// Reports the result for a version from the queue.
    pub fn done(&self, published: &Published, loaded: Result<Arc<Deployment>, Arc<str>>) {
        published.settle(loaded);
        self.settled.fetch_add(1, Ordering::Release);
        self.lock().end(&published.model().publisher);
        self.left.send_modify(|left| *left = left.saturating_sub(1));
    }

    /// How many have been loaded or have failed.
    pub fn settled(&self) -> u64 {
        self.settled.load(Ordering::Acquire)
    }

    /// How many have not been tried yet.
    pub fn left(&self) -> usize {
        *self.left.borrow()
    }

    /// Waits until all have been tried.
    pub async fn finished(&self) {
        // The sender belongs to the same value, so it exists.
        let _ = self.left.subscribe().wait_for(|left| *left == 0).await;
    }

    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use semver::Version;

    use super::*;
    use crate::id::Digest;

    fn version(publisher: &str, number: u64) -> Arc<Published> {
        let model = format!("{publisher}/m").parse().expect("a model");
        Published::waiting(model, Version::new(number, 0, 0), Digest::of(b"bundle"))
    }

    fn named(published: Option<Arc<Published>>) -> String {
        published
            .map_or("none".into(), |p| format!("{}@{}", p.model().publisher, p.version().major))
    }

    #[test]
    fn publishers_take_turns_and_none_has_all_of_them() {
        let loading = Loading::default();
        loading.add((0..6).map(|number| version("acme", number)));
        loading.add([version("zoe", 0), version("zoe", 1), version("bob", 0)]);
        let next = || loading.next();
        let first = next().expect("one");
        assert_eq!(named(Some(Arc::clone(&first))), "acme@0");
        let zoe = next().expect("one");
        assert_eq!(
            (named(Some(Arc::clone(&zoe))), named(next())),
            ("zoe@0".into(), "bob@0".into())
        );
        // Each has one under way.
        assert_eq!(named(next()), "acme@1");
        assert_eq!(named(next()), "none", "four are loaded at once");
        loading.done(&zoe, Err("x".into()));
        assert_eq!(named(next()), "zoe@1", "it has none under way, and acme two");
        loading.done(&first, Err("x".into()));
        assert_eq!(named(next()), "acme@2");
        assert_eq!(named(next()), "none");
        assert_eq!(loading.left(), 7);
    }

    #[test]
    fn a_turn_is_left_for_who_comes_later_and_for_who_is_in_a_hurry() {
        let loading = Loading::default();
        loading.add((0..6).map(|number| version("acme", number)));
        let taken: Vec<_> = (0..3).map(|_| named(loading.next())).collect();
        assert_eq!(taken, ["acme@0", "acme@1", "acme@2"]);
        assert_eq!(named(loading.next()), "none", "of one publisher three are loaded at once");
        loading.add((0..3).map(|number| version("zoe", number)));
        let wanted = version("zoe", 9);
        loading.lock().add_in_front(Arc::clone(&wanted));
        loading.lock().add_in_front(wanted);
        assert_eq!(named(loading.next()), "zoe@9");
        let turns = loading.lock();
        assert_eq!((turns.waiting.len(), turns.order.len()), (2, 2), "a publisher waits once");
    }
}
