//! Worker processes: this program run again for work whose cost foreign bytes determine, so that it can be killed.
//!
//! A worker starts with two sockets and no environment, files or network. It confines itself before it reads anything foreign
//! ([`confine`]), answers messages ([`channel`]), passes bulk data through shared memory ([`memory`]), gives its libraries files by name ([`files`]), and is killed if it does not end by
//! itself. The starter defines the messages; nothing here knows models or code.

pub mod cgroup;
pub mod channel;
pub mod confine;
pub mod files;
pub mod memory;
mod process;

pub use cgroup::Share;
pub use channel::{ChannelError, End};
pub use confine::{Confinement, Limits};
pub use memory::{MemoryError, SharedMemory};
pub use process::{Process, SpawnError, Spawned};

use std::fmt;
use std::path::PathBuf;

/// A worker's purpose: the word on its command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Loads and computes models.
    Inference,
    /// Computes one decoder model.
    Language,
    /// Compiles one component.
    Compile,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Inference => "inference",
            Role::Language => "language",
            Role::Compile => "compile",
        })
    }
}

/// The program that workers run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Program {
    /// This program, even if its file has been replaced since it started.
    #[default]
    Own,
    /// Another file of the same version, for hosts embedded in another program.
    File(PathBuf),
}

impl From<Option<PathBuf>> for Program {
    fn from(file: Option<PathBuf>) -> Self {
        file.map_or(Program::Own, Program::File)
    }
}
