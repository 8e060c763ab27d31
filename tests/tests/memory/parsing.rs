//! Parsing a body takes at most a small multiple of its size, whatever it contains: one request of
//! 16 MiB once took 832 MiB.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use system_tests::Tensors;

use crate::counting::{peak, start_peak};

const BODY_BYTES: usize = 8 << 20;

/// How many times its size a body may take in memory, including the bytes themselves;
/// `BESIDE_BYTES` allows for everything else.
const MULTIPLE_MAX: usize = 4;
const BESIDE_BYTES: usize = 4 << 20;

/// `part` repeated as often as fits between `begin` and `end`.
fn filled(begin: &str, part: &str, end: &str) -> Vec<u8> {
    let count = (BODY_BYTES - begin.len() - end.len()) / part.len();
    [begin, &part.repeat(count), end].concat().into_bytes()
}

/// JSON bodies that expand a lot when parsed.
fn documents() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    const TYPED: &str = "/acme/identity-fp32/infer";
    const INFER: &str = "/v2/models/acme/identity-fp32/infer";
    const GENERATE: &str = "/v2/models/acme/identity-fp32/generate";
    vec![
        (
            "inputs",
            TYPED,
            filled(r#"{"inputs":["#, r#"{"name":"","datatype":"","shape":[],"data":1},"#, "1]}"),
        ),
        (
            "shape",
            TYPED,
            filled(
                r#"{"inputs":[{"name":"x","datatype":"FP32","data":[],"shape":["#,
                "1,",
                "1]}]}",
            ),
        ),
        ("nested parameters", INFER, filled(r#"{"inputs":[],"parameters":{"a":["#, "1,", "1]}}")),
        (
            "many parameters",
            INFER,
            filled(r#"{"inputs":[],"parameters":{"#, r#""":1,"#, r#""a":1}}"#),
        ),
        (
            "outputs",
            INFER,
            filled(r#"{"inputs":[],"outputs":["#, r#"{"name":""},"#, r#"{"name":""}]}"#),
        ),
        (
            "shape",
            INFER,
            filled(
                r#"{"inputs":[{"name":"x","datatype":"FP32","data":[],"shape":["#,
                "1,",
                "1]}]}",
            ),
        ),
        ("unknown members", INFER, filled(r#"{"inputs":[],"other":["#, "[],", "1]}")),
        ("members", GENERATE, filled("{", r#""":1,"#, r#""a":1}"#)),
        ("elements", GENERATE, filled(r#"{"x":["#, "[],", "[]]}")),
    ]
}

/// gRPC messages that repeat one field as often as fits.
fn messages() -> Vec<(String, Vec<u8>)> {
    let name = b"\x0a\x12acme/identity-fp32";
    let of = |tag: u8, wire: u8| {
        let field = match wire {
            0 => vec![tag << 3, 1],
            _ => vec![tag << 3 | 2, 0],
        };
        let message = [name.as_slice(), &field.repeat((BODY_BYTES - 100) / 2)].concat();
        let length = u32::try_from(message.len()).expect("short").to_be_bytes();
        (format!("field {tag} of kind {wire}"), [&[0][..], &length, &message].concat())
    };
    (1..=15).flat_map(|tag| [of(tag, 0), of(tag, 2)]).collect()
}

/// The response to a body, and the peak of allocated bytes meanwhile.
fn weigh(fronts: &Tensors, path: &str, media: &str, body: &[u8]) -> (String, usize) {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {media}\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n",
        fronts.zoe.api_key,
        body.len()
    );
    let mut stream = TcpStream::connect(fronts.host.address()).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
    let mut answer = vec![0; 64 << 10];
    let before = start_peak();
    stream.write_all(head.as_bytes()).expect("sent");
    stream.write_all(body).expect("sent");
    let mut length = 0;
    while let Ok(read @ 1..) = stream.read(&mut answer[length..]) {
        length += read;
    }
    (String::from_utf8_lossy(&answer[..length]).into_owned(), peak() - before)
}

#[test]
fn a_body_makes_no_more_than_a_multiple_of_itself() {
    let fronts = Tensors::start();
    let max = MULTIPLE_MAX * BODY_BYTES + BESIDE_BYTES;
    for (what, path, body) in documents() {
        let (answer, peak) = weigh(&fronts, path, "application/json", &body);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{what}: {answer}");
        assert!(peak < max, "{what} at {path}: {} MiB", peak >> 20);
    }
    let path = "/inference.GRPCInferenceService/ModelInfer";
    for (what, body) in messages() {
        let (answer, peak) = weigh(&fronts, path, "application/grpc", &body);
        assert!(answer.contains("grpc-status: "), "{what}: {answer}");
        assert!(!answer.contains("grpc-status: 13"), "{what}: {answer}");
        assert!(peak < max, "{what}: {} MiB", peak >> 20);
    }
}

/// Parsing a large document on a server thread once blocked everyone.
#[test]
fn nobody_waits_while_large_documents_are_read() {
    let fronts = Tensors::start();
    let body = filled(r#"{"inputs":[],"other":["#, "[],", "1]}");
    std::thread::scope(|scope| {
        let loads: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    weigh(&fronts, "/v2/models/acme/identity-fp32/infer", "application/json", &body)
                })
            })
            .collect();
        let mut worst = Duration::ZERO;
        while loads.iter().any(|load| !load.is_finished()) {
            let since = std::time::Instant::now();
            fronts.host.get("/healthz").send().ok();
            worst = worst.max(since.elapsed());
        }
        assert!(worst < Duration::from_millis(500), "{worst:?}");
    });
}
