//! The operator's log contains what guests, models and libraries say, but marked so that it cannot
//! pass for the host's own lines.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use system_tests::{HostProcess, Party, Reply, Request, TestHost, gather, model_bundle, wat_guest};

/// Injected into every text that does not come from the host.
const FORGED: &str = "\n2026-01-01T00:00:00.000000Z  INFO hospes::deploy: FORGED published model=acme/bank version=9.9.9\r\u{1b}[2K";

struct Logged {
    host: HostProcess,
    data: PathBuf,
    log: PathBuf,
}

/// A host that logs to a file.
fn start(folder: &Path, settings: &str) -> Logged {
    let (data, log, config) = (folder.join("data"), folder.join("log"), folder.join("hospes.toml"));
    std::fs::write(&config, settings).expect("written");
    let out = std::fs::File::create(&log).expect("made");
    let mut command = HostProcess::serving(&data);
    command.arg("--config").arg(&config).stderr(out);
    command.env("HOSPES_ONNXRUNTIME", TestHost::onnxruntime()).env_remove("RUST_LOG");
    let host = HostProcess::ready(command);
    Logged { host, data, log }
}

impl Logged {
    fn party(&self, name: &str) -> Party {
        self.host.party(&self.data, name)
    }

    fn call(&self, caller: &Party, path: &str, body: &str) -> Reply {
        let request = Request::new("POST", format!("{}/{path}", self.host.address));
        request.bearer(&caller.api_key).json(body).send()
    }

    /// The log, once it contains `wanted`.
    fn until(&self, wanted: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let text =
                String::from_utf8(std::fs::read(&self.log).expect("it exists")).expect("text");
            if text.contains(wanted) {
                return text;
            }
            assert!(Instant::now() < deadline, "no {wanted:?} in the log:\n{text}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Makes a guest and ONNX Runtime write what looks like a line of the host.
fn forge(logged: &Logged) -> String {
    let (acme, zoe) = (logged.party("acme"), logged.party("zoe"));
    logged.host.agree((&acme, &zoe), &wat_guest("forge-log", &[]), "run");
    assert_eq!(logged.call(&zoe, "acme/forge-log/run", "{}").text(), "7");
    let model = gather(&format!("node{FORGED}"));
    logged.host.agree((&acme, &zoe), &model_bundle("gather", model, None), "infer");
    let out_of_bounds = r#"{"inputs": [{"name": "x", "datatype": "FP32", "shape": [3], "data": [1, 2, 3]},
        {"name": "i", "datatype": "INT64", "shape": [1], "data": [99]}]}"#;
    let refused = logged.call(&zoe, "acme/gather/infer", out_of_bounds);
    assert!(refused.status >= 400, "{}", refused.text());
    logged.until("harmless");
    logged.until("Gather")
}

#[test]
fn no_line_of_the_log_can_be_forged() {
    let folder = tempfile::tempdir().expect("a directory");
    let logged = start(folder.path(), "");
    let text = forge(&logged);
    assert!(text.contains("FORGED"), "the text is logged, escaped:\n{text}");
    for line in text.lines() {
        let stamp = line.split(' ').next().unwrap_or_default();
        assert!(stamp.parse::<jiff::Timestamp>().is_ok(), "not a line of the host: {line:?}");
        assert!(!line.chars().any(|c| c.is_control() || c == '\u{2028}'), "{line:?}");
        assert!(
            !line.contains("hospes::deploy: FORGED") || line.contains("\\n2026-01-01"),
            "{line}"
        );
    }
    // The library's messages are logged, marked as its own.
    let native = text.lines().find(|line| line.contains("hospes::native")).expect("a line");
    assert!(native.contains("onnxruntime") && native.contains("Gather"), "{native}");
}

#[test]
fn no_line_of_the_log_can_be_forged_for_machines_either() {
    let folder = tempfile::tempdir().expect("a directory");
    let logged = start(folder.path(), "[telemetry]\nformat = \"json\"\n");
    let text = forge(&logged);
    let mut targets = Vec::new();
    for line in text.lines() {
        let event: Value = serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("not a line of the host: {error}: {line:?}"));
        let target = event["target"].as_str().expect("a target").to_owned();
        let forged = event["fields"].to_string().contains("FORGED");
        assert!(
            !forged || ["hospes::guest", "hospes::native"].contains(&target.as_str()),
            "{line}"
        );
        targets.push(target);
    }
    for wanted in ["hospes::guest", "hospes::native", "hospes::deploy"] {
        assert!(targets.iter().any(|target| target == wanted), "{wanted}: {targets:?}");
    }
}

