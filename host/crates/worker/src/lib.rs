//! Worker processes: this program, run again to do what foreign bytes choose the cost of, where it can be ended.
//!
//! A worker starts with two sockets and nothing else: no environment, no files, no network. It confines itself before it reads
//! anything foreign ([`confine`]), answers messages ([`channel`]), passes bulk data through shared memory ([`memory`]), and is
//! killed when it does not end by itself. What is in the messages is for whoever starts it; nothing here knows of models or code.

pub mod cgroup;
pub mod channel;
pub mod confine;
pub mod memory;
mod process;

pub use cgroup::Share;
pub use channel::{ChannelError, End};
pub use confine::{Confinement, Limits};
pub use memory::{MemoryError, SharedMemory};
pub use process::{Process, SpawnError, Spawned};

use std::fmt;
use std::path::PathBuf;

/// What a worker is for: the word on its command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Loads and computes models.
    Inference,
    /// Compiles one component.
    Compile,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Inference => "inference",
            Role::Compile => "compile",
        })
    }
}

/// The program that workers run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Program {
    /// This one, also when its file was replaced since it started.
    #[default]
    Own,
    /// Another file of the same version: for hosts that run inside another program.
    File(PathBuf),
}

impl From<Option<PathBuf>> for Program {
    fn from(file: Option<PathBuf>) -> Self {
        file.map_or(Program::Own, Program::File)
    }
}
