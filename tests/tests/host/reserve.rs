//! Resources reserved for the operator: even if everything else is full, `hospes admin` responds
//! and acts.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use system_tests::{HostProcess, Request, wat_guest};

/// The number of files that the host may have open.
const FILES: usize = 128;

/// How soon the operator's actions must succeed, even on a slow machine.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn with_every_place_taken_the_operator_looks_and_acts() {
    let folder = tempfile::tempdir().expect("a directory");
    let data = folder.path().join("data");
    let host = HostProcess::with_files(&data, FILES);
    let (acme, zoe) = (host.party(&data, "acme"), host.party(&data, "zoe"));
    host.agree((&acme, &zoe), &wat_guest("spin", &[]), "run");
    let address = host.address.trim_start_matches("http://").to_owned();

    // More connections of strangers than the host may open files; half of them have begun a
    // request.
    let strangers: Vec<_> = (0..3 * FILES)
        .filter_map(|number| {
            let mut stream = TcpStream::connect(&address).ok()?;
            if number % 2 == 0 {
                stream.write_all(b"POST /acme/spin/run HTTP/1.1\r\nHost: x\r\n").ok()?;
            }
            Some(stream)
        })
        .collect();
    assert!(strangers.len() > FILES, "{}", strangers.len());
    std::thread::scope(|scope| {
        // Calls that never end by themselves take every sandbox and every place in the queue.
        let calls: Vec<_> = (0..FILES)
            .map(|_| {
                let url = format!("{}/acme/spin/run", host.address);
                let call = Request::new("POST", url).bearer(&zoe.api_key).json("{}");
                scope.spawn(move || call.try_send().map(|reply| reply.status))
            })
            .collect();
        std::thread::sleep(Duration::from_secs(1));
        let admin = |arguments: &[&str]| {
            let began = Instant::now();
            let data = data.to_str().expect("text");
            let output = HostProcess::command()
                .arg("admin")
                .args(arguments)
                .args(["--data", data])
                .output()
                .expect("it runs");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{arguments:?}: {said}");
            let took = began.elapsed();
            assert!(took < SOON, "{arguments:?}: {took:?}");
        };
        admin(&["status"]);
        admin(&["accounts"]);
        admin(&["suspend", "zoe", "--reason", "takes every place"]);
        admin(&["withdraw", "acme/spin@1.0.0", "--reason", "never ends"]);
        admin(&["log"]);
        drop(strangers);
        for call in calls {
            assert_ne!(call.join().expect("no panic").ok(), Some(200));
        }
    });
}
