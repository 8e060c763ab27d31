//! A loaded model: checks inputs, runs the model in the right process, and checks outputs.

use std::hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::backend::{BackendError, Call, Context, Model, Stop};
use super::executor::{Executor, NotQueued};
use super::paces::Paces;
use super::pool::RemoteModel;
use super::signature::{InputError, ModelSignature};
use hospes_admission::{Footprint, Late, Taken, Wish};
use hospes_core::backend::BackendKind;
use hospes_core::tensor::Tensor;
use hospes_onnx::ModelFacts;

/// Computations that are expected to take at most this time run on the calling thread. That saves two thread switches, and delays other
/// tasks on the thread by at most this time.
const INLINE_MAX: Duration = Duration::from_micros(200);

/// `Retry-After` when all workers are busy with other models.
pub const WORKERS_WAIT: Duration = Duration::from_secs(1);

/// Why a computation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComputeError {
    #[error(transparent)]
    Input(#[from] InputError),
    #[error("the {what} are {bytes} bytes, more than the {max} of `inference.tensor_bytes_max`")]
    TooLarge { what: &'static str, bytes: usize, max: usize },
    #[error(
        "{length_max} computations are already waiting (`inference.queue_length_max`); try again shortly"
    )]
    Busy { length_max: usize },
    /// It was not begun.
    #[error("{0}")]
    Late(#[from] Late),
    #[error("the model failed: {0}")]
    Backend(#[from] BackendError),
    #[error(
        "the computation was lost: the process that computes this publisher's models ended by {how}"
    )]
    Lost { how: String },
    #[error(
        "the model is backed off for another {} ms, because it ended the process that computes it", wait.as_millis()
    )]
    BackedOff { wait: Duration },
    #[error(
        "no worker process is free: all {max} of this host are computing, or this publisher has its share of them (`inference.workers_max`); try again shortly"
    )]
    Workers { max: usize },
}

/// The kind of error, for callers of this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    InvalidArgument,
    TooLarge,
    Busy,
    /// It would have ended after its deadline.
    Late,
    Unsupported,
    Runtime,
    /// The worker process has ended or cannot be started. The guest cannot handle this error.
    Lost,
}

impl ComputeError {
    /// The kind of this error.
    pub fn class(&self) -> ErrorClass {
        match self {
            ComputeError::Input(_) => ErrorClass::InvalidArgument,
            ComputeError::TooLarge { .. } => ErrorClass::TooLarge,
            ComputeError::Busy { .. } => ErrorClass::Busy,
            ComputeError::Late(_) => ErrorClass::Late,
            ComputeError::Backend(BackendError::Unsupported(_) | BackendError::Defect(_)) => {
                ErrorClass::Unsupported
            }
            ComputeError::Backend(_) => ErrorClass::Runtime,
            ComputeError::Lost { .. }
            | ComputeError::BackedOff { .. }
            | ComputeError::Workers { .. } => ErrorClass::Lost,
        }
    }
}

/// The memory that a loaded model takes, without what its computations allocate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Bytes that only its process has. They are free after it was unloaded.
    pub private_bytes: u64,
    /// Bytes of its weights in a memory file that all processes share. They are free when no process has the model loaded.
    pub shared_bytes: u64,
    /// Mappings in its process's address space. The kernel limits them for each process (`vm.max_map_count`).
    pub mappings: u64,
}

/// A loaded model, shared by all its callers.
pub struct Graph {
    place: Place,
    known: Known,
    paces: Paces,
    /// The room that it takes, given back when it is dropped.
    room: Option<Taken>,
}

/// The properties of a model that are known before it is loaded.
pub(super) struct Known {
    pub(super) kind: BackendKind,
    pub(super) facts: ModelFacts,
    pub(super) tensor_bytes_max: usize,
    pub(super) footprint: Footprint,
}

enum Place {
    Remote(Box<RemoteModel>),
    /// `bounded` means that input values cannot make the model slow.
    Here {
        work: Arc<Work>,
        executor: Arc<Executor>,
        bounded: bool,
    },
}

/// What a thread of this process needs to compute.
struct Work {
    model: Box<dyn Model>,
    held: Held,
    pace: Pace,
}

