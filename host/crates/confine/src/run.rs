//! Runs a program to its end, and hands over what it says meanwhile.

use std::ffi::CString;
use std::io::{self, PipeReader, Read as _};
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::error::ConfineError;
use super::kernel::{Inside, Plan, Report, Step, arm};
use super::{Confined, Confinement, filter, landlock, loader};

/// Which of its outputs a program wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Output,
    Errors,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, or by a limit's signal. [`super::ending()`] has the words.
    With(ExitStatus),
    /// It was killed at its deadline.
    AtDeadline,
    /// The caller did not want to hear more.
    Stopped,
}

impl Ended {
    /// Whether it ended by itself with exit code 0.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::With(status) if status.success())
    }
}

/// Bytes read at once.
const PIECE_BYTES: usize = 16 << 10;

/// Inside, who runs the program is this user and group.
const NOBODY: u32 = 65534;

/// Tries the confinement with a program that does nothing, so that a machine without it is known before anything is changed. The program
/// might write into this folder only.
///
/// # Errors
/// As [`Confined::run`].
pub fn attempt(writable: &Path) -> Result<(), ConfineError> {
    let nothing = Confined::new("/bin/true", writable).reading_system();
    nothing.run(|_, _| ControlFlow::Continue(())).map(drop)
}

impl Confined {
    /// Runs it to its end on this thread, and calls `said` with each piece of its output, not with lines. If this thread ends, the program does.
    ///
    /// # Errors
    /// [`ConfineError`]. Then nothing of the program has run, except with `Watch`.
    pub fn run(
        &self,
        mut said: impl FnMut(Stream, &[u8]) -> ControlFlow<()>,
    ) -> Result<Ended, ConfineError> {
        self.run_watched(self.deadline, |met| match met {
            Some((stream, piece)) => said(stream, piece),
            None => ControlFlow::Continue(()),
        })
    }

    /// The same, and calls with `None` each time that this much time has passed, so that a program can be ended that says nothing.
    ///
    /// # Errors
    /// As [`Confined::run`].
    pub fn run_watched(
        &self,
        every: Duration,
        mut met: impl FnMut(Option<(Stream, &[u8])>) -> ControlFlow<()>,
    ) -> Result<Ended, ConfineError> {
        let until = Instant::now() + self.deadline;
        let (mut running, mut report) = self.start()?;
        if let Some(ended) = running.follow(until, every, &mut met)? {
            return Ok(ended);
        }
        let status = running.finish(&mut |stream, piece| met(Some((stream, piece))))?;
        let mut bytes = Vec::new();
        report.read_to_end(&mut bytes).map_err(ConfineError::Watch)?;
        Ok(Ended::With(match Report::read(&bytes) {
            Some(Report::Ended(status)) => ExitStatus::from_raw(status),
            // Unconfined, the program is the child itself.
            _ if self.confinement == Confinement::None => status,
            // The first process of its namespace was killed, and the program with it.
            _ => ExitStatus::from_raw(Signal::KILL.as_raw()),
        }))
    }

    fn start(&self) -> Result<(Running, PipeReader), ConfineError> {
        let setup = |step| move |source| ConfineError::Setup { step, source };
        let (report, reports) = io::pipe().map_err(setup("pipe"))?;
        let mut command = match self.confinement {
            Confinement::Full => loader::command(&self.program),
            Confinement::None => Command::new(&self.program),
        };
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.writable)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        arm(&mut command, self.plan(reports)?);
        let spawned = command.spawn();
        // Its end of the report would keep it open.
        drop(command);
        let child = spawned.map_err(|error| self.why_not(error, report.try_clone().ok()))?;
        Ok((Running::of(child)?, report))
    }

    fn plan(&self, report: io::PipeWriter) -> Result<Plan, ConfineError> {
        let inside = match self.confinement {
            Confinement::None => None,
            Confinement::Full => {
                let rules = landlock::rules(&self.readable, &self.writable)?;
                let rules: Option<OwnedFd> = rules.into();
                let path = |source| ConfineError::Path { path: self.writable.clone(), source };
                let writable = std::fs::canonicalize(&self.writable).map_err(path)?;
                let writable = CString::new(writable.into_os_string().into_vec())
                    .map_err(|error| path(error.into()))?;
                let lacks = || ConfineError::Landlock("it is not enabled".into());
                Some(Inside {
                    user: format!("{NOBODY} {} 1", rustix::process::geteuid().as_raw()),
                    group: format!("{NOBODY} {} 1", rustix::process::getegid().as_raw()),
                    writable,
                    rules: rules.ok_or_else(lacks)?,
                    filter: filter::program()?,
                })
            }
        };
        let caller = i32::try_from(std::process::id()).ok().and_then(Pid::from_raw);
        let nice = i32::from(self.limits.nice);
        Ok(Plan { inside, limits: self.limits.table(), nice, report, caller })
    }

    /// The step that failed, which the child has reported before it ended.
    fn why_not(&self, source: io::Error, report: Option<PipeReader>) -> ConfineError {
        let mut bytes = Vec::new();
        let read = report.map(|mut report| report.read_to_end(&mut bytes));
        match read.and_then(|_| Report::read(&bytes)) {
            Some(Report::Failed(
                Step::Namespaces | Step::Users | Step::Mounts | Step::Processes,
                step,
            )) => ConfineError::Namespaces { step, source },
            Some(Report::Failed(Step::Landlock, _)) => ConfineError::Landlock(source.to_string()),
            Some(Report::Failed(_, step)) => ConfineError::Setup { step, source },
            Some(Report::Ended(_)) | None => {
                ConfineError::Program { program: self.program.clone(), source }
            }
        }
    }
}

