//! A loaded model: checks what comes in, has it computed in the right place, checks what goes out.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::backend::{BackendError, BackendKind, Model, Stop};
use super::executor::{Executor, QueueFull};
use super::pool::RemoteModel;
use super::signature::{InputError, ModelSignature};
use crate::tensor::Tensor;

/// A computation that is expected to take no longer is done on the thread that asks for it: handing it over and waking up again
/// costs two changes of threads, and nobody else on this thread waits longer than this for it.
const INLINE_MAX: Duration = Duration::from_micros(200);

/// How much larger than usual an input may be for the usual time to say anything about it.
const INLINE_GROWTH_MAX: u64 = 4;

/// Why a computation has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComputeError {
    #[error(transparent)]
    Input(#[from] InputError),
    #[error("the {what} are {bytes} bytes, more than the {max} of `inference.tensor_bytes_max`")]
    TooLarge { what: &'static str, bytes: usize, max: usize },
    #[error(
        "{length_max} computations wait already (`inference.queue_length_max`); try again shortly"
    )]
    Busy { length_max: usize },
    #[error("the model failed: {0}")]
    Backend(#[from] BackendError),
    #[error(
        "the computation was lost: the process that computes this publisher's models ended by {how}"
    )]
    Lost { how: String },
    #[error(
        "the model is not computed for another {} ms, for it has ended the process that computes it", wait.as_millis()
    )]
    BackedOff { wait: Duration },
    #[error("{max} worker processes run already (`inference.workers_max`)")]
    Workers { max: usize },
}

/// What kind of error it is, for whoever passes it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    InvalidArgument,
    TooLarge,
    Busy,
    Unsupported,
    Runtime,
    /// It is not the guest's to handle: the process that computed has ended, or may not be started.
    Lost,
}

impl ComputeError {
    /// The kind of this error.
    pub fn class(&self) -> ErrorClass {
        match self {
            ComputeError::Input(_) => ErrorClass::InvalidArgument,
            ComputeError::TooLarge { .. } => ErrorClass::TooLarge,
            ComputeError::Busy { .. } => ErrorClass::Busy,
            ComputeError::Backend(BackendError::Unsupported(_)) => ErrorClass::Unsupported,
            ComputeError::Backend(_) => ErrorClass::Runtime,
            ComputeError::Lost { .. }
            | ComputeError::BackedOff { .. }
            | ComputeError::Workers { .. } => ErrorClass::Lost,
        }
    }
}

/// A model that is loaded. Shared by all who may call it.
pub struct Graph {
    place: Place,
    kind: BackendKind,
    tensor_bytes_max: usize,
}

enum Place {
    Remote(RemoteModel),
    Here { work: Arc<Work>, executor: Arc<Executor> },
}

/// What a thread of this process needs to compute.
struct Work {
    model: Box<dyn Model>,
    pace: Pace,
}

impl Graph {
    /// A model that a worker process computes.
    pub(super) fn remote(model: RemoteModel, kind: BackendKind, tensor_bytes_max: usize) -> Self {
        Self { place: Place::Remote(model), kind, tensor_bytes_max }
    }

    /// A model that this process computes.
    pub(super) fn here(
        model: Box<dyn Model>,
        kind: BackendKind,
        executor: Arc<Executor>,
        tensor_bytes_max: usize,
    ) -> Self {
        let work = Arc::new(Work { model, pace: Pace::default() });
        Self { place: Place::Here { work, executor }, kind, tensor_bytes_max }
    }

    /// What the model takes and gives.
    pub fn signature(&self) -> &ModelSignature {
        match &self.place {
            Place::Remote(model) => &model.signature,
            Place::Here { work, .. } => work.model.signature(),
        }
    }

    /// Which backend computes it.
    pub fn backend(&self) -> BackendKind {
        self.kind
    }

