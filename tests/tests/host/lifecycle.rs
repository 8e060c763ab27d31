//! Agreement events from hostile parties: whoever may end an agreement can, and nobody evades the
//! notice period.

use hospes::agreement::events::{Actor, Change, Event, Reason, SignedEvent};
use hospes::clock::Clock;
use hospes::id::Digest;
use serde_json::json;
use system_tests::scene::{Scene, noon, remaining};
use system_tests::{Party, TestHost, plugin};

/// An event with any sequence number, by the consumer or the publisher, effective immediately.
fn event(
    agreement: &Digest,
    (sequence, previous): (u32, Digest),
    (by, role): (&Party, Actor),
    change: Change,
) -> SignedEvent {
    let event = Event {
        agreement: *agreement,
        sequence,
        previous,
        change,
        role,
        by: by.key.party(),
        reason: Reason::Routine,
        effective: noon(),
        issued: noon(),
        evidence: None,
        note: None,
    };
    SignedEvent::sign(event, &[&by.key]).expect("signed")
}

/// The consumer suspends and resumes repeatedly. Returns how many of these events were accepted.
fn flood(scene: &Scene, agreement: &Digest, times: usize) -> u32 {
    let (mut sequence, mut previous, mut suspended) = (1, *agreement, false);
    for _ in 0..times {
        let change = if suspended { Change::Resume } else { Change::Suspend };
        let zoe = (&scene.zoe, Actor::Consumer);
        let sent = event(agreement, (sequence, previous), zoe, change);
        let reply = scene.hand_in(&scene.zoe, agreement, &sent);
        if reply.status == 200 {
            (sequence, previous, suspended) = (sequence + 1, *sent.id(), !suspended);
        } else {
            reply.problem(422, "event-refused");
        }
    }
    sequence - 1
}

#[test]
fn a_consumer_s_thousand_events_block_neither_the_publisher_nor_the_operator() {
    let scene = Scene::new(&plugin("echo"));
    let agreement = scene.agree(&scene.acme, &scene.zoe, scene.clauses("echo-u8", &[]));
    assert_eq!(flood(&scene, &agreement, 1000), 250);
    scene.call(&scene.zoe).ok();
    let operate = |change: &str| {
        let body = json!({"change": change, "reason": "abuse"}).to_string();
        let path = format!("/agreements/{agreement}/events");
        scene.host.operator("POST", &path).json(&body).send()
    };
    operate("suspend").ok();
    scene.call(&scene.zoe).problem(403, "not-permitted");
    operate("resume").ok();
    scene.call(&scene.zoe).ok();
    // The publisher can still suspend it, and end it after a restart.
    let acme = (&scene.acme, Actor::Publisher);
    scene.happen(acme, &agreement, Change::Suspend, Reason::Abuse).ok();
    let Scene { host, clock, acme, zoe, published } = scene;
    let host = TestHost::builder().clock(Clock::Manual(clock.clone())).data(host.stop()).start();
    let scene = Scene { host, clock, acme, zoe, published };
    let acme = (&scene.acme, Actor::Publisher);
    scene.happen(acme, &agreement, Change::Terminate, Reason::Abuse).ok();
    assert_eq!(remaining(&scene, &scene.zoe, &agreement)[0], "terminated");
    scene.call(&scene.zoe).problem(403, "not-permitted");
}

#[test]
fn a_consumer_who_has_made_all_its_events_can_still_leave() {
    let scene = Scene::new(&plugin("echo"));
    let agreement = scene.agree(&scene.acme, &scene.zoe, scene.clauses("echo-u8", &[]));
    flood(&scene, &agreement, 251);
    let zoe = (&scene.zoe, Actor::Consumer);
    scene.happen(zoe, &agreement, Change::Suspend, Reason::Routine).problem(422, "event-refused");
    scene.happen(zoe, &agreement, Change::Terminate, Reason::Routine).ok();
    assert_eq!(remaining(&scene, &scene.acme, &agreement)[0], "terminated");
}

