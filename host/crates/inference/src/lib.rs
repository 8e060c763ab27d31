//! Native inference. A model is loaded once, shared by all permitted callers, and runs in a worker process.
//!
//! This crate does not know WebAssembly or agreements. Of tenants it knows only which models may share a process. It checks models, shapes,
//! types and sizes before a backend sees them. The surprise: models of publishers that the operator trusts may run in the host's process.
//! A bounded and quick model then runs on the caller's thread.

mod artefacts;
pub mod backend;
mod batch;
mod executor;
mod figures;
mod footprint;
mod graph;
pub mod language;
mod load;
mod paces;
mod pool;
pub mod protocol;
mod remote;
pub mod runtime;
mod samples;
mod seats;
mod signature;
mod strikes;
mod trial;
mod windows;
pub mod worker;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::num::{NonZeroU32, NonZeroUsize};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use artefacts::Artefacts;
use backend::{Backend, BackendError, Needs, Row, TABLE, row};
use bytes::Bytes;
use executor::Executor;
use graph::Known;
use pool::{Group, Pool, RemoteModel, Together};

pub use artefacts::ArtefactSettings;
pub use backend::{BackendStatus, Call, Placement};
pub use batch::Meets;
pub use figures::QueueFigures;
pub use graph::{ComputeError, ErrorClass, Graph, Held, WORKERS_WAIT};
pub use language::{Pieces, PrefixScope, Sequence, Speaker, Tokens};
pub use pool::in_memory as file_in_memory;
pub use remote::WorkerStartError;
pub use signature::{InputError, ModelSignature, OutputSpec, Sizes, TensorSpec};
pub use strikes::Incident;
use trial::{Candidate, NO_TIME};
pub use trial::{Joined, Trial, TrialError, TrialTime};

use hospes_config::{BackendChoice, Isolation};
use hospes_core::backend::{BackendKind, Device};
use hospes_core::id::{AccountName, Digest};
use hospes_onnx::{self as onnx, Accepted, ModelFacts, ModelRefused};
use hospes_telemetry::Allowances;
use hospes_worker::{Confinement, Program};

/// Time limit for loading a model. When it passes, the worker is killed and the bundle rejected.
const LOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// A model that crashes its worker this often in its trial run, each time with different inputs, is rejected.
const LOST_MAX: usize = 2;

/// The settings of inference.
#[derive(Debug, Clone)]
pub struct Settings {
    pub threads: NonZeroUsize,
    /// Maximum computations waiting for a thread of this process; beyond that [`ComputeError::Busy`].
    pub queue_length_max: usize,
    /// Maximum bytes of a computation's inputs, and of its outputs.
    pub tensor_bytes_max: NonZeroUsize,
    pub backend: BackendChoice,
    /// Possible paths of ONNX Runtime's library, in order.
    pub libraries: Vec<PathBuf>,
    /// Whether the settings name the library. If so, the host does not start without it.
    pub library_required: bool,
    /// Which models share a worker process.
    pub isolation: Isolation,
    /// Publishers whose models may run in the host's process, if `isolation` permits.
    pub trusted: Vec<AccountName>,
    /// Maximum worker processes, not counting the spare one. At the maximum, a new worker replaces an idle one.
    pub workers_max: NonZeroUsize,
    /// Maximum bytes of a worker's address space, beyond what it uses at start.
    pub worker_memory_bytes_max: u64,
    /// The program that workers run.
    pub program: Program,
    /// How much the workers of a publisher may log.
    pub allowances: Arc<Allowances>,
    /// Where optimised models with mapped weights are kept. `None` if all models are loaded from their own files.
    pub artefacts: Option<ArtefactSettings>,
}

impl Settings {
    fn needs(&self) -> Needs<'_> {
        Needs { libraries: &self.libraries, threads: self.threads, all_threads: self.threads }
    }
}

