//! SIGTERM: the host first reports that it is not ready, and then ends all running calls and exits.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use system_tests::{HostProcess, Party, Request, TestHost, terms, wat_guest};
use tempfile::TempDir;

/// The data of a host where `zoe` may call a guest that never ends.
fn endless() -> (std::sync::Arc<TempDir>, Party) {
    let host = TestHost::start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let published = host.publish(&acme, &wat_guest("spin", &[]));
    host.agree(&acme, &zoe, &published, vec![terms("run")]);
    (host.stop(), zoe)
}

fn get(host: &HostProcess, path: &str) -> Option<u16> {
    let request = Request::new("GET", format!("{}{path}", host.address));
    request.try_send().ok().map(|reply| reply.status)
}

/// Waits until the process exits. Returns how long it took.
fn ended(host: &mut HostProcess, began: Instant) -> Duration {
    let status = host.wait();
    assert!(status.success(), "{status}");
    began.elapsed()
}

fn data(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("data")
}

#[test]
fn readiness_is_gone_before_the_listener_is() {
    let folder = TempDir::new().expect("a directory");
    let mut host = HostProcess::start_with(&data(&folder), "[api]\ndrain_delay = \"1s\"\n");
    assert_eq!(get(&host, "/readyz"), Some(200));
    let began = Instant::now();
    host.signal("TERM");
    while get(&host, "/readyz") == Some(200) {
        assert!(began.elapsed() < Duration::from_millis(900), "still ready");
    }
    // New connections are still accepted and answered.
    assert_eq!(get(&host, "/readyz"), Some(503));
    assert_eq!(get(&host, "/v2/health/ready"), Some(503));
    assert_eq!(get(&host, "/healthz"), Some(200));
    let took = ended(&mut host, began);
    assert!(took >= Duration::from_secs(1), "{took:?}");
    assert_eq!(get(&host, "/healthz"), None);
}

#[test]
fn who_presses_ctrl_c_or_asks_twice_does_not_wait() {
    for signals in [&["INT"][..], &["TERM", "TERM"]] {
        let folder = TempDir::new().expect("a directory");
        let mut host = HostProcess::start_with(&data(&folder), "[api]\ndrain_delay = \"60s\"\n");
        let began = Instant::now();
        for signal in signals {
            host.signal(signal);
            std::thread::sleep(Duration::from_millis(200));
        }
        let took = ended(&mut host, began);
        assert!(took < Duration::from_secs(20), "{signals:?}: {took:?}");
    }
}

#[test]
fn a_guest_that_does_not_end_does_not_keep_the_process() {
    const SETTINGS: &str = "[api]\ndrain_delay = \"0s\"\ndrain_timeout = \"1s\"\n\
        [sandbox]\ndeadline = \"600s\"\n";
    let (folder, zoe) = endless();
    let mut host = HostProcess::start_with(&data(&folder), SETTINGS);
    let (url, key) = (format!("{}/acme/spin/run", host.address), zoe.api_key.clone());
    let caller = std::thread::spawn(move || {
        Request::new("POST", url).bearer(&key).json("{}").try_send().map(|reply| reply.status)
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    while free_sandboxes(&host, &data(&folder)) == 64 {
        assert!(Instant::now() < deadline, "the call does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    let began = Instant::now();
    host.signal("TERM");
    let took = ended(&mut host, began);
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(8), "{took:?}");
    assert!(caller.join().expect("no panic").is_err(), "the call gets no response");
    // The data is left intact: the next host starts on it.
    drop(HostProcess::start(&data(&folder)));
}

fn free_sandboxes(host: &HostProcess, data: &Path) -> u64 {
    let token = std::fs::read_to_string(data.join("operator.token")).expect("written");
    let status = Request::new("GET", format!("{}/status", host.operator)).bearer(token.trim());
    let free = status.send().ok().json()["sandboxes_free"].clone();
    assert_ne!(free, json!(null));
    free.as_u64().expect("a count")
}
