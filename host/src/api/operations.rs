//! The operator's actions over HTTP, on the operator's listener: doing them, and the log of them with its proofs.

use std::sync::Arc;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};

use super::admin::check_operator;
use super::answer::Answer;
use super::aside::aside;
use super::health::json as json_answer;
use super::intake::Intake;
use super::problem::{Problem, ProblemKind};
use crate::admission::Asker;
use crate::deploy;
use crate::host::Host;
use crate::id::{AccountName, ModelName};
use crate::operations;
use crate::receipt::{Action, Actor, Deed};
use crate::state::accounts::{Account, Cause, KeyInfo, ListedKey};
use crate::state::deployments::ResolveError;
use crate::state::withdrawals::Withdrawal;

/// Most bytes of an action.
const ACTION_BYTES_MAX: u64 = 8192;

/// Most actions in one answer.
const ACTIONS_MAX: usize = 500;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    action: String,
    target: String,
    #[serde(default)]
    reason: String,
}

/// `POST /actions`: suspends, withdraws, revokes, stops, or gives back. In force when the answer comes.
pub(super) async fn act(host: &Arc<Host>, request: Request<Incoming>) -> Result<Answer, Problem> {
    let (parts, body) = request.into_parts();
    check_operator(host, &parts.headers)?;
    let bytes = Intake::operator(host, ACTION_BYTES_MAX).read_json(&parts.headers, body).await?;
    let Wanted { action, target, reason } = serde_json::from_slice(&bytes)
        .map_err(|error| Problem::new(ProblemKind::InvalidRequest, error.to_string()))?;
    let deed: Option<Deed> = action.parse().ok();
    let deed = deed.filter(|deed| !deed.is_noted()).ok_or_else(|| unknown(&action))?;
    done(host, Actor::Operator, deed, (target.clone(), reason)).await?;
    let mut answer = json!({"action": deed.name(), "target": target});
    match deed {
        Deed::ReinstateVersion | Deed::ReinstateModel | Deed::ReinstateDigest => {
            answer["failed"] = json!(put_back(host).await?);
        }
        Deed::RotateToken => answer["token"] = json!(*host.operator_token()),
        _ => {}
    }
    Ok(json_answer(StatusCode::OK, &answer))
}

fn unknown(action: &str) -> Problem {
    let known = Deed::ALL.iter().filter(|deed| !deed.is_noted());
    let known: Vec<_> = known.map(|deed| format!("`{deed}`")).collect();
    let action: String = action.chars().filter(|c| !c.is_control()).take(80).collect();
    let detail = format!("`{action}` is not an action; there are {}", known.join(", "));
    Problem::new(ProblemKind::InvalidRequest, detail)
}

/// Does it where waiting for the disk holds up nobody.
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

/// Puts back what is withdrawn no more. Returns what does not come back, and why.
async fn put_back(host: &Arc<Host>) -> Result<Vec<Value>, Problem> {
    let putting = tokio::spawn({
        let host = Arc::clone(host);
        async move { deploy::reinstate(&host).await }
    });
    let failed = putting.await.map_err(|panic| Problem::internal(&panic))?;
    let failed = failed.map_err(|error| Problem::internal(&error))?;
    let shown = |(model, version, error): (ModelName, semver::Version, ResolveError)| {
        let why = Problem::from(error).detail().to_owned();
        json!({"model": model, "version": version, "why": why})
    };
    Ok(failed.into_iter().map(shown).collect())
}

/// `GET /actions?from=N`: the actions, from number N on, each with the proof that it is in the log.
pub(super) async fn log(host: &Arc<Host>, request: &Request<Incoming>) -> Result<Answer, Problem> {
    check_operator(host, request.headers())?;
    let query = request.uri().query().unwrap_or_default();
    let from = match query.strip_prefix("from=") {
        Some(from) => from.parse::<usize>().map_err(|_| {
            Problem::new(ProblemKind::InvalidRequest, "`from` is the number of an action")
        })?,
        None => 0,
    };
    aside(host, Asker::Operator, move |host| {
        let log = host.receipts.log();
        let total = log.action_count();
        let mut shown = Vec::new();
        for (index, action) in log.actions_in(from..from.saturating_add(ACTIONS_MAX)) {
            let proof = log.prove_action(index).map_err(|error| Problem::internal(&error))?;
            let mut entry = entry(&action);
            entry["proof"] = serde_json::from_slice(&proof.to_bytes()).unwrap_or_default();
            shown.push(entry);
        }
        let answer = json!({"party": host.party(), "total": total, "actions": shown});
        Ok(json_answer(StatusCode::OK, &answer))
    })
    .await
}

