//! Strangers cannot make the host hold memory: it reads no body before it has checked the key.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use system_tests::{HostProcess, Http2, TestHost};

/// Routes of other protocols that need a key, which the host's own OpenAPI document does not list.
const OTHER_FRONTS: [&str; 17] = [
    "/v1/embeddings",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/responses/input_tokens",
    "/v1/rerank",
    "/v2/models/acme/m/infer",
    "/v2/models/acme/m/versions/1/infer",
    "/v2/models/acme/m/generate",
    "/v2/models/acme/m/generate_stream",
    "/v2/repository/models/acme/m/load",
    "/v2/repository/models/acme/m/unload",
    "/acme/m/-/",
    "/inference.GRPCInferenceService/ModelInfer",
    "/inference.GRPCInferenceService/ModelStreamInfer",
    "/inference.GRPCInferenceService/RepositoryModelLoad",
    "/inference.GRPCInferenceService/RepositoryModelUnload",
];

/// gRPC methods that need no key.
const OPEN_METHODS: [&str; 12] = [
    "/inference.GRPCInferenceService/ServerLive",
    "/inference.GRPCInferenceService/ServerReady",
    "/inference.GRPCInferenceService/ServerMetadata",
    "/inference.GRPCInferenceService/ModelReady",
    "/inference.GRPCInferenceService/ModelMetadata",
    "/inference.GRPCInferenceService/ModelConfig",
    "/inference.GRPCInferenceService/ModelStatistics",
    "/inference.GRPCInferenceService/RepositoryIndex",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Sends a head and this part of a body. Returns the response's head once it has arrived.
fn ask(address: SocketAddr, head: &str, body: &[u8], patience: Duration) -> Option<String> {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(patience)).expect("set");
    stream.write_all(head.as_bytes()).expect("sent");
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut part) {
            Ok(0) | Err(_) => return None,
            Ok(read) => answer.extend_from_slice(&part[..read]),
        }
    }
    Some(String::from_utf8_lossy(&answer).into_owned())
}

fn head(method: &str, path: &str, key: Option<&str>, length: &str) -> String {
    let media = if path.contains(".") { "application/grpc" } else { "application/octet-stream" };
    let key = key.map_or_else(String::new, |key| format!("authorization: Bearer {key}\r\n"));
    format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {media}\r\n{key}{length}\r\n\r\n")
}

/// Every route that takes a body and needs a key: those in the host's document and those of the
/// other front ends.
fn routes(host: &TestHost) -> Vec<(String, String)> {
    let document: Value = host.get("/api/openapi.json").send().ok().json();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in ["post", "put", "patch", "delete"] {
            if item.get(method).is_some() {
                let id = format!("sha256:{}", "0".repeat(64));
                let path = path.replace("{id}", &id).replace("{publisher}", "acme");
                let path = path.replace("{model}", "m").replace("{function}", "f");
                assert!(!path.contains('{'), "no value for the parameter in {path}");
                routes.push((method.to_uppercase(), path));
            }
        }
    }
    assert!(routes.len() >= 12, "{routes:?}");
    routes.extend(OTHER_FRONTS.map(|path| ("POST".to_owned(), path.to_owned())));
    routes
}

#[test]
fn a_body_is_not_read_before_the_key_is_asked_for() {
    let host = TestHost::start();
    let unknown = format!("hsp_{}", "0".repeat(72));
    for (method, path) in routes(&host) {
        for key in [None, Some("hsp_0"), Some(unknown.as_str())] {
            for length in ["content-length: 10000000", "transfer-encoding: chunked"] {
                let since = Instant::now();
                let head = head(&method, &path, key, length);
                let answer = ask(host.address(), &head, b"", Duration::from_secs(5));
                let answer = answer.unwrap_or_else(|| panic!("{path} waits for a body"));
                assert!(since.elapsed() < Duration::from_secs(2), "{path} waits");
                let refused = match path.contains("GRPC") {
                    true => answer.contains("\r\ngrpc-status: 16\r\n"),
                    false => answer.starts_with("HTTP/1.1 401 "),
                };
                assert!(refused, "{method} {path}: {answer}");
            }
        }
    }
}

#[test]
fn the_operators_listener_reads_no_body_before_the_token() {
    let host = TestHost::start();
    for path in ["/accounts", "/agreements/sha256:0/events"] {
        let head = head("POST", path, Some("other"), "content-length: 100");
        let answer = ask(host.operator_address(), &head, b"", Duration::from_secs(5));
        assert!(answer.is_some_and(|answer| answer.starts_with("HTTP/1.1 401 ")), "{path}");
    }
}

