//! Streamed responses: what the caller sees, how much may be released, and what remains if the
//! caller disconnects.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use hospes::config::Config;
use hospes::receipt::ReceiptProof;
use serde_json::{Value, json};
use system_tests::{Limited as _, Party, Reply, TestHost, plugin, terms};

struct Scene {
    host: TestHost,
    acme: Party,
    zoe: Party,
    published: (hospes::id::ModelName, hospes::id::Digest),
}

const FUNCTIONS: [&str; 10] = [
    "count",
    "words",
    "bytes",
    "segments",
    "fall",
    "forever",
    "echo",
    "complete",
    "spell",
    "voice-say",
];

fn scene(change: impl FnOnce(&mut Config)) -> Scene {
    let host = TestHost::builder().config(change).start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let published = host.publish(&acme, &plugin("parrot"));
    host.agree(&acme, &zoe, &published, FUNCTIONS.map(terms).to_vec());
    Scene { host, acme, zoe, published }
}

impl Scene {
    fn call(&self, function: &str, body: &Value) -> Reply {
        self.call_as(&self.zoe, function, body)
    }

    fn call_as(&self, party: &Party, function: &str, body: &Value) -> Reply {
        self.host.call(party, &format!("acme/parrot/{function}")).json(&body.to_string()).send()
    }

    fn receipts(&self) -> Vec<Value> {
        let listed = self.host.get("/api/receipts").bearer(&self.zoe.api_key).send().ok().json();
        listed["receipts"].as_array().expect("a list").clone()
    }

    /// Waits until the only call so far has ended because its caller disconnected. Returns how many
    /// bytes were released.
    fn left_for_nobody(&self) -> u64 {
        let since = Instant::now();
        let receipts = loop {
            let receipts = self.receipts();
            if !receipts.is_empty() {
                break receipts;
            }
            assert!(since.elapsed() < Duration::from_secs(10), "a call without a caller must end");
            std::thread::sleep(Duration::from_millis(20));
        };
        assert_eq!(receipts[0]["result"], "failed: disconnected", "{}", receipts[0]);
        self.released()
    }

    /// The bytes released by the only call so far, according to its receipt.
    fn released(&self) -> u64 {
        let call = self.receipts()[0]["call"].as_str().expect("a name").to_owned();
        let proof =
            self.host.get(&format!("/api/receipts/{call}")).bearer(&self.zoe.api_key).send();
        let proof = ReceiptProof::parse(&proof.ok().body).expect("a proof");
        proof.verify(&self.host.host().party()).expect("genuine").output_bytes
    }
}

/// The data of each event.
fn events(reply: &Reply) -> Vec<Value> {
    assert_eq!(reply.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let text = reply.text();
    let events = text.split("\n\n").filter(|event| !event.is_empty());
    let data = events.filter_map(|event| event.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).expect("JSON")).collect()
}

#[test]
fn elements_of_every_kind_come_as_events_and_bytes_as_they_are() {
    let scene = scene(|_| ());
    let counted = scene.call("count", &json!({"count": 1000})).ok();
    assert_eq!(events(&counted), (0..1000).map(|n| json!(n)).collect::<Vec<_>>());
    assert!(counted.header("hospes-receipt").is_some());
    assert_eq!(counted.header("cache-control"), Some("no-store"));
    let words = scene.call("words", &json!({"text": "a \u{e4} \u{1f980}"})).ok();
    assert_eq!(events(&words), [json!("a"), json!("\u{e4}"), json!("\u{1f980}")]);
    let segments = scene.call("segments", &json!({"count": 2})).ok();
    assert_eq!(
        events(&segments),
        [
            json!({"start": 0.0, "end": 1.0, "label": null}),
            json!({"start": 1.0, "end": 2.0, "label": "number 1"}),
        ]
    );
    let bytes = scene.call("bytes", &json!({"count": 1_000_000, "value": 7})).ok();
    assert_eq!(bytes.header("content-type"), Some("application/octet-stream"));
    assert!(bytes.body.len() == 1_000_000 && bytes.body.iter().all(|byte| *byte == 7));
    let none = scene.call("count", &json!({"count": 0})).ok();
    assert_eq!(
        (none.header("content-type"), none.body.len()),
        (Some("text/event-stream; charset=utf-8"), 0)
    );
    // The component's other functions still return plain results.
    assert_eq!(scene.call("echo", &json!({"text": "x"})).ok().json(), "x");
}

#[test]
fn streams_come_of_tensors_and_of_resources() {
    let scene = scene(|_| ());
    let tensor = json!({"datatype": "INT16", "shape": [2], "data": [1, -1]});
    assert_eq!(scene.call("spell", &json!({ "v": tensor })).ok().body, [1, 0, 255, 255]);
    let said = scene.call("voice-say", &json!({"self": {"word": "a"}, "times": 3})).ok();
    assert_eq!(events(&said), ["a", "a", "a"].map(|word| json!(word)));
}

