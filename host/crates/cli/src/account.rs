//! `hospes account`: opens an account through the operator's listener, and manages its API keys.

use clap::{Args, Subcommand};
use serde_json::json;

use super::Context;
use super::admin::key_table;
use super::client::{Client, Post};
use super::failure::{During as _, Failure};
use super::home;
use super::operator::Operator;
use super::screen::{Answer, printable, seconds};
use hospes_core::id::{AccountName, KeyId, Party};
use hospes_wire::account::{self as wire, AccountWithKeys, Cause, ModelIncident, OwnAccount};
use hospes_wire::operations::{self, OpenedAccount};
use hospes_wire::status::Crashes;

/// Open an account on a host, and manage its API keys.
///
/// An account ties a name on the host to your key, and gives you an API key for its routes. Only the host's operator can open
/// one. The request goes to the operator's listener (loopback by default) with the operator's token, which the host keeps
/// as `operator.token` in its data directory. The API key is printed once and saved in `<home>/accounts`, which only you can read.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes account new acme --data ./data\n\n  \
    `account new --force` makes another API key for the same account, and saves it in place of the earlier one.")]
pub struct AccountCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Open an account, or make another API key for it.
    New(New),
    Show(Show),
    Keys(Keys),
    Revoke(Revoke),
}

#[derive(Debug, Args)]
struct New {
    /// The account's name on the host; your models will be `NAME/model`.
    name: AccountName,
    /// The key that signs for the account [default: the key of the same name].
    #[arg(long, value_name = "KEY")]
    key: Option<AccountName>,
    /// The API key's name in lists.
    #[arg(long, value_name = "TEXT")]
    key_name: Option<String>,
    /// Make another API key, and save it in place of the one in this home.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    operator: Operator,
}

/// Show your account: its standing, what the operator did to it, and which of your models are backed off.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes account show --as acme")]
struct Show {}

/// List your API keys: when each was made and last used.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes account keys --as acme")]
struct Keys {}

/// Revoke one of your API keys, and end the calls made with it.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes account keys --as acme\n  hospes account revoke 0123456789abcdef --as acme"
)]
struct Revoke {
    /// The key's identifier, as `hospes account keys` lists it.
    id: String,
    /// Why, for the log.
    #[arg(long, default_value = "")]
    reason: String,
}

fn page(own: &OwnAccount) -> String {
    let wire::Account { name, party, standing, cause } = &own.account.account;
    let mut page = format!("account `{name}`\n  party     {party}\n  standing  {standing}");
    if let Some(Cause { at, reason }) = cause {
        page += &format!(" since {}: {reason}", seconds(at));
    }
    for operations::Action { at, by, action, target, reason, .. } in &own.actions {
        page += &format!("\n  {}  {action} {target} by {by}: {reason}", seconds(at));
    }
    for ModelIncident { versions, crashes } in &own.incidents {
        let Crashes { model, how, times, wait_ms } = crashes;
        let what = if versions.is_empty() { model.to_string() } else { versions.join(", ") };
        page += &format!(
            "\n  backed off  {what} ended its worker process by {how}, {times} times: its callers wait {wait_ms} ms"
        );
    }
    page
}

fn keys_page(own: &OwnAccount) -> String {
    let table = key_table(&own.account);
    match &own.key {
        Some(key) => format!("{table}this home uses {key}"),
        None => table,
    }
}

impl AccountCommand {
    pub(crate) fn run(self, context: &Context) -> Result<Answer, Failure> {
        match self.action {
            Action::New(new) => new.run(context),
            Action::Show(Show {}) => {
                let (json, own): (_, OwnAccount) = context.client()?.document("/api/account")?;
                Ok(Answer::new(printable(&page(&own)), json))
            }
            Action::Keys(Keys {}) => {
                let (json, own): (_, OwnAccount) = context.client()?.document("/api/account")?;
                Ok(Answer::new(printable(&keys_page(&own)), json))
            }
            Action::Revoke(Revoke { id, reason }) => {
                let id: KeyId =
                    id.parse().or_fix(|| "list them with `hospes account keys`".into())?;
                let post = Post::json(&wire::RevokeKey { reason });
                let path = format!("/api/account/keys/{id}/revocation");
                let (json, own): (_, AccountWithKeys) =
                    context.client()?.post(&path, post)?.document()?;
                Ok(Answer::new(printable(&key_table(&own)), json))
            }
        }
    }
}

impl New {
    fn run(self, context: &Context) -> Result<Answer, Failure> {
        let replaces = context.home.has_account(&self.name)?;
        if replaces && !self.force {
            return Err(already_kept(context, &self.name)?);
        }
        let key = self.key.unwrap_or_else(|| self.name.clone());
        let party = context.home.key(&key)?.party();
        let client = self.operator.client_of_host(context)?;
        let wanted = Wanted { name: &self.name, key: &key, party, key_name: self.key_name };
        let account = open(&client, wanted)?;
        let path = context.home.keep_account(&account)?;
        let mut plain = format!(
            "opened account `{}`\n  party    {party}\n  API key  {}\n  kept in  {}\nthe API key is not shown again",
            account.name,
            printable(&account.api_key),
            path.display()
        );
        if replaces {
            plain += "\nthe API key that was kept here is still valid: `hospes account keys` lists both, \
                and `hospes account revoke ID` ends one";
        }
        let json = json!({
            "name": account.name,
            "party": party,
            "key": account.api_key,
            "file": path.display().to_string(),
        });
        Ok(Answer::new(plain, json))
    }
}

/// The failure for an account whose API key this home has. The host shows a key only once, so overwriting the file loses it.
fn already_kept(context: &Context, name: &AccountName) -> Result<Failure, Failure> {
    let path = context.home.account_path(name)?;
    let kept = format!("`{}` already holds an API key for account `{name}`", path.display());
    Ok(Failure::new(kept).fix(format!(
        "use it with `--as {name}`; to make another key and save it there instead, add `--force`; for another host, name another \
         directory with `--home DIR`"
    )))
}

/// An account to open: its key, and its API key's name.
pub struct Wanted<'a> {
    pub name: &'a AccountName,
    pub key: &'a AccountName,
    pub party: Party,
    pub key_name: Option<String>,
}

/// Opens an account. `client` talks to the operator's listener.
///
/// # Errors
/// If the host refuses, or opened another.
pub fn open(client: &Client, wanted: Wanted<'_>) -> Result<home::SavedAccount, Failure> {
    let Wanted { name, key, party, key_name } = wanted;
    let post = Post::json(&operations::OpenAccount { name: name.clone(), party, key_name });
    let (_, opened): (_, OpenedAccount) = client.post("/accounts", post)?.document()?;
    if opened.name != *name || opened.party != party {
        return Err(Failure::new("the host opened a different account from the one requested"));
    }
    Ok(home::SavedAccount {
        name: opened.name,
        key: key.clone(),
        party,
        former: Vec::new(),
        api_key: opened.key,
    })
}
