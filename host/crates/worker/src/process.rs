//! The host's side of a worker: a process with two sockets, killed when dropped.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, PidfdFlags, WaitOptions, waitpid};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::net::unix::pipe;

use super::cgroup::{Group, Share};
use super::channel::{ChannelError, End};
use super::{Program, Role};
use hospes_confine::ending;
use hospes_telemetry::{FOREIGN_LINE_BYTES_MAX, Source};

/// Maximum bytes of output taken as one line.
const LINE_BYTES_MAX: u64 = 2 * FOREIGN_LINE_BYTES_MAX as u64;

/// Why a worker did not start.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error("a worker process could not be started")]
    Process(#[source] io::Error),
    #[error("a worker's sockets could not be made")]
    Channel(#[from] ChannelError),
}

/// A worker process.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Readable when it has ended (`pidfd_open(2)`).
    ended: AsyncFd<OwnedFd>,
    lines: Source,
    /// OOM kills on the machine when this process began.
    ended_for_memory: Option<u64>,
    /// Its own group, where the host makes groups. Dropped after the process.
    group: Option<Group>,
}

/// A new worker and the host's ends of its two sockets: one for work, one for control.
#[derive(Debug)]
pub struct Spawned {
    pub process: Process,
    pub work: End,
    pub control: End,
}

impl Process {
    /// Starts a worker, in a control group with this share where the host makes groups. Its sockets are its standard input and output,
    /// where it waits for its setup, so it is in its group before anything foreign arrives.
    ///
    /// On a blocking thread: the kernel may take tens of milliseconds to move a process into a group. Dropping the future kills the worker.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub async fn spawn(program: &Program, role: Role, share: Share) -> Result<Spawned, SpawnError> {
        let program = program.clone();
        let started = tokio::task::spawn_blocking(move || Self::start(&program, role, share)).await;
        started.unwrap_or_else(|panic| Err(SpawnError::Process(io::Error::other(panic))))
    }

    fn start(program: &Program, role: Role, share: Share) -> Result<Spawned, SpawnError> {
        let (work, its_work) = End::pair()?;
        let (control, its_control) = End::pair()?;
        let file = match program {
            Program::Own => OsString::from("/proc/self/exe"),
            Program::File(path) => path.clone().into_os_string(),
        };
        // First: the place for groups is determined while this process is alone.
        let group = Group::of_host(share);
        let mut child = Command::new(file)
            .arg("worker")
            .arg(role.to_string())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(its_work)))
            .stdout(Stdio::from(OwnedFd::from(its_control)))
            .stderr(Stdio::piped())
            // What a shell or a terminal sends to the host's group is for the host alone: it lets running calls finish.
            .process_group(0)
            .spawn()
            .map_err(SpawnError::Process)?;
        let lines = child.stderr.take().map(OwnedFd::from);
        // From here on dropping it kills the process.
        let source = Source::new(&format!("worker for {role}"));
        let ended_for_memory = ended_for_memory();
        let mut process = Self {
            ended: watch(&child)?,
            child,
            lines: source.clone(),
            ended_for_memory,
            group: None,
        };
        match group.and_then(|group| with(group, process.id())) {
            Ok(group) => process.group = group,
            // Its own limits hold anyway.
            Err(why) => {
                tracing::warn!(%role, process = process.id(), %why, "a worker has no control group");
            }
        }
        if let Some(lines) = lines {
            let lines = pipe::Receiver::from_owned_fd(lines).map_err(SpawnError::Process)?;
            tokio::spawn(pass_on(source, lines));
        }
        Ok(Spawned { process, work, control })
    }

    /// The process ID.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its identity in the log.
    pub fn lines(&self) -> &Source {
        &self.lines
    }

    /// Whether somebody other than host and kernel killed it, such as an operator: then nothing that it did is to blame.
    pub fn was_killed_from_outside(&self, status: &ExitStatus) -> bool {
        use std::os::unix::process::ExitStatusExt as _;
        status.signal() == Some(libc::SIGKILL) && self.was_ended_for_memory() == Some(false)
    }

    /// Whether the kernel killed it for lack of memory. Its group tells, or else the machine's counter, which may count another process.
    /// `None` if neither is available.
    fn was_ended_for_memory(&self) -> Option<bool> {
        if let Some(ended) = self.group.as_ref().and_then(Group::ended_for_memory) {
            return Some(ended > 0);
        }
        self.ended_for_memory.map(|before| ended_for_memory() != Some(before))
    }

    /// How it ended, as text.
    pub fn ending(&self, status: &ExitStatus) -> String {
        use std::os::unix::process::ExitStatusExt as _;
        let ended = self.group.as_ref().and_then(Group::ended_for_memory);
        if status.signal() == Some(libc::SIGKILL) && ended.is_some_and(|ended| ended > 0) {
            return "being killed by the kernel for lack of memory (SIGKILL)".into();
        }
        ending(status)
    }

    /// Kills it now.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
    }

    /// Waits for its end. Cancel-safe.
    ///
    /// # Errors
    /// As of `waitpid`.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            let mut ended = self.ended.readable().await?;
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ended.clear_ready();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        self.kill();
        let Ok(number) = number(&self.child) else { return };
        let remains = Remains { number, _group: self.group.take() };
        // A large one takes the kernel a while, so no serving thread waits for it. A runtime that is shutting down accepts no more work and
        // drops it.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(remains))),
            Err(_none) => drop(remains),
        }
    }
}

