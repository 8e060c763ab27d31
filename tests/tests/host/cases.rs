//! Every file in `tests/cases`: small inputs that once exposed bugs, tried on one host, which must
//! stay healthy. `make cases` runs it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use system_tests::hostile::Hostile;
use system_tests::{HostProcess, Party, Reply, TestHost, model_bundle, plugin, terms, workspace};

const DEADLINE: Duration = Duration::from_secs(2);

struct Scene {
    host: TestHost,
    acme: Party,
    zoe: Party,
    tried: BTreeSet<String>,
}

impl Scene {
    fn start() -> Self {
        let host = TestHost::builder().config(|config| {
            config.sandbox.deadline = DEADLINE;
            config.inference.worker_memory_bytes_max = 512 << 20;
        });
        let host = host.start();
        let (acme, zoe) = (host.party("acme"), host.party("zoe"));
        Self { host, acme, zoe, tried: BTreeSet::new() }
    }

    fn case(&mut self, file: &str) -> Vec<u8> {
        self.tried.insert(file.split('/').next().unwrap_or(file).to_owned());
        std::fs::read(workspace().join("tests/cases").join(file)).expect("readable")
    }

    /// Publishes a model under this name, or returns the reason for the refusal.
    fn publish(&mut self, name: &str, file: &str) -> Result<(), String> {
        let model = self.case(file);
        self.publish_bundle(&model_bundle(name, model, None))
    }

    fn publish_bundle(&self, bundle: &[u8]) -> Result<(), String> {
        let reply = self.host.try_publish(&self.acme, &self.acme.sign(bundle));
        assert_eq!(self.host.get("/healthz").send().status, 200);
        if reply.status >= 300 {
            let problem = reply.problem(422, "bundle-refused");
            return Err(problem["detail"].as_str().expect("text").to_owned());
        }
        let published = reply.json();
        let text = |member: &str| published[member].as_str().expect("text").to_owned();
        let published =
            (text("model").parse().expect("a model"), text("digest").parse().expect("a digest"));
        self.host.agree(&self.acme, &self.zoe, &published, vec![terms("infer")]);
        Ok(())
    }

    #[track_caller]
    fn is_refused(&mut self, file: &str, said: &str) {
        let detail = self.publish("refused", file).expect_err("refused");
        assert!(detail.contains(said), "{file}: {detail}");
    }

    /// A component that is refused at publishing.
    #[track_caller]
    fn is_refused_as_code(&mut self, file: &str, said: &str) {
        let component = wat::parse_bytes(&self.case(file)).expect("a component").into_owned();
        let bundle = Hostile::packed("code", 1, &component, &["run".to_owned()]);
        let detail = self.publish_bundle(&bundle.expect("packed")).expect_err("refused");
        assert!(detail.contains(said), "{file}: {detail}");
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

fn int64(name: &str, value: i64) -> Value {
    input(name, "INT64", &[1], &json!(value))
}

/// Models that name other files, are too large, or were misread.
fn models(scene: &mut Scene) {
    for file in ["ext_hostkey.onnx", "ext_cwd.onnx", "ext_missing.onnx"] {
        scene.is_refused(file, "outside the model");
    }
    scene.is_refused("shape-overflow.onnx", "more elements than can be counted");
    scene.is_refused("const-bomb.onnx", "`onnxruntime`");

    scene.publish("unranked", "unranked.onnx").expect("a model of any rank");
    for shape in [&[2][..], &[1, 2], &[1, 1, 2]] {
        scene.call("unranked", &json!([input("X", "FP32", shape, &json!(1.5))])).ok();
    }
    scene.publish("string", "string.onnx").expect("published");
    scene.call("string", &json!([input("X", "BYTES", &[1, 1], &json!("text"))])).ok();
    scene.publish("slice", "test_slice_default_axes/model.onnx").expect("ONNX Runtime supports it");

    scene.publish("forest", "wine_forest.onnx").expect("published");
    // `numpy.save` wrote it: 10 bytes, a header of 118, then 16 rows of 13 FP32 values.
    let rows = scene.case("wine_forest_x16.npy").split_off(128);
    let rows: Vec<f32> = rows
        .chunks_exact(4)
        .map(|number| f32::from_le_bytes(number.try_into().expect("four bytes")))
        .collect();
    let rows = json!([{"name": "X", "datatype": "FP32", "shape": [16, 13], "data": rows}]);
    let answer = scene.call("forest", &rows).ok().json();
    assert_eq!(answer["outputs"][0]["shape"][0], 16, "{answer}");

    let packed = tempfile::tempdir().expect("a directory");
    let (model, out) = (packed.path().join("m.onnx"), packed.path().join("m.wasm"));
    std::fs::write(&model, scene.case("skl_zipmap.onnx")).expect("written");
    let path = |path: &std::path::Path| path.to_str().expect("text").to_owned();
    let pack = ["pack", &path(&model), "--name", "zipmap", "-o", &path(&out)];
    assert!(HostProcess::run(&pack).status.success(), "`pack` repairs it");
    scene.publish_bundle(&std::fs::read(&out).expect("packed")).expect("published");
    scene.call("zipmap", &json!([input("X", "FP32", &[1, 4], &json!(1.5))])).ok();
}

/// Calls of honest models that once crashed the host or never ended.
fn calls(scene: &mut Scene) {
    for (name, file) in [("gather", "gather.onnx"), ("loginj", "loginj.onnx")] {
        scene.publish(name, file).expect("published");
        let refused = scene.call(name, &json!([int64("I", 99)]));
        assert_eq!(refused.status, 422, "{name}: {}", refused.text());
    }
    scene.publish("div", "intdiv.onnx").expect("published");
    let quotient = |a: i64, b: i64| json!([int64("A", a), int64("B", b)]);
    scene.call("div", &quotient(7, 2)).ok();
    let lost = scene.call("div", &quotient(i64::MIN, -1)).problem(502, "plugin-failed");
    assert_eq!(lost["failure"], "computation-lost", "{lost}");

    scene.publish("loop", "loop.onnx").expect("published");
    scene.call("loop", &json!([int64("N", 3)])).ok();
    let began = Instant::now();
    scene.call("loop", &json!([int64("N", 1 << 62)])).problem(504, "plugin-deadline");
    assert!(began.elapsed() < DEADLINE + Duration::from_secs(5), "{:?}", began.elapsed());

    let published = scene.host.publish(&scene.acme, &plugin("semantic-search"));
    scene.host.agree(&scene.acme, &scene.zoe, &published, vec![terms("embed")]);
    let body = String::from_utf8(scene.case("embeddings-null.json")).expect("text");
    scene.host.post("/v1/embeddings").bearer(&scene.zoe.api_key).json(&body).send().ok();
}

#[test]
fn every_case_is_tried_and_the_host_is_well_afterwards() {
    let mut scene = Scene::start();
    models(&mut scene);
    calls(&mut scene);
    scene.is_refused_as_code("nested.wat", "`sandbox.instances_max`");
    for file in ["startspin.wat", "starttrap.wat"] {
        scene.is_refused_as_code(file, "a start function called the host");
    }
    let left: Vec<String> = std::fs::read_dir(workspace().join("tests/cases"))
        .expect("readable")
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .filter(|name| !scene.tried.contains(name))
        .collect();
    assert!(left.is_empty(), "no test uses {left:?}");
}
