//! Why a program was not run confined.

use std::io;
use std::path::PathBuf;

/// Why a program was not run confined.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    #[error(
        "this machine does not let a program have namespaces of its own (`{step}`); enable them (Debian: \
         `sysctl kernel.unprivileged_userns_clone=1`, Ubuntu: `sysctl kernel.apparmor_restrict_unprivileged_userns=0`, \
         `user.max_user_namespaces` above 0, in a container `--security-opt seccomp=unconfined`), or run it on a \
         machine that has them, or pass `--unconfined` if you trust the program as yourself"
    )]
    Namespaces {
        step: &'static str,
        #[source]
        source: io::Error,
    },
    #[error(
        "this kernel cannot keep a program from files: {0}; Linux 6.2 or newer with `landlock` in \
         `/sys/kernel/security/lsm` can, or pass `--unconfined` if you trust the program as yourself"
    )]
    Landlock(String),
    #[error(
        "the confinement could not be set up: `{step}` failed; this is a fault of the machine, so look into its log"
    )]
    Setup {
        step: &'static str,
        #[source]
        source: io::Error,
    },
    #[error(
        "the filter of system calls could not be made: {0}; pass `--unconfined` if you trust the program as yourself"
    )]
    Filter(String),
    #[error("`{}` cannot be handed to the program; check the path and its permissions", path.display())]
    Path {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` cannot be run; check that it is there and executable", program.display())]
    Program {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the running program cannot be watched, so it was ended; try again")]
    Watch(#[source] io::Error),
}
