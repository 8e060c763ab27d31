//! Callers without permission are told so, whatever the body is: the host checks before it reads
//! the body if the path names the model, and before it parses more than the model's name if the
//! body does. Such a refusal counts as a call and has a receipt.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;
use system_tests::{Party, Tensors, TestHost, plugin, terms};

const GRPC: &str = "application/grpc";
const JSON: &str = "application/json";

/// Longer bodies are searched for the model's name before they are read; shorter ones only if they
/// cannot be parsed.
const LONG_BYTES: usize = 100_000;

/// Sends a head that announces a length, and this part of the body.
fn begin(
    host: &TestHost,
    (path, media): (&str, &str),
    party: &Party,
    (announced, body): (u64, &[u8]),
) -> String {
    let mut stream = TcpStream::connect(host.address()).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {media}\r\nauthorization: Bearer {}\r\ncontent-length: {announced}\r\nconnection: close\r\n\r\n",
        party.api_key
    );
    stream.write_all(head.as_bytes()).expect("sent");
    // The host may have responded already.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut part) {
        answer.extend_from_slice(&part[..read]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn send(host: &TestHost, to: (&str, &str), party: &Party, body: &[u8]) -> String {
    begin(host, to, party, (body.len() as u64, body))
}

/// The results of a party's calls, from its receipts.
fn results(host: &TestHost, party: &Party) -> Vec<String> {
    let listed = host.get("/api/receipts").bearer(&party.api_key).send().ok().json();
    let receipts = listed["receipts"].as_array().expect("a list");
    let result = |receipt: &Value| receipt["result"].as_str().expect("text").to_owned();
    receipts.iter().map(result).collect()
}

/// Each check uses a new party, because refusals without an agreement leave one receipt per minute.
#[track_caller]
fn has_one_refusal(host: &TestHost, party: &Party, of: &str) {
    let results = results(host, party);
    assert!(
        matches!(&results[..], [one] if one.starts_with("denied")),
        "{of}: receipts of {results:?}"
    );
}

fn is_not_permitted(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 403 ") || answer.starts_with("HTTP/1.1 404 ")
}

#[test]
fn a_body_that_cannot_be_read_is_one_of_a_caller_who_may_not_call() {
    let fronts = Tensors::start();
    let host = &fronts.host;
    for (number, (path, media, body)) in [
        ("/acme/identity-fp32/infer", JSON, &b"{\"inputs\": no"[..]),
        ("/acme/identity-fp32/infer", "multipart/form-data", b"no form"),
        ("/acme/identity-fp32/infer", "text/plain", b"hello"),
        ("/v2/models/acme/identity-fp32/infer", JSON, b"\xff\xfe\x00"),
        ("/v2/models/acme/identity-fp32/generate", JSON, b"[[["),
        ("/v2/models/acme/identity-fp32/generate_stream", JSON, b"[[["),
    ]
    .into_iter()
    .enumerate()
    {
        let yan = host.party(&format!("yan{number}"));
        let refused = send(host, (path, media), &yan, body);
        assert!(is_not_permitted(&refused), "{path}: {refused}");
        has_one_refusal(host, &yan, path);
        // A caller with permission is told what is wrong.
        let told = send(host, (path, media), &fronts.zoe, body);
        assert!(
            ["400", "415", "422"].iter().any(|code| told.starts_with(&format!("HTTP/1.1 {code} "))),
            "{path}: {told}"
        );
    }
    assert_eq!(results(host, &fronts.zoe), [""; 0], "malformed requests are not calls");
}

/// A `ModelInferRequest` with a model name and a truncated input, padded with an unknown field.
fn broken_message(model: &str, padding: usize) -> Vec<u8> {
    let mut message = vec![0x0a, u8::try_from(model.len()).expect("short")];
    message.extend(model.as_bytes());
    message.extend([0x2a, 2, 0x0a, 0x7f]);
    if padding > 0 {
        message.extend([0x82, 0x7d, (padding & 127) as u8 | 128]);
        message.extend([(padding >> 7 & 127) as u8 | 128, (padding >> 14) as u8]);
        message.resize(message.len() + padding, 0);
    }
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    [&[0][..], &length, &message].concat()
}

#[test]
fn a_message_of_grpc_that_is_none_is_one_of_a_caller_who_may_not_call() {
    let fronts = Tensors::start();
    let host = &fronts.host;
    for method in ["ModelInfer", "ModelStreamInfer"] {
        let path = format!("/inference.GRPCInferenceService/{method}");
        for padding in [0, LONG_BYTES] {
            let of = format!("{method}, {padding} more");
            let yan = host.party(&format!("yan-{}-{padding}", method.to_lowercase()));
            let message = broken_message("acme/identity-fp32", padding);
            let refused = send(host, (&path, GRPC), &yan, &message);
            if method == "ModelInfer" {
                // PERMISSION_DENIED or NOT_FOUND, but not INVALID_ARGUMENT.
                let codes = ["grpc-status: 7\r\n", "grpc-status: 5\r\n"];
                assert!(codes.iter().any(|code| refused.contains(code)), "{of}: {refused}");
            }
            has_one_refusal(host, &yan, &of);
            let told = send(host, (&path, GRPC), &fronts.zoe, &message);
            if method == "ModelInfer" {
                assert!(told.contains("grpc-status: 3\r\n"), "{of}: {told}");
            }
        }
    }
    assert_eq!(results(host, &fronts.zoe), [""; 0], "malformed requests are not calls");
}

#[test]
fn openai_s_bodies_are_read_for_the_model_s_name_before_all_else() {
    let host = TestHost::start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let [search, parrot] =
        ["semantic-search", "parrot"].map(|name| host.publish(&acme, &plugin(name)));
    host.agree(&acme, &zoe, &search, vec![terms("embed")]);
    host.agree(&acme, &zoe, &parrot, vec![terms("complete")]);
    for (path, model) in [
        ("/v1/embeddings", "acme/semantic-search"),
        ("/v1/chat/completions", "acme/parrot"),
        ("/v1/completions", "acme/parrot"),
        ("/v1/responses", "acme/parrot"),
    ] {
        for padding in [0, LONG_BYTES] {
            let of = format!("{path}, {padding} more");
            let name = path.replace('/', "-");
            let yan = host.party(&format!("yan{name}-{padding}"));
            let filler = "x".repeat(padding);
            // An unknown member, and members of the wrong type.
            let body = format!(
                r#"{{"nobody": "{filler}", "model": "{model}", "messages": 7, "input": {{}}}}"#
            );
            let refused = send(&host, (path, JSON), &yan, body.as_bytes());
            assert!(is_not_permitted(&refused), "{of}: {refused}");
            has_one_refusal(&host, &yan, &of);
            let told = send(&host, (path, JSON), &zoe, body.as_bytes());
            assert!(told.starts_with("HTTP/1.1 400 "), "{of}: {told}");
        }
        // A body without a model name is not a call.
        let yan = host.party(&format!("yan{}-none", path.replace('/', "-")));
        let told = send(&host, (path, JSON), &yan, b"{\"model\": ");
        assert!(told.starts_with("HTTP/1.1 400 "), "{path}: {told}");
        assert_eq!(results(&host, &yan), [""; 0]);
    }
    assert_eq!(results(&host, &zoe), [""; 0], "malformed requests are not calls");
}

#[test]
fn a_handler_s_request_is_refused_before_its_body_comes() {
    let host = TestHost::start();
    let acme = host.party("acme");
    for name in ["herald", "herald-next"] {
        let published = host.publish(&acme, &plugin(name));
        let zoe = host.party(&format!("zoe-{name}"));
        host.agree(&acme, &zoe, &published, vec![terms("handle")]);
        let path = format!("/acme/{name}/-/anything");
        // One length below and one above the limit; no byte of either body is sent.
        for announced in [1_000_000, 1 << 40] {
            let yan = host.party(&format!("yan-{name}-{announced}"));
            let began = Instant::now();
            let to = (path.as_str(), "application/octet-stream");
            let refused = begin(&host, to, &yan, (announced, b""));
            assert!(is_not_permitted(&refused), "{path}, {announced}: {refused}");
            assert!(began.elapsed() < Duration::from_secs(8), "the host waits for a body");
            has_one_refusal(&host, &yan, &path);
        }
        let to = (path.as_str(), "application/octet-stream");
        let told = begin(&host, to, &zoe, (1 << 40, b""));
        assert!(told.starts_with("HTTP/1.1 413 "), "{path}: {told}");
    }
}
