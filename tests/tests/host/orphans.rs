//! A killed host leaves no processes behind.

use std::time::{Duration, Instant};

use system_tests::hostile::generated;
use system_tests::{HostProcess, Request};

/// A generous limit for slow machines. The compilation would take longer.
const SOON: Duration = Duration::from_secs(10);

/// The child processes of `parent` with this role.
fn workers(parent: u32, role: &str) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").expect("readable");
    let numbers = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    numbers
        .filter(|number| {
            let read = |file: &str| std::fs::read_to_string(format!("/proc/{number}/{file}"));
            let (Ok(status), Ok(command)) = (read("status"), read("cmdline")) else { return false };
            let is_child = status.lines().any(|line| *line == format!("PPid:\t{parent}"));
            is_child && command.split('\0').any(|word| word == role)
        })
        .collect()
}

/// Whether the process runs; a zombie does not.
fn runs(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"));
    status.is_ok_and(|status| !status.lines().any(|line| line.starts_with("State:\tZ")))
}

/// The process group that a signal from a shell or a terminal goes to.
fn group(process: u32) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
    let (_, after_name) = stat.rsplit_once(')').expect("a name");
    after_name.split_whitespace().nth(2).and_then(|group| group.parse().ok()).expect("a number")
}

fn wait_until(what: &str, patience: Duration, done: impl Fn() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < patience, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn workers_end_with_a_host_that_is_killed() {
    let folder = tempfile::tempdir().expect("a directory");
    let data = folder.path().join("data");
    let mut host = HostProcess::start(&data);
    let acme = host.party(&data, "acme");
    let endless = generated().into_iter().find(|hostile| hostile.name == "code-without-end");
    let bundle = endless.expect("there is one").bundle().expect("it can be packed");
    let url = format!("{}/api/bundles", host.address);
    let publish = Request::new("POST", url).bearer(&acme.api_key).octets(acme.sign(&bundle));
    std::thread::scope(|scope| {
        let publishing = scope.spawn(move || publish.try_send().map(|reply| reply.status));
        let of_host = |role| workers(host.id(), role);
        wait_until("no compilation starts", Duration::from_secs(60), || {
            !of_host("compile").is_empty()
        });
        // The compilation has begun but is far from done.
        std::thread::sleep(Duration::from_millis(300));
        let compiling = of_host("compile");
        assert_eq!(compiling.len(), 1, "the compilation still runs");
        let computing = of_host("inference");
        assert!(!computing.is_empty(), "an inference worker is kept ready");
        for worker in compiling.iter().chain(&computing) {
            assert_ne!(group(*worker), group(host.id()), "signals to the host's group end it");
        }
        host.kill();
        for process in compiling.into_iter().chain(computing) {
            wait_until("the process outlives its host", SOON, || !runs(process));
        }
        assert!(publishing.join().expect("no panic").is_err(), "the upload gets no response");
    });
}