/// A killed process that must be reaped.
struct Remains {
    number: Pid,
    /// Dropped after the process.
    _group: Option<Group>,
}

impl Drop for Remains {
    fn drop(&mut self) {
        // SIGKILL cannot be deferred, so this waits only for the kernel and leaves no zombie. It is still our child, because nobody else
        // waits for it: its ID cannot have been reused.
        let wait = || waitpid(Some(self.number), WaitOptions::empty());
        let _ = rustix::io::retry_on_intr(wait);
    }
}

fn number(child: &Child) -> Result<Pid, SpawnError> {
    let number = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    number.ok_or_else(|| SpawnError::Process(io::ErrorKind::InvalidData.into()))
}

fn watch(child: &Child) -> Result<AsyncFd<OwnedFd>, SpawnError> {
    let file = rustix::process::pidfd_open(number(child)?, PidfdFlags::NONBLOCK);
    let file = file.map_err(|error| SpawnError::Process(error.into()))?;
    // SAFETY: an `OwnedFd` stays open as long as it lives, and nothing removes it from the `AsyncFd`.
    #[expect(unsafe_code, reason = "that the file stays open is for the caller to know")]
    let watched = unsafe { AsyncFd::register(file) };
    watched.map_err(|_| SpawnError::Process(io::ErrorKind::OutOfMemory.into()))
}

/// The group, with the process in it.
fn with(group: Option<Group>, process: u32) -> Result<Option<Group>, String> {
    group.as_ref().map_or(Ok(()), |group| group.add(process))?;
    Ok(group)
}

/// OOM kills since boot (`oom_kill` in `/proc/vmstat`); `None` if unknown.
fn ended_for_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/vmstat").ok()?;
    let mut counts = text.lines().filter_map(|line| line.strip_prefix("oom_kill "));
    counts.next()?.parse().ok()
}

/// Native libraries write anywhere: this turns it into lines of the host's log.
async fn pass_on(source: Source, lines: impl AsyncRead + Unpin) {
    let mut lines = BufReader::new(lines);
    loop {
        let mut line = Vec::new();
        match (&mut lines).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            // Excess is dropped but still read: a full pipe would block the worker.
            Ok(_) => source.line(&String::from_utf8_lossy(&line)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::Limits;

    /// Fills its standard output and then waits.
    fn program() -> Program {
        Program::File(PathBuf::from("/usr/bin/yes"))
    }

    async fn spawned() -> Spawned {
        let limits = Limits { memory_bytes_max: 1 << 30, file_bytes_max: 0, cpu_max: None };
        let share = Share::new(&limits, 0, 1);
        Process::spawn(&program(), Role::Compile, share).await.expect("it starts")
    }

    fn is_there(process: u32) -> bool {
        Path::new(&format!("/proc/{process}")).exists()
    }

    #[tokio::test]
    async fn a_process_that_is_dropped_is_ended_and_leaves_nothing() {
        let Spawned { process, work: _work, control: _control } = spawned().await;
        let number = process.id();
        assert!(is_there(number));
        drop(process);
        let began = Instant::now();
        // It would still exist as a zombie.
        while is_there(number) {
            assert!(began.elapsed() < Duration::from_secs(30), "nobody has waited for it");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[test]
    fn the_same_where_nothing_runs_any_more() {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let Spawned { process, work: _work, control: _control } = runtime.block_on(spawned());
        let number = process.id();
        runtime.shutdown_background();
        drop(process);
        assert!(!is_there(number), "it was waited for");
    }

    #[tokio::test]
    async fn one_that_has_ended_is_waited_for_once() {
        let Spawned { mut process, work, control } = spawned().await;
        drop((work, control));
        let number = process.id();
        process.kill();
        process.wait().await.expect("a child");
        assert!(!is_there(number));
        drop(process);
    }
}
