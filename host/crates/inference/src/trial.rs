//! The trial run of a model before it goes live: rejects models that would fail every call.
//!
//! The inputs are generated, and an honest model may reject them: a number of rows, a rate, a shape. So several different ones are tried. A
//! failure counts only if it is the same for all, or a defect of the backend.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::backend::{BackendError, Call};
use super::graph::{ComputeError, ErrorClass, Graph};
use super::signature::TensorSpec;
use hospes_core::tensor::{self, DataType, RANK_MAX, Tensor, TensorError, pack_strings};

/// The attempts, in order: size of open dimensions, and content of the elements.
const ATTEMPTS: [(usize, Fill); 6] = [
    (1, Fill::Ones),
    (1, Fill::Zeros),
    (2, Fill::Places),
    (3, Fill::Ones),
    (16, Fill::Places),
    (512, Fill::Ones),
];

/// Why a model was not computed.
pub(super) const NO_TIME: &str = "there was no time left for it";

/// Maximum input bytes of an attempt with more than the fewest elements.
const LARGE_BYTES_MAX: usize = 16 << 20;

/// All models of a bundle may take this many times as long as one.
const MODELS_FACTOR: u32 = 2;

/// The time limit for a bundle's trial runs.
#[derive(Debug, Clone, Copy)]
pub struct TrialTime {
    each: Duration,
    until: Instant,
}

/// One model's part of it.
struct ModelTime {
    until: Instant,
    /// Whether it is as long as one model's may be.
    is_whole: bool,
}

impl TrialTime {
    /// Starts now: `each` is the limit per model, and twice that the limit for all.
    pub fn begin(each: Duration) -> Self {
        Self { each, until: Instant::now() + each * MODELS_FACTOR }
    }

    /// The deadline for all.
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
    /// The index of the input: a range's end is after its start.
    Places,
}

/// A model that was tried out.
#[derive(Debug, Clone, PartialEq)]
pub enum Trial {
    /// It was computed; the duration of the second run.
    Computed(Duration),
    /// It rejected the generated inputs, or failed for another reason. Callers may know better inputs.
    Inconclusive(String),
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

    /// For a model that was not computed: after a crash, a model does not go live untried.
    fn or_inconclusive(self, why: String) -> Result<Trial, TrialError> {
        if self.times > 0 {
            return Err(TrialError::Unclear { how: self.how, why });
        }
        Ok(Trial::Inconclusive(why))
    }
}

impl Graph {
    /// Computes the model with inputs of its smallest shapes, or shows that it cannot be computed. After `lost_max` crashes it is rejected.
    /// After any crash it must succeed.
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
                // One crash does not mean that it crashes again.
                Some(Ok(())) => match self.time(&inputs, one.until).await {
                    Ok(trial) => return Ok(trial),
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
                // Other computations are running, which is not this model's fault.
                Some(error) if matches!(error.class(), ErrorClass::Busy | ErrorClass::Lost) => {
                    return lost.or_inconclusive(error.to_string());
                }
                Some(error) => errors.push(error),
                // The first has the fewest elements.
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

    /// Whether all attempts are equal, because only optional inputs differ.
    fn has_no_inputs(&self) -> bool {
        self.signature().required().next().is_none()
    }

    /// Computes it once, after its back-off. `None` if that lasts too long.
    async fn attempt(
        &self,
        inputs: &[(String, Tensor)],
        until: Instant,
    ) -> Option<Result<(), ComputeError>> {
        let attempt = async {
            loop {
                match self.compute(inputs.to_vec(), Call::of_nobody(until)).await {
                    Err(ComputeError::BackedOff { wait }) if Instant::now() + wait < until => {
                        tokio::time::sleep(wait).await;
                    }
                    computed => return computed.map(drop),
                }
            }
        };
        tokio::time::timeout_at(until.into(), attempt).await.ok()
    }

    /// Its duration when warm; an error if it crashed its worker.
    async fn time(
        &self,
        inputs: &[(String, Tensor)],
        until: Instant,
    ) -> Result<Trial, ComputeError> {
        let began = Instant::now();
        let not_again =
            |why: &str| Trial::Inconclusive(format!("it was computed once, but not again{why}"));
        Ok(match self.attempt(inputs, until).await {
            Some(Ok(())) => Trial::Computed(began.elapsed()),
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
        for (place, spec) in self.signature().required().enumerate() {
            let shape = smallest(spec, open);
            if shape.len() > RANK_MAX {
                return Err(TensorError::Rank { rank: shape.len() }.into());
            }
            let elements =
                tensor::count(&shape).ok_or_else(|| TensorError::Shape { shape: shape.clone() })?;
            bytes =
                bytes.saturating_add(elements.saturating_mul(spec.data_type.size().unwrap_or(5)));
            if bytes > self.tensor_bytes_max() {
                let (what, max) = ("inputs", self.tensor_bytes_max());
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
            let data = elements_of(spec.data_type, number, elements);
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

/// This many elements with this value.
fn elements_of(ty: DataType, number: u8, count: usize) -> Bytes {
    let number_bytes: Vec<u8> = match ty {
        DataType::Bool => vec![number.min(1)],
        DataType::U8 | DataType::I8 => vec![number.min(i8::MAX as u8)],
        DataType::U16 | DataType::I16 => u16::from(number).to_le_bytes().into(),
        DataType::U32 | DataType::I32 => u32::from(number).to_le_bytes().into(),
        DataType::U64 | DataType::I64 => u64::from(number).to_le_bytes().into(),
        DataType::F16 => half::f16::from_f32(number.into()).to_le_bytes().into(),
        DataType::Bf16 => half::bf16::from_f32(number.into()).to_le_bytes().into(),
        DataType::F32 => f32::from(number).to_le_bytes().into(),
        DataType::F64 => f64::from(number).to_le_bytes().into(),
        DataType::Bytes => {
            let text = number.to_string();
            return pack_strings(std::iter::repeat_n(text.as_bytes(), count)).unwrap_or_default();
        }
    };
    number_bytes.repeat(count).into()
}
