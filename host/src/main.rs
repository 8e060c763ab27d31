//! The `hospes` binary: an allocator and the command line.

use std::process::ExitCode;

// Calls make many small allocations on many threads, which the system allocator handles more slowly.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    hospes::cli::main(|| hospes::start::runtime(None))
}
