//! HTTP/1.1 and HTTP/2, with and without TLS, using curl.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use system_tests::{HostProcess, Party, TestHost, plugin, terms};

struct Scene {
    host: TestHost,
    zoe: Party,
}

fn scene(tls: Option<&Path>) -> Scene {
    let host = TestHost::builder().config(|config| {
        config.api.tls_certificate = tls.map(|folder| folder.join("certificate.pem"));
        config.api.tls_key = tls.map(|folder| folder.join("key.pem"));
    });
    let host = host.start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let bundle = acme.sign(&plugin("echo"));
    let published: Value = serde_json::from_str(&curl(
        &host,
        tls,
        &[
            "--data-binary",
            "@-",
            "-H",
            "content-type: application/octet-stream",
            "-H",
            &format!("authorization: Bearer {}", acme.api_key),
        ],
        "/api/bundles",
        &bundle,
    ))
    .expect("JSON");
    let model = published["model"].as_str().expect("text").parse().expect("a model");
    let digest = published["digest"].as_str().expect("text").parse().expect("a digest");
    let offer = acme.offer(&model, digest, vec![terms("echo-string"), terms("echo-bytes")]);
    let mut agreement = zoe.accept(&offer);
    agreement.add_signature(&acme.key).expect("the publisher");
    for (party, path, document) in
        [(&acme, "/api/offers", offer.to_bytes()), (&zoe, "/api/agreements", agreement.to_bytes())]
    {
        let key = format!("authorization: Bearer {}", party.api_key);
        curl(&host, tls, &["--data-binary", "@-", "-H", &key], path, &document);
    }
    Scene { host, zoe }
}

/// The output of curl, which fails on an error status.
fn curl(
    host: &TestHost,
    tls: Option<&Path>,
    arguments: &[&str],
    path: &str,
    body: &[u8],
) -> String {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://localhost:{}{path}", host.address().port());
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail-with-body", "--max-time", "20", "--ipv4"]);
    if let Some(folder) = tls {
        command.arg("--cacert").arg(folder.join("certificate.pem"));
    }
    let mut child = command
        .args(arguments)
        .arg(url)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("curl runs");
    child.stdin.take().expect("piped").write_all(body).expect("written");
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// A self-signed certificate for `localhost`.
fn certificate(folder: &Path) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("made");
    std::fs::write(folder.join("certificate.pem"), made.cert.pem()).expect("written");
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).expect("written");
}

fn echo(scene: &Scene, tls: Option<&Path>, version: &[&str]) -> (String, String) {
    let key = format!("authorization: Bearer {}", scene.zoe.api_key);
    let mut arguments =
        vec!["--data-binary", "@-", "-H", "content-type: application/json", "-H", &key];
    arguments.extend(["--write-out", " HTTP/%{http_version}"]);
    arguments.extend(version);
    let text = "x".repeat(100_000);
    let body = json!({ "v": text }).to_string();
    let said = curl(&scene.host, tls, &arguments, "/acme/echo/echo-string", body.as_bytes());
    let (answer, version) = said.rsplit_once(" HTTP/").expect("as asked");
    assert_eq!(answer, json!(text).to_string());
    (answer.to_owned(), version.to_owned())
}

#[test]
fn both_versions_are_served_on_one_port_in_the_clear() {
    let scene = scene(None);
    assert_eq!(echo(&scene, None, &["--http1.1"]).1, "1.1");
    assert_eq!(echo(&scene, None, &["--http2-prior-knowledge"]).1, "2");
}

#[test]
fn both_versions_are_served_encrypted() {
    let folder = tempfile::tempdir().expect("a folder");
    certificate(folder.path());
    let tls = Some(folder.path());
    let scene = scene(tls);
    assert_eq!(echo(&scene, tls, &["--http1.1"]).1, "1.1");
    assert_eq!(echo(&scene, tls, &["--http2"]).1, "2");
    // A client without TLS gets no response and disturbs no one.
    let mut plain = TcpStream::connect(scene.host.address()).expect("it listens");
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").expect("sent");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    assert_eq!(echo(&scene, tls, &["--http2"]).1, "2");
}

#[test]
fn the_command_line_trusts_what_the_machine_trusts() {
    let folder = tempfile::tempdir().expect("a folder");
    certificate(folder.path());
    let scene = scene(Some(folder.path()));
    let market = |trusted: &str| {
        let url = format!("https://localhost:{}", scene.host.address().port());
        let mut command = HostProcess::command();
        command.args(["market", "--host", &url]).env("HOSPES_HOME", folder.path());
        command.env("SSL_CERT_FILE", folder.path().join(trusted)).output().expect("it runs")
    };
    let seen = market("certificate.pem");
    let said = String::from_utf8_lossy(&seen.stdout);
    assert!(seen.status.success() && said.contains("acme/echo"), "{seen:?}");
    std::fs::create_dir(folder.path().join("other")).expect("made");
    certificate(&folder.path().join("other"));
    let refused = market("other/certificate.pem");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("certificate"), "{refused:?}");
}

