//! The Open Inference Protocol over HTTP: requests byte for byte as clients send them, and what
//! clients expect in responses.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use hospes::tensor::json::data as json_data;
use hospes::tensor::{DataType, Tensor};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use system_tests::{Reply, Tensors};

/// The JSON that `tritonclient` 2.73 sends for the model `simple`.
const TRITONCLIENT: &str = r#"{"inputs":[{"name":"INPUT0","shape":[1,16],"datatype":"INT32","parameters":{"binary_data_size":64}},{"name":"INPUT1","shape":[1,16],"datatype":"INT32","parameters":{"binary_data_size":64}}],"parameters":{"binary_data_output":true}}"#;

/// The JSON that `perf_analyzer` sends.
const PERF_ANALYZER: &str = r#"{"id":"","inputs":[{"name":"INPUT0","datatype":"INT32","shape":[1,16],"parameters":{"binary_data_size":64}},{"name":"INPUT1","datatype":"INT32","shape":[1,16],"parameters":{"binary_data_size":64}}],"outputs":[{"name":"OUTPUT0","parameters":{"binary_data":true}},{"name":"OUTPUT1","parameters":{"binary_data":true}}]}"#;

/// A response that Triton's clients accept.
const ACCEPTED: &str = r#"{"model_name":"simple","model_version":"1.0.0","outputs":[{"name":"OUTPUT0","datatype":"INT32","shape":[1,16],"parameters":{"binary_data_size":64}},{"name":"OUTPUT1","datatype":"INT32","shape":[1,16],"parameters":{"binary_data_size":64}}]}"#;

fn integers(values: impl Iterator<Item = i32>) -> Vec<u8> {
    values.flat_map(i32::to_le_bytes).collect()
}

fn infer(fronts: &Tensors, model: &str, body: &Value) -> Reply {
    let path = format!("/v2/models/{model}/infer");
    fronts.host.post(&path).bearer(&fronts.zoe.api_key).body(body.to_string()).send()
}

#[track_caller]
fn error(reply: &Reply, status: u16) -> String {
    assert_eq!(reply.status, status, "{}", reply.text());
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let error = reply.json();
    assert_eq!(error.as_object().map(serde_json::Map::len), Some(1), "{error}");
    error["error"].as_str().expect("a text").to_owned()
}

#[test]
fn the_bytes_of_known_clients_are_answered_with_the_bytes_that_they_know() {
    let fronts = Tensors::start();
    let tensors = [integers(0..16), integers((0..16).map(|_| 1))].concat();
    let sums = [integers(1..17), integers(-1..15)].concat();
    let heads = [
        (TRITONCLIENT, "User-Agent: python/gevent-http-client-2.6.1\r\n"),
        (
            PERF_ANALYZER,
            "User-Agent: libcurl-agent/1.0\r\nAccept: */*\r\nContent-Type: application/octet-stream\r\n",
        ),
    ];
    for (json, headers) in heads {
        let mut stream = TcpStream::connect(fronts.host.address()).expect("it listens");
        let (head, length) = (json.len(), json.len() + tensors.len());
        let key = &fronts.zoe.api_key;
        let request = format!(
            "POST /v2/models/simple/infer HTTP/1.1\r\nHost: localhost\r\n{headers}Authorization: Bearer {key}\r\n\
             Inference-Header-Content-Length: {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{json}"
        );
        stream.write_all(&[request.as_bytes(), &tensors].concat()).expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("answered");
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("headers") + 4;
        let (headers, body) = answer.split_at(end);
        let headers = String::from_utf8_lossy(headers).to_lowercase();
        assert!(
            headers.starts_with("http/1.1 200 ok"),
            "{headers}{}",
            String::from_utf8_lossy(body)
        );
        assert!(headers.contains("content-type: application/octet-stream"), "{headers}");
        assert!(headers.contains(&format!("inference-header-content-length: {}", ACCEPTED.len())));
        assert!(headers.contains(&format!("content-length: {}", ACCEPTED.len() + 128)));
        assert!(!headers.contains("transfer-encoding"), "{headers}");
        assert_eq!(body, [ACCEPTED.as_bytes(), &sums].concat());
    }
}