/// Why inference could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InferenceError {
    #[error("a thread for inference could not be started")]
    Thread(#[source] io::Error),
    #[error("no worker process for inference could be started")]
    Worker(#[from] WorkerStartError),
    #[error("backend `{kind}` is configured, but not usable: {reason}")]
    Unusable { kind: BackendKind, reason: BackendError },
}

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("it needs backend `{kind}`, which is not usable here: {reason}")]
    Unusable { kind: BackendKind, reason: String },
    #[error("it needs backend `{wanted}`, but this host's operator allows `{allowed}` only")]
    NotAllowed { wanted: BackendKind, allowed: BackendKind },
    #[error("it must run on a {device}, but this host has none for it")]
    NoDevice { device: Device },
    #[error("it is no decoder model that can be loaded: {0}")]
    Decoder(String),
    #[error("no backend gets it: {0}")]
    Refused(#[from] ModelRefused),
    #[error("`{kind}` cannot load it: {source}")]
    Backend {
        kind: BackendKind,
        #[source]
        source: BackendError,
    },
    #[error("`{kind}` did not load it within {} s", LOAD_TIMEOUT.as_secs())]
    Timeout { kind: BackendKind },
    #[error("`{kind}` failed while loading it")]
    Panicked { kind: BackendKind },
    #[error("the threads that compute in the host's own process could not be started: {0}")]
    Threads(String),
    #[error("the process in which `{kind}` loaded it ended: {how}")]
    Lost { kind: BackendKind, how: String },
    #[error(
        "it is backed off for another {} ms, because it ended the process that loaded it", wait.as_millis()
    )]
    BackedOff { wait: Duration },
    #[error("{}", ComputeError::Workers { max: *max })]
    Workers { max: usize },
}

/// The estimated cost of a computation for its caller's share, in nanoseconds. It is replaced by the actual cost at the end.
const COMPUTE_NANOS: u64 = 1_000_000;

/// The party for whom a model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Caller {
    /// An opaque number that tells callers apart.
    pub number: u64,
    /// Its weight in the fair shares of computing time.
    pub weight: NonZeroU32,
}

impl Caller {
    /// The caller of computations that no account has requested. No account has this number.
    pub const NOBODY: Self = Self { number: u64::MAX, weight: NonZeroU32::MIN };

    /// A caller with the default weight.
    pub fn new(number: u64) -> Self {
        Self { number, weight: NonZeroU32::MIN }
    }
}

/// A model to load.
#[derive(Clone)]
pub struct ModelSource {
    pub digest: Digest,
    pub publisher: AccountName,
    pub bytes: Bytes,
    /// Opens the model's file, to load it again.
    pub reopen: Arc<dyn Fn() -> io::Result<OwnedFd> + Send + Sync>,
}

impl ModelSource {
    /// A model that is only in memory.
    pub fn in_memory(publisher: AccountName, bytes: Bytes) -> Self {
        let kept = bytes.clone();
        Self {
            digest: Digest::of(&bytes),
            publisher,
            bytes,
            reopen: Arc::new(move || pool::in_memory(&kept)),
        }
    }

    /// The same source without the bytes in memory.
    fn without_bytes(self) -> Self {
        Self { bytes: Bytes::new(), ..self }
    }
}

impl fmt::Debug for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelSource({}, {} bytes)", self.digest, self.bytes.len())
    }
}

/// A model and the place where it is loaded. Publishers do not share loaded models.
type Key = (Place, Digest, BackendKind);

/// A loaded or loading model. It is locked while it loads, so that it loads once and only its users wait.
type Slot = Arc<tokio::sync::Mutex<Weak<Graph>>>;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Place {
    Worker(Together),
    /// In the host's process.
    Here,
}

