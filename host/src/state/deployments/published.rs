//! One published version: known by its name and digest, described by a record, loaded by its first call.
//!
//! Its code and models have one cell: not loaded, waiting, being loaded, loaded, or out of service with the reason. A thousand calls of a
//! version that is not loaded wait for one load.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use semver::Version;
use tokio::sync::watch;

use super::{Deployment, Descriptions, Loaded, Release, ResolveError};
use crate::id::{Digest, ModelName};

/// A published version of a model.
pub struct Published {
    model: ModelName,
    version: Version,
    /// `None` if the publication's record cannot be read.
    digest: Option<Digest>,
    /// Where its description is. `None` if it has been described since it was published, or must be loaded for that.
    kept: Option<Arc<Descriptions>>,
    /// Whether it was out of service before.
    another_try: bool,
    /// The last use, in microseconds since the start.
    used: AtomicU64,
    state: Mutex<State>,
}

struct State {
    description: Description,
    cell: Cell,
}

enum Description {
    Unread,
    None,
    Known(Arc<Deployment>),
}

/// Its code and models.
enum Cell {
    NotLoaded,
    /// In the queue.
    Waiting(watch::Sender<Option<Outcome>>),
    Loading(watch::Sender<Option<Outcome>>),
    Loaded(Arc<Loaded>),
    OutOfService(Arc<str>),
}

/// How a load ended.
#[derive(Clone)]
pub enum Outcome {
    Loaded(Arc<Loaded>),
    /// The host was too busy. The next call tries again.
    Busy(Arc<str>),
    /// The version is out of service.
    Failed(Arc<str>),
}

/// What somebody who wants a version must do.
pub(super) enum Wanted {
    Settled(Outcome),
    Wait(watch::Receiver<Option<Outcome>>),
    /// The same, after putting it into the queue.
    Queue(watch::Receiver<Option<Outcome>>),
}

impl Published {
    fn new((model, version): (ModelName, Version), digest: Option<Digest>, state: State) -> Self {
        let state = Mutex::new(state);
        let (kept, used) = (None, AtomicU64::new(0));
        Self { model, version, digest, kept, another_try: false, used, state }
    }

    /// A version that must be loaded before anything is known of it.
    pub fn waiting(model: ModelName, version: Version, digest: Digest) -> Arc<Self> {
        let state = State { description: Description::None, cell: Cell::NotLoaded };
        Arc::new(Self::new((model, version), Some(digest), state))
    }

    /// A version that is described here.
    pub fn kept(
        (model, version): (ModelName, Version),
        digest: Digest,
        kept: &Arc<Descriptions>,
    ) -> Arc<Self> {
        let state = State { description: Description::Unread, cell: Cell::NotLoaded };
        let known = Self::new((model, version), Some(digest), state);
        Arc::new(Self { kept: Some(Arc::clone(kept)), ..known })
    }

    /// This version, out of service, to be loaded again.
    pub(super) fn again(&self, digest: Digest) -> Arc<Self> {
        let description = match &self.kept {
            Some(_) => Description::Unread,
            None => Description::None,
        };
        let state = State { description, cell: Cell::NotLoaded };
        let again = Self::new((self.model.clone(), self.version.clone()), Some(digest), state);
        Arc::new(Self { another_try: true, kept: self.kept.clone(), ..again })
    }

    /// A loaded version.
    pub fn live(loaded: Arc<Loaded>) -> Arc<Self> {
        let deployment = Arc::clone(loaded.deployment());
        Self::with(deployment, Cell::Loaded(loaded))
    }

    /// A version that was loaded and is not any more.
    pub fn known(deployment: Arc<Deployment>) -> Arc<Self> {
        Self::with(deployment, Cell::NotLoaded)
    }

    fn with(deployment: Arc<Deployment>, cell: Cell) -> Arc<Self> {
        let named = (deployment.model.clone(), deployment.version.clone());
        let digest = Some(deployment.digest);
        let state = State { description: Description::Known(deployment), cell };
        Arc::new(Self::new(named, digest, state))
    }

    /// A version that is out of service; `digest` is `None` if its record cannot be read.
    pub fn damaged(
        (model, version): (ModelName, Version),
        digest: Option<Digest>,
        reason: &str,
    ) -> Arc<Self> {
        let cell = Cell::OutOfService(reason.into());
        let state = State { description: Description::None, cell };
        Arc::new(Self::new((model, version), digest, state))
    }

