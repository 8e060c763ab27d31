//! The command line.
//!
//! Decides nothing: each file below is one subcommand, which reads its arguments, calls a library or a host, and returns an answer.
//! Needs no sandbox and no server, so that people who only sign, call or verify get a small program. The commands that run a host or
//! open a data directory (`serve`, `dev`, …) are in the package `hospes`, whose program has both.

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
mod origin;
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
mod verify_lineage;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory as _, Parser, Subcommand};

use client::{Client, HostUrl};
use failure::Failure;
use home::{Home, Identity};
use hospes_core::clock::Clock;
use hospes_core::id::AccountName;
use screen::{Answer, Screen};

/// The `hospes` commands that do not run a host.
///
/// Signs bundles and agreements, calls functions on a host, and verifies receipts without one. To run a host or open its data
/// directory, use `hospes`, which has these commands too.
#[derive(Debug, Parser)]
#[command(name = "hospes-cli", version, after_help = OVERVIEW)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const OVERVIEW: &str = "\
Verify a receipt offline:
  hospes-cli receipt verify call.receipt --host-party did:key:z6Mk… --input picture.png

`hospes-cli help COMMAND` explains each command. Its examples say `hospes`.
Exit codes: 0 success, 1 refused or failed, 2 wrong command line.";

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// Print one JSON document to stdout instead of text.
    #[arg(long, global = true)]
    json: bool,
    /// Act as this key and account. Not needed if there is only one.
    #[arg(
        long = "as",
        global = true,
        env = "HOSPES_AS",
        hide_env_values = true,
        value_name = "NAME"
    )]
    identity: Option<AccountName>,
    /// Directory of keys and accounts [default: ~/.config/hospes].
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

/// A command that does not run a host. Ordered in steps of ten, so that the host's commands fit between them in the help.
#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(display_order = 20)]
    New(new::New),
    #[command(display_order = 50)]
    Keys(keys::Keys),
    #[command(display_order = 60)]
    Account(account::AccountCommand),
    #[command(display_order = 70)]
    Admin(admin::Admin),
    #[command(display_order = 100)]
    Pack(pack::Pack),
    #[command(display_order = 110)]
    Build(build::Build),
    #[command(display_order = 120)]
    Inspect(inspect::Inspect),
    #[command(display_order = 125)]
    VerifyLineage(verify_lineage::VerifyLineage),
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
    /// Runs the command. `tree` makes the command line that it was parsed from, for shell completion.
    ///
    /// # Errors
    /// If the command fails.
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
            Command::VerifyLineage(command) => command.run(),
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

/// A command's surroundings.
pub struct Context {
    /// The output.
    pub screen: Screen,
    /// The time.
    pub clock: Clock,
    /// Keys and accounts.
    pub home: Home,
    /// The identity from `--as`.
    pub identity: Option<AccountName>,
    /// The host to talk to.
    pub host: HostUrl,
}

impl Context {
    /// The identity that the command acts as.
    fn me(&self) -> Result<Identity, Failure> {
        self.home.identity(self.identity.as_ref())
    }

    /// The host, with the identity's API key.
    pub fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(self.host.clone(), Some(self.me()?.account()?.api_key)))
    }

    /// The host, without an API key.
    fn visitor(&self) -> Client {
        Client::new(self.host.clone(), None)
    }
}

/// The commands that only `hospes` has.
const OF_HOSTS: [&str; 10] = [
    "dev", "serve", "doctor", "backup", "restore", "train", "convert", "evaluate", "optimize",
    "runtime",
];

/// Runs this process's command line, for commands that do not run a host.
pub fn main() -> ExitCode {
    let Cli { global, command } = parse(|error| match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(name)) if OF_HOSTS.contains(&name.as_str()) => {
            let text = format!("`{name}` is a command of `hospes`, the program that runs hosts");
            Cli::command().error(ErrorKind::InvalidSubcommand, text)
        }
        _ => error,
    });
    run(global, |context| command.run(context, Cli::command))
}

/// Parses this process's command line. If it asks for help or is wrong, prints what `explain` makes of clap's error, and exits with 0 or 2.
pub fn parse<C: Parser>(explain: impl FnOnce(clap::Error) -> clap::Error) -> C {
    C::try_parse().unwrap_or_else(|error| explain(with_usage(error, &mut C::command())).exit())
}

/// Replaces the usage in an error by the one of the help. In clap's own, options that the environment sets look as if they were required.
fn with_usage(mut error: clap::Error, command: &mut clap::Command) -> clap::Error {
    let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) else { return error };
    let usage = usage.to_string();
    command.build();
    // After `Usage:` and the program's name.
    let words: Vec<&str> = usage.split_whitespace().skip(2).collect();
    let usage = usage_of(command, &words);
    error.insert(ContextKind::Usage, ContextValue::StyledStr(usage));
    error
}

/// The usage of the subcommand that a usage's words begin with.
fn usage_of(command: &mut clap::Command, words: &[&str]) -> StyledStr {
    if let [name, words @ ..] = words
        && let Some(sub) = command.find_subcommand_mut(name)
    {
        return usage_of(sub, words);
    }
    command.render_usage()
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

/// The directory of keys, or `None`. A host runs without one; only commands that need a key ask for it.
fn home_path(wanted: Option<PathBuf>) -> Option<PathBuf> {
    let default = || {
        let user = PathBuf::from(std::env::var_os("HOME").filter(|home| !home.is_empty())?);
        Some(user.join(".config").join("hospes"))
    };
    wanted.or_else(default)
}

#[cfg(test)]
mod tests;
