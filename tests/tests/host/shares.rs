//! Shared resources: no one can take all of them, whether or not they read responses.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use hospes::config::Isolation;
use system_tests::tenants::{ENDLESS, Tenants, byte_identity, case, echo, turns};
use system_tests::{HostProcess, Http2, Request, TestHost, documented};

/// The number of requests that one HTTP/2 connection may have open.
const STREAMS: usize = 127;

/// Waits until each request has response headers, or the connection is closed.
fn wait_for_heads(client: &mut Http2, asked: &[u32]) {
    let all = |client: &Http2| asked.iter().all(|stream| client.fate(*stream).answered);
    let done = |client: &Http2| client.is_closed() || all(client);
    assert!(client.wait(Duration::from_secs(20), done), "a request got no response");
}

/// 24 connections that requested the health check and blocked the response once made the host
/// unavailable for everyone.
#[test]
fn strangers_who_do_not_read_keep_nobody_from_the_health_of_the_host() {
    let host = TestHost::builder()
        .config(|config| {
            // Enough for 36 strangers, with 192 requests.
            config.api.strangers_bytes_max = 6 << 20;
            config.api.header_read_timeout = Duration::from_secs(600);
        })
        .start();
    let mut deaf: Vec<Http2> = (0..24).map(|_| Http2::connect(host.address()).deaf()).collect();
    for client in &mut deaf {
        let asked: Vec<u32> =
            (0..12).map(|_| client.begin("GET", "/api/market", &[], true)).collect();
        wait_for_heads(client, &asked);
    }
    assert!(host.host().strangers_hold() > 0, "no response waits to be read");
    for path in ["/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"] {
        for _ in 0..10 {
            host.get(path).header("connection", "close").send().ok();
        }
    }
    // Other requests of strangers get room as well.
    for _ in 0..10 {
        host.get("/api/market").header("connection", "close").send().ok();
    }
}

#[test]
fn who_does_not_read_makes_room_before_who_came_first() {
    let host = TestHost::builder()
        .config(|config| {
            // Twelve of them are for strangers.
            config.api.connections_max = 16.try_into().expect("not zero");
            config.api.header_read_timeout = Duration::from_secs(600);
        })
        .start();
    let mut quiet = Http2::connect(host.address());
    let read = quiet.begin("GET", "/api/market", &[], true);
    assert!(quiet.wait(Duration::from_secs(20), |client| client.fate(read).ended));
    let mut deaf: Vec<Http2> = (0..6).map(|_| Http2::connect(host.address()).deaf()).collect();
    for client in &mut deaf {
        let asked: Vec<u32> =
            (0..STREAMS).map(|_| client.begin("GET", "/healthz", &[], true)).collect();
        wait_for_heads(client, &asked);
        assert!(!client.is_closed(), "there is room for all connections");
    }
    let _new: Vec<Http2> = (0..11).map(|_| Http2::connect(host.address())).collect();
    for client in &mut deaf {
        assert!(
            client.wait(Duration::from_secs(20), Http2::is_closed),
            "18 connections share 12 places"
        );
    }
    assert!(
        !quiet.wait(Duration::from_millis(200), Http2::is_closed),
        "the client has read its response"
    );
}

/// Few health responses can wait for a peer that does not read, whatever it requests.
#[test]
fn health_is_no_way_around_what_strangers_may_hold() {
    let host = TestHost::builder()
        .config(|config| {
            // Enough for two strangers, with twelve requests.
            config.api.strangers_bytes_max = 384 << 10;
            config.api.header_read_timeout = Duration::from_secs(600);
        })
        .start();
    let mut deaf = Http2::connect(host.address()).deaf();
    let asked: Vec<u32> = (0..STREAMS).map(|_| deaf.begin("GET", "/healthz", &[], true)).collect();
    // Most responses are refusals, and a connection with too many of them may be closed.
    wait_for_heads(&mut deaf, &asked);
    assert!(host.host().strangers_hold() <= 144 << 10, "{}", host.host().strangers_hold());
    host.get("/healthz").header("connection", "close").send().ok();
}

/// With a worker per model, one publisher's models once took all workers.
#[test]
fn one_publisher_s_models_leave_workers_to_another_s() {
    let scene = Tenants::new(|config| {
        config.sandbox.deadline = Duration::from_secs(20);
        config.admission.slots_max = 16.try_into().expect("not zero");
        config.inference.isolation = Isolation::Model;
        config.inference.workers_max = 4.try_into().expect("not zero");
    });
    let endless = case("loop.onnx");
    for number in 0..5 {
        let different = documented(&endless, &number.to_string());
        scene.model(&scene.acme, &format!("loop{number}"), different);
    }
    let workers = || scene.workers().len();
    assert_eq!(workers(), 3, "a publisher that is alone gets three of four workers");
    scene.model(&scene.umbrella, "echo", byte_identity());
    for number in 0..3 {
        scene.call(&scene.zoe, &format!("acme/loop{number}"), &turns(1)).ok();
    }
    assert_eq!(workers(), 4);
    std::thread::scope(|scope| {
        let hogs: Vec<_> = (0..3)
            .map(|number| {
                let (scene, model) = (&scene, format!("acme/loop{number}"));
                scope.spawn(move || scene.call(&scene.zoe, &model, &turns(ENDLESS)))
            })
            .collect();
        std::thread::sleep(Duration::from_secs(2));
        let refused = scene.call(&scene.zoe, "acme/loop3", &turns(1));
        let problem = refused.problem(503, "busy");
        let detail = problem["detail"].as_str().expect("text");
        assert!(detail.contains("`inference.workers_max`"), "{detail}");
        scene.call(&scene.yan, "umbrella/echo", &echo()).ok();
        assert!(hogs.iter().all(|hog| !hog.is_finished()), "the other calls still run");
        for hog in hogs {
            hog.join().expect("it ends").problem(504, "plugin-deadline");
        }
    });
    scene.call(&scene.zoe, "acme/loop3", &turns(1)).ok();
}

/// With 1,024 files, one account's connections once left none for others.
#[test]
fn one_account_s_connections_leave_files_to_others() {
    const FILES: usize = 128;
    let folder = tempfile::tempdir().expect("a directory");
    let data = folder.path().join("data");
    let host = HostProcess::with_files(&data, FILES);
    let (mallory, zoe) = (host.party(&data, "mallory"), host.party(&data, "zoe"));
    let address = host.address.trim_start_matches("http://").to_owned();
    let ask = format!(
        "GET /api/account HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
        mallory.api_key
    );
    let mut kept = Vec::new();
    for _ in 0..2 * FILES {
        let mut stream = TcpStream::connect(&address).expect("the kernel accepts it");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        stream.write_all(ask.as_bytes()).expect("sent");
        let mut status = [0; 12];
        // The connection may have been closed to make room for the next one.
        if stream.read_exact(&mut status).is_ok() {
            assert_eq!(&status, b"HTTP/1.1 200");
        }
        kept.push(stream);
    }
    for _ in 0..10 {
        let get = |path: &str| Request::new("GET", format!("{}{path}", host.address));
        get("/healthz").header("connection", "close").send().ok();
        get("/api/account").header("connection", "close").bearer(&zoe.api_key).send().ok();
    }
    drop(kept);
}
