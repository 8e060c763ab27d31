//! Limits on what one publisher may store on a host, and on what its types and documents cost
//! others.

use std::io::Read as _;
use std::time::{Duration, Instant};

use hospes::config::Config;
use serde_json::Value;
use system_tests::hostile::Hostile;
use system_tests::{Party, Reply, TestHost, model_bundle, plugin, workspace};

struct Scene {
    host: TestHost,
    acme: Party,
}

impl Scene {
    fn new(settings: impl FnOnce(&mut Config)) -> Self {
        let host = TestHost::builder().config(settings).start();
        let acme = host.party("acme");
        Self { host, acme }
    }

    fn publish(&self, bundle: &[u8]) -> Reply {
        self.host.try_publish(&self.acme, &self.acme.sign(bundle))
    }

    #[track_caller]
    fn refused(&self, bundle: &[u8], said: &str) {
        let problem = self.publish(bundle).problem(422, "bundle-refused");
        let detail = problem["detail"].as_str().expect("text");
        assert!(detail.contains(said), "{detail}");
    }
}

/// A component with `functions` functions that all take the same record with `fields` fields.
fn sharing(functions: usize, fields: usize) -> Vec<u8> {
    let fields: String = (0..fields).map(|index| format!("(field \"f{index}\" u8)")).collect();
    let exports: String = (0..functions)
        .map(|index| {
            format!(
                r#"(func (export "f{index}") (param "x" (list $shared))
                    (canon lift (core func $i "f") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))"#
            )
        })
        .collect();
    let text = format!(
        r#"(component (type $own (record {fields})) (export $shared "shared" (type $own))
            (core module $m (memory (export "memory") 1) (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 64))
                (func (export "f") (param i32 i32)))
            (core instance $i (instantiate $m)) {exports})"#
    );
    wat::parse_str(text).expect("a component")
}

fn bundle(name: &str, version: u64, component: &[u8], functions: usize) -> Vec<u8> {
    let names = (0..functions).map(|index| format!("f{index}"));
    Hostile::packed(name, version, component, &names.collect::<Vec<_>>()).expect("packed")
}

#[test]
fn a_document_that_would_be_too_large_is_not_begun_for_long_and_not_published() {
    let scene = Scene::new(|_| {});
    let began = Instant::now();
    scene.refused(&bundle("wide", 1, &sharing(100, 9000), 100), "`bundle.openapi_bytes_max`");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    scene.host.get("/acme/wide").bearer(&scene.acme.api_key).send().problem(404, "not-found");
}

#[test]
fn types_of_a_bundle_are_bounded_together() {
    let scene = Scene::new(|config| {
        config.sandbox.type_nodes_max = 100.try_into().expect("not zero");
    });
    scene.refused(&bundle("wide", 1, &sharing(1, 101), 1), "`sandbox.type_nodes_max`");
    scene.publish(&bundle("wide", 1, &sharing(50, 90), 50)).ok();
}

#[test]
fn a_document_is_made_once_and_served_as_it_is_kept() {
    let scene = Scene::new(|_| {});
    scene.publish(&plugin("echo")).ok();
    let ask = || scene.host.get("/acme/echo/openapi.json").bearer(&scene.acme.api_key);
    let plain = ask().header("accept-encoding", "identity").send().ok();
    let zipped = ask().header("accept-encoding", "gzip").send().ok();
    // The client may have decompressed it already.
    let text = match zipped.header("content-encoding") {
        Some("gzip") => {
            let mut text = String::new();
            let read =
                flate2::read::GzDecoder::new(zipped.body.as_slice()).read_to_string(&mut text);
            read.expect("gzip");
            text
        }
        _ => zipped.text(),
    };
    assert_eq!(text, plain.text());
    let document: Value = plain.json();
    assert_eq!(document["openapi"], "3.1.0");
    let tag = plain.header("etag").expect("a tag").to_owned();
    assert_eq!(zipped.header("etag"), Some(tag.as_str()));
    assert_eq!(plain.header("vary"), Some("accept-encoding, authorization"));
    let unchanged = ask().header("if-none-match", tag).send();
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    // After a restart it is generated again, with the same result.
    let key = scene.acme.api_key.clone();
    let data = scene.host.stop();
    let host = TestHost::builder().data(data).start();
    let again = host.get("/acme/echo/openapi.json").bearer(&key).send().ok();
    assert_eq!(again.text(), text);
}