#[test]
fn a_method_that_is_not_there_reads_no_body() {
    let host = TestHost::start();
    for path in ["/inference.GRPCInferenceService/Nothing", "/v2/nothing", "/api/nothing"] {
        let head = head("POST", path, None, "content-length: 10000000");
        let answer = ask(host.address(), &head, b"", Duration::from_secs(5));
        let answer = answer.unwrap_or_else(|| panic!("{path} waits for a body"));
        assert!(
            answer.starts_with("HTTP/1.1 404 ") || answer.contains("grpc-status: 12"),
            "{path}: {answer}"
        );
    }
}

#[test]
fn a_method_without_a_key_takes_a_short_message() {
    let host = TestHost::start();
    let message = |bytes: usize| {
        // An unknown field fills the message.
        let field = bytes - 4;
        let mut message = vec![0x82, 0x7d];
        message.extend([(field & 127) as u8 | 128, (field >> 7) as u8 & 127]);
        message.resize(bytes, 0);
        [&[0][..], &u32::try_from(bytes).expect("short").to_be_bytes(), &message].concat()
    };
    for path in OPEN_METHODS {
        let large = message(1 << 20);
        let length = format!("content-length: {}", large.len());
        let large =
            ask(host.address(), &head("POST", path, None, &length), &large, Duration::from_secs(5));
        let large = large.unwrap_or_else(|| panic!("{path} does not respond"));
        let is_stream = path.contains("reflection");
        assert!(is_stream || large.contains("grpc-status: 8\r\n"), "{path}: {large}");
        let small = message(1 << 13);
        let length = format!("content-length: {}", small.len());
        let small =
            ask(host.address(), &head("POST", path, None, &length), &small, Duration::from_secs(5));
        let small = small.unwrap_or_else(|| panic!("{path} does not respond"));
        assert!(!small.contains("grpc-status: 8\r\n"), "{path}: {small}");
    }
}

/// The default limit on what all strangers may hold together.
const GROWTH_BYTES_MAX: u64 = 64 << 20;

/// One connection without a key once made the host hold 1.6 GiB in four seconds. The host is a
/// separate process here, to measure the allocator that it ships with; the system's allocator,
/// which the tests use, keeps arenas for its threads.
#[test]
fn a_hundred_streams_of_a_stranger_hold_no_memory() {
    let folder = tempfile::tempdir().expect("a directory");
    let host = HostProcess::start(&folder.path().join("data"));
    let [address, _] = host.listeners();
    let is_well = || {
        let head = head("GET", "/healthz", None, "connection: close");
        let answer = ask(address, &head, b"", Duration::from_secs(10));
        answer.is_some_and(|answer| answer.starts_with("HTTP/1.1 200 "))
    };
    assert!(is_well());
    let before = host.usage().resident;
    let done = AtomicBool::new(false);
    let peak = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut peak = 0;
            while !done.load(Ordering::Relaxed) {
                peak = peak.max(host.usage().resident);
                std::thread::sleep(Duration::from_millis(20));
            }
            peak
        });
        let body = vec![7; 15 << 20];
        for path in [OTHER_FRONTS[10], OPEN_METHODS[0], OPEN_METHODS[10]] {
            let mut client = Http2::connect(address);
            let streams: Vec<u32> = (0..100).map(|_| client.begin_grpc(path, &[])).collect();
            let head = [&[0][..], &(15_u32 << 20).to_be_bytes()].concat();
            for stream in &streams {
                client.send(*stream, &head, false, Duration::from_millis(10));
            }
            for stream in &streams {
                client.send(*stream, &body, false, Duration::from_millis(10));
            }
            client.wait(Duration::from_secs(1), Http2::is_closed);
        }
        done.store(true, Ordering::Relaxed);
        watch.join().expect("it ends")
    });
    let grown = peak.saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "grown by {} MiB", grown >> 20);
    assert!(is_well());
}

/// How much the host grows while this many connections start this many streams each, with these
/// headers, and read nothing.
fn growth(connections: usize, streams: usize, more: &[(&str, &str)]) -> u64 {
    growth_by(connections, |address| {
        let mut client = Http2::connect(address).stingy();
        for _ in 0..streams {
            client.begin_grpc(OPEN_METHODS[0], more);
        }
        client
    })
}

