//! Web pages that call the host from a browser (CORS), and the host's own page.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use hospes::config::Config;
use system_tests::{Party, Reply, Request, TestHost, plugin, terms};

struct Scene {
    host: TestHost,
    zoe: Party,
}

fn scene(origins: &[&str]) -> Scene {
    let origins: Vec<_> = origins.iter().map(|origin| origin.parse().expect("an origin")).collect();
    let host = TestHost::builder().config(|config| config.api.cors_origins = origins).start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    for (name, function) in [("echo", "echo-u8"), ("herald", "handle")] {
        let published = host.publish(&acme, &plugin(name));
        host.agree(&acme, &zoe, &published, vec![terms(function)]);
    }
    Scene { host, zoe }
}

const APP: &str = "https://app.example";

impl Scene {
    fn ask(&self, method: &'static str, path: &str) -> Request {
        let url = format!("http://{}{path}", self.host.address());
        Request::new(method, url)
    }

    fn preflight(&self, path: &str, origin: &str) -> Reply {
        self.ask("OPTIONS", path)
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type,x-stainless-lang")
            .send()
    }
}

const ALLOWED: &str = "access-control-allow-origin";

/// A path of each kind, with responses of every kind.
const PATHS: [&str; 9] = [
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/rerank",
    "/v1/models",
    "/v2/models/acme/echo/infer",
    "/acme/echo/echo-u8",
    "/acme/herald/-/",
    "/api/market",
    "/nothing/is/here",
];

#[test]
fn no_page_may_call_unless_the_operator_says_so() {
    let scene = scene(&[]);
    for path in PATHS {
        let preflight = scene.preflight(path, APP);
        assert_eq!(preflight.header(ALLOWED), None, "{path}");
        let got = scene.ask("GET", path).header("origin", APP).send();
        let varies = got.header("vary").is_some_and(|vary| vary.contains("origin"));
        assert!(got.header(ALLOWED).is_none() && !varies, "{path}");
    }
}

