//! The life of agreements: amended, suspended, resumed, ended, resold; mandates and new keys.

use std::time::{Duration, Instant};

use hospes::agreement::events::{Actor, Change, Event, Reason, SignedEvent};
use hospes::agreement::{
    Agreement, Cause, Mandate, Proposal, SignedMandate, SignedSuccession, Succession,
};
use hospes::clock::{Clock, ManualClock};
use hospes::id::Digest;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use system_tests::scene::{Scene, noon, remaining};
use system_tests::{Party, TestHost, plugin, terms, wat_guest};

#[test]
fn an_agreement_is_suspended_resumed_and_ended_by_those_who_may() {
    let scene = Scene::new(&plugin("echo"));
    let (acme, zoe) = ((&scene.acme, Actor::Publisher), (&scene.zoe, Actor::Consumer));
    let agreement =
        scene.agree(&scene.acme, &scene.zoe, scene.clauses("echo-u8", &["notice P30D"]));
    scene.call(&scene.zoe).ok();
    // Without a pressing reason, the publisher must give notice.
    let refused = scene.happen(acme, &agreement, Change::Suspend, Reason::Routine);
    let problem = refused.problem(422, "event-refused");
    assert!(
        problem["detail"].as_str().expect("text").contains("2026-12-31T12:00:00Z"),
        "{problem}"
    );
    scene.call(&scene.zoe).ok();
    scene.happen(acme, &agreement, Change::Suspend, Reason::Abuse).ok();
    let refused = scene.call(&scene.zoe).problem(403, "not-permitted");
    assert!(
        refused["detail"]
            .as_str()
            .expect("text")
            .contains("SUSPENDED (the publisher: suspend, abuse"),
        "{refused}"
    );
    assert_eq!(remaining(&scene, &scene.zoe, &agreement), json!(["suspended", 2]));
    // Only the party that suspended can resume.
    scene.happen(zoe, &agreement, Change::Resume, Reason::Routine).problem(422, "event-refused");
    scene.happen(zoe, &agreement, Change::Suspend, Reason::Maintenance).ok();
    scene.happen(acme, &agreement, Change::Resume, Reason::Routine).ok();
    scene.call(&scene.zoe).problem(403, "not-permitted");
    let resumed = scene.event(zoe, &agreement, Change::Resume, Reason::Routine, Duration::ZERO);
    assert_eq!(scene.hand_in(&scene.zoe, &agreement, &resumed).ok().json()["applied"], "now");
    assert_eq!(
        scene.hand_in(&scene.zoe, &agreement, &resumed).ok().json()["applied"],
        "known",
        "a repeated event changes nothing"
    );
    scene.call(&scene.zoe).ok();
    // An announced end takes effect by itself.
    let end = scene.event(
        acme,
        &agreement,
        Change::Terminate,
        Reason::Withdrawn,
        Duration::from_secs(30 * 86_400),
    );
    scene.hand_in(&scene.acme, &agreement, &end).ok();
    scene.call(&scene.zoe).ok();
    scene.clock.advance(Duration::from_secs(30 * 86_400));
    scene.call(&scene.zoe).problem(403, "not-permitted");
    assert_eq!(remaining(&scene, &scene.zoe, &agreement)[0], "terminated");
    scene.happen(zoe, &agreement, Change::Resume, Reason::Routine).problem(409, "conflict");
    // Strangers see nothing and cannot do anything; a restart preserves everything.
    let mallory = scene.host.party("mallory");
    scene
        .host
        .get(&format!("/api/agreements/{agreement}/events"))
        .bearer(&mallory.api_key)
        .send()
        .problem(404, "not-found");
    scene.hand_in(&mallory, &agreement, &resumed).problem(404, "not-found");
    let before = scene.history(&scene.zoe, &agreement);
    let data = scene.host.stop();
    let host = TestHost::builder().clock(Clock::Manual(scene.clock)).data(data).start();
    let after = host
        .get(&format!("/api/agreements/{agreement}/events"))
        .bearer(&scene.zoe.api_key)
        .send()
        .ok()
        .json();
    assert_eq!(before, after);
    host.call(&scene.zoe, "acme/echo/echo-u8")
        .json(r#"{"v":1}"#)
        .send()
        .problem(403, "not-permitted");
}

#[test]
fn events_out_of_order_forks_and_forgeries_are_refused() {
    let scene = Scene::new(&plugin("echo"));
    let (acme, zoe) = ((&scene.acme, Actor::Publisher), (&scene.zoe, Actor::Consumer));
    let agreement = scene.agree(&scene.acme, &scene.zoe, scene.clauses("echo-u8", &[]));
    let first = scene.event(zoe, &agreement, Change::Suspend, Reason::Maintenance, Duration::ZERO);
    let second = Event {
        sequence: 2,
        previous: *first.id(),
        change: Change::Resume,
        ..first.content().clone()
    };
    let second = SignedEvent::sign(second, &[&scene.zoe.key]).expect("signed");
    let refused = scene.hand_in(&scene.zoe, &agreement, &second).problem(409, "conflict");
    assert!(refused["detail"].as_str().expect("text").contains("the next is event 1"), "{refused}");
    scene.call(&scene.zoe).ok();
    let other = scene.event(acme, &agreement, Change::Suspend, Reason::Abuse, Duration::ZERO);
    for event in [&first, &second] {
        assert_eq!(scene.hand_in(&scene.zoe, &agreement, event).ok().json()["applied"], "now");
    }
    scene.call(&scene.zoe).ok();
    scene.hand_in(&scene.acme, &agreement, &other).problem(409, "conflict");
    // Another party's name, another role, another agreement, an old date, a changed byte.
    let next = scene.event(zoe, &agreement, Change::Suspend, Reason::Maintenance, Duration::ZERO);
    let forged = |change: &dyn Fn(&mut Event)| {
        let mut event = next.content().clone();
        change(&mut event);
        SignedEvent::sign(event, &[&scene.zoe.key])
            .map(|event| scene.hand_in(&scene.zoe, &agreement, &event))
    };
    assert!(forged(&|event| event.by = scene.acme.key.party()).is_err());
    for change in [
        (&|event: &mut Event| event.role = Actor::Publisher) as &dyn Fn(&mut Event),
        &|event| event.role = Actor::Operator,
        &|event| event.agreement = Digest::of(b"another"),
        &|event| event.issued = noon() - Duration::from_secs(301),
        &|event| event.effective = noon() - Duration::from_secs(1),
        &|event| event.previous = *first.id(),
    ] {
        forged(change).expect("signed").problem(422, "event-refused");
    }
    let bytes = next.to_bytes();
    for index in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[index] ^= 1;
        assert!(SignedEvent::parse(&changed).is_err(), "byte {index}");
    }
    scene.call(&scene.zoe).ok();
}