/// Describing this model once broke the connection, because its number of elements overflowed.
#[test]
fn a_shape_that_nothing_could_fill_is_refused_before_it_is_described() {
    let scene = Scene::new(|_| {});
    let model = workspace().join("tests/cases/shape-overflow.onnx");
    let bundle = model_bundle("vast", std::fs::read(model).expect("readable"), None);
    scene.refused(&bundle, "more elements than can be counted");
    scene.host.get("/acme/vast/openapi.json").send().problem(404, "not-found");
}

#[test]
fn a_publisher_has_room_for_so_many_models_versions_and_bytes() {
    let component = sharing(1, 1);
    let length = bundle("one", 1, &component, 1).len() as u64;
    let scene = Scene::new(|config| {
        config.bundle.models_per_publisher_max = 2;
        config.bundle.versions_per_publisher_max = 3;
        // Signed bundles are slightly longer.
        config.bundle.bytes_per_publisher_max = 3 * length + 10_000;
    });
    scene.publish(&bundle("one", 1, &component, 1)).ok();
    scene.publish(&bundle("two", 1, &component, 1)).ok();
    scene.refused(&bundle("three", 1, &component, 1), "`bundle.models_per_publisher_max`");
    let large = sharing(1, 2000);
    scene.refused(&bundle("one", 2, &large, 1), "`bundle.bytes_per_publisher_max`");
    scene.publish(&bundle("one", 2, &component, 1)).ok();
    scene.refused(&bundle("one", 3, &component, 1), "`bundle.versions_per_publisher_max`");
    // Published versions may be published again; versions that are unloaded still count.
    scene.publish(&bundle("one", 1, &component, 1)).ok();
    let unload = scene.host.post("/v2/repository/models/acme%2Fone/unload");
    unload.bearer(&scene.acme.api_key).json("{}").send().ok();
    scene.refused(&bundle("one", 3, &component, 1), "`bundle.versions_per_publisher_max`");
    // Each publisher has its own limits.
    let zoe = scene.host.party("zoe");
    let other = scene.host.try_publish(&zoe, &zoe.sign(&bundle("three", 1, &component, 1)));
    other.ok();
}

/// Each version was once written separately, on a server thread.
#[test]
fn a_model_of_many_versions_goes_and_comes_back_whole_and_for_good() {
    const VERSIONS: usize = 60;
    let component = sharing(1, 1);
    let host = TestHost::builder().threads(1).start();
    let acme = host.party("acme");
    for version in 1..=VERSIONS as u64 {
        host.publish(&acme, &bundle("many", version, &component, 1));
    }
    let key = acme.api_key.clone();
    let states = |host: &TestHost| {
        let index = host.post("/v2/repository/index").bearer(&key).json("{}").send().ok().json();
        let entries = index.as_array().expect("a list").iter();
        entries.filter(|entry| entry["state"] == "UNAVAILABLE").count()
    };
    let ask = |host: &TestHost, what: &str| {
        let path = format!("/v2/repository/models/acme%2Fmany/{what}");
        host.post(&path).bearer(&key).json("{}").send().ok();
    };
    let live =
        |host: &TestHost| host.operator("GET", "/status").send().ok().json()["models"].clone();
    ask(&host, "unload");
    assert_eq!((states(&host), live(&host)), (VERSIONS, 0.into()));
    let host = TestHost::builder().data(host.stop()).threads(1).start();
    assert_eq!((states(&host), live(&host)), (VERSIONS, 0.into()));
    ask(&host, "load");
    assert_eq!((states(&host), live(&host)), (0, VERSIONS.into()));
    let host = TestHost::builder().data(host.stop()).threads(1).start();
    assert_eq!((states(&host), live(&host)), (0, VERSIONS.into()));
}
