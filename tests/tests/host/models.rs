//! Real models give the same results as other software, on both backends.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hospes::backend::BackendKind;
use hospes::config::{BackendChoice, Config};
use hospes::host::inference_settings;
use hospes::inference::{Call, Inference, ModelSource, Placement};
use hospes::tensor::{DataType, Tensor, pack_strings};
use serde_json::{Value, json};
use system_tests::{
    HostProcess, Limited as _, Party, Reply, TestHost, built, identity, model_bundle, oracle,
    oracle_json, plugin, terms, workspace,
};

fn served(plugins: &[(&str, &str)]) -> (TestHost, Party) {
    let host = TestHost::start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    for (name, function) in plugins {
        let published = host.publish(&acme, &plugin(name));
        host.agree(&acme, &zoe, &published, vec![terms(function)]);
    }
    (host, zoe)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("readable")
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    files
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).expect("a name")
}

#[test]
fn filetype_says_what_magika_s_own_package_says() {
    let folder = tempfile::tempdir().expect("a directory");
    oracle("samples.py", &[folder.path()]);
    let expected = oracle_json("filetype.py", &[folder.path()]);
    let (host, zoe) = served(&[("filetype", "identify")]);
    let mut kinds = std::collections::BTreeSet::new();
    for file in files(folder.path()) {
        let bytes = std::fs::read(&file).expect("readable");
        let verdict = host.call(&zoe, "acme/filetype/identify").octets(bytes).send().ok().json();
        let expected = &expected[name(&file)];
        assert_eq!(verdict["label"], expected["label"], "{}: {verdict}", file.display());
        let (seen, wanted) = (verdict["score"].as_f64(), expected["score"].as_f64());
        let apart = (seen.expect("a number") - wanted.expect("a number")).abs();
        assert!(apart < 1e-3, "{}: {seen:?}, {wanted:?}", file.display());
        kinds.insert(verdict["label"].to_string());
    }
    assert!(kinds.len() >= 20, "{} kinds: {kinds:?}", kinds.len());
}

#[test]
fn classify_says_what_plain_onnx_runtime_says() {
    let pictures: Vec<_> = files(&built("samples/pictures"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "png" || e == "jpg"))
        .collect();
    assert_eq!(pictures.len(), 3);
    let model = workspace().join("plugins/target/models/efficientnet-lite0/model.onnx");
    let arguments: Vec<&Path> =
        std::iter::once(model.as_path()).chain(pictures.iter().map(PathBuf::as_path)).collect();
    let expected = oracle_json("classify.py", &arguments);
    let (host, zoe) = served(&[("classify", "classify")]);
    for picture in &pictures {
        let bytes = std::fs::read(picture).expect("readable");
        let ranked = host.call(&zoe, "acme/classify/classify").octets(bytes).send().ok().json();
        let best = &expected[name(picture)][0];
        assert_eq!(ranked[0]["class"], best[0], "{}: {ranked}", picture.display());
        let apart =
            ranked[0]["score"].as_f64().expect("a number") - best[1].as_f64().expect("a number");
        assert!(apart.abs() < 0.02, "{}: {ranked}, {best}", picture.display());
    }
}

#[test]
fn a_picture_that_is_none_is_refused_by_the_plugin_in_its_sandbox() {
    let (host, zoe) = served(&[("classify", "classify")]);
    for bytes in [&b"not a picture"[..], b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"] {
        let refused = host.call(&zoe, "acme/classify/classify").octets(bytes).send();
        refused.problem(422, "plugin-refused");
    }
}

#[test]
fn vad_finds_the_speech_that_silero_s_own_package_finds() {
    let silero = workspace().join("plugins/target/models/silero");
    let (model, utils) = (silero.join("model.onnx"), silero.join("utils_vad.py"));
    let host = TestHost::start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let published = host.publish(&acme, &plugin("vad"));
    host.agree(&acme, &zoe, &published, vec![terms("segments"), terms("chances")]);
    for (name, spoken) in [("Front_Center.wav", 2), ("Rear_Left.wav", 2), ("Noise.wav", 0)] {
        let path = built("samples/speech").join(name);
        let expected = oracle_json("vad.py", &[&model, &utils, &path]);
        let recording = std::fs::read(&path).expect("readable");
        let call = |function: &str| {
            let call = host.call(&zoe, &format!("acme/vad/{function}"));
            call.octets(recording.clone()).send().ok()
        };
        let chances = call("chances").json();
        let pairs = chances.as_array().expect("a list").iter();
        let pairs = pairs.zip(expected["chances"].as_array().expect("a list"));
        let number = |value: &Value| value.as_f64().expect("a number");
        let apart = pairs.map(|(a, b)| (number(a) - number(b)).abs()).fold(0.0, f64::max);
        assert!(apart < 1e-4, "{name}: {apart}");
        let events = call("segments").text();
        let events = events.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
        let found: Vec<Value> =
            events.map(|event| serde_json::from_str(event).expect("JSON")).collect();
        let pair = |segment: &Value| json!([segment["start"], segment["end"]]);
        let found: Vec<_> = found.iter().map(pair).collect();
        assert_eq!(json!(found), expected["segments"], "{name}");
        assert_eq!(found.len(), spoken, "{name}");
    }
    let refused = host.call(&zoe, "acme/vad/segments").octets(b"RIFF".to_vec()).send();
    refused.problem(422, "plugin-refused");
}

