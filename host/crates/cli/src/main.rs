//! The `hospes-cli` binary: the commands of `hospes` that need no host of their own.

use std::process::ExitCode;

fn main() -> ExitCode {
    hospes_cli::main()
}