    /// `publisher/model`.
    pub fn model(&self) -> &ModelName {
        &self.model
    }

    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Its bundle's digest; `None` if the publication's record cannot be read.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Its name and digest.
    pub fn release(&self) -> Release<'_> {
        Release { model: &self.model, version: &self.version, digest: self.digest.as_ref() }
    }

    /// Why it is out of service, if it is.
    pub fn out_of_service(&self) -> Option<Arc<str>> {
        match &self.state().cell {
            Cell::OutOfService(reason) => Some(Arc::clone(reason)),
            _ => None,
        }
    }

    /// Whether it was out of service before.
    pub fn is_another_try(&self) -> bool {
        self.another_try
    }

    /// What is known of the version. Reads its record if nobody has asked before.
    ///
    /// # Errors
    /// [`ResolveError::OutOfService`]; [`ResolveError::Loading`] if it must be loaded for that.
    pub fn described(&self) -> Result<Arc<Deployment>, ResolveError> {
        let mut state = self.state();
        if let Cell::OutOfService(_) = state.cell {
            let (model, version) = (self.model.clone(), self.version.clone());
            return Err(ResolveError::OutOfService { model, version });
        }
        if let Description::Unread = state.description {
            let kept = self.kept.as_ref().zip(self.digest.as_ref());
            let read =
                kept.and_then(|(kept, digest)| kept.read((&self.model, &self.version), digest));
            state.description = match read {
                Some(deployment) => Description::Known(Arc::new(deployment)),
                None => Description::None,
            };
        }
        match &state.description {
            Description::Known(deployment) => Ok(Arc::clone(deployment)),
            Description::Unread | Description::None => {
                let (model, version) = (self.model.clone(), self.version.clone());
                Err(ResolveError::Loading { model, version })
            }
        }
    }

    /// What is known of the version, if it is in service.
    pub fn deployment(&self) -> Option<Arc<Deployment>> {
        self.described().ok()
    }

    /// Its code and models, if they are loaded.
    pub fn loaded(&self) -> Option<Arc<Loaded>> {
        match &self.state().cell {
            Cell::Loaded(loaded) => Some(Arc::clone(loaded)),
            _ => None,
        }
    }

    /// Whether it is loaded.
    pub fn is_loaded(&self) -> bool {
        matches!(self.state().cell, Cell::Loaded(_))
    }

    /// The last use, in microseconds since the start.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn note_use(&self, now: u64) {
        self.used.store(now, Ordering::Relaxed);
    }

    /// For somebody who wants its code and models. Only one of many is told to queue it.
    pub(super) fn want(&self) -> Wanted {
        let mut state = self.state();
        match &state.cell {
            Cell::Loaded(loaded) => Wanted::Settled(Outcome::Loaded(Arc::clone(loaded))),
            Cell::OutOfService(reason) => Wanted::Settled(Outcome::Failed(Arc::clone(reason))),
            Cell::Waiting(outcome) | Cell::Loading(outcome) => Wanted::Wait(outcome.subscribe()),
            Cell::NotLoaded => {
                let (outcome, receiver) = watch::channel(None);
                state.cell = Cell::Waiting(outcome);
                Wanted::Queue(receiver)
            }
        }
    }

    /// Whether the caller, who has it from the queue, must load it.
    pub(super) fn claim(&self) -> bool {
        let mut state = self.state();
        match std::mem::replace(&mut state.cell, Cell::NotLoaded) {
            Cell::Waiting(outcome) => {
                state.cell = Cell::Loading(outcome);
                true
            }
            other => {
                state.cell = other;
                false
            }
        }
    }

    /// Ends a load, and tells those who wait. Returns whether what is shown of the version has changed.
    pub(super) fn settle(&self, outcome: Outcome) -> bool {
        let mut state = self.state();
        let mut is_new = matches!(outcome, Outcome::Failed(_));
        let cell = match &outcome {
            Outcome::Loaded(loaded) => {
                let deployment = Arc::clone(loaded.deployment());
                is_new = !matches!(&state.description, Description::Known(known) if Arc::ptr_eq(known, &deployment));
                state.description = Description::Known(deployment);
                Cell::Loaded(Arc::clone(loaded))
            }
            Outcome::Busy(_) => Cell::NotLoaded,
            Outcome::Failed(reason) => Cell::OutOfService(Arc::clone(reason)),
        };
        let before = std::mem::replace(&mut state.cell, cell);
        drop(state);
        if let Cell::Waiting(waits) | Cell::Loading(waits) = before {
            // They hold the version until they have used it, so that it is not unloaded before.
            waits.send_replace(Some(outcome));
        }
        is_new
    }

    /// Unloads it, unless somebody uses it. The caller drops what is returned.
    pub(super) fn unload(&self) -> Option<Arc<Loaded>> {
        let mut state = self.state();
        match std::mem::replace(&mut state.cell, Cell::NotLoaded) {
            // Others get theirs under this lock only.
            Cell::Loaded(loaded) if Arc::strong_count(&loaded) == 1 => Some(loaded),
            other => {
                state.cell = other;
                None
            }
        }
    }

    /// Nothing panics while holding this lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