impl Graph {
    /// A model that runs in a worker process.
    pub(super) fn remote(model: RemoteModel, known: Known) -> Self {
        Self { place: Place::Remote(Box::new(model)), known, paces: Paces::default(), room: None }
    }

    /// A model that runs in this process.
    pub(super) fn here(
        (model, held): (Box<dyn Model>, Held),
        executor: Arc<Executor>,
        known: Known,
    ) -> Self {
        let work = Arc::new(Work { model, held, pace: Pace::default() });
        let bounded = known.facts.is_bounded();
        let place = Place::Here { work, executor, bounded };
        Self { place, known, paces: Paces::default(), room: None }
    }

    /// The same in this room, which is set to what the model takes in fact.
    pub(super) fn within(mut self, room: Option<Taken>) -> Self {
        let footprint = self.footprint();
        self.room = room.map(|mut room| {
            room.set(footprint);
            room
        });
        self
    }

    /// What it takes of the room for loaded models: an estimate by its file's size, so that the same models always fit together. What was
    /// measured depends on what its process had done before. If its weights are shared, it takes them once.
    pub fn footprint(&self) -> Footprint {
        let estimate = self.known.footprint;
        match self.held() {
            Held { shared_bytes: 0, .. } => estimate,
            Held { private_bytes, shared_bytes, mappings } => Footprint {
                bytes: private_bytes.saturating_add(shared_bytes).min(estimate.bytes),
                mappings: mappings.max(estimate.mappings),
            },
        }
    }

    /// The model's signature.
    pub fn signature(&self) -> &ModelSignature {
        match &self.place {
            Place::Remote(model) => &model.signature,
            Place::Here { work, .. } => work.model.signature(),
        }
    }

    /// Maximum bytes of a computation's inputs, and of its outputs.
    pub(super) fn tensor_bytes_max(&self) -> usize {
        self.known.tensor_bytes_max
    }

    /// Whether the model can run: false while its worker process cannot be started.
    pub fn is_ready(&self) -> bool {
        match &self.place {
            Place::Remote(model) => model.has_worker(),
            Place::Here { .. } => true,
        }
    }

    /// Whether it runs in a worker process.
    pub(super) fn is_apart(&self) -> bool {
        matches!(self.place, Place::Remote(_))
    }

    /// The backend that runs it.
    pub fn backend(&self) -> BackendKind {
        self.known.kind
    }

    /// The memory that it holds.
    pub fn held(&self) -> Held {
        match &self.place {
            Place::Remote(model) => model.held(),
            Place::Here { work, .. } => work.held,
        }
    }

    /// Its operators.
    pub fn facts(&self) -> &ModelFacts {
        &self.known.facts
    }

    /// Whether the model has a worker process or would get one now. Check this before a call begins.
    ///
    /// # Errors
    /// [`ComputeError::Workers`].
    pub fn check_seat(&self) -> Result<(), ComputeError> {
        match &self.place {
            Place::Remote(model) => model.check_seat(),
            Place::Here { .. } => Ok(()),
        }
    }

    /// Joins computations of several calls along this axis from now on, as its trial has shown to be worthwhile. Computations in the host's
    /// own process are not joined.
    pub fn join_along(&self, axis: u32) {
        if let Place::Remote(model) = &self.place {
            model.join_along(axis);
        }
    }

    /// Whether a computation of these inputs that came now would end in time, as far as is known. Check this before a call begins. Inputs
    /// that do not fit are no matter of time.
    ///
    /// # Errors
    /// [`ComputeError::Late`].
    pub fn check_time(&self, inputs: &[(String, Tensor)], call: &Call) -> Result<(), ComputeError> {
        let Ok(inputs) = self.signature().bind(inputs.to_vec()) else { return Ok(()) };
        let wish = call.wish(self.paces.of(&inputs).took());
        let late = match &self.place {
            Place::Remote(model) => model.comes_too_late(call.caller, &wish),
            Place::Here { executor, .. } => executor.comes_too_late(call.caller, &wish),
        };
        late.map_or(Ok(()), |late| Err(late.into()))
    }

