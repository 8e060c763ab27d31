//! Two parties, a model and a clock: the setup of most agreement tests.

use std::time::Duration;

use hospes::agreement::events::{Actor, Change, Event, Reason, SignedEvent};
use hospes::agreement::{Clauses, Proposal, SignedOffer, Target, Versions};
use hospes::clock::{Clock, ManualClock};
use hospes::id::{Digest, ModelName};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{Party, Reply, TestHost, terms};

const NOON: &str = "2026-12-01T12:00:00Z";

/// When each scene begins.
pub fn noon() -> Timestamp {
    NOON.parse().expect("a time")
}

/// A host with a publisher, a consumer and a published model, on a clock that the test moves.
pub struct Scene {
    pub host: TestHost,
    pub clock: std::sync::Arc<ManualClock>,
    pub acme: Party,
    pub zoe: Party,
    pub published: (ModelName, Digest),
}

impl Scene {
    /// Publishes the bundle as acme, at noon.
    pub fn new(bundle: &[u8]) -> Self {
        let clock = ManualClock::at(noon());
        let host = TestHost::builder().clock(Clock::Manual(clock.clone())).start();
        let (acme, zoe) = (host.party("acme"), host.party("zoe"));
        let published = host.publish(&acme, bundle);
        Self { host, clock, acme, zoe, published }
    }

    /// Terms for one function of the model, with these lines.
    pub fn clauses(&self, function: &str, lines: &[&str]) -> Clauses {
        let (model, bundle) = self.published.clone();
        let target = Target { model, versions: Versions::Bundle(bundle) };
        let mut clauses = Clauses::new(target, vec![terms(function)]);
        lines.iter().for_each(|line| clauses.add_line(line, noon()).expect(line));
        clauses
    }

    /// Lists an offer.
    pub fn list(&self, publisher: &Party, offer: &SignedOffer) -> Reply {
        self.host.post("/api/offers").bearer(&publisher.api_key).body(offer.to_bytes()).send()
    }

    /// Concludes an agreement, signed by both. Returns its digest.
    pub fn agree(&self, publisher: &Party, consumer: &Party, clauses: Clauses) -> Digest {
        let offer = publisher.offer_of(clauses, Vec::new());
        self.list(publisher, &offer).ok();
        let proposal = self.sign(publisher, consumer, &offer);
        let agreed = self.host.submit(consumer, &proposal.to_bytes()).ok().json();
        assert_eq!(agreed["state"], "active", "{agreed}");
        *proposal.id()
    }

    /// An agreement to an offer, signed by both but not submitted.
    pub fn sign(&self, publisher: &Party, consumer: &Party, offer: &SignedOffer) -> Proposal {
        let now = self.host.host().clock().now();
        let accepted = hospes::agreement::Agreement::accept(offer, consumer.key.party(), now);
        let mut proposal =
            Proposal::sign(accepted.expect("accepted"), &consumer.key).expect("signed");
        proposal.add_signature(&publisher.key).expect("signed");
        proposal
    }

    /// Calls `acme/echo/echo-u8`.
    pub fn call(&self, consumer: &Party) -> Reply {
        self.host.call(consumer, "acme/echo/echo-u8").json(r#"{"v":1}"#).send()
    }

    /// The events of an agreement, as a party sees them.
    pub fn history(&self, party: &Party, agreement: &Digest) -> Value {
        self.host
            .get(&format!("/api/agreements/{agreement}/events"))
            .bearer(&party.api_key)
            .send()
            .ok()
            .json()
    }

    /// The next event of an agreement, signed.
    pub fn event(
        &self,
        (by, role): (&Party, Actor),
        agreement: &Digest,
        change: Change,
        reason: Reason,
        after: Duration,
    ) -> SignedEvent {
        let next = &self.history(by, agreement)["next"];
        let issued = self.host.host().clock().now();
        let event = Event {
            agreement: *agreement,
            sequence: u32::try_from(next["sequence"].as_u64().expect("a number")).expect("small"),
            previous: next["previous"].as_str().expect("text").parse().expect("a digest"),
            change,
            role,
            by: by.key.party(),
            reason,
            effective: issued + after,
            issued,
            evidence: None,
            note: None,
        };
        SignedEvent::sign(event, &[&by.key]).expect("signed")
    }

    /// Submits an event.
    pub fn hand_in(&self, by: &Party, agreement: &Digest, event: &SignedEvent) -> Reply {
        let path = format!("/api/agreements/{agreement}/events");
        self.host.post(&path).bearer(&by.api_key).body(event.to_bytes()).send()
    }

    /// Signs the next event, effective immediately, and submits it.
    pub fn happen(
        &self,
        by: (&Party, Actor),
        agreement: &Digest,
        change: Change,
        reason: Reason,
    ) -> Reply {
        let event = self.event(by, agreement, change, reason, Duration::ZERO);
        self.hand_in(by.0, agreement, &event)
    }
}

/// The agreement's state and how much of it is used.
pub fn remaining(scene: &Scene, party: &Party, agreement: &Digest) -> Value {
    let all = scene.host.get("/api/agreements").bearer(&party.api_key).send().ok().json();
    let all = all["agreements"].as_array().expect("a list").clone();
    let one = all.into_iter().find(|one| one["id"] == agreement.to_string()).expect("it is there");
    json!([one["state"], one["rules"][0]["used"]])
}
