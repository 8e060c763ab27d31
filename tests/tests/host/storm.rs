//! A storm of broken requests over every front end: none may crash the host, hang it or exhaust its
//! memory, and every refusal says why.
//!
//! `HOSPES_STORM` is the number of requests; the seed is fixed, so failures can be reproduced.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hospes::tensor::DataType;
use serde_json::json;
use system_tests::{Chance, Tensors, plugin, resident, storms, terms};

const REQUESTS: usize = 40_000;
/// Many threads, because many requests wait for bytes that never come.
const THREADS: usize = 8;

/// The limit on this process's memory at the end, in bytes: the host, its models and a few request
/// bodies.
const MEMORY_MAX: u64 = 1500 << 20;

/// A valid request, to be broken.
#[derive(Clone)]
struct Seed {
    path: String,
    headers: String,
    body: Vec<u8>,
    /// Whether the bytes before the body are broken as well.
    head: bool,
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn seeds() -> Vec<Seed> {
    let seed = |path: &str, headers: &str, body: &[u8]| Seed {
        path: path.into(),
        headers: headers.into(),
        body: body.to_vec(),
        head: false,
    };
    let json = "content-type: application/json\r\n";
    let row: Vec<i32> = (0..16).collect();
    let simple = json!({"id": "7", "inputs": [
        {"name": "INPUT0", "shape": [1, 16], "datatype": "INT32", "data": row},
        {"name": "INPUT1", "shape": [1, 16], "datatype": "INT32", "data": [row]},
    ], "outputs": [{"name": "OUTPUT0", "parameters": {"classification": 3, "binary_data": false}}], "parameters": {"timeout": 60000000}})
    .to_string();
    let mut seeds = vec![
        seed("/v2/models/simple/infer", "", simple.as_bytes()),
        seed("/v2/models/simple/infer", "content-encoding: gzip\r\n", &gzip(simple.as_bytes())),
        // A body that decompresses to a thousand times its size.
        seed("/v2/models/simple/infer", "content-encoding: gzip\r\n", &gzip(&vec![b' '; 4 << 20])),
        seed("/v2/models/identity-bytes/generate", "", br#"{"x":["a","b"],"id":"1"}"#),
        seed("/v2/repository/index", "", br#"{"ready":true}"#),
        seed("/acme/echo/echo-wide", json, br#"{"v":{"a":true,"b":-1,"c":9,"d":8,"e":-3,"f":0.5,"g":1,"h":-2,"i":"x","j":-9,"k":"t","l":7,"m":1.5,"n":"AP8=","o":null,"p":["r","g"],"q":"blue"}}"#),
        seed("/acme/echo/echo-shapes", json, br#"{"v":[{"circle":1.5},"nothing",{"dots":[{"x":1,"y":2,"label":"a"}]}]}"#),
        seed("/acme/echo/echo-numbers", json, br#"{"v":[[1,-1],[2],[3],[18446744073709551615],[0.5,"NaN"],[1e300]]}"#),
        seed("/acme/echo/echo-bytes", "content-type: application/octet-stream\r\n", &[0xff; 64]),
        seed("/acme/echo/echo-bytes", "content-type: multipart/form-data; boundary=b\r\n", b"--b\r\ncontent-disposition: form-data; name=\"v\"; filename=\"x\"\r\ncontent-type: image/png\r\n\r\n\x00\xff\r\n--b--\r\n"),
        seed("/acme/echo/echo-string?v=text%20x", "", b""),
        seed("/acme/echo/echo-labelled", json, br#"{"v":[{"label":"a","tensor":{"datatype":"FP16","shape":[2,1],"data":[[0.5],["NaN"]]}},{"label":"b"}]}"#),
        seed("/acme/echo/echo-tensor", "content-type: application/octet-stream\r\n", b"\x93NUMPY\x01\x00\x3a\x00{'descr': '<i2', 'fortran_order': False, 'shape': (2, 1)} \n\x01\x00\x02\x00"),
        seed("/acme/herald/-/echo?x=%2F", "content-type: text/plain\r\nx-a: b\r\n", b"some text"),
        seed("/v1/chat/completions", json, br#"{"model":"acme/parrot","messages":[{"role":"user","content":[{"type":"text","text":"a b c"}]}],"stream":true,"stop":["c"],"max_tokens":2}"#),
        seed("/v1/completions", json, br#"{"model":"acme/parrot","prompt":"a b c","temperature":0.5}"#),
        seed("/v1/responses", json, br#"{"model":"acme/parrot","input":[{"role":"user","content":[{"type":"input_text","text":"a b c"}]}],"stream":true,"tools":[{"type":"x"}],"text":{"format":{"type":"text"}}}"#),
        seed("/v1/embeddings", json, br#"{"model":"acme/none","input":["a","b"],"encoding_format":"base64"}"#),
        seed("/api/agreements", json, br#"{"payload":"e30=","payloadType":"x","signatures":[{"keyid":"a","sig":"AA=="}]}"#),
    ];
    let head = json!({"inputs": [{"name": "x", "shape": [4], "datatype": "FP32", "parameters": {"binary_data_size": 16}}], "parameters": {"binary_data_output": true}}).to_string();
    let length = format!("inference-header-content-length: {}\r\n", head.len());
    let body = [head.as_bytes(), &[0x41; 16]].concat();
    seeds.push(seed("/v2/models/identity-fp32/infer", &length, &body));
    seeds.push(Seed { head: true, ..seed("/v2/models/identity-fp32/infer", &length, &body) });
    seeds.push(Seed { head: true, ..seed("/acme/echo/echo-u8", json, br#"{"v":7}"#) });
    let strings = [&[3, 0, 0, 0][..], b"abc", &[0; 4], &[1, 0, 0, 0, b'x']].concat();
    let head = json!({"inputs": [{"name": "x", "shape": [3], "datatype": DataType::Bytes.name(), "parameters": {"binary_data_size": strings.len()}}]}).to_string();
    let length = format!("inference-header-content-length: {}\r\n", head.len());
    seeds.push(seed(
        "/v2/models/identity-bytes/infer",
        &length,
        &[head.as_bytes(), &strings].concat(),
    ));
    seeds
}

/// The status and the body, or `None` if the connection was closed instead.
fn exchange(stream: &mut TcpStream, request: &[u8]) -> Option<(u16, Vec<u8>)> {
    stream.write_all(request).ok()?;
    let mut answer = Vec::new();
    let mut part = [0; 8192];
    loop {
        let read = stream.read(&mut part).ok()?;
        if read == 0 {
            return None;
        }
        answer.extend_from_slice(&part[..read]);
        let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        match length.and_then(|length| length.parse::<usize>().ok()) {
            Some(length) if answer.len() >= end + 4 + length => {
                return Some((status, answer[end + 4..].to_vec()));
            }
            None if answer.ends_with(b"0\r\n\r\n") || head.contains("connection: close") => {
                return Some((status, answer[end + 4..].to_vec()));
            }
            _ => {}
        }
    }
}

/// What an answer says to ask for if it has no form in JSON.
const BINARY_DATA: &[u8] = b"ask for it with 'binary_data'";

fn storm(address: SocketAddr, key: &str, seeds: &[Seed], requests: usize, seed: u64) -> [usize; 3] {
    let mut chance = Chance(seed);
    let connect = || {
        let stream = TcpStream::connect(address).expect("it still listens");
        stream.set_nodelay(true).expect("set");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        stream
    };
    let mut stream = connect();
    let mut counts = [0; 3];
    for number in 0..requests {
        let seed = &seeds[chance.below(seeds.len())];
        let mut body = seed.body.clone();
        if chance.below(8) > 0 {
            chance.break_it(&mut body);
        }
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n{}content-length: {}\r\n\r\n",
            seed.path,
            seed.headers,
            body.len()
        );
        let mut request = head.into_bytes();
        let intact = !seed.head;
        if seed.head {
            chance.break_it(&mut request);
        }
        request.extend_from_slice(&body);
        let since = Instant::now();
        let answered = exchange(&mut stream, &request);
        assert!(
            since.elapsed() < Duration::from_secs(15),
            "request {number} hangs: {}",
            String::from_utf8_lossy(&request)
        );
        let was_closed = answered.is_none();
        match answered {
            Some((status, answer)) => {
                let shown = || {
                    format!(
                        "request {number}: {status} {}\n{}",
                        String::from_utf8_lossy(&answer),
                        String::from_utf8_lossy(&request)
                    )
                };
                // Bytes that are not text come back from a model that repeats them, and JSON has no form for them.
                let has_no_form = status == 502
                    && answer.windows(BINARY_DATA.len()).any(|part| part == BINARY_DATA);
                let is_right = status == 200 || (400..500).contains(&status) || has_no_form;
                assert!(is_right, "{}", shown());
                assert!(status == 200 || !answer.is_empty() || !intact, "{}", shown());
                counts[usize::from(status != 200)] += 1;
            }
            None => counts[2] += 1,
        }
        // The rest of a broken head would be parsed as the next request.
        if !intact || was_closed {
            stream = connect();
        }
    }
    counts
}

#[test]
#[expect(clippy::print_stdout, reason = "longer runs are judged by the figures")]
fn broken_requests_over_every_front_are_refused_and_nothing_else() {
    let fronts = Tensors::configured(|config| {
        config.sandbox.deadline = Duration::from_secs(5);
        // A broken length announces bytes that never come.
        config.api.body_read_timeout = Duration::from_millis(200);
        config.api.header_read_timeout = Duration::from_millis(200);
    });
    for (name, functions) in [
        (
            "echo",
            &[
                "echo-wide",
                "echo-shapes",
                "echo-numbers",
                "echo-bytes",
                "echo-string",
                "echo-u8",
                "echo-labelled",
                "echo-tensor",
            ][..],
        ),
        ("parrot", &["complete"]),
        ("herald", &["handle"]),
    ] {
        let published = fronts.host.publish(&fronts.acme, &plugin(name));
        let functions = functions.iter().map(|function| terms(function)).collect();
        fronts.host.agree(&fronts.acme, &fronts.zoe, &published, functions);
    }
    let (address, key, seeds) = (fronts.host.address(), &fronts.zoe.api_key, &seeds());
    let (wanted, counts) =
        storms(REQUESTS, THREADS, |requests, seed| storm(address, key, seeds, requests, seed));
    let [good, refused, closed] = counts;
    println!("{good} answered, {refused} refused, {closed} closed; {} MiB", resident() >> 20);
    assert!(good > wanted / 50 && refused > wanted / 4, "{counts:?}");
    assert!(closed < wanted / 10, "{counts:?}");
    assert!(resident() < MEMORY_MAX, "{} MiB", resident() >> 20);
    fronts.host.get("/healthz").send().ok();
}
