//! Other people's models and tensors that the host once refused or computed wrongly, although they
//! were valid.

use hospes::backend::BackendKind;
use hospes::id::ModelName;
use serde_json::{Value, json};
use system_tests::model::{Graph, element, int, message, numbers, typed};
use system_tests::{HostProcess, Party, TestHost, model_bundle, plugin, terms, workspace};

struct Scene {
    host: TestHost,
    acme: Party,
    zoe: Party,
}

impl Scene {
    fn new() -> Self {
        Self::of(TestHost::start())
    }

    fn of(host: TestHost) -> Self {
        let (acme, zoe) = (host.party("acme"), host.party("zoe"));
        Self { host, acme, zoe }
    }

    fn model(&self, name: &str, model: Vec<u8>) {
        let published = self.host.publish(&self.acme, &model_bundle(name, model, None));
        self.host.agree(&self.acme, &self.zoe, &published, vec![terms("infer")]);
    }

    /// The first output of a model.
    #[track_caller]
    fn infer(&self, name: &str, inputs: &[Value]) -> Value {
        let body = json!({ "inputs": inputs }).to_string();
        let call = self.host.call(&self.zoe, &format!("acme/{name}/infer")).json(&body);
        call.send().ok().json()["outputs"][0].clone()
    }

    /// The response of `GET /v2/models/…`.
    fn metadata(&self, name: &str) -> Value {
        let path = format!("/v2/models/acme%2F{name}");
        self.host.get(&path).bearer(&self.zoe.api_key).send().ok().json()
    }
}

#[expect(clippy::needless_pass_by_value, reason = "each value is used once")]
fn tensor(name: &str, datatype: &str, shape: &[usize], data: Value) -> Value {
    json!({"name": name, "datatype": datatype, "shape": shape, "data": data})
}

fn unranked() -> Vec<u8> {
    Graph::new()
        .with(message(11, &typed("x", element::F32, None)))
        .node("Abs", &["x"], &["y"], &[])
        .result("y", element::F32)
        .model()
}

#[test]
fn an_input_of_unknown_rank_takes_any_shape() {
    let scene = Scene::new();
    scene.model("any", unranked());
    for (shape, data) in
        [(&[][..], json!([-1.0])), (&[2], json!([-1.0, 2.0])), (&[1, 2, 1], json!([-1.0, 2.0]))]
    {
        let output = scene.infer("any", &[tensor("x", "FP32", shape, data)]);
        assert_eq!((&output["shape"], &output["data"][0]), (&json!(shape), &json!(1.0)));
    }
    let metadata = scene.metadata("any");
    assert_eq!(
        metadata["inputs"][0]["shape"],
        json!([-1]),
        "one axis of any size, not a scalar: {metadata}"
    );
    assert_eq!(metadata["outputs"][0]["shape"], json!([-1]), "{metadata}");
    let scalar = Graph::new().input("x", element::F32, &[]).node("Abs", &["x"], &["y"], &[]);
    scene.model("single", scalar.output("y", element::F32, &[]).model());
    assert_eq!(
        scene.metadata("single")["inputs"][0]["shape"],
        json!([]),
        "a scalar is a single element"
    );
}

/// `y = x * scale + shift`. The model has values for both, but only `scale` is also an input.
fn scaled() -> Vec<u8> {
    let one = |name: &str, value: f32| {
        system_tests::model::tensor(name, element::F32, &[1], &value.to_le_bytes())
    };
    Graph::new()
        .input("x", element::F32, &[-1])
        .input("scale", element::F32, &[1])
        .weights(&one("scale", 2.0))
        .weights(&one("shift", 0.5))
        .node("Mul", &["x", "scale"], &["scaled"], &[])
        .node("Add", &["scaled", "shift"], &["y"], &[])
        .output("y", element::F32, &[-1])
        .model()
}

