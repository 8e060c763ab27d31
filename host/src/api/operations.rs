//! The operator's actions over HTTP, on the operator's listener: taking them, and their log with proofs.

use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;

use super::admin::check_operator;
use super::answer::{self, Answer};
use super::aside::aside;
use super::form;
use super::intake;
use super::problem::{Problem, ProblemKind};
use crate::admission::Asker;
use crate::call::Part;
use crate::deploy;
use crate::host::Host;
use crate::id::{AccountName, ModelName};
use crate::operations;
use crate::receipt::{Action, Actor, Deed};
use crate::state::accounts::{self, KeyInfo, ListedKey, Standing};
use crate::state::deployments::ResolveError;
use crate::wire::account::{self, Account, AccountWithKeys, Cause, Key};
use crate::wire::operations as wire;
use crate::wire::operations::{
    Accounts, Act, Acted, ActionLog, ListedAccount, LoggedAction, NotBack, Withdrawal, Withdrawals,
};

/// Maximum size of an action, in bytes.
const ACTION_BYTES_MAX: u64 = 8192;

/// Maximum actions in a response.
const ACTIONS_MAX: usize = 500;

/// `POST /actions`: suspends, withdraws, revokes, stops or restores. In force when the response arrives.
pub(super) async fn act(host: &Arc<Host>, request: Request<Incoming>) -> Result<Answer, Problem> {
    let Act { action, target, reason } =
        intake::from_operator(host, request, ACTION_BYTES_MAX).await?;
    let deed: Option<Deed> = action.parse().ok();
    let deed = deed.filter(|deed| !deed.is_noted()).ok_or_else(|| unknown(&action))?;
    done(host, Actor::Operator, deed, (target.clone(), reason)).await?;
    let failed = match deed {
        Deed::ReinstateVersion | Deed::ReinstateModel | Deed::ReinstateDigest => {
            Some(put_back(host).await?)
        }
        _ => None,
    };
    let token = matches!(deed, Deed::RotateToken).then(|| host.operator_token().to_string());
    Ok(answer::done(&Acted { action: deed.name().to_owned(), target, failed, token }))
}

fn unknown(action: &str) -> Problem {
    let known = Deed::ALL.iter().filter(|deed| !deed.is_noted());
    let known: Vec<_> = known.map(|deed| format!("`{deed}`")).collect();
    let action: String = action.chars().filter(|c| !c.is_control()).take(80).collect();
    let detail = format!("`{action}` is not an action; the actions are {}", known.join(", "));
    Problem::new(ProblemKind::InvalidRequest, detail)
}

/// Runs it where waiting for the disk blocks nobody.
pub(super) async fn done(
    host: &Arc<Host>,
    by: Actor,
    deed: Deed,
    (target, reason): (String, String),
) -> Result<(), Problem> {
    let asker = match &by {
        Actor::Operator => Asker::Operator,
        Actor::Account(name) => Asker::Account(name.clone()),
    };
    aside(host, asker, move |host| Ok(operations::act(host, by, deed, &target, &reason)?)).await
}

/// Restores what is no longer withdrawn. Returns what failed to come back, and why.
async fn put_back(host: &Arc<Host>) -> Result<Vec<NotBack>, Problem> {
    let putting = tokio::spawn({
        let host = Arc::clone(host);
        async move { deploy::reinstate(&host).await }
    });
    let failed = putting.await.map_err(|panic| Problem::internal(&panic))?;
    let failed = failed.map_err(|error| Problem::internal(&error))?;
    let shown = |(model, version, error): (ModelName, semver::Version, ResolveError)| {
        let why = Problem::from(error).detail().to_owned();
        NotBack { model, version: version.to_string(), why }
    };
    Ok(failed.into_iter().map(shown).collect())
}

/// `GET /actions?from=N`: the actions from number N on, each with its inclusion proof.
pub(super) async fn log(host: &Arc<Host>, request: &Request<Incoming>) -> Result<Answer, Problem> {
    check_operator(host, request.headers())?;
    let from = first_wanted(request.uri().query())?;
    aside(host, Asker::Operator, move |host| {
        let log = host.receipts.log();
        let total = log.action_count();
        let mut shown = Vec::new();
        for (index, action) in log.actions_in(from..from.saturating_add(ACTIONS_MAX)) {
            let proof = log.prove_action(index).map_err(|error| Problem::internal(&error))?;
            let proof = serde_json::from_slice(&proof.to_bytes()).unwrap_or_default();
            shown.push(LoggedAction { action: entry(&action), proof });
        }
        Ok(answer::done(&ActionLog { party: host.party(), total, actions: shown }))
    })
    .await
}

/// The number of the first action that a query asks for.
fn first_wanted(query: Option<&str>) -> Result<usize, Problem> {
    let invalid = |detail: String| Problem::new(ProblemKind::InvalidRequest, detail);
    let mut first = 0;
    for Part { name, bytes } in form::query(query.unwrap_or_default())? {
        if name != "from" {
            return Err(invalid(format!("this list has only the parameter `from`, not `{name}`")));
        }
        let number = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok());
        first = number.ok_or_else(|| invalid("`from` must be an action's number".to_owned()))?;
    }
    Ok(first)
}

