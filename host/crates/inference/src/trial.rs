//! The trial run of a model before it goes live: rejects models that would fail every call.
//!
//! The inputs are generated, and an honest model may reject them because of a number of rows, a rate or a shape. So several different inputs
//! are tried, with categories that the model lists where it fails for others. A failure counts only if it is the same for all of them, or a defect of the backend.

mod join;

use std::time::{Duration, Instant};

use bytes::Bytes;

pub use join::Joined;

use super::backend::{BackendError, Call};
use super::graph::{ComputeError, ErrorClass, Graph};
use super::signature::TensorSpec;
use hospes_core::tensor::{self, DataType, RANK_MAX, Tensor, TensorError, pack_strings};
use hospes_onnx::{Accepted, CATEGORY_BYTES_MAX, Category};

/// The attempts, in order: the size of open dimensions, and the content of the elements.
const ATTEMPTS: [(usize, Fill); 6] = [
    (1, Fill::Ones),
    (1, Fill::Zeros),
    (2, Fill::Places),
    (3, Fill::Ones),
    (16, Fill::Places),
    (512, Fill::Ones),
];

/// The reason for a model that was not run.
pub(super) const NO_TIME: &str = "there was no time left for it";

/// Maximum input bytes of every attempt except the one with the fewest elements.
const LARGE_BYTES_MAX: usize = 16 << 20;

/// Most columns of an input that gets categories which the model lists. Wider ones get generated elements only.
const ACCEPTED_COLUMNS_MAX: usize = 4096;

/// The time limit for all models of a bundle, as a multiple of the limit for one model.
const MODELS_FACTOR: u32 = 2;

/// The time limit for a bundle's trial runs.
#[derive(Debug, Clone, Copy)]
pub struct TrialTime {
    each: Duration,
    until: Instant,
}

/// One model's part of that time.
struct ModelTime {
    until: Instant,
    /// Whether it is the full limit for one model.
    is_whole: bool,
}

impl TrialTime {
    /// Starts the time now. `each` is the limit per model. The limit for all models is twice that.
    pub fn begin(each: Duration) -> Self {
        Self { each, until: Instant::now() + each * MODELS_FACTOR }
    }

    /// The deadline for all models.
    pub fn until(&self) -> Instant {
        self.until
    }

    fn of_one(&self) -> ModelTime {
        let whole = Instant::now() + self.each;
        ModelTime { until: whole.min(self.until), is_whole: whole <= self.until }
    }
}

/// The content of elements.
#[derive(Debug, Clone, Copy)]
enum Fill {
    Zeros,
    Ones,
    /// The index of the input, so that the end of a range is after its start.
    Places,
}

/// The outcome of a trial that does not reject the model.
#[derive(Debug, Clone, PartialEq)]
pub enum Trial {
    /// The model ran.
    Computed {
        /// The duration of the second run.
        took: Duration,
        joined: Joined,
    },
    /// The model rejected the generated inputs, or failed for another reason. Callers may have inputs that work.
    Inconclusive(String),
}

impl Trial {
    /// Whether computations of the model are joined.
    pub fn is_joined(&self) -> bool {
        matches!(self, Self::Computed { joined, .. } if joined.is_on())
    }
}

/// Why a model would fail every call.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TrialError {
    #[error("it fails for every input: {0}")]
    Fails(ComputeError),
    #[error("nobody could call it: {0}")]
    Input(#[from] TensorError),
    #[error(
        "its computations are lost for every input: the process that computes them ended by {how}"
    )]
    Ends { how: String },
    #[error(
        "it ended the process that computes it, and is backed off for another {} ms: publish it again then",
        wait.as_millis()
    )]
    BackedOff { wait: Duration },
    #[error(
        "the process that computes it ended by {how} during the trial, and the model was not computed after that: {why}; publish it again"
    )]
    Unclear { how: String, why: String },
    #[error("it is not computed within {} s, even with its smallest inputs", .0.as_secs())]
    Slow(Duration),
}

/// How often a model crashed its worker in its trial run, and the last outcome.
#[derive(Default)]
struct Lost {
    times: usize,
    how: String,
}

impl Lost {
    fn again(&mut self, how: String, max: usize) -> Result<(), TrialError> {
        self.times += 1;
        if self.times >= max {
            return Err(TrialError::Ends { how });
        }
        self.how = how;
        Ok(())
    }

    /// The outcome for a model that did not run. A model that has crashed does not go live without a successful run.
    fn or_inconclusive(self, why: String) -> Result<Trial, TrialError> {
        if self.times > 0 {
            return Err(TrialError::Unclear { how: self.how, why });
        }
        Ok(Trial::Inconclusive(why))
    }
}

