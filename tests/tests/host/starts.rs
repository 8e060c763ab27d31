//! Start functions: they do the same before every call, and are limited and counted as part of it.

use std::time::{Duration, Instant};

use hospes::config::Config;
use serde_json::Value;
use system_tests::hostile::{Expect, Hostile};
use system_tests::{Limited as _, Party, TestHost, terms, workspace};

struct Scene {
    host: TestHost,
    acme: Party,
    zoe: Party,
}

impl Scene {
    fn new(settings: impl FnOnce(&mut Config)) -> Self {
        let host = TestHost::builder().config(settings).start();
        let (acme, zoe) = (host.party("acme"), host.party("zoe"));
        Self { host, acme, zoe }
    }

    /// Publishes this text component and offers `run` with these limits. Returns the path to call.
    fn offer(&self, name: &str, text: &str, limits: &[&str]) -> String {
        let bundle = bundle(name, text);
        let published = self.host.publish(&self.acme, &bundle);
        let terms = limits.iter().fold(terms("run"), |terms, limit| terms.limit(limit));
        self.host.agree(&self.acme, &self.zoe, &published, vec![terms]);
        format!("acme/{name}/run")
    }

    fn receipts(&self) -> Vec<Value> {
        let all = self.host.get("/api/receipts").bearer(&self.zoe.api_key).send().ok().json();
        all["receipts"].as_array().expect("a list").clone()
    }
}

fn bundle(name: &str, text: &str) -> Vec<u8> {
    let hostile = Hostile {
        name: name.into(),
        component: wat::parse_str(text).expect("a component"),
        export: "run".into(),
        body: String::new(),
        expect: Expect::Answers,
    };
    hostile.bundle().expect("packed")
}

fn case(name: &str) -> String {
    let path = workspace().join("tests/cases").join(name);
    std::fs::read_to_string(path).expect("readable")
}

/// On start, grows its memory to 20 MiB, and traps if that fails.
const GREEDY: &str = r#"(component
    (core module $m (memory (export "memory") 1)
        (func $s (if (i32.eq (memory.grow (i32.const 320)) (i32.const -1)) (then unreachable))) (start $s)
        (func (export "run")))
    (core instance $i (instantiate $m))
    (func (export "run") (canon lift (core func $i "run"))))"#;

/// On start, counts to 400 million.
const SLOW: &str = r#"(component
    (core module $m
        (func $s (local $n i64) (local.set $n (i64.const 400000000))
            (loop $l (br_if $l (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0))))) (start $s)
        (func (export "run")))
    (core instance $i (instantiate $m))
    (func (export "run") (canon lift (core func $i "run"))))"#;

#[test]
fn a_start_that_fails_is_counted_and_has_one_receipt() {
    let scene = Scene::new(|_| {});
    let limits = ["memoryBytes lteq 8388608", "count lteq 3 call"];
    let path = scene.offer("greedy", GREEDY, &limits);
    for used in 1..=3_u64 {
        let failed = scene.host.call(&scene.zoe, &path).json("").send();
        let problem = failed.problem(502, "plugin-failed");
        assert_eq!(problem["failure"], "memory-limit", "{problem}");
        let receipts = scene.receipts();
        assert_eq!(receipts.len() as u64, used);
        let call = failed.header("hospes-receipt").expect("a call that ran has a receipt");
        let receipt = receipts.iter().find(|receipt| receipt["call"] == call).expect("listed");
        assert_eq!(receipt["result"], "failed: memory-limit");
        assert_eq!(receipt["used"], used);
    }
    // The agreement is exhausted.
    scene.host.call(&scene.zoe, &path).json("").send().problem(429, "limit-reached");
    let status = scene.host.operator("GET", "/status").send().ok().json();
    assert_eq!(status["sandboxes_free"], 8, "{status}");
}

#[test]
fn a_start_that_takes_too_long_ends_at_the_deadline_of_its_call() {
    let scene = Scene::new(|config| config.sandbox.epoch_tick = Duration::from_millis(1));
    let path = scene.offer("slow", SLOW, &["cpuTime lteq PT0.02S", "count lteq 2 call"]);
    for _ in 0..2 {
        let began = Instant::now();
        let failed = scene.host.call(&scene.zoe, &path).json("").send();
        let problem = failed.problem(504, "plugin-deadline");
        assert_eq!(problem["failure"], "cpu-time", "{problem}");
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
    let receipts = scene.receipts();
    assert_eq!(receipts.len(), 2);
    assert!(receipts.iter().all(|receipt| receipt["result"] == "failed: cpu-time"));
    scene.host.call(&scene.zoe, &path).json("").send().problem(429, "limit-reached");
}

#[test]
fn a_start_that_asks_the_host_which_call_it_is_for_is_not_published() {
    let scene = Scene::new(|_| {});
    for name in ["startspin.wat", "starttrap.wat"] {
        let bundle = scene.acme.sign(&bundle("sly", &case(name)));
        let problem = scene.host.try_publish(&scene.acme, &bundle).problem(422, "bundle-refused");
        let detail = problem["detail"].as_str().expect("text");
        assert!(detail.contains("a start function called the host"), "{detail}");
    }
}

#[test]
fn a_bundle_is_warmed_within_the_limits_that_it_asks_for_itself() {
    let scene = Scene::new(|config| {
        config.sandbox.memory_bytes_max = (16 << 20).try_into().expect("not zero");
    });
    let bundle = scene.acme.sign(&bundle("greedy", GREEDY));
    let problem = scene.host.try_publish(&scene.acme, &bundle).problem(422, "bundle-refused");
    assert!(problem["detail"].as_str().expect("text").contains("memory-limit"), "{problem}");
}
