//! The queue of versions to be loaded: publishers take turns, so that one with slow versions does not block the others.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, watch};

use super::published::Wanted;
use super::{Loaded, Outcome, Published, ResolveError};
use crate::id::AccountName;

/// Versions loaded at once: each bundle is held in memory while it is checked.
pub const LOADING_MAX: usize = 4;

/// The same per publisher: one turn is always left for others.
const OF_PUBLISHER_MAX: usize = LOADING_MAX - 1;

/// Bundles of up to so many bytes are loaded whatever else is being loaded.
const SMALL_BYTES_MAX: u64 = 32 << 20;

/// Bytes of larger bundles that are loaded at once, in MiB; one that is even larger is loaded without others of them.
const LARGE_MIB_MAX: u32 = 1 << 10;

/// How long a call waits for its version to be loaded before it is told to retry.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// Calls that wait for versions to be loaded; further ones are told to retry.
const WAITING_MAX: usize = 4096;

/// The queue, and who loads what is in it.
pub struct Loading {
    turns: Mutex<Turns>,
    left: AtomicUsize,
    shown: AtomicU64,
    /// Places for waiting calls.
    places: Semaphore,
    large: Semaphore,
    /// Versions of older hosts that are not described yet.
    unknown: watch::Sender<usize>,
    /// Called when there is something to load.
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
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
            left: AtomicUsize::new(0),
            shown: AtomicU64::new(0),
            places: Semaphore::new(WAITING_MAX),
            large: Semaphore::new(LARGE_MIB_MAX as usize),
            unknown: watch::Sender::new(0),
            wake: OnceLock::new(),
        }
    }
}

impl Loading {
    /// Sets what is called when there is something to load. It takes versions with [`Loading::next`] until there are none. Only the first
    /// one is set.
    pub fn loaded_by(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.wake.set(Box::new(wake));
    }

    /// The next version to load. The caller reports the result with [`Loading::done`] and asks again. `None` if none may start now.
    pub fn next(&self) -> Option<Arc<Published>> {
        self.lock().next()
    }