    /// Computes the model's outputs for a caller, who is a number that only tells callers apart. Dropping the future ends the
    /// computation soon, if it has begun in a worker, and takes it out of the queue, if it has not begun.
    ///
    /// # Errors
    /// [`ComputeError`].
    pub async fn compute(
        &self,
        inputs: Vec<(String, Tensor)>,
        caller: u64,
    ) -> Result<Vec<(String, Tensor)>, ComputeError> {
        let inputs = self.signature().bind(inputs)?;
        let bytes = self.check_size("inputs", &inputs)?;
        let outputs = match &self.place {
            Place::Remote(model) => model.compute(&inputs, caller).await?,
            Place::Here { work, .. } if work.pace.is_quick(bytes) => work.run(&inputs, bytes)?,
            Place::Here { work, executor } => hand_over(work, executor, inputs, bytes).await?,
        };
        self.check_size("outputs", &outputs)?;
        let specs = &self.signature().outputs;
        if specs.len() != outputs.len() {
            let how = format!("an answer of {} outputs, not {}", outputs.len(), specs.len());
            return Err(ComputeError::Lost { how });
        }
        Ok(specs.iter().map(|spec| spec.name.clone()).zip(outputs).collect())
    }

    fn check_size(&self, what: &'static str, tensors: &[Tensor]) -> Result<usize, ComputeError> {
        let bytes = tensors.iter().map(|tensor| tensor.data().len()).fold(0, usize::saturating_add);
        let max = self.tensor_bytes_max;
        if bytes > max { Err(ComputeError::TooLarge { what, bytes, max }) } else { Ok(bytes) }
    }
}

/// Computes on a thread of this process that serves nobody.
async fn hand_over(
    work: &Arc<Work>,
    executor: &Executor,
    inputs: Vec<Tensor>,
    bytes: usize,
) -> Result<Vec<Tensor>, ComputeError> {
    let (answer, answered) = oneshot::channel();
    let work = Arc::clone(work);
    let job = Box::new(move || {
        if !answer.is_closed() {
            let _ = answer.send(work.run(&inputs, bytes));
        }
    });
    let queued = executor.submit(job);
    queued.map_err(|QueueFull { length_max }| ComputeError::Busy { length_max })?;
    let lost = |_| Err(ComputeError::Backend(BackendError::Panicked));
    answered.await.unwrap_or_else(lost)
}

impl Work {
    fn run(&self, inputs: &[Tensor], bytes: usize) -> Result<Vec<Tensor>, ComputeError> {
        let began = Instant::now();
        // A backend that panics fails this computation, not the thread that others wait for.
        let outputs = catch_unwind(AssertUnwindSafe(|| self.model.run(inputs, &Stop::default())))
            .unwrap_or(Err(BackendError::Panicked))?;
        self.pace.learn(began.elapsed(), bytes);
        Ok(outputs)
    }
}

/// How long the model takes: moving averages over the last eight or so computations. Racing updates lose a sample, no more.
#[derive(Default)]
struct Pace {
    /// Zero until the model has been computed once.
    nanos: AtomicU64,
    bytes: AtomicU64,
}

impl Pace {
    fn is_quick(&self, bytes: usize) -> bool {
        let (nanos, usual) =
            (self.nanos.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        let growth = (bytes as u64).checked_div(usual).unwrap_or(1).max(1);
        let expected = Duration::from_nanos(nanos.saturating_mul(growth));
        nanos > 0 && growth <= INLINE_GROWTH_MAX && expected <= INLINE_MAX
    }

    fn learn(&self, took: Duration, bytes: usize) {
        let average = |old: u64, new: u64| if old == 0 { new } else { (old * 7 + new) / 8 };
        // A first computation that sets things up may take a second and must not be remembered for long.
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).clamp(1, 2_000_000);
        let _ = self
            .nanos
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| Some(average(old, nanos)));
        let _ = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| {
            Some(average(old, bytes as u64))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_to_be_quick_is_computed_in_place() {
        let pace = Pace::default();
        assert!(!pace.is_quick(100), "nothing is known yet");
        pace.learn(Duration::from_secs(1), 100);
        for _ in 0..100 {
            pace.learn(Duration::from_micros(60), 100);
        }
        assert!(pace.is_quick(100) && pace.is_quick(10) && pace.is_quick(300));
        assert!(!pace.is_quick(400), "four times 60 µs");
        for _ in 0..100 {
            pace.learn(Duration::from_micros(1), 100);
        }
        assert!(!pace.is_quick(10_000), "an input unlike those that were seen");
        for _ in 0..100 {
            pace.learn(Duration::from_millis(7), 100);
        }
        assert!(!pace.is_quick(100));
    }
}
