//! Tries all methods on a model, measures what they give, and lets the gate decide.

use std::time::{Duration, Instant};

use bytes::Bytes;
use hospes_core::backend::BackendKind;
use hospes_evaluate::Timing;
use hospes_onnx::{Model, ModelRefused};

use crate::compare::Compare;
use crate::execute::{Executor, Metric, Named, Rows};
use crate::gate::{self, Candidate, Limits, Measured, OnBackend, Original, Verdict};
use crate::method::Method;
use crate::passes::{self, PassError};
use crate::report::{Report, Skipped, Tried};
use crate::search::Calibrated;

/// Calls that are not counted: the first ones set the model up.
const WARM_UP: usize = 2;

/// Calls of each model whose time counts: at least, and at most.
const CALLS: std::ops::Range<usize> = 10..60;

/// How long calls may be timed, all models together, for each backend.
const TIMING: Duration = Duration::from_secs(30);

/// What is said of candidates that were refused by the vectors of tokens.
const POOL: &str = "the vectors of all tokens were compared; if their users take the mean over `attention_mask`, compare that: \
                    `--pool mean`";

/// Why nothing can be tried.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum OptimizeError {
    #[error("hosts would refuse the model")]
    Refused(#[from] ModelRefused),
    #[error(transparent)]
    Pass(#[from] PassError),
    #[error("no backend of this machine computes the model: {error}")]
    Original { error: String },
    #[error("the model does not compute the calibration rows: {error}")]
    Calibration { error: String },
    #[error("the model's answers cannot be compared: {error}")]
    Answers { error: String },
    #[error("there are no held-out rows: give at least one")]
    NoRows,
}

/// What is tried, and with what.
pub struct Task<'t> {
    pub methods: &'t [Method],
    /// Rows that no calibration has seen.
    pub held_out: &'t Rows,
    pub calibration: Option<&'t Rows>,
    /// How answers are compared; by default as the answers are.
    pub metric: Option<Metric>,
    pub limits: Limits,
}

/// A model that was made, by a method or by whoever calls.
#[derive(Debug, Clone)]
pub struct Made {
    pub name: String,
    pub is_lossy: bool,
    pub bytes: Bytes,
    pub notes: Vec<String>,
}

/// Makes a candidate with each method. Those that do nothing for this model are listed with the reason.
///
/// # Errors
/// [`OptimizeError`] if the model cannot be read or computed. A method that cannot be applied is only skipped.
pub fn make<E: Executor>(
    executor: &E,
    model: &Bytes,
    task: &Task<'_>,
    progress: &mut dyn FnMut(&str),
) -> Result<(Vec<Made>, Vec<Skipped>), OptimizeError> {
    let original = Model::read(model.clone())?;
    let (mut made, mut skipped) = (Vec::new(), Vec::new());
    let cleaned = passes::graph(&original)?;
    let base = cleaned.as_ref().map_or(&original, |change| &change.model);
    let backend = executor.backends().into_iter().next();
    let mut calibrated = None;
    for method in task.methods {
        progress(&format!("making {method}"));
        let change = match (method, method.calibrated(), task.calibration, backend) {
            (Method::Graph, ..) => Ok(cleaned.clone()),
            (_, None, ..) => method.apply(base).map_err(OptimizeError::from),
            (_, Some(_), None, _) => {
                let why = "it needs calibration rows: give some with `--calibrate`".into();
                skipped.push(Skipped { name: method.to_string(), why });
                continue;
            }
            (_, Some(max), Some(rows), Some(backend)) => {
                if calibrated.is_none() {
                    let metric = task.metric;
                    calibrated = Some(Calibrated::new(executor, backend, base, (rows, metric))?);
                }
                match calibrated.as_mut().and_then(Option::as_mut) {
                    Some(calibrated) => calibrated.best(max, task.limits.loss_max, progress),
                    None => Ok(None),
                }
            }
            (_, Some(_), Some(_), None) => Ok(None),
        };
        let why = match change {
            Ok(Some(change)) => match change.model.write() {
                Ok(bytes) => {
                    let (name, is_lossy) = (method.to_string(), method.is_lossy());
                    let bytes = Bytes::from(bytes);
                    made.push(Made { name, is_lossy, bytes, notes: change.notes });
                    continue;
                }
                Err(refused) => refused.to_string(),
            },
            Ok(None) => "the model has nothing for it".into(),
            Err(error) => error.to_string(),
        };
        skipped.push(Skipped { name: method.to_string(), why });
    }
    Ok((made, skipped))
}

