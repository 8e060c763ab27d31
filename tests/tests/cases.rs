//! Everything in `tests/cases`: small inputs that once went wrong, tried on one host, which is well after each.
//! `cargo nextest run -p system-tests --test cases` runs them all.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use system_tests::hostile::Hostile;
use system_tests::{Party, Reply, TestHost, model_bundle, plugin, terms, workspace};

/// Those that have a test of their own, where more is needed than a call.
const ELSEWHERE: [(&str, &str); 6] = [
    ("intdiv.onnx", "workers"),
    ("loop.onnx", "workers"),
    ("const-bomb.onnx", "workers"),
    ("skl_zipmap.onnx", "fitting_models"),
    ("startspin.wat", "starts"),
    ("starttrap.wat", "starts"),
];

struct Scene {
    host: TestHost,
    acme: Party,
    zoe: Party,
    tried: BTreeSet<String>,
}

impl Scene {
    fn start() -> Self {
        let host =
            TestHost::builder().config(|config| config.sandbox.deadline = Duration::from_secs(10));
        let host = host.start();
        let (acme, zoe) = (host.party("acme"), host.party("zoe"));
        Self { host, acme, zoe, tried: BTreeSet::new() }
    }

    fn case(&mut self, file: &str) -> Vec<u8> {
        self.tried.insert(file.split('/').next().unwrap_or(file).to_owned());
        std::fs::read(workspace().join("tests/cases").join(file)).expect("readable")
    }

    /// Publishes a model under this name, or gives back why not.
    fn publish(&mut self, name: &str, file: &str) -> Result<(), Value> {
        let model = self.case(file);
        let bundle = self.acme.sign(&model_bundle(name, model, None));
        let reply = self.host.try_publish(&self.acme, &bundle);
        if reply.status >= 300 {
            return Err(reply.problem(422, "bundle-refused"));
        }
        let published = reply.json();
        let text = |member: &str| published[member].as_str().expect("text").to_owned();
        let published =
            (text("model").parse().expect("a model"), text("digest").parse().expect("a digest"));
        self.host.agree(&self.acme, &self.zoe, &published, vec![terms("infer")]);
        Ok(())
    }

    fn call(&self, model: &str, inputs: &Value) -> Reply {
        let body = json!({ "inputs": inputs }).to_string();
        let reply = self.host.call(&self.zoe, &format!("acme/{model}/infer")).json(&body).send();
        assert_eq!(self.host.get("/healthz").send().status, 200, "after {model}");
        reply
    }
}

fn input(name: &str, datatype: &str, shape: &[usize], element: &Value) -> Value {
    let elements = shape.iter().product();
    json!({"name": name, "datatype": datatype, "shape": shape, "data": vec![element; elements]})
}

#[test]
fn every_case_is_tried_and_the_host_is_well_afterwards() {
    let mut scene = Scene::start();
    for file in ["ext_hostkey.onnx", "ext_cwd.onnx", "ext_missing.onnx"] {
        let problem = scene.publish("ext", file).expect_err("refers to a file");
        let detail = problem["detail"].as_str().expect("text");
        assert!(detail.contains("outside the model"), "{file}: {detail}");
    }

    scene.publish("unranked", "unranked.onnx").expect("it has any rank");
    for shape in [&[2][..], &[1, 2], &[1, 1, 2]] {
        scene.call("unranked", &json!([input("X", "FP32", shape, &json!(1.5))])).ok();
    }

    scene.publish("string", "string.onnx").expect("published");
    scene.call("string", &json!([input("X", "BYTES", &[1, 1], &json!("text"))])).ok();

    for (name, file) in [("gather", "gather.onnx"), ("loginj", "loginj.onnx")] {
        scene.publish(name, file).expect("published");
        let refused = scene.call(name, &json!([input("I", "INT64", &[1], &json!(99))]));
        assert_eq!(refused.status, 422, "{name}: {}", refused.text());
    }

    if scene.publish("overflow", "shape-overflow.onnx").is_ok() {
        scene.host.get("/acme/overflow/openapi.json").bearer(&scene.zoe.api_key).send().ok();
    }

    scene.publish("slice", "test_slice_default_axes/model.onnx").expect("ONNX Runtime computes it");
    scene.publish("forest", "wine_forest.onnx").expect("published");
    scene.case("wine_forest_x16.npy");
    scene.call("forest", &json!([input("X", "FP32", &[16, 13], &json!(0.5))])).ok();

    // `hospes pack` may refuse it already.
    let nested = wat::parse_bytes(&scene.case("nested.wat")).expect("a component").into_owned();
    if let Ok(bundle) = Hostile::packed("nested", 1, &nested, &["run".to_owned()]) {
        let refused = scene.host.try_publish(&scene.acme, &scene.acme.sign(&bundle));
        refused.problem(422, "bundle-refused");
    }

    let published = scene.host.publish(&scene.acme, &plugin("semantic-search"));
    scene.host.agree(&scene.acme, &scene.zoe, &published, vec![terms("embed")]);
    let body = String::from_utf8(scene.case("embeddings-null.json")).expect("text");
    scene.host.post("/v1/embeddings").bearer(&scene.zoe.api_key).json(&body).send().ok();

    let mut left: BTreeSet<String> = std::fs::read_dir(workspace().join("tests/cases"))
        .expect("readable")
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .filter(|name| !scene.tried.contains(name))
        .collect();
    for (file, test) in ELSEWHERE {
        let test = workspace().join(format!("tests/tests/{test}.rs"));
        let text = std::fs::read_to_string(&test).expect("a test of its own");
        assert!(text.contains(file), "{} does not try {file}", test.display());
        left.remove(file);
    }
    assert!(left.is_empty(), "nothing tries {left:?}");
}
