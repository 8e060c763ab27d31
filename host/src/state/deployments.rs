//! What is live on this host: model versions and their functions, by name.
//!
//! Versions are immutable and appear all at once: a reader sees the old set or the new one. Every published version is known from the
//! start. It is live once it is loaded, and out of service if loading fails. Agreements and visibility are checked elsewhere.

mod document;
mod loading;
mod models;
mod published;
mod statistics;
mod target;
mod withdrawn;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use semver::Version;
use tokio::sync::OnceCell;

use models::{Models, Versions, find};

pub use document::{Describe, Document, PLAIN};
pub use loading::{LOADING_MAX, Loading};
pub use models::After;
pub use published::Published;
pub use statistics::{Span, Stages, Statistics, Totals};
pub use target::{Reference, Target};
pub use withdrawn::Release;

use crate::bundle::Manifest;
use crate::bundle::provenance::TrainingSummary;
use crate::id::{Digest, FunctionName, ModelName, Party};
use crate::inference::ModelSignature;
use crate::sandbox::{CallLimits, Entry, FunctionType, Graphs, Guest, GuestFunction};
use crate::stop::Stop;
use crate::telemetry::Allowance;

/// Maximum rows of a tensor batch.
pub const BATCH_ROWS_MAX: usize = 4096;

/// A version of a model, live on this host.
pub struct Deployment {
    pub(crate) model: ModelName,
    pub(crate) version: Version,
    pub(crate) digest: Digest,
    pub(crate) published_at: Option<Timestamp>,
    pub(crate) publisher: Party,
    pub(crate) manifest: Manifest,
    /// The training that its bundle's provenance describes.
    pub(crate) training: Option<TrainingSummary>,
    pub(crate) guest: Guest,
    pub(crate) graphs: Graphs,
    /// Whether the bundle is a model without code.
    pub(crate) codeless: bool,
    pub(crate) statistics: Statistics,
    /// Ends its running calls when the operator withdraws it.
    pub(crate) stop: Arc<Stop>,
    /// How much its code may log.
    pub(crate) log: Arc<Allowance>,
    /// SHA-256 of its component's code.
    pub(crate) component: Digest,
    /// Its machine-readable description, once built; `None` if too large.
    pub(crate) document: OnceCell<Option<Document>>,
}

impl Deployment {
    /// `publisher/model`.
    pub fn model(&self) -> &ModelName {
        &self.model
    }

    /// The version number.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The bundle's digest, which agreements name.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// When it was published; `None` if its record is older than hosts that write it down.
    pub fn published_at(&self) -> Option<Timestamp> {
        self.published_at
    }

    /// The party that signed the bundle.
    pub fn publisher(&self) -> Party {
        self.publisher
    }

    /// The publisher's description.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The training that its bundle's provenance describes, signed by who ran it.
    pub fn training(&self) -> Option<&TrainingSummary> {
        self.training.as_ref()
    }

    /// The compiled code.
    pub fn guest(&self) -> &Guest {
        &self.guest
    }

    /// The models that the code may load.
    pub fn graphs(&self) -> &Graphs {
        &self.graphs
    }

    /// Whether all its models can be computed now.
    pub fn can_compute(&self) -> bool {
        self.graphs.values().all(|graph| graph.is_ready())
    }

    /// Whether the bundle is a model without code: tensors go to the model unchanged.
    pub fn is_codeless(&self) -> bool {
        self.codeless
    }

    /// The tensors of its tensor function, if that function can serve only one model.
    pub fn tensors(&self) -> Option<&ModelSignature> {
        let mut graphs = self.graphs.values();
        match (graphs.next(), graphs.next()) {
            (Some(graph), None) => Some(graph.signature()),
            _ => None,
        }
    }

    /// Whether the first dimension of its tensors is a batch of any size.
    pub fn batches(&self) -> bool {
        let along_the_first =
            matches!(self.manifest.models.as_slice(), [model] if model.batch_axis == Some(0));
        let open = |signature: &ModelSignature| {
            signature.inputs.iter().all(|input| matches!(input.shape.as_deref(), Some([None, ..])))
        };
        along_the_first && self.tensors().is_some_and(open)
    }

    /// The function from named tensors to named tensors, if it has one.
    pub fn tensor_function(&self) -> Option<&GuestFunction> {
        let mut functions = self.functions().iter();
        functions.find(|function| *function.signature() == FunctionType::Tensors)
    }

    /// The HTTP handler, if it has one.
    pub fn handler(&self) -> Option<&GuestFunction> {
        let mut functions = self.functions().iter();
        functions.find(|function| matches!(function.signature(), FunctionType::Http(_)))
    }

    /// Ends its running calls.
    pub fn stop(&self) -> &Arc<Stop> {
        &self.stop
    }

    /// How much its code may log.
    pub fn log(&self) -> &Arc<Allowance> {
        &self.log
    }

    /// The digests of the bundle and of its parts.
    pub fn digests(&self) -> impl Iterator<Item = &Digest> {
        let models = self.manifest.models.iter().map(|model| &model.sha256);
        [&self.digest, &self.component].into_iter().chain(models)
    }

