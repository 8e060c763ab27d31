//! What is live on this host: model versions and their functions, by name.
//!
//! Versions are immutable and appear all at once: a reader sees the old set or the new one. Nothing here is decided by
//! agreements; whether a caller may know of a model is asked elsewhere.

mod statistics;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arc_swap::ArcSwap;
use semver::Version;

pub use statistics::{Span, Stages, Statistics, Totals};

use crate::bundle::Manifest;
use crate::id::{ById, Digest, FunctionName, ModelName, Party};
use crate::inference::ModelSignature;
use crate::sandbox::{CallLimits, Entry, Graphs, Guest, GuestFunction, Signature};

/// Most rows of a batch that comes as tensors.
pub const BATCH_ROWS_MAX: usize = 4096;

/// A version of a model, live on this host.
pub struct Deployment {
    pub(crate) model: ModelName,
    pub(crate) version: Version,
    pub(crate) digest: Digest,
    pub(crate) publisher: Party,
    pub(crate) manifest: Manifest,
    pub(crate) guest: Guest,
    pub(crate) graphs: Graphs,
    /// Whether the bundle is a model without code.
    pub(crate) codeless: bool,
    pub(crate) statistics: Statistics,
}

impl Deployment {
    /// `publisher/model`.
    pub fn model(&self) -> &ModelName {
        &self.model
    }

    /// The version that this is.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The digest of the bundle: what agreements name.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Who signed the bundle.
    pub fn publisher(&self) -> Party {
        self.publisher
    }

    /// What the publisher says about it.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The compiled code.
    pub fn guest(&self) -> &Guest {
        &self.guest
    }

    /// The models that the code may load.
    pub fn graphs(&self) -> &Graphs {
        &self.graphs
    }

    /// Whether the bundle is a model without code: tensors go to the model as they come.
    pub fn is_codeless(&self) -> bool {
        self.codeless
    }

    /// What the tensors of its tensor function are, if there is one model that they can be for.
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

    /// The function that takes and gives named tensors, if it has one.
    pub fn tensor_function(&self) -> Option<&GuestFunction> {
        let mut functions = self.functions().iter();
        functions.find(|function| *function.signature() == Signature::Tensors)
    }

    /// The function that answers requests of HTTP, if it has one.
    pub fn handler(&self) -> Option<&GuestFunction> {
        let mut functions = self.functions().iter();
        functions.find(|function| matches!(function.signature(), Signature::Http(_)))
    }

    /// What its calls came to, since the host started.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// The functions that can be called, with their types.
    pub fn functions(&self) -> &[GuestFunction] {
        self.guest.functions()
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

    /// The function, to be called.
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

    /// `limits` of the host, narrowed to those that the bundle asks for.
    pub fn narrow(&self, limits: CallLimits) -> CallLimits {
        let wanted = &self.deployment.manifest.limits;
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

/// Which version of a model a call wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// The highest version that is not a pre-release, or the highest of all if there are only those.
    Latest,
    /// Exactly this version.
    Version(Version),
    /// Exactly this bundle.
    Digest(Digest),
}

impl FromStr for Reference {
    type Err = ResolveError;

    /// Reads what stands behind the `@` of a model's name.
    fn from_str(text: &str) -> Result<Self, ResolveError> {
        if let Ok(digest) = text.parse() {
            return Ok(Reference::Digest(digest));
        }
        let version = text.strip_prefix('v').unwrap_or(text);
        version
            .parse()
            .map(Reference::Version)
            .map_err(|_| ResolveError::Reference(text.chars().take(80).collect()))
    }
}

/// What a call is addressed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub model: ModelName,
    pub reference: Reference,
    pub function: FunctionName,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reference {
            Reference::Latest => write!(f, "{}/{}", self.model, self.function),
            Reference::Version(version) => write!(f, "{}@{version}/{}", self.model, self.function),
            Reference::Digest(digest) => write!(f, "{}@{digest}/{}", self.model, self.function),
        }
    }
}

/// Why a call's target was not found, or a version not put live.
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
    #[error(
        "`{model}` {version} is published already, with other bytes; versions never change: publish a new one"
    )]
    VersionTaken { model: ModelName, version: Version },
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

type Models = ById<ModelName, BTreeMap<Version, Arc<Deployment>>>;

/// Published versions that are out of service.
type Withdrawn = BTreeMap<(ModelName, Version), Digest>;

/// The live versions of this host.
#[derive(Default)]
pub struct Deployments {
    live: ArcSwap<Models>,
    /// Held while anything changes.
    withdrawn: Mutex<Withdrawn>,
}

impl Deployments {
    /// The version of a model that a reference means. Neither waits nor does any I/O.
    ///
    /// # Errors
    /// [`ResolveError`] says what there is instead.
    pub fn version(
        &self,
        model: &ModelName,
        reference: &Reference,
    ) -> Result<Arc<Deployment>, ResolveError> {
        let live = self.live.load();
        let versions = live.get(model).ok_or_else(|| ResolveError::NoModel(model.clone()))?;
        let picked = pick(versions, reference).ok_or_else(|| ResolveError::NoVersion {
            model: model.clone(),
            wanted: wanted(reference),
            versions: versions.keys().map(Version::to_string).collect(),
        });
        picked.map(Arc::clone)
    }

