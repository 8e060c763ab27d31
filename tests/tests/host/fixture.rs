//! A data directory written by commit 66eee3d (`tests/fixtures/66eee3d`) works with this host:
//! everything that was signed, counted or logged then still has the same meaning.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use hospes::agreement::events::{Actor, Change, Reason, SignedEvent};
use hospes::agreement::{Proposal, SignedMandate, SignedOffer};
use hospes::clock::{Clock, ManualClock};
use hospes::receipt::ReceiptProof;
use jiff::Timestamp;
use serde_json::{Value, json};
use system_tests::scene::Scene;
use system_tests::{Party, Reply, TestHost, later_host, workspace};
use tempfile::TempDir;

const TENSOR: &str =
    r#"{"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1.5, -2]}]}"#;

fn folder() -> PathBuf {
    workspace().join("tests/fixtures/66eee3d")
}

fn facts() -> Value {
    let text = std::fs::read_to_string(folder().join("facts.json")).expect("readable");
    serde_json::from_str(&text).expect("JSON")
}

fn party(name: &str, facts: &Value) -> Party {
    let api_key = facts["keys"][name].as_str().expect("text").to_owned();
    Party { name: name.into(), key: Party::key_of(name), api_key }
}

/// A host on a copy of the data, with the clock at the time of writing.
fn open() -> (Scene, Value) {
    let data = TempDir::new().expect("a folder");
    let mut unpack = Command::new("tar");
    unpack.arg("-xzf").arg(folder().join("data.tar.gz")).arg("-C").arg(data.path());
    assert!(unpack.status().expect("it runs").success());
    let facts = facts();
    let written: Timestamp = facts["written"].as_str().expect("text").parse().expect("a time");
    let clock = ManualClock::at(written);
    let host = TestHost::builder().clock(Clock::Manual(clock.clone())).data(Arc::new(data)).start();
    let (acme, zoe) = (party("acme", &facts), party("zoe", &facts));
    let published =
        ("acme/echo".parse().expect("a model"), hospes::id::Digest::of(b"not asked for"));
    (Scene { host, clock, acme, zoe, published }, facts)
}

fn call(scene: &Scene, path: &str, body: &str, agreement: &Value) -> Reply {
    let request = scene.host.call(&scene.zoe, path).json(body);
    request.header("hospes-agreement", agreement.as_str().expect("text")).send()
}

fn standing(scene: &Scene, agreement: &Value) -> Value {
    let listed = scene.host.get("/api/agreements").bearer(&scene.zoe.api_key).send().ok().json();
    let all = listed["agreements"].as_array().expect("a list").clone();
    all.into_iter().find(|one| one["id"] == *agreement).expect("it is there")
}

