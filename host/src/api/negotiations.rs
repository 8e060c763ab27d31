//! Negotiations over HTTP. Every arrow is a signed document; who waits for the other side asks again (GET), no callback is made.

use std::sync::Arc;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::answer::Answer;
use super::aside::{aside, asker};
use super::body;
use super::health::json as json_answer;
use super::intake;
use super::paging::Page;
use super::problem::{Problem, ProblemKind};
use crate::agreement::lines;
use crate::agreement::negotiation::{Negotiation, Taken};
use crate::host::Host;
use crate::state::negotiations::{Outline, Surroundings};

/// `POST /api/negotiations`: a request about an offer, or an offer to one party.
pub(super) async fn begin(host: &Arc<Host>, request: Request<Incoming>) -> Result<Answer, Problem> {
    let (caller, bytes) = intake::signed(host, request).await?;
    aside(host, asker(&caller), move |host| {
        let negotiation = host.negotiations.begin(&caller, &bytes, &surroundings(host))?;
        Ok(json_answer(StatusCode::CREATED, &shown(&negotiation)))
    })
    .await
}

/// `POST /api/negotiations/{id}/…`: the next message. The last part of the path says what it is to be; the document decides.
pub(super) async fn step(
    host: &Arc<Host>,
    id: &str,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let (caller, bytes) = intake::signed(host, request).await?;
    let id = id.to_owned();
    aside(host, asker(&caller), move |host| {
        let negotiation = host.negotiations.step(&caller, &id, &bytes, &surroundings(host))?;
        Ok(json_answer(StatusCode::OK, &shown(&negotiation)))
    })
    .await
}

/// Most negotiations in one list.
const LIST_MAX: usize = 1000;

/// `GET /api/negotiations`: the caller's own, the oldest first, page by page.
pub(super) fn list(host: &Host, request: &Request<Incoming>) -> Result<Answer, Problem> {
    let caller = host.auth.reader(body::bearer(request.headers()))?;
    let Page { after, limit, .. } = Page::read(request.uri().query(), None, LIST_MAX)?;
    let after = after.map(|after| after.strip_prefix("urn:uuid:").unwrap_or(after).parse());
    let after = after.transpose().map_err(|_| {
        let reason = "`after` is the number of a negotiation, `urn:uuid:…`";
        Problem::new(ProblemKind::InvalidRequest, reason)
    })?;
    // One more than is shown, to know whether there is more.
    let mut mine = host.negotiations.of(&caller, after, limit + 1);
    let is_more = mine.len() > limit;
    mine.truncate(limit);
    let next = mine.last().filter(|_| is_more).map(|last| last.urn());
    let negotiations: Vec<_> = mine.iter().map(|one| summary(one)).collect();
    Ok(json_answer(StatusCode::OK, &json!({"negotiations": negotiations, "next": next})))
}

/// `GET /api/negotiations/{id}`: one, with all its messages.
pub(super) async fn show(
    host: &Arc<Host>,
    id: &str,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    let caller = host.auth.reader(body::bearer(request.headers()))?;
    let id = id.to_owned();
    aside(host, asker(&caller), move |host| {
        let negotiation = host.negotiations.find(&caller, &id, &host.agreements)?;
        Ok(json_answer(StatusCode::OK, &shown(&negotiation)))
    })
    .await
}

fn surroundings(host: &Host) -> Surroundings<'_> {
    Surroundings {
        market: &host.market,
        deployments: &host.deployments,
        agreements: &host.agreements,
    }
}

fn summary(negotiation: &Outline) -> Value {
    json!({
        "id": negotiation.urn(),
        "state": negotiation.state.name(),
        "turn": negotiation.state.turn(),
        "model": negotiation.model,
        "publisher": negotiation.publisher,
        "consumer": negotiation.consumer,
        "agreement": negotiation.agreement,
    })
}

fn shown(negotiation: &Negotiation) -> Value {
    let mut shown = Outline::of(negotiation).map_or(Value::Null, |outline| summary(&outline));
    shown["clauses"] = json!(lines(negotiation.clauses()));
    shown["messages"] = negotiation.messages().iter().map(message).collect();
    shown
}

fn message(taken: &Taken) -> Value {
    let envelope: Value = serde_json::from_slice(&taken.message.to_bytes()).unwrap_or_default();
    json!({
        "kind": taken.message.kind(),
        "id": taken.message.id(),
        "by": taken.by,
        "at": taken.at.to_string(),
        "state": taken.state.name(),
        "envelope": envelope,
    })
}
