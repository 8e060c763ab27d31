//! Trains small networks under the contract of `hospes train` (see `hospes_training::contract`): variables in, `model.onnx`, events,
//! checkpoints and a few answers out.
//!
//! A program of its own, because a framework for training has no place in a process that serves tenants. It is not for people:
//! `hospes train RECIPE.toml` starts it, and shows what it says.

mod augment;
mod checkpoint;
mod data;
mod export;
mod fit;
mod net;
mod parts;
mod place;
mod prepare;
mod random;
mod teacher;
#[cfg(test)]
mod tests;
mod update;

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use burn_tensor::Device;
use hospes_core::id::Hasher;
use hospes_training::contract::{self, DATA_FAULTS, SETTINGS_UNFIT};
use hospes_training::weights::Weights;
use hospes_training::{Event, Native};

use crate::data::{Rows, RowsError, Wanted};
use crate::fit::{Part, Training};
use crate::net::{Net, NetError};
use crate::parts::Learnt;
use crate::place::PlaceError;
use crate::prepare::{Preparation, ScalingError};
use crate::teacher::{Soft, TeacherError};

/// How many rows' answers are left for comparing backends.
const CHECKED_ROWS: usize = 64;
/// How many numbers of these rows at most: a few pictures may be large.
const CHECKED_NUMBERS: usize = 1 << 20;

/// What the contract gives.
struct Job {
    native: Native,
    train: PathBuf,
    test: Option<PathBuf>,
    model: PathBuf,
    output: PathBuf,
    checkpoints: PathBuf,
    teacher: Option<PathBuf>,
    weights: Option<PathBuf>,
    events: PathBuf,
    gpu: bool,
}

