//! One tenant does its worst, and its neighbours hardly notice: threads, turns, queue places, memory.
//!
//! Bounds of time are wide, for machines that are busy with other things: without fair turns these figures are seconds, or refusals.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use system_tests::model::{Graph, element, tensor};
use system_tests::{Party, Reply, Request, TestHost, model_bundle, plugin, terms, wat_guest};

/// A host with a tenant who does harm with what `workshop` has published, `mallory`, and a neighbour, `zoe`, who calls a plugin of
/// `acme`.
struct Street {
    host: TestHost,
    mallory: Party,
    zoe: Party,
}

impl Street {
    fn with(guests: &[&str], settings: impl FnOnce(&mut hospes::config::Config)) -> Self {
        let host = TestHost::builder()
            .config(|config| {
                config.sandbox.deadline = Duration::from_secs(4);
                settings(config);
            })
            .start();
        let (acme, workshop) = (host.party("acme"), host.party("workshop"));
        let (mallory, zoe) = (host.party("mallory"), host.party("zoe"));
        let echo = host.publish(&acme, &plugin("echo"));
        host.agree(&acme, &zoe, &echo, vec![terms("echo-u8")]);
        for guest in guests {
            let published = host.publish(&workshop, &wat_guest(guest, &[]));
            host.agree(&workshop, &mallory, &published, vec![terms("run")]);
            host.agree(&workshop, &zoe, &published, vec![terms("run")]);
        }
        Self { host, mallory, zoe }
    }

    fn run(&self, party: &Party, guest: &str, body: &str) -> Reply {
        self.host.call(party, &format!("workshop/{guest}/run")).json(body).send()
    }

    /// What the neighbour's calls, one after the other, and looks at its health take while `calls` calls of mallory's run.
    fn beside(&self, calls: usize, guest: &str) -> (Vec<Duration>, Vec<Duration>) {
        self.beside_of(calls, || drop(self.run(&self.mallory, guest, "")))
    }

    /// The same while so many threads do something without end.
    fn beside_of(&self, threads: usize, work: impl Fn() + Sync) -> (Vec<Duration>, Vec<Duration>) {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        work();
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(500));
            let (mut calls, mut health) = (Vec::new(), Vec::new());
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(2) {
                let at = Instant::now();
                let call = self.host.call(&self.zoe, "acme/echo/echo-u8").json(r#"{"v":7}"#);
                assert_eq!(call.send().ok().text(), "7");
                calls.push(at.elapsed());
                let at = Instant::now();
                self.host.get("/healthz").send().ok();
                health.push(at.elapsed());
            }
            over.store(true, Ordering::Relaxed);
            (calls, health)
        })
    }
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[track_caller]
fn are_quick((mut calls, mut health): (Vec<Duration>, Vec<Duration>)) {
    let (call, probe) = (median(&mut calls), median(&mut health));
    assert!(call < Duration::from_millis(50), "{call:?}");
    assert!(probe < Duration::from_millis(50), "{probe:?}");
}

#[test]
fn a_neighbour_of_an_endless_guest_on_each_core_is_served() {
    let street = Street::with(&["spin"], |_| {});
    are_quick(street.beside(4, "spin"));
}

#[test]
fn a_neighbour_of_64_endless_guests_is_served() {
    let street = Street::with(&["spin"], |config| {
        config.admission.slots_max = 64.try_into().expect("not zero");
    });
    are_quick(street.beside(64, "spin"));
}

#[test]
fn a_neighbour_of_guests_that_fill_memory_is_served() {
    let street = Street::with(&["fill"], |_| {});
    are_quick(street.beside(4, "fill"));
}

/// A model of 8 MiB.
fn large_model() -> Vec<u8> {
    let weights = vec![0; 8 << 20];
    let weights = tensor("w", element::F32, &[weights.len() as u64 / 4], &weights);
    let graph = Graph::new().input("x", element::F32, &[1]).weights(&weights);
    graph.node("Add", &["x", "w"], &["y"], &[]).output("y", element::F32, &[2 << 20]).model()
}

