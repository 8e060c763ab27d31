//! A publisher calls its own models without an agreement, but no one else does; everything else
//! applies as usual.

use std::time::{Duration, Instant};

use hospes::agreement::{Cause, SignedSuccession, Succession};
use hospes::receipt::ReceiptProof;
use serde_json::{Value, json};
use system_tests::scene::{Scene, noon};
use system_tests::{HostProcess, Limited as _, Party, Reply, TestHost, plugin, terms, wat_guest};

fn echo(host: &TestHost, caller: &Party) -> Reply {
    host.call(caller, "acme/echo/echo-u8").json(r#"{"v":7}"#).send()
}

fn act(host: &TestHost, action: &str, target: &str) {
    let wanted = json!({"action": action, "target": target, "reason": "a test"});
    host.operator("POST", "/actions").json(&wanted.to_string()).send().ok();
}

fn receipts(host: &TestHost, party: &Party) -> Vec<Value> {
    let listed = host.get("/api/receipts").bearer(&party.api_key).send().ok().json();
    listed["receipts"].as_array().expect("a list").clone()
}

#[test]
fn the_receipt_says_that_it_was_the_publishers_own_call() {
    let host = TestHost::start();
    let (acme, bob) = (host.party("acme"), host.party("bob"));
    let published = host.publish(&acme, &plugin("echo"));
    let answer = echo(&host, &acme).ok();
    assert_eq!((answer.text().as_str(), answer.header("hospes-remaining")), ("7", None));
    // Without an offer, only its publisher can see it; with one, others can see it but may not call
    // it.
    echo(&host, &bob).problem(404, "not-found");
    let offer = acme.offer(&published.0, published.1, vec![terms("echo-u8")]);
    host.post("/api/offers").bearer(&acme.api_key).body(offer.to_bytes()).send().ok();
    echo(&host, &bob).problem(403, "not-permitted");

    let call = answer.header("hospes-receipt").expect("a receipt").to_owned();
    let path = format!("/api/receipts/{call}");
    let proof = host.get(&path).bearer(&acme.api_key).send().ok().body;
    host.get(&path).bearer(&bob.api_key).send().problem(404, "not-found");
    let party = host.host().party();
    let receipt = ReceiptProof::parse(&proof).expect("a proof").verify(&party).expect("genuine");
    assert!(receipt.is_own_call());
    assert_eq!((receipt.agreement, receipt.rule, receipt.used), (None, None, None));
    assert_eq!((receipt.price, receipt.max), (None, None));
    assert_eq!((receipt.caller, receipt.publisher), (acme.key.party(), acme.key.party()));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("own.receipt");
    std::fs::write(&file, &proof).expect("written");
    let (file, party) = (file.to_str().expect("text"), party.to_string());
    for command in ["show", "verify"] {
        let said = HostProcess::run(&["receipt", command, file, "--host-party", &party]);
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.contains("none: the publisher's own call"), "{said}");
    }
    // Refused calls of others are not own calls, even without an agreement.
    let refused = receipts(&host, &bob);
    assert_eq!(refused[0]["result"], "denied: no-agreement");
    let path = format!("/api/receipts/{}", refused[0]["call"].as_str().expect("text"));
    let proof = host.get(&path).bearer(&bob.api_key).send().ok().body;
    let proof = ReceiptProof::parse(&proof).expect("a proof");
    assert!(!proof.verify(&host.host().party()).expect("genuine").is_own_call());

    // The receipts continue after a restart.
    let host = TestHost::builder().data(host.stop()).start();
    echo(&host, &acme).ok();
    let own = receipts(&host, &acme).into_iter().filter(|one| one["agreement"] == json!(null));
    assert_eq!(own.filter(|one| one["result"] == "answered").count(), 2);
}

#[test]
fn a_publisher_that_names_an_agreement_is_held_to_it() {
    let host = TestHost::start();
    let acme = host.party("acme");
    let published = host.publish(&acme, &plugin("echo"));
    let zoe = host.party("zoe");
    let agreement =
        host.agree(&acme, &zoe, &published, vec![terms("echo-u8").limit("count lteq 1 call")]);
    let name = agreement.to_string();
    let named = |party: &Party| {
        let call = host.call(party, "acme/echo/echo-u8").json(r#"{"v":7}"#);
        call.header("hospes-agreement", &name).send()
    };
    // A publisher is not the consumer of another's agreement, and if it names one, that applies.
    named(&acme).problem(403, "not-permitted");
    echo(&host, &acme).ok();
    named(&zoe).ok();
    named(&zoe).problem(429, "limit-reached");
    echo(&host, &zoe).problem(429, "limit-reached");
    echo(&host, &acme).ok();
}

#[test]
fn what_the_operator_stops_is_stopped_for_its_publisher_too() {
    let host = TestHost::builder()
        .config(|config| config.sandbox.deadline = Duration::from_secs(20))
        .start();
    let acme = host.party("acme");
    host.publish(&acme, &plugin("echo"));
    host.publish(&acme, &wat_guest("spin", &[]));
    let ends_a_running_call = |act: &dyn Fn()| {
        std::thread::scope(|scope| {
            let running = scope.spawn(|| host.call(&acme, "acme/spin/run").json("{}").send());
            std::thread::sleep(Duration::from_millis(400));
            assert!(!running.is_finished(), "the call runs until it is stopped");
            let began = Instant::now();
            act();
            let reply = running.join().expect("answered");
            assert!(began.elapsed() < Duration::from_secs(10));
            assert_eq!(reply.json()["failure"], "stopped", "{}", reply.text());
            assert!(reply.header("hospes-receipt").is_some());
        });
    };
    ends_a_running_call(&|| act(&host, "suspend-account", "acme"));
    echo(&host, &acme).problem(403, "account-stopped");
    act(&host, "resume-account", "acme");
    echo(&host, &acme).ok();
    ends_a_running_call(&|| act(&host, "withdraw-version", "acme/spin@1.0.0"));
    host.call(&acme, "acme/spin/run").json("{}").send().problem(410, "withdrawn");
    echo(&host, &acme).ok();
}

/// The bundle is signed with the previous key, but the account is the same.
#[test]
fn a_publisher_with_a_new_key_calls_what_the_old_one_has_signed() {
    let scene = Scene::new(&plugin("echo"));
    scene.call(&scene.acme).ok();
    let new = Party { key: Party::key_of("acme-2"), ..scene.acme.clone() };
    let (from, to) = (scene.acme.key.party(), new.key.party());
    let succession = Succession { from, to, cause: Cause::Routine, issued: noon() };
    let signed = SignedSuccession::sign(succession, &[&scene.acme.key, &new.key]).expect("signed");
    let post = scene.host.post("/api/successions").bearer(&new.api_key);
    post.body(signed.to_bytes()).send().ok();
    let answer = scene.call(&new).ok();
    let path = format!("/api/receipts/{}", answer.header("hospes-receipt").expect("a receipt"));
    let proof = scene.host.get(&path).bearer(&new.api_key).send().ok().body;
    let proof = ReceiptProof::parse(&proof).expect("a proof");
    let receipt = proof.verify(&scene.host.host().party()).expect("genuine");
    assert!(receipt.is_own_call());
    assert_eq!(receipt.caller, to);
}
