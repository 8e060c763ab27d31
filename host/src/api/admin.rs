//! The operator's routes for accounts and status, on the operator's listener with the operator's token.

use std::sync::Arc;

use http::{HeaderMap, Request, StatusCode};
use hyper::body::Incoming;
use serde::de::value::Error as WordError;
use serde::de::{DeserializeOwned, IntoDeserializer as _};

use super::account;
use super::agreements::history;
use super::answer::{Answer, done, json};
use super::aside::aside;
use super::body;
use super::intake;
use super::market::digest;
use super::out_of_service;
use super::problem::{Problem, ProblemKind};
use crate::admission::Asker;
use crate::agreement::events::{Change, Reason};
use crate::host::Host;
use crate::operations;
use crate::state::deployments::Loads;
use crate::wire::operations::{OpenAccount, OpenedAccount, Operate};
use crate::wire::status::{Backend, Incident, Loaded, Queue, Status, Workers};

/// Maximum size of a request to open an account, in bytes.
const ACCOUNT_BYTES_MAX: u64 = 4096;

/// `POST /accounts`: opens an account, or makes another key for it. Only this response contains the key.
pub(super) async fn open_account(
    host: &Arc<Host>,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let OpenAccount { name, party, key_name } =
        intake::from_operator(host, request, ACCOUNT_BYTES_MAX).await?;
    aside(host, Asker::Operator, move |host| {
        let key = operations::open_account(host, &name, party, key_name.as_deref())?;
        let account = OpenedAccount { name, party, key: key.reveal() };
        Ok(json(StatusCode::CREATED, &account))
    })
    .await
}

/// Maximum size of an operator's event, in bytes.
const OPERATE_BYTES_MAX: u64 = 8192;

/// `POST /agreements/{id}/events`: suspends or resumes an agreement. The host signs for its operator.
pub(super) async fn operate(
    host: &Arc<Host>,
    id: &str,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let Operate { change, reason, note } =
        intake::from_operator(host, request, OPERATE_BYTES_MAX).await?;
    let (change, reason) = (word::<Change>("change", &change)?, word::<Reason>("reason", &reason)?);
    let note = note.map(String::into_boxed_str);
    let id = digest(id)?;
    aside(host, Asker::Operator, move |host| {
        let standing = host.agreements.operate(&id, change, reason, note)?;
        Ok(done(&history(host, &standing)?))
    })
    .await
}

/// The name of an event.
fn word<T: DeserializeOwned>(member: &str, word: &str) -> Result<T, Problem> {
    T::deserialize(word.into_deserializer()).map_err(|error: WordError| {
        Problem::new(ProblemKind::InvalidRequest, format!("`{member}`: {error}"))
    })
}

/// `GET /status`: the host's status.
pub(super) async fn status(
    host: &Arc<Host>,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    check_operator(host, request.headers())?;
    // Off the serving threads: the log may be busy, and there may be many versions.
    aside(host, Asker::Operator, |host| Ok(done(&state(host)))).await
}

fn state(host: &Host) -> Status {
    let log = host.receipts.log();
    let actions = log.action_count();
    let backends = host.inference.backends().iter().map(|backend| Backend {
        backend: backend.kind.to_string(),
        usable: backend.usable.is_ok(),
    });
    let incidents = host.inference.incidents().into_iter().map(|incident| {
        let publisher = incident.publisher.clone();
        Incident { publisher, crashes: account::crashes(incident) }
    });
    Status {
        party: host.party(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        models: host.deployments.count_live(),
        loaded: loaded(host),
        sandboxes_free: host.slots.free(),
        memory_free_bytes: host.sandbox.memory().free() as u64,
        receipts: log.size().saturating_sub(actions),
        actions,
        backends: backends.collect(),
        workers: Workers {
            processes: host.inference.workers(),
            confinement_missing: host.inference.confinement().missing.clone(),
            incidents: incidents.collect(),
        },
        queue: queue(host),
        draining: host.is_draining(),
        loading: host.deployments.loading().left(),
        out_of_service: out_of_service::list(host),
        records_set_aside: out_of_service::records(host),
    }
}

fn queue(host: &Host) -> Queue {
    let computations = host.inference.queue();
    Queue {
        calls_late: host.slots.late(),
        calls_abandoned: host.slots.abandoned(),
        computations_late: computations.late,
        computations_abandoned: computations.abandoned,
        batches: computations.batches,
    }
}

/// What is loaded of the versions.
fn loaded(host: &Host) -> Loaded {
    let Loads { loaded, loads, unloads, took } = host.deployments.loads();
    let (taken, max) = (host.room.taken(), host.room.max());
    Loaded {
        versions: loaded,
        bytes: taken.bytes,
        bytes_max: max.bytes,
        mappings: taken.mappings,
        mappings_max: max.mappings,
        loads,
        unloads,
        load_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    }
}

pub(super) fn check_operator(host: &Host, headers: &HeaderMap) -> Result<(), Problem> {
    if body::bearer(headers).is_some_and(|token| host.is_operator(token)) {
        return Ok(());
    }
    let detail =
        "this needs the operator's token, which is in `operator.token` in the data directory";
    Err(Problem::new(ProblemKind::Unauthenticated, detail))
}
