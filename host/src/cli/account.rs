//! `hospes account`: an account on a host, opened through the operator's listener.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;

use super::Context;
use super::client::{Client, HostUrl, Payload, Post};
use super::failure::Failure;
use super::home;
use super::screen::{Answer, printable};
use crate::id::{AccountName, Party};

/// Longest operator's token, in bytes.
const TOKEN_BYTES_MAX: u64 = 4096;

/// Open an account on a host.
///
/// An account ties a name on the host to your key, and gives you an API key for its routes. Only the host's operator can open
/// one: the request goes to the operator's listener (loopback by default) and shows the operator's token, which the host keeps
/// as `operator.token` in its data directory. The API key is printed once and kept in `<home>/accounts`, for you only.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes account new acme --data ./data\n\n  \
    Opening it again makes another API key for the same account and key pair.")]
pub struct Account {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Open an account, or make another API key for it.
    New(New),
}

#[derive(Debug, Args)]
struct New {
    /// The account's name on the host; your models will be `NAME/model`.
    name: AccountName,
    /// The key that signs for the account [default: the key of the same name].
    #[arg(long, value_name = "KEY")]
    key: Option<AccountName>,
    #[command(flatten)]
    operator: Operator,
}

/// How to reach the operator's listener of a host.
#[derive(Debug, Args)]
pub(super) struct Operator {
    /// The operator's listener.
    #[arg(
        long,
        env = "HOSPES_OPERATOR",
        hide_env_values = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:8081"
    )]
    operator: HostUrl,
    #[command(flatten)]
    token: Token,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Token {
    /// A file with the operator's token.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The host's data directory, which holds the operator's token.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// The host's answer to `POST /accounts`.
#[derive(Deserialize)]
struct Opened {
    name: AccountName,
    party: Party,
    key: String,
}

impl Account {
    pub fn run(self, context: &Context) -> Result<Answer, Failure> {
        match self.action {
            Action::New(new) => new.run(context),
        }
    }
}

impl New {
    fn run(self, context: &Context) -> Result<Answer, Failure> {
        let key_name = self.key.unwrap_or_else(|| self.name.clone());
        let party = context.home.key(&key_name)?.party();
        let client = self.operator.client()?;
        let body = json!({"name": self.name, "party": party}).to_string().into_bytes();
        let post = Post {
            content_type: "application/json",
            headers: Vec::new(),
            body: Payload::Bytes(body),
        };
        let (_, opened): (_, Opened) = client.post("/accounts", post)?.document()?;
        if opened.name != self.name || opened.party != party {
            return Err(Failure::new("the host opened another account than the one asked for"));
        }
        let account = home::Account {
            name: opened.name,
            key: key_name,
            party,
            former: Vec::new(),
            api_key: opened.key,
        };
        let path = context.home.keep_account(&account)?;
        let plain = format!(
            "opened account `{}`\n  party    {party}\n  API key  {}\n  kept in  {}\nthe API key is shown this once",
            account.name,
            printable(&account.api_key),
            path.display()
        );
        let json = json!({
            "name": account.name, "party": party, "key": account.api_key, "file": path,
        });
        Ok(Answer::new(plain, json))
    }
}

impl Operator {
    /// The host as its operator sees it.
    pub(super) fn client(self) -> Result<Client, Failure> {
        Ok(Client::operator(self.operator, self.token.read()?))
    }
}

impl Token {
    fn read(&self) -> Result<String, Failure> {
        match (&self.token_file, &self.data) {
            (Some(file), _) => read_token(file),
            (None, Some(data)) => read_token(&data.join("operator.token")),
            (None, None) => Err(Failure::new("no operator's token was named")
                .fix("say `--data DIR`, the host's data directory, or `--token-file FILE`")),
        }
    }
}

fn read_token(path: &Path) -> Result<String, Failure> {
    let failed = |error| {
        Failure::file("read the operator's token from", path, &error)
            .fix("name the data directory that `hospes serve` uses; the token is there once it has started")
    };
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(TOKEN_BYTES_MAX).read_to_string(&mut text))
        .map_err(failed)?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::new(format!(
            "`{}` does not hold an operator's token",
            path.display()
        )));
    }
    Ok(token.to_owned())
}