    /// Computes the model's outputs for a call. Dropping the future, as at the call's deadline, removes the computation from the queue or
    /// stops it soon.
    ///
    /// # Errors
    /// [`ComputeError`].
    pub async fn compute(
        &self,
        inputs: Vec<(String, Tensor)>,
        call: Call,
    ) -> Result<Vec<(String, Tensor)>, ComputeError> {
        self.measure(inputs, call).await.map(|(outputs, _)| outputs)
    }

    /// The same with the computing time in nanoseconds.
    pub(super) async fn measure(
        &self,
        inputs: Vec<(String, Tensor)>,
        call: Call,
    ) -> Result<(Vec<(String, Tensor)>, u64), ComputeError> {
        let inputs = self.signature().bind(inputs).map_err(|error| self.explain(error))?;
        self.check_size("inputs", inputs.iter().flatten())?;
        let (outputs, nanos) = match &self.place {
            Place::Remote(model) => {
                let pace = self.paces.of(&inputs);
                let computed = model.compute(&inputs, (call, call.wish(pace.took()))).await?;
                pace.learn(Duration::from_nanos(computed.1));
                computed
            }
            Place::Here { work, bounded: true, .. } if work.pace.is_quick(&inputs) => {
                work.run(&inputs, &Context { call, stop: &Stop::default() })?
            }
            Place::Here { work, executor, .. } => {
                let pace = self.paces.of(&inputs);
                let wish = call.wish(pace.took());
                let computed = hand_over((work, executor), inputs, (call, wish)).await?;
                pace.learn(Duration::from_nanos(computed.1));
                computed
            }
        };
        self.check_size("outputs", &outputs)?;
        let specs = &self.signature().outputs;
        if specs.len() != outputs.len() {
            let how = format!("an answer of {} outputs, not {}", outputs.len(), specs.len());
            return Err(ComputeError::Lost { how });
        }
        Ok((specs.iter().map(|spec| spec.name.clone()).zip(outputs).collect(), nanos))
    }

    /// A backend may not support an optional input of the model.
    fn explain(&self, error: InputError) -> InputError {
        match error {
            InputError::Unknown { name, .. } if self.facts().is_initialised(&name) => {
                InputError::Constant { name, backend: self.backend() }
            }
            error => error,
        }
    }

    fn check_size<'t>(
        &self,
        what: &'static str,
        tensors: impl IntoIterator<Item = &'t Tensor>,
    ) -> Result<(), ComputeError> {
        let bytes = tensors.into_iter().map(|tensor| tensor.data().len());
        let bytes = bytes.fold(0, usize::saturating_add);
        let max = self.known.tensor_bytes_max;
        if bytes > max { Err(ComputeError::TooLarge { what, bytes, max }) } else { Ok(()) }
    }
}

/// Computes on a blocking thread of this process.
async fn hand_over(
    (work, executor): (&Arc<Work>, &Arc<Executor>),
    inputs: Vec<Option<Tensor>>,
    (call, wish): (Call, Wish),
) -> Result<(Vec<Tensor>, u64), ComputeError> {
    let (answer, answered) = oneshot::channel();
    let (work, figures) = (Arc::clone(work), Arc::clone(executor.figures()));
    let mut leaves = StopOnDrop(Some(Arc::default()));
    let stop = leaves.0.clone().unwrap_or_default();
    let job = Box::new(move |late: Option<Late>| {
        let computed = match late {
            _ if answer.is_closed() => return figures.count_abandoned(),
            Some(late) => Err(late.into()),
            None => work.run(&inputs, &Context { call, stop: &stop }),
        };
        let _ = answer.send(computed);
    });
    executor.submit(call.caller, wish, job).map_err(|not| match not {
        NotQueued::Full { length_max } => ComputeError::Busy { length_max },
        NotQueued::Late(late) => late.into(),
    })?;
    let lost = |_| Err(ComputeError::Backend(BackendError::Panicked));
    let answer = answered.await;
    leaves.0 = None;
    answer.unwrap_or_else(lost)
}

/// Stops the computation when dropped.
struct StopOnDrop(Option<Arc<Stop>>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(stop) = &self.0 {
            stop.stop();
        }
    }
}

