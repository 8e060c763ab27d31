//! Runs a trainer and listens to it.
//!
//! The trainer is another process, confined and at low priority. Its output goes to a file, at most [`LOG_BYTES_MAX`] of it; its events are
//! read as they come.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use hospes_confine::{ConfineError, Confined, Ended, Stream};

use crate::contract::Job;
use crate::events::{Event, Events, LINE_BYTES_MAX, Pattern};

/// Most bytes of a trainer's output that are kept.
pub const LOG_BYTES_MAX: u64 = 64 << 20;
/// Most bytes of events that are read.
const EVENT_BYTES_MAX: u64 = 64 << 20;
/// How often the file of events is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How many of the last lines an error shows.
const LINES_SHOWN: usize = 12;

/// Why a training failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot use `{}`", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the trainer could not be started")]
    Start(#[source] ConfineError),
    #[error("the trainer did not end well: {how}{}", shown(lines))]
    Failed { how: String, lines: Vec<String> },
    #[error(
        "the trainer ended well, but left no model at `$SM_MODEL_DIR/model.onnx`: let it write the ONNX file there{}",
        shown(lines)
    )]
    NoModel { lines: Vec<String> },
}

fn shown(lines: &[String]) -> String {
    if lines.is_empty() {
        return ", and printed nothing".into();
    }
    format!("; its last lines:\n  {}", lines.join("\n  "))
}

/// A training that has ended well.
#[derive(Debug)]
pub struct Finished {
    pub events: Events,
    /// The trainer's, with the processes that it waited for, in seconds.
    pub cpu_seconds: f64,
    pub wall_seconds: f64,
}

/// Makes the job's folders. `fresh` removes what an earlier run left.
///
/// # Errors
/// [`RunError::File`].
pub fn prepare(job: &Job, fresh: bool) -> Result<(), RunError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| RunError::File { path, source }
    };
    if fresh && job.folder.exists() {
        std::fs::remove_dir_all(&job.folder).map_err(failed(&job.folder))?;
    }
    for folder in [job.model_dir(), job.output_dir(), job.checkpoints()] {
        std::fs::create_dir_all(&folder).map_err(failed(&folder))?;
    }
    // A trainer that resumes says again what it had said. A model of the last run must not pass for this one's.
    for file in [job.events(), job.model()] {
        if file.exists() {
            std::fs::remove_file(&file).map_err(failed(&file))?;
        }
    }
    File::create(job.events()).map_err(failed(&job.events()))?;
    Ok(())
}

