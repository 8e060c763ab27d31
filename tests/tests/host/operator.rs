//! What the operator can do: withdraw, suspend, close, revoke, stop. Each action takes effect at
//! once, is reported to the parties, and is in the log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hospes::id::{Digest, ModelName};
use hospes::receipt::ReceiptProof;
use hospes::tensor::DataType;
use serde_json::{Value, json};
use system_tests::{Party, Reply, TestHost, identity, plugin, release, terms, wat_guest};

/// How soon an action must take effect, even for running calls.
const AT_ONCE: Duration = Duration::from_secs(1);

#[expect(clippy::needless_pass_by_value, reason = "names and digests are passed by value")]
fn act(host: &TestHost, action: &str, target: impl ToString, reason: &str) -> Reply {
    let wanted = json!({"action": action, "target": target.to_string(), "reason": reason});
    host.operator("POST", "/actions").json(&wanted.to_string()).send()
}

fn actions(host: &TestHost) -> Vec<Value> {
    let listed = host.operator("GET", "/actions").send().ok().json();
    listed["actions"].as_array().expect("a list").clone()
}

/// The actions on this target and their reasons, oldest first.
fn done_to(host: &TestHost, target: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let actions = actions(host).into_iter().filter(|action| action["target"] == target);
    actions.map(|action| (text(&action["action"]), text(&action["reason"]))).collect()
}

fn account(host: &TestHost, party: &Party) -> Value {
    host.get("/api/account").bearer(&party.api_key).send().ok().json()
}

