//! How long one row takes, as a call of the host would: one computation of one row (or one batch, if the model takes only those), there and back
//! between the processes.

use std::time::{Duration, Instant};

use hospes_evidence::quantile;
use serde::Serialize;

use crate::evaluator::{EvaluateError, Loaded};
use crate::feed::Feed;

/// How often each model is timed, unless time runs out.
pub const RUNS: usize = 200;

/// Computations before the clock counts: libraries set themselves up in the first ones.
const WARM_UP: usize = 5;

/// Maximum time of the measurement for each model. At least [`RUNS_MIN`] runs are made.
const TIME_MAX: Duration = Duration::from_secs(10);
const RUNS_MIN: usize = 10;

/// Times of single computations, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Timing {
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub mean_ms: f64,
    pub runs: usize,
    /// Rows of one computation: 1, or the model's fixed batch.
    pub rows: usize,
}

impl Timing {
    /// Of computations of so many rows each; `None` of no computation.
    pub fn of(times: &[f64], rows: usize) -> Option<Self> {
        Some(Self {
            p50_ms: quantile(times, 0.5)?,
            p95_ms: quantile(times, 0.95)?,
            mean_ms: times.iter().sum::<f64>() / times.len() as f64,
            runs: times.len(),
            rows,
        })
    }
}

/// Times models in turns: one computation of each, then the next row. A busy machine slows all of them alike, so their ratios hold where their
/// times do not.
///
/// # Errors
/// [`EvaluateError`] of the first computation that fails.
pub async fn interleaved(
    models: &[(&Loaded, &Feed<'_>)],
    runs: usize,
) -> Result<Vec<Option<Timing>>, EvaluateError> {
    let mut times: Vec<Vec<f64>> = vec![Vec::with_capacity(runs); models.len()];
    let began = Instant::now();
    let time_max = TIME_MAX * u32::try_from(models.len()).unwrap_or(u32::MAX);
    for run in 0..WARM_UP + runs {
        if run >= WARM_UP + RUNS_MIN && began.elapsed() > time_max {
            break;
        }
        for ((loaded, feed), times) in models.iter().zip(&mut times) {
            let rows = feed.batch().unwrap_or(1).max(1);
            let first = run * rows % feed.rows();
            let last = (first + rows).min(feed.rows());
            // Preparing the row is not the model's time.
            let inputs = feed.inputs(first..last)?;
            let started = Instant::now();
            let computed = loaded.compute(inputs).await;
            let took = started.elapsed();
            let (backend, first) = (loaded.backend(), first + 1);
            match computed {
                Some(Ok(_)) => {}
                Some(Err(source)) => {
                    let source = Box::new(source);
                    return Err(EvaluateError::Compute { backend, first, last, source });
                }
                None => return Err(EvaluateError::Timeout { backend, first, last }),
            }
            if run >= WARM_UP {
                times.push(took.as_secs_f64() * 1e3);
            }
        }
    }
    let timed = models.iter().zip(&times);
    let timings = timed.map(|((_, feed), times)| Timing::of(times, feed.batch().unwrap_or(1)));
    Ok(timings.collect())
}