#[test]
fn a_component_of_another_toolchain_runs_as_it_is() {
    let (host, zoe) = served(&[("foreign", "probe"), ("iris", "infer")]);
    let flower = json!([5.1, 3.5, 1.4, 0.2]);
    let probed =
        host.call(&zoe, "acme/foreign/probe").json(&json!({ "flower": flower }).to_string()).send();
    let input = json!({"name": "X", "datatype": "FP32", "shape": [1, 4], "data": flower});
    let inferred =
        host.call(&zoe, "acme/iris/infer").json(&json!({"inputs": [input]}).to_string()).send();
    let (probed, inferred) = (probed.ok().json(), inferred.ok().json());
    let outputs = inferred["outputs"].as_array().expect("outputs");
    let probabilities =
        outputs.iter().find(|output| output["datatype"] == "FP32").expect("it exists");
    assert_eq!(probabilities["data"], probed);
    assert!(probed[0].as_f64() > Some(0.9), "this flower is a setosa: {probed}");
}

#[test]
fn tensors_that_the_model_does_not_take_are_named_alike_on_every_route_and_cost_nothing() {
    let host = TestHost::start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let published = host.publish(&acme, &plugin("iris"));
    host.agree(&acme, &zoe, &published, vec![terms("infer").limit("count lteq 100 call")]);
    let infer = |path: &str, inputs: &[Value]| {
        let body = json!({ "inputs": inputs }).to_string();
        host.call(&zoe, path).json(&body).send()
    };
    let input = |name: &str, datatype: &str, shape: Value, data: Value| json!({"name": name, "datatype": datatype, "shape": shape, "data": data});
    let row = || json!([1, 2, 3, 4]);
    let good = [input("X", "FP32", json!([1, 4]), row())];
    let left = |reply: Reply| reply.header("hospes-remaining").map(str::to_owned);
    let before = left(infer("acme/iris/infer", &good).ok()).expect("a limit");
    for (inputs, said) in [
        (
            vec![input("Y", "FP32", json!([1, 4]), row())],
            "unexpected inference input 'Y' for model 'acme/iris'; it takes ['X']",
        ),
        (
            vec![],
            "expected 1 input but got 0 inputs for model 'acme/iris'. Got input(s) [], but missing required input(s) \
             ['X']. Please provide all required input(s).",
        ),
        (
            vec![input("X", "FP64", json!([1, 4]), row())],
            "inference input 'X' data-type is 'FP64', but model 'acme/iris' expects 'FP32'",
        ),
        (
            vec![input("X", "FP32", json!([1, 3]), json!([1, 2, 3]))],
            "unexpected shape for input 'X' for model 'acme/iris'. Expected [-1, 4], got [1, 3]",
        ),
        (
            vec![input("X", "FP32", json!([4]), row())],
            "unexpected shape for input 'X' for model 'acme/iris'. Expected [-1, 4], got [4]",
        ),
    ] {
        let typed = infer("acme/iris/infer", &inputs);
        assert_eq!(typed.problem(400, "invalid-arguments")["detail"], said);
        let open = infer("v2/models/acme%2Firis/infer", &inputs);
        assert_eq!((open.status, &open.json()["error"]), (400, &json!(said)));
        for reply in [typed, open] {
            assert_eq!(reply.header("hospes-receipt"), None, "{said}");
        }
    }
    let refused = |body: &str| {
        let refused = host.call(&zoe, "acme/iris/infer").json(body).send();
        let problem = refused.problem(400, "invalid-arguments");
        problem["detail"].as_str().expect("text").to_owned()
    };
    let array = refused("[]");
    assert!(array.contains("expected an object"), "{array}");
    let text = input("X", "FP32", json!([1, 4]), json!([1, 2, "a", 4]));
    let text = refused(&json!({"inputs": [text]}).to_string());
    assert_eq!(text, "`/inputs/0/data/2`: `\"a\"` is not an FP32");
    let after = left(infer("acme/iris/infer", &good).ok()).expect("a limit");
    let number = |text: &str| text.parse::<u64>().expect("a number");
    assert_eq!(number(&after), number(&before) - 1, "only what ran was counted");
    let octets = |bytes: &[u8]| host.call(&zoe, "acme/iris/infer").octets(bytes).send();
    octets(&[0; 32]).ok();
    let problem = octets(&[0; 15]).problem(400, "invalid-arguments");
    assert!(
        problem["detail"].as_str().expect("text").contains("15 bytes do not fill input `X`"),
        "{problem}"
    );
}

