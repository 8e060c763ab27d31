//! Receipts over HTTP: proofs that anybody can check without this host, for the parties of a call.

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::answer::{Answer, AnswerBody};
use super::body;
use super::form;
use super::health::json as json_answer;
use super::problem::{Problem, ProblemKind};
use crate::auth::Caller;
use crate::host::Host;
use crate::id::CallId;
use crate::receipt::Receipt;

/// Most receipts in one list, the latest.
const LIST_MAX: usize = 100;

/// `GET /api/receipts`: the caller's latest, as consumer or as publisher.
pub(super) fn list(host: &Host, request: &Request<Incoming>) -> Result<Answer, Problem> {
    let caller = host.auth.reader(body::bearer(request.headers()))?;
    let log = host.receipts.log();
    let mut receipts = Vec::new();
    for party in caller.parties() {
        receipts.extend(log.recent(party, LIST_MAX).map_err(|error| Problem::internal(&error))?);
    }
    // Of one party they come in this order already.
    receipts.sort_by_key(|receipt| std::cmp::Reverse(receipt.at));
    receipts.truncate(LIST_MAX);
    let receipts: Vec<_> = receipts.iter().map(entry).collect();
    Ok(json_answer(StatusCode::OK, &json!({ "receipts": receipts })))
}

/// `GET /api/receipts/{call}`: the receipt, proven to be in the log. For the parties of the call only.
pub(super) fn prove(
    host: &Host,
    call: &str,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    let caller = host.auth.reader(body::bearer(request.headers()))?;
    let missing = || {
        Problem::new(
            ProblemKind::NotFound,
            format!("there is no receipt of yours for call `{call}`"),
        )
    };
    let call: CallId = call.parse().map_err(|_| missing())?;
    let log = host.receipts.log();
    let receipt = log.find(&call).map_err(|error| Problem::internal(&error))?;
    let receipt = receipt.filter(|receipt| is_party(&caller, receipt)).ok_or_else(missing)?;
    let proof = log.proof(&receipt.call).map_err(|error| Problem::internal(&error))?;
    let mut response = Response::new(AnswerBody::from(Bytes::from(proof.to_bytes())));
    let media = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, media);
    Ok(response)
}

/// `GET /api/checkpoint`: the latest signed state of the log.
pub(super) fn checkpoint(host: &Host) -> Result<Answer, Problem> {
    let note = host.receipts.log().checkpoint();
    let mut response = Response::new(AnswerBody::from(Bytes::from(note)));
    let media = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, media);
    Ok(response)
}

/// `GET /api/log/consistency?from=SIZE&to=SIZE`: that the log of so many receipts is the beginning of the later one, by default the
/// latest that was signed.
pub(super) fn consistency(host: &Host, request: &Request<Incoming>) -> Result<Answer, Problem> {
    let invalid = |detail: String| Problem::new(ProblemKind::InvalidRequest, detail);
    let log = host.receipts.log();
    let (mut from, mut to) = (None, None);
    for part in form::query(request.uri().query().unwrap_or_default())? {
        let size = std::str::from_utf8(&part.bytes).ok().and_then(|text| text.parse().ok());
        let size: u64 = size.ok_or_else(|| {
            invalid(format!("`{}` is not a number of receipts, such as `from=3`", part.name))
        })?;
        match part.name.as_str() {
            "from" => from = Some(size),
            "to" => to = Some(size),
            name => return Err(invalid(format!("there is no parameter `{name}` here"))),
        }
    }
    let from = from.ok_or_else(|| invalid("`from` is missing: `?from=SIZE&to=SIZE`".into()))?;
    let proof = log.consistency(from, to.unwrap_or_else(|| log.signed_size()));
    let proof = proof.map_err(|error| Problem::new(ProblemKind::NotFound, error.to_string()))?;
    let mut response = Response::new(AnswerBody::from(Bytes::from(proof.to_bytes())));
    let media = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, media);
    Ok(response)
}

fn is_party(caller: &Caller, receipt: &Receipt) -> bool {
    caller.is(&receipt.caller) || caller.is(&receipt.publisher)
}

fn entry(receipt: &Receipt) -> Value {
    json!({
        "call": receipt.call.to_string(),
        "at": receipt.at.to_string(),
        "model": receipt.model,
        "function": receipt.function,
        "result": receipt.result.to_string(),
        "agreement": receipt.agreement,
        "used": receipt.used,
        "max": receipt.max,
    })
}
