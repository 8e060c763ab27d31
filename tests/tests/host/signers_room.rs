//! Limits on agreements: an agreement counts only for the parties that have signed it, and only
//! while it is useful.

use std::time::{Duration, Instant};

use hospes::agreement::negotiation::{Move, MoveKind, SignedMove};
use hospes::agreement::{
    Agreement, Mandate, Proposal, Request, SignedMandate, SignedOffer, SignedRequest,
};
use hospes::clock::{Clock, ManualClock};
use hospes::config::Market;
use hospes::id::Digest;
use serde_json::{Value, json};
use system_tests::scene::{Scene, noon};
use system_tests::{Party, Reply, TestHost, plugin};

fn scene(change: impl FnOnce(&mut Market)) -> Scene {
    let clock = ManualClock::at(noon());
    let host = TestHost::builder()
        .clock(Clock::Manual(clock.clone()))
        .config(|config| change(&mut config.market))
        .start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let published = host.publish(&acme, &plugin("echo"));
    Scene { host, clock, acme, zoe, published }
}

/// Restarts the host on the same data, with the same clock.
fn again(scene: Scene, change: impl FnOnce(&mut Market)) -> Scene {
    let Scene { host, clock, acme, zoe, published } = scene;
    let host = TestHost::builder()
        .clock(Clock::Manual(clock.clone()))
        .config(|config| change(&mut config.market))
        .data(host.stop())
        .start();
    Scene { host, clock, acme, zoe, published }
}

fn listed(scene: &Scene) -> SignedOffer {
    let offer = scene.acme.offer_of(scene.clauses("echo-u8", &[]), Vec::new());
    scene.list(&scene.acme, &offer).ok();
    offer
}

/// Submits an agreement of these parties, signed only by `signer`.
fn propose(
    scene: &Scene,
    offer: &SignedOffer,
    consumer: &Party,
    signer: &Party,
) -> (Reply, Digest) {
    let now = scene.host.host().clock().now();
    let agreement = Agreement::accept(offer, consumer.key.party(), now).expect("accepted");
    let proposal = Proposal::sign(agreement, &signer.key).expect("signed");
    (scene.host.submit(signer, &proposal.to_bytes()), *proposal.id())
}

fn listed_of(scene: &Scene, party: &Party) -> Vec<Value> {
    let all = scene.host.get("/api/agreements").bearer(&party.api_key).send().ok().json();
    all["agreements"].as_array().expect("a list").clone()
}

#[test]
fn who_is_named_in_others_agreements_has_all_its_room() {
    let scene = scene(|market| market.agreements_per_party_max = 3);
    let mallory = scene.host.party("mallory");
    let echo = scene.host.publish(&mallory, &plugin("echo"));
    let target = hospes::agreement::Target {
        model: echo.0,
        versions: hospes::agreement::Versions::Bundle(echo.1),
    };
    let clauses = hospes::agreement::Clauses::new(target, vec![system_tests::terms("echo-u8")]);
    let trap = mallory.offer_of(clauses, Vec::new());
    scene.list(&mallory, &trap).ok();
    for _ in 0..3 {
        let (reply, _) = propose(&scene, &trap, &scene.zoe, &mallory);
        assert_eq!(reply.ok().json()["state"], "proposed");
    }
    let (reply, _) = propose(&scene, &trap, &scene.zoe, &mallory);
    let refused = reply.problem(422, "agreement-refused");
    let detail = refused["detail"].as_str().expect("text");
    assert!(
        detail.contains("agreements_per_party_max"),
        "mallory has reached her own limit: {detail}"
    );
    for _ in 0..3 {
        scene.agree(&scene.acme, &scene.zoe, scene.clauses("echo-u8", &[]));
    }
    // Acme has now reached its limit. Agreements count for whoever signs, first or second.
    let offer = listed(&scene);
    let max = scene.host.party("max");
    let (reply, _) = propose(&scene, &offer, &max, &max);
    assert_eq!(
        reply.ok().json()["state"],
        "proposed",
        "acme has not signed, so its limit does not apply"
    );
    let both = scene.sign(&scene.acme, &max, &offer);
    scene.host.submit(&max, &both.to_bytes()).problem(422, "agreement-refused");
    // The same after a restart.
    let scene = again(scene, |market| market.agreements_per_party_max = 4);
    scene.agree(&scene.acme, &max, scene.clauses("echo-u8", &[]));
    let both = scene.sign(&scene.acme, &max, &listed(&scene));
    scene.host.submit(&max, &both.to_bytes()).problem(422, "agreement-refused");
}