/// A model in its trial.
pub(super) struct Candidate<'m> {
    pub(super) graph: &'m Graph,
    /// Categories that it lists.
    pub(super) accepted: &'m [Accepted],
    /// The declared axis along which its computations may be joined.
    pub(super) axis: Option<u32>,
}

impl Candidate<'_> {
    /// Runs the model with small generated inputs, or finds that it cannot run. After `lost_max` crashes it is rejected. After a single
    /// crash it must still succeed once.
    ///
    /// # Errors
    /// [`TrialError`] if it would fail every call.
    pub(super) async fn try_out(
        &self,
        time: TrialTime,
        lost_max: usize,
    ) -> Result<Trial, TrialError> {
        let one = time.of_one();
        let (mut errors, mut lost) = (Vec::<ComputeError>::new(), Lost::default());
        for (attempt, (size, fill)) in ATTEMPTS.into_iter().enumerate() {
            if attempt > lost.times && self.has_no_inputs() {
                break;
            }
            let Some(inputs) = self.invent(size, fill, attempt == 0)? else { continue };
            let tried = match self.attempt(&inputs, one.until).await {
                // A model that crashes in the timed run is tried with further inputs.
                Some(Ok(())) => match self.time(&inputs, one.until).await {
                    Ok(Ok(took)) => {
                        let joined = self.join(size, took, one.until).await;
                        return Ok(Trial::Computed { took, joined });
                    }
                    Ok(Err(why)) => return Ok(Trial::Inconclusive(why)),
                    Err(error) => Some(error),
                },
                Some(Err(error)) => Some(error),
                None => None,
            };
            match tried {
                Some(ComputeError::BackedOff { wait }) => {
                    return Err(TrialError::BackedOff { wait });
                }
                Some(ComputeError::Lost { how }) => lost.again(how, lost_max)?,
                // The host is busy, which is not this model's fault.
                Some(error) if matches!(error.class(), ErrorClass::Busy | ErrorClass::Lost) => {
                    return lost.or_inconclusive(error.to_string());
                }
                Some(error) => errors.push(error),
                // The first attempt has the fewest elements. If it is too slow, all are.
                None if attempt == 0 && one.is_whole => return Err(TrialError::Slow(time.each)),
                None => break,
            }
        }
        let Some(first) = errors.first() else {
            return lost.or_inconclusive(NO_TIME.into());
        };
        let is_defect =
            |error: &&ComputeError| matches!(error, ComputeError::Backend(BackendError::Defect(_)));
        if let Some(defect) = errors.iter().find(is_defect) {
            return Err(TrialError::Fails(defect.clone()));
        }
        let is_always_the_same = errors.iter().all(|error| error == first);
        if is_always_the_same && errors.len() > 1 || self.has_no_inputs() {
            return Err(TrialError::Fails(first.clone()));
        }
        lost.or_inconclusive(first.to_string())
    }

    /// Whether the model has no required inputs, so that all attempts are equal.
    fn has_no_inputs(&self) -> bool {
        self.graph.signature().required().next().is_none()
    }

    /// Runs the model once, after its back-off. `None` if that takes too long.
    async fn attempt(
        &self,
        inputs: &[(String, Tensor)],
        until: Instant,
    ) -> Option<Result<(), ComputeError>> {
        let attempt = async {
            loop {
                match self.graph.compute(inputs.to_vec(), Call::of_nobody(until)).await {
                    Err(ComputeError::BackedOff { wait }) if Instant::now() + wait < until => {
                        tokio::time::sleep(wait).await;
                    }
                    computed => return computed.map(drop),
                }
            }
        };
        tokio::time::timeout_at(until.into(), attempt).await.ok()
    }

    /// The duration of a second run, or why there was none; an error if the model crashes its worker.
    async fn time(
        &self,
        inputs: &[(String, Tensor)],
        until: Instant,
    ) -> Result<Result<Duration, String>, ComputeError> {
        let began = Instant::now();
        let not_again = |why: &str| Err(format!("it was computed once, but not again{why}"));
        Ok(match self.attempt(inputs, until).await {
            Some(Ok(())) => Ok(began.elapsed()),
            Some(Err(error @ (ComputeError::Lost { .. } | ComputeError::BackedOff { .. }))) => {
                return Err(error);
            }
            Some(Err(error)) => not_again(&format!(": {error}")),
            None => not_again(" in time"),
        })
    }

    /// Inputs of this kind; `None` if they would be large and are not required.
    fn invent(
        &self,
        open: usize,
        fill: Fill,
        is_first: bool,
    ) -> Result<Option<Vec<(String, Tensor)>>, TrialError> {
        let mut bytes = 0_usize;
        let mut inputs = Vec::new();
        for (place, spec) in self.graph.signature().required().enumerate() {
            let shape = smallest(spec, open);
            if shape.len() > RANK_MAX {
                return Err(TensorError::Rank { rank: shape.len() }.into());
            }
            let elements =
                tensor::count(&shape).ok_or_else(|| TensorError::Shape { shape: shape.clone() })?;
            bytes =
                bytes.saturating_add(elements.saturating_mul(spec.data_type.size().unwrap_or(5)));
            if bytes > self.graph.tensor_bytes_max() {
                let (what, max) = ("inputs", self.graph.tensor_bytes_max());
                let error = ComputeError::TooLarge { what, bytes, max };
                return if is_first { Err(TrialError::Fails(error)) } else { Ok(None) };
            }
            if bytes > LARGE_BYTES_MAX && !is_first {
                return Ok(None);
            }
            let number = match fill {
                Fill::Zeros => 0,
                Fill::Ones => 1,
                Fill::Places => u8::try_from(place).unwrap_or(u8::MAX),
            };
            let mut values = self.accepted.iter().filter(|one| one.input == spec.name).peekable();
            let width = shape.last().copied().unwrap_or(1);
            // Texts make an input longer than its elements say, and the host holds it.
            let is_small = (1..=ACCEPTED_COLUMNS_MAX).contains(&width)
                && elements.saturating_mul(CATEGORY_BYTES_MAX) <= LARGE_BYTES_MAX;
            let data = if is_small && values.peek().is_some() {
                with_accepted(spec.data_type, number, elements, width, values)
            } else {
                elements_of(spec.data_type, number, elements)
            };
            inputs.push((spec.name.clone(), Tensor::new(spec.data_type, shape, data)?));
        }
        Ok(Some(inputs))
    }
}

