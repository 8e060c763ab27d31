//! One published version: live, not loaded yet, or out of service with the reason.
//!
//! A publication is stored as a name and a digest. The rest, a [`Deployment`], is loaded from the bundle once: on first use or in the
//! background after start, whichever comes first. If loading fails, this version alone is out of service.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use semver::Version;
use tokio::sync::watch;

use super::{Deployment, Release, ResolveError};
use crate::id::{Digest, ModelName};

/// A published version of a model.
pub struct Published {
    model: ModelName,
    version: Version,
    /// `None` if the publication's record cannot be read.
    digest: Option<Digest>,
    live: OnceLock<Arc<Deployment>>,
    reason: Mutex<Option<Arc<str>>>,
    /// Whether loading has started or ended.
    claimed: AtomicBool,
    /// Whether somebody waits for it.
    hurried: AtomicBool,
    /// Whether it was out of service before.
    another_try: bool,
    /// Whether loading has succeeded or failed by now.
    settled: watch::Sender<bool>,
}

impl Published {
    fn new(model: ModelName, version: Version, digest: Option<Digest>, settled: bool) -> Self {
        Self {
            model,
            version,
            digest,
            live: OnceLock::new(),
            reason: Mutex::default(),
            claimed: AtomicBool::new(settled),
            hurried: AtomicBool::new(settled),
            another_try: false,
            settled: watch::Sender::new(settled),
        }
    }

    /// A version to be loaded.
    pub fn waiting(model: ModelName, version: Version, digest: Digest) -> Arc<Self> {
        Arc::new(Self::new(model, version, Some(digest), false))
    }

    /// An out-of-service version to be loaded again.
    pub(super) fn again(model: ModelName, version: Version, digest: Digest) -> Arc<Self> {
        let waiting = Self::new(model, version, Some(digest), false);
        Arc::new(Self { another_try: true, ..waiting })
    }

    /// A loaded version.
    pub(super) fn live(deployment: Arc<Deployment>) -> Arc<Self> {
        let (model, version) = (deployment.model.clone(), deployment.version.clone());
        let published = Self::new(model, version, Some(deployment.digest), true);
        published.live.get_or_init(|| deployment);
        Arc::new(published)
    }

    /// A version with an unreadable record.
    pub fn damaged(model: ModelName, version: Version, reason: &str) -> Arc<Self> {
        let published = Self::new(model, version, None, true);
        *published.reason() = Some(reason.into());
        Arc::new(published)
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
        self.reason().clone()
    }

    /// Whether it was out of service before.
    pub fn is_another_try(&self) -> bool {
        self.another_try
    }

    /// The loaded version. Neither waits nor does any I/O.
    ///
    /// # Errors
    /// [`ResolveError::OutOfService`], [`ResolveError::Loading`].
    pub fn get(&self) -> Result<&Arc<Deployment>, ResolveError> {
        self.live.get().ok_or_else(|| {
            let (model, version) = (self.model.clone(), self.version.clone());
            match self.out_of_service() {
                Some(_) => ResolveError::OutOfService { model, version },
                None => ResolveError::Loading { model, version },
            }
        })
    }

    /// The loaded version, if it is loaded.
    pub fn deployment(&self) -> Option<Arc<Deployment>> {
        self.live.get().map(Arc::clone)
    }

    /// Whether it is loaded.
    pub fn is_live(&self) -> bool {
        self.live.get().is_some()
    }

    /// Waits until loading has succeeded or failed.
    pub async fn settled(&self) {
        // The sender belongs to the same value, so it exists.
        let _ = self.settled.subscribe().wait_for(|settled| *settled).await;
    }

    /// Whether the caller must load it.
    pub(super) fn claim(&self) -> bool {
        !self.claimed.swap(true, Ordering::AcqRel)
    }

    /// Whether the caller is the first to wait for it, and nobody is loading it.
    pub(super) fn hurry(&self) -> bool {
        !self.claimed.load(Ordering::Acquire) && !self.hurried.swap(true, Ordering::AcqRel)
    }

    /// Puts the version into or out of service.
    pub(super) fn settle(&self, loaded: Result<Arc<Deployment>, Arc<str>>) {
        match loaded {
            Ok(deployment) => {
                self.live.get_or_init(|| deployment);
            }
            Err(reason) => *self.reason() = Some(reason),
        }
        self.settled.send_replace(true);
    }

    fn reason(&self) -> MutexGuard<'_, Option<Arc<str>>> {
        self.reason.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
