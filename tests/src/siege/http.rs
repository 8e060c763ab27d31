//! Inputs that are malformed HTTP, and inputs for the other front ends.

use super::{Input, JSON, Right, Sender, Way};

impl Sender<'_> {
    /// Requests with an ambiguous end (request smuggling): what one peer reads as the body, another
    /// reads as the next request.
    pub(super) fn broken(&self) -> Vec<Input> {
        let next = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
        let raw = |name: &str, headers: &str, body: &str| {
            let bytes = format!(
                "POST /acme/echo/echo-u8 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n{JSON}{headers}\r\n{body}",
                self.key
            );
            Input::new(name, bytes.into_bytes(), Right::Refused(400))
        };
        let length = format!("content-length: {}\r\n", next.len() + 5);
        let chunked = "transfer-encoding: chunked\r\n";
        let ended = format!("0\r\n\r\n{next}");
        let extended = format!("7;{}\r\n{{\"v\":1}}\r\n0\r\n\r\n", "x".repeat(100_000));
        let trailer = format!("7\r\n{{\"v\":1}}\r\n0\r\n{}\r\n", "a: b\r\n".repeat(10_000));
        vec![
            raw("a length and chunks", &format!("{length}{chunked}"), &ended),
            raw("chunks and a length", &format!("{chunked}{length}"), &ended),
            raw(
                "two lengths",
                "content-length: 7\r\ncontent-length: 8\r\n",
                &format!("{{\"v\":1}}{next}"),
            ),
            raw("two lengths in one", "content-length: 7, 8\r\n", &format!("{{\"v\":1}}{next}")),
            raw("a length with a sign", "content-length: +7\r\n", "{\"v\":1}"),
            raw("a negative length", "content-length: -1\r\n", "{\"v\":1}"),
            raw("a length over 64 bits", "content-length: 99999999999999999999\r\n", "{\"v\":1}"),
            raw("chunked twice", "transfer-encoding: chunked, chunked\r\n", &ended),
            raw("compressed and chunked", "transfer-encoding: gzip, chunked\r\n", &ended),
            raw("chunked on two lines", &chunked.repeat(2), &ended),
            raw("chunked, then identity", "transfer-encoding: chunked, identity\r\n", &ended),
            raw("chunked, nearly", "transfer-encoding: xchunked\r\n", &ended),
            raw(
                "a space before the colon",
                "transfer-encoding : chunked\r\ncontent-length: 7\r\n",
                &ended,
            ),
            raw("a folded header", "x: a\r\n b\r\ncontent-length: 7\r\n", "{\"v\":1}"),
            raw("a header with a bare CR", "x: a\rb: c\r\ncontent-length: 7\r\n", "{\"v\":1}"),
            raw("a NUL in a header", "x: a\0b\r\ncontent-length: 7\r\n", "{\"v\":1}"),
            raw("a chunk size that is not a number", chunked, "zz\r\n{\"v\":1}\r\n0\r\n\r\n"),
            raw("a chunk size over 64 bits", chunked, "fffffffffffffffff\r\n"),
            raw("a chunk longer than its size", chunked, "1\r\n{\"v\":1}\r\n0\r\n\r\n"),
            raw("a chunk of 2^64 - 1 bytes", chunked, "ffffffffffffffff\r\n")
                .or(Right::Refused(408)),
            raw("a long chunk extension", chunked, &extended).or(Right::Closed),
            raw("a long trailer", chunked, &trailer).or(Right::Closed),
        ]
    }

    /// Request heads that are too long, have too many headers, or are not HTTP.
    pub(super) fn heads(&self) -> Vec<Input> {
        let long = "a".repeat(20_000);
        let many: String = (0..100).map(|number| format!("x-{number}: 1\r\n")).collect();
        let ranges = format!("range: bytes={}0-0\r\n", "0-0,".repeat(2000));
        let get = |name: &str, path: &str, headers: &str, status| {
            Input::new(name, self.head("GET", path, headers, b""), Right::Refused(status))
        };
        let raw = |name: &str, text: &str, right| Input::new(name, text.as_bytes().to_vec(), right);
        let mut operator = vec![
            get("operator: a long header", "/status", &format!("x: {long}\r\n"), 431),
            get("operator: many headers", "/status", &many, 431),
            get("operator: a tenant's key", "/status", "", 401),
            raw("operator: not HTTP", "\0\0\0\0\0\0\0\0\r\n\r\n", Right::Refused(400)),
        ];
        operator.iter_mut().for_each(|input| input.to_operator = true);
        let mut all = vec![
            get("a long header", "/api/market", &format!("x: {long}\r\n"), 431),
            get("many headers", "/api/market", &many, 431),
            get("a long path", &format!("/{long}"), "", 414).or(Right::Refused(431)).or(Right::Refused(400)),
            get("many ranges", "/api/openapi.json", &ranges, 200),
            get("an upgrade to WebSocket", "/acme/echo/echo-u8", "upgrade: websocket\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-version: 13\r\n", 405),
            get("an upgrade to HTTP/2", "/healthz", "upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n", 200),
            get("a second Host header", "/healthz", "host: y\r\n", 400),
            raw("no Host header", "GET /healthz HTTP/1.1\r\n\r\n", Right::Refused(400)),
            raw("bare line feeds", "GET /healthz HTTP/1.1\nhost: x\nconnection: close\n\n", Right::Refused(200)).or(Right::Refused(400)),
            raw("TLS", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{7c}\u{3}\u{3}\r\n\r\n", Right::Refused(400)),
            raw("a CONNECT request", "CONNECT evil.example:443 HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n", Right::Refused(404)).or(Right::Refused(400)).or(Right::Refused(405)),
            raw("another version", "GET / HTTP/9.9\r\nhost: x\r\n\r\n", Right::Refused(400)).or(Right::Refused(505)),
            raw("a NUL in the Host header", "GET /healthz HTTP/1.1\r\nhost: \0\r\n\r\n", Right::Refused(400)),
        ];
        all.extend(operator);
        all
    }

    /// Paths that try to escape.
    pub(super) fn paths(&self) -> Vec<Input> {
        let rows = [
            ("a NUL in the path", "/acme/echo/%00", 400),
            ("path traversal", "/acme/../../etc/passwd/x", 404),
            ("percent-encoded path traversal", "/acme/%2e%2e/%2e%2e/etc/passwd", 404),
            ("an encoded slash", "/acme/..%2f..%2fetc/passwd", 404),
            ("double percent-encoding", "/acme/%252e%252e/passwd", 404),
            ("a path that is not UTF-8", "/acme/echo/%ff%fe", 400),
            ("half a percent-encoding", "/acme/echo/%4", 400),
            ("2,000 segments", &format!("/{}", "a/".repeat(2000)), 404),
        ];
        let other = [400, 404].map(Right::Refused);
        let input = |(name, path, status): (&str, &str, u16)| {
            let input =
                Input::new(name, self.post(path, JSON, br#"{"v":1}"#), Right::Refused(status));
            other.iter().cloned().fold(input, Input::or)
        };
        rows.into_iter().map(input).collect()
    }

    /// Invalid keys.
    pub(super) fn keys(&self) -> Vec<Input> {
        let rows = [
            ("no key", String::new()),
            ("half a key", "authorization: Bearer hsp_0\r\n".into()),
            ("another's key", format!("authorization: Bearer hsp_{}\r\n", "0".repeat(72))),
            ("a long key", format!("authorization: Bearer {}\r\n", "x".repeat(10_000))),
            ("another scheme", "authorization: Basic YTpi\r\n".into()),
            ("an empty key", "authorization: Bearer \r\n".into()),
        ];
        let input = |(name, header): (&str, String)| {
            let text = format!(
                "POST /acme/echo/echo-u8 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{header}content-length: 10000000\r\n\r\n"
            );
            Input::new(name, text.into_bytes(), Right::Refused(401))
        };
        rows.into_iter().map(input).collect()
    }

    /// Slow clients, silent clients, and clients that disconnect.
    pub(super) fn slow(&self) -> Vec<Input> {
        let promised = "content-type: application/json\r\ncontent-length: 5000\r\n";
        let head = self.head("POST", "/acme/echo/echo-u8", promised, b"");
        let upload = self.head("POST", "/api/bundles", "content-length: 1000000\r\n", b"");
        let half = b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-a: ".to_vec();
        let late = || Right::Refused(408);
        let mut idle: Vec<Input> = (0..8)
            .map(|number| {
                Input::new(format!("idle client {number}"), Vec::new(), Right::Closed)
                    .way(Way::Silent)
            })
            .collect();
        idle.extend([
            Input::new("a slow body", head.clone(), late()).way(Way::Slow),
            Input::new("a slow upload", upload.clone(), late()).way(Way::Slow),
            Input::new("a body that never comes", head.clone(), late()).way(Way::Silent),
            Input::new("a head that never ends", half.clone(), Right::Closed).way(Way::Silent),
            Input::new("a head that comes slowly", half, Right::Closed).way(Way::Slow),
            Input::new("gone before the body", head, Right::Unseen).way(Way::Gone),
            Input::new("gone in an upload", [upload, vec![7; 100_000]].concat(), Right::Unseen)
                .way(Way::Gone),
        ]);
        idle
    }

    /// gRPC messages over HTTP/1.1.
    pub(super) fn grpc(&self) -> Vec<Input> {
        let infer = "/inference.GRPCInferenceService/ModelInfer";
        let call = |name: &str, path: &str, body: &[u8], status| {
            let body = self.post(path, "content-type: application/grpc\r\n", body);
            Input::new(name, body, Right::Grpc(status))
        };
        let stranger = format!(
            "POST {infer} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/grpc\r\ncontent-length: 5000000\r\n\r\n"
        );
        vec![
            call("a message of four gigabytes", infer, &[0, 0xff, 0xff, 0xff, 0xff, 1], 11),
            call("a message longer than the body", infer, &[0, 0, 0, 0, 100, 1], 13),
            call("a message without its length", infer, &[0, 0], 13),
            call("compressed without grpc-encoding", infer, &[1, 0, 0, 0, 1, 1], 13),
            call("an unknown flag", infer, &[9, 0, 0, 0, 1, 1], 13),
            call("no protobuf", infer, &[&[0, 0, 0, 0, 4][..], &[0xff; 4]].concat(), 3),
            call("an endless field", infer, &[0, 0, 0, 0, 3, 0x0a, 0xff, 0x7f], 3),
            call("no such method", "/inference.GRPCInferenceService/Nothing", &[0; 5], 12),
            Input::new("gRPC without a key", stranger.into_bytes(), Right::Grpc(16)),
        ]
    }

    /// Members that the OpenAI front end does not support, and invalid requests.
    pub(super) fn openai(&self) -> Vec<Input> {
        let deep = format!(r#"{{"model":"acme/parrot","messages":{}}}"#, "[".repeat(50_000));
        let stops = format!(
            r#"{{"model":"acme/parrot","prompt":"a","stop":[{}"a"]}}"#,
            r#""a","#.repeat(10_000)
        );
        let items = format!(r#"{{"model":"acme/parrot","input":{}}}"#, "[".repeat(50_000));
        let documents = format!(
            r#"{{"model":"acme/parrot","query":"a","documents":[{}"a"]}}"#,
            r#""a","#.repeat(10_000)
        );
        let rows = [
            ("deeply nested messages", "/v1/chat/completions", deep.as_str(), 400),
            (
                "messages that are none",
                "/v1/chat/completions",
                r#"{"model":"acme/parrot","messages":7}"#,
                400,
            ),
            (
                "a billion answers",
                "/v1/chat/completions",
                r#"{"model":"acme/parrot","messages":[{"role":"user","content":"a"}],"n":1000000000}"#,
                400,
            ),
            ("10,000 stops", "/v1/completions", stops.as_str(), 400),
            ("no such model", "/v1/completions", r#"{"model":"acme/nobody","prompt":"a"}"#, 404),
            ("an invalid model name", "/v1/embeddings", r#"{"model":"../../x","input":"a"}"#, 404),
            ("deeply nested items", "/v1/responses", items.as_str(), 400),
            ("10,000 documents", "/v1/rerank", documents.as_str(), 400),
            (
                "tools",
                "/v1/chat/completions",
                r#"{"model":"acme/parrot","messages":[],"tools":[{"type":"function"}]}"#,
                400,
            ),
        ];
        let input = |(name, path, body, status): (&str, &str, &str, u16)| {
            let bytes = self.post(path, JSON, body.as_bytes());
            Input::new(name, bytes, Right::Refused(status))
                .or(Right::Refused(404))
                .or(Right::Refused(400))
        };
        rows.into_iter().map(input).collect()
    }
}
