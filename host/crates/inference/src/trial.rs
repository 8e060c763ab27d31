//! The trial run of a model before it goes live: rejects models that would fail every call.
//!
//! The inputs are generated, and an honest model may reject them because of a number of rows, a rate or a shape. So several different inputs
//! are tried, with categories that the model lists where it fails for others. A failure counts only if it is the same for all of them, or a defect of the backend.

mod join;

use std::time::{Duration, Instant};

pub use join::Joined;

use super::backend::{BackendError, Call};
use super::graph::{ComputeError, ErrorClass, Graph};
use super::samples::{ATTEMPTS, Samples};
use hospes_core::tensor::{Tensor, TensorError};
use hospes_onnx::Accepted;

/// The reason for a model that was not run.
pub(super) const NO_TIME: &str = "there was no time left for it";

/// The time limit for all models of a bundle, as a multiple of the limit for one model.
const MODELS_FACTOR: u32 = 2;

/// The time limit for a bundle's trial runs.
#[derive(Debug, Clone, Copy)]
pub struct TrialTime {
    each: Duration,
    until: Instant,
}

/// One model's part of that time.
pub(super) struct ModelTime {
    pub(super) until: Instant,
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

    pub(super) fn of_one(&self) -> ModelTime {
        let whole = Instant::now() + self.each;
        ModelTime { until: whole.min(self.until), is_whole: whole <= self.until }
    }
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
        let samples = Samples {
            signature: self.graph.signature(),
            tensor_bytes_max: self.graph.tensor_bytes_max(),
            accepted: self.accepted,
        };
        let (mut errors, mut lost) = (Vec::<ComputeError>::new(), Lost::default());
        for (attempt, (size, fill)) in ATTEMPTS.into_iter().enumerate() {
            if attempt > lost.times && self.has_no_inputs() {
                break;
            }
            let Some(inputs) = samples.invent(size, fill, attempt == 0)? else { continue };
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
}
