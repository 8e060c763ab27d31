//! The command line: what people type, and what they read back.
//!
//! Decides nothing: each file below is one subcommand, which reads its arguments, calls the library or a host, and returns an
//! answer. Together with `main` it is the only place that looks at the environment.

mod account;
mod admin;
mod agree;
mod agreement;
mod backup;
mod build;
mod bulk;
mod call;
mod client;
mod completions;
mod consistency;
mod dev;
mod doctor;
mod document;
mod event;
mod failure;
mod home;
mod inspect;
mod keys;
mod market;
mod negotiation;
mod new;
mod offer;
mod operator;
mod pack;
mod problem;
mod profile;
mod publish;
mod quantities;
mod receipt;
mod restore;
mod runtime;
mod screen;
mod serve;
mod shell;
mod sign;
mod simulate;
mod verify;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::clock::Clock;
use crate::id::AccountName;
use client::{Client, HostUrl};
use failure::Failure;
use home::{Home, Identity};
use screen::{Answer, Screen};

/// Makes the asynchronous runtime that the host runs on.
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

Each command explains itself: `hospes help COMMAND`.
A file that exists is overwritten only with `--force`; keys are never overwritten.
Exit codes: 0 done, 1 refused or failed, 2 wrong command line.";

/// What every command understands.
#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
struct Global {
    /// Print one JSON document to stdout instead of text.
    #[arg(long, global = true)]
    json: bool,
    /// Act as this key and account. Not needed where there is only one.
    #[arg(
        long = "as",
        global = true,
        env = "HOSPES_AS",
        hide_env_values = true,
        value_name = "NAME"
    )]
    identity: Option<AccountName>,
    /// Where keys and accounts are kept [default: ~/.config/hospes].
    #[arg(long, global = true, env = "HOSPES_HOME", hide_env_values = true, value_name = "DIR")]
    home: Option<PathBuf>,
    /// The host to talk to.
    #[arg(
        long,
        global = true,
        env = "HOSPES_HOST",
        hide_env_values = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:8080"
    )]
    host: HostUrl,
}

#[derive(Debug, Subcommand)]
enum Command {
    Dev(dev::Dev),
    New(new::New),
    Serve(serve::Serve),
    Doctor(doctor::Doctor),
    Keys(keys::Keys),
    Account(account::Account),
    Admin(admin::Admin),
    Backup(backup::Backup),
    Restore(restore::Restore),
    Pack(pack::Pack),
    Build(build::Build),
    Inspect(inspect::Inspect),
    Sign(sign::Sign),
    Publish(publish::Publish),
    Offer(offer::Offer),
    Market(market::Market),
    Agree(agree::Agree),
    Agreement(agreement::Agreement),
    Negotiation(negotiation::Negotiations),
    Call(call::Call),
    Receipt(receipt::Receipt),
    Profile(profile::Profile),
    Runtime(runtime::Runtime),
    Completions(completions::Completions),
    #[command(hide = true)]
    Worker(worker::Worker),
}

/// What a command works with.
struct Context {
    screen: Screen,
    clock: Clock,
    home: Home,
    identity: Option<AccountName>,
    host: HostUrl,
    make_runtime: MakeRuntime,
}

impl Context {
    /// Whom the command acts as.
    fn me(&self) -> Result<Identity, Failure> {
        self.home.identity(self.identity.as_ref())
    }

    /// The host, with the API key of whom the command acts as.
    fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(self.host.clone(), Some(self.me()?.account()?.api_key)))
    }

    /// The host as anybody sees it.
    fn visitor(&self) -> Client {
        Client::new(self.host.clone(), None)
    }
}

/// Runs the command line of this process.
pub fn main(make_runtime: MakeRuntime) -> ExitCode {
    // clap prints help and wrong usage by itself, and exits with 0 or 2.
    let cli = Cli::parse();
    if let Command::Worker(worker) = cli.command {
        return worker.run();
    }
    let screen = Screen::new(cli.global.json);
    match run(cli, screen, make_runtime) {
        Ok(code) => code,
        Err(failure) => {
            screen.failure(&failure);
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli, screen: Screen, make_runtime: MakeRuntime) -> Result<ExitCode, Failure> {
    let context = Context {
        screen,
        clock: Clock::System,
        home: Home::at(home_path(cli.global.home)),
        identity: cli.global.identity,
        host: cli.global.host,
        make_runtime,
    };
    let answer = dispatch(cli.command, &context)?;
    screen.answer(&answer)?;
    Ok(match answer {
        Answer::Text { .. } | Answer::Bytes(_) | Answer::Nothing => ExitCode::SUCCESS,
        Answer::Refused { .. } => ExitCode::FAILURE,
    })
}

fn dispatch(command: Command, context: &Context) -> Result<Answer, Failure> {
    match command {
        Command::Dev(command) => command.run(context),
        Command::New(command) => command.run(),
        Command::Serve(command) => command.run(context),
        Command::Doctor(command) => command.run(context),
        Command::Keys(command) => command.run(context),
        Command::Account(command) => command.run(context),
        Command::Admin(command) => command.run(context),
        Command::Backup(command) => command.run(context),
        Command::Restore(command) => command.run(context),
        Command::Pack(command) => command.run(context),
        Command::Build(command) => command.run(context),
        Command::Inspect(command) => command.run(),
        Command::Sign(command) => command.run(context),
        Command::Publish(command) => command.run(context),
        Command::Offer(command) => command.run(context),
        Command::Market(command) => command.run(context),
        Command::Agree(command) => command.run(context),
        Command::Agreement(command) => command.run(context),
        Command::Negotiation(command) => command.run(context),
        Command::Call(command) => command.run(context),
        Command::Receipt(command) => command.run(context),
        Command::Profile(command) => command.run(),
        Command::Runtime(command) => command.run(context),
        Command::Completions(command) => Ok(command.run(&mut Cli::command())),
        Command::Worker(_) => Ok(Answer::Nothing), // `main` has run it already
    }
}

/// Where keys are kept; none if nothing says so. Only commands that need a key ask for it: a host runs without.
fn home_path(wanted: Option<PathBuf>) -> Option<PathBuf> {
    let default = || {
        let user = PathBuf::from(std::env::var_os("HOME").filter(|home| !home.is_empty())?);
        Some(user.join(".config").join("hospes"))
    };
    wanted.or_else(default)
}

#[cfg(test)]
mod tests;
