//! The `hospes-cli` binary: the `hospes` commands that do not run a host.

use std::process::ExitCode;

fn main() -> ExitCode {
    hospes_cli::main()
}