/// A worker that stays as long as this.
pub struct KeptWorker(#[expect(dead_code, reason = "it is held, not read")] Option<Arc<Group>>);

/// The models, and the workers and threads that run them.
pub struct Inference {
    settings: Settings,
    pool: Arc<Pool>,
    executor: OnceLock<Arc<Executor>>,
    /// The backends in the host's process, in the table's order. Each is opened for the first trusted model that needs it.
    here: [OnceLock<Result<Arc<dyn Backend>, BackendError>>; TABLE.len()],
    status: Vec<BackendStatus>,
    confinement: Confinement,
    /// `None` if they are off; or why they cannot be used.
    artefacts: Option<Result<Arc<Artefacts>, String>>,
    loaded: Mutex<HashMap<Key, Slot>>,
    decoders: language::Slots,
}

impl Inference {
    /// Starts a worker and determines its backends.
    ///
    /// # Errors
    /// [`InferenceError::Unusable`] if a configured backend or library is not usable; [`InferenceError::Worker`].
    pub async fn start(mut settings: Settings) -> Result<Self, InferenceError> {
        let required = |row: &Row, settings: &Settings| {
            settings.backend.only() == Some(row.kind)
                || (row.is_library && settings.library_required)
        };
        let needs_library = TABLE.iter().any(|row| row.is_library && required(row, &settings));
        let mut pool = Arc::new(Pool::new(&settings));
        let ready = match pool.first().await {
            // Loading a damaged library crashes the process.
            Err(error) if !needs_library && !settings.libraries.is_empty() => {
                tracing::error!(%error, "workers do not start with ONNX Runtime, so the host does not use it");
                settings.libraries.clear();
                pool = Arc::new(Pool::new(&settings));
                pool.first().await?
            }
            ready => ready?,
        };
        let status: Vec<BackendStatus> = ready
            .backends
            .into_iter()
            .map(|offered| BackendStatus { kind: offered.kind, usable: offered.usable })
            .collect();
        for BackendStatus { kind, usable } in &status {
            match usable {
                Err(reason) if required(row(*kind), &settings) => {
                    return Err(InferenceError::Unusable { kind: *kind, reason: reason.clone() });
                }
                Err(reason) => tracing::warn!(backend = %kind, %reason, "a backend is not usable"),
                Ok(_) => {}
            }
        }
        let mut confinement = ready.confinement;
        // The host makes the control groups, so workers do not report them.
        confinement.missing.extend(hospes_worker::cgroup::missing());
        for missing in &confinement.missing {
            tracing::warn!(%missing, "workers are confined less than they could be");
        }
        let artefacts = artefacts(&settings, &status, &confinement, &pool);
        if let Some(Err(why)) = &artefacts {
            tracing::warn!(%why, "every session of a model holds its weights anew");
        }
        Ok(Self {
            settings,
            pool,
            executor: OnceLock::new(),
            here: Default::default(),
            status,
            confinement,
            artefacts,
            loaded: Mutex::default(),
            decoders: language::Slots::default(),
        })
    }

    /// The backends, and why any is not usable.
    pub fn backends(&self) -> &[BackendStatus] {
        &self.status
    }

    /// Confinement that this machine does not support.
    pub fn confinement(&self) -> &Confinement {
        &self.confinement
    }

    /// Computations that recently crashed their workers.
    pub fn incidents(&self) -> Vec<Incident> {
        self.pool.strikes.incidents()
    }

    /// The same for one publisher's models.
    pub fn incidents_of(&self, publisher: &AccountName) -> Vec<Incident> {
        self.pool.strikes.incidents_of(publisher)
    }

    /// Whether the last attempt to start a worker process failed. The host then tries again every second.
    pub fn starts_no_workers(&self) -> bool {
        self.pool.starts_none()
    }

    /// What became of computations that had to wait.
    pub fn queue(&self) -> QueueFigures {
        self.pool.figures.snapshot()
    }

    /// The process IDs of the workers.
    pub fn workers(&self) -> Vec<u32> {
        self.pool.processes()
    }

    /// Runs the trial of a loaded model before it goes live. If the worker crashes, the trial is repeated in a worker that no other model
    /// shares, because another model may be to blame. If it fails there too, the model does not go live.
    ///
    /// With an `axis` the trial also finds out whether joining computations along it is worthwhile.
    ///
    /// # Errors
    /// [`TrialError`] if it would fail every call.
    pub async fn try_out(
        &self,
        graph: &Graph,
        source: ModelSource,
        (time, axis): (TrialTime, Option<u32>),
    ) -> Result<Trial, TrialError> {
        let place = self.place(&source, graph.backend());
        let accepted = accepted(graph.facts(), source.bytes.clone()).await;
        let Place::Worker(Together::Publisher(publisher)) = place else {
            return Candidate { graph, accepted: &accepted, axis }.try_out(time, LOST_MAX).await;
        };
        let how = match (Candidate { graph, accepted: &accepted, axis }).try_out(time, 1).await {
            Err(TrialError::Ends { how }) => how,
            tried => return tried,
        };
        let (kind, facts) = (graph.backend(), graph.facts().clone());
        let (tensor_bytes_max, footprint) = (graph.tensor_bytes_max(), graph.footprint());
        let known = Known { kind, facts, tensor_bytes_max, footprint };
        let group = self.pool.group(Together::Model(publisher, source.digest));
        let loading = RemoteModel::load(group, source, kind, None);
        match tokio::time::timeout_at(time.until().into(), loading).await {
            Ok(Ok(model)) => {
                let graph = Graph::remote(model, known);
                let alone = Candidate { graph: &graph, accepted: &accepted, axis };
                match alone.try_out(time, LOST_MAX).await {
                    Ok(Trial::Inconclusive(why)) => Err(TrialError::Unclear { how, why }),
                    tried => tried,
                }
            }
            Ok(Err(error @ LoadError::Workers { .. })) => {
                Err(TrialError::Unclear { how, why: error.to_string() })
            }
            Err(_elapsed) => Err(TrialError::Unclear { how, why: NO_TIME.into() }),
            Ok(Err(LoadError::BackedOff { wait })) => Err(TrialError::BackedOff { wait }),
            Ok(Err(_)) => Err(TrialError::Ends { how }),
        }
    }
}

/// The artefacts, or why they cannot be used; `None` if the settings have none.
fn artefacts(
    settings: &Settings,
    status: &[BackendStatus],
    confinement: &Confinement,
    pool: &Arc<Pool>,
) -> Option<Result<Arc<Artefacts>, String>> {
    let wanted = settings.artefacts.clone()?;
    let status = status.iter().find(|status| status.kind == BackendKind::Onnxruntime);
    // Its description is the library's path. Without the library, the log says so already.
    let library = PathBuf::from(status?.usable.as_ref().ok()?);
    // Without the filter, a worker's library would look for a real file.
    if let Some(missing) = confinement.missing.iter().find(|step| step.starts_with("seccomp")) {
        return Some(Err(missing.clone()));
    }
    Some(Artefacts::open(wanted, library, Arc::clone(pool)).map(Arc::new))
}

/// Largest model that is read for its categories, in bytes. Reading holds some ten times as much for a model of many small parts.
const ACCEPTED_MODEL_BYTES_MAX: usize = 4 << 20;

/// Categories that the model lists for its inputs. Few models need them, so others are not read for them.
async fn accepted(facts: &ModelFacts, bytes: Bytes) -> Vec<Accepted> {
    if !facts.has("ai.onnx.ml", "OneHotEncoder") || bytes.len() > ACCEPTED_MODEL_BYTES_MAX {
        return Vec::new();
    }
    let read = move || onnx::Model::read(bytes).map(|model| onnx::accepted(&model));
    // A model that passed the check can be read. Otherwise the inputs are made up without.
    tokio::task::spawn_blocking(read).await.ok().and_then(Result::ok).unwrap_or_default()
}

/// The backends of a host with these settings, and why any is not usable.
pub fn backends(settings: &Settings) -> Vec<BackendStatus> {
    let status = |row: &Row| {
        let usable = (row.open)(&settings.needs()).map(|backend| backend.describe());
        BackendStatus { kind: row.kind, usable }
    };
    TABLE.iter().map(status).collect()
}

/// The Open Inference Protocol's `platform` for a model of this backend.
pub fn platform(kind: BackendKind) -> &'static str {
    row(kind).platform
}
