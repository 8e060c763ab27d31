//! Runs a trainer and listens to it.
//!
//! The trainer is another process, and what it costs is bounded by the machine only, so it runs at low priority. Its output goes to a
//! file, at most [`LOG_BYTES_MAX`] of it; its events are read as they come.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use crate::contract::Job;
use crate::events::{Event, Events, LINE_BYTES_MAX, Pattern};

/// Most bytes of a trainer's output that are kept.
pub const LOG_BYTES_MAX: u64 = 64 << 20;
/// Most bytes of events that are read.
const EVENT_BYTES_MAX: u64 = 64 << 20;
/// How often the file of events is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How much lower than the host's the trainer's priority is (`nice`).
const NICE: i32 = 10;
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
    #[error("cannot start the trainer `{program}`")]
    Start {
        program: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the trainer {how}{}", shown(lines))]
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
pub struct Ended {
    pub events: Events,
    /// The trainer's, with the processes that it waited for, in seconds.
    pub cpu_seconds: f64,
    pub wall_seconds: f64,
    /// The most that the trainer's process used, in bytes, without its children.
    pub memory_bytes: u64,
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
/// `command` has the program, its arguments and its folder; this adds the contract's variables.
///
/// # Errors
/// [`RunError`].
pub fn run(
    job: &Job,
    mut command: Command,
    log: &Path,
    patterns: &[Pattern],
    tell: &mut dyn FnMut(&Event),
) -> Result<Ended, RunError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let file = |source| RunError::File { path: log.to_owned(), source };
    let began = Instant::now();
    let before = spent();
    command
        .envs(job.variables())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut kept = File::create(log).map_err(file)?;
    let mut child = command.spawn().map_err(|source| RunError::Start { program, source })?;
    lower(&child);
    let said = listen(&mut child);
    let mut listener = Listener::new(job, patterns);
    let (mut left, mut memory_bytes) = (LOG_BYTES_MAX, 0);
    loop {
        match said.recv_timeout(LOOK) {
            Ok(line) => {
                let bytes =
                    &line.as_bytes()[..line.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
                kept.write_all(bytes).map_err(file)?;
                left -= bytes.len() as u64;
                listener.printed(&line, tell);
            }
            Err(RecvTimeoutError::Timeout) => listener.look(tell)?,
            Err(RecvTimeoutError::Disconnected) => break,
        }
        listener.look_sometimes(tell)?;
        memory_bytes = memory_bytes.max(peak(child.id()));
    }
    let ended = child.wait().map_err(file)?;
    listener.look(tell)?;
    listener.check(ended, &job.model())?;
    Ok(Ended {
        events: listener.events,
        cpu_seconds: (spent() - before).max(0.0),
        wall_seconds: began.elapsed().as_secs_f64(),
        memory_bytes,
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

/// The most memory that a process has used so far, in bytes; 0 where the kernel does not say.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

/// The priority is the machine's matter: where it cannot be lowered, training goes on.
fn lower(child: &Child) {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    let _ = rustix::process::setpriority_process(pid, NICE);
}

/// The lines of both of its outputs, each with its end. The receiver is disconnected when both have ended.
fn listen(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = channel();
    if let Some(output) = child.stdout.take() {
        pass_on(output, sender.clone());
    }
    if let Some(output) = child.stderr.take() {
        pass_on(output, sender);
    }
    receiver
}

fn pass_on(output: impl Read + Send + 'static, sender: Sender<String>) {
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        loop {
            line.clear();
            // A longer line comes in pieces.
            let piece = output.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line);
            let done = !matches!(piece, Ok(bytes) if bytes > 0);
            if done || sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
}

/// What a trainer has said so far.
struct Listener<'j> {
    job: &'j Job,
    patterns: &'j [Pattern],
    events: Events,
    last: std::collections::VecDeque<String>,
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
            last: Default::default(),
            read: 0,
            rest: Vec::new(),
            looked: Instant::now(),
        }
    }

    fn printed(&mut self, line: &str, tell: &mut dyn FnMut(&Event)) {
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

    fn check(&mut self, ended: ExitStatus, model: &Path) -> Result<(), RunError> {
        let lines = std::mem::take(&mut self.last).into();
        if !ended.success() {
            return Err(RunError::Failed { how: how(ended), lines });
        }
        // Not through a link: it could lead to any file of this account.
        let is_file = std::fs::symlink_metadata(model).is_ok_and(|about| about.is_file());
        if is_file { Ok(()) } else { Err(RunError::NoModel { lines }) }
    }
}

fn how(ended: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (ended.code(), ended.signal()) {
        (Some(code), _) => format!("failed with exit code {code}"),
        (None, Some(9)) => "was killed, perhaps because memory ran out: `--resume` continues at its last checkpoint".into(),
        (None, signal) => format!("was ended by signal {}", signal.unwrap_or_default()),
    }
}
