//! Malformed input gets a clear error and changes nothing: more than two hundred requests, bundles,
//! offers and agreements, against each parser and each limit.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use hospes::dsse::Envelope;
use hospes::key::PartyKey;
use serde_json::Value;
use system_tests::{Limited as _, Party, Reply, TestHost, plugin, terms};

const OFFER: &str = "application/vnd.hospes.offer.v1+json";
const AGREEMENT: &str = "application/vnd.hospes.agreement.v1+json";

struct Scene {
    host: TestHost,
    acme: Party,
    zoe: Party,
    published: (hospes::id::ModelName, hospes::id::Digest),
}

impl Scene {
    fn new() -> Self {
        let host = TestHost::builder()
            .config(|config| {
                config.api.body_bytes_max = 100_000;
                config.api.header_read_timeout = Duration::from_millis(500);
                config.api.body_read_timeout = Duration::from_millis(500);
                config.bundle.bundle_bytes_max = 4 << 20;
                config.bundle.code_bytes_max = 1 << 20;
            })
            .start();
        let (acme, zoe) = (host.party("acme"), host.party("zoe"));
        let published = host.publish(&acme, &plugin("echo"));
        host.agree(&acme, &zoe, &published, vec![terms("echo-u8")]);
        Self { host, acme, zoe, published }
    }

    /// Everything that a request could have changed, apart from the receipts of refusals.
    fn state(&self) -> Vec<Value> {
        let status = self.host.operator("GET", "/status").send().ok().json();
        let mine = |party: &Party| {
            self.host.get("/api/agreements").bearer(&party.api_key).send().ok().json()
        };
        let market = self.host.get("/api/market").send().ok().json();
        vec![
            status["models"].clone(),
            status["sandboxes_free"].clone(),
            market,
            mine(&self.acme),
            mine(&self.zoe),
        ]
    }

