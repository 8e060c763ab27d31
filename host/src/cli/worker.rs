//! `hospes worker`: the host's worker process. Not for people.

use std::io::{stderr, stdin, stdout};
use std::os::fd::AsFd as _;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::inference;
use crate::sandbox;
use crate::worker::{End, confine};

/// Do the work whose cost foreign bytes decide, for the host that started this process.
#[derive(Debug, Args)]
pub struct Worker {
    role: Role,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Role {
    Inference,
    Language,
    Compile,
}

impl Worker {
    /// Works until the host closes the connection.
    pub fn run(self) -> ExitCode {
        let ends = (stdin().as_fd().try_clone_to_owned(), stdout().as_fd().try_clone_to_owned());
        let (Ok(work), Ok(control)) = ends else { return ExitCode::FAILURE };
        let (work, control) = (End::from(work), End::from(control));
        let done = match self.role {
            Role::Inference => inference::worker::run(work, control).map_err(text),
            Role::Language => inference::language::worker::run(work, &control).map_err(text),
            Role::Compile => sandbox::compiling::run(&work, &control).map_err(text),
        };
        match done {
            Ok(()) => confine::exit_now(),
            Err(error) => {
                // Its standard error is the host's log.
                let _ = std::io::Write::write_all(&mut stderr(), format!("{error}\n").as_bytes());
                ExitCode::FAILURE
            }
        }
    }
}

fn text(error: impl std::error::Error) -> String {
    error.to_string()
}
