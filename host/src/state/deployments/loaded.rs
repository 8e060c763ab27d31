//! Versions whose code and models are loaded, and how they are unloaded.
//!
//! Whoever holds a [`Loaded`] keeps it loaded: a running call does. A version that nobody uses may be unloaded at any time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::{Deployment, Deployments, Function, Published, ResolveError};
use crate::admission::Taken;
use crate::id::FunctionName;
use crate::sandbox::{Entry, Graphs, Guest, Speakers};

/// A version's code and models, ready for calls.
pub struct Loaded {
    deployment: Arc<Deployment>,
    guest: Guest,
    natives: Natives,
    /// The room that its code takes. Each model has its own, because versions share models.
    _room: Taken,
}

/// What of a version the host computes for its code, by the names in the manifest.
#[derive(Clone, Default)]
pub struct Natives {
    /// The models that map tensors to tensors.
    pub graphs: Graphs,
    /// The language models.
    pub speakers: Speakers,
}

impl Loaded {
    /// A version with its code, which takes this room, and its models.
    pub fn new(
        deployment: Arc<Deployment>,
        (guest, room): (Guest, Taken),
        natives: Natives,
    ) -> Self {
        Self { deployment, guest, natives, _room: room }
    }

    /// What is known of the version.
    pub fn deployment(&self) -> &Arc<Deployment> {
        &self.deployment
    }

    /// The compiled code.
    pub fn guest(&self) -> &Guest {
        &self.guest
    }

    /// The models that the code may load.
    pub fn graphs(&self) -> &Graphs {
        &self.natives.graphs
    }

    /// The language models that the code may speak with.
    pub fn speakers(&self) -> &Speakers {
        &self.natives.speakers
    }

    /// Whether all its models can be computed now.
    pub fn can_compute(&self) -> bool {
        let Natives { graphs, speakers } = &self.natives;
        graphs.values().all(|graph| graph.is_ready())
            && speakers.values().all(|speaker| speaker.is_ready())
    }

    /// The function of this name, ready to call.
    ///
    /// # Panics
    /// If there is none: the version's description lists the functions of its code.
    pub fn entry(&self, name: &FunctionName) -> Entry {
        let entry = self.guest.entry(name);
        entry.expect("invariant: its functions are those of its description")
    }
}

/// Numbers of loads and unloads since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loads {
    /// Versions that are loaded now.
    pub loaded: usize,
    pub loads: u64,
    pub unloads: u64,
    /// Time that all loads took together.
    pub took: Duration,
}

/// The versions that are loaded.
pub(super) struct Residents {
    began: Instant,
    versions: Mutex<Vec<Weak<Published>>>,
    loads: AtomicU64,
    unloads: AtomicU64,
    nanos: AtomicU64,
}

impl Default for Residents {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            versions: Mutex::default(),
            loads: AtomicU64::new(0),
            unloads: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
        }
    }
}

impl Residents {
    /// Adds a version that has just been loaded.
    pub(super) fn add(&self, published: &Arc<Published>) {
        published.note_use(self.now());
        let mut versions = self.lock();
        versions.retain(|version| version.upgrade().is_some_and(|version| version.is_loaded()));
        if !versions.iter().any(|version| std::ptr::eq(version.as_ptr(), Arc::as_ptr(published))) {
            versions.push(Arc::downgrade(published));
        }
    }

    /// Microseconds since the start.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn loaded(&self) -> Vec<Arc<Published>> {
        let mut versions = self.lock();
        versions.retain(|version| version.upgrade().is_some_and(|version| version.is_loaded()));
        versions.iter().filter_map(Weak::upgrade).collect()
    }

    /// Nothing panics while holding this lock.
    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Published>>> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deployments {
    /// The code and models of a function's version. Loads them if they are not loaded, and waits for that up to a time limit. They stay
    /// loaded as long as the caller holds them.
    ///
    /// # Errors
    /// [`ResolveError::OutOfService`], [`ResolveError::Loading`], [`ResolveError::Busy`].
    pub async fn ready(&self, function: &Function) -> Result<Arc<Loaded>, ResolveError> {
        let published = function.published();
        let loaded = match published.loaded() {
            Some(loaded) => loaded,
            None => self.loading.wait_for(published).await?,
        };
        published.note_use(self.residents.now());
        // Its models may differ from its record, as when another backend computes them. Types are compared only then: that takes a while.
        let (now, known) = (&**loaded.deployment(), function.deployment());
        if std::ptr::eq(now, known) || now.functions() == known.functions() {
            return Ok(loaded);
        }
        // Its types differ, as after an upgrade of the host: the call is to be made again with the right ones.
        let (model, version) = (published.model().clone(), published.version().clone());
        Err(ResolveError::Loading { model, version })
    }

    /// Notes that a version was loaded.
    pub fn note_loaded(&self, published: &Arc<Published>, took: Duration) {
        self.residents.loads.fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.residents.nanos.fetch_add(nanos, Ordering::Relaxed);
        self.residents.add(published);
    }

    /// Unloads the version that was not called for longest, among those that nobody uses. Returns whether there was one.
    pub fn unload_one(&self) -> bool {
        let mut loaded = self.residents.loaded();
        loaded.sort_by_key(|published| published.used());
        for published in loaded {
            // Its code and models are dropped here, outside of its lock.
            if let Some(unloaded) = published.unload() {
                let (model, version) = (published.model(), published.version());
                tracing::debug!(%model, %version, "unloaded to make room");
                self.residents.unloads.fetch_add(1, Ordering::Relaxed);
                drop(unloaded);
                return true;
            }
        }
        false
    }

    /// Numbers of loads and unloads.
    pub fn loads(&self) -> Loads {
        let Residents { loads, unloads, nanos, .. } = &self.residents;
        Loads {
            loaded: self.residents.loaded().len(),
            loads: loads.load(Ordering::Relaxed),
            unloads: unloads.load(Ordering::Relaxed),
            took: Duration::from_nanos(nanos.load(Ordering::Relaxed)),
        }
    }
}