#[test]
fn pages_of_the_origins_that_are_set_may_call_and_no_others() {
    let scene = scene(&[APP, "http://localhost:5173"]);
    for path in PATHS {
        let preflight = scene.preflight(path, APP);
        assert_eq!((preflight.status, preflight.header(ALLOWED)), (204, Some(APP)), "{path}");
        let headers = preflight.header("access-control-allow-headers").expect("headers");
        assert_eq!(headers, "authorization,content-type,x-stainless-lang", "{path}");
        let methods = preflight.header("access-control-allow-methods").expect("methods");
        assert!(methods.contains("POST"), "{methods}");
        assert!(preflight.all("vary").iter().any(|vary| vary.contains("origin")), "{path}");
        for other in
            ["https://evil.example", "https://app.example.evil", "http://app.example", "null", ""]
        {
            assert_eq!(scene.preflight(path, other).header(ALLOWED), None, "{path} {other}");
            let got = scene.ask("GET", path).header("origin", other).send();
            assert_eq!(got.header(ALLOWED), None, "{path} {other}");
            assert!(got.all("vary").iter().any(|vary| vary.contains("origin")), "{path} {other}");
        }
        // Pages can read every kind of response, including refusals.
        let got = scene.ask("GET", path).header("origin", "http://localhost:5173").send();
        assert_eq!(got.header(ALLOWED), Some("http://localhost:5173"), "{path}");
        assert_eq!(got.header("access-control-allow-credentials"), None, "{path}");
    }
    let call =
        scene.ask("POST", "/acme/echo/echo-u8").bearer(&scene.zoe.api_key).header("origin", APP);
    let call = call.json(r#"{"v":7}"#).send().ok();
    let exposed = call.header("access-control-expose-headers").expect("exposed");
    for name in ["hospes-receipt", "hospes-salt", "hospes-remaining", "retry-after"] {
        assert!(exposed.contains(name), "{name}");
    }
    let page =
        scene.ask("GET", "/acme/herald/-/").bearer(&scene.zoe.api_key).header("origin", APP).send();
    assert_eq!(page.ok().header(ALLOWED), Some(APP));
}

#[test]
fn what_is_no_sound_request_is_refused_though_it_looks_like_a_preflight() {
    let scene = scene(&["*"]);
    for unsound in ["host: x\r\nhost: y\r\n", "host: x\r\ntransfer-encoding: gzip, chunked\r\n"] {
        let mut stream = TcpStream::connect(scene.host.address()).expect("connects");
        let head = format!(
            "OPTIONS /v1/models HTTP/1.1\r\n{unsound}origin: {APP}\r\naccess-control-request-method: GET\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("sent");
        let mut status = [0; 12];
        stream.read_exact(&mut status).expect("an answer");
        assert_eq!(&status, b"HTTP/1.1 400", "{unsound}");
    }
}

#[test]
fn with_a_star_every_page_may_call_and_none_with_credentials() {
    let scene = scene(&["*"]);
    for path in PATHS {
        let preflight = scene.preflight(path, "https://any.example");
        assert_eq!((preflight.status, preflight.header(ALLOWED)), (204, Some("*")), "{path}");
        assert_eq!(preflight.header("access-control-allow-credentials"), None, "{path}");
    }
    // An invalid list of headers is not echoed.
    let odd = scene
        .ask("OPTIONS", "/v1/models")
        .header("origin", APP)
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "a b, <c>")
        .send();
    assert_eq!(odd.header("access-control-allow-headers"), Some("authorization, content-type"));
}

#[test]
fn no_page_may_call_the_operator_s_listener() {
    let scene = scene(&["*"]);
    let status = scene.host.operator("GET", "/status").header("origin", APP).send().ok();
    assert_eq!(status.header(ALLOWED), None);
    let preflight = scene.host.operator("OPTIONS", "/status").header("origin", APP);
    let preflight = preflight.header("access-control-request-method", "GET").send();
    assert_eq!(preflight.header(ALLOWED), None);
}

#[test]
fn an_origin_with_a_path_is_no_setting() {
    for wrong in ["https://app.example/", "https://*.example", "app.example", "null"] {
        let text = format!("[api]\ncors_origins = [\"{wrong}\"]\n");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("hospes.toml");
        std::fs::write(&path, text).expect("written");
        let error = Config::read(&path).expect_err(wrong);
        let cause = std::error::Error::source(&error).expect("a cause").to_string();
        assert!(cause.contains("is not the origin of a page"), "{cause}");
    }
}

/// It was once decompressed for each request: 4 ms and 1.4 MB per stranger.
#[test]
fn the_page_s_parts_are_sent_as_they_are_kept() {
    let scene = scene(&[]);
    for part in ["swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"] {
        let ask = |accepted: &str| {
            let request = scene.ask("GET", &format!("/api/docs/{part}"));
            let answer = request.header("accept-encoding", accepted).send().ok();
            assert_eq!(answer.header("vary"), Some("accept-encoding"), "{part}");
            let length = answer.header("content-length").map(|length| length.parse::<usize>());
            (answer.header("content-encoding").map(str::to_owned), length, answer)
        };
        let (coding, compressed, _) = ask("gzip, br");
        assert_eq!(coding.as_deref(), Some("gzip"), "{part}");
        for plain in ["identity", "br", "gzip;q=0"] {
            let (coding, length, answer) = ask(plain);
            assert_eq!(coding, None, "{part}");
            assert_eq!(length, Some(Ok(answer.body.len())), "{part}");
            if part.ends_with("js") {
                assert!(answer.text().contains("SwaggerUIBundle"), "{part}");
                let compressed = compressed.clone().expect("a length").expect("a number");
                assert!(compressed * 2 < answer.body.len(), "{part}");
            }
        }
    }
}
