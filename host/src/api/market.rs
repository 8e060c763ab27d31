//! The market over HTTP: what is offered, and listing an offer.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::answer::{Answer, AnswerBody};
use super::functions::description;
use super::health::json as json_answer;
use super::intake::Intake;
use super::problem::{Problem, ProblemKind};
use super::{agreements, body};
use crate::agreement::{SignedOffer, offer_lines};
use crate::auth::Caller;
use crate::dsse::ENVELOPE_BYTES_MAX;
use crate::host::Host;
use crate::id::Digest;

/// `GET /api/market`: every offer that the caller may see, with what it is for. Without a key, those to everybody.
pub(super) fn list(host: &Host, request: &Request<Incoming>) -> Result<Answer, Problem> {
    let viewer = viewer(host, request.headers())?;
    let offers = host.market.all(viewer.as_ref());
    let offers: Vec<_> = offers.iter().filter_map(|offer| entry(host, offer)).collect();
    Ok(json_answer(StatusCode::OK, &json!({ "offers": offers })))
}

/// Who looks, if they say so.
fn viewer(host: &Host, headers: &HeaderMap) -> Result<Option<Caller>, Problem> {
    match body::bearer(headers) {
        Some(key) => Ok(Some(host.auth.reader(Some(key))?)),
        None => Ok(None),
    }
}

fn entry(host: &Host, offer: &SignedOffer) -> Option<Value> {
    let id = offer.id();
    let terms = offer_lines(offer.offer());
    let offer = offer.offer();
    let versions = &offer.clauses().target.versions;
    let live = host.deployments.of(offer.model());
    let deployment = live.iter().rfind(|live| versions.cover(live.digest(), live.version()))?;
    let mut entry = description(deployment);
    entry["versions"] = json!(versions.to_string());
    entry["private"] = json!(!offer.audience().is_empty());
    entry["id"] = json!(id);
    entry["terms"] = json!(terms);
    Some(entry)
}

/// `GET /api/offers/{id}`: the signed offer, byte for byte.
pub(super) fn show(host: &Host, id: &str, request: &Request<Incoming>) -> Result<Answer, Problem> {
    let id = digest(id)?;
    let viewer = viewer(host, request.headers())?;
    let offer = host.market.show(&id, viewer.as_ref())?;
    Ok(envelope(offer.to_bytes()))
}

/// `POST /api/offers/{id}/simulate`: would this call be allowed under the offer, and why not.
pub(super) async fn simulate(
    host: &Arc<Host>,
    id: &str,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let id = digest(id)?;
    let (caller, call) = agreements::simulated(host, request).await?;
    let offer = host.market.show(&id, Some(&caller))?;
    let report = host.agreements.simulate_offer(&caller, &offer, &call, &host.deployments)?;
    Ok(json_answer(StatusCode::OK, &json!(report)))
}

/// `POST /api/offers/{id}/mandate`: lets this host agree for the publisher.
pub(super) async fn mandate(
    host: &Arc<Host>,
    id: &str,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let id = digest(id)?;
    let (parts, body) = request.into_parts();
    let publisher = host.auth.authenticate(body::bearer(&parts.headers))?;
    let bytes = Intake::document(host, &publisher, ENVELOPE_BYTES_MAX as u64)
        .read_json(&parts.headers, body)
        .await?;
    let signed = host.agreements.mandate(&publisher, &id, &bytes, &host.market)?;
    Ok(json_answer(StatusCode::OK, &json!(signed.content())))
}

/// `GET /api/offers/{id}/mandate`: the signed mandate, byte for byte, for whoever checks what the host signed.
pub(super) fn mandate_of(
    host: &Host,
    id: &str,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    let id = digest(id)?;
    let viewer = viewer(host, request.headers())?;
    let visible = host.market.offer_for(&id, viewer.as_ref());
    let mandate = visible.and_then(|_| host.agreements.mandate_of(&id));
    let mandate = mandate.ok_or_else(|| {
        Problem::new(ProblemKind::NotFound, format!("there is no mandate for offer `{id}`"))
    })?;
    Ok(envelope(mandate.to_bytes()))
}

pub(super) fn digest(id: &str) -> Result<Digest, Problem> {
    id.parse()
        .map_err(|error: crate::id::IdError| Problem::new(ProblemKind::NotFound, error.to_string()))
}

/// `POST /api/offers`: lists a signed offer.
pub(super) async fn publish(
    host: &Arc<Host>,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let (parts, body) = request.into_parts();
    let publisher = host.auth.authenticate(body::bearer(&parts.headers))?;
    let bytes = Intake::document(host, &publisher, ENVELOPE_BYTES_MAX as u64)
        .read_json(&parts.headers, body)
        .await?;
    let offer = host.market.list(&publisher, &bytes, &host.deployments, &host.agreements)?;
    let listed = json!({"id": offer.id(), "model": offer.offer().model()});
    Ok(json_answer(StatusCode::CREATED, &listed))
}

/// A signed document as an answer.
pub(super) fn envelope(bytes: Vec<u8>) -> Answer {
    let mut response = Response::new(AnswerBody::from(Bytes::from(bytes)));
    let media = HeaderValue::from_static("application/vnd.dsse.envelope.v1+json");
    response.headers_mut().insert(header::CONTENT_TYPE, media);
    response
}
