//! Agreements over HTTP: submitting signatures, and what the parties can see.

use std::sync::Arc;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::Answer;
use super::aside::{aside, asker};
use super::body;
use super::health::json as json_answer;
use super::intake;
use super::market::{digest, envelope};
use super::operations::withdrawn_from;
use super::paging::Page;
use super::problem::{Problem, ProblemKind};
use crate::agreement::events::{Applied, SignedEvent, State};
use crate::host::Host;
use crate::id::FunctionName;
use crate::ledger::limits::Metered;
use crate::state::accounts::Caller;
use crate::state::agreements::{LimitUse, RuleUse, Simulated, Standing};

/// `POST /api/agreements`: an agreement with one signature or both. Signatures of several submissions add up.
pub(super) async fn submit(
    host: &Arc<Host>,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let (caller, bytes) = intake::signed(host, request).await?;
    aside(host, asker(&caller), move |host| {
        let standing = host.agreements.submit(&caller, &bytes, |offer| host.market.offer(offer))?;
        Ok(json_answer(
            StatusCode::OK,
            &json!({
                "id": standing.id(),
                "state": state(host, &standing),
                "missing": missing(&standing),
            }),
        ))
    })
    .await
}

/// Most agreements in one list.
const LIST_MAX: usize = 1000;

/// `GET /api/agreements`: the caller's own, with what is used of each, in the order of their numbers.
pub(super) async fn list(host: &Arc<Host>, request: &Request<Incoming>) -> Result<Answer, Problem> {
    let caller = host.auth.reader(body::bearer(request.headers()))?;
    let Page { after, limit, .. } = Page::read(request.uri().query(), None, LIST_MAX)?;
    let after = after.map(digest).transpose()?;
    aside(host, asker(&caller), move |host| {
        let mine = host.agreements.of(&caller);
        let begin = after.map_or(0, |after| mine.partition_point(|one| *one.id() <= after));
        let shown = &mine[begin..mine.len().min(begin + limit)];
        let next = shown.last().filter(|_| begin + shown.len() < mine.len());
        let next = next.map(Standing::id);
        let agreements: Vec<_> = shown.iter().map(|standing| entry(host, standing)).collect();
        Ok(json_answer(StatusCode::OK, &json!({"agreements": agreements, "next": next})))
    })
    .await
}

/// `GET /api/agreements/{id}`: the document with its signatures, byte for byte.
pub(super) async fn show(
    host: &Arc<Host>,
    id: &str,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    let caller = host.auth.reader(body::bearer(request.headers()))?;
    let id = digest(id)?;
    aside(host, asker(&caller), move |host| {
        Ok(envelope(host.agreements.find(&caller, &id)?.envelope()?))
    })
    .await
}

/// Most bytes of a call to be simulated.
const SIMULATED_BYTES_MAX: u64 = 4096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SimulatedWire {
    function: FunctionName,
    #[serde(default)]
    input_bytes: u64,
    #[serde(default = "one")]
    rows: u64,
    #[serde(default)]
    purpose: Option<String>,
    #[serde(default)]
    at: Option<Timestamp>,
}

const fn one() -> u64 {
    1
}

/// `POST /api/agreements/{id}/simulate`: would this call be allowed, and why not.
pub(super) async fn simulate(
    host: &Arc<Host>,
    id: &str,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let id = digest(id)?;
    let (caller, call) = simulated(host, request).await?;
    aside(host, asker(&caller), move |host| {
        let report = host.agreements.simulate(&caller, &id, &call, &host.deployments)?;
        Ok(json_answer(StatusCode::OK, &json!(report)))
    })
    .await
}

/// Who asks, and about which call.
pub(super) async fn simulated(
    host: &Arc<Host>,
    request: Request<Incoming>,
) -> Result<(Caller, Simulated), Problem> {
    let (caller, bytes) = intake::document(host, request, SIMULATED_BYTES_MAX).await?;
    let wire: SimulatedWire = serde_json::from_slice(&bytes)
        .map_err(|error| Problem::new(ProblemKind::InvalidRequest, error.to_string()))?;
    let SimulatedWire { function, input_bytes, rows, purpose, at } = wire;
    Ok((caller, Simulated { function, input_bytes, rows: rows.max(1), purpose, at }))
}

