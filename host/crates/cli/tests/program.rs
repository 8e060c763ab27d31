//! `hospes-cli` as a process of its own.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use hospes_core::clock::Clock;
use hospes_core::id::{CallId, Digest};
use hospes_core::key::PartyKey;
use hospes_receipt::{CallResult, ChainId, Commitment, Draft, Log, Salt};
use serde_json::Value;

const SENT: &[u8] = b"four lengths";
const ANSWERED: &[u8] = b"setosa";

/// Runs the program in a folder that is the home of whoever runs it.
fn run<S: AsRef<OsStr>>(home: &Path, arguments: impl IntoIterator<Item = S>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hospes-cli"));
    command.args(arguments).current_dir(home).env("HOSPES_HOME", home).env_remove("HOSPES_AS");
    command.output().expect("the program starts")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// Writes the receipt of a call, the fourth of five in the log of a host, and the bytes that were sent and came back. Returns the host.
fn receipt(folder: &Path) -> PartyKey {
    let [host, publisher, caller] = [1, 2, 3].map(|seed| PartyKey::from_secret(&[seed; 32]));
    let log = Log::open(
        &folder.join("log"),
        &host,
        "host.example/log".to_owned(),
        Duration::from_hours(1),
        |_| {},
    );
    let log = log.expect("a log");
    let (salt, agreement) = (Salt::generate(), Digest::of(b"agreement"));
    let call = |number: u8| CallId::from_bytes([number; 16]);
    for number in 1..=5 {
        let draft = Draft {
            call: call(number),
            at: Clock::System.now(),
            caller: caller.party(),
            publisher: publisher.party(),
            chain: ChainId::Agreement(agreement),
            agreement: Some(agreement),
            model: "acme/iris".parse().expect("a model"),
            bundle: Digest::of(b"bundle"),
            function: "infer".parse().expect("a function"),
            rule: Some(0),
            used: Some(number.into()),
            max: Some(100),
            rows: None,
            tokens: None,
            spoken: None,
            price: None,
            purpose: None,
            input: Commitment::of(&salt, "input", SENT),
            output: Some(Commitment::of(&salt, "output", ANSWERED)),
            input_bytes: SENT.len() as u64,
            output_bytes: ANSWERED.len() as u64,
            wall_micros: 40,
            memory_bytes: 65_536,
            result: CallResult::Answered,
        };
        log.append(draft).expect("written");
    }
    log.flush().expect("signed");
    let proof = log.proof(&call(4)).expect("in the log").with_salt(salt);
    for (name, bytes) in
        [("call.receipt", proof.to_bytes()), ("sent", SENT.into()), ("answered", ANSWERED.into())]
    {
        fs::write(folder.join(name), bytes).expect("written");
    }
    host
}

#[test]
fn an_auditor_verifies_a_receipt_offline() {
    let folder = tempfile::tempdir().expect("a folder");
    let host = receipt(folder.path()).party().to_string();
    let verify = |party: &str, input: &str| {
        let line = format!(
            "receipt verify call.receipt --host-party {party} --input {input} --output answered --json"
        );
        run(folder.path(), line.split(' '))
    };
    let genuine = verify(&host, "sent");
    assert!(genuine.status.success(), "{genuine:?}");
    let shown = json(&genuine);
    assert_eq!(shown["genuine"], true);
    assert_eq!((&shown["receipt"]["used"], &shown["receipt"]["max"]), (&4.into(), &100.into()));
    assert_eq!(shown["checks"].as_array().map(Vec::len), Some(3), "{shown}");
    let other_input = verify(&host, "answered");
    assert_eq!(other_input.status.code(), Some(1), "{other_input:?}");
    assert_eq!(json(&other_input)["genuine"], false);
    let stranger = PartyKey::from_secret(&[4; 32]).party().to_string();
    let other_host = verify(&stranger, "sent");
    assert_eq!(other_host.status.code(), Some(1), "{other_host:?}");
    assert_eq!(json(&other_host)["receipt"], Value::Null);
}

#[test]
fn names_that_are_no_utf_8_end_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let odd = |name: &str| OsString::from_vec([name.as_bytes(), b"\xff"].concat());
    let home = folder.path().join(odd("home"));
    fs::create_dir(&home).expect("made");
    let made = run(&home, ["keys", "new", "acme", "--json"]);
    assert!(made.status.success(), "{made:?}");
    let file = json(&made)["file"].as_str().expect("a name").to_owned();
    assert!(file.contains("home\u{fffd}"), "{file}");
    let bundles = [odd("a"), odd("b")];
    let line = ["sign", "--json"].map(OsString::from).into_iter().chain(bundles);
    let refused = run(&home, line);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert_eq!(json(&refused)["files"][1]["file"], "b\u{fffd}");
}

#[test]
fn what_needs_a_host_is_not_there_and_shells_complete_the_rest() {
    let folder = tempfile::tempdir().expect("a folder");
    for absent in ["serve", "dev", "doctor", "backup", "restore", "runtime", "worker"] {
        let refused = run(folder.path(), [absent]);
        assert_eq!(refused.status.code(), Some(2), "{absent}: {refused:?}");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        let is_named = said.contains(&format!("`{absent}` is a command of `hospes`"));
        assert_eq!(is_named, absent != "worker", "{said}");
    }
    let script = run(folder.path(), ["completions", "bash"]);
    let script = String::from_utf8(script.stdout).expect("text");
    assert!(script.contains("hospes-cli") && script.contains("negotiation"), "{script}");
    assert!(!script.contains("restore"), "{script}");
}