/// Runs a trainer to its end. `tell` gets each event as it comes.
///
/// `program` says what it may read; this adds the contract's variables.
///
/// # Errors
/// [`RunError`].
pub fn run(
    job: &Job,
    program: Confined,
    log: &Path,
    patterns: &[Pattern],
    tell: &mut dyn FnMut(&Event),
) -> Result<Finished, RunError> {
    let file = |source| RunError::File { path: log.to_owned(), source };
    let variables = job.variables().into_iter();
    let program = variables.fold(program, |program, (name, value)| program.variable(name, value));
    let (began, before) = (Instant::now(), spent());
    let mut kept = File::create(log).map_err(file)?;
    let mut left = LOG_BYTES_MAX;
    let mut listener = Listener::new(job, patterns);
    let ended = std::thread::scope(|scope| {
        // The program ends with the thread that started it, and nobody waits for a thread's output and a file at once.
        let (sender, said) = mpsc::channel();
        let running = scope.spawn(move || {
            program.run(|stream, piece| match sender.send((stream, piece.to_vec())) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            })
        });
        loop {
            match said.recv_timeout(LOOK) {
                Ok((stream, piece)) => {
                    let fits = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    kept.write_all(&piece[..fits]).map_err(file)?;
                    left -= fits as u64;
                    listener.printed(stream, &piece, tell);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            listener.look_sometimes(tell)?;
        }
        let ended = running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        ended.map_err(RunError::Start)
    })?;
    listener.look(tell)?;
    listener.check(ended, &job.model())?;
    Ok(Finished {
        events: listener.events,
        cpu_seconds: (spent() - before).max(0.0),
        wall_seconds: began.elapsed().as_secs_f64(),
    })
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

/// What a trainer has said so far.
struct Listener<'j> {
    job: &'j Job,
    patterns: &'j [Pattern],
    events: Events,
    last: VecDeque<String>,
    /// A line of each output that has not ended yet.
    output: Vec<u8>,
    errors: Vec<u8>,
    /// How far the file of events was read, and a line that has not ended yet.
    read: u64,
    rest: Vec<u8>,
    looked: Instant,
}

impl<'j> Listener<'j> {
    fn new(job: &'j Job, patterns: &'j [Pattern]) -> Self {
        Self {
            job,
            patterns,
            events: Events::default(),
            last: VecDeque::new(),
            output: Vec::new(),
            errors: Vec::new(),
            read: 0,
            rest: Vec::new(),
            looked: Instant::now(),
        }
    }

    fn printed(&mut self, stream: Stream, piece: &[u8], tell: &mut dyn FnMut(&Event)) {
        let part = match stream {
            Stream::Output => &mut self.output,
            Stream::Errors => &mut self.errors,
        };
        part.extend_from_slice(piece);
        let mut text = std::mem::take(part);
        // A longer line is none that anybody waits for.
        let whole = match text.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => at + 1,
            None if text.len() > LINE_BYTES_MAX => text.len(),
            None => 0,
        };
        let rest = text.split_off(whole);
        match stream {
            Stream::Output => self.output = rest,
            Stream::Errors => self.errors = rest,
        }
        for line in text.split(|byte| *byte == b'\n') {
            self.line(&String::from_utf8_lossy(line), tell);
        }
    }

    fn line(&mut self, line: &str, tell: &mut dyn FnMut(&Event)) {
        if let Some(event) = Event::of_log(line, self.patterns) {
            tell(&event);
            self.events.push(event);
        }
        let shown: String =
            line.trim_end().chars().take(300).filter(|letter| !letter.is_control()).collect();
        if !shown.is_empty() {
            self.last.push_back(shown);
            if self.last.len() > LINES_SHOWN {
                self.last.pop_front();
            }
        }
    }

    /// A trainer that prints without a pause must not keep its events from being seen.
    fn look_sometimes(&mut self, tell: &mut dyn FnMut(&Event)) -> Result<(), RunError> {
        if self.looked.elapsed() < LOOK { Ok(()) } else { self.look(tell) }
    }

    /// Reads what was added to the file of events.
    fn look(&mut self, tell: &mut dyn FnMut(&Event)) -> Result<(), RunError> {
        self.looked = Instant::now();
        let path = self.job.events();
        let failed = |source| RunError::File { path: path.clone(), source };
        let mut file = match File::open(&path) {
            Ok(file) => file,
            // A trainer may do without it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        file.seek(SeekFrom::Start(self.read)).map_err(failed)?;
        let most = EVENT_BYTES_MAX.saturating_sub(self.read);
        let read = file.take(most).read_to_end(&mut self.rest).map_err(failed)?;
        self.read += read as u64;
        let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for line in self.rest.drain(..whole).collect::<Vec<u8>>().split(|byte| *byte == b'\n') {
            if let Some(event) = std::str::from_utf8(line).ok().and_then(Event::of_json) {
                tell(&event);
                self.events.push(event);
            }
        }
        Ok(())
    }

    fn check(&mut self, ended: Ended, model: &Path) -> Result<(), RunError> {
        // A last line may have no end.
        for rest in [std::mem::take(&mut self.output), std::mem::take(&mut self.errors)] {
            self.line(&String::from_utf8_lossy(&rest), &mut |_| {});
        }
        let lines = std::mem::take(&mut self.last).into();
        if !ended.is_success() {
            return Err(RunError::Failed { how: how(ended), lines });
        }
        // Not through a link: it could lead to any file of this account.
        let is_file = std::fs::symlink_metadata(model).is_ok_and(|about| about.is_file());
        if is_file { Ok(()) } else { Err(RunError::NoModel { lines }) }
    }
}

fn how(ended: Ended) -> String {
    match ended {
        Ended::With(status) => hospes_confine::ending(&status),
        Ended::AtDeadline => "did not end in time".into(),
        Ended::Stopped => "was stopped".into(),
    }
}
