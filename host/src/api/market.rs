//! The market over HTTP: what is offered, and listing an offer.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::body;
use super::functions::description;
use super::health::json as json_answer;
use super::problem::{Problem, ProblemKind};
use super::router::Answer;
use crate::agreement::{SignedOffer, offer_lines};
use crate::dsse::ENVELOPE_BYTES_MAX;
use crate::host::Host;
use crate::id::Digest;
use crate::market::MarketError;

/// `GET /api/market`: every offer, with what it is for.
pub(super) fn list(host: &Host) -> Answer {
    let offers: Vec<_> = host.market.all().iter().filter_map(|offer| entry(host, offer)).collect();
    json_answer(StatusCode::OK, &json!({ "offers": offers }))
}

fn entry(host: &Host, offer: &SignedOffer) -> Option<Value> {
    let id = offer.id();
    let terms = offer_lines(offer.offer());
    let offer = offer.offer();
    let deployment = host.deployments.by_digest(offer.model(), offer.bundle())?;
    let mut entry = description(&deployment);
    entry["id"] = json!(id);
    entry["terms"] = json!(terms);
    Some(entry)
}

/// `GET /api/offers/{id}`: the signed offer, byte for byte.
pub(super) fn show(host: &Host, id: &str) -> Result<Answer, Problem> {
    let id: Digest = id.parse().map_err(|error: crate::id::IdError| {
        Problem::new(ProblemKind::NotFound, error.to_string())
    })?;
    let offer = host.market.offer(&id).ok_or(MarketError::NotFound(id))?;
    Ok(envelope(offer.to_bytes()))
}

/// `POST /api/offers`: lists a signed offer.
pub(super) async fn publish(
    host: &Arc<Host>,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let (parts, body) = request.into_parts();
    let publisher = host.auth.authenticate(body::bearer(&parts.headers))?;
    let timeout = host.config().api.body_read_timeout;
    let bytes = body::read(&parts.headers, body, ENVELOPE_BYTES_MAX as u64, timeout).await?;
    let offer = host.market.list(&publisher, &bytes, &host.deployments)?;
    let listed = json!({"id": offer.id(), "model": offer.offer().model()});
    Ok(json_answer(StatusCode::CREATED, &listed))
}

/// A signed document as an answer.
pub(super) fn envelope(bytes: Vec<u8>) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(bytes)));
    let media = HeaderValue::from_static("application/vnd.dsse.envelope.v1+json");
    response.headers_mut().insert(header::CONTENT_TYPE, media);
    response
}