    /// Waits until a bundle of so many bytes may be loaded. Small ones need not wait for large ones.
    pub async fn place(&self, bytes: u64) -> Option<SemaphorePermit<'_>> {
        if bytes <= SMALL_BYTES_MAX {
            return None;
        }
        let mib = u32::try_from(bytes >> 20).unwrap_or(u32::MAX).min(LARGE_MIB_MAX);
        // The semaphore is never closed.
        self.large.acquire_many(mib).await.ok()
    }

    /// Loads a version for a call, and waits for that at most [`WAIT_MAX`]. The version stays loaded while the caller holds it.
    ///
    /// # Errors
    /// [`ResolveError::Loading`] after that time; as [`Loading::load`].
    pub async fn wait_for(&self, wanted: &Arc<Published>) -> Result<Arc<Loaded>, ResolveError> {
        let late = || {
            let (model, version) = (wanted.model().clone(), wanted.version().clone());
            ResolveError::Loading { model, version }
        };
        let _place = self.places.try_acquire().map_err(|_full| late())?;
        // After the timeout it is still loading.
        tokio::time::timeout(WAIT_MAX, self.load(wanted)).await.unwrap_or_else(|_| Err(late()))
    }

    /// Loads a version, unless it is loaded or out of service, and waits for that.
    ///
    /// # Errors
    /// [`ResolveError::OutOfService`], [`ResolveError::Busy`].
    pub async fn load(&self, wanted: &Arc<Published>) -> Result<Arc<Loaded>, ResolveError> {
        let outcome = match wanted.want() {
            Wanted::Settled(outcome) => outcome,
            Wanted::Wait(settles) => outcome(settles).await,
            Wanted::Queue(settles) => {
                self.left.fetch_add(1, Ordering::AcqRel);
                self.lock().add(Arc::clone(wanted));
                self.wake();
                outcome(settles).await
            }
        };
        let (model, version) = (wanted.model().clone(), wanted.version().clone());
        match outcome {
            Outcome::Loaded(loaded) => Ok(loaded),
            Outcome::Busy(why) => Err(ResolveError::Busy { model, version, why }),
            Outcome::Failed(_) => Err(ResolveError::OutOfService { model, version }),
        }
    }

    /// Reports the result for a version from the queue.
    pub fn done(&self, published: &Published, outcome: Outcome) {
        if published.settle(outcome) {
            self.shown.fetch_add(1, Ordering::Release);
        }
        self.lock().end(&published.model().publisher);
        self.left.fetch_sub(1, Ordering::AcqRel);
    }

    /// How often a load has changed what is shown of a version.
    pub fn shown(&self) -> u64 {
        self.shown.load(Ordering::Acquire)
    }

    /// How many wait for being loaded, or are being loaded.
    pub fn left(&self) -> usize {
        self.left.load(Ordering::Acquire)
    }

    /// Sets how many versions are still to be described by loading them.
    pub fn set_unknown(&self, count: usize) {
        self.unknown.send_replace(count);
    }

    /// Waits until those have been loaded, or have failed.
    pub async fn all_known(&self) {
        // The sender belongs to the same value, so it exists.
        let _ = self.unknown.subscribe().wait_for(|count| *count == 0).await;
    }

    fn wake(&self) {
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the load ends.
async fn outcome(mut settles: watch::Receiver<Option<Outcome>>) -> Outcome {
    match settles.wait_for(Option::is_some).await {
        Ok(outcome) => outcome.clone().unwrap_or_else(given_up),
        Err(_dropped) => given_up(),
    }
}

/// For a load that was given up, as when the host stops.
fn given_up() -> Outcome {
    Outcome::Busy("loading was given up".into())
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use semver::Version;

    use super::*;
    use crate::id::Digest;

    fn version(publisher: &str, number: u64) -> Arc<Published> {
        let model = format!("{publisher}/m").parse().expect("a model");
        Published::waiting(model, Version::new(number, 0, 0), Digest::of(b"bundle"))
    }

    /// Queues a version, for a caller that leaves at once.
    fn want(loading: &Loading, wanted: &Arc<Published>) {
        assert!(loading.load(wanted).now_or_never().is_none(), "it has to wait");
    }

    fn named(published: Option<Arc<Published>>) -> String {
        published
            .map_or("none".into(), |p| format!("{}@{}", p.model().publisher, p.version().major))
    }

    fn failed() -> Outcome {
        Outcome::Failed("x".into())
    }

    #[test]
    fn publishers_take_turns_and_none_has_all_of_them() {
        let loading = Loading::default();
        (0..6).for_each(|number| want(&loading, &version("acme", number)));
        for (who, number) in [("zoe", 0), ("zoe", 1), ("bob", 0)] {
            want(&loading, &version(who, number));
        }
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
        loading.done(&zoe, failed());
        assert_eq!(named(next()), "zoe@1", "it has none under way, and acme two");
        loading.done(&first, failed());
        assert_eq!(named(next()), "acme@2");
        assert_eq!(named(next()), "none");
        assert_eq!(loading.left(), 7);
    }

    #[test]
    fn a_turn_is_left_for_who_comes_later() {
        let loading = Loading::default();
        (0..6).for_each(|number| want(&loading, &version("acme", number)));
        let taken: Vec<_> = (0..3).map(|_| named(loading.next())).collect();
        assert_eq!(taken, ["acme@0", "acme@1", "acme@2"]);
        assert_eq!(named(loading.next()), "none", "of one publisher three are loaded at once");
        (0..3).for_each(|number| want(&loading, &version("zoe", number)));
        assert_eq!(named(loading.next()), "zoe@0");
    }

    #[test]
    fn a_thousand_who_want_a_version_queue_it_once_and_hear_how_it_ended() {
        // Callers have timers. They are polled outside of a task, which would let only some of them go on.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("it starts");
        let _entered = runtime.enter();
        let loading = Loading::default();
        let wanted = version("acme", 0);
        let mut callers: Vec<_> = (0..1000).map(|_| Box::pin(loading.wait_for(&wanted))).collect();
        for caller in &mut callers {
            assert!(caller.as_mut().now_or_never().is_none());
        }
        let taken = loading.next().expect("queued");
        assert_eq!((named(loading.next()), loading.left()), ("none".into(), 1));
        loading.done(&taken, Outcome::Busy("no room".into()));
        for caller in &mut callers {
            match caller.as_mut().now_or_never() {
                Some(Err(ResolveError::Busy { why, .. })) => assert_eq!(&*why, "no room"),
                _ => panic!("everybody hears that the host is busy"),
            }
        }
        assert_eq!((wanted.out_of_service(), loading.left()), (None, 0));
        // The next one tries again.
        want(&loading, &wanted);
        loading.done(&loading.next().expect("queued again"), failed());
        assert_eq!(wanted.out_of_service().as_deref(), Some("x"));
        let told = loading.load(&wanted).now_or_never();
        assert!(matches!(told, Some(Err(ResolveError::OutOfService { .. }))));
    }

    #[test]
    fn small_bundles_do_not_wait_for_large_ones() {
        let loading = Loading::default();
        let huge = loading.place(8 << 30).now_or_never().expect("it is the first");
        assert!(huge.is_some());
        assert!(loading.place(100 << 20).now_or_never().is_none(), "two large ones are too much");
        assert!(loading.place(SMALL_BYTES_MAX).now_or_never().expect("no wait").is_none());
        drop(huge);
        assert!(loading.place(100 << 20).now_or_never().is_some());
    }
}
