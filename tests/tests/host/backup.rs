//! Backups: made while calls run, restored completely or not at all, and detected as outdated by
//! what parties can show.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hospes::id::{Digest, ModelName};
use hospes::receipt::ReceiptProof;
use serde_json::{Value, json};
use system_tests::{HostProcess, Limited as _, Party, Reply, TestHost, terms, wat_guest};
use tempfile::TempDir;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn as_text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// A host with a model, and a folder for its backups.
struct Backed {
    folder: TempDir,
    host: TestHost,
    acme: Party,
    model: (ModelName, Digest),
}

impl Backed {
    fn start() -> Self {
        let host = TestHost::start();
        let acme = host.party("acme");
        let model = host.publish(&acme, &wat_guest("noop", &[]));
        Self { folder: tempfile::tempdir().expect("a directory"), host, acme, model }
    }

    /// A consumer with an agreement, limited to `calls` if given.
    fn consumer(&self, name: &str, calls: Option<u32>) -> (Party, Digest) {
        let consumer = self.host.party(name);
        let id = self.host.agree(&self.acme, &consumer, &self.model, vec![limited(calls)]);
        (consumer, id)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Backs up the running host.
    #[track_caller]
    fn backup(&self, name: &str) -> Value {
        backup(&self.host.data(), &self.path(name), &[])
    }

    /// Stops the host, restores a backup and starts a host on it. Returns the output of
    /// `hospes restore`.
    #[track_caller]
    fn restored(&self, name: &str, more: &[&str]) -> (TestHost, Value) {
        let data = Arc::new(tempfile::tempdir().expect("a directory"));
        let key = self.host.data().join("host.pem");
        let key = ["--key", as_text(&key)];
        let place = data.path().join("data");
        let output = restore(&self.path(name), &place, &[&key[..], more].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let said = serde_json::from_slice(&output.stdout).expect("JSON");
        (TestHost::builder().data(data).start(), said)
    }

    /// Saves a response of the host in a file.
    fn keep(&self, name: &str, reply: Reply) -> String {
        let path = self.path(name);
        std::fs::write(&path, reply.ok().body).expect("written");
        as_text(&path).to_owned()
    }
}

fn limited(calls: Option<u32>) -> hospes::agreement::Permission {
    match calls {
        Some(calls) => terms("nothing").limit(&format!("count lteq {calls} call")),
        None => terms("nothing"),
    }
}

#[track_caller]
fn backup(data: &Path, to: &Path, more: &[&str]) -> Value {
    let arguments = ["--json", "backup", "--data", as_text(data), "-o", as_text(to)];
    let output = HostProcess::run(&[&arguments[..], more].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn restore(archive: &Path, data: &Path, more: &[&str]) -> Output {
    let arguments = ["--json", "restore", as_text(archive), "--data", as_text(data)];
    HostProcess::run(&[&arguments[..], more].concat())
}

fn call(host: &TestHost, consumer: &Party) -> Reply {
    host.call(consumer, "acme/noop/nothing").json("{}").send()
}

fn receipt(host: &TestHost, consumer: &Party) -> String {
    call(host, consumer).ok().header("hospes-receipt").expect("a receipt").to_owned()
}

fn proof(host: &TestHost, consumer: &Party, receipt: &str) -> Reply {
    host.get(&format!("/api/receipts/{receipt}")).bearer(&consumer.api_key).send()
}

/// The consumer's only agreement, as the host lists it.
fn agreement(host: &TestHost, consumer: &Party) -> Value {
    let listed = host.get("/api/agreements").bearer(&consumer.api_key).send().ok().json();
    listed["agreements"][0].clone()
}

/// Runs `hospes admin` on a host. Returns whether it succeeded, and its output.
fn admin(host: &TestHost, arguments: &[&str]) -> (bool, String) {
    let data = host.data();
    let arguments = [&["admin"], arguments, &["--data", as_text(&data)]].concat();
    let output = HostProcess::run(&arguments);
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn a_backup_under_load_is_restored_with_every_count_and_receipt() {
    let backed = Backed::start();
    let (zoe, _) = backed.consumer("zoe", Some(1_000_000));
    let before: Vec<_> = (0..5).map(|_| receipt(&backed.host, &zoe)).collect();
    let is_enough = AtomicBool::new(false);
    let (made, called) = std::thread::scope(|scope| {
        let work = || {
            let mut called = Vec::new();
            while !is_enough.load(Ordering::Relaxed) {
                called.push(receipt(&backed.host, &zoe));
            }
            called
        };
        let callers = [(); 3].map(|()| scope.spawn(work));
        std::thread::sleep(std::time::Duration::from_millis(200));
        let made = backed.backup("a.tar");
        std::thread::sleep(std::time::Duration::from_millis(100));
        is_enough.store(true, Ordering::Relaxed);
        let called = callers.map(|caller| caller.join().expect("all were answered"));
        (made, called.concat())
    });
    let path = backed.path("a.tar");
    let mode = std::fs::metadata(&path).expect("it exists").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let bytes = std::fs::read(&path).expect("readable");
    let token = std::fs::read(backed.host.data().join("operator.token")).expect("readable");
    for secret in [&b"PRIVATE KEY"[..], token.trim_ascii()] {
        assert!(
            !bytes.windows(secret.len()).any(|some| some == secret),
            "the backup contains a secret"
        );
    }
    assert_eq!((&made["has_key"], &made["missing"]), (&json!(false), &json!([])));

    let (host, said) = backed.restored("a.tar", &[]);
    assert_eq!(said["entries"], made["entries"]);
    assert_eq!(host.host().party(), backed.host.host().party());
    let party = host.host().party();
    let kept = |receipt: &String| match proof(&host, &zoe, receipt) {
        found if found.status == 200 => {
            let proof = ReceiptProof::parse(&found.body).expect("a proof");
            proof.verify(&party).expect("it verifies");
            true
        }
        missing => {
            assert_eq!(missing.status, 404);
            false
        }
    };
    assert!(before.iter().all(kept), "the backup contains all earlier receipts");
    let count = before.len() + called.iter().filter(|receipt| kept(receipt)).count();
    assert!(count < before.len() + called.len(), "no call ran after the backup");
    let rule = agreement(&host, &zoe)["rules"][0].clone();
    assert_eq!(rule["used"], count, "exactly the calls in the log are counted");
    let remaining = call(&host, &zoe).ok().header("hospes-remaining").map(str::to_owned);
    assert_eq!(remaining, Some((1_000_000 - count - 1).to_string()));
    // The restore is an entry of the log, at the first lost position.
    let (is_done, log) = admin(&host, &["log"]);
    assert!(is_done && log.contains("restore") && log.contains("verified"), "{log}");
}

#[test]
fn a_directory_without_a_host_is_backed_up_with_its_key_and_restored_once() {
    let backed = Backed::start();
    let (zoe, _) = backed.consumer("zoe", Some(3));
    call(&backed.host, &zoe).ok();
    let path = backed.path("a.tar");
    let refused = HostProcess::run(&[
        "backup",
        "-o",
        as_text(&path),
        "--operator",
        &backed.host.operator_url(),
        "--token-file",
        "Cargo.toml",
    ]);
    assert!(!refused.status.success() && !path.exists());
    let data = backed.host.stop();
    let served = data.path().join("data");
    let made = backup(&served, &path, &["--with-key"]);
    assert_eq!(made["has_key"], true);
    let again = HostProcess::run(&["backup", "--data", as_text(&served), "-o", as_text(&path)]);
    assert!(text(&again.stderr).contains("already exists"), "{}", text(&again.stderr));
    let place = Arc::new(tempfile::tempdir().expect("a directory"));
    let to = place.path().join("data");
    std::fs::create_dir(&to).expect("made");
    assert!(restore(&path, &to, &[]).status.success(), "it can restore into an empty directory");
    let twice = restore(&path, &to, &[]);
    assert!(text(&twice.stderr).contains("not an empty directory"), "{}", text(&twice.stderr));
    let host = TestHost::builder().data(place).start();
    assert_eq!(call(&host, &zoe).ok().header("hospes-remaining"), Some("1"));
}

/// Renames a file in a tar archive.
fn rename(archive: &mut [u8], from: &str, to: &str) {
    let at = find(archive, from);
    let header = &mut archive[at..at + 512];
    header[..100].fill(0);
    header[..to.len()].copy_from_slice(to.as_bytes());
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// The offset of a file's header.
fn find(archive: &[u8], name: &str) -> usize {
    let wanted = format!("{name}\0");
    let headers = archive.chunks(512).position(|block| block.starts_with(wanted.as_bytes()));
    headers.expect("it is there") * 512
}

fn replace(archive: &mut [u8], from: &str, to: &str) {
    let at = archive.windows(from.len()).position(|some| some == from.as_bytes());
    let at = at.expect("it is there");
    archive[at..at + to.len()].copy_from_slice(to.as_bytes());
}

type Harm<'h> = &'h dyn Fn(&mut Vec<u8>);

#[test]
fn what_is_damaged_or_newer_or_leads_elsewhere_is_refused_and_leaves_nothing() {
    let backed = Backed::start();
    let (zoe, _) = backed.consumer("zoe", Some(3));
    call(&backed.host, &zoe).ok();
    backed.backup("good.tar");
    let good = std::fs::read(backed.path("good.tar")).expect("readable");
    let outside = backed.path("outside");
    let harm: [(Harm<'_>, &str); 9] = [
        (
            &|bad| {
                let at = find(bad, "receipts/receipts.log") + 600;
                bad[at] ^= 1;
            },
            "damaged",
        ),
        (
            &|bad| {
                let at = find(bad, "state.redb") + 5000;
                bad[at] ^= 1;
            },
            "damaged",
        ),
        (&|bad| replace(bad, "\"size\": ", "\"size\": 1"), "manifest"),
        (&|bad| bad.truncate(good.len() / 2), "broke off"),
        (&|bad| rename(bad, "clock", "../outside"), "not a file of a data directory"),
        (&|bad| rename(bad, "clock", as_text(&outside)), "not a file of a data directory"),
        (&|bad| rename(bad, "clock", "operator.token"), "not a file of a data directory"),
        (
            &|bad| replace(bad, "\"format\":1", "\"format\":2"),
            "a backup of format 2, from a newer host",
        ),
        (
            &|bad| replace(bad, "\"records\":1", "\"records\":9"),
            "records of format 9, from a newer host",
        ),
    ];
    let key = backed.host.data().join("host.pem");
    let (bad, place) = (backed.path("bad.tar"), tempfile::tempdir().expect("a directory"));
    let data = place.path().join("data");
    for (harm, said) in harm {
        let mut bytes = good.clone();
        harm(&mut bytes);
        std::fs::write(&bad, bytes).expect("written");
        let refused = restore(&bad, &data, &["--key", as_text(&key)]);
        let error = text(&refused.stderr);
        assert!(!refused.status.success() && error.contains(said), "{said}: {error}");
        let left = std::fs::read_dir(place.path()).expect("readable").count();
        assert!(left == 0 && !outside.exists(), "{said}: something was left");
    }
    std::fs::write(&bad, b"no archive").expect("written");
    assert!(!restore(&bad, &data, &["--key", as_text(&key)]).status.success());
    let refused = restore(&backed.path("good.tar"), &data, &[]);
    assert!(text(&refused.stderr).contains("--key"), "{}", text(&refused.stderr));
    let other = TestHost::start();
    let key = other.data().join("host.pem");
    let refused = restore(&backed.path("good.tar"), &data, &["--key", as_text(&key)]);
    assert!(text(&refused.stderr).contains("but the backup to host"), "{}", text(&refused.stderr));
    assert!(!data.exists());
}

#[test]
fn a_restore_older_than_a_known_receipt_freezes_what_it_could_overshoot() {
    let backed = Backed::start();
    let (zoe, agreed) = backed.consumer("zoe", Some(2));
    let (bob, _) = backed.consumer("bob", Some(2));
    call(&backed.host, &zoe).ok();
    let old = receipt(&backed.host, &bob);
    let old = backed.keep("old.receipt", proof(&backed.host, &bob, &old));
    backed.backup("a.tar");
    let lost = receipt(&backed.host, &zoe);
    let lost = backed.keep("lost.receipt", proof(&backed.host, &zoe, &lost));
    call(&backed.host, &zoe).problem(429, "limit-reached");

    // A receipt that the backup contains is no evidence of a loss.
    let (host, said) = backed.restored("a.tar", &["--receipt", &old]);
    assert_eq!(said["lost_up_to"], Value::Null);
    call(&host, &zoe).ok();
    drop(host);

    let (host, said) = backed.restored("a.tar", &["--receipt", &old, &lost]);
    assert_eq!(said["lost_up_to"].as_u64(), said["entries"].as_u64().map(|entries| entries + 1));
    let refused = call(&host, &zoe).problem(403, "not-permitted");
    let detail = refused["detail"].as_str().expect("text");
    assert!(detail.contains("frozen") && detail.contains("restored from a backup"), "{detail}");
    assert_eq!(agreement(&host, &zoe)["state"], "frozen");
    // The receipts show everything that was lost, and none of it is bob's.
    call(&host, &bob).ok();
    let host = TestHost::builder().data(host.stop()).start();
    call(&host, &zoe).problem(403, "not-permitted");

    let id = agreed.to_string();
    let (is_done, listed) = admin(&host, &["withdrawn"]);
    assert!(is_done && listed.contains("frozen agreement") && listed.contains(&id), "{listed}");
    let (is_done, said) = admin(&host, &["release", &id, "--reason", "one call more is no harm"]);
    assert!(is_done, "{said}");
    assert!(!admin(&host, &["release", &id]).0, "it is no longer frozen");
    let host = TestHost::builder().data(host.stop()).start();
    assert_eq!(agreement(&host, &zoe)["state"], "active");
    call(&host, &zoe).ok();
    let (is_done, log) = admin(&host, &["log"]);
    for deed in ["restore ", "freeze-agreement ", "release-agreement ", "no harm"] {
        assert!(is_done && log.contains(deed), "{deed}: {log}");
    }
}

#[test]
fn a_host_that_is_shown_later_what_it_has_lost_freezes_all_that_has_limits() {
    let backed = Backed::start();
    let (zoe, _) = backed.consumer("zoe", Some(2));
    let (carol, _) = backed.consumer("carol", None);
    backed.backup("a.tar");
    call(&backed.host, &zoe).ok();
    // Signed after the backup, so it is lost with its calls.
    let offer = backed.acme.offer(&backed.model.0, backed.model.1, vec![limited(Some(1))]);
    let mut late = zoe.accept(&offer);
    late.add_signature(&backed.acme.key).expect("the publisher");
    let publish = |host: &TestHost| {
        host.post("/api/offers").bearer(&backed.acme.api_key).body(offer.to_bytes()).send().ok();
        host.submit(&zoe, &late.to_bytes()).ok();
    };
    publish(&backed.host);
    let receipt = receipt(&backed.host, &zoe);
    drop(proof(&backed.host, &zoe, &receipt).ok());
    let known = backed.keep("known", backed.host.get("/api/checkpoint").send());

    let (host, said) = backed.restored("a.tar", &[]);
    assert_eq!(said["lost_up_to"], Value::Null, "no evidence of a loss yet");
    call(&host, &zoe).ok();
    let held = backed.keep("held", host.get("/api/checkpoint").send());
    assert!(admin(&host, &["lost", &held]).0, "the host still has that checkpoint");
    let (is_whole, said) = admin(&host, &["lost", &known]);
    assert!(!is_whole && said.contains("every earlier agreement with limits"), "{said}");
    call(&host, &zoe).problem(403, "not-permitted");
    call(&host, &carol).ok();
    // If a lost agreement is submitted again, its count would restart at zero, so it is frozen.
    publish(&host);
    call(&host, &zoe).problem(403, "not-permitted");
    // A new agreement has lost nothing.
    host.agree(&backed.acme, &zoe, &backed.model, vec![limited(Some(5))]);
    call(&host, &zoe).ok();
    let host = TestHost::builder().data(host.stop()).start();
    assert_eq!(call(&host, &zoe).ok().header("hospes-remaining"), Some("3"));
    let states = host.get("/api/agreements").bearer(&zoe.api_key).send().ok().json();
    let states = states["agreements"].as_array().expect("a list").clone();
    let frozen = states.iter().filter(|one| one["state"] == "frozen").count();
    assert_eq!(frozen, 2, "{states:?}");
    let (is_done, said) = admin(&host, &["release", "--all"]);
    assert!(is_done, "{said}");
    let states = host.get("/api/agreements").bearer(&zoe.api_key).send().ok().text();
    assert!(!states.contains("frozen"), "{states}");
    // Only checkpoints signed by this host count.
    let other = TestHost::start();
    let stranger = backed.keep("stranger", other.get("/api/checkpoint").send());
    assert!(admin(&host, &["lost", &stranger]).1.contains("not from this host's log"));
}
