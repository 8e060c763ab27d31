//! Native inference: models are loaded once, shared by all who may call them, and computed off the threads that serve requests.
//!
//! Knows no WebAssembly, tenants or agreements. Shapes, types and sizes are checked before a backend sees them. The surprise: a model
//! that has shown itself to be quick is computed where its caller stands, because handing it over would cost more than the model.

pub mod backend;
mod executor;
mod graph;
pub mod runtime;
mod signature;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Mutex;

use backend::onnxruntime::OnnxRuntime;
use backend::tract::Tract;
use backend::{Backend, BackendError};
use executor::Executor;

pub use backend::{BackendKind, BackendStatus, Device, Placement};
pub use graph::{ComputeError, ErrorClass, Graph};
pub use signature::{InputError, ModelSignature, OutputSpec, TensorSpec};

use crate::config::BackendChoice;
use crate::id::Digest;

/// Time to load a model. A native parser cannot be interrupted, so its publisher stops waiting and the bundle is refused.
const LOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// How inference is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    pub threads: NonZeroUsize,
    /// Computations that wait for a thread; one more is [`ComputeError::Busy`].
    pub queue_length_max: usize,
    /// Bytes of one computation's tensors, of the inputs and of the outputs each.
    pub tensor_bytes_max: NonZeroUsize,
    pub backend: BackendChoice,
    /// Where ONNX Runtime's library may be, in order.
    pub libraries: Vec<PathBuf>,
    /// Whether somebody named the library: then the host does not start without it.
    pub library_required: bool,
}

/// Why inference could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InferenceError {
    #[error("a thread for inference could not be started")]
    Thread(#[source] std::io::Error),
    #[error("backend `{kind}` is asked for and not usable: {reason}")]
    Unusable { kind: BackendKind, reason: BackendError },
}

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("it needs backend `{kind}`, which is not usable here: {reason}")]
    Unusable { kind: BackendKind, reason: String },
    #[error("it needs backend `{wanted}`, but this host's operator allows `{allowed}` only")]
    NotAllowed { wanted: BackendKind, allowed: BackendKind },
    #[error("it must run on a GPU, and this host has none for it")]
    NoGpu,
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
}

/// A model to load.
#[derive(Debug, Clone)]
pub struct ModelSource {
    pub digest: Digest,
    pub bytes: Bytes,
}

type Loaded = HashMap<(Digest, BackendKind), Weak<Graph>>;

/// The models and the threads that compute them.
pub struct Inference {
    settings: Settings,
    executor: Arc<Executor>,
    onnxruntime: Result<Arc<dyn Backend>, BackendError>,
    tract: Arc<dyn Backend>,
    status: Vec<BackendStatus>,
    /// Held while a model is loaded, so that it is loaded once.
    loaded: Mutex<Loaded>,
}

impl Inference {
    /// Starts the threads and finds the backends.
    ///
    /// # Errors
    /// [`InferenceError::Unusable`] if a backend or library was named that is not usable.
    pub fn start(settings: Settings) -> Result<Self, InferenceError> {
        let onnxruntime = OnnxRuntime::find(&settings.libraries, settings.threads);
        let required = settings.library_required || settings.backend == BackendChoice::Onnxruntime;
        if let (Err(reason), true) = (&onnxruntime, required) {
            let (kind, reason) = (BackendKind::Onnxruntime, reason.clone());
            return Err(InferenceError::Unusable { kind, reason });
        }
        let executor = Executor::start(settings.threads, settings.queue_length_max);
        Ok(Self {
            executor: Arc::new(executor.map_err(InferenceError::Thread)?),
            status: status(&onnxruntime),
            onnxruntime: onnxruntime.map(|backend| Arc::new(backend) as Arc<dyn Backend>),
            tract: Arc::new(Tract),
            loaded: Mutex::default(),
            settings,
        })
    }

    /// The backends, and why one is not usable.
    pub fn backends(&self) -> &[BackendStatus] {
        &self.status
    }

    /// Loads a model, or finds it loaded: once for every digest and backend.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn load(
        &self,
        source: ModelSource,
        placement: Placement,
    ) -> Result<Arc<Graph>, LoadError> {
        let backend = self.choose(placement)?;
        let kind = backend.kind();
        let mut loaded = self.loaded.lock().await;
        loaded.retain(|_, graph| graph.strong_count() > 0);
        if let Some(graph) = loaded.get(&(source.digest, kind)).and_then(Weak::upgrade) {
            return Ok(graph);
        }
        let loading = tokio::task::spawn_blocking(move || backend.load(&source.bytes));
        let model = match tokio::time::timeout(LOAD_TIMEOUT, loading).await {
            Ok(Ok(model)) => model.map_err(|source| LoadError::Backend { kind, source })?,
            Ok(Err(_panic)) => return Err(LoadError::Panicked { kind }),
            Err(_elapsed) => return Err(LoadError::Timeout { kind }),
        };
        let tensor_bytes_max = self.settings.tensor_bytes_max.get();
        let graph = Arc::new(Graph::new(model, kind, Arc::clone(&self.executor), tensor_bytes_max));
        loaded.insert((source.digest, kind), Arc::downgrade(&graph));
        Ok(graph)
    }

    /// What the operator allows, then what the publisher wants, then the fastest that is here.
    fn choose(&self, placement: Placement) -> Result<Arc<dyn Backend>, LoadError> {
        if placement.device == Device::Gpu {
            return Err(LoadError::NoGpu);
        }
        let allowed = match self.settings.backend {
            BackendChoice::Auto => None,
            BackendChoice::Onnxruntime => Some(BackendKind::Onnxruntime),
            BackendChoice::Tract => Some(BackendKind::Tract),
        };
        match (allowed, placement.backend) {
            (Some(allowed), Some(wanted)) if wanted != allowed => {
                Err(LoadError::NotAllowed { wanted, allowed })
            }
            (Some(kind), _) | (None, Some(kind)) => self.backend(kind),
            (None, None) => {
                Ok(self.onnxruntime.as_ref().map_or(&self.tract, |found| found).clone())
            }
        }
    }

    fn backend(&self, kind: BackendKind) -> Result<Arc<dyn Backend>, LoadError> {
        match kind {
            BackendKind::Tract => Ok(Arc::clone(&self.tract)),
            BackendKind::Onnxruntime => match &self.onnxruntime {
                Ok(backend) => Ok(Arc::clone(backend)),
                Err(reason) => Err(LoadError::Unusable { kind, reason: reason.to_string() }),
            },
        }
    }
}

/// The backends that a host with these settings would have, and why one is not usable.
pub fn backends(settings: &Settings) -> Vec<BackendStatus> {
    status(&OnnxRuntime::find(&settings.libraries, settings.threads))
}

fn status(onnxruntime: &Result<OnnxRuntime, BackendError>) -> Vec<BackendStatus> {
    let usable = match onnxruntime {
        Ok(found) => Ok(found.describe()),
        Err(reason) => Err(reason.clone()),
    };
    vec![
        BackendStatus { kind: BackendKind::Onnxruntime, usable },
        BackendStatus { kind: BackendKind::Tract, usable: Ok(Tract::describe()) },
    ]
}