#[test]
fn an_initialiser_that_is_an_input_may_be_given_or_left_out() {
    let scene = Scene::new();
    scene.model("scaled", scaled());
    let x = || tensor("x", "FP32", &[2], json!([1, 2]));
    let scale = |shape: &[usize], data| tensor("scale", "FP32", shape, data);
    assert_eq!(scene.infer("scaled", &[x()])["data"], json!([2.5, 4.5]), "the model's own values");
    let given = [scale(&[1], json!([10])), x()];
    assert_eq!(scene.infer("scaled", &given)["data"], json!([10.5, 20.5]));
    assert_eq!(
        scene.infer("scaled", &[x()])["data"],
        json!([2.5, 4.5]),
        "an override applies to one call only"
    );
    let refused = |inputs: &[Value]| {
        let body = json!({ "inputs": inputs }).to_string();
        let call = scene.host.call(&scene.zoe, "acme/scaled/infer").json(&body);
        call.send().problem(400, "invalid-arguments")["detail"].as_str().expect("text").to_owned()
    };
    let said = refused(&[scale(&[1], json!([10]))]);
    assert_eq!(
        said,
        "required inputs are missing for model 'acme/scaled'. Got input(s) ['scale'], but missing required input(s) \
         ['x']. Please provide all required input(s)."
    );
    let said = refused(&[x(), scale(&[2], json!([1, 2]))]);
    assert!(said.contains("unexpected shape for input 'scale'"), "{said}");
    let said = refused(&[x(), tensor("shift", "FP32", &[1], json!([1]))]);
    assert!(
        said.contains("input 'shift' for model 'acme/scaled'; it takes ['x','scale']"),
        "{said}"
    );
    let open = |inputs: &[Value]| {
        let body = json!({ "inputs": inputs }).to_string();
        let call = scene.host.post("/v2/models/acme%2Fscaled/infer").bearer(&scene.zoe.api_key);
        call.json(&body).send()
    };
    let answer = open(&[x(), scale(&[1], json!([3]))]).ok().json();
    assert_eq!(answer["outputs"][0]["data"], json!([3.5, 6.5]));
    let said = open(&[scale(&[1], json!([10]))]).text();
    assert!(said.contains("missing required input(s) ['x']"), "{said}");
    let said = open(&[x(), scale(&[2], json!([1, 2]))]).text();
    assert!(said.contains("unexpected shape for input 'scale'"), "{said}");

    let names = |tensors: &Value| {
        let tensors = tensors.as_array().expect("a list").iter();
        tensors.map(|input| input["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&scene.metadata("scaled")["inputs"]), ["x", "scale"]);
    let config = scene.host.get("/v2/models/acme%2Fscaled/config").bearer(&scene.zoe.api_key);
    let config = config.send().ok().json();
    assert_eq!(names(&config["input"]), ["x", "scale"]);
    assert_eq!(config["input"][0].get("optional"), None, "{config}");
    assert_eq!(config["input"][1]["optional"], json!(true), "{config}");
    // With a body of plain bytes, these are the only required input.
    let bytes: Vec<u8> = [1.0_f32, 2.0].iter().flat_map(|number| number.to_le_bytes()).collect();
    scene.host.call(&scene.zoe, "acme/scaled/infer").octets(bytes).send().ok();
}

#[test]
fn tract_takes_initialisers_as_constants_and_says_so() {
    let host =
        TestHost::builder().config(|config| config.inference.backend = BackendKind::Tract.into());
    let scene = Scene::of(host.start());
    scene.model("scaled", scaled());
    let x = || tensor("x", "FP32", &[2], json!([1, 2]));
    assert_eq!(scene.infer("scaled", &[x()])["data"], json!([2.5, 4.5]));
    let inputs = [x(), tensor("scale", "FP32", &[1], json!([10]))];
    let body = json!({ "inputs": inputs }).to_string();
    let call = scene.host.call(&scene.zoe, "acme/scaled/infer").json(&body).send();
    let refused = call.problem(400, "invalid-arguments");
    let said = refused["detail"].as_str().expect("text");
    assert!(said.contains("backend 'tract' takes as a constant"), "{said}");
    let call = scene.host.post("/v2/models/acme%2Fscaled/infer").bearer(&scene.zoe.api_key);
    let said = call.json(&body).send().text();
    assert!(said.contains("backend 'tract' takes as a constant"), "{said}");
}

#[test]
fn byte_strings_reach_the_model_whatever_bytes_they_are_of() {
    let scene = Scene::new();
    let graph = Graph::new().input("x", element::TEXT, &[-1]);
    let graph = graph.node("Concat", &["x", "x"], &["y"], &[int("axis", 0)]);
    scene.model("twice", graph.result("y", element::TEXT).model());
    let strings: [&[u8]; 5] = [b"a\0b", b"\xff\xd8\xff\xe0 JPEG", b"", "ä".as_bytes(), b"\0"];
    let data: Vec<u8> = strings
        .iter()
        .flat_map(|string| [&(string.len() as u32).to_le_bytes()[..], string].concat())
        .collect();
    let head = json!({
        "inputs": [{"name": "x", "datatype": "BYTES", "shape": [5],
            "parameters": {"binary_data_size": data.len()}}],
        "outputs": [{"name": "y", "parameters": {"binary_data": true}}],
    });
    let head = head.to_string();
    let answer = scene
        .host
        .post("/v2/models/acme%2Ftwice/infer")
        .bearer(&scene.zoe.api_key)
        .header("inference-header-content-length", head.len().to_string())
        .body([head.as_bytes(), &data].concat())
        .send()
        .ok();
    let length: usize = answer
        .header("inference-header-content-length")
        .expect("binary")
        .parse()
        .expect("a number");
    assert_eq!(answer.body[length..], [&data[..], &data].concat()[..]);
}

#[test]
fn numpy_s_files_are_read_in_whatever_order_they_are() {
    let scene = Scene::new();
    let published = scene.host.publish(&scene.acme, &plugin("echo"));
    scene.host.agree(&scene.acme, &scene.zoe, &published, vec![terms("echo-tensor")]);
    let file = |descr: &str, order: &str, shape: &str, data: &[u8]| {
        let header =
            format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
        let length = (header.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
    };
    let read = |file: Vec<u8>| {
        scene.host.call(&scene.zoe, "acme/echo/echo-tensor").octets(file).send().ok().json()
    };
    let columns = read(file("<i2", "True", "(2, 3)", &[0, 0, 3, 0, 1, 0, 4, 0, 2, 0, 5, 0]));
    assert_eq!(columns["shape"], json!([2, 3]), "{columns}");
    assert_eq!(
        columns["data"],
        json!([0, 1, 2, 3, 4, 5]),
        "Fortran order, as numpy.asfortranarray saves it"
    );
    let big = read(file(">i2", "False", "(2,)", &[1, 2, 0, 5]));
    assert_eq!(big["data"], json!([258, 5]), "{big}");
}

#[test]
fn a_model_that_fails_every_call_does_not_go_live() {
    let scene = Scene::new();
    // It selects index 7 of three elements, whatever the input.
    let graph = Graph::new().input("x", element::F32, &[3]).weights(&numbers("eighth", &[7]));
    let model = graph.node("Gather", &["x", "eighth"], &["y"], &[]).result("y", element::F32);
    let bundle = scene.acme.sign(&model_bundle("eighth", model.model(), None));
    let refused = scene.host.try_publish(&scene.acme, &bundle).problem(422, "bundle-refused");
    let said = refused["detail"].as_str().expect("text");
    assert!(said.contains("model `model`, computed by `onnxruntime`, is unusable"), "{said}");
    assert!(said.contains("it fails for every input"), "{said}");
    let path = "/acme/eighth";
    assert_eq!(scene.host.get(path).bearer(&scene.acme.api_key).send().status, 404);
}

#[test]
fn a_model_that_tract_fails_every_call_of_does_not_go_live() {
    let model = std::fs::read(workspace().join("tests/cases/test_slice_default_axes/model.onnx"));
    let bundle = model_bundle("slice", model.expect("readable"), None);
    let host =
        TestHost::builder().config(|config| config.inference.backend = BackendKind::Tract.into());
    let scene = Scene::of(host.start());
    let refused = scene.host.try_publish(&scene.acme, &scene.acme.sign(&bundle));
    let refused = refused.problem(422, "bundle-refused");
    let said = refused["detail"].as_str().expect("text");
    assert!(said.contains("computed by `tract`, is unusable"), "{said}");
    assert!(said.contains("cannot follow a shape that depends on values"), "{said}");
    // ONNX Runtime supports it.
    let scene = Scene::new();
    let published = scene.host.publish(&scene.acme, &bundle);
    scene.host.agree(&scene.acme, &scene.zoe, &published, vec![terms("infer")]);
    let inputs = [
        tensor("x", "FP32", &[20, 10, 5], json!(vec![1; 1000])),
        tensor("starts", "INT64", &[3], json!([0, 0, 3])),
        tensor("ends", "INT64", &[3], json!([20, 10, 4])),
    ];
    assert_eq!(scene.infer("slice", &inputs)["shape"], json!([20, 10, 1]));
}

#[test]
fn a_model_that_refuses_what_was_invented_goes_live_and_that_is_said() {
    let scene = Scene::new();
    // It takes a multiple of 7 elements, but its signature allows any number.
    let graph = Graph::new().input("x", element::F32, &[-1]).weights(&numbers("sevens", &[-1, 7]));
    let model =
        graph.node("Reshape", &["x", "sevens"], &["y"], &[]).result("y", element::F32).model();
    let bundle = scene.acme.sign(&model_bundle("sevens", model, None));
    let published = scene.host.try_publish(&scene.acme, &bundle).ok().json();
    let tried = &published["models"][0];
    assert!(tried["not_computed"].as_str().is_some_and(|text| !text.is_empty()), "{published}");
    assert_eq!(tried["backend"], "onnxruntime");
}

#[test]
fn publishing_says_which_backend_computes_each_model_and_how_fast() {
    let scene = Scene::new();
    let bundle = scene.acme.sign(&plugin("lenet"));
    let published = scene.host.try_publish(&scene.acme, &bundle).ok().json();
    let tried = &published["models"][0];
    assert_eq!((&tried["name"], &tried["backend"]), (&json!("model"), &json!("onnxruntime")));
    assert!(tried["computed_ms"].as_f64().is_some_and(|millis| millis > 0.0), "{published}");
}

/// Packs a model from a file with the command. Returns its output.
fn pack(folder: &std::path::Path, model: &[u8]) -> std::process::Output {
    std::fs::write(folder.join("m.onnx"), model).expect("written");
    let (model, out) = (folder.join("m.onnx"), folder.join("m.wasm"));
    let path = |path: &std::path::Path| path.to_str().expect("text").to_owned();
    HostProcess::run(&[
        "--json",
        "pack",
        &path(&model),
        "--name",
        "m",
        "--force",
        "-o",
        &path(&out),
    ])
}

fn outside(location: &str) -> Vec<u8> {
    let entry = |key: &str, value: &str| {
        use system_tests::model::text;
        message(13, &[text(1, key), text(2, value)].concat())
    };
    let weights = [
        system_tests::model::number(1, 2),
        system_tests::model::number(2, element::F32),
        system_tests::model::text(8, "w"),
        entry("location", location),
        entry("offset", "4"),
        entry("length", "8"),
        system_tests::model::number(14, 1),
    ];
    let graph = Graph::new().input("x", element::F32, &[2]).weights(&weights.concat());
    graph.node("Add", &["x", "w"], &["y"], &[]).output("y", element::F32, &[2]).model()
}

#[test]
fn weights_beside_a_model_are_packed_into_it() {
    let folder = tempfile::tempdir().expect("a directory");
    let numbers: Vec<u8> = [9.0_f32, 0.5, 1.5].iter().flat_map(|n| n.to_le_bytes()).collect();
    std::fs::write(folder.path().join("w.bin"), numbers).expect("written");
    let packed = pack(folder.path(), &outside("w.bin"));
    let answer: Value = serde_json::from_slice(&packed.stdout).expect("JSON");
    assert_eq!(answer["cures"], json!(["weights of `w.bin` were put into the model"]), "{answer}");
    let scene = Scene::new();
    let bundle = std::fs::read(folder.path().join("m.wasm")).expect("packed");
    let published = scene.host.publish(&scene.acme, &bundle);
    scene.host.agree(&scene.acme, &scene.zoe, &published, vec![terms("infer")]);
    let output = scene.infer("m", &[tensor("x", "FP32", &[2], json!([1, 1]))]);
    assert_eq!(output["data"], json!([1.5, 2.5]));
}

#[test]
fn what_every_host_would_refuse_is_refused_when_it_is_packed() {
    let folder = tempfile::tempdir().expect("a directory");
    for (location, said) in [
        ("missing.bin", "there is no such file beside it"),
        ("../w.bin", "which is not a file beside it"),
        ("/etc/passwd", "which is not a file beside it"),
    ] {
        let refused = pack(folder.path(), &outside(location));
        assert!(!refused.status.success());
        let text = String::from_utf8_lossy(&refused.stdout).into_owned();
        assert!(text.contains(said) && text.contains("save_as_external_data=False"), "{text}");
    }
    let refused = pack(folder.path(), b"not a model");
    let text = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(!refused.status.success() && text.contains("it is not an ONNX model"), "{text}");
    assert!(!folder.path().join("m.wasm").exists());
}

#[test]
fn scikit_learn_s_usual_export_is_packed_published_and_called() {
    let folder = tempfile::tempdir().expect("a directory");
    let model = workspace().join("tests/cases/skl_zipmap.onnx");
    let packed = pack(folder.path(), &std::fs::read(model).expect("readable"));
    let answer: Value = serde_json::from_slice(&packed.stdout).expect("JSON");
    let cure = answer["cures"][0].as_str().expect("a cure");
    assert!(
        cure.contains("`output_probability` was a list of maps") && cure.contains("0, 1, 2"),
        "{cure}"
    );
    let scene = Scene::new();
    let bundle = std::fs::read(folder.path().join("m.wasm")).expect("packed");
    let published: (ModelName, _) = scene.host.publish(&scene.acme, &bundle);
    scene.host.agree(&scene.acme, &scene.zoe, &published, vec![terms("infer")]);
    let inputs = [tensor("X", "FP32", &[1, 4], json!([5.1, 3.5, 1.4, 0.2]))];
    let body = json!({ "inputs": inputs }).to_string();
    let answer = scene.host.call(&scene.zoe, "acme/m/infer").json(&body).send().ok().json();
    let chances = answer["outputs"]
        .as_array()
        .expect("outputs")
        .iter()
        .find(|o| o["name"] == "output_probability");
    let chances = &chances.expect("it exists")["data"];
    let sum: f64 = chances.as_array().expect("numbers").iter().filter_map(Value::as_f64).sum();
    assert_eq!(chances.as_array().map(Vec::len), Some(3));
    assert!((sum - 1.0).abs() < 1e-5, "{chances}");
}

/// A 150 Hz sawtooth of growing volume, at 8 kHz, as a WAV file.
fn saw() -> Vec<u8> {
    let samples = (0..8 * 256_i32).map(|at| {
        let (saw, swell) = (at * 300 % 16_000 - 8_000, (at % 1024 - 512).abs());
        i16::try_from((saw * swell).div_euclid(512)).expect("small")
    });
    let sound: Vec<u8> = samples.flat_map(i16::to_le_bytes).collect();
    let format =
        [&[1, 0, 1, 0][..], &8_000_u32.to_le_bytes(), &16_000_u32.to_le_bytes(), &[2, 0, 16, 0]];
    let chunk =
        |name: &[u8], body: &[u8]| [name, &(body.len() as u32).to_le_bytes(), body].concat();
    [&b"RIFF\0\0\0\0WAVE"[..], &chunk(b"fmt ", &format.concat()), &chunk(b"data", &sound)].concat()
}

/// What the model of Silero's package 6.2.3 returns in ONNX Runtime alone.
const SAW_CHANCES: [f64; 8] =
    [0.00831, 0.0508, 0.05973, 0.08105, 0.03584, 0.03463, 0.03686, 0.09912];

#[test]
fn vad_answers_at_8_khz_as_silero_s_package_does() {
    let scene = Scene::new();
    let published = scene.host.publish(&scene.acme, &plugin("vad"));
    scene.host.agree(&scene.acme, &scene.zoe, &published, vec![terms("chances")]);
    let call = scene.host.call(&scene.zoe, "acme/vad/chances").octets(saw());
    let chances = call.send().ok().json();
    let chances: Vec<f64> =
        chances.as_array().expect("a list").iter().filter_map(Value::as_f64).collect();
    assert_eq!(chances.len(), SAW_CHANCES.len());
    for (seen, wanted) in chances.iter().zip(SAW_CHANCES) {
        assert!((seen - wanted).abs() < 1e-3, "{chances:?}");
    }
}