async fn inference(backend: impl Into<BackendChoice>) -> Inference {
    let mut config = Config::default();
    config.inference.onnxruntime_library = Some(TestHost::onnxruntime());
    config.inference.backend = backend.into();
    config.inference.threads = NonZeroUsize::MIN;
    config.inference.worker_program = Some(HostProcess::program());
    Inference::start(inference_settings(&config)).await.expect("starts")
}

async fn compute(
    inference: &Inference,
    model: &[u8],
    inputs: Vec<(String, Tensor)>,
) -> Result<Vec<(String, Tensor)>, String> {
    let publisher = "acme".parse().expect("a name");
    let source = ModelSource::in_memory(publisher, Bytes::copy_from_slice(model));
    let graph =
        inference.load(source, Placement::default()).await.map_err(|error| error.to_string())?;
    let call = Call::of_nobody(Instant::now() + Duration::from_secs(60));
    graph.compute(inputs, call).await.map_err(|error| error.to_string())
}

/// Pseudo-random numbers, always the same.
fn numbers(count: usize) -> impl Iterator<Item = u32> {
    let mut state = 0x9e37_79b9_u32;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    })
    .take(count)
}

fn floats(shape: &[usize]) -> Tensor {
    let unit = numbers(shape.iter().product()).map(|n| n as f32 / u32::MAX as f32 * 2.0 - 1.0);
    let data: Vec<u8> = unit.flat_map(f32::to_le_bytes).collect();
    Tensor::new(DataType::F32, shape.to_vec(), data.into()).expect("fits")
}

fn tokens() -> Tensor {
    let data: Vec<u8> = numbers(2048).flat_map(|n| (n % 257).to_le_bytes()).collect();
    Tensor::new(DataType::I32, vec![1, 2048], data.into()).expect("fits")
}

#[tokio::test]
async fn both_backends_agree_within_a_thousandth() {
    let (onnxruntime, tract) =
        (inference(BackendKind::Onnxruntime).await, inference(BackendKind::Tract).await);
    for (model, input, tensor) in [
        ("magika", "bytes", tokens()),
        ("efficientnet-lite0", "image", floats(&[1, 3, 224, 224])),
        ("lenet", "image", floats(&[1, 3, 32, 32])),
        ("lenet", "image", floats(&[5, 3, 32, 32])),
        ("iris", "X", floats(&[3, 4])),
    ] {
        let path = workspace().join(format!("plugins/target/models/{model}/model.onnx"));
        let bytes = std::fs::read(path).expect("`make test` builds it first");
        let inputs = || vec![(input.to_owned(), tensor.clone())];
        let one = compute(&onnxruntime, &bytes, inputs()).await.expect(model);
        let other = compute(&tract, &bytes, inputs()).await.expect(model);
        assert_eq!(one.len(), other.len());
        for ((name, a), (other_name, b)) in one.iter().zip(&other) {
            assert_eq!((name, a.data_type(), a.shape()), (other_name, b.data_type(), b.shape()));
            compare(model, a, b);
        }
    }
}

