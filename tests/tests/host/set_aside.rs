//! Unreadable records: each is set aside with its reason, and everything else keeps working.

use hospes::agreement::RegistryVersion;
use hospes::agreement::events::{Actor, Change, Reason};
use hospes::dsse::Envelope;
use hospes::id::Digest;
use hospes::key::PartyKey;
use hospes::store::{Store, Table};
use serde_json::json;
use system_tests::scene::Scene;
use system_tests::{HostProcess, Reply, TestHost, plugin};

const AGREEMENT: &str = "application/vnd.hospes.agreement.v1+json";

/// The envelope with a payload that names a future registry.
fn of_the_future(envelope: &[u8], key: &PartyKey) -> Vec<u8> {
    let envelope = Envelope::parse(envelope).expect("an envelope");
    let payload = String::from_utf8(envelope.payload().to_vec()).expect("text");
    let known = RegistryVersion::newest().digest().to_string();
    let changed = payload.replace(&known, &Digest::of(b"registry 2").to_string());
    assert_ne!(changed, payload);
    Envelope::sign(AGREEMENT, changed.into_bytes(), key).expect("small").to_bytes()
}

fn shown(reply: &Reply, part: &str) {
    let text = reply.text();
    assert!(text.contains(part), "{text}");
}

/// The operator sees exactly these records.
fn are_listed(host: &TestHost, broken: &[(Table, String, Vec<u8>)]) {
    let listed = host.operator("GET", "/out-of-service").send().ok().json();
    let records = listed["records"].as_array().expect("a list");
    for (table, key, _) in broken {
        let mut of = records.iter().filter(|record| record["kind"] == table.name());
        assert!(of.any(|record| record["key"] == **key), "{table:?} {key}: {records:?}");
    }
    assert_eq!(records.len(), broken.len(), "{records:?}");
}

/// The keys of an account with an unreadable record do not work, and its name stays taken.
fn no_account_is_opened_in_its_place(host: &TestHost, yann: &system_tests::Party) {
    assert_eq!(host.get("/api/agreements").bearer(&yann.api_key).send().status, 401);
    let again = json!({"name": "yann", "party": yann.key.party()}).to_string();
    let again = host.operator("POST", "/accounts").json(&again).send();
    assert_eq!(again.status, 409);
    shown(&again, "set aside");
    // Its party cannot open another account either, as that would undo what the operator decided.
    let other = json!({"name": "yann-2", "party": yann.key.party()}).to_string();
    let other = host.operator("POST", "/accounts").json(&other).send();
    other.problem(409, "conflict");
    shown(&other, "from a backup");
}