/// An action as it is listed.
pub(super) fn entry(action: &Action) -> Value {
    let Action { id, at, by, deed, target, reason, sequence, .. } = action;
    json!({
        "sequence": sequence,
        "id": id.to_string(),
        "at": at.to_string(),
        "by": by.to_string(),
        "action": deed.name(),
        "target": target,
        "reason": reason,
    })
}

/// `GET /accounts`: every account, and where it stands.
pub(super) async fn accounts(
    host: &Arc<Host>,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    check_operator(host, request.headers())?;
    aside(host, Asker::Operator, |host| {
        let accounts = host.auth.accounts();
        let accounts = accounts.iter().map(|account| {
            let mut shown = shown(account);
            shown["keys"] = json!(host.auth.keys_of(&account.name).len());
            shown
        });
        Ok(json_answer(StatusCode::OK, &json!({"accounts": accounts.collect::<Vec<_>>()})))
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
    Ok(json_answer(StatusCode::OK, &with_keys(host, &account)))
}

/// An account with its keys, as the operator and the account itself see it.
pub(super) fn with_keys(host: &Host, account: &Account) -> Value {
    let mut shown = shown(account);
    shown["former"] = json!(account.former);
    shown["keys"] = json!(host.auth.keys_of(&account.name).iter().map(key).collect::<Vec<_>>());
    shown
}

fn shown(account: &Account) -> Value {
    json!({
        "name": account.name,
        "party": account.party,
        "standing": account.standing.name(),
        "cause": account.standing.cause().map(cause),
    })
}

fn key(key: &ListedKey) -> Value {
    let KeyInfo { id, name, made, .. } = key.info.as_ref();
    json!({
        "id": id.to_string(),
        "name": name,
        "made": made.to_string(),
        "used": key.info.used().map(|used| used.to_string()),
        "revoked": key.revoked.as_ref().map(cause),
    })
}

fn cause(Cause { at, reason }: &Cause) -> Value {
    json!({"at": at.to_string(), "reason": reason.as_ref()})
}

/// `GET /withdrawals`: what is withdrawn or frozen now.
pub(super) fn withdrawals(host: &Host, request: &Request<Incoming>) -> Result<Answer, Problem> {
    check_operator(host, request.headers())?;
    let shown = |what: &str, why: &Cause| {
        let mut shown = cause(why);
        shown["what"] = json!(what);
        shown
    };
    let models = host.withdrawals.list();
    let models: Vec<_> =
        models.iter().map(|Withdrawal { what, cause }| shown(what, cause)).collect();
    let offers = host.market.withdrawn();
    let offers: Vec<_> = offers.iter().map(|(id, why)| shown(&id.to_string(), why)).collect();
    let (agreements, all) = host.agreements.frozen();
    let frozen = agreements.iter().map(|(id, why)| shown(&id.to_string(), why));
    let frozen: Vec<_> = frozen.chain(all.map(|why| shown("all", &why))).collect();
    Ok(json_answer(StatusCode::OK, &json!({"models": models, "offers": offers, "frozen": frozen})))
}

/// Says which versions are out of service because something was withdrawn, or their publisher unloaded them, for a party of an agreement.
pub(super) fn withdrawn_from(
    host: &Host,
    model: &ModelName,
    covers: impl Fn(&crate::id::Digest, &semver::Version) -> bool,
) -> Vec<String> {
    let gone = host.deployments.withdrawn_of(model).into_iter();
    let covered = gone.filter(|(version, digest)| covers(digest, version));
    let said = covered.map(|(version, _)| match host.withdrawals.why_out(model, &version) {
        Some(withdrawal) => ResolveError::from(withdrawal).to_string(),
        None => format!(
            "`{model}@{version}` was taken out of service, and its publisher can put it back"
        ),
    });
    said.collect()
}
