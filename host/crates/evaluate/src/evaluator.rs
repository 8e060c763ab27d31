//! Loads models and computes rows, in worker processes as a host's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hospes_config::{BackendChoice, Isolation};
use hospes_core::backend::BackendKind;
use hospes_core::id::{AccountName, Digest};
use hospes_core::tensor::Tensor;
use hospes_data::DataSet;
use hospes_inference::{
    Call, ComputeError, Graph, Inference, InferenceError, LoadError, ModelSignature, ModelSource,
    Placement, Settings,
};
use hospes_onnx::Told;

use crate::answers::{AnswerError, Answers};
use crate::feed::{Feed, FeedError, Preparation};

/// Rows that are computed at once if the model takes any number.
pub const BATCH_ROWS: usize = 32;

/// Maximum time of one computation.
const COMPUTE_TIMEOUT: Duration = Duration::from_secs(120);

/// Why a model could not be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    #[error("no worker process could be started")]
    Start(#[source] Box<InferenceError>),
    #[error("the model cannot be loaded")]
    Load(#[source] Box<LoadError>),
    #[error("{0}")]
    Feed(Box<FeedError>),
    #[error("rows {first} to {last} cannot be computed on `{backend}`")]
    Compute {
        backend: BackendKind,
        first: usize,
        last: usize,
        #[source]
        source: Box<ComputeError>,
    },
    #[error("rows {first} to {last} were not computed on `{backend}` within {} s", COMPUTE_TIMEOUT.as_secs())]
    Timeout { backend: BackendKind, first: usize, last: usize },
    #[error("{0}")]
    Answer(#[from] AnswerError),
}

impl From<FeedError> for EvaluateError {
    fn from(error: FeedError) -> Self {
        Self::Feed(Box::new(error))
    }
}

/// Loads models on the backends of this machine.
#[derive(Debug, Clone)]
pub struct Evaluator {
    settings: Settings,
    backends: Vec<(BackendKind, Result<String, String>)>,
}

impl Evaluator {
    /// Finds out which backends are usable. Settings are a host's; each model gets workers of its own, so that the memory is its own and one
    /// that fails ends no other.
    ///
    /// # Errors
    /// [`EvaluateError::Start`].
    pub async fn start(settings: Settings) -> Result<Self, EvaluateError> {
        let settings = Settings { isolation: Isolation::Model, trusted: Vec::new(), ..settings };
        let started = Inference::start(settings.clone()).await;
        let inference = started.map_err(|error| EvaluateError::Start(Box::new(error)))?;
        let backends = inference
            .backends()
            .iter()
            .map(|status| (status.kind, status.usable.clone().map_err(|error| error.to_string())));
        Ok(Self { backends: backends.collect(), settings })
    }

    /// Each backend: its description, or why it is not usable.
    pub fn backends(&self) -> &[(BackendKind, Result<String, String>)] {
        &self.backends
    }

    /// The usable backends, in order of preference.
    pub fn usable(&self) -> Vec<BackendKind> {
        let usable = self.backends.iter().filter(|(_, usable)| usable.is_ok());
        usable.map(|(kind, _)| *kind).collect()
    }

    /// Loads a model on a backend, in a worker process of its own.
    ///
    /// # Errors
    /// [`EvaluateError::Start`], [`EvaluateError::Load`].
    pub async fn load(&self, model: Bytes, backend: BackendKind) -> Result<Loaded, EvaluateError> {
        let settings = Settings { backend: BackendChoice::from(backend), ..self.settings.clone() };
        let started = Inference::start(settings).await;
        let inference = started.map_err(|error| EvaluateError::Start(Box::new(error)))?;
        let publisher: AccountName = "evaluate".parse().expect("invariant: a name");
        let (digest, bytes) = (Digest::of(&model), model.len() as u64);
        let told = Told::of_bytes(&model);
        let source = ModelSource::in_memory(publisher, model);
        let placement = Placement { backend: Some(backend), ..Placement::default() };
        let began = Instant::now();
        let loaded = inference.load(source, placement).await;
        let graph = loaded.map_err(|error| EvaluateError::Load(Box::new(error)))?;
        let load_time = began.elapsed();
        Ok(Loaded { inference, graph, backend, digest, bytes, told, load_time })
    }
}

/// A model on a backend.
pub struct Loaded {
    inference: Inference,
    graph: Arc<Graph>,
    backend: BackendKind,
    digest: Digest,
    bytes: u64,
    told: Told,
    load_time: Duration,
}

impl Loaded {
    /// The model's inputs and outputs.
    pub fn signature(&self) -> &ModelSignature {
        self.graph.signature()
    }

    /// Binds a data set to the inputs, by the columns that the model was trained with if it says so.
    ///
    /// # Errors
    /// [`FeedError`].
    pub fn feed<'d>(
        &self,
        data: &'d DataSet,
        preparation: &Preparation,
    ) -> Result<Feed<'d>, FeedError> {
        Feed::of_trained(self.signature(), &self.told.columns, data, preparation)
    }

    /// The backend.
    pub fn backend(&self) -> BackendKind {
        self.backend
    }

    /// The SHA-256 of the model's file.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The size of the model's file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How long loading took, without starting the worker.
    pub fn load_time(&self) -> Duration {
        self.load_time
    }

    /// The most memory that its worker has held so far, in bytes (`VmHWM`): the library, the model and its computations. `None` if the
    /// system does not say.
    pub fn memory_bytes(&self) -> Option<u64> {
        let peaks = self.inference.workers().into_iter().filter_map(peak);
        peaks.max()
    }

    /// Computes the rows that `inputs` hold; a part of a [`Feed`].
    ///
    /// # Errors
    /// [`ComputeError`]; `None` if it took too long.
    pub async fn compute(
        &self,
        inputs: Vec<(String, Tensor)>,
    ) -> Option<Result<Vec<(String, Tensor)>, ComputeError>> {
        let call = Call::of_nobody(Instant::now() + COMPUTE_TIMEOUT);
        tokio::time::timeout(COMPUTE_TIMEOUT, self.graph.compute(inputs, call)).await.ok()
    }

    /// Computes every row. `progress` gets the number of rows that are done.
    ///
    /// # Errors
    /// [`EvaluateError`] with the rows that failed.
    pub async fn answers(
        &self,
        feed: &Feed<'_>,
        mut progress: impl FnMut(usize),
    ) -> Result<Answers, EvaluateError> {
        let mut answers = Answers::of_model(self.told.classes.clone()).masked(feed.mask());
        let step = feed.batch().unwrap_or(BATCH_ROWS).max(1);
        let backend = self.backend;
        for first in (0..feed.rows()).step_by(step) {
            let last = (first + step).min(feed.rows());
            let inputs = feed.inputs(first..last)?;
            let outputs = match self.compute(inputs).await {
                Some(Ok(outputs)) => outputs,
                Some(Err(source)) => {
                    let (first, source) = (first + 1, Box::new(source));
                    return Err(EvaluateError::Compute { backend, first, last, source });
                }
                None => return Err(EvaluateError::Timeout { backend, first: first + 1, last }),
            };
            answers.add(outputs, last - first, feed.batch().unwrap_or(last - first))?;
            progress(last);
        }
        Ok(answers)
    }
}

/// The peak of a process's memory.
fn peak(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
