//! Limits that a program has from the kernel. See setrlimit(2).

use std::time::Duration;

use rustix::process::{Resource, Rlimit};

/// A program's limits. Each process that it starts has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Address space in bytes. Libraries map much more than they use.
    pub memory_bytes_max: u64,
    /// Processor time.
    pub cpu_max: Duration,
    /// Processes and threads.
    pub processes_max: u64,
    /// Open files of a process.
    pub files_max: u64,
    /// Bytes of a written file.
    pub file_bytes_max: u64,
    /// Added to its nice value: what serves comes first.
    pub nice: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes_max: 16 << 30,
            cpu_max: Duration::from_secs(600),
            processes_max: 256,
            files_max: 512,
            file_bytes_max: 4 << 30,
            nice: 10,
        }
    }
}

impl Limits {
    pub(crate) fn table(&self) -> [(Resource, u64); 6] {
        [
            (Resource::Core, 0),
            (Resource::As, self.memory_bytes_max),
            (Resource::Cpu, self.cpu_max.as_secs().max(1)),
            (Resource::Nproc, self.processes_max),
            (Resource::Nofile, self.files_max),
            (Resource::Fsize, self.file_bytes_max),
        ]
    }
}

/// Sets the soft and the hard limit of this process.
///
/// # Errors
/// The kernel's, such as for a limit above the hard one.
pub fn set_limit(resource: Resource, most: u64) -> rustix::io::Result<()> {
    let wanted = Rlimit { current: Some(most), maximum: Some(most) };
    rustix::process::setrlimit(resource, wanted)
}

/// The same, but not above the hard limit that the process has already.
pub(crate) fn lower_limit(resource: Resource, most: u64) -> rustix::io::Result<()> {
    let hard = rustix::process::getrlimit(resource).maximum;
    set_limit(resource, hard.map_or(most, |hard| hard.min(most)))
}
