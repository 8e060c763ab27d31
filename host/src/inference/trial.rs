//! Trying a model out before it goes live: what fails whatever it is given would fail every call.
//!
//! The values are invented, and an honest model may refuse them: a number of rows, a rate, a shape. So some are tried that have little in
//! common, and a failure counts only if it does not change with them, or if it is a defect of the backend.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::backend::BackendError;
use super::graph::{ComputeError, ErrorClass, Graph};
use super::signature::TensorSpec;
use crate::tensor::{self, DataType, RANK_MAX, Tensor, TensorError, pack_strings};

/// What is tried, in order: the size of open dimensions, and what the elements are.
const ATTEMPTS: [(usize, Fill); 6] = [
    (1, Fill::Ones),
    (1, Fill::Zeros),
    (2, Fill::Places),
    (3, Fill::Ones),
    (16, Fill::Places),
    (512, Fill::Ones),
];

/// Most bytes of the inputs of an attempt with more than the fewest elements.
const LARGE_BYTES_MAX: usize = 16 << 20;

/// Who computes when a model is tried out: no caller has this number.
const CALLER: u64 = u64::MAX;

/// What elements are.
#[derive(Debug, Clone, Copy)]
enum Fill {
    Zeros,
    Ones,
    /// The number of the input: the end of a range is behind its beginning.
    Places,
}

/// A model that was tried out.
#[derive(Debug, Clone, PartialEq)]
pub enum Trial {
    /// It was computed, and how long that took when it was computed the second time.
    Computed(Duration),
    /// It refused what was invented, with these words. Callers may know better.
    Inconclusive(String),
}

/// Why a model would fail every call.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TrialError {
    #[error("it fails whatever it is given: {0}")]
    Fails(ComputeError),
    #[error("nobody could call it: {0}")]
    Input(#[from] TensorError),
    #[error("it is not computed within {} s, with the smallest inputs that it takes", .0.as_secs())]
    Slow(Duration),
}

impl Graph {
    /// Computes the model with inputs of the smallest shapes that it takes, or shows that it cannot be computed. Takes `time` at most.
    ///
    /// # Errors
    /// [`TrialError`] if it would fail every call.
    pub async fn try_out(&self, time: Duration) -> Result<Trial, TrialError> {
        let began = Instant::now();
        let mut errors: Vec<ComputeError> = Vec::new();
        for (attempt, (size, fill)) in ATTEMPTS.into_iter().enumerate() {
            if attempt > 0 && self.has_no_inputs() {
                break;
            }
            let Some(inputs) = self.invent(size, fill, attempt == 0)? else { continue };
            let left = time.saturating_sub(began.elapsed());
            match tokio::time::timeout(left, self.compute(inputs.clone(), CALLER)).await {
                Ok(Ok(_)) => return Ok(Trial::Computed(self.time(inputs).await)),
                // Others compute, or the process was lost: that need not be this model's fault, and if it is, it is backed off.
                Ok(Err(error)) if matches!(error.class(), ErrorClass::Busy | ErrorClass::Lost) => {
                    return Ok(Trial::Inconclusive(error.to_string()));
                }
                Ok(Err(error)) => errors.push(error),
                // The first has the fewest elements.
                Err(_elapsed) if attempt == 0 => return Err(TrialError::Slow(time)),
                Err(_elapsed) => break,
            }
        }
        let Some(first) = errors.first() else { return Ok(Trial::Inconclusive(String::new())) };
        let is_defect =
            |error: &&ComputeError| matches!(error, ComputeError::Backend(BackendError::Defect(_)));
        if let Some(defect) = errors.iter().find(is_defect) {
            return Err(TrialError::Fails(defect.clone()));
        }
        let is_always_the_same = errors.iter().all(|error| error == first);
        if is_always_the_same && errors.len() > 1 || self.has_no_inputs() {
            return Err(TrialError::Fails(first.clone()));
        }
        Ok(Trial::Inconclusive(first.to_string()))
    }

    /// Whether every call looks the same: what is optional is left out.
    fn has_no_inputs(&self) -> bool {
        self.signature().required().next().is_none()
    }

    /// How long it takes once it is warm.
    async fn time(&self, inputs: Vec<(String, Tensor)>) -> Duration {
        let began = Instant::now();
        let _ = self.compute(inputs, CALLER).await;
        began.elapsed()
    }

    /// Inputs of this kind; none if they would be large and need not be tried.
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

/// So many elements that are this number.
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