fn entry(host: &Host, standing: &Standing) -> Value {
    let outline = standing.outline();
    json!({
        "id": outline.id,
        "model": outline.model,
        "publisher": outline.publisher,
        "consumer": outline.consumer,
        "state": state(host, standing),
        "missing": missing(standing),
        "held": host.agreements.held_because(standing),
        "withdrawn": withdrawn_from(host, &outline.model, |digest, version| {
            outline.versions.cover(digest, version)
        }),
        "rules": standing.rules(host.clock().now()).iter().map(rule).collect::<Vec<_>>(),
    })
}

fn rule(rule: &RuleUse) -> Value {
    let used = |metered: Metered| rule.usage.used[metered as usize];
    json!({
        "rule": rule.rule,
        "function": rule.function,
        "used": used(Metered::Calls),
        "rows": used(Metered::Rows),
        "bytes": used(Metered::Bytes),
        "tokens": used(Metered::Tokens),
        "timeMicros": u64::try_from(rule.usage.time.as_micros()).unwrap_or(u64::MAX),
        "running": rule.usage.running,
        "priceMicros": rule.price,
        "max": rule.max,
        "remaining": rule.max.map(|max| max.saturating_sub(used(Metered::Calls))),
        "ends": rule.ends.map(|ends| ends.to_string()),
        "limits": rule.limits.iter().map(limit).collect::<Vec<_>>(),
    })
}

fn limit(LimitUse { limit, used, max }: &LimitUse) -> Value {
    json!({"limit": limit, "used": used, "max": max, "left": max.saturating_sub(*used)})
}

fn state(host: &Host, standing: &Standing) -> &'static str {
    let now = host.clock().now();
    match standing.state_at(now) {
        None => "proposed",
        Some(State::Started) if host.agreements.waits_for_release(standing) => "frozen",
        Some(State::Started) if host.agreements.held_because(standing).is_some() => "stopped",
        Some(State::Started) if standing.has_ended(now) => "ended",
        Some(State::Started) => "active",
        Some(State::Suspended) => "suspended",
        Some(State::Frozen) => "frozen",
        Some(State::Completed) => "completed",
        Some(State::Terminated) => "terminated",
    }
}

/// `GET /api/agreements/{id}/events`: what became of it, and what the next event has to build on.
pub(super) async fn events(
    host: &Arc<Host>,
    id: &str,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    let caller = host.auth.reader(body::bearer(request.headers()))?;
    let id = digest(id)?;
    aside(host, asker(&caller), move |host| {
        let standing = host.agreements.find(&caller, &id)?;
        Ok(json_answer(StatusCode::OK, &history(host, &standing)?))
    })
    .await
}

/// `POST /api/agreements/{id}/events`: an event, signed by a party.
pub(super) async fn event(
    host: &Arc<Host>,
    id: &str,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let id = digest(id)?;
    let (caller, bytes) = intake::signed(host, request).await?;
    aside(host, asker(&caller), move |host| {
        let (applied, standing) = host.agreements.event(&caller, &id, &bytes)?;
        let mut answer = history(host, &standing)?;
        answer["applied"] = json!(match applied {
            Applied::Now => "now",
            Applied::Known => "known",
        });
        Ok(json_answer(StatusCode::OK, &answer))
    })
    .await
}

pub(super) fn history(host: &Host, standing: &Standing) -> Result<Value, Problem> {
    let Some(lifecycle) = standing.history() else {
        return Ok(json!({"id": standing.id(), "state": state(host, standing), "events": []}));
    };
    let (sequence, previous) = lifecycle.next();
    let envelope = |bytes: Vec<u8>| serde_json::from_slice::<Value>(&bytes).unwrap_or(Value::Null);
    let shown = |signed: &SignedEvent| json!({"id": signed.id(), "event": signed.content(), "envelope": envelope(signed.to_bytes())});
    let events = host.agreements.events_of(standing.id())?;
    Ok(json!({
        "id": standing.id(),
        "state": state(host, standing),
        "next": {"sequence": sequence, "previous": previous},
        "events": events.iter().map(shown).collect::<Vec<_>>(),
        "waiting": lifecycle.waiting().map(shown).collect::<Vec<_>>(),
    }))
}

fn missing(standing: &Standing) -> Vec<String> {
    standing.missing().iter().map(ToString::to_string).collect()
}
