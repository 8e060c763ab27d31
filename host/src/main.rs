//! The `hospes` binary: an allocator, a runtime for the commands that need one, and the command line.

use std::process::ExitCode;

// Calls allocate and free small things on many threads at once, which the system allocator serves worse.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    hospes::cli::main(runtime)
}

/// The runtime that a host serves on: a worker thread a core.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().thread_name("hospes").enable_all().build()
}