#[test]
fn the_operator_may_suspend_for_a_while_and_no_more() {
    let scene = Scene::new(&plugin("echo"));
    let agreement = scene.agree(&scene.acme, &scene.zoe, scene.clauses("echo-u8", &[]));
    let operate = |change: &str, reason: &str| {
        let path = format!("/agreements/{agreement}/events");
        let body = json!({"change": change, "reason": reason, "note": "a look at it"}).to_string();
        scene.host.operator("POST", &path).json(&body).send()
    };
    operate("terminate", "abuse").problem(422, "event-refused");
    operate("suspend", "routine").problem(422, "event-refused");
    operate("suspend", "security").ok();
    scene.call(&scene.zoe).problem(403, "not-permitted");
    let other =
        scene.host.post(&format!("/agreements/{agreement}/events")).bearer(&scene.acme.api_key);
    other.send().problem(404, "not-found");
    scene.clock.advance(Duration::from_secs(30 * 86_400));
    scene.call(&scene.zoe).ok();
    operate("suspend", "maintenance").ok();
    operate("resume", "routine").ok();
    scene.call(&scene.zoe).ok();
}

#[test]
fn an_amendment_takes_the_place_of_the_old_agreement_without_a_second_quota() {
    let scene = Scene::new(&plugin("echo"));
    let old =
        scene.agree(&scene.acme, &scene.zoe, scene.clauses("echo-u8", &["count lteq 3 call"]));
    scene.call(&scene.zoe).ok();
    scene.call(&scene.zoe).ok();
    let mut amended = scene.clauses("echo-u8", &["count lteq 5 call"]);
    amended.supersedes = Some(old);
    let new = scene.agree(&scene.acme, &scene.zoe, amended.clone());
    assert_eq!(remaining(&scene, &scene.zoe, &old), json!(["completed", 2]));
    for used in 3..=5 {
        scene.call(&scene.zoe).ok();
        assert_eq!(remaining(&scene, &scene.zoe, &new), json!(["active", used]));
    }
    let refused = scene.call(&scene.zoe).problem(429, "limit-reached");
    assert_eq!((&refused["clause"], &refused["code"]), (&json!("count"), &json!("count-used-up")));
    let premise = &refused["report"]["ruleReport"][0]["premiseReport"][1];
    assert_eq!(premise["satisfactionState"], "Unsatisfied", "{refused}");
    assert_eq!(premise["seen"], "5 calls used, 1 more wanted", "{refused}");
    // An ended agreement cannot be superseded again, nor by other parties.
    let offer = scene.acme.offer_of(amended.clone(), Vec::new());
    scene.list(&scene.acme, &offer).ok();
    let again = scene.sign(&scene.acme, &scene.zoe, &offer);
    scene.host.submit(&scene.zoe, &again.to_bytes()).problem(422, "agreement-refused");
    let max = scene.host.party("max");
    amended.supersedes = Some(new);
    let offer = scene.acme.offer_of(amended, Vec::new());
    scene.list(&scene.acme, &offer).ok();
    let stolen = scene.sign(&scene.acme, &max, &offer);
    scene.host.submit(&max, &stolen.to_bytes()).problem(422, "agreement-refused");
    // A restart changes nothing.
    let Scene { host, clock, zoe, .. } = scene;
    let host = TestHost::builder().clock(Clock::Manual(clock)).data(host.stop()).start();
    host.call(&zoe, "acme/echo/echo-u8").json(r#"{"v":1}"#).send().problem(429, "limit-reached");
}

#[test]
fn a_sub_agreement_three_levels_deep_draws_on_the_root_and_ends_with_it() {
    let scene = Scene::new(&plugin("echo"));
    let root = scene.agree(
        &scene.acme,
        &scene.zoe,
        scene.clauses("echo-u8", &["grant-use 3", "count lteq 6 call"]),
    );
    let [ann, ben, cem] = ["ann", "ben", "cem"].map(|name| scene.host.party(name));
    let below = |parent: Digest, lines: &[&str]| {
        let mut clauses = scene.clauses("echo-u8", lines);
        clauses.parent = Some(parent);
        clauses
    };
    let first = scene.agree(&scene.zoe, &ann, below(root, &["grant-use 2", "count lteq 5 call"]));
    let second = scene.agree(&ann, &ben, below(first, &["grant-use 1", "count lteq 5 call"]));
    let third = scene.agree(&ben, &cem, below(second, &["count lteq 5 call"]));
    // Wider offers, and offers below other parties' agreements, are refused.
    for (publisher, parent, lines) in [
        (&ben, second, &["count lteq 6 call"][..]),
        (&ben, second, &["grant-use 1", "count lteq 5 call"]),
        (&ben, second, &[]),
        (&cem, third, &["count lteq 1 call"]),
        (&ben, first, &["count lteq 1 call"]),
    ] {
        let offer = publisher.offer_of(below(parent, lines), Vec::new());
        scene.list(publisher, &offer).problem(422, "offer-refused");
    }
    for (caller, calls) in [(&cem, 2), (&ben, 1), (&scene.zoe, 2)] {
        (0..calls).for_each(|_| drop(scene.call(caller).ok()));
    }
    assert_eq!(remaining(&scene, &ben, &third), json!(["active", 2]));
    assert_eq!(remaining(&scene, &ann, &first)[1], 3);
    assert_eq!(remaining(&scene, &scene.zoe, &root)[1], 5);
    scene.call(&cem).ok();
    let refused = scene.call(&cem).problem(429, "limit-reached");
    assert!(
        refused["detail"].as_str().expect("text").contains("in an agreement above"),
        "{refused}"
    );
    scene.call(&scene.zoe).problem(429, "limit-reached");
    scene.happen((&scene.acme, Actor::Publisher), &root, Change::Suspend, Reason::NonPayment).ok();
    let refused = scene.call(&cem).problem(403, "not-permitted");
    assert!(refused["detail"].as_str().expect("text").contains("above it"), "{refused}");
}

#[test]
fn a_host_starts_again_with_parts_that_one_side_has_yet_to_sign() {
    let scene = Scene::new(&plugin("echo"));
    let root = scene.agree(&scene.acme, &scene.zoe, scene.clauses("echo-u8", &["grant-use 1"]));
    let ann = scene.host.party("ann");
    let mut clauses = scene.clauses("echo-u8", &["count lteq 5 call"]);
    clauses.parent = Some(root);
    let offer = scene.zoe.offer_of(clauses, Vec::new());
    scene.list(&scene.zoe, &offer).ok();
    // They are stored by digest, so some of these load before their parent.
    for _ in 0..8 {
        let accepted = hospes::agreement::Agreement::accept(&offer, ann.key.party(), noon());
        let proposal = Proposal::sign(accepted.expect("accepted"), &ann.key).expect("signed");
        scene.host.submit(&ann, &proposal.to_bytes()).ok();
    }
    let Scene { host, clock, .. } = scene;
    let host = TestHost::builder().clock(Clock::Manual(clock)).data(host.stop()).start();
    let all = host.get("/api/agreements").bearer(&ann.api_key).send().ok().json();
    assert_eq!(all["agreements"].as_array().expect("a list").len(), 8);
}

#[test]
fn a_suspension_ends_running_calls_where_that_was_agreed_on() {
    for (line, aborts) in [("on-suspend abort", true), ("on-suspend finish", false)] {
        let host = TestHost::builder()
            .config(|config| config.sandbox.deadline = Duration::from_secs(3))
            .start();
        let (acme, zoe) = (host.party("acme"), host.party("zoe"));
        let published = host.publish(&acme, &wat_guest("spin", &[]));
        let clock = ManualClock::at(Timestamp::now());
        let scene = Scene { host, clock, acme, zoe, published };
        let agreement = scene.agree(&scene.acme, &scene.zoe, scene.clauses("run", &[line]));
        std::thread::scope(|scope| {
            let running =
                scope.spawn(|| scene.host.call(&scene.zoe, "acme/spin/run").json("{}").send());
            std::thread::sleep(Duration::from_millis(500));
            scene
                .happen((&scene.acme, Actor::Publisher), &agreement, Change::Suspend, Reason::Abuse)
                .ok();
            let reply = running.join().expect("answered");
            // Without `abort`, the call runs until its deadline.
            let ended = if aborts { "stopped" } else { "deadline" };
            assert_eq!(reply.json()["failure"], ended, "{}", reply.text());
        });
        // The call took place and has its receipt; the next one does not begin.
        assert_eq!(remaining(&scene, &scene.zoe, &agreement), json!(["suspended", 1]));
        scene
            .host
            .call(&scene.zoe, "acme/spin/run")
            .json("{}")
            .send()
            .problem(403, "not-permitted");
    }
}

#[test]
fn a_state_that_is_too_old_permits_nothing() {
    let scene = Scene::new(&plugin("echo"));
    scene.agree(&scene.acme, &scene.zoe, scene.clauses("echo-u8", &["max-stale PT5M"]));
    scene.call(&scene.zoe).ok();
    // The clock jumps, and the host has not read its store since.
    scene.clock.advance(Duration::from_secs(301));
    let stale = scene.call(&scene.zoe);
    assert!(stale.status == 200 || stale.text().contains("last known at"), "{}", stale.text());
    // The host reads it every second.
    let deadline = Instant::now() + Duration::from_secs(10);
    while scene.call(&scene.zoe).status != 200 {
        assert!(Instant::now() < deadline, "the state is still stale");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_private_offer_is_seen_and_accepted_by_its_parties_only() {
    let scene = Scene::new(&plugin("echo"));
    let mallory = scene.host.party("mallory");
    let offer = scene.acme.offer_of(scene.clauses("echo-u8", &[]), vec![scene.zoe.key.party()]);
    scene.list(&scene.acme, &offer).ok();
    let offers = |key: Option<&str>| {
        let market = scene.host.get("/api/market");
        let market = key.map_or(market.clone(), |key| market.bearer(key));
        market.send().ok().json()["offers"].as_array().expect("a list").len()
    };
    assert_eq!(
        [None, Some(&*mallory.api_key), Some(&*scene.zoe.api_key), Some(&*scene.acme.api_key)]
            .map(offers),
        [0, 0, 1, 1]
    );
    let path = format!("/api/offers/{}", offer.id());
    scene.host.get(&path).bearer(&mallory.api_key).send().problem(404, "not-found");
    scene.host.call(&mallory, "acme/echo/echo-u8").json("{}").send().problem(404, "not-found");
    let theirs = hospes::agreement::Agreement::accept(&offer, mallory.key.party(), noon());
    assert!(theirs.is_err());
    let proposal = scene.sign(&scene.acme, &scene.zoe, &offer);
    scene.host.submit(&scene.zoe, &proposal.to_bytes()).ok();
    scene.call(&scene.zoe).ok();
}

#[test]
#[expect(clippy::too_many_lines, reason = "the steps build on each other")]
fn a_mandate_lets_the_host_agree_so_often_and_until_then() {
    let scene = Scene::new(&plugin("echo"));
    let offer = scene.acme.offer_of(scene.clauses("echo-u8", &[]), Vec::new());
    scene.list(&scene.acme, &offer).ok();
    let host: hospes::id::Party = scene.host.get("/api/host").send().ok().json()["party"]
        .as_str()
        .expect("text")
        .parse()
        .expect("a party");
    let mandate = |agent, offer: Digest, max, key: &hospes::key::PartyKey| {
        let expires = noon() + Duration::from_secs(3600);
        let mandate = Mandate {
            publisher: key.party(),
            agent,
            offer,
            max,
            expires,
            issued: noon(),
            max_per_consumer: None,
        };
        SignedMandate::sign(mandate, &[key]).expect("signed").to_bytes()
    };
    let post = |by: &Party, bytes: Vec<u8>| {
        scene
            .host
            .post(&format!("/api/offers/{}/mandate", offer.id()))
            .bearer(&by.api_key)
            .body(bytes)
            .send()
    };
    let accept = |name: &str| {
        let consumer = scene.host.party(name);
        let agreement = hospes::agreement::Agreement::accept(&offer, consumer.key.party(), noon());
        let proposal = Proposal::sign(agreement.expect("accepted"), &consumer.key).expect("signed");
        let submitted = scene.host.submit(&consumer, &proposal.to_bytes()).ok().json();
        (consumer, submitted["state"].as_str().expect("text").to_owned(), *proposal.id())
    };
    // Mandates for another party's offer, or for another agent, are refused.
    post(&scene.zoe, mandate(host, *offer.id(), 2, &scene.zoe.key))
        .problem(422, "agreement-refused");
    post(&scene.acme, mandate(scene.zoe.key.party(), *offer.id(), 2, &scene.acme.key))
        .problem(422, "agreement-refused");
    post(&scene.acme, mandate(host, Digest::of(b"another"), 2, &scene.acme.key))
        .problem(422, "agreement-refused");
    assert_eq!(accept("early").1, "proposed");
    let signed = mandate(host, *offer.id(), 2, &scene.acme.key);
    post(&scene.acme, signed.clone()).ok();
    let (first, state, id) = accept("first");
    assert_eq!(state, "active");
    scene.call(&first).ok();
    assert_eq!(accept("second").1, "active");
    assert_eq!(accept("third").1, "proposed", "the mandate allows two");
    // An auditor needs the mandate and can fetch it.
    let envelope =
        scene.host.get(&format!("/api/agreements/{id}")).bearer(&first.api_key).send().ok().body;
    assert!(Proposal::parse(&envelope).is_err());
    let shown = scene.host.get(&format!("/api/offers/{}/mandate", offer.id())).send().ok().body;
    assert_eq!(shown, signed);
    let checked =
        Proposal::parse_with(&envelope, Some(&SignedMandate::parse(&shown).expect("a mandate")));
    assert!(checked.expect("both roles have signed").complete().is_ok());
    let Scene { host, clock, .. } = scene;
    let host = TestHost::builder().clock(Clock::Manual(clock.clone())).data(host.stop()).start();
    host.call(&first, "acme/echo/echo-u8").json(r#"{"v":1}"#).send().ok();
    clock.advance(Duration::from_secs(3600));
    let late = host.party("late");
    let agreement =
        hospes::agreement::Agreement::accept(&offer, late.key.party(), noon()).expect("accepted");
    let proposal = Proposal::sign(agreement, &late.key).expect("signed");
    assert_eq!(
        host.submit(&late, &proposal.to_bytes()).ok().json()["state"],
        "proposed",
        "the mandate has expired"
    );
}

#[test]
fn a_new_key_follows_the_old_and_what_the_old_one_signed_stays() {
    let scene = Scene::new(&plugin("echo"));
    let agreement =
        scene.agree(&scene.acme, &scene.zoe, scene.clauses("echo-u8", &["count lteq 9 call"]));
    scene.call(&scene.zoe).ok();
    let follow = |by: &Party, from: &Party, to: &Party, keys: [&hospes::key::PartyKey; 2]| {
        let (from, to) = (from.key.party(), to.key.party());
        let succession = Succession { from, to, cause: Cause::Routine, issued: noon() };
        let signed = SignedSuccession::sign(succession, &keys).expect("signed by both");
        scene.host.post("/api/successions").bearer(&by.api_key).body(signed.to_bytes()).send()
    };
    let with_key = |party: &Party, name: &str| Party { key: Party::key_of(name), ..party.clone() };
    let (acme, zoe) = (with_key(&scene.acme, "acme-2"), with_key(&scene.zoe, "zoe-2"));
    let mallory = scene.host.party("mallory");
    // An account cannot get a successor key from another party, nor a key that is already in use.
    follow(&mallory, &scene.acme, &acme, [&scene.acme.key, &acme.key]).problem(409, "conflict");
    follow(&scene.zoe, &scene.zoe, &mallory, [&scene.zoe.key, &mallory.key])
        .problem(409, "conflict");
    follow(&scene.zoe, &scene.zoe, &zoe, [&scene.zoe.key, &zoe.key]).ok();
    follow(&scene.zoe, &scene.zoe, &zoe, [&scene.zoe.key, &zoe.key]).ok();
    follow(&scene.acme, &scene.acme, &acme, [&scene.acme.key, &acme.key]).ok();
    // The agreement signed with the old keys stays in force; only the new keys can sign its events.
    scene.call(&zoe).ok();
    assert_eq!(remaining(&scene, &zoe, &agreement), json!(["active", 2]));
    scene
        .happen((&scene.acme, Actor::Publisher), &agreement, Change::Suspend, Reason::Abuse)
        .problem(422, "event-refused");
    scene.happen((&acme, Actor::Publisher), &agreement, Change::Suspend, Reason::Abuse).ok();
    scene.call(&zoe).problem(403, "not-permitted");
    scene.happen((&acme, Actor::Publisher), &agreement, Change::Resume, Reason::Routine).ok();
    // New offers and agreements belong to the new keys.
    let old = scene.acme.offer_of(scene.clauses("echo-u8", &[]), Vec::new());
    scene.list(&acme, &old).problem(422, "offer-refused");
    let mut amended = scene.clauses("echo-u8", &["count lteq 3 call"]);
    amended.supersedes = Some(agreement);
    let offer = acme.offer_of(amended, Vec::new());
    scene.list(&acme, &offer).ok();
    let stale = scene.sign(&acme, &scene.zoe, &offer);
    scene.host.submit(&zoe, &stale.to_bytes()).problem(422, "agreement-refused");
    let fresh = scene.sign(&acme, &zoe, &offer);
    assert_eq!(scene.host.submit(&zoe, &fresh.to_bytes()).ok().json()["state"], "active");
    scene.call(&zoe).ok();
    scene.call(&zoe).problem(429, "limit-reached");
    // All of this survives a restart, including events signed with either key.
    let before = scene.history(&acme, &agreement);
    let Scene { host, clock, .. } = scene;
    let host = TestHost::builder().clock(Clock::Manual(clock)).data(host.stop()).start();
    let after = host
        .get(&format!("/api/agreements/{agreement}/events"))
        .bearer(&acme.api_key)
        .send()
        .ok()
        .json();
    assert_eq!(before, after);
    host.call(&zoe, "acme/echo/echo-u8").json(r#"{"v":1}"#).send().problem(429, "limit-reached");
}

/// Such an agreement would escape a freeze, because it seems to have been made after the loss.
#[test]
fn an_agreement_that_is_dated_ahead_is_refused() {
    let host = TestHost::start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let (model, digest) = host.publish(&acme, &plugin("echo"));
    let offer = acme.offer(&model, digest, vec![terms("echo-u8")]);
    host.post("/api/offers").bearer(&acme.api_key).body(offer.to_bytes()).send().ok();
    let ahead = Timestamp::now() + SignedDuration::from_hours(1);
    let agreement = Agreement::accept(&offer, zoe.key.party(), ahead).expect("accepted");
    let proposal = Proposal::sign(agreement, &zoe.key).expect("signed");
    let sent = host.post("/api/agreements").bearer(&zoe.api_key).body(proposal.to_bytes()).send();
    let problem = sent.problem(422, "agreement-refused");
    assert!(problem["detail"].as_str().expect("text").contains("ahead"), "{problem}");
}
