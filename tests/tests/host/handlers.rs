//! Components that handle HTTP themselves (`wasi:http` of WASI 0.2 and 0.3): what is passed on,
//! what is not, and what is logged.

use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use hospes::config::Config;
use hospes::receipt::{ReceiptProof, Salt};
use serde_json::Value;
use system_tests::{Limited as _, Party, Reply, Request, TestHost, plugin, terms};

/// The plugins with a handler: for WASI 0.2 and for WASI 0.3.
const BOTH: [&str; 2] = ["herald", "herald-next"];

const AGENT: &str = "tests";

struct Scene {
    host: TestHost,
    acme: Party,
    zoe: Party,
    published: Vec<(hospes::id::ModelName, hospes::id::Digest)>,
}

fn scene(change: impl FnOnce(&mut Config)) -> Scene {
    let host = TestHost::builder().config(change).start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let published = BOTH.map(|name| host.publish(&acme, &plugin(name))).to_vec();
    for published in &published {
        host.agree(&acme, &zoe, published, vec![terms("handle")]);
    }
    Scene { host, acme, zoe, published }
}

impl Scene {
    fn request(&self, method: &'static str, path: &str) -> Request {
        Request::new(method, format!("http://{}/acme/{path}", self.host.address()))
            .bearer(&self.zoe.api_key)
    }

    fn get(&self, path: &str) -> Reply {
        self.request("GET", path).send()
    }

    /// The consumer's receipts, once there are `count` of them.
    fn receipts(&self, count: usize) -> Vec<Value> {
        let since = Instant::now();
        loop {
            let listed = self.host.get("/api/receipts").bearer(&self.zoe.api_key).send().ok();
            let receipts = listed.json()["receipts"].as_array().expect("a list").clone();
            if receipts.len() == count {
                return receipts;
            }
            assert!(since.elapsed() < Duration::from_secs(10), "{} receipts", receipts.len());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn proof(&self, call: &str) -> ReceiptProof {
        let path = format!("/api/receipts/{call}");
        let proof = self.host.get(&path).bearer(&self.zoe.api_key).send().ok();
        let proof = ReceiptProof::parse(&proof.body).expect("a proof");
        proof.verify(&self.host.host().party()).expect("genuine");
        proof
    }

    /// Sends the head of a request with a chunked body, and leaves the connection open.
    fn open(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.host.address()).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
        let head = format!(
            "POST /acme/{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ntransfer-encoding: chunked\r\n\r\n",
            self.zoe.api_key
        );
        stream.write_all(head.as_bytes()).expect("sent");
        stream
    }
}

/// Whether a line contains `text`, however it is framed.
fn line_with(reader: &mut impl std::io::BufRead, text: &str) -> bool {
    let mut line = String::new();
    while reader.read_line(&mut line).expect("the stream is readable") > 0 {
        if line.contains(text) {
            return true;
        }
        line.clear();
    }
    false
}

#[test]
fn a_handler_answers_with_its_own_status_headers_and_body() {
    let scene = scene(|_| ());
    let page = scene.get("herald/-/").ok();
    assert_eq!(page.text(), "<h1>Herald</h1>");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    // Without the slash, with a version, and with a model.
    assert_eq!(scene.get("herald@1.0.0/-").ok().text(), "<h1>Herald</h1>");
    assert_eq!(scene.get("herald/-/iris?6.3,3.3,6.0,2.5").ok().text(), "virginica");
    assert_eq!(scene.get("herald/-/iris?1").status, 400);
    let teapot = scene.get("herald/-/status/418");
    assert_eq!((teapot.status, teapot.text().as_str()), (418, "as asked"));
    for plugin in BOTH {
        let missing = scene.get(&format!("{plugin}/-/nowhere"));
        assert_eq!((missing.status, missing.text().as_str()), (404, "there is nothing here"));
        assert!(missing.header("hospes-receipt").is_some());
        let counted = scene.get(&format!("{plugin}/-/count/1000")).ok();
        assert_eq!(counted.text(), (0..1000).map(|n| format!("{n}\n")).collect::<String>());
        let body: Vec<u8> = (0..300_000_u32).flat_map(|n| n.to_le_bytes()).collect();
        let echo = scene.request("POST", &format!("{plugin}/-/echo")).octets(body.clone()).send();
        assert_eq!(echo.ok().body, body);
    }
    let head = scene.request("HEAD", "herald/-/").send();
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some("15"));
    let put = scene.request("PUT", "herald/-/request").send().ok().text();
    assert!(put.starts_with("method Method::Put\npath /request\n"), "{put}");
}

