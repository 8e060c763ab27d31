//! What is published on this host: model versions and their functions, by name.
//!
//! Versions are immutable and appear all at once: a reader sees the old set or the new one. Every published version is known from the
//! start, and described by a small record. Its code and models are loaded by its first call, unloaded when others need the room, and
//! loaded again by the next call. If loading fails, it is out of service. Agreements and visibility are checked elsewhere.

mod deployment;
mod description;
mod document;
mod loaded;
mod loading;
mod models;
mod published;
mod statistics;
mod target;
mod withdrawn;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use semver::Version;

use loaded::Residents;
use models::{Models, Versions, find};

pub use deployment::{Deployment, DescribedDecoder, DescribedModel};
pub use description::{Descriptions, described, record};
pub use document::{Describe, Document, PLAIN};
pub use loaded::{Loaded, Loads, Natives};
pub use loading::{LOADING_MAX, Loading};
pub use models::After;
pub use published::{Outcome, Published};
pub use statistics::{Span, Stages, Statistics, Totals};
pub use target::{Reference, Target};
pub use withdrawn::Release;

use crate::id::{Digest, FunctionName, ModelName};
use crate::sandbox::{CallLimits, Prototype};

/// Maximum rows of a tensor batch.
pub const BATCH_ROWS_MAX: usize = 4096;

/// One function of a published version. Only [`Deployments::resolve`] makes one.
#[derive(Clone)]
pub struct Function {
    deployment: Arc<Deployment>,
    published: Arc<Published>,
    index: usize,
}

impl Function {
    /// The version that the function belongs to.
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// The function's name and types.
    pub fn signature(&self) -> &Prototype {
        &self.deployment.functions()[self.index]
    }

    /// The function's name.
    pub fn name(&self) -> &FunctionName {
        self.signature().name()
    }

    fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// The host's `limits`, narrowed to what the bundle asks for.
    pub fn narrow(&self, limits: CallLimits) -> CallLimits {
        self.deployment.narrow(limits)
    }
}

/// Why a call's target was not found or a version did not go live.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error("`{0}` is neither a version nor a digest: write `@1.2.0` or `@sha256:…`")]
    Reference(String),
    #[error("there is no model `{0}` here")]
    NoModel(ModelName),
    #[error("`{model}` has no version {wanted} here; it has {}", list(.versions))]
    NoVersion { model: ModelName, wanted: String, versions: Vec<String> },
    #[error("`{model}` has no function `{function}`; it has {}", list(.functions))]
    NoFunction { model: ModelName, function: FunctionName, functions: Vec<String> },
    #[error("`{what}` was withdrawn by this host's operator at {at}: {reason}")]
    Withdrawn { what: String, at: Timestamp, reason: Arc<str> },
    #[error(
        "`{model}` {version} is already published with other bytes; versions never change: publish a new one"
    )]
    VersionTaken { model: ModelName, version: Version },
    #[error("`{model}` {version} is being loaded; try again shortly")]
    Loading { model: ModelName, version: Version },
    #[error("`{model}` {version} is not loaded and cannot be loaded now: {why}; try again shortly")]
    Busy { model: ModelName, version: Version, why: Arc<str> },
    #[error(
        "`{model}` {version} is out of service on this host; its operator can see why. Name another version with `@`"
    )]
    OutOfService { model: ModelName, version: Version },
    #[error("`{model}` {version} is not out of service here")]
    InService { model: ModelName, version: Version },
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Published versions that were withdrawn.
type Withdrawn = BTreeMap<ModelName, BTreeMap<Version, Digest>>;

/// The versions of this host.
#[derive(Default)]
pub struct Deployments {
    published: ArcSwap<Models>,
    /// Number of changes.
    changes: AtomicU64,
    /// The versions that are loaded.
    residents: Residents,
    /// Held briefly.
    withdrawn: Mutex<Withdrawn>,
    /// Held during a change until it is durable. Wait for it on another thread or after other tasks have left this one (`block_in_place`),
    /// never on a serving thread.
    changing: Mutex<()>,
    loading: Loading,
}

impl Deployments {
    /// The version that a reference means. Waits for nothing, except for its record if nobody has asked for it since the start.
    ///
    /// # Errors
    /// [`ResolveError`] says what exists instead, or that the version is not loaded yet or out of service.
    pub fn version(
        &self,
        model: &ModelName,
        reference: &Reference,
    ) -> Result<Arc<Deployment>, ResolveError> {
        self.version_among(model, reference, |_| true)
    }