/// How much a host in its own process grows while this many connections do something and stay open.
/// This includes everything that strangers make it hold, and the program's own pages that are
/// touched for the first time.
fn growth_by<C>(connections: usize, begin: impl Fn(SocketAddr) -> C) -> u64 {
    let folder = tempfile::tempdir().expect("a directory");
    let host = HostProcess::start(&folder.path().join("data"));
    let [address, operator] = host.listeners();
    let health = head("GET", "/healthz", None, "connection: close");
    let asked = ask(address, &health, b"", Duration::from_secs(10));
    assert!(asked.is_some_and(|answer| answer.starts_with("HTTP/1.1 200 ")));
    let before = host.usage().resident;
    let mut peak = 0;
    let mut held = Vec::new();
    for number in 0..connections {
        held.push(begin(address));
        if number % 20 == 0 {
            peak = peak.max(host.usage().resident);
            let asked = ask(operator, &health, b"", Duration::from_secs(10));
            assert!(asked.is_some_and(|answer| answer.starts_with("HTTP/1.1 200 ")));
        }
    }
    peak.max(host.usage().resident).saturating_sub(before)
}

/// Queued requests and unread refusals once did not count towards the strangers' limit: 500
/// connections with 100 streams each made the host hold 306 MiB.
#[test]
fn streams_that_are_refused_for_lack_of_room_hold_no_memory() {
    let grown = growth(500, 100, &[]);
    assert!(grown < GROWTH_BYTES_MAX, "grown by {} MiB", grown >> 20);
}

/// Request heads once did not count: heads with one field of 15 kB made the host hold 139 MiB,
/// heads with 400 fields 343 MiB.
#[test]
fn heads_count_in_what_strangers_may_hold() {
    let value = "a".repeat(15_000);
    let grown = growth(700, 4, &[("x-long", &value)]);
    assert!(grown < GROWTH_BYTES_MAX, "heads with one field: {} MiB", grown >> 20);
    let names: Vec<String> = (0..400).map(|number| format!("x-{number}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    let grown = growth(700, 4, &many);
    assert!(grown < GROWTH_BYTES_MAX, "heads with 400 fields: {} MiB", grown >> 20);
}

/// Each connection sends an unfinished head, or a body without its last bytes. HTTP/1.1 bodies are
/// in buffers that are larger than they are: with bodies of 59 kB, the host once held 107 MiB.
#[test]
fn connections_of_http_1_count_in_what_strangers_may_hold() {
    let long: String =
        (0..60).map(|number| format!("x-{number}: {}\r\n", "a".repeat(250))).collect();
    let head_only = format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{long}").into_bytes();
    let message = |bytes: u32| {
        let length = format!("content-length: {}", bytes + 5);
        let head = head("POST", OPEN_METHODS[0], None, &length).into_bytes();
        let most = vec![7; bytes as usize - 100];
        [&head[..], &[0], &bytes.to_be_bytes(), &most].concat()
    };
    for (what, sent) in
        [("heads", head_only), ("short bodies", message(16 << 10)), ("long ones", message(60_000))]
    {
        let grown = growth_by(700, |address| {
            let mut stream = TcpStream::connect(address).expect("it listens");
            // The host may have closed it already.
            let _ = stream.write_all(&sent);
            stream
        });
        assert!(grown < GROWTH_BYTES_MAX, "{what}: grown by {} MiB", grown >> 20);
    }
}

#[test]
fn a_head_of_too_many_fields_is_refused_over_http_2() {
    let host = TestHost::start();
    let names: Vec<String> = (0..65).map(|number| format!("x-{number}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    let mut client = Http2::connect(host.address());
    let asked = |client: &mut Http2, fields: usize| {
        let stream = client.begin("GET", "/healthz", &many[..fields], true);
        assert!(client.wait(Duration::from_secs(10), |client| client.fate(stream).ended));
        client.fate(stream).bytes
    };
    assert!(asked(&mut client, 64) > 0, "64 fields are allowed");
    assert_eq!(asked(&mut client, 65), 0, "a response of 431 has no body");
    // A client that keeps sending such heads is disconnected.
    let closed = (0..20).any(|_| {
        client.begin("GET", "/healthz", &many, true);
        client.wait(Duration::from_millis(500), Http2::is_closed)
    });
    assert!(closed);
}
