//! Runs a foreign program: a trainer's script, an exporter, whatever a pickle makes of it.
//!
//! [`Confined`] starts it in user, mount, network, IPC, host name and process namespaces of its own. Landlock lets it read the files that
//! the caller lists, and write in one folder. All other files are mounted read-only, so their permissions and times stay too. The program
//! has no standard input, no privileges, no Unix sockets, and no environment but what the caller gives. Its memory, time, processes and
//! files are limited. It ends with every process that it started: when it returns, at its deadline, or when the caller dies. Each layer is
//! there in case another has a hole. What the kernel lacks is an error with its fix, unless the caller asks for [`Confinement::None`].
//!
//! [`left`] reads and removes what a program left. [`landlock`] and [`ending()`] serve the host's own workers too. This crate knows neither
//! models nor Python.
//!
//! What would surprise: limits of memory and processor time hold for each process, not for all together. The limit on processes does not bind a
//! program that `root` starts. Only the deadline bounds them all. A confined Python is started by its dynamic loader.

mod ending;
mod error;
mod filter;
mod kernel;
pub mod landlock;
pub mod left;
mod limits;
mod loader;
mod run;

pub use ending::ending;
pub use error::ConfineError;
pub use limits::{Limits, set_limit};
pub use run::{Ended, Stream, attempt};

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Whether a program is kept from the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Confinement {
    /// Its own namespaces, Landlock and a filter of system calls. It does not start without them.
    #[default]
    Full,
    /// It may do what the caller may. The limits, the empty environment and the deadline stay.
    None,
}

/// A program that is about to run confined.
#[derive(Debug, Clone)]
pub struct Confined {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    readable: Vec<PathBuf>,
    writable: PathBuf,
    limits: Limits,
    deadline: Duration,
    confinement: Confinement,
}

/// What programs need of the system to start at all: programs, libraries, and how many processors there are. Neither `/proc/self`, which would be
/// the caller's, nor accounts, keys or settings.
const SYSTEM: [&str; 14] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
];

impl Confined {
    /// This program, which may write in this folder only. The folder is its working directory, its `HOME` and its `TMPDIR`.
    pub fn new(program: impl Into<PathBuf>, writable: impl Into<PathBuf>) -> Self {
        let writable = writable.into();
        let given = |name: &str, value: &OsStr| (OsString::from(name), value.to_owned());
        let environment = vec![
            given("HOME", writable.as_os_str()),
            given("TMPDIR", writable.as_os_str()),
            given("PATH", "/usr/bin:/bin".as_ref()),
            // There is no list of accounts to look it up in.
            given("USER", "nobody".as_ref()),
        ];
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment,
            readable: Vec::new(),
            writable,
            limits: Limits::default(),
            deadline: Duration::from_secs(600),
            confinement: Confinement::Full,
        }
    }

    /// With this argument.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// With this variable in its environment. The last value of a name counts.
    #[must_use]
    pub fn variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// It may read this file, or everything below this folder, and run programs there. It must exist.
    #[must_use]
    pub fn reading(mut self, path: impl Into<PathBuf>) -> Self {
        self.readable.push(path.into());
        self
    }

    /// It may read the system's programs and libraries, as far as this machine has them.
    #[must_use]
    pub fn reading_system(mut self) -> Self {
        let there = SYSTEM.iter().map(Path::new).filter(|path| path.exists());
        self.readable.extend(there.map(Path::to_owned));
        self
    }

    /// It may also read what a Python needs: the libraries of its environment, and of the Python which that was made from. Nothing
    /// else that lies there, since `~/bin/python` lies in somebody's home.
    #[must_use]
    pub fn reading_python(mut self, interpreter: &Path) -> Self {
        let real = std::fs::canonicalize(interpreter).ok();
        for path in [Some(interpreter.to_owned()), real].into_iter().flatten() {
            let folder = path.parent().filter(|folder| folder.ends_with("bin"));
            let Some(prefix) = folder.and_then(Path::parent) else { continue };
            let parts = ["lib", "lib64", "pyvenv.cfg"].map(|part| prefix.join(part));
            self.readable.extend(parts.into_iter().filter(|part| part.exists()));
            self.readable.push(path);
        }
        self
    }

    /// Within these limits.
    #[must_use]
    pub fn within(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// For at most this long (10 minutes unless said).
    #[must_use]
    pub fn at_most(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Confined in this way.
    #[must_use]
    pub fn confined(mut self, confinement: Confinement) -> Self {
        self.confinement = confinement;
        self
    }
}