fn smallest(spec: &TensorSpec, open: usize) -> Vec<usize> {
    match &spec.shape {
        Some(sizes) => sizes.iter().map(|size| size.unwrap_or(open)).collect(),
        None => vec![open],
    }
}

/// The bytes of this many elements with this value.
fn elements_of(ty: DataType, number: u8, count: usize) -> Bytes {
    if ty == DataType::Bytes {
        let text = number.to_string();
        return pack_strings(std::iter::repeat_n(text.as_bytes(), count)).unwrap_or_default();
    }
    element(ty, number.into()).repeat(count).into()
}

/// The same for rows of `width` elements, some columns of which have values that the model lists.
fn with_accepted<'a>(
    ty: DataType,
    number: u8,
    count: usize,
    width: usize,
    accepted: impl Iterator<Item = &'a Accepted>,
) -> Bytes {
    let mut columns = vec![Category::Number(number.into()); width];
    for Accepted { column, category, .. } in accepted {
        match column {
            None => columns.fill(category.clone()),
            Some(column) => {
                if let Some(place) = columns.get_mut(*column) {
                    *place = category.clone();
                }
            }
        }
    }
    let columns: Vec<Vec<u8>> = columns
        .into_iter()
        .map(|category| match category {
            Category::Text(text) => text,
            Category::Number(number) if ty == DataType::Bytes => number.to_string().into_bytes(),
            Category::Number(number) => element(ty, number),
        })
        .collect();
    let elements = columns.iter().cycle().take(count).map(Vec::as_slice);
    if ty == DataType::Bytes {
        return pack_strings(elements).unwrap_or_default();
    }
    elements.flatten().copied().collect()
}

/// The bytes of one number, or of the nearest that the type has.
fn element(ty: DataType, number: i64) -> Vec<u8> {
    /// Little-endian bytes of the nearest number of an integer type.
    macro_rules! integer {
        ($type:ty) => {{
            let (low, high) = (i128::from(<$type>::MIN), i128::from(<$type>::MAX));
            let number = i128::from(number).clamp(low, high);
            <$type>::try_from(number).unwrap_or_default().to_le_bytes().into()
        }};
    }
    match ty {
        DataType::Bool => vec![u8::from(number != 0)],
        DataType::U8 => integer!(u8),
        DataType::I8 => integer!(i8),
        DataType::U16 => integer!(u16),
        DataType::I16 => integer!(i16),
        DataType::U32 => integer!(u32),
        DataType::I32 => integer!(i32),
        DataType::U64 => integer!(u64),
        DataType::I64 => integer!(i64),
        DataType::F16 => half::f16::from_f64(number as f64).to_le_bytes().into(),
        DataType::Bf16 => half::bf16::from_f64(number as f64).to_le_bytes().into(),
        DataType::F32 => (number as f32).to_le_bytes().into(),
        DataType::F64 => (number as f64).to_le_bytes().into(),
        DataType::Bytes => Vec::new(),
    }
}
