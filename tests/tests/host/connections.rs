//! Connections: clients that hold many open shut nobody out.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use system_tests::{Http2, TestHost};

fn count(number: usize) -> std::num::NonZeroUsize {
    number.try_into().expect("not zero")
}

/// Whether the peer has closed the connection.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).expect("set");
    let mut part = [0; 1024];
    loop {
        match stream.read(&mut part) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

fn hello(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the kernel accepts it");
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").expect("sent");
    stream
}

/// 4,096 idle connections from one address once made the host unreachable for everyone.
#[test]
fn idle_connections_of_strangers_keep_nobody_out() {
    let host = TestHost::builder()
        .config(|config| {
            config.api.connections_max = count(32);
            config.api.header_read_timeout = Duration::from_secs(600);
        })
        .start();
    let zoe = host.party("zoe");
    let mut idle: Vec<Http2> = (0..100).map(|_| Http2::connect(host.address())).collect();
    for _ in 0..20 {
        let since = Instant::now();
        host.get("/healthz").header("connection", "close").send().ok();
        let agreements = host.get("/api/agreements").header("connection", "close");
        agreements.bearer(&zoe.api_key).send().ok();
        assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    }
    let is_over = |client: &mut Http2| client.wait(Duration::from_secs(5), Http2::is_closed);
    assert!(idle[..60].iter_mut().all(is_over), "the oldest connections were closed");
}

#[test]
fn a_connection_that_has_shown_a_key_stays_when_strangers_come() {
    let host = TestHost::builder().config(|config| config.api.connections_max = count(8)).start();
    let zoe = host.party("zoe");
    let key = format!("Bearer {}", zoe.api_key);
    let mut known = Http2::connect(host.address());
    let first = known.begin("GET", "/api/agreements", &[("authorization", &key)], true);
    assert!(known.wait(Duration::from_secs(5), |client| client.fate(first).ended));
    let mut strangers: Vec<Http2> = (0..40).map(|_| Http2::connect(host.address())).collect();
    for stranger in &mut strangers {
        stranger.begin("GET", "/healthz", &[], true);
    }
    let second = known.begin("GET", "/api/agreements", &[("authorization", &key)], true);
    assert!(known.wait(Duration::from_secs(5), |client| client.fate(second).ended));
    assert!(!known.is_going());
}

#[test]
fn an_address_has_so_many_connections_and_no_more() {
    let host = TestHost::builder()
        .config(|config| config.api.connections_per_address_max = count(5))
        .start();
    let mut held: Vec<_> = (0..5).map(|_| hello(host.address())).collect();
    std::thread::sleep(Duration::from_millis(100));
    let mut more = hello(host.address());
    let since = Instant::now();
    while !is_closed(&mut more) {
        assert!(
            since.elapsed() < Duration::from_secs(5),
            "the connection over the limit is not closed"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(held.iter_mut().all(|stream| !is_closed(stream)));
    held.clear();
    let since = Instant::now();
    while host.get("/healthz").try_send().is_err() {
        assert!(since.elapsed() < Duration::from_secs(5), "the closed connections still count");
    }
}

#[test]
fn an_http2_connection_without_requests_is_closed_with_goaway() {
    let host = TestHost::builder()
        .config(|config| {
            config.api.header_read_timeout = Duration::from_millis(400);
            config.api.idle_timeout = Duration::from_millis(1500);
        })
        .start();
    let zoe = host.party("zoe");
    let key = format!("Bearer {}", zoe.api_key);
    let (mut stranger, mut known) =
        (Http2::connect(host.address()), Http2::connect(host.address()));
    let since = Instant::now();
    let asked = known.begin("GET", "/api/agreements", &[("authorization", &key)], true);
    assert!(known.wait(Duration::from_secs(5), |client| client.fate(asked).ended));
    assert!(stranger.wait(Duration::from_secs(5), |client| client.is_going()));
    assert!(stranger.wait(Duration::from_secs(5), Http2::is_closed));
    assert!(!known.is_going(), "a caller with a key was closed too early: {:?}", since.elapsed());
    assert!(known.wait(Duration::from_secs(5), Http2::is_closed) && known.is_going());
    assert!(since.elapsed() > Duration::from_millis(1400), "{:?}", since.elapsed());
}

#[test]
fn a_watch_that_is_open_is_no_silence() {
    let host = TestHost::builder()
        .config(|config| config.api.header_read_timeout = Duration::from_millis(200))
        .start();
    let mut client = Http2::connect(host.address());
    let watch = client.begin_grpc("/grpc.health.v1.Health/Watch", &[]);
    client.send(watch, &[0; 5], true, Duration::from_secs(1));
    assert!(client.wait(Duration::from_secs(5), |client| client.fate(watch).bytes > 0));
    std::thread::sleep(Duration::from_secs(1));
    assert!(!client.wait(Duration::from_millis(50), |client| client.is_going()));
}

#[test]
fn an_answer_that_nobody_takes_does_not_keep_its_connection_open() {
    let host = TestHost::builder()
        .config(|config| config.api.header_read_timeout = Duration::from_millis(300))
        .start();
    let mut deaf = Http2::connect(host.address()).stingy();
    for _ in 0..100 {
        deaf.begin("GET", "/api/openapi.json", &[], true);
    }
    assert!(deaf.wait(Duration::from_secs(10), Http2::is_closed));
    let since = Instant::now();
    while host.host().strangers_hold() > 0 {
        assert!(since.elapsed() < Duration::from_secs(5), "{}", host.host().strangers_hold());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_operators_listener_answers_whatever_strangers_do_to_the_other() {
    let host = TestHost::builder()
        .config(|config| {
            config.api.connections_max = count(8);
            config.api.strangers_bytes_max = 1 << 20;
        })
        .start();
    let _idle: Vec<Http2> = (0..50).map(|_| Http2::connect(host.address())).collect();
    let health = || TcpStream::connect(host.operator_address()).expect("it listens");
    for _ in 0..20 {
        let mut stream = health();
        stream.set_read_timeout(Some(Duration::from_secs(1))).expect("set");
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").expect("sent");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).expect("answered");
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
    host.operator("GET", "/status").send().ok();
}
