//! Agreements over HTTP: submitting signatures, and what the parties can see.

use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use serde_json::Value;

use super::answer::{Answer, done};
use super::aside::{aside, asker};
use super::body;
use super::intake;
use super::market::{digest, envelope};
use super::negotiations::role;
use super::operations::withdrawn_from;
use super::paging::Page;
use super::problem::{Problem, ProblemKind};
use super::query::{Asked, Limit};
use crate::agreement::events::{AgreementState, Applied, SignedEvent};
use crate::host::Host;
use crate::ledger::limits::Metered;
use crate::state::accounts::Caller;
use crate::state::agreements::{self as kept, Simulated, Standing};
use crate::wire::agreements::{
    self, Entry, History, LimitUse, NextEvent, Role, RuleUse, SimulatedCall, Submitted,
};

/// `POST /api/agreements`: an agreement with one or both signatures. Signatures of several submissions add up.
pub(super) async fn submit(
    host: &Arc<Host>,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let (caller, bytes) = intake::signed(host, request).await?;
    aside(host, asker(&caller), move |host| {
        let standing = host.agreements.submit(&caller, &bytes, |offer| host.market.offer(offer))?;
        let (id, state) = (*standing.id(), state(host, &standing));
        let why = host.agreements.why_unsigned(&standing).map(|why| why.to_string());
        Ok(done(&Submitted { id, state, missing: missing(&standing), why }))
    })
    .await
}

/// Maximum agreements in a list.
pub(super) const LIST_MAX: usize = 1000;

