//! `hospes admin`: the operator's commands for accounts, models and agreements.

mod log;
mod lost;
mod out_of_service;
mod status;

use clap::{Args, Subcommand};

use super::Context;
use super::client::{Client, Post};
use super::failure::{During as _, Failure};
use super::operator::Operator;
use super::problem;
use super::screen::{Answer, printable, seconds, table};
use hospes_core::id::{AccountName, Digest, KeyId};
use hospes_receipt::Deed;
use hospes_wire::account::{AccountWithKeys, Cause};
use hospes_wire::operations::{self as wire, Acted, ListedAccount, NotBack, Withdrawal};

/// Operate a host: list, stop and withdraw what is on it.
///
/// A stop takes effect before the command returns, ends running calls too, and survives a restart. It needs a reason, which the
/// parties see. Each action is an entry in the signed log of receipts; `hospes admin log` shows and verifies them.
///
/// All these commands use the operator's listener (loopback by default) and the operator's token, which is in the data directory.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes admin accounts --data ./data\n  \
    hospes admin suspend mallory --reason 'floods the host' --data ./data\n  \
    hospes admin withdraw mallory/miner@1.0.0 --reason 'mines coins' --data ./data\n  \
    hospes admin log --data ./data")]
pub struct Admin {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Status(Status),
    Accounts(Accounts),
    Keys(Keys),
    Suspend(Suspend),
    Resume(Resume),
    Close(Close),
    Revoke(Revoke),
    Withdraw(Withdraw),
    Reinstate(Reinstate),
    Withdrawn(Withdrawn),
    Stop(Stop),
    Lost(lost::Lost),
    Release(lost::Release),
    Log(log::Log),
    OutOfService(out_of_service::OutOfService),
    Token(Token),
}

/// Show what runs on the host.
#[derive(Debug, Args)]
struct Status {
    #[command(flatten)]
    operator: Operator,
}

/// List the accounts, and each one's standing.
#[derive(Debug, Args)]
struct Accounts {
    #[command(flatten)]
    operator: Operator,
}

/// List the API keys of an account: when each was made and last used.
#[derive(Debug, Args)]
struct Keys {
    /// The account.
    name: AccountName,
    #[command(flatten)]
    operator: Operator,
}

/// Suspend an account.
///
/// It cannot call, publish or agree until it is resumed. Running calls under its agreements end, whether it is consumer or
/// publisher. It can still read its agreements and receipts, and sees the reason.
#[derive(Debug, Args)]
struct Suspend {
    /// The account.
    name: AccountName,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    operator: Operator,
}

/// Let a suspended account act again.
#[derive(Debug, Args)]
struct Resume {
    /// The account.
    name: AccountName,
    /// The reason, for the log.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    operator: Operator,
}

/// Close an account for good.
///
/// Like suspending it, but for ever. Neither its name nor its keys can be used for another account.
#[derive(Debug, Args)]
struct Close {
    /// The account.
    name: AccountName,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    operator: Operator,
}

/// Revoke an API key, and end the calls made with it.
#[derive(Debug, Args)]
struct Revoke {
    /// The key's identifier, as `hospes admin keys` lists it.
    id: String,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    operator: Operator,
}

/// Withdraw a version, a model, a digest or an offer.
///
/// A withdrawn version or model goes out of service, its running calls end, and nothing can be published in its place. The digest of
/// a bundle, a component or a model's weights takes every version that contains it out of service, and nobody can publish it again.
/// Nobody can agree to a withdrawn offer. Existing agreements stay; stop them with `hospes admin stop`.
#[derive(Debug, Args)]
struct Withdraw {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    operator: Operator,
}

/// Reinstate something that was withdrawn.
#[derive(Debug, Args)]
struct Reinstate {
    #[command(flatten)]
    target: Target,
    /// The reason, for the log.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    operator: Operator,
}

/// List what is withdrawn and which agreements are frozen, with the reasons.
#[derive(Debug, Args)]
struct Withdrawn {
    #[command(flatten)]
    operator: Operator,
}

