//! A host behind a proxy that terminates TLS or adds a path prefix: the URLs in its documents are
//! those that clients can reach.

use std::io::Read as _;
use std::process::Command;

use hospes::config::Config;
use serde_json::Value;
use system_tests::{HostProcess, Party, Request, TestHost, plugin, terms};

struct Scene {
    host: TestHost,
    zoe: Party,
}

fn scene(change: impl FnOnce(&mut Config)) -> Scene {
    let host = TestHost::builder().config(change).start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    for (name, function) in [("echo", "echo-u8"), ("herald", "handle")] {
        let published = host.publish(&acme, &plugin(name));
        host.agree(&acme, &zoe, &published, vec![terms(function)]);
    }
    Scene { host, zoe }
}

fn trusting(config: &mut Config) {
    config.api.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
}

const SAID: [(&str, &str); 3] = [
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "models.example"),
    ("x-forwarded-prefix", "/ml"),
];

impl Scene {
    fn get(&self, path: &str, said: &[(&str, &str)]) -> Request {
        let request = self.host.get(path).bearer(&self.zoe.api_key);
        said.iter().fold(request, |request, (name, value)| request.header(name, *value))
    }

    fn servers(&self, said: &[(&str, &str)]) -> Vec<String> {
        let seen = ["/api/openapi.json", "/acme/echo/openapi.json"].map(|path| {
            let document = self.get(path, said).send().ok().json();
            let servers = document["servers"].as_array().cloned().unwrap_or_default();
            // Without `servers`, OpenAPI paths are relative to the document's host.
            let url =
                servers.first().map(|server| server["url"].as_str().expect("a URL").to_owned());
            url.unwrap_or_else(|| "/".to_owned())
        });
        seen.to_vec()
    }

    /// The request as a handler sees it.
    fn seen(&self, said: &[(&str, &str)]) -> String {
        self.get("/acme/herald/-/request", said).send().ok().text()
    }
}

#[test]
fn documents_name_the_url_that_the_operator_has_set() {
    let url = "https://models.example/ml";
    let scene = scene(|config| config.api.public_url = Some(url.parse().expect("a URL")));
    assert_eq!(scene.servers(&[]), [url, url]);
    // The setting overrides headers, which are not trusted.
    assert_eq!(scene.servers(&SAID.map(|(name, _)| (name, "evil.example"))), [url, url]);
    let seen = scene.seen(&[]);
    for line in ["authority models.example", "header x-forwarded-prefix: /ml/acme/herald/-"] {
        assert!(seen.lines().any(|seen| seen == line), "{line} in\n{seen}");
    }
    assert!(seen.contains("Scheme::Https"), "{seen}");
}

/// Such documents were once decompressed, changed and sent in full for each request.
#[test]
fn documents_with_a_url_in_front_are_compressed_and_known_by_a_tag() {
    let scene = scene(trusting);
    for path in ["/api/openapi.json", "/acme/echo/openapi.json"] {
        let mut tags = std::collections::BTreeSet::new();
        for said in [&SAID[..], &SAID[..2], &[]] {
            let ask = |coding: &str| scene.get(path, said).header("accept-encoding", coding);
            let plain = ask("identity").send().ok();
            let zipped = ask("gzip").send().ok();
            assert_eq!(zipped.header("vary"), Some("accept-encoding, authorization"));
            // The client may have decompressed it already.
            if zipped.header("content-encoding") == Some("gzip") {
                assert!(zipped.body.len() < plain.body.len() / 2, "{}", zipped.body.len());
                let mut text = String::new();
                let read =
                    flate2::read::GzDecoder::new(zipped.body.as_slice()).read_to_string(&mut text);
                read.expect("gzip");
                assert_eq!(text, plain.text());
            } else {
                assert_eq!(zipped.json(), plain.json());
            }
            let tag = plain.header("etag").expect("a tag").to_owned();
            assert_eq!(zipped.header("etag"), Some(tag.as_str()));
            let unchanged = ask("gzip").header("if-none-match", tag.clone()).send();
            assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
            assert!(tags.insert(tag), "{path} has the same tag under another URL");
        }
    }
}