#[test]
fn a_handler_sees_the_request_but_not_the_key_or_what_is_the_site_s() {
    let scene = scene(|_| ());
    let seen = scene
        .request("GET", "herald/-/request/%2Fa?b=c&d")
        .header("x-mine", "1")
        .header("cookie", "all=models")
        .header("hospes-purpose", "https://example.org/purpose")
        .send()
        .ok()
        .text();
    let authority = scene.host.address().to_string();
    for line in [
        "method Method::Get",
        "path /request/%2Fa?b=c&d",
        &format!("authority {authority}"),
        "scheme Some(Scheme::Http)",
        "header x-mine: 1",
        "header x-forwarded-prefix: /acme/herald/-",
    ] {
        assert!(seen.lines().any(|seen| seen == line), "{line} in\n{seen}");
    }
    for secret in [&scene.zoe.api_key, "authorization", "cookie", "hospes-", "header host"] {
        assert!(!seen.contains(secret), "{secret} in\n{seen}");
    }
    let headers = scene.get("herald/-/headers").ok();
    assert_eq!(headers.header("x-own"), Some("kept"));
    assert_eq!(headers.header("set-cookie"), None);
    assert_eq!(headers.header("strict-transport-security"), None);
    assert_ne!(headers.header("hospes-receipt"), Some("forged"));
    // A publisher's page is isolated from the rest of the site, whatever its own headers say.
    let policies: Vec<_> = headers.all("content-security-policy");
    assert_eq!(policies, ["default-src 'none'", "sandbox allow-scripts allow-forms"]);
}

#[test]
fn nothing_of_a_handler_gets_outside() {
    let scene = scene(|_| ());
    for plugin in BOTH {
        let outside = scene.get(&format!("{plugin}/-/outside")).ok().text();
        assert!(outside.contains("HttpRequestDenied"), "{outside}");
        // It imports the network, so an agreement without network does not permit it.
        let model = scene.host.get(&format!("/acme/{plugin}")).bearer(&scene.acme.api_key).send();
        assert_eq!(model.ok().json()["functions"][0]["name"], "handle");
    }
    let yan = scene.host.party("yan");
    let offline = terms("handle").limit("hostCapability isNoneOf network");
    scene.host.agree(&scene.acme, &yan, &scene.published[0], vec![offline]);
    scene.host.get("/acme/herald/-/").bearer(&yan.api_key).send().problem(403, "not-permitted");
}

#[test]
fn bodies_go_through_as_they_come() {
    let scene = scene(|_| ());
    for plugin in BOTH {
        let mut stream = scene.open(&format!("{plugin}/-/echo"));
        let mut reader = BufReader::new(stream.try_clone().expect("cloned"));
        stream.write_all(b"6\r\nfirst\n\r\n").expect("sent");
        assert!(line_with(&mut reader, "first"), "{plugin}");
        // The rest is sent only now.
        stream.write_all(b"7\r\nsecond\n\r\n").expect("sent");
        assert!(line_with(&mut reader, "second"), "{plugin}");
        stream.write_all(b"0\r\n\r\n").expect("sent");
        assert!(line_with(&mut reader, "0\r\n"), "{plugin}: the body does not end");
    }
    let receipts = scene.receipts(2);
    assert!(receipts.iter().all(|receipt| receipt["result"] == "answered"), "{receipts:?}");
}