/// The publisher's word was once enough.
#[test]
fn an_agreement_is_complete_when_it_is_used_up_and_not_when_its_publisher_says_so() {
    let scene = Scene::new(&plugin("echo"));
    let lines = ["notice P30D", "count lteq 2 call"];
    let agreement = scene.agree(&scene.acme, &scene.zoe, scene.clauses("echo-u8", &lines));
    let acme = (&scene.acme, Actor::Publisher);
    scene.call(&scene.zoe).ok();
    for reason in [Reason::Exhausted, Reason::Expired] {
        let refused = scene.happen(acme, &agreement, Change::Complete, reason);
        let said = refused.problem(422, "event-refused")["detail"].to_string();
        assert!(said.contains("is not over"), "{said}");
    }
    scene.call(&scene.zoe).ok();
    scene.happen(acme, &agreement, Change::Complete, Reason::Exhausted).ok();
    assert_eq!(remaining(&scene, &scene.zoe, &agreement)[0], "completed");
}

#[test]
fn an_event_ahead_of_its_turn_neither_evades_the_notice_nor_freezes_anything() {
    let scene = Scene::new(&plugin("echo"));
    let agreement =
        scene.agree(&scene.acme, &scene.zoe, scene.clauses("echo-u8", &["notice P30D"]));
    let acme = (&scene.acme, Actor::Publisher);
    let ahead = |sequence: u32| {
        let previous = Digest::of(b"an event that never was");
        let sent = event(&agreement, (sequence, previous), acme, Change::Suspend);
        scene.hand_in(&scene.acme, &agreement, &sent)
    };
    for sequence in 2..20 {
        let refused = ahead(sequence).problem(409, "conflict");
        let detail = refused["detail"].as_str().expect("text");
        assert!(detail.contains("the next is event 1") && detail.contains(&agreement.to_string()));
        scene.call(&scene.zoe).ok();
    }
    assert_eq!(remaining(&scene, &scene.zoe, &agreement), json!(["active", 18]));
    assert_eq!(scene.history(&scene.zoe, &agreement)["waiting"], json!([]));
    scene.happen(acme, &agreement, Change::Suspend, Reason::Routine).problem(422, "event-refused");
    let zoe = (&scene.zoe, Actor::Consumer);
    scene.happen(zoe, &agreement, Change::Suspend, Reason::Routine).ok();
    scene.happen(zoe, &agreement, Change::Resume, Reason::Routine).ok();
    scene.happen(acme, &agreement, Change::Terminate, Reason::Abuse).ok();
}

#[test]
fn the_operator_s_stop_is_kept_out_by_no_events() {
    let scene = Scene::new(&plugin("echo"));
    let agreement = scene.agree(&scene.acme, &scene.zoe, scene.clauses("echo-u8", &[]));
    flood(&scene, &agreement, 251);
    scene.call(&scene.zoe).ok();
    let stop = json!({"action": "stop-agreement", "target": agreement, "reason": "abuse"});
    scene.host.operator("POST", "/actions").json(&stop.to_string()).send().ok();
    scene.call(&scene.zoe).problem(403, "not-permitted");
    // Neither events nor an amendment undo it.
    let zoe = (&scene.zoe, Actor::Consumer);
    drop(scene.happen(zoe, &agreement, Change::Resume, Reason::Routine));
    let mut clauses = scene.clauses("echo-u8", &[]);
    clauses.supersedes = Some(agreement);
    let offer = scene.acme.offer_of(clauses, Vec::new());
    scene.list(&scene.acme, &offer).ok();
    scene.call(&scene.zoe).problem(403, "not-permitted");
    assert_eq!(remaining(&scene, &scene.zoe, &agreement)[0], "stopped");
    assert_eq!(
        scene.history(&scene.acme, &agreement)["events"].as_array().expect("a list").len(),
        250
    );
}
