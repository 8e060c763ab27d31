//! What every HTTP client may rely on: each path has one meaning, methods and media types follow
//! RFC 9110, and ambiguous requests are refused.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use system_tests::{Party, Reply, Request, Tensors, TestHost, plugin, terms};

struct Scene {
    host: TestHost,
    zoe: Party,
    agreement: String,
}

fn scene() -> Scene {
    let host = TestHost::builder().config(|config| config.api.body_bytes_max = 1 << 20).start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let published = host.publish(&acme, &plugin("echo"));
    let functions = ["echo-string", "echo-bytes", "echo-u8"].map(terms).to_vec();
    let agreement = host.agree(&acme, &zoe, &published, functions).to_string();
    Scene { host, zoe, agreement }
}

impl Scene {
    fn ask(&self, method: &'static str, path: &str) -> Request {
        let url = format!("http://{}{path}", self.host.address());
        Request::new(method, url).bearer(&self.zoe.api_key)
    }

    /// Sends these bytes and reads until the host closes the connection.
    fn raw(&self, text: &str) -> String {
        let mut stream = TcpStream::connect(self.host.address()).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
        stream.write_all(text.as_bytes()).expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("answered and closed");
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The status of a GET of exactly this path, which a client library might normalise.
    #[track_caller]
    fn status(&self, path: &str) -> u16 {
        let key = &self.zoe.api_key;
        let answer = self.raw(&format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\r\n"
        ));
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("{path}: {answer}"))
    }
}