    /// Runs every case. Each must be refused clearly, and together they must change nothing.
    #[track_caller]
    fn refuses(&self, cases: impl IntoIterator<Item = (String, Reply)>) -> usize {
        let before = self.state();
        let mut count = 0;
        for (name, reply) in cases {
            assert!(
                (400..500).contains(&reply.status),
                "{name}: {} {}",
                reply.status,
                reply.text()
            );
            let problem = reply.json();
            let detail = problem["detail"].as_str().unwrap_or_default();
            assert!(detail.len() > 10 && detail.len() < 2000, "{name}: {problem}");
            count += 1;
        }
        assert_eq!(self.state(), before, "something was changed");
        let call = self.host.call(&self.zoe, "acme/echo/echo-u8").json(r#"{"v":7}"#).send().ok();
        assert_eq!(call.text(), "7");
        count
    }
}

/// Sends these bytes and reads the response until the host closes the connection, for at most five
/// seconds.
fn raw(host: &TestHost, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(host.address()).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn requests_that_are_not_http_are_refused_or_cut_off() {
    let scene = Scene::new();
    let before = scene.state();
    let long = "a".repeat(20_000);
    let many: String = (0..100).map(|n| format!("x-{n}: 1\r\n")).collect();
    let cases: Vec<Vec<u8>> = vec![
        b"\r\n\r\n".to_vec(),
        b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        b"OPTIONS * HTTP/1.1\r\n\r\n".to_vec(),
        b"GET x HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"GET /api/market\r\n\r\n".to_vec(),
        b"GE T /api/market HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"GET /api/market HTTP/1.1\r\nhost x\r\n\r\n".to_vec(),
        b"GET /api/market HTTP/1.1\r\nhost: \x00\r\n\r\n".to_vec(),
        b"POST /acme/echo/echo-u8 HTTP/1.1\r\nhost: x\r\ncontent-length: x\r\n\r\n".to_vec(),
        b"POST /acme/echo/echo-u8 HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n".to_vec(),
        b"POST /acme/echo/echo-u8 HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}".to_vec(),
        b"POST /acme/echo/echo-u8 HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}".to_vec(),
        b"POST /acme/echo/echo-u8 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n{}".to_vec(),
        b"POST /acme/echo/echo-u8 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_vec(),
        format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n").into_bytes(),
        format!("GET /api/market HTTP/1.1\r\nhost: x\r\nx: {long}\r\n\r\n").into_bytes(),
        format!("GET /api/market HTTP/1.1\r\nhost: x\r\n{many}\r\n").into_bytes(),
    ];
    for bytes in &cases {
        let answer = raw(&scene.host, bytes);
        let status = answer.split(' ').nth(1).unwrap_or("");
        let refused = answer.is_empty() || status.starts_with('4');
        assert!(
            refused,
            "{:?}: {answer:.200}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(80)])
        );
    }
    assert!(cases.len() >= 17);
    assert_eq!(scene.state(), before);
}

#[test]
fn slow_clients_are_cut_off() {
    let scene = Scene::new();
    let mut stream = TcpStream::connect(scene.host.address()).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
    stream.write_all(b"GET /api/market HTTP/1.1\r\nhost:").expect("sent");
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer);
    assert!(ended.is_ok(), "the host closes a connection without headers: {ended:?}");

    cut_off(&scene.host, "/acme/echo/echo-u8", &scene.zoe.api_key);
}

/// Sends the beginning of a body and nothing more; the host must respond with 408.
#[track_caller]
fn cut_off(host: &TestHost, path: &str, key: &str) {
    let mut stream = TcpStream::connect(host.address()).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: 10\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).expect("sent");
    let mut answer = [0; 1024];
    let length = stream.read(&mut answer).expect("an answer");
    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[test]
fn a_bundle_that_does_not_come_and_one_that_takes_long_to_compile_are_given_up() {
    let host = TestHost::builder().config(|config| {
        config.api.publish_read_timeout = Duration::from_millis(200);
        config.sandbox.compile_timeout = Duration::from_millis(1);
    });
    let host = host.start();
    let acme = host.party("acme");
    cut_off(&host, "/api/bundles", &acme.api_key);

    let problem =
        host.try_publish(&acme, &acme.sign(&plugin("echo"))).problem(422, "bundle-refused");
    let detail = problem["detail"].as_str().expect("text");
    assert!(detail.contains("`sandbox.compile_timeout`"), "{detail}");
    host.get("/acme/echo").bearer(&acme.api_key).send().problem(404, "not-found");
}

/// Bodies that are not `{"v": …}` with a small number.
const BODIES: [&str; 30] = [
    "",
    "{",
    "}",
    "[]",
    "null",
    "1",
    "\"v\"",
    "{\"v\"}",
    "{\"v\":}",
    "{\"v\":1,}",
    "{\"v\":01}",
    "{\"v\":+1}",
    "{\"v\":1e2}",
    "{\"v\":1.5}",
    "{\"v\":NaN}",
    "{\"v\":300}",
    "{\"v\":-1}",
    "{\"v\":null}",
    "{\"v\":[1]}",
    "{\"v\":{}}",
    "{\"v\":\"x\"}",
    "{\"v\":true}",
    "{\"V\":1}",
    "{\"v\":1,\"v\":1}",
    "{\"v\":1}{}",
    "{'v':1}",
    "{\"v\":18446744073709551616}",
    "{\"v\":1}\u{0}",
    "// c\n{\"v\":1}",
    "{\"v\":1e999}",
];

#[test]
fn bodies_that_are_malformed_are_refused() {
    let scene = Scene::new();
    let echo = || scene.host.call(&scene.zoe, "acme/echo/echo-u8");
    let mut cases: Vec<_> =
        BODIES.iter().map(|body| (format!("body {body}"), echo().json(body).send())).collect();
    let deep = "[".repeat(99_000);
    let unclosed = r#"{"v":"#.repeat(10_000);
    cases.push(("deep".into(), echo().json(&deep).send()));
    cases.push(("unclosed".into(), echo().json(&unclosed).send()));
    let invalid = echo().header("content-type", "application/json").body(b"{\"v\":\xff}");
    cases.push(("not UTF-8".into(), invalid.send()));
    cases.push(("bytes".into(), echo().octets(b"1").send()));
    let large = echo().json(&" ".repeat(100_001)).send();
    assert_eq!(large.problem(413, "body-too-large")["limit"], 100_000);
    cases.push(("too large".into(), large));
    let count = scene.refuses(cases);
    assert!(count >= 35, "{count} cases");
}

#[test]
fn headers_that_are_malformed_are_refused() {
    let scene = Scene::new();
    let echo = || scene.host.call(&scene.zoe, "acme/echo/echo-u8");
    let mut cases = Vec::new();
    let form = "application/x-www-form-urlencoded";
    for media in ["text/html", form, "multipart/form-data", "application/jsonp", "", "\u{e4}"] {
        let request = echo().header("content-type", media).body("{}");
        cases.push((format!("media {media}"), request.send()));
    }
    let long = format!("urn:{}", "a".repeat(300));
    for (name, value) in [
        ("hospes-agreement", "x"),
        ("hospes-agreement", "sha256:12"),
        ("hospes-purpose", "no iri"),
        ("hospes-purpose", ""),
        ("hospes-purpose", &long),
        ("hospes-purpose", "urn:\u{e4}"),
    ] {
        let request = echo().json(r#"{"v":1}"#).header(name, value);
        cases.push((format!("{name}: {value:.20}"), request.send()));
    }
    let twice = echo().json(r#"{"v":1}"#).header("hospes-purpose", "urn:a");
    cases.push(("two purposes".into(), twice.header("hospes-purpose", "urn:b").send()));
    let count = scene.refuses(cases);
    assert!(count >= 13, "{count} cases");
}

#[test]
fn paths_and_methods_that_are_malformed_are_refused() {
    let scene = Scene::new();
    let long_name = format!("{}/echo/echo-u8", "a".repeat(64));
    let long_path = format!("acme/echo/{}", "a".repeat(2000));
    let paths = [
        "acme/echo",
        "acme/echo/",
        "acme//echo-u8",
        "/echo/echo-u8",
        "acme/echo/echo-u8/x",
        "ACME/echo/echo-u8",
        "acme/echo@/echo-u8",
        "acme/echo@1/echo-u8",
        "acme/echo@sha256:1/echo-u8",
        "acme/echo@1.0.0@1.0.0/echo-u8",
        "acme/echo/echo_u8",
        "acme/echo/%2565cho-u8",
        "acme/..%2fecho/echo-u8",
        "acme/../echo/echo-u8/",
        "a%20b/c/d",
        "api/echo/echo-u8",
        &long_name,
        &long_path,
    ];
    let call = |path: &str| scene.host.call(&scene.zoe, path).json(r#"{"v":1}"#).send();
    let mut cases: Vec<_> =
        paths.iter().map(|path| (format!("path {path:.40}"), call(path))).collect();
    for method in ["PUT", "DELETE", "PATCH", "GET", "TRACE"] {
        let url = format!("http://{}/acme/echo/echo-u8", scene.host.address());
        let request = system_tests::Request::new(method, url).bearer(&scene.zoe.api_key);
        cases.push((format!("method {method}"), request.send()));
    }
    let count = scene.refuses(cases);
    assert!(count >= 23, "{count} cases");
}

#[test]
fn bundles_that_are_malformed_are_refused() {
    let scene = Scene::new();
    let sound = scene.acme.sign(&system_tests::wat_guest("trap", &[]));
    let publish = |bytes: &[u8]| scene.host.try_publish(&scene.acme, bytes);
    let mut cases = Vec::new();
    let length = sound.len();
    for step in 0..40 {
        let cut = length * step / 40;
        cases.push((format!("cut at {cut} of {length}"), publish(&sound[..cut])));
        let mut flipped = sound.clone();
        let at = (length - 1) * step / 39;
        flipped[at] ^= 0x20;
        cases.push((format!("flipped byte {at} of {length}"), publish(&flipped)));
    }
    let twice = [&sound[..], &sound[..]].concat();
    cases.push(("twice".into(), publish(&twice)));
    cases.push(("an extra byte".into(), publish(&[&sound[..], &[0]].concat())));
    cases.push(("unsigned".into(), publish(&system_tests::wat_guest("trap", &[]))));
    cases.push(("nothing".into(), publish(b"")));
    cases.push(("a core module".into(), publish(b"\0asm\x01\0\0\0")));
    cases.push(("a bare component".into(), publish(b"\0asm\x0d\0\x01\0")));
    cases.push(("text".into(), publish(b"hello")));
    let eve = PartyKey::from_secret(&[9; 32]);
    let other = hospes::bundle::sign(&system_tests::wat_guest("trap", &[]), &eve).expect("sound");
    cases.push(("another's signature".into(), publish(&other)));
    cases.push(("too large".into(), publish(&vec![0; (4 << 20) + 1])));
    let count = scene.refuses(cases);
    assert!(count >= 85, "{count} cases");
}

/// Replacements that invalidate a document, each with the text that it replaces.
const WRONG: [(&str, &str); 26] = [
    ("\"count\"", "\"calls\""),
    ("\"lteq\"", "\"lt\""),
    ("\"lteq\"", "\"eq\""),
    ("hospes:call", "hospes:flop"),
    ("\"rightOperand\":9", "\"rightOperand\":0"),
    ("\"rightOperand\":9", "\"rightOperand\":-9"),
    ("\"rightOperand\":9", "\"rightOperand\":9.5"),
    ("\"rightOperand\":9", "\"rightOperand\":\"9\""),
    ("\"rightOperand\":9", "\"rightOperand\":9007199254740993"),
    ("\"rightOperand\":9", "\"rightOperand\":9,\"rightOperand\":9"),
    ("\"rightOperand\":9", "\"note\":\"x\",\"rightOperand\":9"),
    ("odrl:execute", "odrl:use"),
    ("urn:hospes:profile:1", "urn:hospes:profile:2"),
    ("\"prohibit\"", "\"perm\""),
    ("urn:uuid:", "urn:uid:"),
    ("urn:hospes:model:", "urn:other:model:"),
    ("acme/echo", "acme/ECHO"),
    ("\"@context\":[", "\"@context\":[\"urn:x\","),
    ("http://www.w3.org/ns/odrl.jsonld", "http://www.w3.org/ns/odrl2.jsonld"),
    ("\"permission\":[", "\"duty\":[],\"permission\":["),
    ("\"permission\":[", "\"prohibition\":[],\"permission\":["),
    ("{\"@context\"", " {\"@context\""),
    ("{\"@context\"", "{ \"@context\""),
    ("did:key:z6Mk", "did:web:z6Mk"),
    ("did:key:z6Mk", "did:key:z6Mj"),
    ("sha256:", "sha512:"),
];

fn document(envelope: &[u8]) -> String {
    let envelope = Envelope::parse(envelope).expect("an envelope");
    String::from_utf8(envelope.payload().to_vec()).expect("JSON")
}

fn signed(kind: &str, payload: &str, keys: &[&PartyKey]) -> Vec<u8> {
    let mut envelope = Envelope::sign(kind, payload.as_bytes().to_vec(), keys[0]).expect("signed");
    for key in &keys[1..] {
        envelope.add_signature(key).expect("signed");
    }
    envelope.to_bytes()
}

#[test]
fn offers_and_agreements_that_are_malformed_are_refused() {
    let scene = Scene::new();
    let limited = terms("echo-u8").limit(&format!("count lteq {} call", 9));
    let offer = scene.acme.offer(&scene.published.0, scene.published.1, vec![limited]);
    let list = |bytes: &[u8]| {
        scene.host.post("/api/offers").bearer(&scene.acme.api_key).body(bytes).send()
    };
    let submit = |bytes: &[u8]| scene.host.submit(&scene.zoe, bytes);
    let keys = [&scene.zoe.key, &scene.acme.key];
    let mut cases = Vec::new();

    let payload = document(&offer.to_bytes());
    for (right, wrong) in WRONG {
        assert!(payload.contains(right), "{right} is not in {payload}");
        let changed = payload.replacen(right, wrong, 1);
        cases.push((format!("offer: {wrong}"), list(&signed(OFFER, &changed, &keys[1..]))));
    }
    cases.push(("an offer by another".into(), list(&signed(OFFER, &payload, &keys[..1]))));
    cases.push(("an offer as an agreement".into(), list(&signed(AGREEMENT, &payload, &keys[1..]))));

    // The offer is listed only now, so nothing has changed before.
    let proposal = scene.zoe.accept(&offer);
    cases.push(("an offer that is not listed".into(), submit(&proposal.to_bytes())));
    let count = scene.refuses(cases);
    assert!(count >= 29, "{count} cases");
    list(&offer.to_bytes()).ok();

    let mut cases = Vec::new();
    let payload = document(&proposal.to_bytes());
    for (right, wrong) in WRONG {
        let changed = payload.replacen(right, wrong, 1);
        cases.push((format!("agreement: {wrong}"), submit(&signed(AGREEMENT, &changed, &keys))));
    }
    // Well-formed, but not what was offered.
    for (right, wrong) in [("\"rightOperand\":9", "\"rightOperand\":10"), ("echo-u8", "echo-u64")] {
        let changed = payload.replacen(right, wrong, 1);
        cases.push((
            format!("not as offered: {wrong}"),
            submit(&signed(AGREEMENT, &changed, &keys)),
        ));
    }
    let eve = PartyKey::from_secret(&[9; 32]);
    cases.push(("signed by a stranger".into(), submit(&signed(AGREEMENT, &payload, &[&eve]))));
    cases.push((
        "signed by a stranger too".into(),
        submit(&signed(AGREEMENT, &payload, &[keys[0], &eve])),
    ));
    cases.push(("another payload type".into(), submit(&signed(OFFER, &payload, &keys))));
    let envelope = signed(AGREEMENT, &payload, &keys);
    for step in 0..30 {
        let at = (envelope.len() - 1) * step / 29;
        let mut flipped = envelope.clone();
        flipped[at] ^= 1;
        cases.push((format!("flipped byte {at}"), submit(&flipped)));
        cases.push((format!("cut at {at}"), submit(&envelope[..at])));
    }
    for bytes in [&b"{}"[..], b"[]", b"null", b"\xff", &vec![b' '; 300_000]] {
        cases.push((format!("{:.10?}", bytes), submit(bytes)));
    }
    let outsider = scene.host.party("mallory");
    cases.push(("submitted by an outsider".into(), scene.host.submit(&outsider, &envelope)));
    let count = scene.refuses(cases);
    assert!(count >= 90, "{count} cases");
    assert_eq!(submit(&envelope).ok().json()["state"], "active", "the valid agreement is accepted");
}

#[test]
fn requests_to_open_accounts_that_are_malformed_are_refused() {
    let scene = Scene::new();
    let open = |body: &str| scene.host.operator("POST", "/accounts").json(body).send();
    let party = PartyKey::from_secret(&[8; 32]).party();
    let cases = [
        String::new(),
        "{}".into(),
        "[]".into(),
        format!(r#"{{"name":"Eve","party":"{party}"}}"#),
        format!(r#"{{"name":"","party":"{party}"}}"#),
        format!(r#"{{"name":"{}","party":"{party}"}}"#, "a".repeat(64)),
        format!(r#"{{"name":"eve","party":"{party}","admin":true}}"#),
        r#"{"name":"eve","party":"did:key:z6Mk"}"#.into(),
        r#"{"name":"eve","party":1}"#.into(),
        format!(r#"{{"name":"acme","party":"{party}"}}"#),
        format!(r#"{{"name":"eve","party":"{party}"{}}}"#, " ".repeat(5000)),
    ];
    scene.refuses(cases.iter().map(|body| (format!("{body:.60}"), open(body))));
    let array = open("[]").problem(400, "invalid-request")["detail"].to_string();
    assert!(array.contains("expected an object"), "{array}");
}
