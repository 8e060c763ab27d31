//! Request bodies of callers with keys: they have a memory budget, and are read only from callers
//! who have permission.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use hospes::config::Config;
use system_tests::{Party, Tensors, TestHost, plugin, terms};

const MIB: usize = 1 << 20;

fn scene(change: impl FnOnce(&mut Config)) -> (TestHost, Party, Party) {
    let host = TestHost::builder().config(change).start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let published = host.publish(&acme, &plugin("echo"));
    for party in [&acme, &zoe] {
        if party.name != acme.name {
            host.agree(&acme, party, &published, vec![terms("echo-bytes")]);
        }
    }
    (host, acme, zoe)
}

/// Sends a body of this length except its last byte.
fn most(host: &TestHost, path: &str, party: &Party, bytes: usize) -> TcpStream {
    begin(host, path, party, (bytes, bytes - 1))
}

/// Begins to send a body: the announced length, and how much of it is sent.
fn begin(
    host: &TestHost,
    path: &str,
    party: &Party,
    (announced, come): (usize, usize),
) -> TcpStream {
    let mut stream = TcpStream::connect(host.address()).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
    let media = if path.contains('.') { "application/grpc" } else { "application/octet-stream" };
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {media}\r\nauthorization: Bearer {}\r\ncontent-length: {announced}\r\n\r\n",
        party.api_key
    );
    stream.write_all(head.as_bytes()).expect("sent");
    let _ = stream.write_all(&vec![7; come]);
    stream
}