impl Work {
    fn run(
        &self,
        inputs: &[Option<Tensor>],
        context: &Context<'_>,
    ) -> Result<(Vec<Tensor>, u64), ComputeError> {
        let began = Instant::now();
        // A panic in a backend fails this computation, not the shared thread.
        let outputs = catch_unwind(AssertUnwindSafe(|| self.model.run(inputs, context)))
            .unwrap_or(Err(BackendError::Panicked))?;
        let took = began.elapsed();
        self.pace.learn(took, inputs);
        Ok((outputs, u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// How long the model takes with tensors of the latest shapes: a moving average over about eight computations. The time for other shapes can
/// be very different, because a model may repeatedly square the length of its input.
#[derive(Default)]
struct Pace {
    /// Zero until the first computation. Then a keyed hash of the shapes, with the nanoseconds in the low bits. Both are in one number, so
    /// that a time is never attributed to other shapes.
    latest: AtomicU64,
    hasher: RandomState,
}

/// Bits of [`Pace::latest`] for nanoseconds.
const NANOS_BITS: u32 = 21;

/// Maximum recorded nanoseconds. The first computation may take a second for setup, and must not dominate the average.
const NANOS_MAX: u64 = 2_000_000;

impl Pace {
    fn is_quick(&self, inputs: &[Option<Tensor>]) -> bool {
        let latest = self.latest.load(Ordering::Relaxed);
        let nanos = latest & ((1 << NANOS_BITS) - 1);
        let quick = nanos > 0 && Duration::from_nanos(nanos) <= INLINE_MAX;
        quick && latest >> NANOS_BITS == self.shapes(inputs)
    }

    fn learn(&self, took: Duration, inputs: &[Option<Tensor>]) {
        let shapes = self.shapes(inputs);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).clamp(1, NANOS_MAX);
        let _ = self.latest.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |latest| {
            let old = latest & ((1 << NANOS_BITS) - 1);
            let known = old > 0 && latest >> NANOS_BITS == shapes;
            let nanos = if known { (old * 7 + nanos) / 8 } else { nanos };
            Some(shapes << NANOS_BITS | nanos.max(1))
        });
    }

    fn shapes(&self, inputs: &[Option<Tensor>]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        for tensor in inputs {
            // Byte strings of the same shape may have different lengths.
            let known = tensor.as_ref().map(|tensor| (tensor.shape(), tensor.data().len()));
            known.hash(&mut hasher);
        }
        hasher.finish() >> NANOS_BITS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hospes_core::tensor::DataType;

    fn bytes(shape: &[usize]) -> Vec<Option<Tensor>> {
        let data = vec![0; shape.iter().product()];
        vec![Some(Tensor::new(DataType::U8, shape.to_vec(), data.into()).expect("fits"))]
    }

    #[test]
    fn only_what_is_known_to_be_quick_is_computed_in_place() {
        let pace = Pace::default();
        let usual = bytes(&[2, 3]);
        assert!(!pace.is_quick(&usual), "nothing is known yet");
        pace.learn(Duration::from_secs(1), &usual);
        assert!(!pace.is_quick(&usual));
        for _ in 0..100 {
            pace.learn(Duration::from_micros(60), &usual);
        }
        assert!(pace.is_quick(&usual));
        for other in [bytes(&[3, 2]), bytes(&[2, 4]), bytes(&[2]), bytes(&[]), bytes(&[2, 3, 1])] {
            assert!(!pace.is_quick(&other), "{other:?}: shapes unlike those that were seen");
        }
        for _ in 0..100 {
            pace.learn(Duration::from_millis(7), &usual);
        }
        assert!(!pace.is_quick(&usual));
    }

    #[test]
    fn the_time_of_other_shapes_is_forgotten() {
        let pace = Pace::default();
        let (small, large) = (bytes(&[1]), bytes(&[9]));
        for _ in 0..100 {
            pace.learn(Duration::from_micros(1), &small);
        }
        pace.learn(Duration::from_secs(1), &large);
        assert!(!pace.is_quick(&small) && !pace.is_quick(&large));
    }
}
