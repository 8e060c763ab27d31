//! The `hospes` binary: an allocator and the command line.

use std::process::ExitCode;

// Calls allocate and free small things on many threads at once, which the system allocator serves worse.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    hospes::cli::main(|| hospes::start::runtime(None))
}