    /// The same among the versions that the caller knows of. The others do not exist, not even in the error.
    ///
    /// # Errors
    /// As [`Deployments::version`].
    pub fn version_among(
        &self,
        model: &ModelName,
        reference: &Reference,
        known: impl Fn(&Published) -> bool,
    ) -> Result<Arc<Deployment>, ResolveError> {
        let published = self.published.load();
        find(&published, model, reference, known)?.described()
    }

    /// The published version that a reference means among those the caller knows of, live or not.
    ///
    /// # Errors
    /// [`ResolveError`] says what exists instead.
    pub fn published_among(
        &self,
        model: &ModelName,
        reference: &Reference,
        known: impl Fn(&Published) -> bool,
    ) -> Result<Arc<Published>, ResolveError> {
        find(&self.published.load(), model, reference, known).map(Arc::clone)
    }

    /// The published version that a reference means, live or not.
    ///
    /// # Errors
    /// [`ResolveError`] says what exists instead.
    pub fn published(
        &self,
        model: &ModelName,
        reference: &Reference,
    ) -> Result<Arc<Published>, ResolveError> {
        self.published_among(model, reference, |_| true)
    }

    /// The function that a call addresses, of a version the caller knows of. It need not be loaded.
    ///
    /// # Errors
    /// [`ResolveError`] says what exists instead.
    pub fn resolve(
        &self,
        target: &Target,
        known: impl Fn(&Published) -> bool,
    ) -> Result<Function, ResolveError> {
        let published = self.published.load();
        let published = find(&published, &target.model, &target.reference, known)?;
        let deployment = published.described()?;
        let functions = deployment.functions();
        match functions.iter().position(|function| *function.name() == target.function) {
            Some(index) => Ok(Function { deployment, published: Arc::clone(published), index }),
            None => Err(ResolveError::NoFunction {
                model: target.model.clone(),
                function: target.function.clone(),
                functions: functions.iter().map(|function| function.name().to_string()).collect(),
            }),
        }
    }