#[test]
fn one_tenant_s_lines_are_rated_and_what_is_dropped_is_said() {
    const RATE: usize = 4096;
    let folder = tempfile::tempdir().expect("a directory");
    let logged = start(
        folder.path(),
        &format!("[telemetry]\ntenant_bytes_per_second = \"{}KiB\"\n", RATE / 1024),
    );
    let (mallory, acme, zoe) = (logged.party("mallory"), logged.party("acme"), logged.party("zoe"));
    logged.host.agree((&mallory, &zoe), &wat_guest("flood-log", &[]), "run");
    logged.host.agree((&acme, &zoe), &wat_guest("forge-log", &[]), "run");
    let began = Instant::now();
    for _ in 0..30 {
        logged.call(&zoe, "mallory/flood-log/run", "{}").ok();
    }
    // Another publisher's lines are not rate-limited by that.
    logged.call(&zoe, "acme/forge-log/run", "{}").ok();
    let text = logged.until("harmless");
    let seconds = usize::try_from(began.elapsed().as_secs()).expect("short") + 1;
    let flood: usize =
        text.lines().filter(|line| line.contains("xxxx")).map(|line| line.len()).sum();
    // A burst of four seconds' worth, then the rate.
    assert!(flood <= (4 + seconds) * RATE, "{flood} bytes in {seconds} s");
    let said = text
        .lines()
        .find(|line| line.contains("log lines were dropped"))
        .expect("a line about dropped lines");
    assert!(said.contains("mallory") && said.contains("limit=4096"), "{said}");
}

#[test]
fn what_a_worker_writes_is_said_and_rated_by_publisher() {
    const RATE: usize = 2048;
    let folder = tempfile::tempdir().expect("a directory");
    let settings = format!("[telemetry]\ntenant_bytes_per_second = \"{}KiB\"\n", RATE / 1024);
    let logged = start(folder.path(), &settings);
    let (mallory, acme, zoe) = (logged.party("mallory"), logged.party("acme"), logged.party("zoe"));
    let long = format!("mallory{}", "x".repeat(1000));
    for (publisher, node) in [(&mallory, long.as_str()), (&acme, "harmless")] {
        logged.host.agree((publisher, &zoe), &model_bundle("gather", gather(node), None), "infer");
    }
    let out_of_bounds = r#"{"inputs": [{"name": "x", "datatype": "FP32", "shape": [3], "data": [1, 2, 3]},
        {"name": "i", "datatype": "INT64", "shape": [1], "data": [99]}]}"#;
    let began = Instant::now();
    for _ in 0..40 {
        logged.call(&zoe, "mallory/gather/infer", out_of_bounds);
    }
    // The library writes one line per model, which counts against mallory.
    let text = logged.until("log lines were dropped");
    let seconds = usize::try_from(began.elapsed().as_secs()).expect("short") + 1;
    let lines = text.lines().filter(|line| line.contains("xxxx"));
    let flood: Vec<&str> = lines.filter(|line| line.contains("hospes::native")).collect();
    assert!(flood.iter().all(|line| line.contains("publisher=\"mallory\"")), "{flood:?}");
    let bytes: usize = flood.iter().map(|line| line.len()).sum();
    assert!(bytes <= (5 + seconds) * RATE, "{bytes} bytes in {seconds} s");
    let said = text
        .lines()
        .find(|line| line.contains("log lines were dropped"))
        .expect("a line about dropped lines");
    assert!(said.contains("mallory") && said.contains("limit=2048"), "{said}");
    // Another publisher's worker still logs.
    logged.call(&zoe, "acme/gather/infer", out_of_bounds);
    let text = logged.until("publisher=\"acme\"");
    assert!(text.lines().any(|line| line.contains("acme") && line.contains("harmless")), "{text}");
}
