//! What all have to share: nobody takes all of it, whether they read what they are sent or not.

use std::time::{Duration, Instant};

use system_tests::{Http2, TestHost};

/// Requests that one connection of HTTP/2 may have open.
const STREAMS: usize = 127;

/// 24 connections that asked for health and let nothing be sent once took the host out of service for everybody.
#[test]
fn strangers_who_do_not_read_keep_nobody_from_the_health_of_the_host() {
    let host = TestHost::builder()
        .config(|config| {
            // Places for 32 strangers, and room for 170 of their requests.
            config.api.strangers_bytes_max = 4 << 20;
            config.api.header_read_timeout = Duration::from_secs(600);
        })
        .start();
    let mut quiet = Http2::connect(host.address());
    let answered = quiet.begin("GET", "/api/market", &[], true);
    assert!(quiet.wait(Duration::from_secs(20), |client| client.fate(answered).ended));
    let mut deaf: Vec<Http2> = (0..24).map(|_| Http2::connect(host.address()).deaf()).collect();
    let mut asked = Vec::new();
    for client in &mut deaf {
        let path = |number| if number % 2 == 0 { "/healthz" } else { "/api/market" };
        // Each numbers its requests alike.
        asked = (0..STREAMS).map(|number| client.begin("GET", path(number), &[], true)).collect();
    }
    for client in &mut deaf {
        let all = |client: &Http2| asked.iter().all(|stream| client.fate(*stream).answered);
        let done = |client: &Http2| client.is_closed() || all(client);
        assert!(client.wait(Duration::from_secs(20), done), "a request without an answer");
    }
    assert!(host.host().strangers_hold() > 0, "nothing waits to be read");
    for path in ["/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"] {
        for _ in 0..10 {
            host.get(path).header("connection", "close").send().ok();
        }
    }
    // Something is left for what else strangers ask.
    host.get("/api/market").header("connection", "close").send().ok();

    // New ones take the places of those who do not read, not of whoever came first.
    let _new: Vec<Http2> = (0..20).map(|_| Http2::connect(host.address())).collect();
    let is_over = |client: &mut Http2| client.wait(Duration::from_millis(50), Http2::is_closed);
    let since = Instant::now();
    while deaf.iter_mut().map(|client| usize::from(is_over(client))).sum::<usize>() < 13 {
        assert!(since.elapsed() < Duration::from_secs(60), "45 have 32 places");
    }
    assert!(!quiet.wait(Duration::from_millis(200), Http2::is_closed), "it has read its answer");
}

/// The answers about health that a deaf peer has open are few, whatever it asks.
#[test]
fn health_is_no_way_around_what_strangers_may_hold() {
    let host = TestHost::builder()
        .config(|config| {
            // Room for ten requests.
            config.api.strangers_bytes_max = 256 << 10;
            config.api.header_read_timeout = Duration::from_secs(600);
        })
        .start();
    let mut deaf = Http2::connect(host.address()).deaf();
    let asked: Vec<u32> = (0..STREAMS).map(|_| deaf.begin("GET", "/healthz", &[], true)).collect();
    let all = |client: &Http2| asked.iter().all(|stream| client.fate(*stream).answered);
    assert!(deaf.wait(Duration::from_secs(20), all), "each has an answer, most a refusal");
    assert!(host.host().strangers_hold() <= 128 << 10, "{}", host.host().strangers_hold());
    host.get("/healthz").header("connection", "close").send().ok();
}