/// Measures candidates beside the original, on each backend, and judges them.
///
/// # Errors
/// [`OptimizeError`] if no backend computes the original.
pub fn judge<E: Executor>(
    executor: &E,
    model: &Bytes,
    (made, skipped): (Vec<Made>, Vec<Skipped>),
    task: &Task<'_>,
    progress: &mut dyn FnMut(&str),
) -> Result<(Report, Option<Made>), OptimizeError> {
    if task.held_out.inputs.is_empty() {
        return Err(OptimizeError::NoRows);
    }
    let (mut loading, mut refused) = (Vec::new(), Vec::new());
    for backend in executor.backends() {
        progress(&format!("loading {} models on {backend}", made.len() + 1));
        match Loading::new(executor, backend, model, &made) {
            Ok(loaded) => loading.push(loaded),
            Err(error) => refused.push(format!("`{backend}`: {error}")),
        }
    }
    progress(&format!("timing {} models", made.len() + 1));
    time(executor, &mut loading, task.held_out);
    let mut sides = Vec::new();
    for loaded in loading {
        let backend = loaded.backend;
        match loaded.timed(task.held_out.batch.unwrap_or(1)) {
            Ok(side) => sides.push(side),
            Err(error) => refused.push(format!("`{backend}`: {error}")),
        }
    }
    let times: Vec<_> = sides.iter().map(|side| (side.backend, side.original)).collect();
    let Some(fastest) = times.iter().min_by(|a, b| a.1.p50_ms.total_cmp(&b.1.p50_ms)) else {
        return Err(OptimizeError::Original { error: refused.join("; ") });
    };
    let (home, p50) = (fastest.0, fastest.1.p50_ms);
    let original = Original { bytes: model.len() as u64, times: times.clone() };
    // The fastest is measured first, and what is known of the original there need not be computed elsewhere.
    sides.sort_by_key(|side| side.backend != home);
    let home = sides.first().expect("invariant: one of them is the fastest");
    progress(&format!("computing {} rows with the original", task.held_out.inputs.len()));
    let answers = home.answers(executor, &home.loaded, task.held_out);
    let answers = answers.map_err(|error| OptimizeError::Original { error })?;
    let metric = task.metric.unwrap_or_else(|| task.held_out.metric(&answers));
    let compare = Compare::new(task.held_out, answers, metric);
    let compare = compare.map_err(|error| OptimizeError::Answers { error })?;
    let trial = Trial { executor, task, sides: &sides, compare: &compare, p50 };
    let mut verdicts = Vec::new();
    for (at, made) in made.iter().enumerate() {
        let on = sides.iter().map(|side| OnBackend {
            backend: side.backend,
            measured: trial.measure(at, made, side, progress),
        });
        let (name, is_lossy, bytes) = (made.name.clone(), made.is_lossy, made.bytes.len() as u64);
        let candidate = Candidate { name, is_lossy, bytes, on: on.collect() };
        verdicts.extend(gate::judge(&original, &candidate, &task.limits));
    }
    let chosen = gate::best(&verdicts).cloned();
    let winner = chosen
        .as_ref()
        .and_then(|chosen| made.iter().find(|made| made.name == chosen.candidate).cloned());
    let tried =
        made.iter().map(|made| Tried { name: made.name.clone(), notes: made.notes.clone() });
    let advice = (compare.could_pool() && verdicts.iter().any(Verdict::is_loss)).then_some(POOL);
    let report = Report {
        original: (&original).into(),
        rows: task.held_out.inputs.len(),
        compared_by: compare.name(),
        limits: task.limits,
        tried: tried.collect(),
        verdicts,
        skipped,
        chosen: chosen.map(|chosen| chosen.into()),
        advice,
    };
    Ok((report, winner))
}