/// Why the contract is not kept.
#[derive(Debug, thiserror::Error)]
enum JobError {
    #[error("the variable {0} is not set: `hospes-train` is started by `hospes train RECIPE.toml`")]
    Unset(&'static str),
    #[error("the variable SM_HPS is not the settings of a recipe: {0}")]
    Settings(#[source] serde_json::Error),
    #[error(
        "this `hospes-train` was built without GPU support: build it with `--features cuda`, or train on the CPU"
    )]
    NoGpu,
}

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match Job::of_variables().map_err(Failure::from).and_then(|job| run(&job)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut line = error.to_string();
            let mut cause = error.source();
            while let Some(next) = cause {
                line += &format!(": {next}");
                cause = next.source();
            }
            // If nobody listens, the exit code still says it.
            let _ = writeln!(std::io::stderr(), "{line}");
            if error.is::<RowsError>() {
                ExitCode::from(DATA_FAULTS)
            } else if error.is::<NetError>()
                || error.is::<TeacherError>()
                || error.is::<PlaceError>()
                || error.is::<ScalingError>()
            {
                ExitCode::from(SETTINGS_UNFIT)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

impl Job {
    fn of_variables() -> Result<Self, JobError> {
        let get = |name| std::env::var(name).map_err(|_| JobError::Unset(name));
        let path = |name| get(name).map(PathBuf::from);
        Ok(Self {
            native: serde_json::from_str(&get(contract::SETTINGS)?).map_err(JobError::Settings)?,
            train: path("SM_CHANNEL_TRAIN")?,
            test: path("SM_CHANNEL_TEST").ok(),
            model: path(contract::MODEL_DIR)?.join(contract::MODEL),
            output: path(contract::OUTPUT_DIR)?,
            checkpoints: path(contract::CHECKPOINTS_DIR)?,
            teacher: path(contract::TEACHER_FILE).ok(),
            weights: path(contract::WEIGHTS_FILE).ok(),
            events: path(contract::EVENTS_FILE)?,
            gpu: get(contract::GPUS).is_ok_and(|gpus| gpus != "0"),
        })
    }

    fn device(&self) -> Result<Device, JobError> {
        if !self.gpu {
            return Ok(Device::flex());
        }
        #[cfg(feature = "cuda")]
        return Ok(Device::cuda(0));
        #[cfg(not(feature = "cuda"))]
        Err(JobError::NoGpu)
    }
}

/// All data are read before anything is trained, so that a fault in the last row is named before the first hour.
fn run(job: &Job) -> Result<(), Failure> {
    if let Some(weights) = &job.weights {
        return convert(job, Weights::read(weights)?);
    }
    let device = job.device()?;
    let native = &job.native;
    let rows = Rows::read("train", &job.train, native, None)?;
    let test =
        job.test.as_ref().map(|test| Rows::read("test", test, native, Some(&rows))).transpose()?;
    let preparation = Preparation::of(&rows);
    let shape = preparation.shape();
    let net = Net::new(native, &shape, rows.outputs())?;
    let (learnt, held) = split(&rows, native)?;
    let teacher = match &native.teacher {
        None => None,
        Some(settings) => {
            let path = job.teacher.as_ref().ok_or(JobError::Unset(contract::TEACHER_FILE))?;
            Some(Soft::read(path, settings, &rows)?)
        }
    };
    let training = Training {
        part: Part::whole(native.epochs),
        native,
        net: &net,
        preparation: &preparation,
        answer: answer(&rows),
        rows: &rows,
        learnt,
        held,
        test: test.as_ref(),
        teacher: teacher.as_ref(),
        device,
    };
    let mut events = File::options().append(true).create(true).open(&job.events)?;
    let mut failed = None;
    let mut tell = |event: &Event| {
        let line =
            serde_json::to_string(event).expect("invariant: numbers are finite, names are text");
        if let Err(error) = writeln!(events, "{line}") {
            failed = Some(error);
        }
    };
    // The data are sound: from here on it is a training.
    tell(&Event { progress: Some(0.0), message: rows.doubt(native), ..Event::default() });
    let hasher = Hasher::default()
        .with(&serde_json::to_vec(native)?)
        .with(&serde_json::to_vec(&preparation)?);
    let hasher = rows.digest(hasher);
    let of = teacher.iter().fold(hasher, |hasher, teacher| teacher.digest(hasher)).finish();
    let Learnt { net, weights } = parts::train(&training, &job.checkpoints, of, &mut tell)?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    let model = export::onnx(&rows, &preparation, &net, &weights, training.answer)?;
    std::fs::write(&job.model, model)?;
    leave_answers(job, &Training { net: &net, ..training }, &weights)
}

/// The model of weights that another library has trained.
fn convert(job: &Job, weights: Weights) -> Result<(), Failure> {
    let rows = Rows::read("train", &job.train, &job.native, None)?;
    let (mut preparation, mut answer) = (Preparation::of(&rows), answer(&rows));
    if let Some(scaling) = &weights.scaling {
        // Whoever says what is done to the inputs has learnt the answers as they are.
        (preparation, answer) = (preparation.stated(scaling)?, (1.0, 0.0));
    }
    let net = Net::new(&job.native, &preparation.shape(), rows.outputs())?;
    let weights = place::place(&net, weights).map_err(|error| match error {
        // Nobody sees in a shape how many categories there are.
        PlaceError::Unfit(faults) => {
            PlaceError::Unfit(preparation.widened().into_iter().chain(faults).collect())
        }
        error => error,
    })?;
    let model = export::onnx(&rows, &preparation, &net, &weights, answer)?;
    Ok(std::fs::write(&job.model, model)?)
}

/// Leaves a few rows with the answers to them. `hospes train` compares those of the served model with them.
fn leave_answers(job: &Job, training: &Training<'_>, weights: &[Vec<f32>]) -> Result<(), Failure> {
    let rows = training.test.unwrap_or(training.rows);
    let each = rows.tensor(0..1).data().len().max(1);
    let count = CHECKED_ROWS.min(rows.count()).min((CHECKED_NUMBERS / each).max(1));
    let chosen: Vec<usize> = (0..count).collect();
    let answers = training.answers(weights, rows, &chosen)?;
    let bytes: Vec<u8> = answers.iter().flat_map(|answer| answer.to_le_bytes()).collect();
    let shape = vec![count, rows.outputs()];
    let answers =
        hospes_core::tensor::Tensor::new(hospes_core::tensor::DataType::F32, shape, bytes.into())?;
    let input = match rows.inputs {
        data::Inputs::Pictures { .. } => "image",
        data::Inputs::Cells { .. } => "row",
    };
    let given = rows.tensor(0..count);
    let file = hospes_data::write_npz([(input, &given), (export::output(rows), &answers)])?;
    Ok(std::fs::write(job.output.join(contract::ANSWERS), file)?)
}

/// Rows to learn from, and those that decide when to stop: every so many of each class.
fn split(rows: &Rows, native: &Native) -> Result<(Vec<usize>, Vec<usize>), RowsError> {
    let all: Vec<usize> = (0..rows.count()).collect();
    let Some(stop) = native.early_stop else { return Ok((all, Vec::new())) };
    let mut groups: Vec<Vec<usize>> = match &rows.wanted {
        Wanted::Numbers(_) => vec![all],
        Wanted::Classes { of, names } => {
            let mut groups = vec![Vec::new(); names.len()];
            all.iter().for_each(|row| groups[of[*row] as usize].push(*row));
            groups
        }
    };
    let (mut learnt, mut held) = (Vec::new(), Vec::new());
    for group in &mut groups {
        random::Random::new(native.seed, random::Use::Order { epoch: 0 }).shuffle(group);
        let count = (group.len() as f64 * stop.validation).round() as usize;
        held.extend(group.drain(..count.min(group.len())));
        learnt.append(group);
    }
    if learnt.is_empty() || held.is_empty() {
        return Err(RowsError::Few { rows: rows.count() });
    }
    learnt.sort_unstable();
    held.sort_unstable();
    Ok((learnt, held))
}

/// For numbers, the network learns them with mean 0 and standard deviation 1.
fn answer(rows: &Rows) -> (f32, f32) {
    match &rows.wanted {
        Wanted::Classes { .. } => (1.0, 0.0),
        Wanted::Numbers(numbers) => {
            let count = numbers.len() as f64;
            let mean = numbers.iter().map(|number| f64::from(*number)).sum::<f64>() / count;
            let square =
                numbers.iter().map(|number| (f64::from(*number) - mean).powi(2)).sum::<f64>();
            // `Rows::read` has refused numbers that are all the same.
            (((square / count).sqrt()) as f32, mean as f32)
        }
    }
}
