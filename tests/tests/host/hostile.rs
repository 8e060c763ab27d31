//! Hostile guests. Each is contained: the expected error, a receipt that counts the call, and a
//! host that keeps serving.

use std::time::Duration;

use hospes::bundle;
use hospes::config::Config;
use serde_json::json;
use system_tests::{Party, Reply, TestHost, plugin, terms, wat_guest};

const MIB: u64 = 1 << 20;

struct Scene {
    host: TestHost,
    acme: Party,
    zoe: Party,
}

impl Scene {
    fn new() -> Self {
        Self::with(|_| {})
    }

    /// A host with a short deadline, for guests that run until it. Others get the usual one,
    /// because a slow machine takes seconds to fill a guest's memory.
    fn of_short_calls() -> Self {
        Self::with(|config| config.sandbox.deadline = Duration::from_secs(1))
    }

    fn with(settings: impl FnOnce(&mut Config)) -> Self {
        let host = TestHost::builder()
            .config(|config| {
                config.admission.slots_max = 2.try_into().expect("not zero");
                settings(config);
            })
            .start();
        let (acme, zoe) = (host.party("acme"), host.party("zoe"));
        let scene = Self { host, acme, zoe };
        scene.offer(&plugin("echo"), "echo-u8");
        scene
    }

    fn offer(&self, bundle: &[u8], function: &str) {
        let published = self.host.publish(&self.acme, bundle);
        self.host.agree(&self.acme, &self.zoe, &published, vec![terms(function)]);
    }

    fn guest(&self, name: &str) {
        self.offer(&wat_guest(name, &[]), "run");
    }

    fn run(&self, guest: &str, body: &str) -> Reply {
        self.host.call(&self.zoe, &format!("acme/{guest}/run")).json(body).send()
    }

    /// Calls the guest twice; both calls must fail as expected.
    #[track_caller]
    fn fails(&self, guest: &str, body: &str, (status, kind): (u16, &str), failure: &str) {
        for _ in 0..2 {
            let reply = self.run(guest, body);
            let problem = reply.problem(status, kind);
            assert_eq!(problem["failure"], failure, "{problem}");
            let call = reply.header("hospes-receipt").expect("a call that ran has a receipt");
            let receipts =
                self.host.get("/api/receipts").bearer(&self.zoe.api_key).send().ok().json();
            let receipts = receipts["receipts"].as_array().expect("a list").clone();
            let receipt = receipts.iter().find(|receipt| receipt["call"] == call).expect("listed");
            assert_eq!(receipt["result"], format!("failed: {failure}"), "{receipt}");
            assert!(receipt["used"].as_u64() > Some(0), "a failure is counted: {receipt}");
            self.still_serves();
        }
    }