/// A process with all that it started. Dropped, it is killed and reaped.
struct Running {
    child: Child,
    number: Pid,
    /// Readable when it has ended.
    ended: OwnedFd,
    pipes: Vec<(Stream, OwnedFd)>,
}

impl Running {
    fn of(mut child: Child) -> Result<Self, ConfineError> {
        let output = child.stdout.take().map(|pipe| (Stream::Output, OwnedFd::from(pipe)));
        let errors = child.stderr.take().map(|pipe| (Stream::Errors, OwnedFd::from(pipe)));
        let pipes: Vec<_> = output.into_iter().chain(errors).collect();
        let watched = || -> io::Result<(Pid, OwnedFd)> {
            let number = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            let number = number.ok_or(io::ErrorKind::InvalidData)?;
            for (_, pipe) in &pipes {
                let flags = rustix::fs::fcntl_getfl(pipe)?;
                rustix::fs::fcntl_setfl(pipe, flags | OFlags::NONBLOCK)?;
            }
            Ok((number, rustix::process::pidfd_open(number, PidfdFlags::empty())?))
        };
        match watched() {
            Ok((number, ended)) => Ok(Self { child, number, ended, pipes }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(ConfineError::Watch(error))
            }
        }
    }

    /// Hands over its output until it ends (`None`), its deadline comes or nobody wants to hear more.
    fn follow(
        &mut self,
        until: Instant,
        every: Duration,
        met: &mut impl FnMut(Option<(Stream, &[u8])>) -> ControlFlow<()>,
    ) -> Result<Option<Ended>, ConfineError> {
        let mut looked = Instant::now();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Some(Ended::AtDeadline));
            }
            // A program that says something without a pause must not keep its caller from looking.
            if looked.elapsed() >= every {
                looked = Instant::now();
                if met(None).is_break() {
                    return Ok(Some(Ended::Stopped));
                }
            }
            let left = left.min(every.saturating_sub(looked.elapsed()));
            let left = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 3600, tv_nsec: 0 });
            let mut watched: Vec<PollFd<'_>> =
                self.pipes.iter().map(|(_, pipe)| PollFd::new(pipe, PollFlags::IN)).collect();
            watched.push(PollFd::new(&self.ended, PollFlags::IN));
            let polled = rustix::io::retry_on_intr(|| poll(&mut watched, Some(&left)));
            polled.map_err(|error| ConfineError::Watch(error.into()))?;
            let has_ended = watched.pop().is_some_and(|ended| !ended.revents().is_empty());
            let mut said = |stream, piece: &[u8]| met(Some((stream, piece)));
            if self.pass_on(&mut said).map_err(ConfineError::Watch)?.is_break() {
                return Ok(Some(Ended::Stopped));
            }
            if has_ended {
                return Ok(None);
            }
        }
    }

    /// Hands over a piece of each output that has one, and forgets those that have ended.
    fn pass_on(
        &mut self,
        said: &mut impl FnMut(Stream, &[u8]) -> ControlFlow<()>,
    ) -> io::Result<ControlFlow<()>> {
        let mut piece = [0; PIECE_BYTES];
        let mut at = 0;
        while let Some((stream, pipe)) = self.pipes.get(at) {
            match rustix::io::read(pipe, &mut piece) {
                Ok(0) => {
                    self.pipes.remove(at);
                    continue;
                }
                Ok(bytes) => {
                    if said(*stream, piece.get(..bytes).unwrap_or_default()).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => (),
                Err(error) => return Err(error.into()),
            }
            at += 1;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Ends what it left behind, hands over what is still in its outputs, and returns its status.
    fn finish(
        mut self,
        said: &mut impl FnMut(Stream, &[u8]) -> ControlFlow<()>,
    ) -> Result<ExitStatus, ConfineError> {
        self.end();
        let status = self.child.wait().map_err(ConfineError::Watch)?;
        // A pipe holds 1 MiB at most. Unconfined, a process that has left the group may write on for ever.
        for _ in 0..((1 << 20) / PIECE_BYTES) {
            if self.pipes.is_empty() || self.pass_on(said).map_err(ConfineError::Watch)?.is_break()
            {
                break;
            }
        }
        Ok(status)
    }

    /// Kills it with its group. It is not reaped yet, so nobody else can have its number.
    fn end(&mut self) {
        let _ = rustix::process::kill_process_group(self.number, Signal::KILL);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.end();
            let _ = self.child.wait();
        }
    }
}
