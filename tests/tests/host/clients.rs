//! Popular clients, unmodified.

use std::time::Duration;

use system_tests::{Tensors, TestHost, client, plugin, terms};

fn runs(script: &str) {
    let fronts = Tensors::start();
    let address = fronts.host.address().to_string();
    let said = client(script, &[&address, &fronts.zoe.api_key]);
    assert!(said.ends_with("ok\n"), "{said}");
}

#[test]
fn tritonclient_over_http() {
    runs("triton_http.py");
}

#[test]
fn tritonclient_over_grpc() {
    runs("triton_grpc.py");
}

#[test]
fn kserve_over_rest_and_grpc() {
    runs("kserve_both.py");
}

/// Headers and body in separate packets once caused stalls of 40 ms. The measured latency is in
/// host/docs/performance.md.
#[test]
fn perf_analyzer_sees_no_stall() {
    for protocol in ["http", "grpc"] {
        // A stall, the peer's delayed acknowledgement of 40 ms, shows in all three; other load on
        // the machine does not.
        let medians = [(); 3].map(|()| Tensors::start().perf_analyzer(protocol));
        let stalls = medians.iter().all(|median| *median >= Duration::from_millis(35));
        assert!(!stalls, "{protocol}: {medians:?}");
    }
}

/// Clients once reported a broken pipe, because the host closed the connection while they were
/// still sending.
#[test]
fn clients_that_still_send_read_why_they_are_refused() {
    let host = TestHost::start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let published = host.publish(&acme, &plugin("echo"));
    host.agree(&acme, &zoe, &published, vec![terms("echo-bytes")]);
    let said = client("early_refusals.py", &[&host.address().to_string(), &zoe.api_key]);
    assert!(said.ends_with("ok\n"), "{said}");
}