    #[track_caller]
    fn still_serves(&self) {
        let reply = self.host.call(&self.zoe, "acme/echo/echo-u8").json(r#"{"v":7}"#).send().ok();
        assert_eq!(reply.text(), "7");
        let status = self.host.operator("GET", "/status").send().ok().json();
        assert_eq!(status["sandboxes_free"], 2, "every sandbox is free again: {status}");
    }
}

const FAILED: (u16, &str) = (502, "plugin-failed");

#[test]
fn an_endless_loop_ends_at_its_deadline() {
    let scene = Scene::of_short_calls();
    scene.guest("spin");
    scene.fails("spin", "", (504, "plugin-deadline"), "deadline");
}

#[test]
fn a_neighbour_is_served_while_a_loop_runs() {
    let scene = Scene::of_short_calls();
    scene.guest("spin");
    std::thread::scope(|scope| {
        let spinning = scope.spawn(|| scene.run("spin", ""));
        for _ in 0..20 {
            let call = scene.host.call(&scene.zoe, "acme/echo/echo-u8").json(r#"{"v":7}"#);
            assert_eq!(call.send().ok().text(), "7");
        }
        spinning.join().expect("no panic").problem(504, "plugin-deadline");
    });
}

#[test]
fn a_memory_bomb_is_refused_memory() {
    let scene = Scene::new();
    scene.guest("grow-memory");
    scene.fails("grow-memory", "", FAILED, "memory-limit");
}

#[test]
fn a_table_bomb_is_refused_elements() {
    let scene = Scene::new();
    scene.guest("grow-table");
    scene.fails("grow-table", "", FAILED, "table-limit");
}

#[test]
fn deep_recursion_overflows_its_own_stack() {
    let scene = Scene::new();
    scene.guest("recurse");
    scene.fails("recurse", "", FAILED, "stack-overflow");
}

#[test]
fn a_trap_is_a_trap() {
    let scene = Scene::new();
    scene.guest("trap");
    scene.fails("trap", "", FAILED, "trap");
}

#[test]
fn a_huge_result_is_not_released() {
    let scene = Scene::new();
    scene.guest("claim");
    let claim = |at: u64, bytes: u64| json!({"at": at, "bytes": bytes}).to_string();
    scene.fails("claim", &claim(16, 100 * MIB), FAILED, "hostcall-limit");
    scene.fails("claim", &claim(16, 20 * MIB), (502, "output-refused"), "output-too-large");
    scene.fails("claim", &claim(16, u64::from(u32::MAX)), FAILED, "trap");
    scene.fails("claim", &claim(u64::from(u32::MAX), 1), FAILED, "trap");
    scene.guest("claim-lists");
    // Each list takes 8 bytes of the guest's memory and more of the host's.
    scene.fails("claim-lists", r#"{"count":16000000}"#, FAILED, "hostcall-limit");
}

#[test]
fn a_handle_flood_is_stopped() {
    let scene = Scene::new();
    scene.guest("flood-tensors");
    scene.fails("flood-tensors", r#"{"bytes":0}"#, FAILED, "handle-limit");
    scene.fails("flood-tensors", r#"{"bytes":50000000}"#, FAILED, "tensor-limit");
    scene.fails("flood-tensors", r#"{"bytes":4294967295}"#, FAILED, "trap");
}

/// The arguments of a call that constructs `count` things.
fn things(how: u8, count: usize) -> String {
    let thing = format!(r#"{{"how":{how},"bytes":""}}"#);
    format!(r#"{{"things":[{}]}}"#, vec![thing; count].join(","))
}

#[test]
fn a_constructor_is_contained_like_any_function() {
    let scene = Scene::new();
    scene.guest("make");
    assert_eq!(scene.run("make", &things(0, 1000)).ok().text(), "1000");
    scene.fails("make", &things(2, 1), FAILED, "trap");
    scene.fails("make", &things(3, 1), FAILED, "trap");
    // The guest may hold 1,024 handles, and it keeps all of these.
    scene.fails("make", &things(0, 2000), FAILED, "handle-limit");
    let large = format!(r#"{{"things":[{{"how":0,"bytes":"{}"}}]}}"#, "AAAA".repeat(2 << 20));
    scene.fails("make", &large, FAILED, "trap");
}

#[test]
fn an_endless_constructor_ends_at_its_deadline() {
    let scene = Scene::of_short_calls();
    scene.guest("make");
    scene.fails("make", &things(1, 1), (504, "plugin-deadline"), "deadline");
}

#[test]
fn a_resource_that_callers_cannot_make_or_keep_is_not_published() {
    let scene = Scene::new();
    for (function, said) in [("give", "would not outlive the call"), ("take", "no constructor")] {
        let text = format!(
            r#"(component
                (type $r (resource (rep i32)))
                (core func $new (canon resource.new $r))
                (core module $m
                    (import "" "new" (func $new (param i32) (result i32)))
                    (func (export "give") (result i32) (call $new (i32.const 1)))
                    (func (export "take") (param i32)))
                (core instance $i (instantiate $m (with "" (instance (export "new" (func $new))))))
                (export $exported "r" (type $r))
                (func $give (result (own $exported)) (canon lift (core func $i "give")))
                (func $take (param "r" (own $exported)) (canon lift (core func $i "take")))
                (export "run" (func ${function})))"#
        );
        let packed = running(&text);
        let reply = scene.host.try_publish(&scene.acme, &scene.acme.sign(&packed));
        let problem = reply.problem(422, "bundle-refused");
        assert!(problem["detail"].as_str().is_some_and(|d| d.contains(said)), "{problem}");
    }
    scene.still_serves();
}

#[test]
fn foreign_bytes_are_not_loaded_as_a_model() {
    const SECURITY: &str = "7";
    let scene = Scene::new();
    scene.guest("load-bytes");
    assert_eq!(scene.run("load-bytes", "").ok().text(), SECURITY);
    scene.still_serves();
}

#[test]
fn a_bundle_sees_its_own_models_only() {
    const NOT_FOUND: &str = "6";
    let scene = Scene::new();
    scene.offer(&plugin("filetype"), "identify");
    scene.offer(&plugin("iris"), "infer");
    scene.guest("load-name");
    for name in ["magika", "model", "acme/filetype", "../filetype/magika", ""] {
        let reply = scene.run("load-name", &json!({ "name": name }).to_string()).ok();
        assert_eq!(reply.text(), NOT_FOUND, "{name}");
    }
    scene.still_serves();
}

#[test]
fn a_log_flood_is_cut_and_harms_nobody() {
    let scene = Scene::new();
    scene.guest("flood-log");
    assert_eq!(scene.run("flood-log", "").ok().text(), "7");
    scene.still_serves();
}

#[test]
fn wrong_pointers_and_wrong_text_are_traps() {
    let scene = Scene::new();
    scene.guest("bad-realloc");
    scene.fails("bad-realloc", r#"{"text":"a"}"#, FAILED, "trap");
    scene.guest("bad-text");
    scene.fails("bad-text", "", FAILED, "trap");
}

#[test]
fn what_cannot_start_is_not_published() {
    let scene = Scene::of_short_calls();
    for (guest, said) in [("start-spin", "deadline"), ("start-memory", "memory")] {
        let bundle = scene.acme.sign(&wat_guest(guest, &[]));
        let problem = scene.host.try_publish(&scene.acme, &bundle).problem(422, "bundle-refused");
        let detail = problem["detail"].as_str().expect("text");
        assert!(detail.contains(said), "{detail}");
        let page = scene.host.get(&format!("/acme/{guest}")).bearer(&scene.acme.api_key).send();
        page.problem(404, "not-found");
    }
    scene.still_serves();
}

#[test]
fn what_wants_more_than_a_plugin_may_have_is_not_published() {
    let scene = Scene::new();
    for import in
        ["wasi:keyvalue/store@0.2.0", "wasi:http/outgoing-handler@0.2.0", "acme:secret/door"]
    {
        let text = format!(
            r#"(component
                (import "{import}" (instance (export "open" (func))))
                (core module $m (func (export "run")))
                (core instance $i (instantiate $m))
                (func (export "run") (canon lift (core func $i "run"))))"#
        );
        let packed = running(&text);
        let reply = scene.host.try_publish(&scene.acme, &scene.acme.sign(&packed));
        let problem = reply.problem(422, "bundle-refused");
        let detail = problem["detail"].as_str().expect("text");
        assert!(detail.contains("plugins may not have") && detail.contains(import), "{detail}");
    }
    scene.still_serves();
}

/// A bundle of a text component that exports `run`.
fn running(text: &str) -> Vec<u8> {
    let component = wat::parse_str(text).expect("a component");
    let description = bundle::Description {
        name: "greedy".parse().expect("a label"),
        version: semver::Version::new(1, 0, 0),
        licence: "MIT".parse().expect("a licence"),
        summary: "Wants more".into(),
        card: bundle::Card::default(),
        functions: vec![bundle::FunctionSpec {
            name: "run".parse().expect("a name"),
            export: "run".parse().expect("an export"),
            docs: None,
        }],
        types: Vec::new(),
        limits: bundle::RequestedLimits::default(),
        origin: Default::default(),
    };
    let mut packed = Vec::new();
    bundle::pack(&component, description, &[], &mut packed).expect("packed");
    packed
}

/// Interpreters import sockets even if they do not use them.
#[test]
fn sockets_end_the_call_that_reaches_for_them() {
    let scene = Scene::new();
    let component = running(
        r#"(component
            (import "wasi:sockets/tcp@0.2.0" (instance $tcp (export "open" (func))))
            (core func $open (canon lower (func $tcp "open")))
            (core module $m
                (import "tcp" "open" (func $open))
                (func (export "run") (call $open)))
            (core instance $i (instantiate $m
                (with "tcp" (instance (export "open" (func $open))))))
            (func (export "run") (canon lift (core func $i "run"))))"#,
    );
    let published = scene.host.publish(&scene.acme, &component);
    scene.host.agree(&scene.acme, &scene.zoe, &published, vec![terms("run")]);
    let ended = scene.host.call(&scene.zoe, "acme/greedy/run").json("{}").send();
    let ended = ended.problem(502, "plugin-failed");
    assert!(ended["detail"].as_str().expect("text").contains("no sockets"), "{ended}");
}