#[test]
fn curl_sees_the_same_over_http_2() {
    let scene = scene(|_| ());
    let curl = |arguments: &[&str], path: &str| {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--http2-prior-knowledge", "--include"])
            .args(["--header", &format!("authorization: Bearer {}", scene.zoe.api_key)])
            .args(arguments)
            .arg(format!("http://{}/acme/{path}", scene.host.address()))
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for plugin in BOTH {
        let text = "text ".repeat(30_000);
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        let upload = format!("@{}", file.path().display());
        let echo = curl(&["--data-binary", &upload], &format!("{plugin}/-/echo"));
        // Receipt and salt follow the body as trailers.
        assert!(echo.starts_with("HTTP/2 200") && echo.contains(&text), "{plugin}");
        assert!(echo.to_lowercase().contains("hospes-salt: "), "{plugin}");
    }
    let seen = curl(&[], "herald/-/request");
    assert!(seen.contains(&format!("authority {}", scene.host.address())), "{seen}");
    let trailed = curl(&[], "herald/-/trailers");
    assert!(trailed.contains("body") && trailed.contains("x-sum: 4"), "{trailed}");
}

#[test]
fn the_receipt_commits_to_all_that_went_in_and_came_out() {
    let scene = scene(|_| ());
    let reply = scene.request("POST", "herald/-/length?x").octets(vec![7; 1000]);
    let reply = reply.header("user-agent", AGENT).send().ok();
    let salt: Salt = reply.header("hospes-salt").expect("a salt").parse().expect("a salt");
    let proof = scene.proof(reply.header("hospes-receipt").expect("a receipt"));
    let receipt = proof.verify(&scene.host.host().party()).expect("genuine");
    let input = [
        b"POST /length?x\naccept: */*\ncontent-length: 1000\ncontent-type: application/octet-stream\n".as_slice(),
        format!("user-agent: {AGENT}\n").as_bytes(),
        b"x-forwarded-prefix: /acme/herald/-\n\n",
        &[7; 1000],
    ]
    .concat();
    receipt.check_input(Some(&salt), &input).expect("what went in");
    let output = b"200\ncontent-length: 4\ncontent-type: application/octet-stream\n\n1000";
    receipt.check_output(Some(&salt), output).expect("what came out");

    let trailed = scene.get("herald/-/trailers").ok();
    let salt: Salt = trailed.header("hospes-salt").expect("a salt").parse().expect("a salt");
    let proof = scene.proof(trailed.header("hospes-receipt").expect("a receipt"));
    let receipt = proof.verify(&scene.host.host().party()).expect("genuine");
    receipt.check_output(Some(&salt), b"200\n\nbody\nx-sum: 4\n").expect("with trailers");
}

#[test]
fn what_a_handler_does_wrong_is_its_failure_and_is_written_down() {
    let scene = scene(|config| config.sandbox.deadline = Duration::from_secs(2));
    let silent = scene.get("herald/-/silent").problem(502, "plugin-failed");
    assert!(silent["detail"].as_str().is_some_and(|d| d.contains("no response")), "{silent}");
    for plugin in BOTH {
        let error = scene.get(&format!("{plugin}/-/error")).problem(502, "plugin-failed");
        assert!(error["detail"].as_str().is_some_and(|d| d.contains("by intent")), "{error}");
    }
    let short = scene.get("herald/-/short").problem(502, "plugin-failed");
    assert!(short["detail"].as_str().is_some_and(|d| d.contains("broke off")), "{short}");
    // If a component sets two lengths, the host sends neither.
    let lengths = scene.get("herald/-/lengths");
    assert_eq!(lengths.status, 502, "{}", lengths.text());
    scene.get("herald/-/spin").problem(504, "plugin-deadline");
    scene.get("herald/-/fall").problem(502, "plugin-failed");
    let results: Vec<_> = scene.receipts(7).iter().map(|r| r["result"].to_string()).collect();
    assert!(results.iter().all(|result| result.starts_with("\"failed")), "{results:?}");
}

#[test]
fn requests_and_responses_are_held_to_their_limits() {
    let scene = scene(|config| {
        config.api.body_bytes_max = 10_000;
        config.api.response_bytes_max = 5_000;
    });
    let large = scene.request("POST", "herald/-/length").octets(vec![0; 10_001]).send();
    large.problem(413, "body-too-large");
    // A body without a declared length is cut off at the limit.
    let mut stream = scene.open("herald/-/length");
    for _ in 0..11 {
        let part = [b"3e8\r\n".as_slice(), &[0; 1000], b"\r\n"].concat();
        if stream.write_all(&part).is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(scene.receipts(1)[0]["result"], "failed: input-too-large");
    let cut = scene.request("GET", "herald/-/count/100000").try_send();
    assert!(cut.is_err() || cut.is_ok_and(|cut| cut.status == 502));
    assert_eq!(scene.receipts(2)[0]["result"], "failed: output-too-large");

    // The agreement's own limits apply; an offer with output controls is refused, as they cannot
    // apply to HTTP responses.
    let yan = scene.host.party("yan");
    let narrow = terms("handle").limit("inputBytes lteq 500");
    scene.host.agree(&scene.acme, &yan, &scene.published[0], vec![narrow]);
    let post = |size: usize| {
        let post = scene.host.post("/acme/herald/-/length").bearer(&yan.api_key);
        post.octets(vec![0; size]).send()
    };
    assert_eq!(post(100).ok().text(), "100");
    post(500).problem(403, "not-permitted");
    let (model, digest) = &scene.published[0];
    let controlled = terms("handle").limit("topK lteq 1");
    let offer = scene.acme.offer(model, *digest, vec![controlled]);
    let refused = scene.host.post("/api/offers").bearer(&scene.acme.api_key);
    let refused = refused.body(offer.to_bytes()).send().problem(422, "offer-refused");
    assert!(refused["detail"].as_str().is_some_and(|d| d.contains("HTTP handler")), "{refused}");
}

#[test]
fn a_caller_who_leaves_ends_the_call() {
    let scene = scene(|config| config.api.response_bytes_max = 1 << 30);
    for (index, plugin) in BOTH.into_iter().enumerate() {
        let mut stream = TcpStream::connect(scene.host.address()).expect("it listens");
        let key = &scene.zoe.api_key;
        let path = format!("/acme/{plugin}/-/count/100000000");
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("sent");
        stream.read_exact(&mut [0; 1000]).expect("it begins");
        drop(stream);
        let receipts = scene.receipts(index + 1);
        assert_eq!(receipts[0]["result"], "failed: disconnected", "{plugin}");
    }
}

#[test]
fn typed_calls_and_handlers_are_told_apart() {
    let scene = scene(|_| ());
    let typed = scene.host.call(&scene.zoe, "acme/herald/handle").json("{}").send();
    let typed = typed.problem(400, "invalid-arguments");
    assert!(typed["detail"].as_str().is_some_and(|d| d.contains("/-/")), "{typed}");
    let iris = scene.host.publish(&scene.acme, &plugin("iris"));
    scene.host.agree(&scene.acme, &scene.zoe, &iris, vec![terms("infer")]);
    let none = scene.get("iris/-/").problem(404, "not-found");
    assert!(none["detail"].as_str().is_some_and(|d| d.contains("`infer`")), "{none}");
    let stranger = scene.host.party("yan");
    let hidden = scene.host.get("/acme/nothing/-/").bearer(&stranger.api_key).send();
    hidden.problem(404, "not-found");
    assert_eq!(scene.host.get("/acme/herald/-/").send().status, 401);
    let document = scene.host.get("/acme/herald/openapi.json").bearer(&scene.zoe.api_key).send();
    assert_eq!(document.ok().json()["paths"], serde_json::json!({}));
}
