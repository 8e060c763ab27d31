//! The command line: what people type, and what they read back.
//!
//! Decides nothing: each file below is one subcommand, which reads its arguments, calls a library or a host, and returns an answer. It
//! needs no sandbox and no server, so that who only signs, calls or verifies has a small program. The host's own commands (`serve`, `dev`,
//! what works on a data directory) are in the package `hospes`, whose program has both.

pub mod account;
pub mod admin;
mod agree;
pub mod agreement;
mod build;
mod bulk;
mod call;
pub mod client;
mod completions;
mod consistency;
pub mod document;
mod event;
pub mod failure;
pub mod home;
mod inspect;
mod keys;
mod market;
mod negotiation;
mod new;
pub mod offer;
pub mod operator;
pub mod pack;
pub mod problem;
mod profile;
pub mod publish;
mod quantities;
mod receipt;
pub mod screen;
pub mod shell;
mod sign;
mod simulate;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use client::{Client, HostUrl};
use failure::Failure;
use home::{Home, Identity};
use hospes_core::clock::Clock;
use hospes_core::id::AccountName;
use screen::{Answer, Screen};

/// The commands of `hospes` that need no host of their own.
///
/// Signs bundles and agreements, calls functions on a host, and verifies receipts without one. To run a host, or to work on its data
/// directory, there is `hospes`, which has these commands too.
#[derive(Debug, Parser)]
#[command(name = "hospes-cli", version, after_help = OVERVIEW)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const OVERVIEW: &str = "\
Whether a receipt is genuine, without asking anybody:
  hospes-cli receipt verify call.receipt --host-party did:key:z6Mk… --input picture.png

Each command explains itself: `hospes-cli help COMMAND`. Examples are written for `hospes`.
Exit codes: 0 done, 1 refused or failed, 2 wrong command line.";

/// What every command understands.
#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
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

/// A command that needs no host of its own. In steps of ten, so that those of the host come between them in the help.
#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(display_order = 20)]
    New(new::New),
    #[command(display_order = 50)]
    Keys(keys::Keys),
    #[command(display_order = 60)]
    Account(account::Account),
    #[command(display_order = 70)]
    Admin(admin::Admin),
    #[command(display_order = 100)]
    Pack(pack::Pack),
    #[command(display_order = 110)]
    Build(build::Build),
    #[command(display_order = 120)]
    Inspect(inspect::Inspect),
    #[command(display_order = 130)]
    Sign(sign::Sign),
    #[command(display_order = 140)]
    Publish(publish::Publish),
    #[command(display_order = 150)]
    Offer(offer::Offer),
    #[command(display_order = 160)]
    Market(market::Market),
    #[command(display_order = 170)]
    Agree(agree::Agree),
    #[command(display_order = 180)]
    Agreement(agreement::Agreement),
    #[command(display_order = 190)]
    Negotiation(negotiation::Negotiations),
    #[command(display_order = 200)]
    Call(call::Call),
    #[command(display_order = 210)]
    Receipt(receipt::Receipt),
    #[command(display_order = 220)]
    Profile(profile::Profile),
    #[command(display_order = 240)]
    Completions(completions::Completions),
}

impl Command {
    /// Does what the command says. `tree` makes the command line that it was read from, which shells complete.
    ///
    /// # Errors
    /// What the command could not do.
    pub fn run(
        self,
        context: &Context,
        tree: impl FnOnce() -> clap::Command,
    ) -> Result<Answer, Failure> {
        match self {
            Command::New(command) => command.run(),
            Command::Keys(command) => command.run(context),
            Command::Account(command) => command.run(context),
            Command::Admin(command) => command.run(context),
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
            Command::Completions(command) => Ok(command.run(&mut tree())),
        }
    }
}

/// What a command works with.
pub struct Context {
    /// Where its answer goes.
    pub screen: Screen,
    /// The time.
    pub clock: Clock,
    /// Where keys and accounts are kept.
    pub home: Home,
    /// Whom it was told to act as.
    pub identity: Option<AccountName>,
    /// The host that it talks to.
    pub host: HostUrl,
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

/// Runs the command line of this process, as far as it needs no host of its own.
pub fn main() -> ExitCode {
    // clap prints help and wrong usage by itself, and exits with 0 or 2.
    let Cli { global, command } = Cli::parse();
    run(global, |context| command.run(context, Cli::command))
}

/// Runs a command, and prints what it answers or why it failed.
pub fn run(global: Global, command: impl FnOnce(&Context) -> Result<Answer, Failure>) -> ExitCode {
    let screen = Screen::new(global.json);
    let context = Context {
        screen,
        clock: Clock::System,
        home: Home::at(home_path(global.home)),
        identity: global.identity,
        host: global.host,
    };
    let answered = command(&context).and_then(|answer| screen.answer(&answer).map(|()| answer));
    match answered {
        Ok(Answer::Text { .. } | Answer::Bytes(_) | Answer::Nothing) => ExitCode::SUCCESS,
        Ok(Answer::Refused { .. }) => ExitCode::FAILURE,
        Err(failure) => {
            screen.failure(&failure);
            ExitCode::FAILURE
        }
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