#[test]
fn loading_and_unloading_without_end_is_limited_and_a_neighbour_is_served() {
    let street = Street::with(&[], |_| {});
    let (host, mallory) = (&street.host, &street.mallory);
    host.publish(mallory, &model_bundle("large", large_model(), None));
    let (done, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let began = Instant::now();
    let (mut calls, _) = street.beside_of(8, || {
        for what in ["unload", "load"] {
            let path = format!("/v2/repository/models/mallory%2Flarge/{what}");
            let reply = host.post(&path).bearer(&mallory.api_key).send();
            match reply.status {
                200 => done.fetch_add(1, Ordering::Relaxed),
                429 => {
                    assert!(reply.header("retry-after").is_some(), "{}", reply.text());
                    refused.fetch_add(1, Ordering::Relaxed)
                }
                _ => panic!("{}: {}", reply.status, reply.text()),
            };
        }
    });
    let call = median(&mut calls);
    assert!(call < Duration::from_secs(1), "{call:?}");
    let (done, refused) = (done.into_inner(), refused.into_inner());
    // 20 at once, then one every two seconds.
    let allowed = 21 + began.elapsed().as_secs() as usize / 2;
    assert!(done <= allowed && refused > 0, "{done} of {allowed}, {refused} refused");
}

#[test]
fn a_stranger_who_asks_for_documents_without_end_leaves_a_neighbour_served() {
    let street = Street::with(&[], |_| {});
    let url = format!("http://{}/api/openapi.json", street.host.address());
    let (mut calls, _) = street.beside_of(64, || {
        let _ = Request::new("GET", url.clone()).try_send();
    });
    let call = median(&mut calls);
    assert!(call < Duration::from_secs(1), "{call:?}");
}

#[test]
fn a_queue_full_of_one_account_s_calls_has_room_for_another() {
    let street = Street::with(&["spin"], |config| {
        config.admission.slots_max = 1.try_into().expect("not zero");
        config.admission.queue_length_max = 16;
        config.admission.queue_wait_max = Duration::from_secs(20);
        config.sandbox.deadline = Duration::from_millis(500);
    });
    std::thread::scope(|scope| {
        let crowd: Vec<_> =
            (0..40).map(|_| scope.spawn(|| street.run(&street.mallory, "spin", ""))).collect();
        // Once the first of the crowd is refused, its part of the queue is full.
        while !crowd.iter().any(std::thread::ScopedJoinHandle::is_finished) {
            std::thread::yield_now();
        }
        let began = Instant::now();
        let call = street.host.call(&street.zoe, "acme/echo/echo-u8").json(r#"{"v":7}"#);
        assert_eq!(call.send().ok().text(), "7");
        let waited = began.elapsed();
        assert!(waited < Duration::from_secs(4), "12 others were there first, {waited:?}");
        let replies = crowd.into_iter().map(|call| call.join().expect("no panic"));
        let (mut ran, mut refused) = (0, 0);
        for reply in replies {
            if reply.status == 504 {
                ran += 1;
            } else {
                let problem = reply.problem(503, "busy");
                let detail = problem["detail"].as_str().expect("text");
                assert!(detail.contains("your part of the 16"), "{detail}");
                refused += 1;
            }
        }
        assert!(ran >= 13 && refused >= 1, "{ran} ran, {refused} were refused");
    });
    let status = street.host.operator("GET", "/status").send().ok().json();
    assert_eq!(status["sandboxes_free"], 1, "{status}");
}

#[test]
fn one_account_does_not_take_all_memory() {
    const MIB: usize = 1 << 20;
    let street = Street::with(&["take-memory"], |config| {
        config.admission.memory_bytes_max = (64 * MIB).try_into().expect("not zero");
        config.sandbox.deadline = Duration::from_secs(2);
    });
    // Of 64 MiB each of 12 calls has one for itself; three quarters of the other 52 are 39.
    let take = |party, mib: usize, keeps: bool| {
        let body = json!({"pages": mib * 16 - 1, "spin": keeps}).to_string();
        street.run(party, "take-memory", &body)
    };
    let is_refused = |reply: &Reply| {
        let problem = reply.problem(503, "busy");
        assert_eq!(problem["failure"], "host-memory", "{problem}");
        let detail = problem["detail"].as_str().expect("text");
        assert!(detail.contains("67108864") && detail.contains("admission.memory_bytes_max"));
        assert!(reply.header("hospes-receipt").is_some(), "it ran, and is metered");
    };
    for _ in 0..3 {
        assert_eq!(take(&street.mallory, 40, false).ok().text(), (40 * MIB).to_string());
        is_refused(&take(&street.mallory, 41, false));
    }
    std::thread::scope(|scope| {
        let keeper = scope.spawn(|| take(&street.mallory, 40, true));
        let free = || {
            let status = street.host.operator("GET", "/status").send().ok().json();
            status["memory_free_bytes"].as_u64().expect("a number")
        };
        while free() != 13 * MIB as u64 {
            std::thread::yield_now();
        }
        is_refused(&take(&street.mallory, 2, false));
        assert_eq!(take(&street.mallory, 1, false).ok().text(), MIB.to_string());
        assert_eq!(take(&street.zoe, 10, false).ok().text(), (10 * MIB).to_string());
        is_refused(&take(&street.zoe, 11, false));
        keeper.join().expect("no panic").problem(504, "plugin-deadline");
        assert_eq!(take(&street.zoe, 40, false).ok().text(), (40 * MIB).to_string());
        assert_eq!(free(), 52 * MIB as u64, "all is given back");
    });
}
