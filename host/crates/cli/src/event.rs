//! `hospes agreement suspend`, `resume`, `terminate` and `complete`: signed events that change an agreement's state.

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Context;
use super::agreement;
use super::client::{Client, Payload, Post};
use super::document;
use super::failure::{During as _, Failure};
use super::quantities::{self, Moment};
use super::screen::{Answer, printable};
use hospes_agreement::Role;
use hospes_agreement::events::{Actor, Change, Event, Reason, SignedEvent};
use hospes_core::id::Digest;
use hospes_wire::agreements::History;

/// The agreement and the reason.
#[derive(Debug, Args)]
pub struct Happen {
    /// The agreement's identifier.
    id: Digest,
    /// The reason: routine, maintenance, withdrawn, expired, exhausted, abuse, non-payment, legal-order, security, key-compromise.
    #[arg(long, value_name = "REASON", default_value = "routine", value_parser = reason)]
    reason: Reason,
    /// When it takes effect [default: now, or the end of the notice period].
    #[arg(long, value_name = "TIME", value_parser = quantities::moment)]
    at: Option<Moment>,
    /// A sentence for the other party, kept with the event.
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Sign without asking.
    #[arg(long, short)]
    yes: bool,
}

impl Happen {
    /// Signs the event and submits it.
    pub fn run(self, context: &Context, change: Change) -> Result<Answer, Failure> {
        let me = context.me()?;
        let key = me.key()?;
        let client = context.client()?;
        let path = format!("/api/agreements/{}", self.id);
        let proposal = agreement::fetch(&client, &self.id)?;
        let agreement = proposal.agreement();
        let role = if me.is(agreement.party(Role::Publisher))? {
            Role::Publisher
        } else if me.is(agreement.party(Role::Consumer))? {
            Role::Consumer
        } else {
            let name = me.name();
            return Err(Failure::new(format!("`{name}` is neither of the agreement's parties")));
        };
        let path = format!("{path}/events");
        let (sequence, previous) = next(&client, &path, &self.id)?;
        let now = context.clock.now();
        let issued = Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now);
        let notice = agreement.clauses().notice.as_duration();
        let announced = role == Role::Publisher
            && matches!(change, Change::Suspend | Change::Terminate)
            && !self.reason.is_urgent();
        let earliest =
            if announced { issued.checked_add(notice).unwrap_or(Timestamp::MAX) } else { issued };
        let effective = self.at.map_or(earliest, |at| at.resolve(now));
        let event = Event {
            agreement: self.id,
            sequence,
            previous,
            change,
            role: Actor::from(role),
            by: key.party(),
            reason: self.reason,
            effective,
            issued,
            evidence: None,
            note: self.note.map(Into::into),
        };
        let what = format!(
            "{change} agreement {} of {} from {effective} on, for {}",
            self.id,
            agreement.model(),
            self.reason
        );
        context.screen.note(&what);
        if !self.yes {
            context.screen.confirm(&format!("sign this as {role} `{}`?", me.name()))?;
        }
        let event = SignedEvent::sign(event, &[&key])?;
        let post = Post {
            content_type: document::ENVELOPE_TYPE,
            headers: Vec::new(),
            body: Payload::Bytes(event.to_bytes()),
        };
        let (json, history): (Value, History) = client.post(&path, post)?.document()?;
        let plain = format!("event {sequence} {}\n  state {}", event.id(), history.state);
        Ok(Answer::new(printable(&plain), json))
    }
}

/// The event that the next one follows. The history is verified here, because the host is not trusted.
fn next(client: &Client, path: &str, agreement: &Digest) -> Result<(u32, Digest), Failure> {
    let (_, history): (_, History) = client.document(path)?;
    let mut previous = *agreement;
    for (number, past) in (1..).zip(&history.events) {
        let envelope = serde_json_canonicalizer::to_vec(&past.envelope)
            .map_err(|error| Failure::new(error.to_string()))?;
        let signed = SignedEvent::parse(&envelope)
            .during(|| format!("event {number} of the host's history is not valid"))?;
        let event = signed.content();
        let fits =
            event.agreement == *agreement && event.sequence == number && event.previous == previous;
        if !fits || *signed.id() != past.id {
            return Err(Failure::new(format!(
                "the host's history is inconsistent at event {number}"
            )));
        }
        previous = *signed.id();
    }
    let next = history.next.ok_or_else(|| {
        Failure::new(format!("the agreement is {}, so no event can change it", history.state))
    })?;
    if next.previous != previous {
        return Err(Failure::new("the host's history is inconsistent at its end"));
    }
    Ok((next.sequence, previous))
}

/// The history of an agreement, for `agreement show`.
pub fn summary(client: &Client, id: &Digest) -> Option<(String, Value)> {
    let (json, history): (Value, History) =
        client.document(&format!("/api/agreements/{id}/events")).ok()?;
    Some((history.state.to_string(), json!(json["events"])))
}

fn reason(name: &str) -> Result<Reason, String> {
    Reason::named(name).ok_or_else(|| {
        let names: Vec<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        format!("no such reason; the reasons are {}", names.join(", "))
    })
}
