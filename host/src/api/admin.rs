//! The operator's routes: accounts and status. On the operator's listener only, and with the operator's token.

use std::sync::Arc;

use http::{HeaderMap, Request, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};

use super::agreements::history;
use super::answer::Answer;
use super::aside::aside;
use super::body;
use super::health::json as json_answer;
use super::intake::Intake;
use super::market::digest;
use super::out_of_service;
use super::problem::{Problem, ProblemKind};
use crate::admission::Asker;
use crate::agreement::events::{Change, Reason};
use crate::host::Host;
use crate::id::{AccountName, Party};
use crate::operations;

/// Most bytes of a request to open an account.
const ACCOUNT_BYTES_MAX: u64 = 4096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenAccount {
    name: AccountName,
    party: Party,
    /// What the key is to be called.
    #[serde(default)]
    key_name: Option<String>,
}

/// `POST /accounts`: opens an account, or makes another key for it. The key is in this answer and nowhere else.
pub(super) async fn open_account(
    host: &Arc<Host>,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let (parts, body) = request.into_parts();
    check_operator(host, &parts.headers)?;
    let bytes = Intake::operator(host, ACCOUNT_BYTES_MAX).read_json(&parts.headers, body).await?;
    let wanted: OpenAccount = serde_json::from_slice(&bytes)
        .map_err(|error| Problem::new(ProblemKind::InvalidRequest, error.to_string()))?;
    let OpenAccount { name, party, key_name } = wanted;
    aside(host, Asker::Operator, move |host| {
        let key = operations::open_account(host, &name, party, key_name.as_deref())?;
        let account = json!({"name": name, "party": party, "key": key.reveal()});
        Ok(json_answer(StatusCode::CREATED, &account))
    })
    .await
}

/// Most bytes of an operator's event.
const OPERATE_BYTES_MAX: u64 = 8192;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Operate {
    change: Change,
    reason: Reason,
    #[serde(default)]
    note: Option<Box<str>>,
}

/// `POST /agreements/{id}/events`: suspends or resumes an agreement; the host signs for its operator.
pub(super) async fn operate(
    host: &Arc<Host>,
    id: &str,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let (parts, body) = request.into_parts();
    check_operator(host, &parts.headers)?;
    let bytes = Intake::operator(host, OPERATE_BYTES_MAX).read_json(&parts.headers, body).await?;
    let Operate { change, reason, note } = serde_json::from_slice(&bytes)
        .map_err(|error| Problem::new(ProblemKind::InvalidRequest, error.to_string()))?;
    let id = digest(id)?;
    aside(host, Asker::Operator, move |host| {
        let standing = host.agreements.operate(&id, change, reason, note)?;
        Ok(json_answer(StatusCode::OK, &history(host, &standing)?))
    })
    .await
}

/// `GET /status`: what runs here.
pub(super) async fn status(
    host: &Arc<Host>,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    check_operator(host, request.headers())?;
    // Aside: the log may be busy writing, and there may be many versions.
    aside(host, Asker::Operator, |host| Ok(json_answer(StatusCode::OK, &state(host)))).await
}

fn state(host: &Host) -> Value {
    let log = host.receipts.log();
    let actions = log.action_count();
    let backends: Vec<_> = host
        .inference
        .backends()
        .iter()
        .map(|backend| json!({"backend": backend.kind.to_string(), "usable": backend.usable.is_ok()}))
        .collect();
    json!({
        "party": host.party(),
        "version": env!("CARGO_PKG_VERSION"),
        "models": host.deployments.count_live(),
        "sandboxes_free": host.slots.free(),
        "memory_free_bytes": host.sandbox.memory().free(),
        "receipts": log.size().saturating_sub(actions),
        "actions": actions,
        "backends": backends,
        "workers": {
            "processes": host.inference.workers(),
            // What the kernel did not let them give up.
            "confinement_missing": host.inference.confinement().missing,
            "incidents": host.inference.incidents(),
        },
        "draining": host.is_draining(),
        "loading": host.deployments.loading().left(),
        "out_of_service": out_of_service::list(host),
        "records_set_aside": out_of_service::records(host),
    })
}

pub(super) fn check_operator(host: &Host, headers: &HeaderMap) -> Result<(), Problem> {
    if body::bearer(headers).is_some_and(|token| host.is_operator(token)) {
        return Ok(());
    }
    let detail = "this needs the operator's token: it is in `operator.token` in the data directory";
    Err(Problem::new(ProblemKind::Unauthenticated, detail))
}