#[test]
fn the_models_serve_and_the_agreements_stand_where_they_stood() {
    let (scene, facts) = open();
    for (agreement, state, used) in [
        ("active", "active", Some(4)),
        ("used_up", "active", Some(1)),
        ("suspended", "suspended", Some(1)),
        ("terminated", "terminated", Some(1)),
        ("waiting", "frozen", Some(1)),
        ("by_click", "active", Some(0)),
        ("proposed", "proposed", None),
    ] {
        let standing = standing(&scene, &facts[agreement]);
        assert_eq!(standing["state"], state, "{agreement}");
        assert_eq!(standing["rules"][0]["used"], json!(used), "{agreement}");
    }
    // Counting continues from there.
    let answer = call(&scene, "acme/identity/infer", TENSOR, &facts["active"]).ok();
    assert_eq!(answer.json()["outputs"][0]["data"], json!([1.5, -2.0]));
    assert_eq!(answer.header("hospes-remaining"), Some("5"));
    (0..5).for_each(|_| drop(call(&scene, "acme/identity/infer", TENSOR, &facts["active"]).ok()));
    call(&scene, "acme/identity/infer", TENSOR, &facts["active"]).problem(429, "limit-reached");
    let echo = |agreement: &str| call(&scene, "acme/echo/echo-u8", r#"{"v":1}"#, &facts[agreement]);
    echo("used_up").problem(429, "limit-reached");
    for agreement in ["suspended", "terminated", "waiting", "proposed"] {
        echo(agreement).problem(403, "not-permitted");
    }
    assert_eq!(echo("by_click").ok().text(), "1");
    // The same after another restart.
    let Scene { host, clock, acme, zoe, published } = scene;
    let host = TestHost::builder().clock(Clock::Manual(clock.clone())).data(host.stop()).start();
    let scene = Scene { host, clock, acme, zoe, published };
    assert_eq!(standing(&scene, &facts["active"])["rules"][0]["remaining"], 0);
    assert_eq!(standing(&scene, &facts["waiting"])["state"], "frozen");
}

/// All of zoe's agreements: their identifiers, states and usage.
fn standings(listed: &Value) -> Vec<Value> {
    let all = listed["agreements"].as_array().expect("a list").iter();
    all.map(|one| json!([one["id"], one["state"], one["rules"]])).collect()
}

/// The used calls of one agreement.
fn used(standings: &[Value], agreement: &Value) -> u64 {
    let found = standings.iter().find(|one| one[0] == *agreement).expect("it is there");
    found[2][0]["used"].as_u64().expect("a number")
}

#[test]
fn corrected_sentences_and_a_35th_term_leave_every_agreement_in_force_and_so_does_going_back() {
    let (scene, facts) = open();
    let list = |scene: &Scene| {
        let list = scene.host.get("/api/agreements").bearer(&scene.zoe.api_key).send();
        standings(&list.ok().json())
    };
    let before = list(&scene);
    assert_eq!(used(&before, &facts["active"]), 4);
    let Scene { host, clock, acme, zoe, published } = scene;
    let now = host.host().clock().now().to_string();
    let data = host.stop();
    let agreement = facts["active"].as_str().expect("text");
    let later = Command::new(later_host())
        .arg(data.path())
        .args([now.as_str(), zoe.api_key.as_str(), agreement])
        .output()
        .expect("it runs");
    assert!(later.status.success(), "{}", String::from_utf8_lossy(&later.stderr));
    let after = standings(&serde_json::from_slice(&later.stdout).expect("JSON"));
    // Only the later host's call was added.
    assert_eq!(used(&after, &facts["active"]), 5);
    let others = |all: &[Value]| -> Vec<Value> {
        all.iter().filter(|one| one[0] != facts["active"]).cloned().collect()
    };
    assert_eq!((others(&after), after.len()), (others(&before), before.len()));
    let host = TestHost::builder().clock(Clock::Manual(clock.clone())).data(data).start();
    let scene = Scene { host, clock, acme, zoe, published };
    assert_eq!(list(&scene), after);
    let aside = scene.host.operator("GET", "/out-of-service").send().ok().json();
    assert_eq!(aside["records"], json!([]), "{aside}");
    let answer = call(&scene, "acme/identity/infer", TENSOR, &facts["active"]).ok();
    assert_eq!(answer.header("hospes-remaining"), Some("4"));
}

#[test]
fn what_was_signed_is_valid_and_goes_on() {
    let (scene, facts) = open();
    let id = |name: &str| facts[name].as_str().expect("text").parse().expect("a digest");
    let history = |name: &str| scene.history(&scene.zoe, &id(name));
    for (name, events, waiting) in [("suspended", 3, 0), ("terminated", 1, 0), ("waiting", 0, 1)] {
        let history = history(name);
        let mut previous = facts[name].clone();
        for (number, past) in (1_u32..).zip(history["events"].as_array().expect("a list")) {
            let envelope = serde_json_canonicalizer::to_vec(&past["envelope"]).expect("written");
            let signed = SignedEvent::parse(&envelope).expect("well signed");
            assert_eq!(signed.content().sequence, number);
            assert_eq!(json!(signed.content().previous), previous);
            previous = json!(signed.id());
        }
        assert_eq!(history["events"].as_array().expect("a list").len(), events, "{name}");
        assert_eq!(history["waiting"].as_array().expect("a list").len(), waiting, "{name}");
    }
    let get = |path: String| scene.host.get(&path).bearer(&scene.zoe.api_key).send().ok().body;
    let mandate = get(format!("/api/offers/{}/mandate", facts["clicked"].as_str().expect("text")));
    let mandate = SignedMandate::parse(&mandate).expect("well signed");
    for name in ["active", "suspended", "waiting", "proposed", "by_click"] {
        let envelope = get(format!("/api/agreements/{}", facts[name].as_str().expect("text")));
        let by_click = (name == "by_click").then_some(&mandate);
        let read = Proposal::parse_with(&envelope, by_click).expect("well signed");
        assert_eq!(read.missing().is_empty(), name != "proposed", "{name}");
    }
    let offer = get(format!("/api/offers/{}", facts["clicked"].as_str().expect("text")));
    let offer = SignedOffer::parse(&offer).expect("well signed");
    // The old mandate has no limit per consumer, so one agreement is the limit, and zoe has one.
    let now = scene.host.host().clock().now();
    let more = hospes::agreement::Agreement::accept(&offer, scene.zoe.key.party(), now);
    let more = Proposal::sign(more.expect("accepted"), &scene.zoe.key).expect("signed");
    assert_eq!(scene.host.submit(&scene.zoe, &more.to_bytes()).ok().json()["state"], "proposed");
    let max = scene.host.party("max");
    let first = Proposal::sign(
        hospes::agreement::Agreement::accept(&offer, max.key.party(), now).expect("accepted"),
        &max.key,
    );
    let first = first.expect("signed").to_bytes();
    assert_eq!(scene.host.submit(&max, &first).ok().json()["state"], "active");
    // An agreement that one party had signed then becomes active with the other signature.
    let proposed = get(format!("/api/agreements/{}", facts["proposed"].as_str().expect("text")));
    let mut proposed = Proposal::parse(&proposed).expect("well signed");
    proposed.add_signature(&scene.acme.key).expect("signed");
    assert_eq!(scene.host.submit(&scene.acme, &proposed.to_bytes()).ok().json()["state"], "active");
    // Whoever suspended it resumes it. The frozen one can be resumed and ended without the event
    // that is missing.
    let acme = (&scene.acme, Actor::Publisher);
    scene.happen(acme, &id("suspended"), Change::Resume, Reason::Routine).ok();
    call(&scene, "acme/echo/echo-u8", r#"{"v":1}"#, &facts["suspended"]).ok();
    scene.happen(acme, &id("waiting"), Change::Suspend, Reason::Abuse).ok();
    assert_eq!(standing(&scene, &facts["waiting"])["state"], "frozen");
    scene.happen(acme, &id("waiting"), Change::Resume, Reason::Abuse).ok();
    assert_eq!(standing(&scene, &facts["waiting"])["state"], "active");
    call(&scene, "acme/echo/echo-u8", r#"{"v":1}"#, &facts["waiting"]).ok();
    scene.happen(acme, &id("waiting"), Change::Terminate, Reason::Abuse).ok();
    let Scene { host, clock, acme, zoe, published } = scene;
    let host = TestHost::builder().clock(Clock::Manual(clock.clone())).data(host.stop()).start();
    let scene = Scene { host, clock, acme, zoe, published };
    assert_eq!(standing(&scene, &facts["waiting"])["state"], "terminated");
    assert_eq!(
        scene.history(&scene.zoe, &id("waiting"))["events"].as_array().expect("a list").len(),
        3
    );
}

#[test]
fn a_negotiation_goes_on_where_it_was() {
    let (scene, facts) = open();
    let path = format!("/api/negotiations/{}", facts["negotiation"].as_str().expect("text"));
    let shown = scene.host.get(&path).bearer(&scene.acme.api_key).send().ok().json();
    assert_eq!((&shown["state"], &shown["turn"]), (&json!("REQUESTED"), &json!("publisher")));
    let envelope =
        serde_json_canonicalizer::to_vec(&shown["messages"][0]["envelope"]).expect("written");
    let request = hospes::agreement::SignedRequest::parse(&envelope).expect("well signed");
    let now = scene.host.host().clock().now();
    let granted = hospes::agreement::Agreement::grant(&request, now).expect("granted");
    let mut proposal = Proposal::sign(granted, &scene.acme.key).expect("signed");
    let post = |by: &Party, path: String, bytes: Vec<u8>| {
        scene.host.post(&path).bearer(&by.api_key).body(bytes).send().ok().json()
    };
    post(&scene.acme, format!("{path}/agreement"), proposal.to_bytes());
    proposal.add_signature(&scene.zoe.key).expect("signed");
    let verified = post(&scene.zoe, format!("{path}/agreement/verification"), proposal.to_bytes());
    assert_eq!(verified["state"], "FINALIZED");
    // An abandoned negotiation is deleted, like any other.
    scene.clock.advance(Duration::from_secs(31 * 86_400));
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while scene.host.get(&path).bearer(&scene.acme.api_key).send().status != 404 {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn receipts_verify_without_the_host_and_are_still_proven_by_it() {
    let facts = facts();
    let host: hospes::id::Party = facts["host"].as_str().expect("text").parse().expect("a party");
    let kept = std::fs::read(folder().join("last.receipt")).expect("readable");
    let receipt =
        ReceiptProof::parse(&kept).expect("a proof").verify(&host).expect("a valid proof");
    assert_eq!(receipt.used, Some(4));
    let (scene, _) = open();
    for call in facts["receipts"].as_array().expect("a list") {
        let path = format!("/api/receipts/{}", call.as_str().expect("text"));
        let proof = scene.host.get(&path).bearer(&scene.acme.api_key).send().ok().body;
        let receipt =
            ReceiptProof::parse(&proof).expect("a proof").verify(&host).expect("a valid proof");
        assert_eq!(json!(receipt.call.to_string()), *call);
    }
    let denied = format!("/api/receipts?agreement={}", facts["used_up"].as_str().expect("text"));
    let listed = scene.host.get(&denied).bearer(&scene.zoe.api_key).send().ok().json();
    assert_eq!(
        listed["receipts"].as_array().expect("a list").len(),
        2,
        "one of the two calls was refused"
    );
}