/// An action in a list.
pub(super) fn entry(action: &Action) -> wire::Action {
    let Action { id, at, by, deed, target, reason, sequence, .. } = action;
    wire::Action {
        sequence: *sequence,
        id: id.to_string(),
        at: at.to_string(),
        by: by.to_string(),
        action: deed.name().to_owned(),
        target: target.to_string(),
        reason: reason.to_string(),
    }
}

/// `GET /accounts`: every account and its standing.
pub(super) async fn accounts(
    host: &Arc<Host>,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    check_operator(host, request.headers())?;
    aside(host, Asker::Operator, |host| {
        let accounts = host.auth.accounts();
        let accounts = accounts.iter().map(|account| ListedAccount {
            account: shown(account),
            keys: host.auth.keys_of(&account.name).len(),
        });
        Ok(answer::done(&Accounts { accounts: accounts.collect() }))
    })
    .await
}

/// `GET /accounts/{name}`: an account with its keys.
pub(super) fn account(
    host: &Host,
    name: &str,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    check_operator(host, request.headers())?;
    let name: AccountName = name.parse().map_err(|error: crate::id::IdError| {
        Problem::new(ProblemKind::NotFound, error.to_string())
    })?;
    let account = host.auth.account(&name);
    let account = account.ok_or(crate::state::accounts::AuthError::NoAccount(name))?;
    Ok(answer::done(&with_keys(host, &account)))
}

/// An account with its keys, for the operator and the account itself.
pub(super) fn with_keys(host: &Host, account: &accounts::Account) -> AccountWithKeys {
    AccountWithKeys {
        account: shown(account),
        former: account.former.clone(),
        keys: host.auth.keys_of(&account.name).iter().map(key).collect(),
    }
}

fn shown(account: &accounts::Account) -> Account {
    Account {
        name: account.name.clone(),
        party: account.party,
        standing: match account.standing {
            Standing::Open => account::Standing::Open,
            Standing::Suspended(_) => account::Standing::Suspended,
            Standing::Closed(_) => account::Standing::Closed,
        },
        cause: account.standing.cause().map(cause),
    }
}

fn key(key: &ListedKey) -> Key {
    let KeyInfo { id, name, made, .. } = key.info.as_ref();
    Key {
        id: id.to_string(),
        name: name.as_ref().map(ToString::to_string),
        made: made.to_string(),
        used: key.info.used().map(|used| used.to_string()),
        revoked: key.revoked.as_ref().map(cause),
    }
}

fn cause(accounts::Cause { at, reason }: &accounts::Cause) -> Cause {
    Cause { at: at.to_string(), reason: reason.to_string() }
}

/// `GET /withdrawals`: what is withdrawn or frozen now.
pub(super) fn withdrawals(host: &Host, request: &Request<Incoming>) -> Result<Answer, Problem> {
    check_operator(host, request.headers())?;
    let shown = |what: String, why: &accounts::Cause| Withdrawal { what, cause: cause(why) };
    let models = host.withdrawals.list();
    let models = models.iter().map(|one| shown(one.what.to_string(), &one.cause));
    let offers = host.market.withdrawn();
    let offers = offers.iter().map(|(id, why)| shown(id.to_string(), why));
    let (agreements, all) = host.agreements.frozen();
    let frozen = agreements.iter().map(|(id, why)| shown(id.to_string(), why));
    let frozen = frozen.chain(all.map(|why| shown("all".to_owned(), &why)));
    Ok(answer::done(&Withdrawals {
        models: models.collect(),
        offers: offers.collect(),
        frozen: frozen.collect(),
    }))
}

/// Tells an agreement's parties which versions are out of service because they were withdrawn or unloaded.
pub(super) fn withdrawn_from(
    host: &Host,
    model: &ModelName,
    covers: impl Fn(&crate::id::Digest, &semver::Version) -> bool,
) -> Vec<String> {
    let gone = host.deployments.withdrawn_of(model).into_iter();
    let covered = gone.filter(|(version, digest)| covers(digest, version));
    let said = covered.map(|(version, _)| match host.withdrawals.why_out(model, &version) {
        Some(withdrawal) => ResolveError::from(withdrawal).to_string(),
        None => {
            format!("`{model}@{version}` was taken out of service; its publisher can put it back")
        }
    });
    said.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It was once read by hand: encoded, or behind another parameter, it did not count.
    #[test]
    fn where_a_list_of_actions_begins_is_read_like_any_query() {
        let read = |query| first_wanted(Some(query)).ok();
        assert_eq!(first_wanted(None).ok(), Some(0));
        assert_eq!((read(""), read("from=7"), read("from=%37")), (Some(0), Some(7), Some(7)));
        for wrong in ["from", "from=", "from=x", "from=-1", "from=%ff", "limit=1&from=7"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