#[test]
fn a_stranger_who_says_where_the_host_is_is_not_believed() {
    let scene = scene(|_| ());
    let standard = [("forwarded", "host=evil.example;proto=https")];
    for said in [&SAID[..], &standard[..]] {
        assert_eq!(scene.servers(said), ["/", "/"]);
        let seen = scene.seen(said);
        let authority = format!("authority {}", scene.host.address());
        assert!(seen.lines().any(|line| line == authority), "{seen}");
        assert!(
            seen.lines().any(|line| line == "header x-forwarded-prefix: /acme/herald/-"),
            "{seen}"
        );
        for made_up in [
            "evil.example",
            "models.example",
            "x-forwarded-host",
            "x-forwarded-proto",
            "header forwarded",
        ] {
            assert!(!seen.contains(made_up), "{made_up} in\n{seen}");
        }
    }
}

#[test]
fn a_trusted_proxy_says_where_the_host_is() {
    let scene = scene(trusting);
    let url = "https://models.example/ml";
    assert_eq!(scene.servers(&SAID), [url, url]);
    let standard = [("forwarded", "for=192.0.2.1;host=\"models.example:8443\";proto=https")];
    assert_eq!(scene.servers(&standard)[0], "https://models.example:8443");
    // Invalid prefixes are ignored.
    for wrong in ["//evil.example", "/a/../b", "/\"><script>", "x"] {
        assert_eq!(scene.servers(&[("x-forwarded-prefix", wrong)]), ["/", "/"], "{wrong}");
    }
    let seen = scene.seen(&SAID);
    for line in ["authority models.example", "header x-forwarded-prefix: /ml/acme/herald/-"] {
        assert!(seen.lines().any(|seen| seen == line), "{line} in\n{seen}");
    }
    assert!(seen.contains("Scheme::Https"), "{seen}");
}

/// The page once requested `/api/docs/…` and stayed blank behind a prefix.
#[test]
fn the_page_finds_its_parts_whatever_is_in_front_of_its_path() {
    let scene = scene(|_| ());
    for path in ["/api/docs", "/acme/echo/docs", "/acme/echo@1.0.0/docs/", "//acme//echo/docs"] {
        let page = scene.get(path, &[]).send().ok().text();
        let links = page.split('"').filter(|part| part.contains("api/docs/"));
        let mut count = 0;
        for link in links {
            // Resolves the link as a browser would, under a prefix that the host does not know.
            let mut place: Vec<_> = path.split('/').skip(1).collect();
            place.pop();
            let mut rest = link;
            while let Some(after) = rest.strip_prefix("../") {
                assert!(place.pop().is_some(), "{path}: {link} leaves the prefix");
                rest = after;
            }
            let resolved = format!(
                "{}/{rest}",
                place.iter().map(|part| format!("/{part}")).collect::<String>()
            );
            scene.get(&resolved, &[]).send().ok();
            count += 1;
        }
        assert_eq!(count, 4, "{path}");
    }
}

/// A minimal proxy that strips `/ml` and sends it as the prefix.
const PROXY: &str = r#"
import http.client, http.server, sys
UPSTREAM = sys.argv[1]

class Proxy(http.server.BaseHTTPRequestHandler):
    def forward(self):
        assert self.path.startswith("/ml/"), self.path
        length = int(self.headers.get("content-length", 0))
        headers = {k: v for k, v in self.headers.items() if k.lower() != "connection"}
        headers.update({"x-forwarded-prefix": "/ml", "x-forwarded-proto": "https", "x-forwarded-host": "models.example"})
        upstream = http.client.HTTPConnection(UPSTREAM)
        upstream.request(self.command, self.path[3:], self.rfile.read(length), headers)
        answer = upstream.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST = forward
    def log_message(self, *_): pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

#[test]
fn the_command_line_reaches_a_host_behind_a_prefix() {
    let scene = scene(trusting);
    let mut proxy = Command::new("python3")
        .args(["-c", PROXY, &scene.host.address().to_string()])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut line = String::new();
    let mut said = std::io::BufReader::new(proxy.stdout.take().expect("piped"));
    std::io::BufRead::read_line(&mut said, &mut line).expect("a port");
    let url = format!("http://127.0.0.1:{}/ml/", line.trim());
    let folder = tempfile::tempdir().expect("a folder");
    let market = HostProcess::command()
        .args(["--json", "market", "--host", &url])
        .env("HOSPES_HOME", folder.path())
        .output()
        .expect("it runs");
    let through = Request::new("GET", format!("{url}api/openapi.json")).send().json();
    proxy.kill().expect("killed");
    proxy.wait().expect("ended");
    let said = String::from_utf8_lossy(&market.stdout);
    assert!(market.status.success() && said.contains("acme/echo"), "{market:?}");
    assert_eq!(through["servers"][0]["url"], Value::from("https://models.example/ml"));
}
