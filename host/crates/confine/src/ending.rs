//! How a process ended, as people read it.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

/// How a process ended, as text that follows "ended with".
pub fn ending(status: &ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(libc::SIGFPE), _) => "invalid arithmetic (SIGFPE)".into(),
        (Some(libc::SIGSEGV), _) => "an invalid memory access (SIGSEGV)".into(),
        (Some(libc::SIGBUS), _) => "an invalid memory access (SIGBUS)".into(),
        (Some(libc::SIGILL), _) => "an unknown instruction (SIGILL)".into(),
        (Some(libc::SIGABRT), _) => "its own abort, as when memory runs out (SIGABRT)".into(),
        (Some(libc::SIGXFSZ), _) => "a file beyond its size limit (SIGXFSZ)".into(),
        (Some(libc::SIGKILL), _) => "being killed (SIGKILL)".into(),
        (Some(signal), _) => format!("signal {signal}"),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => "an unknown cause".into(),
    }
}