fn answer(stream: &mut TcpStream) -> String {
    let mut answer = vec![0; 4096];
    let mut length = 0;
    while let Ok(read @ 1..) = stream.read(&mut answer[length..]) {
        length += read;
    }
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

const ECHO: &str = "/acme/echo/echo-bytes";
const GRPC: &str = "/inference.GRPCInferenceService/ModelInfer";

fn patient(config: &mut Config) {
    config.api.body_grace = Duration::from_secs(60);
    config.api.account_bodies_bytes_max = 32 << 20;
    config.api.bodies_in_flight_bytes_max = 40 << 20;
}

#[test]
fn bodies_have_a_budget_for_an_account_and_for_all() {
    let (host, _, zoe) = scene(patient);
    let yan = host.party("yan");
    let acme = host.party("acme");
    let held = [most(&host, ECHO, &zoe, 15 * MIB), most(&host, ECHO, &zoe, 15 * MIB)];
    let since = Instant::now();
    while host.host().bodies_held() < (30 * MIB - 2) as u64 {
        assert!(since.elapsed() < Duration::from_secs(5), "{}", host.host().bodies_held());
        std::thread::sleep(Duration::from_millis(5));
    }
    let own = answer(&mut most(&host, ECHO, &zoe, 15 * MIB));
    assert!(own.starts_with("HTTP/1.1 429 ") && own.contains("account-limit"), "{own}");
    assert!(own.contains("retry-after:") && own.contains("api.account_bodies_bytes_max"), "{own}");
    assert!(own.contains("33554432"), "{own}");
    let own = answer(&mut most(&host, GRPC, &zoe, 15 * MIB));
    assert!(own.contains("grpc-status: 8\r\n") && own.contains("account_bodies"), "{own}");
    // The budget for documents applies to callers without an agreement, too.
    let all = answer(&mut most(&host, GRPC, &yan, 15 * MIB));
    assert!(all.contains("grpc-status: 8\r\n") && all.contains("in_flight"), "{all}");
    let all = answer(&mut most(&host, "/acme/echo/echo-string", &acme, 15 * MIB));
    assert!(!all.starts_with("HTTP/1.1 200"), "{all}");
    // Small bodies of others still fit.
    host.call(&zoe, "acme/echo/echo-bytes").octets(vec![1; 1000]).send().ok();
    drop(held);
    let since = Instant::now();
    while host.host().bodies_held() > 0 {
        assert!(since.elapsed() < Duration::from_secs(5), "{}", host.host().bodies_held());
        std::thread::sleep(Duration::from_millis(5));
    }
    host.call(&zoe, "acme/echo/echo-bytes").octets(vec![1; 10 * MIB]).send().ok();
    assert_eq!(host.host().bodies_held(), 0);
}

#[test]
fn a_body_in_chunks_takes_of_the_budget_as_it_comes() {
    let (host, _, zoe) = scene(patient);
    let mut stream = TcpStream::connect(host.address()).expect("it listens");
    let head = format!(
        "POST {ECHO} HTTP/1.1\r\nhost: x\r\ncontent-type: application/octet-stream\r\nauthorization: Bearer {}\r\ntransfer-encoding: chunked\r\n\r\n",
        zoe.api_key
    );
    stream.write_all(head.as_bytes()).expect("sent");
    for _ in 0..4 {
        stream.write_all(b"100000\r\n").expect("sent");
        stream.write_all(&vec![7; MIB]).expect("sent");
        stream.write_all(b"\r\n").expect("sent");
    }
    let since = Instant::now();
    while host.host().bodies_held() < (4 * MIB) as u64 {
        assert!(since.elapsed() < Duration::from_secs(5), "{}", host.host().bodies_held());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(host.host().bodies_held() <= (8 * MIB) as u64);
    stream.write_all(b"0\r\n\r\n").expect("sent");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    let mut status = [0; 12];
    stream.read_exact(&mut status).expect("answered");
    assert_eq!(&status, b"HTTP/1.1 200");
}

/// A body of 16 MiB was once read and parsed before it was refused.
#[test]
fn permission_is_asked_for_before_a_large_body_is_read() {
    let fronts = Tensors::start();
    let yan = fronts.host.party("yan");
    for path in [
        "/acme/identity-fp32/infer",
        "/v2/models/acme/identity-fp32/infer",
        "/v2/models/acme/identity-fp32/generate",
    ] {
        let mut stream = TcpStream::connect(fronts.host.address()).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 1000000\r\n\r\n",
            yan.api_key
        );
        stream.write_all(head.as_bytes()).expect("sent");
        let refused = answer(&mut stream);
        assert!(
            refused.starts_with("HTTP/1.1 403 ") || refused.starts_with("HTTP/1.1 404 "),
            "{path}: {refused}"
        );
    }
}

/// Four accounts that announced 512 MiB and sent almost nothing once used up the whole budget for
/// bodies.
#[test]
fn bodies_that_are_announced_and_do_not_come_keep_nobody_out() {
    let (host, _, zoe) = scene(|config| config.api.body_grace = Duration::from_secs(60));
    let umbrella = host.party("umbrella");
    let published = host.publish(&umbrella, &plugin("echo"));
    let parties = ["mallory1", "mallory2", "mallory3", "mallory4"].map(|name| host.party(name));
    let mut held = Vec::new();
    for party in &parties {
        host.agree(&umbrella, party, &published, vec![terms("echo-bytes")]);
        for _ in 0..8 {
            let body = (16 * MIB, 4 << 10);
            held.push(begin(&host, "/umbrella/echo/echo-bytes", party, body));
        }
    }
    // Whatever would be read has been read by now.
    std::thread::sleep(Duration::from_millis(500));
    assert!(host.host().bodies_held() < MIB as u64, "{}", host.host().bodies_held());
    host.call(&zoe, "acme/echo/echo-bytes").octets(vec![1; 10 * MIB]).send().ok();
    drop(held);
}

/// Bytes that arrive are charged, and no account can use the whole budget.
#[test]
fn accounts_that_send_all_they_can_leave_room_for_another() {
    let (host, _, zoe) = scene(|config| {
        config.api.body_grace = Duration::from_secs(60);
        config.api.body_bytes_max = 4 * MIB as u64;
        config.api.account_bodies_bytes_max = 16 * MIB as u64;
        config.api.bodies_in_flight_bytes_max = 32 * MIB as u64;
    });
    let umbrella = host.party("umbrella");
    let published = host.publish(&umbrella, &plugin("echo"));
    let parties = ["mallory1", "mallory2"].map(|name| host.party(name));
    let mut held = Vec::new();
    for party in &parties {
        host.agree(&umbrella, party, &published, vec![terms("echo-bytes")]);
        for _ in 0..4 {
            held.push(most(&host, "/umbrella/echo/echo-bytes", party, 4 * MIB));
        }
    }
    let since = Instant::now();
    while host.host().bodies_held() < (20 * MIB) as u64 {
        assert!(since.elapsed() < Duration::from_secs(20), "{}", host.host().bodies_held());
        std::thread::sleep(Duration::from_millis(5));
    }
    // One account's 16 MiB leave 16; the other may then use three quarters of the rest, 12 MiB.
    std::thread::sleep(Duration::from_millis(200));
    let all = host.host().bodies_held();
    assert!(all <= (28 * MIB) as u64, "{all}");
    host.call(&zoe, "acme/echo/echo-bytes").octets(vec![1; 2 * MIB]).send().ok();
    drop(held);
}
