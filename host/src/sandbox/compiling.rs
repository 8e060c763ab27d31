//! A compile worker, the process that compiles one component, and the host's side of it.
//!
//! The host sends a [`Task`] with the component's file and receives a [`Compiled`] with the machine code's file. Version 1 of both.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};

use super::SandboxError;
use super::engine::{self, Kind};
use crate::config;
use crate::worker::channel::{Buffer, Received, Watched};
use crate::worker::confine::{confine, exit_now};
use crate::worker::{
    ChannelError, End, Limits, Process, Program, Role, Share, SpawnError, Spawned,
};

/// Both sides must have the same.
const VERSION: u32 = 1;

/// Maximum machine code of a component, in bytes.
const MACHINE_CODE_BYTES_MAX: u64 = 512 << 20;

/// What to compile for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Task {
    version: u32,
    streams: bool,
    sandbox: String,
    slots: NonZeroUsize,
    confinement: Limits,
}

/// The result. Machine code comes as a file.
#[derive(Debug, Serialize, Deserialize)]
pub enum Compiled {
    Code,
    Refused(String),
}

/// Why a compile worker ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum CompileWorkerError {
    #[error("the connection to the host failed")]
    Channel(#[from] ChannelError),
    #[error("the host sent an unexpected message")]
    Unexpected,
    #[error("the engine could not be set up")]
    Engine(#[from] SandboxError),
    #[error("the component or its code could not be passed on")]
    File(#[from] std::io::Error),
}

impl Task {
    pub(super) fn new(kind: Kind, limits: &config::Sandbox, slots: NonZeroUsize) -> Self {
        Self {
            version: VERSION,
            streams: kind == Kind::Streams,
            // JSON like the settings file: these types serialise units that only a self-describing format can read back.
            sandbox: serde_json::to_string(limits)
                .expect("invariant: settings have string keys only"),
            slots,
            confinement: Limits {
                memory_bytes_max: limits.compile_memory_bytes_max,
                file_bytes_max: MACHINE_CODE_BYTES_MAX,
                cpu_max: Some(
                    limits.compile_timeout.saturating_mul(cores()) + Duration::from_secs(1),
                ),
            },
        }
    }
}

/// Number of compiler threads.
fn cores() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    u32::try_from(cores).unwrap_or(u32::MAX)
}

/// Compiles a component in a process of its own. Dropping the future kills it.
///
/// # Errors
/// [`SandboxError::Compile`] if the compiler rejects it, [`SandboxError::CompilerEnded`] if it ended, for example over its memory limit;
/// [`SandboxError::CompileWorker`].
pub(super) async fn in_worker(
    program: &Program,
    task: Task,
    component: Bytes,
) -> Result<Bytes, SandboxError> {
    let share = Share::new(&task.confinement, 0, cores().into());
    let spawned = Process::spawn(program, Role::Compile, share).await?;
    let Spawned { mut process, work, control } = spawned;
    let file = tokio::task::spawn_blocking(move || in_memory(&component)).await;
    let file = file.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
    let file = file.map_err(SpawnError::Process)?;
    control.send(&task, Some(file.as_fd())).map_err(SpawnError::Channel)?;
    drop(file);
    let work = Watched::new(work).map_err(SpawnError::Channel)?;
    let answer = work.receive::<Compiled>(&mut Buffer::default()).await;
    match answer {
        Ok(Some(Received { message: Compiled::Code, file: Some(file) })) => read_code(file).await,
        Ok(Some(Received { message: Compiled::Refused(reason), file: None })) => {
            Err(SandboxError::Compile(wasmtime::Error::msg(reason)))
        }
        Ok(_) | Err(_) => {
            // Either it has closed its socket, or it sent nonsense and is killed here.
            let status = tokio::time::timeout(Duration::from_millis(100), process.wait()).await;
            let how = match status {
                Ok(Ok(status)) => process.ending(&status),
                Ok(Err(_)) | Err(_) => "a malformed answer".into(),
            };
            Err(SandboxError::CompilerEnded { how })
        }
    }
}

/// Copy the worker's file before looking at it: the worker can still write to it.
async fn read_code(file: OwnedFd) -> Result<Bytes, SandboxError> {
    let read = tokio::task::spawn_blocking(move || {
        let mut file = File::from(file);
        file.rewind()?;
        let mut code = Vec::new();
        file.take(MACHINE_CODE_BYTES_MAX + 1).read_to_end(&mut code)?;
        Ok::<_, std::io::Error>(code)
    });
    let code = read.await.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
    let code = code.map_err(SpawnError::Process)?;
    if code.len() as u64 > MACHINE_CODE_BYTES_MAX {
        let how = format!("more than {MACHINE_CODE_BYTES_MAX} bytes of machine code");
        return Err(SandboxError::CompilerEnded { how });
    }
    Ok(code.into())
}

fn in_memory(bytes: &[u8]) -> std::io::Result<OwnedFd> {
    let mut file = File::from(rustix::fs::memfd_create("component", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

/// Compiles one component: the worker process's work.
///
/// # Errors
/// [`CompileWorkerError`].
pub fn run(work: &End, control: &End) -> Result<(), CompileWorkerError> {
    let mut buffer = Buffer::default();
    let Some(Received { message: task, file: Some(file) }) =
        control.receive::<Task>(&mut buffer)?
    else {
        return Err(CompileWorkerError::Unexpected);
    };
    let limits: config::Sandbox =
        serde_json::from_str(&task.sandbox).map_err(|_| CompileWorkerError::Unexpected)?;
    if task.version != VERSION {
        return Err(CompileWorkerError::Unexpected);
    }
    let kind = if task.streams { Kind::Streams } else { Kind::Calls };
    // The engine inspects the machine, which is possible only before confinement.
    let engine = engine::build(&limits, task.slots, kind)?;
    // The output files: none can be created later, since they take memory that no limit counts.
    let mut code_file = File::from(in_memory(&[])?);
    let keep = [work.as_fd(), control.as_fd(), file.as_fd(), code_file.as_fd()];
    let confinement = confine(task.confinement, &keep);
    for missing in &confinement.missing {
        let _ = writeln!(std::io::stderr(), "confined less than it could be: {missing}");
    }
    end_with_host(control)?;
    let mut component = Vec::new();
    File::from(file).read_to_end(&mut component)?;
    match engine.precompile_component(&component) {
        Ok(code) => {
            code_file.write_all(&code)?;
            work.send(&Compiled::Code, Some(code_file.as_fd()))?;
        }
        Err(error) => {
            let reason: String = format!("{error:#}").chars().take(4000).collect();
            work.send(&Compiled::Refused(reason), None)?;
        }
    }
    Ok(())
}

/// Ends this process when its host has gone. A compilation does not look at its socket until it is done.
///
/// (`PR_SET_PDEATHSIG` follows the *thread* that started this process, and a host's threads come and go.)
fn end_with_host(control: &End) -> Result<(), CompileWorkerError> {
    let control = control.try_clone()?;
    std::thread::Builder::new().name("host".into()).spawn(move || {
        // The host sends nothing more, so end of file means that it has gone.
        control.wait_for_more();
        exit_now()
    })?;
    Ok(())
}