#[test]
fn a_consumer_who_accepts_an_offer_thirty_times_keeps_nobody_else_out() {
    let scene = scene(|market| market.agreements_per_party_max = 30);
    let (offer, bob) = (listed(&scene), scene.host.party("bob"));
    for _ in 0..30 {
        propose(&scene, &offer, &scene.zoe, &scene.zoe).0.ok();
    }
    // Bob and acme complete a negotiation.
    let request = Request::new(&offer, scene.clauses("echo-u8", &[]), bob.key.party(), noon());
    let request = SignedRequest::sign(request.expect("a request"), &bob.key).expect("signed");
    let post = |by: &Party, path: &str, bytes: Vec<u8>| {
        let path = format!("/api/negotiations{path}");
        scene.host.post(&path).bearer(&by.api_key).body(bytes).send().ok().json()
    };
    let begun = post(&bob, "", request.to_bytes());
    let id = begun["id"].as_str().expect("text");
    let granted = Agreement::grant(&request, noon()).expect("granted");
    let mut proposal = Proposal::sign(granted, &scene.acme.key).expect("signed");
    post(&scene.acme, &format!("/{id}/agreement"), proposal.to_bytes());
    proposal.add_signature(&bob.key).expect("signed");
    let verified = post(&bob, &format!("/{id}/agreement/verification"), proposal.to_bytes());
    assert_eq!(verified["state"], "FINALIZED", "{verified}");
    scene.call(&bob).ok();
}

#[test]
fn proposals_of_one_party_to_another_are_so_many_and_no_more() {
    let scene = scene(|market| market.proposals_per_pair_max = 2);
    let (offer, max) = (listed(&scene), scene.host.party("max"));
    let ids = [0, 1].map(|_| {
        let (reply, id) = propose(&scene, &offer, &scene.zoe, &scene.zoe);
        reply.ok();
        id
    });
    let refused =
        propose(&scene, &offer, &scene.zoe, &scene.zoe).0.problem(422, "agreement-refused");
    let detail = refused["detail"].as_str().expect("text");
    assert!(detail.contains("proposals_per_pair_max"), "{detail}");
    // Other pairs, and the reverse direction, have their own limits.
    propose(&scene, &offer, &max, &max).0.ok();
    propose(&scene, &offer, &scene.zoe, &scene.acme).0.ok();
    // A proposal that the other party signs no longer counts.
    let envelope =
        scene.host.get(&format!("/api/agreements/{}", ids[0])).bearer(&scene.acme.api_key);
    let mut signed = Proposal::parse(&envelope.send().ok().body).expect("a proposal");
    signed.add_signature(&scene.acme.key).expect("signed");
    assert_eq!(scene.host.submit(&scene.acme, &signed.to_bytes()).ok().json()["state"], "active");
    propose(&scene, &offer, &scene.zoe, &scene.zoe).0.ok();
    // An agreement signed by both from the beginning never counts as a proposal.
    scene.agree(&scene.acme, &scene.zoe, scene.clauses("echo-u8", &[]));
}