#[test]
fn json_tensors_of_every_type_come_back_flat_and_to_the_last_bit() {
    let fronts = Tensors::start();
    let cases = [
        ("BOOL", r#"[true,false,true]"#),
        ("UINT8", "[0,255,7]"),
        ("UINT16", "[0,65535,7]"),
        ("UINT32", "[0,4294967295,7]"),
        ("UINT64", "[0,18446744073709551615,9007199254740993]"),
        ("INT8", "[-128,127,0]"),
        ("INT16", "[-32768,32767,0]"),
        ("INT32", "[-2147483648,2147483647,0]"),
        ("INT64", "[-9223372036854775808,9223372036854775807,-9007199254740993]"),
        ("FP16", r#"[0.5,-0.0,65504.0]"#),
        ("BF16", r#"[0.5,-0.0,1.0]"#),
        ("FP32", r#"[0.1,-0.0,1e-45]"#),
        ("FP64", r#"[0.30000000000000004,-0.0,5e-324]"#),
        ("BYTES", r#"["","\u00e4\u6f22","x\"y"]"#),
    ];
    for (ty, data) in cases {
        let model = format!("acme/identity-{}", ty.to_lowercase());
        let request = format!(
            r#"{{"id":"42","parameters":{{"unknown":1}},"inputs":[{{"name":"x","shape":[3],"datatype":"{ty}","data":{data}}}]}}"#
        );
        let path = format!("/v2/models/{}/infer", model.replace('/', "%2F"));
        let reply = fronts.host.post(&path).bearer(&fronts.zoe.api_key).body(request).send().ok();
        let text = reply.text().replace("\u{e4}", "\\u00e4").replace('\u{6f22}', "\\u6f22");
        let answer = format!(
            r#"{{"id":"42","model_name":"{model}","model_version":"1.0.0","outputs":[{{"name":"y","datatype":"{ty}","shape":[3],"data":{data}}}]}}"#
        );
        assert_eq!(text, answer);
        assert_eq!(reply.header("inference-header-content-length"), None);
        assert!(reply.header("hospes-receipt").is_some());
    }
}

#[test]
fn binary_tensors_of_every_type_come_back_to_the_last_bit() {
    let fronts = Tensors::start();
    for ty in DataType::ALL {
        // Bit patterns that have no decimal form, such as NaNs with payloads.
        let bytes: Vec<u8> = match ty.size() {
            _ if ty == DataType::Bool => vec![1, 0, 1],
            Some(size) => {
                (0..3 * size).map(|index| (index as u8).wrapping_mul(37) | 0x81).collect()
            }
            None => [&[2, 0, 0, 0, 0xc3, 0xa4][..], &[0; 4], &[1, 0, 0, 0, b'x']].concat(),
        };
        let size = bytes.len();
        let json = json!({
            "inputs": [{"name": "x", "shape": [3], "datatype": ty.name(), "parameters": {"binary_data_size": size}}],
            "outputs": [{"name": "y", "parameters": {"binary_data": true}}],
        })
        .to_string();
        let path =
            format!("/v2/models/acme/identity-{}/versions/1.0.0/infer", ty.name().to_lowercase());
        let reply = fronts
            .host
            .post(&path)
            .bearer(&fronts.zoe.api_key)
            .header("inference-header-content-length", json.len().to_string())
            .body([json.as_bytes(), &bytes].concat())
            .send()
            .ok();
        let head = reply.header("inference-header-content-length").expect("binary");
        let head: usize = head.parse().expect("a number");
        let answer: Value = serde_json::from_slice(&reply.body[..head]).expect("JSON");
        assert_eq!(answer["outputs"][0]["parameters"]["binary_data_size"], size, "{answer}");
        assert_eq!(answer["outputs"][0]["datatype"], ty.name());
        assert_eq!(&reply.body[head..], bytes, "{ty}");
    }
}

#[test]
fn a_raw_body_is_the_only_input() {
    let fronts = Tensors::start();
    let raw = |model: &str, body: &[u8]| {
        let path = format!("/v2/models/{model}/infer");
        let request = fronts.host.post(&path).bearer(&fronts.zoe.api_key);
        request.header("inference-header-content-length", "0").body(body).send()
    };
    let numbers: Vec<u8> = [1.5_f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let reply = raw("identity-fp32", &numbers).ok();
    assert!(reply.body.ends_with(&numbers));
    assert!(error(&raw("simple", &numbers), 400).contains("one input"));
    assert!(error(&raw("identity-fp32", &numbers[1..]), 400).contains("7 bytes"));
}

#[test]
fn empty_and_scalar_tensors_are_tensors() {
    let fronts = Tensors::start();
    let tensor = |shape: Value, data: Value| json!({"inputs": [{"name": "x", "shape": shape, "datatype": "FP32", "data": data}]});
    let empty = infer(&fronts, "identity-fp32", &tensor(json!([0]), json!([]))).ok().json();
    assert_eq!(empty["outputs"][0]["shape"], json!([0]));
    assert_eq!(empty["outputs"][0]["data"], json!([]));
    let scalar = infer(&fronts, "scalar", &tensor(json!([]), json!([2.5]))).ok().json();
    assert_eq!(scalar["outputs"][0]["shape"], json!([]));
    assert_eq!(scalar["outputs"][0]["data"], json!([2.5]));
    // An empty binary output does not make the response binary.
    let mut none = tensor(json!([0]), json!([]));
    none["parameters"] = json!({"binary_data_output": true});
    let none = infer(&fronts, "identity-fp32", &none).ok();
    assert_eq!(none.header("content-type"), Some("application/json"));
    assert_eq!(none.json()["outputs"][0]["parameters"]["binary_data_size"], 0);
}

#[test]
fn what_does_not_fit_is_refused_in_the_words_that_clients_look_for() {
    let fronts = Tensors::start();
    let input = |name: &str, shape: Value, ty: &str, data: Value| json!({"name": name, "shape": shape, "datatype": ty, "data": data});
    let row = || json!(vec![1; 16]);
    let both =
        |first: Value| json!({"inputs": [first, input("INPUT1", json!([1, 16]), "INT32", row())]});
    let refused = |body: &Value| error(&infer(&fronts, "simple", body), 400);

    assert_eq!(
        refused(&json!({"inputs": []})),
        "expected 2 inputs but got 0 inputs for model 'acme/simple'. Got input(s) [], but missing required input(s) \
         ['INPUT0','INPUT1']. Please provide all required input(s)."
    );
    let shape = refused(&both(input("INPUT0", json!([1, 8]), "INT32", json!(vec![1; 8]))));
    assert_eq!(
        shape,
        "unexpected shape for input 'INPUT0' for model 'acme/simple'. Expected [-1, 16], got [1, 8]"
    );
    let ty = refused(&both(input("INPUT0", json!([1, 16]), "INT64", row())));
    assert_eq!(
        ty,
        "inference input 'INPUT0' data-type is 'INT64', but model 'acme/simple' expects 'INT32'"
    );
    let rows = json!(vec![1; 16 * 4097]);
    let rows = refused(&both(input("INPUT0", json!([4097, 16]), "INT32", rows)));
    assert_eq!(rows, "inference request batch-size must be <= 4096 for 'acme/simple', got 4097");
    let narrowed = refused(&both(input("INPUT0", json!([1, 16]), "INT32", json!(vec![3e9; 16]))));
    assert!(narrowed.contains("is not an INT32"), "{narrowed}");
    let twice = json!({"inputs": [input("INPUT0", json!([1, 16]), "INT32", row()), input("INPUT0", json!([1, 16]), "INT32", row())]});
    assert_eq!(refused(&twice), "input 'INPUT0' is there twice");
    let mut output = both(input("INPUT0", json!([1, 16]), "INT32", row()));
    output["outputs"] = json!([{"name": "OUTPUT9"}]);
    assert_eq!(refused(&output), "unexpected inference output 'OUTPUT9' for model 'simple'");
    output["outputs"] = json!([{"name": "OUTPUT0"}, {"name": "OUTPUT0"}]);
    assert_eq!(refused(&output), "output 'OUTPUT0' is there twice");
    output["outputs"] = json!([]);
    output["parameters"] = json!({"triton_enable_empty_final_response": true});
    assert!(refused(&output).contains("is reserved"));
    output["parameters"] = json!({"sequence_id": 7});
    assert!(refused(&output).contains("'sequence_id' is not supported"));
    let memory = json!({"inputs": [{"name": "INPUT0", "shape": [1, 16], "datatype": "INT32", "parameters": {"shared_memory_region": "x"}}]});
    assert!(refused(&memory).contains("shared_memory_region"));
    let product =
        json!({"inputs": [input("INPUT0", json!([1_u64 << 40, 1_u64 << 40]), "INT32", json!([]))]});
    assert!(refused(&product).contains("more elements than can be counted"));
    let negative = json!({"inputs": [input("INPUT0", json!([-1, 16]), "INT32", row())]});
    assert!(refused(&negative).contains("negative dimension -1"));
    assert!(refused(&json!([])).starts_with("failed to parse the request JSON"));

    let unknown = infer(&fronts, "acme/other", &json!({"inputs": []}));
    assert_eq!(error(&unknown, 404), "Request for unknown model: 'acme/other' is not found");
    let version = infer(&fronts, "simple/versions/99", &json!({"inputs": []}));
    assert_eq!(error(&version, 404), "Request for unknown model: 'simple' version 99 is not found");
    let lost = fronts.host.get("/v2/nothing").send();
    assert_eq!(error(&lost, 404), "Not Found");
    let method = fronts.host.get("/v2/models/simple/infer").send();
    assert_eq!(error(&method, 405), "Method Not Allowed");
    let nobody = fronts.host.post("/v2/models/simple/infer").body("{}").send();
    error(&nobody, 401);
    assert_eq!(nobody.header("www-authenticate"), Some("Bearer"));
}

#[test]
fn the_binary_part_is_as_long_as_it_says() {
    let fronts = Tensors::start();
    let send = |head: &str, json: &str, tail: &[u8]| {
        let request =
            fronts.host.post("/v2/models/identity-fp32/infer").bearer(&fronts.zoe.api_key);
        let body = [json.as_bytes(), tail].concat();
        error(&request.header("inference-header-content-length", head).body(body).send(), 400)
    };
    let json = |size: u64| {
        let input = json!({"name": "x", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": size}});
        json!({"inputs": [input]}).to_string()
    };
    let length = |json: &str| json.len().to_string();
    let four = json(4);
    assert!(send(&length(&four), &four, &[0; 3]).contains("4 bytes, but only 3 are left"));
    assert!(send(&length(&four), &four, &[0; 5]).contains("unexpected additional input data"));
    let eight = json(8);
    assert_eq!(
        send(&length(&eight), &eight, &[0; 8]),
        "input byte size mismatch for input 'x' for model 'identity-fp32'. Expected 4, got 8"
    );
    let huge = json(u64::MAX);
    assert!(send(&length(&huge), &huge, &[0; 8]).contains("only 8 are left"));
    assert_eq!(
        send("4000", &four, &[0; 4]),
        format!("inference header size should be in range (0, {}), got: 4000", four.len() + 4)
    );
    for wrong in ["-1", "x", "99999999999999999999999", "1.5", ""] {
        assert!(send(wrong, &four, &[0; 4]).contains("is a number of bytes"), "{wrong}");
    }
    let no_head = fronts.host.post("/v2/models/identity-fp32/infer").bearer(&fronts.zoe.api_key);
    let no_head = error(&no_head.body(four).send(), 400);
    assert!(no_head.contains("needs the header"), "{no_head}");
}

#[test]
fn metadata_say_what_clients_need_to_know() {
    let fronts = Tensors::start();
    let get = |path: &str| fronts.host.get(path).bearer(&fronts.zoe.api_key).send().ok().json();
    assert_eq!(get("/v2/health/live")["live"], true);
    assert_eq!(get("/v2/health/ready")["ready"], true);
    assert!(get("/v2")["extensions"].as_array().expect("a list").contains(&json!("statistics")));
    let tensor = |name: &str| json!({"name": name, "datatype": "INT32", "shape": [-1, 16]});
    assert_eq!(
        get("/v2/models/simple"),
        json!({
            "name": "simple", "versions": ["1.0.0"], "platform": "onnxruntime_onnx",
            "inputs": [tensor("INPUT0"), tensor("INPUT1")],
            "outputs": [tensor("OUTPUT0"), tensor("OUTPUT1")],
        })
    );
    assert_eq!(get("/v2/models/simple/ready"), json!({"name": "simple", "ready": true}));
    let config = get("/v2/models/simple/config");
    assert_eq!(config["max_batch_size"], 4096);
    assert_eq!(
        config["input"][0],
        json!({"name": "INPUT0", "data_type": "TYPE_INT32", "dims": [16]})
    );
    assert!(
        get("/v2/models")["models"].as_array().expect("a list").contains(&json!("acme/simple"))
    );

    let count = |key: &str| {
        let stats = fronts.host.get("/v2/models/simple/stats").bearer(key).send().ok().json();
        stats["model_stats"][0]["inference_count"].clone()
    };
    let row = json!(vec![1; 32]);
    let input =
        |name: &str| json!({"name": name, "shape": [2, 16], "datatype": "INT32", "data": row});
    infer(&fronts, "simple", &json!({"inputs": [input("INPUT0"), input("INPUT1")]})).ok();
    let yan = fronts.host.party("yan");
    assert_eq!(count(&fronts.zoe.api_key), 2, "rows");
    assert_eq!(count(&fronts.acme.api_key), 2, "publishers see every call");
    assert_eq!(count(&yan.api_key), 0, "others see only their own");
}

#[test]
fn a_model_that_is_not_listed_exists_for_its_parties_only() {
    let fronts = Tensors::start();
    let yan = fronts.host.party("yan");
    let hidden =
        system_tests::model_bundle("hidden", system_tests::identity(DataType::F32, 1), None);
    fronts.host.publish(&fronts.acme, &hidden);
    for path in ["", "/ready", "/config", "/stats"] {
        let path = format!("/v2/models/acme/hidden{path}");
        error(&fronts.host.get(&path).bearer(&yan.api_key).send(), 404);
        error(&fronts.host.get(&path).send(), 404);
        fronts.host.get(&path).bearer(&fronts.acme.api_key).send().ok();
    }
    let index = fronts.host.post("/v2/repository/index").bearer(&yan.api_key).send().ok().json();
    assert!(!index.to_string().contains("acme/hidden"), "{index}");
}

#[test]
fn a_publisher_takes_a_model_out_of_service_and_back() {
    let fronts = Tensors::start();
    let post = |path: &str, key: &str| {
        fronts.host.post(&format!("/v2/repository{path}")).bearer(key).send()
    };
    let (acme, zoe) = (&fronts.acme.api_key, &fronts.zoe.api_key);
    let tensor = json!({"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]});
    error(&post("/models/identity-fp32/unload", zoe), 404);
    infer(&fronts, "identity-fp32", &tensor).ok();
    post("/models/acme/identity-fp32/unload", acme).ok();
    let gone = infer(&fronts, "identity-fp32", &tensor);
    assert!(error(&gone, 404).starts_with("Request for unknown model: 'identity-fp32'"));
    let index = post("/index", acme).ok().json();
    let state = |index: &Value| {
        let entries = index.as_array().expect("a list").clone();
        let entry = entries.into_iter().find(|entry| entry["name"] == "acme/identity-fp32");
        entry.expect("it is there")["state"].clone()
    };
    assert_eq!(state(&index), "UNAVAILABLE");
    assert!(!post("/index", zoe).ok().text().contains("identity-fp32"));

    // A version number stays taken, and a restart changes nothing.
    let other =
        system_tests::model_bundle("identity-fp32", system_tests::identity(DataType::F64, 1), None);
    let taken = fronts.host.try_publish(&fronts.acme, &fronts.acme.sign(&other));
    taken.problem(409, "conflict");
    let Tensors { host, acme, zoe } = fronts;
    let host = system_tests::TestHost::builder().data(host.stop()).start();
    let call = || {
        host.post("/v2/models/acme/identity-fp32/infer")
            .bearer(&zoe.api_key)
            .body(tensor.to_string())
            .send()
    };
    error(&call(), 404);
    let load = |model: &str| {
        host.post(&format!("/v2/repository/models/{model}/load")).bearer(&acme.api_key).send()
    };
    load("acme/identity-fp32").ok();
    call().ok();
    assert!(error(&load("acme/none"), 404).starts_with("failed to load 'acme/none', "));
}

#[test]
fn generate_takes_and_gives_plain_members() {
    let fronts = Tensors::start();
    let generate = |model: &str, suffix: &str, body: Value| {
        let path = format!("/v2/models/{model}/generate{suffix}");
        fronts.host.post(&path).bearer(&fronts.zoe.api_key).body(body.to_string()).send()
    };
    let one =
        generate("identity-bytes", "", json!({"x": "hello", "id": "7", "temperature": 1})).ok();
    assert_eq!(
        one.text(),
        r#"{"id":"7","model_name":"identity-bytes","model_version":"1.0.0","y":"hello"}"#
    );
    let many = generate("identity-int64", "", json!({"x": [1, 2, 3]})).ok().json();
    assert_eq!(many["y"], json!([1, 2, 3]));
    let stream = generate("identity-fp32", "_stream", json!({"x": 0.5})).ok();
    assert_eq!(stream.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(
        stream.text(),
        "data: {\"model_name\":\"identity-fp32\",\"model_version\":\"1.0.0\",\"y\":0.5}\n\n"
    );
    assert!(
        error(&generate("identity-int64", "", json!({"x": "text"})), 400)
            .contains("is not an INT64")
    );
    assert!(
        error(&generate("identity-int64", "", json!({})), 400).contains("expected 1 input but")
    );
}

#[test]
fn classes_timeouts_and_compression() {
    let fronts = Tensors::start();
    let scores = json!({
        "inputs": [{"name": "x", "shape": [3], "datatype": "FP32", "data": [0.25, 1, 0.5]}],
        "outputs": [{"name": "y", "parameters": {"classification": 2}}],
        "parameters": {"timeout": 10_000_000, "priority": 1},
    });
    let classes = infer(&fronts, "identity-fp32", &scores).ok().json();
    assert_eq!(classes["outputs"][0]["data"], json!(["1.000000:1", "0.500000:2"]));
    assert_eq!(classes["outputs"][0]["datatype"], "BYTES");

    let numbers: Vec<u32> = (0..1000).collect();
    let many =
        json!({"inputs": [{"name": "x", "shape": [1000], "datatype": "INT64", "data": numbers}]});
    let packed = fronts
        .host
        .post("/v2/models/identity-int64/infer")
        .bearer(&fronts.zoe.api_key)
        .header("accept-encoding", "deflate;q=0.5, gzip")
        .body(many.to_string())
        .send()
        .ok();
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert!(packed.body.starts_with(&[0x1f, 0x8b]));
    let brotli = fronts
        .host
        .post("/v2/models/identity-int64/infer")
        .bearer(&fronts.zoe.api_key)
        .header("content-encoding", "br")
        .body("x")
        .send();
    assert!(error(&brotli, 415).contains("gzip or deflate"));
}

/// For all types but two, any bytes are a valid tensor; every tensor must come back unchanged.
#[test]
fn any_tensor_of_any_type_survives_both_ways() {
    let fronts = Tensors::start();
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    for ty in DataType::ALL {
        let size = ty.size();
        let tensors = proptest::collection::vec(any::<u64>(), 0..9).prop_map(move |numbers| {
            let count = numbers.len();
            let bytes = numbers.into_iter().flat_map(|number| match (ty, size) {
                (DataType::Bool, _) => vec![(number & 1) as u8],
                (_, Some(size)) => number.to_le_bytes()[..size].to_vec(),
                (_, None) => {
                    let text = format!("{number:x}\u{e9}");
                    [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
                }
            });
            (count, bytes.collect::<Vec<u8>>())
        });
        let model = format!("acme/identity-{}", ty.name().to_lowercase());
        let survives = |(count, bytes): (usize, Vec<u8>)| {
            let binary = binary(&fronts, &model, ty, count, &bytes);
            prop_assert_eq!(&binary, &bytes);
            // JSON round trips as well: numbers that JSON cannot represent become texts, and all
            // NaNs become one.
            let tensor = Tensor::new(ty, vec![count], bytes.into()).expect("it fits");
            let mut data = Vec::new();
            json_data("x", &tensor, &mut data).expect("text");
            let data = String::from_utf8(data).expect("text");
            let request = format!(
                r#"{{"inputs":[{{"name":"x","shape":[{count}],"datatype":"{}","data":{data}}}]}}"#,
                ty.name()
            );
            let path = format!("/v2/models/{model}/infer");
            let reply = fronts
                .host
                .post(&path)
                .bearer(&fronts.zoe.api_key)
                .body(request)
                .send()
                .ok()
                .text();
            let answered = reply.split(r#""data":"#).nth(1).expect("data").trim_end_matches("}]}");
            prop_assert_eq!(answered, data);
            Ok(())
        };
        runner.run(&tensors, survives).unwrap_or_else(|error| panic!("{ty}: {error}"));
    }
}

/// Sends a binary tensor to an identity model and returns its output.
fn binary(fronts: &Tensors, model: &str, ty: DataType, count: usize, bytes: &[u8]) -> Vec<u8> {
    let head = json!({
        "inputs": [{"name": "x", "shape": [count], "datatype": ty.name(), "parameters": {"binary_data_size": bytes.len()}}],
        "parameters": {"binary_data_output": true},
    })
    .to_string();
    let request =
        fronts.host.post(&format!("/v2/models/{model}/infer")).bearer(&fronts.zoe.api_key);
    let request = request.header("inference-header-content-length", head.len().to_string());
    let reply = request.body([head.as_bytes(), bytes].concat()).send().ok();
    let head =
        reply.header("inference-header-content-length").map(|head| head.parse().expect("a number"));
    reply.body[head.unwrap_or(reply.body.len())..].to_vec()
}
