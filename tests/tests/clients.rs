//! The clients that people use, unmodified.

use std::time::Duration;

use system_tests::{Tensors, client};

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

/// A header and a body that are sent apart wait for each other for 40 ms. The figure itself is in ARCHITECTURE.md.
#[test]
fn perf_analyzer_sees_no_stall() {
    for protocol in ["http", "grpc"] {
        let median = Tensors::start().perf_analyzer(protocol);
        assert!(median < Duration::from_millis(20), "{protocol}: {median:?}");
    }
}