#[test]
fn what_the_other_side_never_signs_and_what_nobody_moves_is_forgotten() {
    let scene = scene(|market| market.proposals_per_pair_max = 1);
    let offer = listed(&scene);
    let (reply, old) = propose(&scene, &offer, &scene.zoe, &scene.zoe);
    reply.ok();
    let request = |offer: &SignedOffer| {
        let request =
            Request::new(offer, scene.clauses("echo-u8", &[]), scene.zoe.key.party(), noon());
        SignedRequest::sign(request.expect("a request"), &scene.zoe.key).expect("signed")
    };
    let begin = || {
        let begun = scene.host.post("/api/negotiations").bearer(&scene.zoe.api_key);
        begun.body(request(&offer).to_bytes()).send().ok().json()
    };
    let (ended, moved) = (begin(), begin());
    let agreement = scene.agree(&scene.acme, &scene.zoe, scene.clauses("echo-u8", &[]));
    scene.clock.advance(Duration::from_secs(20 * 86_400));
    // One negotiation gets a move meanwhile and is kept.
    let content = Move {
        negotiation: moved["id"].as_str().expect("text").to_owned(),
        kind: MoveKind::Terminate,
        previous: moved["messages"][0]["id"].as_str().expect("text").parse().expect("a digest"),
        by: scene.zoe.key.party(),
        issued: scene.host.host().clock().now(),
        expires: None,
    };
    let sent = SignedMove::sign(content, &[&scene.zoe.key]).expect("signed").to_bytes();
    let path = format!("/api/negotiations/{}/termination", moved["id"].as_str().expect("text"));
    scene.host.post(&path).bearer(&scene.zoe.api_key).body(sent).send().ok();
    let scene = again(scene, |market| market.proposals_per_pair_max = 1);
    let ids = |scene: &Scene| {
        let ids = listed_of(scene, &scene.zoe).into_iter().map(|one| one["id"].clone());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(ids(&scene).len(), 2);
    scene.clock.advance(Duration::from_secs(10 * 86_400 + 1));
    let deadline = Instant::now() + Duration::from_secs(20);
    while ids(&scene) != [json!(agreement)] {
        assert!(Instant::now() < deadline, "{:?}", ids(&scene));
        std::thread::sleep(Duration::from_millis(100));
    }
    let get = |path: String| scene.host.get(&path).bearer(&scene.zoe.api_key).send();
    get(format!("/api/agreements/{old}")).problem(404, "not-found");
    let negotiations = get("/api/negotiations".to_owned()).ok().json();
    let left: Vec<_> = negotiations["negotiations"].as_array().expect("a list").iter().collect();
    assert_eq!(left.len(), 1, "{negotiations}");
    assert_eq!(left[0]["id"], moved["id"]);
    get(format!("/api/negotiations/{}", ended["id"].as_str().expect("text")))
        .problem(404, "not-found");
    // There is room again, even for an identical proposal.
    propose(&scene, &listed(&scene), &scene.zoe, &scene.zoe).0.ok();
    scene.call(&scene.zoe).ok();
    let scene = again(scene, |_| ());
    assert_eq!(ids(&scene).len(), 2);
}

/// A publisher that keeps replacing its offers keeps only the mandates that are still needed.
#[test]
fn mandates_of_forgotten_offers_go_unless_an_agreement_rests_on_them() {
    let few = |market: &mut Market| market.offers_per_publisher_max = 2;
    let scene = scene(few);
    let agent = scene.host.host().party();
    let mut offers = Vec::new();
    for calls in 1..6 {
        let clauses = scene.clauses("echo-u8", &[&format!("count lteq {calls} call")]);
        let offer = scene.acme.offer_of(clauses, Vec::new());
        scene.list(&scene.acme, &offer).ok();
        let mandate = Mandate {
            publisher: scene.acme.key.party(),
            agent,
            offer: *offer.id(),
            max: 50,
            expires: noon() + Duration::from_secs(3600),
            issued: noon(),
            max_per_consumer: None,
        };
        let signed = SignedMandate::sign(mandate, &[&scene.acme.key]).expect("signed").to_bytes();
        let path = format!("/api/offers/{}", offer.id());
        let post = |what: &str, body: Vec<u8>| {
            let request = scene.host.post(&format!("{path}/{what}"));
            request.bearer(&scene.acme.api_key).body(body).send().ok()
        };
        post("mandate", signed);
        if offers.is_empty() {
            let (agreed, _) = propose(&scene, &offer, &scene.zoe, &scene.zoe);
            assert_eq!(agreed.ok().json()["state"], "active");
        }
        post("withdrawal", b"{}".to_vec());
        scene.clock.advance(Duration::from_secs(1));
        offers.push(*offer.id());
    }
    let seen = |scene: &Scene, by: &Party, offer: &Digest| {
        let path = format!("/api/offers/{offer}/mandate");
        scene.host.get(&path).bearer(&by.api_key).send().status
    };
    let bob = scene.host.party("bob");
    let mut scene = scene;
    for _ in 0..2 {
        let kept: Vec<_> = offers.iter().map(|offer| seen(&scene, &scene.acme, offer)).collect();
        assert_eq!(kept, [200, 404, 404, 200, 200]);
        // The mandate of a forgotten offer is visible to its publisher, and to the consumer whose
        // agreement needs it.
        assert_eq!([&scene.zoe, &bob].map(|by| seen(&scene, by, &offers[0])), [200, 404]);
        assert_eq!(listed_of(&scene, &scene.zoe).len(), 1);
        scene = again(scene, few);
    }
}

#[test]
fn one_consumer_does_not_use_up_a_mandate() {
    let scene = scene(|_| ());
    let host = scene.host.host().party();
    let accept = |offer: &SignedOffer, consumer: &Party| {
        propose(&scene, offer, consumer, consumer).0.ok().json()["state"]
            .as_str()
            .expect("text")
            .to_owned()
    };
    let bob = scene.host.party("bob");
    for (max_per_consumer, times) in [(None, 1), (Some(1), 1), (Some(3), 3)] {
        let offer = listed(&scene);
        let mandate = Mandate {
            publisher: scene.acme.key.party(),
            agent: host,
            offer: *offer.id(),
            max: 50,
            expires: noon() + Duration::from_secs(3600),
            issued: noon(),
            max_per_consumer,
        };
        let signed = SignedMandate::sign(mandate, &[&scene.acme.key]).expect("signed");
        let text = String::from_utf8(signed.to_bytes()).expect("text");
        assert_eq!(SignedMandate::parse(text.as_bytes()).expect("read"), signed);
        let path = format!("/api/offers/{}/mandate", offer.id());
        scene.host.post(&path).bearer(&scene.acme.api_key).body(text).send().ok();
        for consumer in [&scene.zoe, &bob] {
            let states: Vec<_> = (0..5).map(|_| accept(&offer, consumer)).collect();
            let expected: Vec<_> =
                (0..5).map(|index| if index < times { "active" } else { "proposed" }).collect();
            assert_eq!(states, expected, "{max_per_consumer:?}");
        }
    }
    let nothing = Mandate {
        publisher: scene.acme.key.party(),
        agent: host,
        offer: Digest::of(b"an offer"),
        max: 50,
        expires: noon(),
        issued: noon(),
        max_per_consumer: Some(0),
    };
    assert!(SignedMandate::sign(nothing, &[&scene.acme.key]).is_err());
}
