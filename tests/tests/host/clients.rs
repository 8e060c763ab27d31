//! The clients that people use, unmodified.

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

/// A header and a body that are sent apart wait for each other for 40 ms. The figure itself is in host/docs/performance.md.
#[test]
fn perf_analyzer_sees_no_stall() {
    for protocol in ["http", "grpc"] {
        // A stall is in each of them, a busy machine is not: the peer's delayed acknowledgement is 40 ms.
        let medians = [(); 3].map(|()| Tensors::start().perf_analyzer(protocol));
        let stalls = medians.iter().all(|median| *median >= Duration::from_millis(35));
        assert!(!stalls, "{protocol}: {medians:?}");
    }
}

/// They reported a broken pipe: the connection was closed while they still sent.
#[test]
fn clients_that_still_send_read_why_they_are_refused() {
    let host = TestHost::start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let published = host.publish(&acme, &plugin("echo"));
    host.agree(&acme, &zoe, &published, vec![terms("echo-bytes")]);
    let said = client("early_refusals.py", &[&host.address().to_string(), &zoe.api_key]);
    assert!(said.ends_with("ok\n"), "{said}");
}