#[test]
fn a_host_does_not_start_with_half_of_a_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    certificate(folder.path());
    let start = |certificate: Option<&str>, key: Option<&str>| {
        let path = |name: Option<&str>| name.map(|name| folder.path().join(name));
        let (certificate, key) = (path(certificate), path(key));
        let host = TestHost::builder().config(|config| {
            (config.api.tls_certificate, config.api.tls_key) = (certificate, key);
        });
        host.try_start().map(drop).expect_err("refused")
    };
    assert!(start(Some("certificate.pem"), None).contains("set both or none"));
    assert!(start(Some("none.pem"), Some("key.pem")).contains("api.tls_certificate"));
    assert!(start(Some("certificate.pem"), Some("certificate.pem")).contains("api.tls_key"));
    std::fs::create_dir(folder.path().join("other")).expect("made");
    certificate(&folder.path().join("other"));
    let other = start(Some("certificate.pem"), Some("other/key.pem"));
    assert!(other.contains("do not match"), "{other}");
}

#[test]
fn a_connection_above_the_limit_waits_for_another_to_end() {
    let host = TestHost::builder()
        .config(|config| config.api.connections_max = 2.try_into().expect("not zero"))
        .start();
    // With the keys of two parties, because a stranger's connection would be closed to make room.
    let keys = [host.party("ann").api_key, host.party("zoe").api_key];
    let mut keys = keys.iter().cycle();
    let mut ask = |patience: Duration| {
        let mut stream = TcpStream::connect(host.address()).expect("the kernel accepts it");
        stream.set_read_timeout(Some(patience)).expect("set");
        let key = keys.next().expect("a cycle never ends");
        let head =
            format!("GET /healthz HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("sent");
        let mut answer = [0; 12];
        let answered = stream.read_exact(&mut answer).map(|()| answer);
        (stream, answered.ok())
    };
    let seconds = Duration::from_secs(10);
    let (first, second) = (ask(seconds), ask(seconds));
    assert_eq!((first.1, second.1), (Some(*b"HTTP/1.1 200"), Some(*b"HTTP/1.1 200")));
    let (mut third, answered) = ask(Duration::from_millis(300));
    assert_eq!(answered, None, "the limit is two connections");
    drop(first);
    third.set_read_timeout(Some(seconds)).expect("set");
    let mut answer = [0; 12];
    third.read_exact(&mut answer).expect("the third connection is accepted");
    assert_eq!(answer, *b"HTTP/1.1 200");
}

#[test]
fn requests_that_come_at_once_are_answered_in_their_order() {
    let scene = scene(None);
    let mut stream = TcpStream::connect(scene.host.address()).expect("it listens");
    let mut requests = Vec::new();
    for number in 0..50 {
        let body = json!({"v": format!("number {number}")}).to_string();
        let head = format!(
            "POST /acme/echo/echo-string HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            scene.zoe.api_key,
            body.len()
        );
        requests.extend_from_slice(head.as_bytes());
        requests.extend_from_slice(body.as_bytes());
    }
    requests.extend_from_slice(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(&requests).expect("sent");
    let mut answers = String::new();
    stream.read_to_string(&mut answers).expect("answered");
    let mut from = 0;
    for number in 0..50 {
        let found = answers[from..].find(&format!("\"number {number}\"")).expect("in order");
        from += found;
    }
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 51);
}

/// Clients reuse a connection unless the response says that it closes; otherwise their next request
/// is lost.
#[test]
fn a_refusal_before_the_body_has_come_says_that_the_connection_closes() {
    let scene = scene(None);
    let head = format!(
        "POST /acme/echo/echo-string HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\n",
        scene.zoe.api_key
    );
    let mut stream = TcpStream::connect(scene.host.address()).expect("it listens");
    let mut ask = |request: &str| {
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = vec![0; 4096];
        let length = stream.read(&mut answer).expect("answered");
        String::from_utf8(answer[..length].to_vec()).expect("text")
    };
    for _ in 0..2 {
        let answer = ask(&format!("{head}{{}}"));
        assert!(answer.starts_with("HTTP/1.1 415 ") && !answer.contains("connection:"), "{answer}");
    }
    let answer = ask(&head);
    assert!(answer.starts_with("HTTP/1.1 415 "), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
}

#[test]
fn forms_and_queries_are_arguments_as_curl_sends_them() {
    let scene = scene(None);
    let key = format!("authorization: Bearer {}", scene.zoe.api_key);
    let call = |arguments: &[&str], path: &str, body: &[u8]| {
        let arguments: Vec<_> = arguments.iter().copied().chain(["-H", &key]).collect();
        curl(&scene.host, None, &arguments, path, body)
    };
    assert_eq!(
        call(&["-F", "v=text as it is"], "/acme/echo/echo-string", b""),
        "\"text as it is\""
    );
    assert_eq!(
        call(&["-F", "v=@-;filename=x.bin"], "/acme/echo/echo-bytes", b"\0\xff"),
        "\"AP8=\""
    );
    assert_eq!(call(&["-X", "POST"], "/acme/echo/echo-string?v=a+b%21", b""), "\"a b!\"");
    let octets = ["--data-binary", "@-", "-H", "content-type: application/octet-stream"];
    assert_eq!(call(&octets, "/acme/echo/echo-bytes?", b"\0\xff"), "\"AP8=\"");
    let request = scene.host.call(&scene.zoe, "acme/echo/echo-string?v=x");
    let both = request.json(r#"{"v":"y"}"#).send().problem(400, "invalid-request");
    assert!(both["detail"].as_str().expect("text").contains("not in both"), "{both}");
    let unknown = scene.host.call(&scene.zoe, "acme/echo/echo-string?w=x").send();
    let unknown = unknown.problem(400, "invalid-arguments");
    assert!(unknown["detail"].as_str().expect("text").contains("`w`"), "{unknown}");
}