    /// Rejects a version number that other bytes already have.
    ///
    /// # Errors
    /// [`ResolveError::VersionTaken`].
    pub fn check_free(
        &self,
        model: &ModelName,
        version: &Version,
        digest: &Digest,
    ) -> Result<(), ResolveError> {
        // Lock first: a version that comes back is published before its withdrawal ends.
        let withdrawn = self.lock();
        let published = self.published.load();
        let published = published.get(model).and_then(|versions| versions.get(version));
        let withdrawn = withdrawn.get(model).and_then(|versions| versions.get(version));
        // An unreadable record does not say which bytes it was for.
        let taken = published.map(|published| published.digest()).or(withdrawn.map(Some));
        match taken {
            Some(taken) if taken != Some(digest) => {
                Err(ResolveError::VersionTaken { model: model.clone(), version: version.clone() })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn lock(&self) -> MutexGuard<'_, Withdrawn> {
        self.withdrawn.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn put(&self, published: Models) {
        self.published.store(Arc::new(published));
        // Count after the change: a page of the old versions is never taken for one of the new versions.
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Number of times that a version has come, gone, failed to load or got another description.
    pub fn changes(&self) -> [u64; 2] {
        [self.changes.load(Ordering::Acquire), self.loading.shown()]
    }

    /// Versions waiting to be loaded.
    pub fn loading(&self) -> &Loading {
        &self.loading
    }

    /// Registers all versions published before the host started, all at once.
    pub fn remember(&self, versions: Vec<Arc<Published>>) {
        let _changing = self.changing();
        self.insert(versions.into_iter());
    }

    /// Puts versions of one model live, all at once, after `keep` has made them durable. The same bytes twice are one version. Waits for
    /// the disk.
    ///
    /// # Errors
    /// [`ResolveError::VersionTaken`], and those of `keep`; nothing was changed.
    pub fn publish<E: From<ResolveError>>(
        &self,
        versions: &[Arc<Published>],
        keep: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let _changing = self.changing();
        for live in versions {
            let digest = live.digest().expect("invariant: what is published has a digest");
            self.check_free(live.model(), live.version(), digest)?;
        }
        keep()?;
        versions.iter().filter(|live| live.is_loaded()).for_each(|live| self.residents.add(live));
        self.insert(versions.iter().map(Arc::clone));
        versions.iter().for_each(|live| self.forget_withdrawn(live.model(), live.version()));
        Ok(())
    }

    /// Inserts versions. Hold the lock.
    fn insert(&self, versions: impl Iterator<Item = Arc<Published>>) {
        let mut by_model: BTreeMap<ModelName, Vec<Arc<Published>>> = BTreeMap::new();
        for version in versions {
            by_model.entry(version.model().clone()).or_default().push(version);
        }
        let mut published = Models::clone(&self.published.load());
        for (model, new) in by_model {
            let new = new.into_iter().map(|version| (version.version().clone(), version));
            published.change(&model, |versions| versions.extend(new));
        }
        self.put(published);
    }

    fn forget_withdrawn(&self, model: &ModelName, version: &Version) {
        let mut withdrawn = self.lock();
        if let Some(versions) = withdrawn.get_mut(model) {
            versions.remove(version);
            if versions.is_empty() {
                withdrawn.remove(model);
            }
        }
    }

    /// Takes every version of a model out of service, after `keep` has made it durable. Running calls go on. A version with an unreadable
    /// record stays, because it could not be put back. Waits for the disk.
    ///
    /// # Errors
    /// Those of `keep`, and [`ResolveError::NoModel`] if none of its versions is published.
    pub fn withdraw<E: From<ResolveError>>(
        &self,
        model: &ModelName,
        keep: impl FnOnce(&[(Version, Digest)]) -> Result<(), E>,
    ) -> Result<(), E> {
        let _changing = self.changing();
        let mut published = Models::clone(&self.published.load());
        let versions = published.get(model).map(|versions| Versions::clone(versions));
        if versions.is_none() && !self.lock().contains_key(model) {
            return Err(ResolveError::NoModel(model.clone()).into());
        }
        let (gone, damaged): (Versions, Versions) = versions
            .unwrap_or_default()
            .into_iter()
            .partition(|(_, version)| version.digest().is_some());
        let gone: Vec<(Version, Digest)> = gone
            .into_iter()
            .filter_map(|(version, published)| Some((version, *published.digest()?)))
            .collect();
        keep(&gone)?;
        published.set(model, damaged);
        if !gone.is_empty() {
            self.lock().entry(model.clone()).or_default().extend(gone);
        }
        self.put(published);
        Ok(())
    }

    /// Prepares an out-of-service version for being loaded again.
    ///
    /// # Errors
    /// [`ResolveError::NoModel`], [`ResolveError::NoVersion`], [`ResolveError::InService`]; [`ResolveError::OutOfService`] if its record
    /// cannot be read.
    pub fn retry(
        &self,
        model: &ModelName,
        version: &Version,
    ) -> Result<Arc<Published>, ResolveError> {
        let _changing = self.changing();
        let broken = self.broken(model, version)?;
        let (model, version) = (model.clone(), version.clone());
        let Some(digest) = broken.digest() else {
            return Err(ResolveError::OutOfService { model, version });
        };
        let again = broken.again(*digest);
        self.replace(&model, &version, Some(Arc::clone(&again)));
        Ok(again)
    }

    fn broken(&self, model: &ModelName, version: &Version) -> Result<Arc<Published>, ResolveError> {
        let found = self.published(model, &Reference::Version(version.clone()))?;
        match found.out_of_service() {
            Some(_) => Ok(found),
            None => {
                let (model, version) = (model.clone(), version.clone());
                Err(ResolveError::InService { model, version })
            }
        }
    }

    /// Replaces a version. Hold the lock.
    fn replace(&self, model: &ModelName, version: &Version, with: Option<Arc<Published>>) {
        let mut published = Models::clone(&self.published.load());
        published.change(model, |versions| match with {
            Some(with) => versions.insert(version.clone(), with),
            None => versions.remove(version),
        });
        self.put(published);
    }

    /// The version with this digest, if it is in service.
    pub fn by_digest(&self, model: &ModelName, digest: &Digest) -> Option<Arc<Deployment>> {
        let published = self.published.load();
        let mut versions = published.get(model)?.values();
        versions.find(|version| version.digest() == Some(digest))?.deployment()
    }

    /// The versions of a model that are in service, in ascending order.
    pub fn of(&self, model: &ModelName) -> Vec<Arc<Deployment>> {
        let published = self.published.load();
        let versions = published.get(model).into_iter().flat_map(|versions| versions.values());
        versions.filter_map(|version| version.deployment()).collect()
    }

    /// Every version out of service, ordered by name and version, with the reason.
    pub fn out_of_service(&self) -> Vec<(Arc<Published>, Arc<str>)> {
        let published = self.published.load();
        let broken = published.all().map(|one| Some((Arc::clone(one), one.out_of_service()?)));
        broken.flatten().collect()
    }
}