/// `GET /api/agreements`: the caller's agreements with their usage, ordered by number.
pub(super) async fn list(
    host: &Arc<Host>,
    asked: Asked<'_, Page<LIST_MAX>>,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    let caller = host.auth.reader(body::bearer(request.headers()))?;
    let Page { after, limit: Limit(limit) } = asked.read()?;
    aside(host, asker(&caller), move |host| {
        let mine = host.agreements.of(&caller);
        let begin = after.map_or(0, |after| mine.partition_point(|one| *one.id() <= after));
        let shown = &mine[begin..mine.len().min(begin + limit)];
        let next = shown.last().filter(|_| begin + shown.len() < mine.len());
        let next = next.map(|last| *last.id());
        let agreements: Vec<_> = shown.iter().map(|standing| entry(host, standing)).collect();
        Ok(done(&agreements::Page { agreements, next }))
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

/// Maximum size of a simulated call, in bytes.
const SIMULATED_BYTES_MAX: u64 = 4096;

/// `POST /api/agreements/{id}/simulate`: whether this call would be permitted, and if not, why.
pub(super) async fn simulate(
    host: &Arc<Host>,
    id: &str,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let id = digest(id)?;
    let (caller, call) = simulated(host, request).await?;
    aside(host, asker(&caller), move |host| {
        let report = host.agreements.simulate(&caller, &id, &call, &host.deployments)?;
        Ok(done(&report))
    })
    .await
}

/// The caller, and the call it asks about.
pub(super) async fn simulated(
    host: &Arc<Host>,
    request: Request<Incoming>,
) -> Result<(Caller, Simulated), Problem> {
    let (caller, call) = intake::required(host, request, SIMULATED_BYTES_MAX).await?;
    let SimulatedCall { function, input_bytes, rows, purpose, at } = call;
    let at = at.map(|at| at.parse()).transpose().map_err(|error: jiff::Error| {
        Problem::new(ProblemKind::InvalidRequest, format!("`at`: {error}"))
    })?;
    Ok((caller, Simulated { function, input_bytes, rows: rows.max(1), purpose, at }))
}

fn entry(host: &Host, standing: &Standing) -> Entry {
    let outline = standing.outline();
    Entry {
        id: outline.id,
        model: outline.model.clone(),
        publisher: outline.publisher,
        consumer: outline.consumer,
        state: state(host, standing),
        missing: missing(standing),
        held: host.agreements.held_because(standing),
        withdrawn: withdrawn_from(host, &outline.model, |digest, version| {
            outline.versions.cover(digest, version)
        }),
        rules: standing.rules(host.clock().now()).into_iter().map(rule).collect(),
    }
}

fn rule(rule: kept::RuleUse) -> RuleUse {
    let used = |metered: Metered| rule.usage.used[metered as usize];
    RuleUse {
        rule: rule.rule,
        used: used(Metered::Calls),
        rows: used(Metered::Rows),
        bytes: used(Metered::Bytes),
        tokens: used(Metered::Tokens),
        time_micros: u64::try_from(rule.usage.time.as_micros()).unwrap_or(u64::MAX),
        running: rule.usage.running,
        price_micros: rule.price,
        max: rule.max,
        remaining: rule.max.map(|max| max.saturating_sub(used(Metered::Calls))),
        ends: rule.ends.map(|ends| ends.to_string()),
        limits: rule.limits.iter().map(limit).collect(),
        function: rule.function,
    }
}

fn limit(kept::LimitUse { limit, used, max }: &kept::LimitUse) -> LimitUse {
    let left = max.saturating_sub(*used);
    LimitUse { limit: (*limit).to_owned(), used: *used, max: *max, left }
}

fn state(host: &Host, standing: &Standing) -> agreements::State {
    use agreements::State as Shown;
    let now = host.clock().now();
    match standing.state_at(now) {
        None => Shown::Proposed,
        Some(AgreementState::Started) if host.agreements.waits_for_release(standing) => {
            Shown::Frozen
        }
        Some(AgreementState::Started) if host.agreements.held_because(standing).is_some() => {
            Shown::Stopped
        }
        Some(AgreementState::Started) if standing.has_ended(now) => Shown::Ended,
        Some(AgreementState::Started) => Shown::Active,
        Some(AgreementState::Suspended) => Shown::Suspended,
        Some(AgreementState::Frozen) => Shown::Frozen,
        Some(AgreementState::Completed) => Shown::Completed,
        Some(AgreementState::Terminated) => Shown::Terminated,
    }
}

/// `GET /api/agreements/{id}/events`: its history, and the digest that the next event must refer to.
pub(super) async fn events(
    host: &Arc<Host>,
    id: &str,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    let caller = host.auth.reader(body::bearer(request.headers()))?;
    let id = digest(id)?;
    aside(host, asker(&caller), move |host| {
        let standing = host.agreements.find(&caller, &id)?;
        Ok(done(&history(host, &standing)?))
    })
    .await
}

/// `POST /api/agreements/{id}/events`: an event signed by a party.
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
        answer.applied = Some(match applied {
            Applied::Now => agreements::Applied::Now,
            Applied::Known => agreements::Applied::Known,
        });
        Ok(done(&answer))
    })
    .await
}

pub(super) fn history(host: &Host, standing: &Standing) -> Result<History, Problem> {
    let (id, state) = (*standing.id(), state(host, standing));
    let history =
        History { id, state, next: None, events: Vec::new(), waiting: None, applied: None };
    let Some(lifecycle) = standing.history() else { return Ok(history) };
    let (sequence, previous) = lifecycle.next();
    let events = host.agreements.events_of(standing.id())?;
    Ok(History {
        next: Some(NextEvent { sequence, previous }),
        events: events.iter().map(event_of).collect(),
        waiting: Some(lifecycle.waiting().map(event_of).collect()),
        ..history
    })
}

fn event_of(signed: &SignedEvent) -> agreements::Event {
    let envelope: Value = serde_json::from_slice(&signed.to_bytes()).unwrap_or_default();
    let event = serde_json::to_value(signed.content()).unwrap_or_default();
    agreements::Event { id: *signed.id(), event, envelope }
}

fn missing(standing: &Standing) -> Vec<Role> {
    standing.missing().into_iter().map(role).collect()
}