fn compare(model: &str, a: &Tensor, b: &Tensor) {
    if a.data_type() != DataType::F32 {
        assert_eq!(a.data(), b.data(), "{model}");
        return;
    }
    let floats = |tensor: &Tensor| -> Vec<f32> {
        tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    for (a, b) in floats(a).into_iter().zip(floats(b)) {
        assert!((a - b).abs() <= 1e-3 * a.abs().max(1.0), "{model}: {a} and {b}");
    }
}

/// A tensor of two elements, or of none.
fn sample(ty: DataType, elements: usize) -> Tensor {
    let data = match ty {
        DataType::Bytes => {
            pack_strings([&b"text"[..], "ß".as_bytes()].into_iter().take(elements)).expect("short")
        }
        DataType::Bool => vec![1; elements].into(),
        DataType::F16 => [0x00, 0x3c].repeat(elements).into(),
        DataType::Bf16 => [0x80, 0x3f].repeat(elements).into(),
        DataType::F32 => 1.5_f32.to_le_bytes().repeat(elements).into(),
        DataType::F64 => 1.5_f64.to_le_bytes().repeat(elements).into(),
        other => vec![1; other.size().expect("a fixed size") * elements].into(),
    };
    Tensor::new(ty, vec![elements], data).expect("fits")
}

#[tokio::test]
async fn every_type_of_tensor_passes_through_a_model_unchanged() {
    let onnxruntime = inference(BackendKind::Onnxruntime).await;
    for ty in DataType::ALL {
        let model = identity(ty, 1);
        for elements in [2, 1, 0] {
            let tensor = sample(ty, elements);
            let outputs = compute(&onnxruntime, &model, vec![("x".into(), tensor.clone())]).await;
            assert_eq!(outputs, Ok(vec![("y".to_owned(), tensor)]), "{ty} {elements}");
        }
    }
    let scalar =
        Tensor::new(DataType::F32, vec![], Bytes::from_static(&[0, 0, 128, 63])).expect("fits");
    let outputs =
        compute(&onnxruntime, &identity(DataType::F32, 0), vec![("x".into(), scalar.clone())])
            .await;
    assert_eq!(outputs, Ok(vec![("y".to_owned(), scalar)]));
}

#[tokio::test]
async fn bytes_that_are_no_model_are_refused_by_both_backends() {
    for choice in [BackendKind::Onnxruntime, BackendKind::Tract] {
        let inference = inference(choice).await;
        let good = identity(DataType::F32, 1);
        for length in 0..good.len() {
            let _ = compute(&inference, &good[..length], Vec::new()).await;
        }
        for bytes in [&b""[..], b"not a model", &[0xff; 100]] {
            assert!(compute(&inference, bytes, Vec::new()).await.is_err(), "{choice:?} {bytes:?}");
        }
        assert!(
            compute(&inference, &good, vec![("x".into(), sample(DataType::F32, 2))]).await.is_ok()
        );
    }
}

#[test]
fn a_backend_or_device_that_is_not_there_is_an_error_not_another_one() {
    let host = TestHost::builder()
        .config(|config| config.inference.backend = BackendKind::Tract.into())
        .start();
    let acme = host.party("acme");
    let model = identity(DataType::F32, 1);
    let wants = |backend| acme.sign(&model_bundle("picky", model.clone(), Some(backend)));
    let refused = host.try_publish(&acme, &wants(BackendKind::Onnxruntime));
    let problem = refused.problem(422, "bundle-refused");
    assert!(problem["detail"].as_str().expect("text").contains("allows `tract` only"), "{problem}");
    host.try_publish(&acme, &wants(BackendKind::Tract)).ok();
    let text = model_bundle("text", identity(DataType::Bytes, 1), None);
    let refused = host.try_publish(&acme, &acme.sign(&text)).problem(422, "bundle-refused");
    assert!(
        refused["detail"].as_str().expect("text").contains("`tract` cannot load it"),
        "{refused}"
    );

    let missing = TestHost::builder().config(|config| {
        config.inference.onnxruntime_library = Some("/does/not/exist.so".into());
    });
    let error = missing.try_start().err().expect("not usable");
    assert!(error.contains("`onnxruntime` is configured, but not usable"), "{error}");
}

#[test]
fn a_model_is_loaded_once_and_the_backend_is_told() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let inference = inference(BackendChoice::Auto).await;
        let model = Bytes::from(identity(DataType::F32, 1));
        let publisher = || "acme".parse().expect("a name");
        let source = || ModelSource::in_memory(publisher(), model.clone());
        let one = inference.load(source(), Placement::default()).await.expect("loads");
        let two = inference.load(source(), Placement::default()).await.expect("loads");
        assert!(std::sync::Arc::ptr_eq(&one, &two));
        assert_eq!(one.backend(), BackendKind::Onnxruntime);
        let tract = Placement { backend: Some(BackendKind::Tract), ..Placement::default() };
        assert_eq!(
            inference.load(source(), tract).await.expect("loads").backend(),
            BackendKind::Tract
        );
    });
}