/// What is measured of candidates.
struct Trial<'t, E: Executor> {
    executor: &'t E,
    task: &'t Task<'t>,
    /// The one where the original is fastest first.
    sides: &'t [Side<E::Loaded>],
    compare: &'t Compare<'t>,
    /// Of the original, where it is fastest.
    p50: f64,
}

impl<E: Executor> Trial<'_, E> {
    /// A candidate's times and answers on a backend.
    fn measure(
        &self,
        at: usize,
        made: &Made,
        side: &Side<E::Loaded>,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Measured, String> {
        let (loaded, times) = side.candidates[at].as_ref().map_err(Clone::clone)?;
        // Where it cannot win, only its time is worth knowing.
        let is_home = self.sides.first().is_some_and(|home| home.backend == side.backend);
        if !is_home && times.p50_ms > self.p50 * (1.0 + self.task.limits.win_min) {
            return Ok(Measured { answers: None, times: *times });
        }
        progress(&format!("computing rows with {} on {}", made.name, side.backend));
        let found = side.answers(self.executor, loaded, self.task.held_out)?;
        Ok(Measured { answers: Some(self.compare.with(&found)?), times: *times })
    }
}

/// All models on a backend, the original first, while their calls are timed.
struct Loading<L> {
    backend: BackendKind,
    models: Vec<Result<L, String>>,
    times: Vec<Vec<f64>>,
}

impl<L> Loading<L> {
    fn new<E: Executor<Loaded = L>>(
        executor: &E,
        backend: BackendKind,
        model: &Bytes,
        made: &[Made],
    ) -> Result<Self, String> {
        let mut models = vec![Ok(executor.load(model.clone(), backend)?)];
        models.extend(made.iter().map(|made| executor.load(made.bytes.clone(), backend)));
        let times = vec![Vec::new(); models.len()];
        Ok(Self { backend, models, times })
    }

    /// Calls a model once, unless it has failed.
    fn call<E: Executor<Loaded = L>>(
        &mut self,
        executor: &E,
        at: usize,
        inputs: Named,
        counts: bool,
    ) {
        let Ok(loaded) = &self.models[at] else { return };
        let start = Instant::now();
        match executor.compute(loaded, inputs) {
            Ok(_) if !counts => {}
            Ok(_) => self.times[at].push(start.elapsed().as_secs_f64() * 1000.0),
            Err(error) => self.models[at] = Err(error),
        }
    }

    /// The times of calls of so many rows each.
    fn timed(self, rows: usize) -> Result<Side<L>, String> {
        let mut timed = self.models.into_iter().zip(self.times).map(|(model, times)| {
            let timing = Timing::of(&times, rows).ok_or_else(|| "no call was timed".to_owned());
            Ok((model?, timing?))
        });
        let (loaded, original) = timed.next().ok_or("no model")??;
        Ok(Side { backend: self.backend, loaded, original, candidates: timed.collect() })
    }
}

/// Times calls of all models on all backends in turn, so that whatever else the machine does slows all of them.
///
/// Each model is called on every backend before the next one is, so that every call on a backend follows one elsewhere.
fn time<E: Executor>(executor: &E, loading: &mut [Loading<E::Loaded>], rows: &Rows) {
    let models = loading.first().map_or(0, |loaded| loaded.models.len());
    let time_max = TIMING * u32::try_from(loading.len()).unwrap_or(u32::MAX);
    let began = Instant::now();
    for round in 0..WARM_UP + CALLS.end {
        if round >= WARM_UP + CALLS.start && began.elapsed() > time_max {
            break;
        }
        let inputs = &rows.inputs[round % rows.inputs.len()];
        for at in 0..models {
            for loaded in loading.iter_mut() {
                loaded.call(executor, at, inputs.clone(), round >= WARM_UP);
            }
        }
    }
}

/// All models on a backend.
struct Side<L> {
    backend: BackendKind,
    loaded: L,
    original: Timing,
    candidates: Vec<Result<(L, Timing), String>>,
}

impl<L> Side<L> {
    fn answers<E: Executor<Loaded = L>>(
        &self,
        executor: &E,
        loaded: &L,
        rows: &Rows,
    ) -> Result<Vec<Named>, String> {
        rows.inputs.iter().map(|inputs| executor.compute(loaded, inputs.clone())).collect()
    }
}
