//! Slow, silent and vanished peers: they block no one else and use few resources.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hospes::config::Config;
use serde_json::json;
use system_tests::{Http2, Party, TestHost, plugin, terms};

const GRACE: Duration = Duration::from_millis(300);

fn impatient(config: &mut Config) {
    config.api.body_grace = GRACE;
    config.api.body_bytes_per_second_min = 1024.try_into().expect("not zero");
}

/// Opens a request; the caller sends its body.
fn open(address: SocketAddr, path: &str, key: &str, more: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n{more}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    stream
}

/// The head of a response, and whatever arrived with it.
fn answer(stream: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    let mut part = [0; 4096];
    while !seen.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(read) => seen.extend_from_slice(&part[..read]),
            Err(error) => panic!("no response: {error}"),
        }
    }
    String::from_utf8_lossy(&seen).into_owned()
}

/// Sends single bytes until there is a response.
fn drip(mut stream: TcpStream) -> String {
    let since = Instant::now();
    stream.set_read_timeout(Some(Duration::from_millis(100))).expect("set");
    let mut seen = vec![0; 4096];
    loop {
        let _ = stream.write_all(b"1");
        match stream.read(&mut seen) {
            Ok(read) => {
                return String::from_utf8_lossy(&seen[..read]).into_owned();
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => panic!("no response: {error}"),
        }
        assert!(since.elapsed() < Duration::from_secs(5), "the host waits forever");
    }
}

fn with_echo(change: impl FnOnce(&mut Config)) -> (TestHost, Party, Party) {
    let host = TestHost::builder().config(change).start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let published = host.publish(&acme, &plugin("echo"));
    host.agree(&acme, &zoe, &published, vec![terms("echo-string")]);
    (host, acme, zoe)
}

#[test]
fn a_body_that_drips_is_refused_on_every_route_that_takes_one() {
    let (host, acme, zoe) = with_echo(impatient);
    let routes = [
        ("/acme/echo/echo-string", &zoe),
        ("/v2/models/acme/echo/infer", &zoe),
        ("/v1/embeddings", &zoe),
        ("/api/agreements", &zoe),
        ("/api/negotiations", &zoe),
        ("/api/offers", &acme),
        ("/api/bundles", &acme),
        ("/v2/repository/models/acme/echo/load", &acme),
    ];
    for (path, party) in routes {
        let since = Instant::now();
        let answer = drip(open(host.address(), path, &party.api_key, "content-length: 5000"));
        assert!(answer.starts_with("HTTP/1.1 408 "), "{path}: {answer}");
        assert!(since.elapsed() >= GRACE && since.elapsed() < Duration::from_secs(3), "{path}");
        assert!(answer.contains("body_bytes_per_second_min"), "{path}: {answer}");
    }
    let grpc = "content-type: application/grpc\r\ncontent-length: 5000";
    let infer = "/inference.GRPCInferenceService/ModelInfer";
    let answer = drip(open(host.address(), infer, &zoe.api_key, grpc));
    assert!(answer.contains("grpc-status: 4\r\n"), "{answer}");
}

#[test]
fn a_body_that_comes_slowly_and_steadily_is_read() {
    let (host, _, zoe) = with_echo(impatient);
    let text = "x".repeat(3000);
    let body = json!({ "v": text }).to_string();
    let more = format!("content-type: application/json\r\ncontent-length: {}", body.len());
    let mut stream = open(host.address(), "/acme/echo/echo-string", &zoe.api_key, &more);
    let since = Instant::now();
    for part in body.as_bytes().chunks(200) {
        stream.write_all(part).expect("it is read");
        std::thread::sleep(Duration::from_millis(60));
    }
    assert!(since.elapsed() > 2 * GRACE);
    let answer = answer(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// Two uploads of a byte every five seconds once blocked all publishing for minutes.
#[test]
fn slow_uploads_stop_nobody_else_from_publishing() {
    let host = TestHost::builder()
        .config(|config| config.api.body_grace = Duration::from_secs(60))
        .start();
    let (mallory, acme) = (host.party("mallory"), host.party("acme"));
    let upload = || {
        let mut stream =
            open(host.address(), "/api/bundles", &mallory.api_key, "content-length: 1000000");
        stream.write_all(b"1").expect("sent");
        stream
    };
    let slow = [upload(), upload()];
    std::thread::sleep(Duration::from_millis(200));
    let refused = host.try_publish(&mallory, b"x").problem(429, "account-limit");
    assert_eq!(refused["setting"], "api.uploads_per_account_max", "{refused}");
    host.publish(&acme, &plugin("echo"));
    drop(slow);
    let since = Instant::now();
    while host.try_publish(&mallory, b"x").status == 429 {
        assert!(since.elapsed() < Duration::from_secs(5), "the closed uploads still count");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Uploads once stopped counting when the sender disconnected after the last byte.
#[test]
fn an_upload_counts_until_its_bundle_has_been_checked() {
    let host = TestHost::start();
    let acme = host.party("acme");
    let bundle = acme.sign(&plugin("herald"));
    let more = format!("content-length: {}", bundle.len());
    for _ in 0..2 {
        let mut stream = open(host.address(), "/api/bundles", &acme.api_key, &more);
        stream.write_all(&bundle).expect("sent");
        std::thread::sleep(Duration::from_millis(50));
        drop(stream);
    }
    host.try_publish(&acme, b"x").problem(429, "account-limit");
    let since = Instant::now();
    while host.try_publish(&acme, b"x").status == 429 {
        assert!(since.elapsed() < Duration::from_secs(60), "the uploads still count");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn nothing_is_left_in_the_data_directory_of_an_upload_that_broke_off() {
    let host = TestHost::start();
    let acme = host.party("acme");
    // Looks for large files, because a checkpoint of the log may be written meanwhile.
    let large = || {
        let mut found = Vec::new();
        let mut folders = vec![host.host().config().data.dir.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("readable").flatten() {
                let Ok(metadata) = entry.metadata() else { continue };
                if metadata.is_dir() {
                    folders.push(entry.path());
                } else if (400_000..=1_000_000).contains(&metadata.len()) {
                    found.push(entry.path());
                }
            }
        }
        found
    };
    let before = large();
    let mut stream = open(host.address(), "/api/bundles", &acme.api_key, "content-length: 1000000");
    stream.write_all(&vec![7; 500_000]).expect("sent");
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(large(), before);
    drop(stream);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(large(), before);
}

fn with_herald(change: impl FnOnce(&mut Config)) -> (TestHost, Party) {
    let host = TestHost::builder()
        .config(|config| {
            impatient(config);
            config.admission.slots_max = 2.try_into().expect("not zero");
            change(config);
        })
        .start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    for name in ["herald", "herald-next"] {
        let published = host.publish(&acme, &plugin(name));
        host.agree(&acme, &zoe, &published, vec![terms("handle")]);
    }
    (host, zoe)
}

/// 64 requests without their bodies once occupied all sandboxes until the deadline.
#[test]
fn handlers_whose_bodies_do_not_come_give_their_sandboxes_back() {
    let (host, zoe) = with_herald(|_| ());
    // The second handler responds before it reads anything, so its response is cut off.
    for (name, path, told) in
        [("herald", "length", "HTTP/1.1 408 "), ("herald-next", "echo", "HTTP/1.1 200 ")]
    {
        for length in ["content-length: 100", "transfer-encoding: chunked"] {
            let path = format!("/acme/{name}/-/{path}");
            let mut silent = [0; 2].map(|_| open(host.address(), &path, &zoe.api_key, length));
            std::thread::sleep(Duration::from_millis(50));
            let since = Instant::now();
            let other = host.post(&path).bearer(&zoe.api_key).body(b"abc").send();
            assert_eq!(other.status, 200, "{}", other.text());
            assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
            for stream in &mut silent {
                let answer = answer(stream);
                assert!(answer.starts_with(told), "{name} {length}: {answer}");
            }
        }
    }
}

#[test]
fn answers_that_nobody_reads_give_their_sandboxes_back() {
    let (host, zoe) = with_herald(|config| {
        config.api.response_bytes_max = 1 << 30;
        // Long enough for a slow machine. If unread responses never ended, no sandbox would become
        // free.
        config.admission.queue_wait_max = Duration::from_secs(20);
    });
    for name in ["herald", "herald-next"] {
        let path = format!("/acme/{name}/-/count/100000000");
        let key = format!("Bearer {}", zoe.api_key);
        let deaf = [0; 2].map(|_| {
            let mut client = Http2::connect(host.address()).stingy();
            let asked = client.begin("GET", &path, &[("authorization", &key)], true);
            assert!(client.wait(Duration::from_secs(5), |client| client.fate(asked).answered));
            client
        });
        std::thread::sleep(Duration::from_millis(200));
        let other = host.post(&format!("/acme/{name}/-/echo"));
        let other = other.bearer(&zoe.api_key).body(b"abc").send();
        assert_eq!(other.status, 200, "{}", other.text());
        drop(deaf);
    }
    let listed = host.get("/api/receipts").bearer(&zoe.api_key).send().ok().json();
    let receipts = listed["receipts"].as_array().expect("a list");
    let unread = receipts.iter().filter(|receipt| receipt["result"] == "failed: unread").count();
    assert!(unread >= 1, "{receipts:?}");
}

#[test]
fn a_message_of_a_stream_that_does_not_come_ends_the_stream() {
    let (host, _, zoe) = with_echo(impatient);
    let key = format!("Bearer {}", zoe.api_key);
    let mut client = Http2::connect(host.address());
    let path = "/inference.GRPCInferenceService/ModelStreamInfer";
    let silent = client.begin_grpc(path, &[("authorization", &key)]);
    let broken = client.begin_grpc(path, &[("authorization", &key)]);
    client.send(broken, &[0, 0, 0, 1, 0, 7], false, Duration::from_secs(1));
    assert!(client.wait(Duration::from_secs(5), |client| client.fate(broken).ended));
    let fate = client.fate(silent);
    assert!(!fate.ended && !fate.reset, "a stream may be silent between messages: {fate:?}");
}

/// A gigabyte was once written to disk before the publisher's limit was checked.
#[test]
fn a_bundle_that_its_publisher_has_no_room_for_is_refused_before_it_comes() {
    let host = TestHost::builder()
        .config(|config| config.bundle.bytes_per_publisher_max = 100_000)
        .start();
    let acme = host.party("acme");
    let mut announced =
        open(host.address(), "/api/bundles", &acme.api_key, "content-length: 1000000");
    let refused = answer(&mut announced);
    assert!(refused.starts_with("HTTP/1.1 422 "), "{refused}");
    // Without a length, it is refused when the limit is exceeded.
    let mut chunked =
        open(host.address(), "/api/bundles", &acme.api_key, "transfer-encoding: chunked");
    let piece = [b"19000\r\n".as_slice(), &[b'x'; 0x19000], b"\r\n"].concat();
    chunked.write_all(&piece).expect("sent");
    let refused = answer(&mut chunked);
    assert!(refused.starts_with("HTTP/1.1 422 "), "{refused}");
    // An upload within the limit is checked as usual.
    let looked_at = host.try_publish(&acme, &[b'x'; 90_000]).problem(422, "bundle-refused");
    let detail = looked_at["detail"].as_str().expect("text");
    assert!(!detail.contains("bytes_per_publisher_max"), "{detail}");
}

/// Uploads in progress once had no limit except two gigabytes per account.
#[test]
fn bundles_on_their_way_in_have_a_budget_that_nobody_takes_all_of() {
    let host = TestHost::builder()
        .config(|config| {
            config.api.uploads_in_flight_bytes_max = 1_000_000;
            config.api.uploads_per_account_max = 8.try_into().expect("not zero");
            // The budget always fits two of the largest bundles.
            config.bundle.bundle_bytes_max = 500_000;
        })
        .start();
    let (mallory, acme) = (host.party("mallory"), host.party("acme"));
    let upload = |party: &Party, bytes: u64| {
        let length = format!("content-length: {bytes}");
        open(host.address(), "/api/bundles", &party.api_key, &length)
    };
    let since = Instant::now();
    let held = loop {
        let held = [350_000, 350_000].map(|bytes| upload(&mallory, bytes));
        std::thread::sleep(Duration::from_millis(50));
        if host.try_publish(&acme, &[b'x'; 300_000]).status == 503 {
            break held;
        }
        // Acme's upload was counted first, so one of mallory's was refused; try again.
        assert!(since.elapsed() < Duration::from_secs(20), "announced bytes are not counted");
    };
    let refused = answer(&mut upload(&mallory, 100_000));
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    // Smaller uploads of others still fit.
    host.try_publish(&acme, &[b'x'; 200_000]).problem(422, "bundle-refused");
    drop(held);
    let since = Instant::now();
    while host.try_publish(&acme, &[b'x'; 300_000]).status == 503 {
        assert!(since.elapsed() < Duration::from_secs(5), "the closed uploads still count");
        std::thread::sleep(Duration::from_millis(20));
    }
}
