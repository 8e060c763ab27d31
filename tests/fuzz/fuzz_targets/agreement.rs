//! Offers, requests, agreements, events and moves. Anything that parses is written again as the
//! same bytes.
//!
//! The input is tried as an envelope, and as a payload that is signed here with the right key,
//! because a fuzzer cannot guess signatures.
#![no_main]

use std::sync::LazyLock;

use hospes::agreement::events::SignedEvent;
use hospes::agreement::negotiation::Message;
use hospes::agreement::{Proposal, SignedAgreement, SignedOffer};
use hospes::dsse::Envelope;
use hospes::id::Digest;
use hospes::key::PartyKey;
use libfuzzer_sys::fuzz_target;

/// The publisher and the consumer of the conformance corpus, with which fuzzing begins.
static KEYS: LazyLock<[PartyKey; 2]> = LazyLock::new(|| {
    ["acme", "zoe"].map(|name| PartyKey::from_secret(Digest::of(name.as_bytes()).as_bytes()))
});

fuzz_target!(|bytes: &[u8]| {
    envelope(bytes);
    payload(bytes);
    // JSON is made canonical first: most mutations break the canonical form and would be rejected
    // early.
    if let Ok(json) = serde_json::from_slice::<serde_json::Value>(bytes)
        && let Ok(canonical) = serde_json_canonicalizer::to_vec(&json)
    {
        payload(&canonical);
    }
});

fn payload(bytes: &[u8]) {
    let [acme, zoe] = &*KEYS;
    for kind in ["offer", "request", "event", "move"] {
        let kind = format!("application/vnd.hospes.{kind}.v1+json");
        for key in [acme, zoe] {
            if let Ok(signed) = Envelope::sign(&kind, bytes.to_vec(), key) {
                envelope(&signed.to_bytes());
            }
        }
    }
    if let Ok(mut signed) =
        Envelope::sign("application/vnd.hospes.agreement.v1+json", bytes.to_vec(), acme)
    {
        let _ = signed.add_signature(zoe);
        envelope(&signed.to_bytes());
    }
}

fn envelope(bytes: &[u8]) {
    if let Ok(offer) = SignedOffer::parse(bytes) {
        assert_eq!(offer.to_bytes(), bytes);
        let again = serde_json_canonicalizer::to_vec(offer.offer()).expect("JSON");
        assert_eq!(Digest::of(&again), *offer.id(), "nothing is dropped");
    }
    if let Ok(proposal) = Proposal::parse(bytes) {
        assert_eq!(proposal.to_bytes(), bytes);
    }
    if let Ok(agreement) = SignedAgreement::parse(bytes) {
        assert_eq!(agreement.to_bytes(), bytes);
        let again = serde_json_canonicalizer::to_vec(agreement.agreement()).expect("JSON");
        assert_eq!(Digest::of(&again), *agreement.id(), "nothing is dropped");
    }
    if let Ok(event) = SignedEvent::parse(bytes) {
        assert_eq!(event.to_bytes(), bytes);
    }
    if let Ok(message) = Message::parse(bytes) {
        assert_eq!(message.to_bytes(), bytes);
    }
}
