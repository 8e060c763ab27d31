//! The clients that people use, unmodified.

use std::process::Command;
use std::time::Duration;

use system_tests::{Tensors, built, client};

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

/// The median time of a tiny inference through `perf_analyzer`.
fn perf_analyzer(protocol: &str) -> Duration {
    let fronts = Tensors::start();
    let output = Command::new(built("clients/perf/perf_analyzer"))
        .env("LD_LIBRARY_PATH", built("clients/perf"))
        .args(["-m", "acme/simple", "-p", "300", "--max-trials", "4", "-s", "90", "-i", protocol])
        .args(["-u", &fronts.host.address().to_string()])
        .args(["-H", &format!("authorization: Bearer {}", fronts.zoe.api_key)])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let micros = said.split("p50 latency: ").nth(1).and_then(|rest| rest.split(' ').next());
    let micros =
        micros.unwrap_or_else(|| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)));
    Duration::from_micros(micros.parse().expect("a number"))
}

/// A header and a body that are sent apart wait for each other for 40 ms. The figure itself is in the README.
#[test]
fn perf_analyzer_sees_no_stall() {
    for protocol in ["http", "grpc"] {
        let median = perf_analyzer(protocol);
        assert!(median < Duration::from_millis(20), "{protocol}: {median:?}");
    }
}