/// Stop an agreement for good, whatever its state.
///
/// It permits nothing from then on. Running calls under it and its parts end. No event from a party can prevent or undo that.
/// To suspend an agreement instead, send `POST /agreements/{id}/events` to the operator's listener.
#[derive(Debug, Args)]
struct Stop {
    /// The agreement's identifier.
    id: Digest,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    operator: Operator,
}

/// The operator's token.
#[derive(Debug, Args)]
struct Token {
    #[command(subcommand)]
    action: TokenAction,
}

#[derive(Debug, Subcommand)]
enum TokenAction {
    /// Replace the operator's token without a restart. The old one stops working.
    Rotate(Rotate),
}

#[derive(Debug, Args)]
struct Rotate {
    #[command(flatten)]
    operator: Operator,
}

#[derive(Debug, Args)]
struct Why {
    /// The reason, for the parties and the log.
    #[arg(long)]
    reason: String,
}

#[derive(Debug, Args)]
struct Target {
    /// `publisher/model@version`, `publisher/model`, or the digest of a bundle, component or model (`sha256:…`).
    target: String,
    /// The target is an offer's identifier.
    #[arg(long)]
    offer: bool,
}

impl Target {
    /// Picks the action for versions, models, digests or offers.
    fn deed(&self, [version, model, digest, offer]: [Deed; 4]) -> Deed {
        match self.target.as_str() {
            _ if self.offer => offer,
            target if target.starts_with("sha256:") => digest,
            target if target.contains('@') => version,
            _ => model,
        }
    }
}

impl Admin {
    pub(crate) fn run(self, context: &Context) -> Result<Answer, Failure> {
        match self.action {
            Action::Status(Status { operator }) => status::show(&operator.client(context)?),
            Action::Accounts(Accounts { operator }) => accounts(&operator.client(context)?),
            Action::Keys(Keys { name, operator }) => {
                let path = format!("/accounts/{name}");
                let (json, account): (_, AccountWithKeys) =
                    operator.client(context)?.document(&path)?;
                Ok(Answer::new(printable(&key_table(&account)), json))
            }
            Action::Suspend(Suspend { name, why, operator }) => {
                act(&operator.client(context)?, Deed::SuspendAccount, name.as_str(), &why.reason)
            }
            Action::Resume(Resume { name, reason, operator }) => {
                act(&operator.client(context)?, Deed::ResumeAccount, name.as_str(), &reason)
            }
            Action::Close(Close { name, why, operator }) => {
                act(&operator.client(context)?, Deed::CloseAccount, name.as_str(), &why.reason)
            }
            Action::Revoke(Revoke { id, why, operator }) => {
                id.parse::<KeyId>()
                    .or_fix(|| "list the keys with `hospes admin keys NAME --data DIR`".into())?;
                act(&operator.client(context)?, Deed::RevokeKey, &id, &why.reason)
            }
            Action::Withdraw(Withdraw { target, why, operator }) => {
                let deed = target.deed([
                    Deed::WithdrawVersion,
                    Deed::WithdrawModel,
                    Deed::WithdrawDigest,
                    Deed::WithdrawOffer,
                ]);
                act(&operator.client(context)?, deed, &target.target, &why.reason)
            }
            Action::Reinstate(Reinstate { target, reason, operator }) => {
                let deed = target.deed([
                    Deed::ReinstateVersion,
                    Deed::ReinstateModel,
                    Deed::ReinstateDigest,
                    Deed::ReinstateOffer,
                ]);
                act(&operator.client(context)?, deed, &target.target, &reason)
            }
            Action::Withdrawn(Withdrawn { operator }) => withdrawn(&operator.client(context)?),
            Action::Stop(Stop { id, why, operator }) => {
                let id = id.to_string();
                act(&operator.client(context)?, Deed::StopAgreement, &id, &why.reason)
            }
            Action::Lost(command) => command.run(context),
            Action::Release(command) => command.run(context),
            Action::Log(command) => command.run(context),
            Action::OutOfService(command) => command.run(context),
            Action::Token(Token { action: TokenAction::Rotate(Rotate { operator }) }) => {
                act(&operator.client(context)?, Deed::RotateToken, "operator.token", "")
            }
        }
    }
}