    /// Statistics of its calls since the host started.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// The version's machine-readable description. `describe` builds it for the first request, unless publishing has built it. `None` if it
    /// would exceed `bytes_max`.
    pub async fn document(
        self: &Arc<Self>,
        describe: Describe,
        bytes_max: usize,
    ) -> Option<&Document> {
        let made = self.document.get_or_init(|| async {
            let deployment = Arc::clone(self);
            let making = tokio::task::spawn_blocking(move || describe(&deployment, bytes_max));
            making.await.unwrap_or(None)
        });
        made.await.as_ref()
    }

    /// The callable functions, with their types.
    pub fn functions(&self) -> &[GuestFunction] {
        self.guest.functions()
    }

    /// The host's `limits`, narrowed to what the bundle asks for.
    pub fn narrow(&self, limits: CallLimits) -> CallLimits {
        let wanted = &self.manifest.limits;
        let memory = wanted.memory_bytes.and_then(|bytes| usize::try_from(bytes).ok());
        let deadline = wanted
            .deadline_ms
            .and_then(|millis| limits.began.checked_add(Duration::from_millis(millis)));
        CallLimits {
            memory_bytes_max: memory
                .map_or(limits.memory_bytes_max, |m| m.min(limits.memory_bytes_max)),
            deadline: deadline.map_or(limits.deadline, |deadline| deadline.min(limits.deadline)),
            ..limits
        }
    }
}

/// One function of one live version. Only [`Deployments::resolve`] makes one.
#[derive(Clone)]
pub struct Function {
    deployment: Arc<Deployment>,
    index: usize,
}

impl Function {
    /// The version that the function belongs to.
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// The function's compiled code.
    pub fn guest(&self) -> &Guest {
        &self.deployment.guest
    }

    /// The function's name and types.
    pub fn signature(&self) -> &GuestFunction {
        &self.deployment.guest.functions()[self.index]
    }

    /// The function, ready to call.
    pub fn entry(&self) -> Entry {
        self.deployment.guest.entry(self.index)
    }

    /// The function's name.
    pub fn name(&self) -> &FunctionName {
        self.signature().name()
    }

    /// The models that the function's code may load.
    pub fn graphs(&self) -> &Graphs {
        &self.deployment.graphs
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
    /// Held briefly.
    withdrawn: Mutex<Withdrawn>,
    /// Held during a change until it is durable. Wait for it on another thread or after other tasks have left this one (`block_in_place`),
    /// never on a serving thread.
    changing: Mutex<()>,
    loading: Loading,
}

impl Deployments {
    /// The version that a reference means. Neither waits nor does any I/O.
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
        find(&published, model, reference, known)?.get().map(Arc::clone)
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

    /// The function that a call addresses, of a version the caller knows of. Neither waits nor does any I/O.
    ///
    /// # Errors
    /// [`ResolveError`] says what exists instead.
    pub fn resolve(
        &self,
        target: &Target,
        known: impl Fn(&Published) -> bool,
    ) -> Result<Function, ResolveError> {
        let deployment = self.version_among(&target.model, &target.reference, known)?;
        let functions = deployment.guest.functions();
        match functions.iter().position(|function| *function.name() == target.function) {
            Some(index) => Ok(Function { deployment, index }),
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

    /// Number of times that a version has come, gone, loaded or failed to load.
    pub fn changes(&self) -> [u64; 2] {
        [self.changes.load(Ordering::Acquire), self.loading.settled()]
    }

    /// Versions waiting to be loaded.
    pub fn loading(&self) -> &Loading {
        &self.loading
    }

    /// Registers all versions published before the host started, all at once, and queues those waiting to be loaded.
    pub fn remember(&self, versions: Vec<Arc<Published>>) {
        let changing = self.changing();
        self.insert(versions.iter().map(Arc::clone));
        drop(changing);
        self.load(versions);
    }

    /// Queues versions for loading.
    fn load(&self, versions: Vec<Arc<Published>>) {
        let waiting = versions.into_iter().filter(|version| version.out_of_service().is_none());
        self.loading.add(waiting);
    }

    /// Puts versions of one model live, all at once, after `keep` has made them durable. The same bytes twice are one version. Waits for
    /// the disk.
    ///
    /// # Errors
    /// [`ResolveError::VersionTaken`], and those of `keep`; nothing was changed.
    pub fn publish<E: From<ResolveError>>(
        &self,
        deployments: Vec<Arc<Deployment>>,
        keep: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let _changing = self.changing();
        for Deployment { model, version, digest, .. } in deployments.iter().map(|live| &**live) {
            self.check_free(model, version, digest)?;
        }
        keep()?;
        let live: Vec<_> = deployments.into_iter().map(Published::live).collect();
        self.insert(live.iter().map(Arc::clone));
        live.iter().for_each(|live| self.forget_withdrawn(live.model(), live.version()));
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

    /// Queues an out-of-service version for loading.
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
        let again = Published::again(model.clone(), version.clone(), *digest);
        self.replace(&model, &version, Some(Arc::clone(&again)));
        self.loading.add([Arc::clone(&again)]);
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

    /// The version with this digest, if it is live.
    pub fn by_digest(&self, model: &ModelName, digest: &Digest) -> Option<Arc<Deployment>> {
        let published = self.published.load();
        let mut versions = published.get(model)?.values();
        versions.find(|version| version.digest() == Some(digest))?.deployment()
    }

    /// The live versions of a model, in ascending order.
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