/// Any one of these records once kept the whole host from starting.
#[test]
fn a_record_that_cannot_be_read_takes_nothing_else_down() {
    let scene = Scene::new(&plugin("echo"));
    let agree = || scene.agree(&scene.acme, &scene.zoe, scene.clauses("echo-u8", &[]));
    let (unknown, frozen, sound) = (agree(), agree(), agree());
    let suspended =
        scene.happen((&scene.acme, Actor::Publisher), &frozen, Change::Suspend, Reason::Abuse);
    suspended.ok();
    let yann = scene.host.party("yann");
    let Scene { host, clock, acme, zoe, published } = scene;
    let data = host.stop();
    let path = data.path().join("data/state.redb");
    let event = format!("{frozen}/0000000001");
    let (broken, sound_offer) = {
        let store = Store::open(&path).expect("opens");
        let kept = store.get(Table::Agreements, &unknown.to_string()).expect("reads");
        let future = of_the_future(&kept.expect("it is there"), &zoe.key);
        let offers = store.keys(Table::Offers).expect("reads");
        let sound_offer = store.get(Table::Offers, &offers[0]).expect("reads");
        let broken = [
            (Table::Agreements, unknown.to_string(), future),
            (Table::Events, event, b"torn".to_vec()),
            (Table::Offers, offers[0].clone(), b"{}".to_vec()),
            (Table::Mandates, offers[1].clone(), b"{}".to_vec()),
            (
                Table::Negotiations,
                "00000000-0000-0000-0000-000000000000/1".to_owned(),
                b"torn".to_vec(),
            ),
            (Table::Accounts, "yann".to_owned(), b"{\"name\":".to_vec()),
        ];
        for (table, key, record) in &broken {
            store.put(*table, key, record).expect("writes");
        }
        (broken, sound_offer.expect("it is there"))
    };
    let clock = hospes::clock::Clock::Manual(clock);
    let host = TestHost::builder().clock(clock).data(data.clone()).start();

    let call = |agreement: &Digest| {
        let call = host.call(&zoe, "acme/echo/echo-u8").json(r#"{"v":1}"#);
        call.header("hospes-agreement", agreement.to_string()).send()
    };
    call(&sound).ok();
    let refused = call(&unknown);
    assert_eq!(refused.status, 403);
    shown(&refused, "registry");
    let refused = call(&frozen);
    assert_eq!(refused.status, 403);
    shown(&refused, "cannot be read");

    // Its parties are told why; others cannot see the agreement.
    let find = |party: &system_tests::Party| {
        host.get(&format!("/api/agreements/{unknown}")).bearer(&party.api_key).send()
    };
    let told = find(&zoe);
    assert_eq!(told.status, 503);
    shown(&told, "update the host");
    let mallory = host.party("mallory");
    assert_eq!(find(&mallory).status, 404);
    no_account_is_opened_in_its_place(&host, &yann);

    // An offer that is submitted again does not replace its record, and the error refers to the
    // operator.
    let again = host.post("/api/offers").bearer(&acme.api_key).body(sound_offer).send();
    let problem = again.problem(503, "out-of-service");
    assert!(problem["detail"].as_str().expect("text").contains("ask its operator"), "{problem}");

    are_listed(&host, &broken);
    let (model, digest) = &published;
    assert_eq!(host.publish(&acme, &plugin("echo")), (model.clone(), *digest));

    // The records are left unchanged.
    let data = host.stop();
    let store = Store::open(&data.path().join("data/state.redb")).expect("opens");
    for (table, key, record) in broken {
        assert_eq!(store.get(table, &key).expect("reads"), Some(record), "{table:?} {key}");
    }
}

/// Otherwise a party would lose its suspension and its successor key with its record.
#[test]
fn who_was_stopped_stays_so_when_its_account_cannot_be_read() {
    let scene = Scene::new(&plugin("echo"));
    let sound = scene.host.party("umbrella");
    scene.agree(&scene.acme, &scene.zoe, scene.clauses("echo-u8", &[]));
    scene.call(&scene.zoe).ok();
    let act = json!({"action": "suspend-account", "target": "acme", "reason": "it may be stolen"});
    scene.host.operator("POST", "/actions").json(&act.to_string()).send().ok();
    scene.call(&scene.zoe).problem(403, "not-permitted");
    let Scene { host, clock, acme, zoe, .. } = scene;
    let data = host.stop();
    {
        let store = Store::open(&data.path().join("data/state.redb")).expect("opens");
        store.put(Table::Accounts, "acme", b"torn").expect("writes");
    }
    let clock = hospes::clock::Clock::Manual(clock);
    let host = TestHost::builder().clock(clock).data(data).start();
    let refused = host.call(&zoe, "acme/echo/echo-u8").json(r#"{"v":1}"#).send();
    refused.problem(403, "not-permitted");
    shown(&refused, "cannot be read");
    // Another account for the same key would have no suspension.
    let again = json!({"name": "acme-2", "party": acme.key.party()}).to_string();
    host.operator("POST", "/accounts").json(&again).send().problem(409, "conflict");
    host.get("/api/account").bearer(&sound.api_key).send().ok();
}

/// Tears the record of an offer, of an agreement's event and of an account that was suspended, and starts a host on them.
fn torn(scene: Scene) -> (TestHost, system_tests::Party, Digest, [(&'static str, String); 3]) {
    let agreement = scene.agree(&scene.acme, &scene.zoe, scene.clauses("echo-u8", &[]));
    let suspended =
        scene.happen((&scene.acme, Actor::Publisher), &agreement, Change::Suspend, Reason::Abuse);
    suspended.ok();
    scene.host.party("yann");
    let act =
        json!({"action": "suspend-account", "target": "yann", "reason": "it floods the host"});
    scene.host.operator("POST", "/actions").json(&act.to_string()).send().ok();
    let Scene { host, clock, zoe, .. } = scene;
    let data = host.stop();
    let store = Store::open(&data.path().join("data/state.redb")).expect("opens");
    let offer = store.keys(Table::Offers).expect("reads").remove(0);
    let torn = [
        (Table::Offers, offer),
        (Table::Events, format!("{agreement}/0000000001")),
        (Table::Accounts, "yann".to_owned()),
    ];
    let torn = torn.map(|(table, key)| {
        store.put(table, &key, b"torn").expect("writes");
        (table.name(), key)
    });
    drop(store);
    let clock = hospes::clock::Clock::Manual(clock);
    (TestHost::builder().clock(clock).data(data).start(), zoe, agreement, torn)
}

/// It was once listed for ever, whatever the operator did about it.
#[test]
fn a_record_that_was_set_aside_is_saved_and_removed_and_no_other_is() {
    let scene = Scene::new(&plugin("echo"));
    let clock = hospes::clock::Clock::Manual(scene.clock.clone());
    let (host, zoe, agreement, [offer, event, account]) = torn(scene);
    let read = |(kind, key): (&str, &str)| {
        host.operator("GET", &format!("/out-of-service/record?kind={kind}&key={key}")).send()
    };
    let remove = |(kind, key): (&str, &str), bytes: &[u8]| {
        let wanted = json!({"kind": kind, "key": key, "digest": Digest::of(bytes).to_string()});
        host.operator("POST", "/out-of-service/remove").json(&wanted.to_string()).send()
    };
    assert_eq!(&read((offer.0, &offer.1)).ok().body[..], b"torn");
    // Sound ones stay, and what the operator has not seen.
    let sound = agreement.to_string();
    for (kind, key) in [("agreements", sound.as_str()), ("offers", "none"), ("none", "none")] {
        read((kind, key)).problem(404, "not-found");
        remove((kind, key), b"torn").problem(404, "not-found");
    }
    remove((offer.0, &offer.1), b"another").problem(409, "conflict");
    // Its suspension would be forgotten with it.
    remove((account.0, &account.1), b"torn").problem(409, "conflict");

    let folder = host.data();
    let (copy, operator) = (folder.join("offer.torn"), host.operator_url());
    let [copy, data] = [&copy, &folder].map(|path| path.to_str().expect("text"));
    let by_command = |how: &[&str]| {
        let which = ["admin", "out-of-service", "remove", offer.0, &offer.1, "--data", data];
        let output = HostProcess::run(&[&which[..], &["--operator", &operator], how].concat());
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    let (done, said) = by_command(&[]);
    assert!(!done && said.contains("--no-copy"), "{said}");
    let (done, said) = by_command(&["-o", copy, "--reason", "a disk fault"]);
    assert!(done && said.contains("removed record"), "{said}");
    assert_eq!(std::fs::read(copy).expect("saved"), b"torn");
    // The event may have ended the agreement.
    let removed = remove((event.0, &event.1), b"torn").ok().json();
    assert_eq!(removed["frozen"], agreement.to_string(), "{removed}");

    let listed = host.operator("GET", "/out-of-service").send().ok().json();
    let left = listed["records"].as_array().expect("a list");
    assert!(left.len() == 1 && left[0]["kind"] == "accounts", "{left:?}");
    let log = host.operator("GET", "/actions").send().ok().json();
    let log = log["actions"].as_array().expect("a list").clone();
    let removed: Vec<_> = log.iter().filter(|one| one["action"] == "remove-record").collect();
    assert_eq!(removed.len(), 2, "{log:?}");
    assert_eq!(removed[0]["target"], format!("offers/{}", offer.1));
    let reason = format!("{}, 4 bytes: a disk fault", Digest::of(b"torn"));
    assert_eq!(removed[0]["reason"], reason);

    let host = TestHost::builder().clock(clock).data(host.stop()).start();
    let call = || host.call(&zoe, "acme/echo/echo-u8").json(r#"{"v":1}"#).send();
    call().problem(403, "not-permitted");
    let release =
        json!({"action": "release-agreement", "target": agreement.to_string(), "reason": ""});
    host.operator("POST", "/actions").json(&release.to_string()).send().ok();
    call().ok();
}

/// Each amendment was once read again for each earlier one.
#[test]
fn a_long_chain_of_amendments_is_read_once() {
    let scene = Scene::new(&plugin("echo"));
    let mut last = scene.agree(&scene.acme, &scene.zoe, scene.clauses("echo-u8", &[]));
    for _ in 0..100 {
        let mut clauses = scene.clauses("echo-u8", &[]);
        clauses.supersedes = Some(last);
        last = scene.agree(&scene.acme, &scene.zoe, clauses);
    }
    let Scene { host, clock, zoe, .. } = scene;
    let clock = hospes::clock::Clock::Manual(clock);
    let host = TestHost::builder().clock(clock).data(host.stop()).start();
    host.call(&zoe, "acme/echo/echo-u8").json(r#"{"v":1}"#).send().ok();
    let listed = host.operator("GET", "/out-of-service").send().ok().json();
    assert_eq!(listed["records"], json!([]));
}