#[test]
fn a_refusal_and_bad_arguments_come_before_the_stream() {
    let scene = scene(|_| ());
    let refused = scene.call("segments", &json!({"count": 0})).problem(422, "plugin-refused");
    assert_eq!(refused["error"], "there is nothing to say");
    scene.call("count", &json!({"count": -1})).problem(400, "invalid-arguments");
    let yan = scene.host.party("yan");
    scene.call_as(&yan, "count", &json!({"count": 1})).problem(403, "not-permitted");
}

#[test]
fn a_guest_that_fails_midway_says_so_in_an_event() {
    let scene = scene(|_| ());
    let fallen = scene.call("fall", &json!({"after": 3})).ok();
    let text = fallen.text();
    assert!(text.starts_with("data: 0\n\ndata: 1\n\ndata: 2\n\nevent: problem\ndata: {"), "{text}");
    let problem: Value =
        serde_json::from_str(text.rsplit("data: ").next().expect("data").trim()).expect("JSON");
    assert_eq!(problem["type"], "urn:hospes:problem:plugin-failed");
    let receipts = scene.receipts();
    assert_eq!(receipts.len(), 1);
    assert_eq!(receipts[0]["result"], "failed: trap", "{}", receipts[0]);
}

#[test]
fn what_leaves_is_limited_counted_and_committed_to() {
    let scene = scene(|config| config.api.response_bytes_max = 4000);
    let cut = scene.call("forever", &json!({})).ok();
    let text = cut.text();
    assert!(text.contains("event: problem") && text.contains("output-refused"), "{text}");
    let sent = text.split("event: problem").next().expect("the elements").len();
    assert!(sent <= 4000 && sent > 3900, "{sent}");
    // Released bytes count even if the call fails.
    assert_eq!(scene.released(), sent as u64);

    let yan = scene.host.party("yan");
    let limited = terms("count").limit("outputBytes lteq 100");
    scene.host.agree(&scene.acme, &yan, &scene.published, vec![limited]);
    let cut = scene.call_as(&yan, "count", &json!({"count": 1000})).ok().text();
    assert!(cut.contains("event: problem") && cut.contains("100"), "{cut}");
    assert!(cut.split("event: problem").next().expect("the elements").len() <= 100);
}

/// Bytes that may be in flight to a caller who does not read: in the host's buffers and both sides'
/// socket buffers.
const UNREAD_BYTES_MAX: u64 = 16 << 20;

#[test]
fn a_slow_caller_makes_the_guest_wait_and_one_who_leaves_ends_the_call() {
    let calls = [("forever", "{}"), ("bytes", r#"{"count":1000000000,"value":7}"#)];
    for (function, arguments) in calls {
        let scene = scene(|config| config.api.response_bytes_max = 1 << 30);
        let mut stream = TcpStream::connect(scene.host.address()).expect("it listens");
        let request = format!(
            "POST /acme/parrot/{function} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{arguments}",
            scene.zoe.api_key,
            arguments.len()
        );
        stream.write_all(request.as_bytes()).expect("sent");
        let mut first = [0; 100];
        stream.read_exact(&mut first).expect("it begins");
        // No one reads, so the buffers fill up and the guest is paused.
        std::thread::sleep(Duration::from_secs(1));
        assert!(scene.receipts().is_empty(), "the call still runs");
        drop(stream);
        let left = scene.left_for_nobody();
        assert!(left > 100 && left < UNREAD_BYTES_MAX, "{function}: {left}");
    }
}

#[test]
fn a_slow_caller_makes_the_guest_wait_over_http2_as_well() {
    let scene = scene(|config| config.api.response_bytes_max = 1 << 30);
    let curl = Command::new("curl")
        .args(["--silent", "--http2-prior-knowledge", "--limit-rate", "1000", "--max-time", "1"])
        .args(["--header", &format!("authorization: Bearer {}", scene.zoe.api_key)])
        .args(["--json", r#"{"count":1000000000,"value":7}"#, "--output", "/dev/null"])
        .arg(format!("http://{}/acme/parrot/bytes", scene.host.address()))
        .status()
        .expect("it runs");
    assert_eq!(curl.code(), Some(28), "curl must time out after a second");
    let left = scene.left_for_nobody();
    assert!(left > 100 && left < UNREAD_BYTES_MAX, "{left}");
}

#[test]
fn a_stream_ends_at_its_deadline_and_with_its_agreement() {
    let scene = scene(|config| {
        config.api.response_bytes_max = 1 << 30;
        config.sandbox.deadline = Duration::from_millis(300);
    });
    let cut = scene.call("forever", &json!({})).ok().text();
    assert!(
        cut.ends_with("\n\n") && cut.contains("plugin-deadline"),
        "{}",
        &cut[cut.len() - 300..]
    );
}

#[test]
fn other_protocols_have_no_place_for_a_stream() {
    let scene = scene(|_| ());
    let infer = scene.host.post("/v2/models/acme/parrot/infer").bearer(&scene.zoe.api_key);
    let refused = infer.body(r#"{"inputs":[]}"#).send();
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert!(refused.text().contains("does not take tensors"), "{}", refused.text());
}
