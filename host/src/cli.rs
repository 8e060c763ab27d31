//! The commands that run a host or open its data directory.
//!
//! Decides nothing: each file below is one subcommand, which reads its arguments, calls the library or a host, and returns an
//! answer. The other commands are in the crate `hospes_cli`; together they are one command line.

mod backup;
mod convert;
mod dev;
mod doctor;
mod evaluate;
mod optimize;
mod restore;
mod runtime;
mod serve;
mod train;
mod worker;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use hospes_cli::failure::Failure;
use hospes_cli::screen::Answer;
use hospes_cli::{Context, Global};

/// Makes the host's asynchronous runtime.
pub type MakeRuntime = fn() -> std::io::Result<tokio::runtime::Runtime>;

/// A serverless host for WebAssembly model plugins, with signed agreements enforced on every call.
///
/// A publisher packs a model into one `.wasm` bundle, signs it and publishes it with an offer. A consumer agrees to the offer
/// and calls the model's functions. The host runs each call in a fresh sandbox, checks the signed agreement on every call, and
/// leaves a receipt that both sides can verify offline.
#[derive(Debug, Parser)]
#[command(name = "hospes", version, after_help = OVERVIEW)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const OVERVIEW: &str = "\
The shortest way to a first call:
  hospes dev iris.onnx

The whole way, one terminal for the host and one for you:
  hospes serve --data ./data
  hospes keys new acme && hospes account new acme --data ./data
  hospes pack iris.onnx --name iris -o iris.wasm && hospes sign iris.wasm --as acme
  hospes publish iris.wasm --as acme
  hospes offer new acme/iris --bundle iris.wasm --function infer --calls 100 --until 30d --as acme
  hospes offer publish iris.offer --as acme
  hospes market

`hospes help COMMAND` explains each command.
Files are overwritten only with `--force`; keys are never overwritten.
Exit codes: 0 success, 1 refused or failed, 2 wrong command line.";

/// The host's commands. Their order numbers fit between those of the crate, which go in steps of ten.
#[derive(Debug, Subcommand)]
enum Command {
    #[command(display_order = 10)]
    Dev(dev::Dev),
    #[command(display_order = 30)]
    Serve(serve::Serve),
    #[command(display_order = 40)]
    Doctor(doctor::Doctor),
    #[command(display_order = 80)]
    Backup(backup::Backup),
    #[command(display_order = 90)]
    Restore(restore::Restore),
    #[command(display_order = 92)]
    Train(train::Train),
    #[command(display_order = 95)]
    Evaluate(Box<evaluate::Evaluate>),
    #[command(display_order = 96)]
    Optimize(optimize::Optimize),
    #[command(display_order = 93)]
    Convert(convert::Convert),
    #[command(display_order = 230)]
    Runtime(runtime::Runtime),
    #[command(hide = true)]
    Worker(worker::Worker),
    #[command(flatten)]
    Other(hospes_cli::Command),
}

/// Runs this process's command line.
pub fn main(make_runtime: MakeRuntime) -> ExitCode {
    let Cli { global, command } = hospes_cli::parse(|error| error);
    if let Command::Worker(worker) = command {
        return worker.run();
    }
    hospes_cli::run(global, |context| dispatch(command, context, make_runtime))
}

fn dispatch(
    command: Command,
    context: &Context,
    make_runtime: MakeRuntime,
) -> Result<Answer, Failure> {
    match command {
        Command::Dev(command) => command.run(context, make_runtime),
        Command::Serve(command) => command.run(context, make_runtime),
        Command::Doctor(command) => command.run(context, make_runtime),
        Command::Optimize(command) => command.run(context, make_runtime),
        Command::Backup(command) => command.run(context),
        Command::Restore(command) => command.run(context),
        Command::Train(command) => command.run(context, make_runtime),
        Command::Convert(command) => command.run(context, make_runtime),
        Command::Runtime(command) => command.run(context),
        Command::Evaluate(command) => command.run(context, make_runtime),
        Command::Worker(_) => Ok(Answer::Nothing), // `main` has run it already
        Command::Other(command) => command.run(context, Cli::command),
    }
}

#[cfg(test)]
mod tests;
