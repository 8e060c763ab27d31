//! Agreements over HTTP: submitting signatures, and what the parties can see.

use std::sync::Arc;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::body;
use super::health::json as json_answer;
use super::market::envelope;
use super::problem::{Problem, ProblemKind};
use super::router::Answer;
use crate::agreements::{RuleUse, Standing};
use crate::dsse::ENVELOPE_BYTES_MAX;
use crate::host::Host;
use crate::id::{Digest, IdError};

/// `POST /api/agreements`: an agreement with one signature or both. Signatures of several submissions add up.
pub(super) async fn submit(
    host: &Arc<Host>,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let (parts, body) = request.into_parts();
    let caller = host.auth.authenticate(body::bearer(&parts.headers))?;
    let timeout = host.config().api.body_read_timeout;
    let bytes = body::read(&parts.headers, body, ENVELOPE_BYTES_MAX as u64, timeout).await?;
    let standing = host.agreements.submit(&caller, &bytes, &host.market)?;
    Ok(json_answer(
        StatusCode::OK,
        &json!({
            "id": standing.id(),
            "state": state(host, &standing),
            "missing": missing(&standing),
        }),
    ))
}

/// `GET /api/agreements`: the caller's own, with what is used of each.
pub(super) fn list(host: &Host, request: &Request<Incoming>) -> Result<Answer, Problem> {
    let caller = host.auth.authenticate(body::bearer(request.headers()))?;
    let agreements: Vec<_> =
        host.agreements.of(&caller).iter().map(|standing| entry(host, standing)).collect();
    Ok(json_answer(StatusCode::OK, &json!({ "agreements": agreements })))
}

/// `GET /api/agreements/{id}`: the document with its signatures, byte for byte.
pub(super) fn show(host: &Host, id: &str, request: &Request<Incoming>) -> Result<Answer, Problem> {
    let caller = host.auth.authenticate(body::bearer(request.headers()))?;
    let id: Digest = id
        .parse()
        .map_err(|error: IdError| Problem::new(ProblemKind::NotFound, error.to_string()))?;
    Ok(envelope(host.agreements.find(&caller, &id)?.to_bytes()))
}

fn entry(host: &Host, standing: &Standing) -> Value {
    let agreement = standing.agreement();
    json!({
        "id": standing.id(),
        "model": agreement.model(),
        "publisher": agreement.assigner(),
        "consumer": agreement.assignee(),
        "state": state(host, standing),
        "missing": missing(standing),
        "rules": standing.rules().iter().map(rule).collect::<Vec<_>>(),
    })
}

fn rule(rule: &RuleUse) -> Value {
    json!({
        "rule": rule.rule,
        "function": rule.function,
        "used": rule.used,
        "max": rule.max,
        "remaining": rule.max.map(|max| max.saturating_sub(rule.used)),
        "ends": rule.ends.map(|ends| ends.to_string()),
    })
}

fn state(host: &Host, standing: &Standing) -> &'static str {
    match standing {
        Standing::Proposed(_) => "proposed",
        Standing::Active(_) if standing.has_ended(host.clock().now()) => "ended",
        Standing::Active(_) => "active",
    }
}

fn missing(standing: &Standing) -> Vec<String> {
    standing.missing().iter().map(ToString::to_string).collect()
}
