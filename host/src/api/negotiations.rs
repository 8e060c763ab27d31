//! Negotiations over HTTP. Every step is a signed document. A party polls for the other side's step (GET); there are no callbacks.

use std::sync::Arc;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde_json::Value as Json;
use uuid::Uuid;

use super::answer::{Answer, done, json};
use super::aside::{aside, asker};
use super::body;
use super::intake;
use super::problem::{Problem, ProblemKind};
use super::query::{Asked, Form, Limit, Value, query};
use crate::agreement::negotiation::{Negotiation, Taken};
use crate::agreement::{Line, Role, lines};
use crate::host::Host;
use crate::state::negotiations::{Outline, Surroundings};
use crate::wire::{agreements, negotiations};

/// `POST /api/negotiations`: a request about an offer, or an offer to one party.
pub(super) async fn begin(host: &Arc<Host>, request: Request<Incoming>) -> Result<Answer, Problem> {
    let (caller, bytes) = intake::signed(host, request).await?;
    aside(host, asker(&caller), move |host| {
        let negotiation = host.negotiations.begin(&caller, &bytes, &surroundings(host))?;
        Ok(json(StatusCode::CREATED, &shown(&negotiation)))
    })
    .await
}

/// `POST /api/negotiations/{id}/…`: the next message. The last segment names its intended kind; the document decides.
pub(super) async fn step(
    host: &Arc<Host>,
    id: &str,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let (caller, bytes) = intake::signed(host, request).await?;
    let id = id.to_owned();
    aside(host, asker(&caller), move |host| {
        let negotiation = host.negotiations.step(&caller, &id, &bytes, &surroundings(host))?;
        Ok(done(&shown(&negotiation)))
    })
    .await
}

/// Maximum negotiations in a list.
const LIST_MAX: usize = 1000;

/// The number of a negotiation.
pub(super) const NUMBER: Form = Form::Text {
    pattern: "^urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
    example: "urn:uuid:0192f0c1-2f3a-7c44-8f0e-3b1d5a6c7e90",
};

/// The number of a negotiation in a query.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Number(Uuid);

impl Value for Number {
    const FORM: Form = NUMBER;

    fn read(name: &str, text: &str) -> Result<Self, Problem> {
        text.strip_prefix("urn:uuid:").unwrap_or(text).parse().map(Self).map_err(|_| {
            let reason = format!("`{name}` is the number of a negotiation, `urn:uuid:…`");
            Problem::new(ProblemKind::InvalidRequest, reason)
        })
    }
}

query! {
    /// The wanted part of the list of negotiations.
    Wanted {
        /// The `next` of the previous page.
        after: Option<Number>,
        /// The most entries per page.
        limit: Limit<LIST_MAX>,
    }
}

/// `GET /api/negotiations`: the caller's negotiations, oldest first, paged.
pub(super) fn list(
    host: &Host,
    asked: Asked<'_, Wanted>,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    let caller = host.auth.reader(body::bearer(request.headers()))?;
    let Wanted { after, limit: Limit(limit) } = asked.read()?;
    let after = after.map(|Number(after)| after);
    // One more than shown, to know whether there is more.
    let mut mine = host.negotiations.of(&caller, after, limit + 1);
    let is_more = mine.len() > limit;
    mine.truncate(limit);
    let next = mine.last().filter(|_| is_more).map(|last| last.urn());
    let negotiations: Vec<_> = mine.iter().map(|one| outline(one)).collect();
    Ok(done(&negotiations::Page { negotiations, next }))
}

/// `GET /api/negotiations/{id}`: one negotiation with all its messages.
pub(super) async fn show(
    host: &Arc<Host>,
    id: &str,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    let caller = host.auth.reader(body::bearer(request.headers()))?;
    let id = id.to_owned();
    aside(host, asker(&caller), move |host| {
        let negotiation = host.negotiations.find(&caller, &id, &host.agreements)?;
        Ok(done(&shown(&negotiation)))
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

fn outline(negotiation: &Outline) -> negotiations::Outline {
    negotiations::Outline {
        id: negotiation.urn(),
        state: negotiation.state.name().into(),
        turn: negotiation.state.turn().map(role),
        model: negotiation.model.clone(),
        publisher: negotiation.publisher,
        consumer: negotiation.consumer,
        agreement: negotiation.agreement,
    }
}

/// A side, as the API writes it.
pub(super) fn role(role: Role) -> agreements::Role {
    match role {
        Role::Publisher => agreements::Role::Publisher,
        Role::Consumer => agreements::Role::Consumer,
    }
}

fn shown(negotiation: &Negotiation) -> negotiations::Shown {
    let begun = Outline::of(negotiation).expect("invariant: a negotiation begins with a message");
    negotiations::Shown {
        outline: outline(&begun),
        clauses: lines(negotiation.clauses()).into_iter().map(clause).collect(),
        messages: negotiation.messages().iter().map(message).collect(),
    }
}

fn clause(Line { rule, class, text }: Line) -> negotiations::Clause {
    negotiations::Clause { rule, class: class.name().into(), text }
}

fn message(taken: &Taken) -> negotiations::Message {
    let envelope: Json = serde_json::from_slice(&taken.message.to_bytes()).unwrap_or_default();
    negotiations::Message {
        kind: taken.message.kind().to_owned(),
        id: *taken.message.id(),
        by: taken.by,
        at: taken.at.to_string(),
        state: taken.state.name().into(),
        envelope,
    }
}
