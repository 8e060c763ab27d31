//! Runs a trainer and listens to it.
//!
//! The trainer is another process, confined and at low priority. Its output goes to a file, its events are read as they come, and it is ended
//! before it has filled the disk. What it leaves is foreign: nothing of it is read through a link, and only so much.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hospes_confine::left::{self, LeftError};
use hospes_confine::{ConfineError, Confined, Ended};

use crate::contract::{DATA_FAULTS, Job, SETTINGS_UNFIT};
use crate::events::{Event, Events, Pattern};
use crate::listener::Listener;
use crate::log::Log;

/// How often the file of events and the disk are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What a trainer may leave, and what it must leave to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of its output that are kept. Default 64 MiB.
    pub log_bytes_max: u64,
    /// Bytes of its file of events that are read. Default 64 MiB.
    pub event_bytes_max: u64,
    /// Bytes of its model. Default 2 GiB less a byte, the most that an ONNX file can have.
    pub model_bytes_max: u64,
    /// Bytes that must stay free on the disk of its folder. Default 1 GiB. A host that serves from the same disk needs them.
    pub disk_free_bytes_min: u64,
    /// Inodes that must stay free there, if the file system counts them. Default 10,000: more than a trainer makes between two looks.
    pub disk_free_inodes_min: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            log_bytes_max: 64 << 20,
            event_bytes_max: 64 << 20,
            model_bytes_max: (2 << 30) - 1,
            disk_free_bytes_min: 1 << 30,
            disk_free_inodes_min: 10_000,
        }
    }
}

/// Why a training failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot use `{}`", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the trainer was ended, because its output cannot be written to `{}`: make room there, or name another folder", path.display())]
    Log {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "the trainer was ended before it filled the disk of `{}`: {} MiB are free there, and {} MiB must stay free; make room or name \
         another folder, then continue with `--resume`, or set another limit with `--keep-free`",
        folder.display(), free >> 20, limit >> 20
    )]
    Disk { folder: PathBuf, free: u64, limit: u64 },
    #[error(
        "the trainer was ended before it used up the inodes of the disk of `{}`: {free} are free there, and {limit} must stay free; \
         remove small files there or name another folder, then continue with `--resume`",
        folder.display()
    )]
    Inodes { folder: PathBuf, free: u64, limit: u64 },
    #[error("the trainer could not be started")]
    Start(#[source] ConfineError),
    #[error("the data have faults{}", listed(lines))]
    Faulty { lines: Vec<String> },
    #[error("the settings do not fit the data{}", listed(lines))]
    Unfit { lines: Vec<String> },
    #[error("the trainer did not end well: {how}{}", shown(lines))]
    Failed { how: String, lines: Vec<String> },
    #[error(
        "the trainer succeeded, but left no model at `$SM_MODEL_DIR/model.onnx`: make it write the ONNX file there{}",
        shown(lines)
    )]
    NoModel { lines: Vec<String> },
    #[error(transparent)]
    Left(#[from] LeftError),
}

fn shown(lines: &[String]) -> String {
    if lines.is_empty() {
        return ", and printed nothing".into();
    }
    format!("; its last lines:\n  {}", lines.join("\n  "))
}

fn listed(lines: &[String]) -> String {
    if lines.is_empty() {
        return ", which the trainer does not name".into();
    }
    format!(":\n  {}", lines.join("\n  "))
}

/// A training that has ended well.
#[derive(Debug)]
pub struct Finished {
    pub events: Events,
    /// The model's file.
    pub model: Vec<u8>,
    /// The trainer's, with the processes that it waited for, in seconds.
    pub cpu_seconds: f64,
    pub wall_seconds: f64,
}

/// Runs a trainer to its end. `tell` gets each event as it comes.
///
/// `program` says what it may read; this adds the contract's variables.
///
/// # Errors
/// [`RunError`]. Then the trainer has ended too.
pub fn run(
    job: &Job,
    program: Confined,
    mut log: Log,
    patterns: &[Pattern],
    limits: &Limits,
    tell: &mut dyn FnMut(&Event),
) -> Result<Finished, RunError> {
    let variables = job.variables().into_iter();
    let program = variables.fold(program, |program, (name, value)| program.variable(name, value));
    let (began, before) = (Instant::now(), spent());
    let mut listener = Listener::new(job, patterns);
    let mut failed = None;
    let ended = program.run_watched(LOOK, |met| {
        let done = match met {
            Some((stream, piece)) => {
                listener.printed(stream, piece, tell);
                log.write(piece)
            }
            None => {
                let looked = disk(&job.folder, limits)
                    .and_then(|()| listener.look(limits.event_bytes_max, tell));
                looked.map(drop)
            }
        };
        // A trainer whose words are lost, or that fills the disk, does not run on.
        match done {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed.get_or_insert(error);
                ControlFlow::Break(())
            }
        }
    });
    if let Some(error) = failed {
        return Err(error);
    }
    let ended = ended.map_err(RunError::Start)?;
    while listener.look(limits.event_bytes_max, tell)? {}
    let lines = listener.last_lines();
    if !ended.is_success() {
        return Err(match code(&ended) {
            Some(DATA_FAULTS) => RunError::Faulty { lines },
            Some(SETTINGS_UNFIT) => RunError::Unfit { lines },
            _ => RunError::Failed { how: how(ended), lines },
        });
    }
    let model = left::read(&job.folder, &Job::model_name(), limits.model_bytes_max)?;
    Ok(Finished {
        events: listener.events,
        model: model.ok_or(RunError::NoModel { lines })?,
        cpu_seconds: (spent() - before).max(0.0),
        wall_seconds: began.elapsed().as_secs_f64(),
    })
}

/// Whether enough is free on the disk of this folder.
fn disk(folder: &Path, limits: &Limits) -> Result<(), RunError> {
    let path = || folder.to_owned();
    let about = rustix::fs::statvfs(folder)
        .map_err(|error| RunError::File { path: path(), source: error.into() })?;
    let (free, limit) = (about.f_bavail.saturating_mul(about.f_frsize), limits.disk_free_bytes_min);
    if free < limit {
        return Err(RunError::Disk { folder: path(), free, limit });
    }
    let (free, limit) = (about.f_favail, limits.disk_free_inodes_min);
    // Some file systems, such as Btrfs, make inodes as they need them, and say that they have none.
    if about.f_files > 0 && free < limit {
        return Err(RunError::Inodes { folder: path(), free, limit });
    }
    Ok(())
}

/// CPU seconds of this process's children that have ended and were waited for; 0 where the kernel does not say (proc(5), fields 16, 17).
fn spent() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The program's name is in parentheses, and may have spaces.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks =
        fields.split_whitespace().skip(13).take(2).filter_map(|field| field.parse::<u64>().ok());
    ticks.sum::<u64>() as f64 / rustix::param::clock_ticks_per_second() as f64
}

fn code(ended: &Ended) -> Option<u8> {
    match ended {
        Ended::With(status) => status.code().and_then(|code| u8::try_from(code).ok()),
        Ended::AtDeadline | Ended::Stopped => None,
    }
}

fn how(ended: Ended) -> String {
    match ended {
        Ended::With(status) => hospes_confine::ending(&status),
        Ended::AtDeadline => "did not end in time".into(),
        Ended::Stopped => "was stopped".into(),
    }
}