    /// The function that a call is addressed to. Neither waits nor does any I/O.
    ///
    /// # Errors
    /// [`ResolveError`] says what there is instead.
    pub fn resolve(&self, target: &Target) -> Result<Function, ResolveError> {
        let deployment = self.version(&target.model, &target.reference)?;
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

    /// Refuses a version whose number belongs to other bytes already.
    ///
    /// # Errors
    /// [`ResolveError::VersionTaken`].
    pub fn check_free(
        &self,
        model: &ModelName,
        version: &Version,
        digest: &Digest,
    ) -> Result<(), ResolveError> {
        self.check_free_beside(model, version, digest, &self.lock())
    }

    fn check_free_beside(
        &self,
        model: &ModelName,
        version: &Version,
        digest: &Digest,
        withdrawn: &Withdrawn,
    ) -> Result<(), ResolveError> {
        let live = self.live.load();
        let live = live.get(model).and_then(|versions| versions.get(version));
        let withdrawn = withdrawn.get(&(model.clone(), version.clone()));
        match live.map(|deployment| &deployment.digest).or(withdrawn) {
            Some(taken) if taken != digest => {
                Err(ResolveError::VersionTaken { model: model.clone(), version: version.clone() })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Withdrawn> {
        self.withdrawn.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Puts a version live, all at once, after `keep` has made it durable. The same bytes twice are one version.
    ///
    /// # Errors
    /// [`ResolveError::VersionTaken`], and those of `keep`; nothing was changed then.
    pub fn publish<E: From<ResolveError>>(
        &self,
        deployment: Arc<Deployment>,
        keep: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let (model, version) = (&deployment.model, &deployment.version);
        let mut withdrawn = self.lock();
        self.check_free_beside(model, version, &deployment.digest, &withdrawn)?;
        keep()?;
        withdrawn.remove(&(model.clone(), version.clone()));
        let mut live = Models::clone(&self.live.load());
        let versions = live.entry(deployment.model.clone()).or_default();
        versions.insert(deployment.version.clone(), deployment);
        self.live.store(Arc::new(live));
        Ok(())
    }

    /// Takes every version of a model out of service, after `keep` has made it durable. Calls that run go on.
    ///
    /// # Errors
    /// Those of `keep`, and [`ResolveError::NoModel`] if none of its versions is published.
    pub fn withdraw<E: From<ResolveError>>(
        &self,
        model: &ModelName,
        keep: impl FnOnce(&[Version]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut withdrawn = self.lock();
        let mut live = Models::clone(&self.live.load());
        let versions = live.remove(model).unwrap_or_default();
        if versions.is_empty() && !withdrawn.keys().any(|(other, _)| other == model) {
            return Err(ResolveError::NoModel(model.clone()).into());
        }
        keep(&versions.keys().cloned().collect::<Vec<_>>())?;
        let gone =
            versions.into_iter().map(|(version, live)| ((model.clone(), version), live.digest));
        withdrawn.extend(gone);
        self.live.store(Arc::new(live));
        Ok(())
    }

    /// Remembers a version that was out of service when the host stopped.
    pub fn remember_withdrawn(&self, model: ModelName, version: Version, digest: Digest) {
        self.lock().insert((model, version), digest);
    }

    /// Published versions that are out of service, in the order of names and versions.
    pub fn withdrawn(&self) -> Vec<(ModelName, Version)> {
        self.lock().keys().cloned().collect()
    }

    /// The version with this digest, if it is live.
    pub fn by_digest(&self, model: &ModelName, digest: &Digest) -> Option<Arc<Deployment>> {
        let live = self.live.load();
        live.get(model)?.values().find(|deployment| deployment.digest == *digest).cloned()
    }

    /// The live versions of a model, in ascending order.
    pub fn of(&self, model: &ModelName) -> Vec<Arc<Deployment>> {
        self.live.load().get(model).map_or_else(Vec::new, |live| live.values().cloned().collect())
    }

    /// Every live version, in the order of names and versions.
    pub fn all(&self) -> Vec<Arc<Deployment>> {
        let live = self.live.load();
        let mut all: Vec<_> =
            live.values().flat_map(|versions| versions.values().cloned()).collect();
        all.sort_by(|a, b| (&a.model, &a.version).cmp(&(&b.model, &b.version)));
        all
    }
}

fn pick<'live>(
    versions: &'live BTreeMap<Version, Arc<Deployment>>,
    reference: &Reference,
) -> Option<&'live Arc<Deployment>> {
    match reference {
        Reference::Latest => versions
            .iter()
            .rfind(|(version, _)| version.pre.is_empty())
            .or_else(|| versions.iter().next_back())
            .map(|(_, deployment)| deployment),
        Reference::Version(version) => versions.get(version),
        Reference::Digest(digest) => {
            versions.values().find(|deployment| deployment.digest == *digest)
        }
    }
}

fn wanted(reference: &Reference) -> String {
    match reference {
        Reference::Latest => "at all".into(),
        Reference::Version(version) => format!("`{version}`"),
        Reference::Digest(digest) => format!("with digest `{digest}`"),
    }
}