fn echo(host: &TestHost, caller: &Party) -> Reply {
    host.call(caller, "acme/echo/echo-u8").json(r#"{"v":7}"#).send()
}

/// A host where zoe may call acme's `echo`, and its `spin`, which never ends by itself.
struct Scene {
    host: TestHost,
    acme: Party,
    zoe: Party,
    echo: (ModelName, Digest),
    agreements: [Digest; 2],
}

fn scene() -> Scene {
    let host = TestHost::builder()
        .config(|config| config.sandbox.deadline = Duration::from_secs(20))
        .start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let echo = host.publish(&acme, &plugin("echo"));
    let spin = host.publish(&acme, &wat_guest("spin", &[]));
    let agreements = [
        host.agree(&acme, &zoe, &echo, vec![terms("echo-u8")]),
        // By the agreement, running calls may finish; that binds the parties, not the operator.
        host.agree(&acme, &zoe, &spin, vec![terms("run")]),
    ];
    Scene { host, acme, zoe, echo, agreements }
}

impl Scene {
    /// Acts while an endless call runs. The call must end as stopped within a second.
    #[track_caller]
    fn ends_a_running_call(&self, act: impl FnOnce(&TestHost)) {
        std::thread::scope(|scope| {
            let running = scope.spawn(|| {
                let reply = self.host.call(&self.zoe, "acme/spin/run").json("{}").send();
                (reply, Instant::now())
            });
            std::thread::sleep(Duration::from_millis(400));
            assert!(!running.is_finished(), "the call runs until it is stopped");
            let began = Instant::now();
            act(&self.host);
            let (reply, ended) = running.join().expect("answered");
            let took = ended.saturating_duration_since(began);
            assert!(took < AT_ONCE, "{took:?}");
            assert_eq!(reply.json()["failure"], "stopped", "{}", reply.text());
            assert!(reply.header("hospes-receipt").is_some(), "a stopped call has a receipt");
        });
    }

    fn restart(self) -> Self {
        let Self { host, acme, zoe, echo, agreements } = self;
        let host = TestHost::builder().data(host.stop()).start();
        Self { host, acme, zoe, echo, agreements }
    }
}

#[test]
fn a_withdrawn_version_is_out_of_service_at_once_and_its_parties_are_told_why() {
    let scene = scene();
    let Scene { host, acme, zoe, .. } = &scene;
    echo(host, zoe).ok();
    act(host, "withdraw-version", "acme/echo@1.0.0", "").problem(400, "invalid-request");
    act(host, "withdraw-version", "acme/echo@9.9.9", "typo").problem(404, "not-found");
    act(host, "withdraw-version", "acme/nothing@1.0.0", "typo").problem(404, "not-found");
    act(host, "withdraw-version", "acme/echo", "typo").problem(400, "invalid-request");
    scene.ends_a_running_call(|host| {
        act(host, "withdraw-version", "acme/spin@1.0.0", "burns cores").ok();
    });
    let told = host.call(zoe, "acme/spin/run").json("{}").send().problem(410, "withdrawn");
    let detail = told["detail"].as_str().expect("text");
    assert!(detail.contains("acme/spin@1.0.0") && detail.contains("burns cores"), "{detail}");
    host.get("/acme/spin").bearer(&acme.api_key).send().problem(410, "withdrawn");
    // Strangers learn nothing about it, as it was never offered to them.
    let eve = host.party("eve");
    host.get("/nobody/spin").bearer(&eve.api_key).send().problem(404, "not-found");
    // The publisher cannot restore it by loading it or by publishing it again.
    let load = host.post("/v2/repository/models/acme%2Fspin/load").bearer(&acme.api_key).send();
    assert_eq!(load.status, 410, "{}", load.text());
    host.try_publish(acme, &acme.sign(&wat_guest("spin", &[]))).problem(410, "withdrawn");
    // Everything else still works.
    echo(host, zoe).ok();
    let agreements = host.get("/api/agreements").bearer(&zoe.api_key).send().ok().json();
    let withdrawn: Vec<_> = agreements["agreements"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|agreement| agreement["withdrawn"] != json!([]))
        .collect();
    assert_eq!(withdrawn.len(), 1, "{agreements}");
    assert_eq!(withdrawn[0]["model"], "acme/spin");

    let scene = scene.restart();
    let Scene { host, zoe, .. } = &scene;
    host.call(zoe, "acme/spin/run").json("{}").send().problem(410, "withdrawn");
    echo(host, zoe).ok();
    let listed = host.operator("GET", "/withdrawals").send().ok().json();
    assert_eq!(listed["models"][0]["what"], "acme/spin@1.0.0");
    act(host, "reinstate-version", "acme/echo@1.0.0", "").problem(409, "conflict");
    let back = act(host, "reinstate-version", "acme/spin@1.0.0", "was a mistake").ok().json();
    assert_eq!(back["failed"], json!([]));
    host.get("/acme/spin").bearer(&zoe.api_key).send().ok();
    let scene = scene.restart();
    scene.host.get("/acme/spin").bearer(&scene.zoe.api_key).send().ok();
}

#[test]
fn nothing_is_published_in_the_place_of_a_withdrawn_model() {
    let scene = scene();
    let Scene { host, acme, zoe, .. } = &scene;
    scene.ends_a_running_call(|host| {
        act(host, "withdraw-model", "acme/spin", "legal order").ok();
    });
    let next = release("spin", "2.0.0", identity(DataType::F32, 1));
    let refused = host.try_publish(acme, &acme.sign(&next)).problem(410, "withdrawn");
    assert!(refused["detail"].as_str().is_some_and(|text| text.contains("legal order")));
    act(host, "reinstate-model", "acme/spin", "").ok();
    host.try_publish(acme, &acme.sign(&next)).ok();
    host.get("/acme/spin@1.0.0").bearer(&zoe.api_key).send().ok();
}

#[test]
fn a_withdrawn_digest_cannot_be_published_again_by_anyone() {
    let host = TestHost::start();
    let (acme, eve, zoe) = (host.party("acme"), host.party("eve"), host.party("zoe"));
    let weights = identity(DataType::F32, 1);
    let other = identity(DataType::F32, 2);
    let taken = host.publish(&acme, &release("one", "1.0.0", weights.clone()));
    host.publish(&acme, &release("two", "1.0.0", other.clone()));
    host.agree(&acme, &zoe, &taken, vec![terms("infer")]);
    // Withdrawing the weights applies to every bundle with them, whoever publishes it.
    let digest = Digest::of(&weights);
    act(&host, "withdraw-digest", digest, "stolen weights").ok();
    host.get("/acme/one").bearer(&zoe.api_key).send().problem(410, "withdrawn");
    host.get("/acme/two").bearer(&acme.api_key).send().ok();
    for (publisher, label) in [(&acme, "again"), (&eve, "mine")] {
        let bundle = publisher.sign(&release(label, "3.0.0", weights.clone()));
        let refused = host.try_publish(publisher, &bundle).problem(410, "withdrawn");
        assert!(refused["detail"].as_str().is_some_and(|text| text.contains("stolen weights")));
    }
    // A bundle can be withdrawn by its digest before it is published.
    let bundle = eve.sign(&release("new", "1.0.0", other.clone()));
    act(&host, "withdraw-digest", Digest::of(&bundle), "known to be bad").ok();
    host.try_publish(&eve, &bundle).problem(410, "withdrawn");
    // The built-in code of all models without code cannot be withdrawn.
    let own = Digest::of(&hospes::bundle::passthrough().expect("the built-in guest"));
    act(&host, "withdraw-digest", own, "a mistake").problem(400, "invalid-request");

    let host = TestHost::builder().data(host.stop()).start();
    host.get("/acme/one").bearer(&zoe.api_key).send().problem(410, "withdrawn");
    let bundle = eve.sign(&release("mine", "3.0.0", weights.clone()));
    host.try_publish(&eve, &bundle).problem(410, "withdrawn");
    act(&host, "reinstate-digest", digest, "").ok();
    host.get("/acme/one").bearer(&zoe.api_key).send().ok();
    host.try_publish(&eve, &bundle).ok();
}

#[test]
fn a_withdrawn_offer_cannot_be_agreed_to_and_agreements_stay() {
    let host = TestHost::start();
    let (acme, zoe, bob) = (host.party("acme"), host.party("zoe"), host.party("bob"));
    let published = host.publish(&acme, &plugin("echo"));
    let offer = acme.offer(&published.0, published.1, vec![terms("echo-u8")]);
    host.post("/api/offers").bearer(&acme.api_key).body(offer.to_bytes()).send().ok();
    let mut proposal = zoe.accept(&offer);
    proposal.add_signature(&acme.key).expect("the publisher");
    host.submit(&zoe, &proposal.to_bytes()).ok();
    let agreement = *proposal.id();
    act(&host, "withdraw-offer", offer.id(), "misleading").ok();
    act(&host, "withdraw-offer", agreement, "no offer").problem(404, "not-found");
    assert_eq!(host.get("/api/market").send().ok().json()["offers"], json!([]));
    let shown = host.get(&format!("/api/offers/{}", offer.id())).send().problem(410, "withdrawn");
    assert!(shown["detail"].as_str().is_some_and(|text| text.contains("misleading")), "{shown}");
    host.submit(&bob, &bob.accept(&offer).to_bytes()).problem(422, "agreement-refused");
    let again = host.post("/api/offers").bearer(&acme.api_key).body(offer.to_bytes()).send();
    again.problem(410, "withdrawn");
    // Withdrawing a private offer also ends its use in negotiations.
    let clauses = offer.offer().clauses().clone();
    let private = acme.offer_of(clauses, vec![bob.key.party()]).to_bytes();
    let post = |path: &str| host.post(path).bearer(&acme.api_key).body(private.clone()).send();
    let id = post("/api/offers").ok().json()["id"].as_str().expect("text").to_owned();
    act(&host, "withdraw-offer", id, "misleading").ok();
    post("/api/negotiations").problem(410, "withdrawn");
    echo(&host, &zoe).ok();
    let host = TestHost::builder().data(host.stop()).start();
    assert_eq!(host.get("/api/market").send().ok().json()["offers"], json!([]));
    act(&host, "reinstate-offer", offer.id(), "").ok();
    host.submit(&bob, &bob.accept(&offer).to_bytes()).ok();
}

#[test]
fn a_suspended_account_does_nothing_and_is_told_why() {
    let scene = scene();
    let Scene { host, acme, zoe, .. } = &scene;
    act(host, "suspend-account", "nobody", "typo").problem(404, "not-found");
    scene.ends_a_running_call(|host| {
        act(host, "suspend-account", "zoe", "floods the host").ok();
    });
    let told = echo(host, zoe).problem(403, "account-stopped");
    assert_eq!(
        (&told["standing"], &told["reason"]),
        (&json!("suspended"), &json!("floods the host"))
    );
    // All front ends refuse the account.
    let fronts = [
        host.get("/v2/models").bearer(&zoe.api_key).send().status,
        host.get("/v1/models").bearer(&zoe.api_key).send().status,
        host.post("/api/negotiations").bearer(&zoe.api_key).body("{}").send().status,
        host.try_publish(zoe, b"anything").status,
    ];
    assert_eq!(fronts, [403; 4]);
    // The account can read its data and the reason.
    let own = account(host, zoe);
    assert_eq!(
        (&own["standing"], &own["cause"]["reason"]),
        (&json!("suspended"), &json!("floods the host"))
    );
    assert_eq!(own["actions"][0]["action"], "suspend-account");
    let agreements = host.get("/api/agreements").bearer(&zoe.api_key).send().ok().json();
    assert_eq!(agreements["agreements"][0]["state"], "stopped", "{agreements}");
    host.get("/api/receipts").bearer(&zoe.api_key).send().ok();
    // The publisher sees that the consumer was suspended, but not why.
    let seen = host.get("/api/agreements").bearer(&acme.api_key).send().ok().text();
    assert!(seen.contains("its consumer was suspended") && !seen.contains("floods"), "{seen}");

    let scene = scene.restart();
    echo(&scene.host, &scene.zoe).problem(403, "account-stopped");
    act(&scene.host, "resume-account", "zoe", "it was a mistake").ok();
    echo(&scene.host, &scene.zoe).ok();
    assert_eq!(account(&scene.host, &scene.zoe)["standing"], "open");
    let scene = scene.restart();
    echo(&scene.host, &scene.zoe).ok();
}

#[test]
fn what_a_suspended_publisher_has_published_is_called_by_nobody() {
    let scene = scene();
    scene.ends_a_running_call(|host| {
        act(host, "suspend-account", "acme", "abuse").ok();
    });
    let Scene { host, acme, zoe, .. } = &scene;
    let told = echo(host, zoe).problem(403, "not-permitted");
    let detail = told["detail"].as_str().expect("text");
    assert!(detail.contains("account of its publisher was suspended"), "{detail}");
    host.try_publish(acme, &acme.sign(&plugin("echo"))).problem(403, "account-stopped");
    let bob = host.party("bob");
    let offer = acme.offer(&scene.echo.0, scene.echo.1, vec![terms("echo-u8")]);
    host.submit(&bob, &bob.accept(&offer).to_bytes()).problem(422, "agreement-refused");
    act(host, "resume-account", "acme", "").ok();
    echo(host, zoe).ok();
}

#[test]
fn a_closed_account_stays_closed() {
    let scene = scene();
    scene.ends_a_running_call(|host| {
        act(host, "close-account", "zoe", "asked for it").ok();
    });
    let scene = scene.restart();
    let Scene { host, zoe, .. } = &scene;
    let told = echo(host, zoe).problem(403, "account-stopped");
    assert_eq!(told["standing"], "closed");
    act(host, "resume-account", "zoe", "please").problem(409, "conflict");
    act(host, "suspend-account", "zoe", "please").problem(409, "conflict");
    // Neither the name nor the key can be used for a new account.
    let open = |name: &str, key: &str| {
        let wanted = json!({"name": name, "party": Party::key_of(key).party()});
        host.operator("POST", "/accounts").json(&wanted.to_string()).send()
    };
    open("zoe", "zoe").problem(409, "conflict");
    open("zoe", "somebody-else").problem(409, "conflict");
    open("phoenix", "zoe").problem(409, "conflict");
    let accounts = host.operator("GET", "/accounts").send().ok().json();
    let zoe =
        accounts["accounts"].as_array().expect("a list").iter().find(|one| one["name"] == "zoe");
    assert_eq!(zoe.expect("listed")["standing"], "closed");
}

#[test]
fn a_revoked_key_opens_nothing_and_the_account_s_other_keys_go_on() {
    let scene = scene();
    let second = scene.host.party("zoe");
    let keys = |host: &TestHost| {
        let listed = host.operator("GET", "/accounts/zoe").send().ok().json();
        listed["keys"].as_array().expect("a list").clone()
    };
    let listed = keys(&scene.host);
    assert_eq!(listed.len(), 2);
    assert!(listed[1]["used"].is_null(), "the second key was never used: {listed:?}");
    let first = account(&scene.host, &scene.zoe)["key"].as_str().expect("an identifier").to_owned();
    assert!(listed.iter().any(|key| key["id"] == first));
    scene.ends_a_running_call(|host| {
        act(host, "revoke-key", &first, "leaked").ok();
    });
    let told = echo(&scene.host, &scene.zoe).problem(401, "unauthenticated");
    assert!(
        told["detail"]
            .as_str()
            .is_some_and(|text| text.contains("revoked") && text.contains("leaked"))
    );
    echo(&scene.host, &second).ok();
    let scene = scene.restart();
    echo(&scene.host, &scene.zoe).problem(401, "unauthenticated");
    echo(&scene.host, &second).ok();
    let listed = keys(&scene.host);
    let revoked = listed.iter().find(|key| key["id"] == first).expect("still listed");
    assert_eq!(revoked["revoked"]["reason"], "leaked");
    assert!(revoked["used"].is_string(), "the time of last use survives a restart: {revoked}");

    // An account can revoke its own keys, but no others.
    let (host, eve) = (&scene.host, scene.host.party("eve"));
    let own = account(host, &second)["key"].as_str().expect("an identifier").to_owned();
    let path = format!("/api/account/keys/{own}/revocation");
    host.post(&path).bearer(&eve.api_key).send().problem(404, "not-found");
    host.post("/api/account/keys/xyz/revocation")
        .bearer(&eve.api_key)
        .send()
        .problem(400, "invalid-request");
    host.post(&path).bearer(&second.api_key).json(r#"{"reason":"lost my laptop"}"#).send().ok();
    echo(host, &second).problem(401, "unauthenticated");
    let last = actions(host).pop().expect("an action");
    assert_eq!((&last["by"], &last["reason"]), (&json!("account:zoe"), &json!("lost my laptop")));
}

#[test]
fn an_agreement_is_stopped_whatever_its_parties_have_done_to_it() {
    use hospes::agreement::events::{Actor, Change, Event, Reason, SignedEvent};
    let scene = scene();
    let [echo_id, spin_id] = scene.agreements;
    // The consumer has used up the room for events; an action needs none.
    let path = format!("/api/agreements/{spin_id}/events");
    let zoe = &scene.zoe;
    let happen = |host: &TestHost, change: Change| {
        let history = host.get(&path).bearer(&zoe.api_key).send().ok().json();
        let now = jiff::Timestamp::now();
        let now = jiff::Timestamp::from_microsecond(now.as_microsecond()).expect("a time");
        let event = Event {
            agreement: spin_id,
            sequence: serde_json::from_value(history["next"]["sequence"].clone())
                .expect("a number"),
            previous: serde_json::from_value(history["next"]["previous"].clone())
                .expect("a digest"),
            change,
            role: Actor::Consumer,
            by: zoe.key.party(),
            reason: Reason::Routine,
            effective: now,
            issued: now,
            evidence: None,
            note: None,
        };
        let signed = SignedEvent::sign(event, &[&zoe.key]).expect("signed");
        host.post(&path).bearer(&zoe.api_key).body(signed.to_bytes()).send()
    };
    for change in [Change::Suspend, Change::Resume].repeat(5) {
        happen(&scene.host, change).ok();
    }
    scene.ends_a_running_call(|host| {
        act(host, "stop-agreement", spin_id, "security").ok();
    });
    let told =
        scene.host.call(zoe, "acme/spin/run").json("{}").send().problem(403, "not-permitted");
    let detail = told["detail"].as_str().expect("text");
    assert!(
        detail.contains("stopped by this host's operator") && detail.contains("security"),
        "{detail}"
    );
    echo(&scene.host, zoe).ok();
    for party in [&scene.acme, zoe] {
        let listed = scene.host.get("/api/agreements").bearer(&party.api_key).send().ok().json();
        let states: Vec<_> = listed["agreements"].as_array().expect("a list").iter().collect();
        let state = |id: Digest| {
            let id = id.to_string();
            states.iter().find(|one| one["id"] == id).expect("listed")["state"].clone()
        };
        assert_eq!((state(spin_id), state(echo_id)), (json!("stopped"), json!("active")));
    }
    act(&scene.host, "stop-agreement", Digest::of(b"none"), "typo").problem(404, "not-found");
    // Events do not undo it.
    for change in [Change::Suspend, Change::Resume] {
        happen(&scene.host, change);
    }
    scene.host.call(zoe, "acme/spin/run").json("{}").send().problem(403, "not-permitted");
    let scene = scene.restart();
    scene.host.call(&scene.zoe, "acme/spin/run").json("{}").send().problem(403, "not-permitted");
}

#[test]
fn every_action_is_an_entry_of_the_log_and_proves_itself() {
    let Scene { host, acme, zoe, .. } = scene();
    echo(&host, &zoe).ok();
    act(&host, "suspend-account", "zoe", "first").ok();
    act(&host, "resume-account", "zoe", "second").ok();
    echo(&host, &zoe).ok();
    act(&host, "withdraw-model", "acme/spin", "third").ok();
    // Failed actions are not logged.
    act(&host, "suspend-account", "nobody", "x").problem(404, "not-found");
    act(&host, "suspend-account", "zoe", "a\nline").problem(400, "invalid-request");
    act(&host, "explode", "zoe", "x").problem(400, "invalid-request");
    let check = |host: &TestHost| {
        let party = host.host().party();
        let mut previous = Digest::from_bytes([0; 32]);
        let shown = actions(host);
        let reasons: Vec<_> = shown.iter().map(|action| action["reason"].clone()).collect();
        // The first two entries opened the accounts.
        assert_eq!(reasons[2..], [json!("first"), json!("second"), json!("third")]);
        for (number, entry) in (0..).zip(&shown) {
            let proof = entry["proof"].to_string();
            let proof = ReceiptProof::parse(proof.as_bytes()).expect("a proof");
            let action = proof.verify_action(&party).expect("in the log");
            assert_eq!((action.sequence, action.previous), (number, previous));
            assert_eq!(json!(action.target), entry["target"]);
            previous = *action.hash();
            assert!(proof.verify(&party).is_err(), "an action is not a receipt");
            assert!(proof.verify_action(&zoe.key.party()).is_err(), "the proof is of another host");
            // The receipts' route does not return it.
            let path = format!("/api/receipts/{}", entry["id"].as_str().expect("text"));
            host.get(&path).bearer(&acme.api_key).send().problem(404, "not-found");
        }
    };
    check(&host);
    let zoe_receipts = || host.get("/api/receipts").bearer(&zoe.api_key).send().ok().json();
    assert_eq!(zoe_receipts()["receipts"].as_array().expect("a list").len(), 2);
    let host = TestHost::builder().data(host.stop()).start();
    check(&host);
    // Changing an entry in the file is damage: the host does not start.
    let data = host.stop();
    let log = data.path().join("data/receipts/receipts.log");
    let bytes = std::fs::read(&log).expect("readable");
    let at = bytes.windows(6).position(|window| window == b"second").expect("it is there");
    let mut changed = bytes.clone();
    changed[at] = b'S';
    std::fs::write(&log, changed).expect("written");
    let refused = TestHost::builder().data(Arc::clone(&data)).try_start().err().expect("refused");
    assert!(refused.contains("damaged"), "{refused}");
}

#[test]
fn opening_accounts_and_making_keys_is_written_down() {
    let host = TestHost::start();
    let zoe = host.party("zoe");
    let key = account(&host, &zoe)["key"].as_str().expect("an identifier").to_owned();
    let opened = format!("for {}, key {key}", zoe.key.party());
    assert_eq!(done_to(&host, "zoe"), [("open-account".to_owned(), opened)]);
    let second = host.party("zoe");
    let key = account(&host, &second)["key"].as_str().expect("an identifier").to_owned();
    let made = ("make-key".to_owned(), "for the account `zoe`".to_owned());
    assert_eq!(done_to(&host, &key), [made]);
    let own = account(&host, &zoe)["actions"].clone();
    let own: Vec<_> = own.as_array().expect("a list").iter().map(|one| &one["action"]).collect();
    assert_eq!(own, ["make-key", "open-account"], "the account can see both");
    // Refused actions are not logged, and actions with routes of their own cannot be requested
    // here.
    let party = Party::key_of("somebody else").party().to_string();
    let taken = json!({"name": "zoe", "party": party}).to_string();
    host.operator("POST", "/accounts").json(&taken).send().problem(409, "conflict");
    for action in [
        "open-account",
        "make-key",
        "retry-version",
        "take-out-version",
        "remove-record",
        "unload-model",
        "load-model",
    ] {
        act(&host, action, "zoe", "x").problem(400, "invalid-request");
    }
    assert_eq!(actions(&host).len(), 2);
    // The actions survive a restart and are not repeated.
    let host = TestHost::builder().data(host.stop()).start();
    assert_eq!(actions(&host).len(), 2);
    assert_eq!(account(&host, &zoe)["standing"], "open");
    let status = host.operator("GET", "/status").send().ok().json();
    assert_eq!((&status["actions"], &status["receipts"]), (&json!(2), &json!(0)));
}

/// It once left no trace, and the other party was told that there was no such model.
#[test]
fn a_publisher_that_takes_its_model_away_is_in_the_log_and_its_parties_are_told() {
    let scene = scene();
    let Scene { host, acme, zoe, echo: (model, _), .. } = &scene;
    let ask = |what: &str| {
        host.post(&format!("/v2/repository/models/acme%2Fecho/{what}")).bearer(&acme.api_key).send()
    };
    let told = || {
        let listed = host.get("/api/agreements").bearer(&zoe.api_key).send().ok().json();
        let mut listed = listed["agreements"].as_array().expect("a list").iter();
        let echo = listed.find(|one| one["model"] == "acme/echo").expect("it is there");
        echo["withdrawn"].clone()
    };
    assert_eq!(told(), json!([]));
    ask("load").ok();
    ask("unload").ok();
    ask("unload").ok();
    assert!(told()[0].as_str().expect("text").contains("taken out of service"), "{}", told());
    ask("load").ok();
    assert_eq!(told(), json!([]));
    let done = done_to(host, &model.to_string());
    let by = "by its publisher".to_owned();
    assert_eq!(done, [("unload-model".to_owned(), by.clone()), ("load-model".to_owned(), by)]);
}

#[test]
fn only_the_operator_acts() {
    let host = TestHost::start();
    let zoe = host.party("zoe");
    let body = r#"{"action":"suspend-account","target":"zoe","reason":"x"}"#;
    for path in ["/actions", "/accounts", "/accounts/zoe", "/withdrawals"] {
        // The public listener does not have these routes.
        assert_eq!(host.get(path).bearer(&zoe.api_key).send().status, 404, "{path}");
        host.operator("GET", path).send().ok();
        for token in [zoe.api_key.as_str(), "", "wrong"] {
            let stranger = host.operator_with(token, "GET", path).send();
            assert_eq!(stranger.status, 401, "{path} {token}");
        }
    }
    for token in [zoe.api_key.as_str(), "wrong"] {
        let forged = host.operator_with(token, "POST", "/actions").json(body).send();
        assert_eq!(forged.status, 401);
    }
    assert_eq!(account(&host, &zoe)["standing"], "open");
}

#[test]
fn the_operator_s_token_is_replaced_without_a_restart() {
    let host = TestHost::start();
    let old = host.operator("GET", "/status");
    old.clone().send().ok();
    let rotated = act(&host, "rotate-token", "operator.token", "").ok().json();
    old.send().problem(401, "unauthenticated");
    let fresh = host.operator("GET", "/status");
    fresh.send().ok();
    let data = host.stop();
    let path = data.path().join("data/operator.token");
    let kept = std::fs::read_to_string(&path).expect("readable");
    assert_eq!(json!(kept.trim()), rotated["token"]);
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(&path).expect("it exists").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let host = TestHost::builder().data(data).start();
    host.operator("GET", "/status").send().ok();
}

#[test]
fn the_log_does_not_say_that_the_token_was_replaced_when_it_was_not() {
    let host = TestHost::start();
    let path = host.data().join("operator.token");
    let token = std::fs::read_to_string(&path).expect("readable").trim().to_owned();
    // Make it impossible to replace the file.
    std::fs::remove_file(&path).expect("removed");
    std::fs::create_dir_all(path.join("in-the-way")).expect("made");
    let operator = |method, path| host.operator_with(&token, method, path);
    let wanted = r#"{"action": "rotate-token", "target": "operator.token"}"#;
    let failed = operator("POST", "/actions").json(wanted).send();
    let said = failed.problem(503, "busy")["detail"].to_string();
    assert!(said.contains("nothing was done"), "{said}");
    let logged = operator("GET", "/actions").send().ok().json();
    assert_eq!(logged["actions"], json!([]), "the old token is valid, and nothing is logged");

    std::fs::remove_dir_all(&path).expect("removed");
    operator("POST", "/actions").json(wanted).send().ok();
    operator("GET", "/actions").send().problem(401, "unauthenticated");
    assert_eq!(actions(&host)[0]["action"], "rotate-token");
}
