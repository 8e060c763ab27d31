//! `kill -9` while calls run: the count never exceeds the agreement, and every released response
//! has its receipt in the log.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hospes::receipt::ReceiptProof;
use serde_json::{Value, json};
use system_tests::{HostProcess, Limited as _, Party, Request, plugin, terms};

const KILLS: usize = 20;
/// Reached before the last kill, so that a crash at the limit is tested as well.
const CALLS_MAX: u64 = 2500;
const CALLERS: usize = 4;

struct World {
    acme: Party,
    zoe: Party,
}

fn account(host: &HostProcess, data: &Path, name: &str) -> Party {
    let token =
        std::fs::read_to_string(data.join("operator.token")).expect("the host has written it");
    let key = Party::key_of(name);
    let wanted = json!({"name": name, "party": key.party()}).to_string();
    let request = Request::new("POST", format!("{}/accounts", host.operator)).bearer(token.trim());
    let opened = request.json(&wanted).send().ok().json();
    Party { name: name.into(), key, api_key: opened["key"].as_str().expect("a key").into() }
}

/// Publishes the echo plugin and signs an agreement with this many calls for both.
fn prepare(host: &HostProcess, data: &Path) -> World {
    let (acme, zoe) = (account(host, data, "acme"), account(host, data, "zoe"));
    let post = |path: &str, party: &Party, bytes: Vec<u8>| {
        let request = Request::new("POST", format!("{}{path}", host.address));
        request.bearer(&party.api_key).octets(bytes).send().ok().json()
    };
    let published = post("/api/bundles", &acme, acme.sign(&plugin("echo")));
    let text = |member: &str| published[member].as_str().expect("text").to_owned();
    let limited = terms("echo-u8").limit(&format!("count lteq {} call", CALLS_MAX));
    let (model, digest) =
        (text("model").parse().expect("a model"), text("digest").parse().expect("a digest"));
    let offer = acme.offer(&model, digest, vec![limited]);
    post("/api/offers", &acme, offer.to_bytes());
    let mut proposal = zoe.accept(&offer);
    proposal.add_signature(&acme.key).expect("the publisher");
    assert_eq!(post("/api/agreements", &zoe, proposal.to_bytes())["state"], "active");
    World { acme, zoe }
}

/// Signals between the callers and the test.
#[derive(Default)]
struct Calls {
    began: AtomicBool,
    stop: AtomicBool,
}

/// Calls until the host is gone. Returns the receipt and the remaining count of each response.
fn call_until_killed(host: &str, zoe: &Party, calls: &Calls) -> Vec<(String, u64)> {
    let mut answered = Vec::new();
    while !calls.stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(1));
        let call = Request::new("POST", format!("{host}/acme/echo/echo-u8"));
        let Ok(reply) = call.bearer(&zoe.api_key).json(r#"{"v":7}"#).try_send() else { break };
        match reply.status {
            200 => {
                let receipt = reply.header("hospes-receipt").expect("a receipt").to_owned();
                let remaining = reply.header("hospes-remaining").expect("a count");
                answered.push((receipt, remaining.parse().expect("a number")));
                calls.began.store(true, Ordering::Relaxed);
            }
            429 => {
                calls.began.store(true, Ordering::Relaxed);
                break;
            }
            other => panic!("{other}: {}", reply.text()),
        }
    }
    answered
}

fn used(host: &HostProcess, zoe: &Party) -> u64 {
    let listed =
        Request::new("GET", format!("{}/api/agreements", host.address)).bearer(&zoe.api_key);
    let listed: Value = listed.send().ok().json();
    listed["agreements"][0]["rules"][0]["used"].as_u64().expect("a count")
}

#[test]
fn killed_twenty_times_nothing_is_lost_and_nothing_overshot() {
    let folder = tempfile::tempdir().expect("a directory");
    let data = folder.path().join("data");
    let mut host = HostProcess::start(&data);
    let world = prepare(&host, &data);
    let mut answered: HashMap<String, u64> = HashMap::new();
    for kill in 0..KILLS {
        let calls = Calls::default();
        let released: Vec<_> = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..CALLERS)
                .map(|_| scope.spawn(|| call_until_killed(&host.address, &world.zoe, &calls)))
                .collect();
            let since = Instant::now();
            while !calls.began.load(Ordering::Relaxed) {
                assert!(
                    since.elapsed() < Duration::from_secs(30),
                    "kill {kill}: no call was answered"
                );
                std::thread::sleep(Duration::from_millis(1));
            }
            // Varies the point within a call and within a checkpoint interval.
            std::thread::sleep(Duration::from_millis(30 + 17 * (kill as u64 % 13)));
            kill_9(host.id());
            calls.stop.store(true, Ordering::Relaxed);
            callers.into_iter().flat_map(|caller| caller.join().expect("no panic")).collect()
        });
        host.kill();
        for (receipt, remaining) in released {
            assert!(answered.insert(receipt, remaining).is_none(), "one receipt per call");
        }
        host = HostProcess::start(&data);
        let used = used(&host, &world.zoe);
        assert!(used <= CALLS_MAX, "kill {kill}: {used} of {CALLS_MAX}");
        assert!(
            used >= answered.len() as u64,
            "kill {kill}: {used} counted, {} answered",
            answered.len()
        );
    }
    // Calls that a slow machine has not made yet.
    for (receipt, remaining) in call_until_killed(&host.address, &world.zoe, &Calls::default()) {
        assert!(answered.insert(receipt, remaining).is_none(), "one receipt per call");
    }
    verify_all(&host, &world, &answered);
    assert_eq!(used(&host, &world.zoe), CALLS_MAX, "the limit was reached but not exceeded");
}

/// The receipt of every response is in the log with the count that the caller was told, and no
/// count occurs twice.
fn verify_all(host: &HostProcess, world: &World, answered: &HashMap<String, u64>) {
    let party = host.party.parse().expect("a party");
    let mut numbers = std::collections::BTreeSet::new();
    for (call, remaining) in answered {
        let proof = Request::new("GET", format!("{}/api/receipts/{call}", host.address));
        let proof = proof.bearer(&world.acme.api_key).send().ok();
        let receipt =
            ReceiptProof::parse(&proof.body).expect("a proof").verify(&party).expect("genuine");
        let used = receipt.used.expect("it was counted");
        assert_eq!(CALLS_MAX - used, *remaining, "{call}");
        assert!(numbers.insert(used), "count {used} occurs twice");
    }
    assert!(numbers.len() >= KILLS);
}

fn kill_9(process: u32) {
    let killed = std::process::Command::new("kill").args(["-9", &process.to_string()]).status();
    assert!(killed.expect("it runs").success());
}