/// Generated clients encode `:` and `@`; they once could not address any agreement.
#[test]
fn an_encoded_path_is_the_same_url() {
    let scene = scene();
    let encoded = scene.agreement.replace(':', "%3A");
    for path in [
        format!("/api/agreements/{encoded}"),
        format!("/api/agreements/{encoded}/events"),
        format!("/%61pi/agreements/{}", encoded.to_lowercase()),
        "/acme/echo%401.0.0".to_owned(),
        "/%61cme/echo/openapi.json".to_owned(),
    ] {
        assert_eq!(scene.status(&path), 200, "{path}");
    }
    let shown = scene.ask("GET", &format!("/api/agreements/{encoded}")).send().ok();
    let plain = scene.ask("GET", &format!("/api/agreements/{}", scene.agreement)).send().ok();
    assert_eq!(shown.body, plain.body);
    let call = scene.ask("POST", "/acme/echo%401.0.0/%65cho-u8").json(r#"{"v":7}"#).send().ok();
    assert_eq!(call.text(), "7");
    let simulated = format!("/api/agreements/{encoded}/simulate");
    let simulated = scene.ask("POST", &simulated).json(r#"{"function":"echo-u8"}"#).send().ok();
    assert_eq!(simulated.json()["agreement"], scene.agreement.as_str());
}

#[test]
fn a_path_is_decoded_once_and_a_slash_inside_a_part_stays_there() {
    let scene = scene();
    // A path is decoded once, and an encoded slash does not separate segments.
    assert_eq!(
        scene.status(&format!("/api/agreements/{}", scene.agreement.replace(':', "%253A"))),
        404
    );
    assert_eq!(scene.status("/acme%2Fecho"), 404);
    assert_eq!(scene.status("/acme%2fecho/openapi.json"), 404);
    assert_eq!(scene.status("/api%2Fhost"), 404);
    for path in [
        "/acme/..%2fecho",
        "/acme/../echo",
        "/acme/%2e%2e/echo",
        "/acme/./echo",
        "/acme/%2E/echo",
        "/acme/echo%00",
        "/acme/echo%0a",
        "/acme/%ff",
        "/acme/%c0%af",
        "/acme/ec%ho",
        "/acme/echo%",
        "/acme/echo%2",
        "/api/agreements/%00",
        "/api/docs/..%2f..%2fsecret",
        "/api/docs/%2e%2e/secret",
        "/v1/models/%ff",
        "/v2/models/..",
    ] {
        let status = scene.status(path);
        assert!(status == 400 || status == 404, "{path}: {status}");
    }
}

#[test]
fn slashes_too_many_and_one_at_the_end_do_not_matter() {
    let scene = scene();
    for path in [
        "//api/market",
        "/api//market",
        "/api/market/",
        "//v1/models/",
        "/v2/",
        "/v2/health/live/",
        "/healthz/",
    ] {
        assert_eq!(scene.status(path), 200, "{path}");
    }
    let call = scene.ask("POST", "//acme//echo/echo-u8/").json(r#"{"v":7}"#).send().ok();
    assert_eq!(call.text(), "7");
}

/// Load balancers use it for health checks.
#[test]
fn head_is_answered_wherever_get_is() {
    let scene = scene();
    for path in [
        "/healthz",
        "/readyz",
        "/api/host",
        "/api/market",
        "/api/openapi.json",
        "/api/docs",
        "/api/docs/swagger-ui.css",
        "/acme/echo",
        "/acme/echo/docs",
        "/v1/models",
        "/v2",
        "/v2/health/ready",
        "/v2/models",
    ] {
        let got = scene.ask("GET", path).header("accept-encoding", "identity").send().ok();
        let head = scene.ask("HEAD", path).header("accept-encoding", "identity").send().ok();
        assert!(head.body.is_empty(), "{path}");
        let length = got.body.len().to_string();
        assert_eq!(head.header("content-length"), Some(length.as_str()), "{path}");
        assert_eq!(head.header("content-type"), got.header("content-type"), "{path}");
    }
    assert_eq!(scene.ask("HEAD", "/api/agreements/x").send().status, 404);
    assert_eq!(scene.ask("HEAD", "/v1/embeddings").send().status, 405);
    assert_eq!(scene.host.operator("HEAD", "/healthz").send().status, 200);
}

#[test]
fn a_method_that_is_not_allowed_is_told_which_are() {
    let scene = scene();
    let allow = |reply: &Reply| reply.header("allow").expect("Allow").to_owned();
    for (path, methods) in [
        ("/healthz", "GET, HEAD, OPTIONS"),
        ("/api/agreements", "GET, POST, HEAD, OPTIONS"),
        ("/api/bundles", "POST, OPTIONS"),
        ("/acme/echo", "GET, HEAD, OPTIONS"),
        ("/acme/echo/echo-u8", "POST, OPTIONS"),
        ("/v1/models", "GET, HEAD, OPTIONS"),
        ("/v1/embeddings", "POST, OPTIONS"),
        ("/v1/chat/completions", "POST, OPTIONS"),
        ("/v2/health/live", "GET, HEAD, OPTIONS"),
        ("/v2/models/acme/echo/infer", "POST, OPTIONS"),
        ("/v2/models/acme/echo/versions/1.0.0", "GET, HEAD, OPTIONS"),
        ("/v2/repository/index", "POST, OPTIONS"),
    ] {
        let refused = scene.ask("DELETE", path).send();
        assert_eq!((refused.status, allow(&refused).as_str()), (405, methods), "{path}");
        let options = scene.ask("OPTIONS", path).send();
        assert_eq!((options.status, allow(&options).as_str()), (204, methods), "{path}");
        assert!(options.body.is_empty(), "{path}");
    }
    assert_eq!(scene.ask("OPTIONS", "/nothing").send().status, 404);
    let whole = scene.raw("OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(
        whole.starts_with("HTTP/1.1 204") && whole.contains("GET, POST, HEAD, OPTIONS"),
        "{whole}"
    );
    let operator = scene.host.operator("PUT", "/status").send();
    assert_eq!((operator.status, allow(&operator).as_str()), (405, "GET, HEAD, OPTIONS"));
}

#[test]
fn a_media_type_is_the_same_in_capitals_and_with_parameters() {
    let scene = scene();
    let call = |media: &str, body: &[u8]| {
        let request = scene.ask("POST", "/acme/echo/echo-bytes").header("content-type", media);
        request.body(body).send().ok().text()
    };
    let json = br#"{"v":"AP8="}"#;
    for media in ["Application/JSON", "application/json;charset=UTF-8", "APPLICATION/JSON ; a=b"] {
        assert_eq!(call(media, json), "\"AP8=\"", "{media}");
    }
    for media in ["Application/Octet-Stream", "IMAGE/png", "Audio/WAV; rate=8000"] {
        assert_eq!(call(media, b"\0\xff"), "\"AP8=\"", "{media}");
    }
    let form =
        "--B\r\nContent-Disposition: form-data; name=\"v\"; filename=\"x\"\r\n\r\nab\r\n--B--\r\n";
    assert_eq!(call("Multipart/Form-Data; Boundary=B", form.as_bytes()), "\"YWI=\"");
    let bytes = scene
        .ask("POST", "/acme/echo/echo-bytes")
        .octets(b"ab")
        .header("accept", "Application/Octet-Stream");
    assert_eq!(bytes.send().ok().body, b"ab");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("written");
    encoder.finish().expect("written")
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("written");
    encoder.finish().expect("written")
}

/// The plugin once got the compressed bytes, and the caller was charged for those.
#[test]
fn a_compressed_body_is_what_it_was_before_on_every_route() {
    let scene = scene();
    let post = |path: &str, coding: &str, media: &str, body: Vec<u8>| {
        let request = scene.ask("POST", path).header("content-encoding", coding);
        request.header("content-type", media).body(body).send()
    };
    let (json, octets) = ("application/json", "application/octet-stream");
    let called = |coding: &str, body: Vec<u8>| {
        post("/acme/echo/echo-bytes", coding, octets, body).ok().text()
    };
    assert_eq!(called("gzip", gzip(b"\0\xff")), "\"AP8=\"");
    assert_eq!(called("X-GZIP", gzip(b"\0\xff")), "\"AP8=\"");
    assert_eq!(called("deflate", zlib(b"\0\xff")), "\"AP8=\"");
    assert_eq!(called("identity", b"\0\xff".to_vec()), "\"AP8=\"");
    let text = post("/acme/echo/echo-string", "gzip", json, gzip(br#"{"v":"x"}"#)).ok();
    assert_eq!(text.text(), "\"x\"");
    // All kinds of routes: a simulation, a document, a chat.
    let simulated = format!("/api/agreements/{}/simulate", scene.agreement);
    post(&simulated, "gzip", json, gzip(br#"{"function":"echo-u8"}"#)).ok();
    let document =
        scene.ask("GET", &format!("/api/agreements/{}", scene.agreement)).send().ok().body;
    post("/api/agreements", "deflate", json, zlib(&document)).ok();
    let chat = post(
        "/v1/chat/completions",
        "gzip",
        json,
        gzip(br#"{"model":"acme/none","messages":[{"role":"user"}]}"#),
    );
    assert!(chat.status == 404 && chat.text().contains("acme/none"), "{}", chat.text());

    for path in [
        "/acme/echo/echo-bytes",
        "/v1/embeddings",
        "/api/agreements",
        "/v2/models/acme/echo/infer",
        "/api/bundles",
    ] {
        for coding in ["br", "zstd", "gzip, gzip", ""] {
            let refused = post(path, coding, octets, b"x".to_vec());
            assert_eq!(refused.status, 415, "{path} {coding}: {}", refused.text());
            assert_eq!(refused.header("accept-encoding"), Some("gzip, deflate"), "{path} {coding}");
        }
        let broken = post(path, "gzip", octets, b"no gzip".to_vec());
        assert_eq!(broken.status, 400, "{path}: {}", broken.text());
    }
}

#[test]
fn a_compressed_bomb_is_refused_before_it_has_grown() {
    let scene = scene();
    let bomb = gzip(&vec![0; 64 << 20]);
    assert!(bomb.len() < 1 << 20);
    for path in
        ["/acme/echo/echo-bytes", "/v1/embeddings", "/api/agreements", "/v2/models/acme/echo/infer"]
    {
        let request = scene.ask("POST", path).header("content-encoding", "gzip");
        let refused = request.octets(bomb.clone()).send();
        let said = refused.text();
        assert!(
            refused.status == 413 && said.contains("decompressed body exceeds"),
            "{path}: {said}"
        );
    }
}

/// PowerShell, .NET and n8n write a byte order mark.
#[test]
fn a_byte_order_mark_in_front_of_json_is_passed_over() {
    let scene = scene();
    let marked = |text: &str| [b"\xef\xbb\xbf", text.as_bytes()].concat();
    let post = |path: &str, text: &str| {
        let request = scene.ask("POST", path).header("content-type", "application/json");
        request.body(marked(text)).send()
    };
    assert_eq!(post("/acme/echo/echo-string", r#"{"v":"x"}"#).ok().text(), "\"x\"");
    let simulated = format!("/api/agreements/{}/simulate", scene.agreement);
    post(&simulated, r#"{"function":"echo-u8"}"#).ok();
    let document =
        scene.ask("GET", &format!("/api/agreements/{}", scene.agreement)).send().ok().text();
    post("/api/agreements", &document).ok();
    for (path, body) in [
        ("/v1/embeddings", r#"{"model":"acme/none","input":"x"}"#),
        (
            "/v1/chat/completions",
            r#"{"model":"acme/none","messages":[{"role":"user","content":"x"}]}"#,
        ),
        ("/v1/completions", r#"{"model":"acme/none","prompt":"x"}"#),
    ] {
        let answer = post(path, body);
        assert!(
            answer.status == 404 && answer.text().contains("acme/none"),
            "{path}: {}",
            answer.text()
        );
    }
    let fronts = Tensors::start();
    let body = marked(r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[2]}]}"#);
    let path = "/v2/models/acme/identity-fp32/infer";
    let answer = fronts.host.post(path).bearer(&fronts.zoe.api_key).body(body.clone()).send().ok();
    assert!(answer.text().contains("[2.0]"), "{}", answer.text());
    let typed = fronts.host.call(&fronts.zoe, "acme/identity-fp32/infer");
    typed.header("content-type", "application/json").body(body).send().ok();
}

/// Otherwise a proxy and the host could act on different names.
#[test]
fn a_request_without_a_host_or_with_two_is_refused() {
    let scene = scene();
    let ask = |version: &str, hosts: &str| {
        let answer =
            scene.raw(&format!("GET /healthz HTTP/{version}\r\n{hosts}connection: close\r\n\r\n"));
        answer.split(' ').nth(1).map_or_else(|| answer.clone(), str::to_owned)
    };
    for good in [
        "host: x\r\n",
        "Host: models.example:8080\r\n",
        "host: [::1]:80\r\n",
        "host: 127.0.0.1\r\n",
    ] {
        assert_eq!(ask("1.1", good), "200", "{good}");
    }
    for bad in [
        "",
        "host:\r\n",
        "host: x\r\nhost: x\r\n",
        "host: x\r\nHost: y\r\n",
        "host: x, y\r\n",
        "host: u@x\r\n",
        "host: x/y\r\n",
        "host: x:y\r\n",
        "host: a b\r\n",
        "host: [::1\r\n",
        "host: x:123456\r\n",
        "host: http://x\r\n",
    ] {
        assert_eq!(ask("1.1", bad), "400", "{bad}");
    }
    assert_eq!(ask("1.0", ""), "200", "HTTP/1.0 does not require `Host`");
    assert_eq!(ask("1.0", "host: x\r\nhost: y\r\n"), "400");
    // The same applies to the operator's listener.
    let mut operator = TcpStream::connect(scene.host.operator_address()).expect("it listens");
    operator.write_all(b"GET /healthz HTTP/1.1\r\nconnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    operator.read_to_string(&mut answer).expect("answered");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

/// RFC 9112 section 2.2 lets a recipient accept a bare line feed as a line end; a bare carriage
/// return is refused.
#[test]
fn a_carriage_return_alone_ends_no_line() {
    let scene = scene();
    let bare = scene.raw("GET /healthz HTTP/1.1\r\nhost: x\rx: y\r\nconnection: close\r\n\r\n");
    assert!(bare.starts_with("HTTP/1.1 400"), "{bare}");
    let text = "GET /healthz HTTP/1.1\nhost: x\nconnection: close\n\n";
    assert!(scene.raw(text).starts_with("HTTP/1.1 200"));
}