/// Sends `POST /actions` as the operator.
///
/// # Errors
/// If the host refuses.
pub fn act(client: &Client, deed: Deed, target: &str, reason: &str) -> Result<Answer, Failure> {
    let wanted = wire::Act {
        action: deed.name().to_owned(),
        target: target.to_owned(),
        reason: reason.to_owned(),
    };
    let answered = client.post("/actions", Post::json(&wanted)).map_err(|failure| {
        let fix = lists(deed).filter(|_| problem::is_not_found(&failure));
        match fix {
            Some(fix) => failure.fix(fix),
            None => failure,
        }
    });
    let (json, done): (_, Acted) = answered?.document()?;
    let mut plain = format!("done: {} {}", done.action, done.target);
    if let Some(token) = &done.token {
        plain += &format!("\n  token  {token}\nit is also in the host's data directory");
    }
    let failed = done.failed.unwrap_or_default();
    for NotBack { model, version, why } in &failed {
        plain += &format!("\nstill out of service: {model} {version}: {why}");
    }
    let plain = printable(&plain);
    Ok(if failed.is_empty() { Answer::new(plain, json) } else { Answer::Refused { plain, json } })
}

/// The command that lists what an action can be done to.
fn lists(deed: Deed) -> Option<&'static str> {
    match deed {
        Deed::SuspendAccount | Deed::ResumeAccount | Deed::CloseAccount => {
            Some("`hospes admin accounts --data DIR` lists the accounts")
        }
        Deed::RevokeKey => Some("`hospes admin keys NAME --data DIR` lists an account's keys"),
        Deed::ReinstateVersion
        | Deed::ReinstateModel
        | Deed::ReinstateDigest
        | Deed::ReinstateOffer
        | Deed::ReleaseAgreement => {
            Some("`hospes admin withdrawn --data DIR` lists what is withdrawn or frozen")
        }
        _ => None,
    }
}

/// An account's keys, one per line.
pub fn key_table(account: &AccountWithKeys) -> String {
    let rows: Vec<_> = account
        .keys
        .iter()
        .map(|key| {
            let revoked = key.revoked.as_ref();
            vec![
                key.id.clone(),
                key.name.clone().unwrap_or_else(|| "-".into()),
                seconds(&key.made),
                key.used.as_deref().map_or_else(|| "never".into(), seconds),
                revoked.map_or_else(
                    || "-".into(),
                    |cause| format!("{}: {}", seconds(&cause.at), cause.reason),
                ),
            ]
        })
        .collect();
    table(&["KEY", "NAME", "MADE", "LAST USED", "REVOKED"], &rows)
}

fn accounts(client: &Client) -> Result<Answer, Failure> {
    let (json, listed): (_, wire::Accounts) = client.document("/accounts")?;
    let rows: Vec<_> = listed
        .accounts
        .iter()
        .map(|ListedAccount { account, keys }| {
            let why = account.cause.as_ref();
            vec![
                account.name.to_string(),
                account.standing.to_string(),
                keys.to_string(),
                account.party.to_string(),
                why.map_or_else(
                    || "-".into(),
                    |cause| format!("{}: {}", seconds(&cause.at), cause.reason),
                ),
            ]
        })
        .collect();
    let plain = table(&["ACCOUNT", "STANDING", "KEYS", "PARTY", "WHY"], &rows);
    Ok(Answer::new(printable(&plain), json))
}

fn withdrawn(client: &Client) -> Result<Answer, Failure> {
    let (json, wire::Withdrawals { models, offers, frozen }): (_, wire::Withdrawals) =
        client.document("/withdrawals")?;
    let row = |kind: &str, Withdrawal { what, cause: Cause { at, reason } }: &Withdrawal| {
        vec![kind.to_owned(), what.clone(), seconds(at), reason.clone()]
    };
    let rows: Vec<_> = models
        .iter()
        .map(|model| row("model", model))
        .chain(offers.iter().map(|offer| row("offer", offer)))
        .chain(frozen.iter().map(|frozen| row("frozen agreement", frozen)))
        .collect();
    let plain = match rows.is_empty() {
        true => "nothing is withdrawn, and no agreement is frozen".to_owned(),
        false => table(&["KIND", "WITHDRAWN", "AT", "REASON"], &rows),
    };
    Ok(Answer::new(printable(&plain), json))
}
