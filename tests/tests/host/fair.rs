//! One tenant does its worst, and its neighbours hardly notice: threads, turns, places in the
//! queue, memory.
//!
//! The time limits are generous, for busy machines: without fair scheduling, the times would be
//! seconds, or calls would be refused.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hospes::backend::BackendKind;
use serde_json::json;
use system_tests::model::{Graph, element, tensor};
use system_tests::{
    Limited as _, Party, Reply, Request, TestHost, model_bundle, plugin, terms, text_guest,
    wat_guest, workspace,
};

/// A host with two tenants: `mallory`, who abuses what `workshop` has published, and a neighbour,
/// `zoe`, who calls a plugin of `acme`.
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

    /// How long the neighbour's calls and health checks take, one after the other for two seconds.
    fn neighbour(&self) -> Times {
        let mut times = Times::default();
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(2) {
            let at = Instant::now();
            let call = self.host.call(&self.zoe, "acme/echo/echo-u8").json(r#"{"v":7}"#);
            assert_eq!(call.send().ok().text(), "7");
            times.calls.push(at.elapsed());
            let at = Instant::now();
            self.host.get("/healthz").send().ok();
            times.health.push(at.elapsed());
        }
        times.calls.sort_unstable();
        times.health.sort_unstable();
        times
    }

    /// The same while this many threads repeat `work`.
    fn neighbour_beside(&self, threads: usize, work: impl Fn() + Sync) -> Times {
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
            let beside = self.neighbour();
            over.store(true, Ordering::Relaxed);
            beside
        })
    }

    /// Compares the neighbour alone and beside `calls` calls of mallory's.
    #[track_caller]
    fn is_served_beside(&self, calls: usize, guest: &str) {
        let alone = self.neighbour();
        let beside = self.neighbour_beside(calls, || drop(self.run(&self.mallory, guest, "")));
        is_hardly_slower(&alone.calls, &beside.calls, "calls");
        is_hardly_slower(&alone.health, &beside.health, "health checks");
    }
}

/// Sorted times.
#[derive(Default)]
struct Times {
    calls: Vec<Duration>,
    health: Vec<Duration>,
}

impl Times {
    /// The median is below `most`, even on a busy machine.
    #[track_caller]
    fn are_below(&self, most: Duration) {
        let median = self.calls[self.calls.len() / 2];
        assert!(median < most, "{median:?}");
    }
}

/// The median is below 50 ms, and the 99th percentile is below ten times, or at most 200 ms above,
/// that of the neighbour alone.
#[track_caller]
fn is_hardly_slower(alone: &[Duration], beside: &[Duration], what: &str) {
    let at = |times: &[Duration], percent: usize| times[(times.len() - 1) * percent / 100];
    let (median, p99, p99_alone) = (at(beside, 50), at(beside, 99), at(alone, 99));
    assert!(median < Duration::from_millis(50), "{what}: {median:?}");
    let most = (10 * p99_alone).max(p99_alone + Duration::from_millis(200));
    assert!(p99 < most, "{what}: p99 {p99:?}, {p99_alone:?} alone, {} measurements", beside.len());
}

#[test]
fn a_neighbour_of_an_endless_guest_on_each_core_is_served() {
    let street = Street::with(&["spin"], |_| {});
    street.is_served_beside(4, "spin");
}

#[test]
fn a_neighbour_of_64_endless_guests_is_served() {
    let street = Street::with(&["spin"], |config| {
        config.admission.slots_max = 64.try_into().expect("not zero");
    });
    street.is_served_beside(64, "spin");
}

#[test]
fn a_neighbour_of_guests_that_fill_memory_is_served() {
    let street = Street::with(&["fill"], |_| {});
    street.is_served_beside(4, "fill");
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
    let beside = street.neighbour_beside(8, || {
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
    beside.are_below(Duration::from_secs(1));
    let (done, refused) = (done.into_inner(), refused.into_inner());
    // A burst of 20, then one every thirty seconds.
    let allowed = 21 + began.elapsed().as_secs() as usize / 30;
    assert!(done <= allowed && refused > 0, "{done} of {allowed}, {refused} refused");
}

#[test]
fn a_stranger_who_asks_for_documents_without_end_leaves_a_neighbour_served() {
    let street = Street::with(&[], |_| {});
    let url = format!("http://{}/api/openapi.json", street.host.address());
    let beside = street.neighbour_beside(64, || {
        let _ = Request::new("GET", url.clone()).try_send();
    });
    beside.are_below(Duration::from_secs(1));
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
        // Once a call of the crowd is refused, its share of the queue is full.
        while !crowd.iter().any(std::thread::ScopedJoinHandle::is_finished) {
            std::thread::yield_now();
        }
        let began = Instant::now();
        let call = street.host.call(&street.zoe, "acme/echo/echo-u8").json(r#"{"v":7}"#);
        assert_eq!(call.send().ok().text(), "7");
        let waited = began.elapsed();
        assert!(waited < Duration::from_secs(4), "waited {waited:?} behind the 12 queued calls");
        let replies = crowd.into_iter().map(|call| call.join().expect("no panic"));
        let (mut ran, mut refused) = (0, 0);
        for reply in replies {
            if reply.status == 504 {
                ran += 1;
            } else {
                let problem = reply.problem(503, "busy");
                let detail = problem["detail"].as_str().expect("text");
                assert!(detail.contains("your share of the 16"), "{detail}");
                refused += 1;
            }
        }
        assert!(ran >= 13 && refused >= 1, "{ran} ran, {refused} were refused");
    });
    let status = street.host.operator("GET", "/status").send().ok().json();
    assert_eq!(status["sandboxes_free"], 1, "{status}");
}

/// Both accounts always have calls that wait for the only sandbox.
#[test]
fn an_account_of_weight_four_has_four_calls_for_one_of_another() {
    const CALLS: usize = 56;
    const COUNTED: usize = 25;
    let street = Street::with(&["spin"], |config| {
        config.admission.slots_max = 1.try_into().expect("not zero");
        config.admission.queue_wait_max = Duration::from_secs(300);
        config.admission.weights =
            [("zoe".parse().expect("a name"), 4.try_into().expect("not zero"))].into();
        // Each call takes this long, as it runs until its deadline.
        config.sandbox.deadline = Duration::from_millis(150);
    });
    let order = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for number in 0..CALLS {
            // Each has more calls than can be among those counted.
            let party = if number % 14 < 9 { &street.zoe } else { &street.mallory };
            let (street, order) = (&street, &order);
            scope.spawn(move || {
                street.run(party, "spin", "").problem(504, "plugin-deadline");
                order.lock().expect("no panic").push(party.name.as_str());
            });
        }
    });
    // The first calls began before all were waiting.
    let order = order.into_inner().expect("no panic");
    let counted = &order[8..8 + COUNTED];
    let of_zoe = counted.iter().filter(|name| **name == "zoe").count();
    assert!((15..=23).contains(&of_zoe), "her share is 20 of {COUNTED}: {order:?}");
}

/// A guest that differs from all others, so that it has to be compiled.
fn unlike_others(number: usize) -> Vec<u8> {
    let text = format!(
        ";; world: export nothing: func();\n\
         (module (memory (export \"memory\") 1) (func (export \"nothing\") (drop (i32.const {number}))))"
    );
    text_guest(&text, &format!("guest-{number}"), &[])
}

/// One publisher publishes without end, many bundles at a time, and each has to be compiled.
#[test]
fn who_publishes_without_end_delays_another_by_few_of_its_bundles() {
    const CROWD: usize = 24;
    let street = Street::with(&[], |config| {
        config.api.uploads_per_account_max = (2 * CROWD).try_into().expect("not zero");
        config.sandbox.compile_timeout = Duration::from_secs(240);
    });
    let (host, mallory, zoe) = (&street.host, &street.mallory, &street.zoe);
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for number in 0..CROWD {
            let signed = mallory.sign(&unlike_others(number));
            let done = &done;
            scope.spawn(move || {
                let reply = host.try_publish(mallory, &signed);
                // An upload that has waited too long is told to retry.
                assert!(matches!(reply.status, 201 | 503), "{}", reply.text());
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        let signed = zoe.sign(&unlike_others(CROWD));
        // All are waiting, and at least one is done.
        let until = Instant::now() + Duration::from_secs(120);
        while done.load(Ordering::Relaxed) == 0 {
            assert!(Instant::now() < until, "none of {CROWD} bundles was published");
            std::thread::sleep(Duration::from_millis(5));
        }
        let before = done.load(Ordering::Relaxed);
        host.try_publish(zoe, &signed).ok();
        let delayed = done.load(Ordering::Relaxed) - before;
        assert!(delayed <= 8, "it waited for {delayed} of another publisher's {CROWD} bundles");
    });
}

/// Each write is a record that is on disk before the response.
#[test]
fn who_writes_records_without_end_leaves_a_neighbour_s_calls_and_records_served() {
    const CROWD: usize = 64;
    const WRITES: usize = 20;
    let street = Street::with(&[], |config| {
        config.market.offers_per_publisher_max = 1_000_000;
        config.market.offer_bytes_per_publisher_max = 1 << 30;
    });
    let (host, mallory, zoe) = (&street.host, &street.mallory, &street.zoe);
    let [of_mallory, of_zoe] =
        [mallory, zoe].map(|party| host.publish(party, &wat_guest("noop", &[])));
    let number = AtomicUsize::new(1);
    // Publishes an offer that differs from all others.
    let write = |party: &Party, (model, digest): &_| {
        let count = number.fetch_add(1, Ordering::Relaxed);
        let terms = terms("nothing").limit(&format!("count lteq {count} call"));
        let offer = party.offer(model, *digest, vec![terms]);
        host.post("/api/offers").bearer(&party.api_key).body(offer.to_bytes()).send()
    };
    let (over, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..CROWD {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    // A write that has waited too long is told to retry.
                    let reply = write(mallory, &of_mallory);
                    assert!(matches!(reply.status, 200 | 201 | 503), "{}", reply.text());
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut delays = Vec::new();
        while done.load(Ordering::Relaxed) < CROWD {
            std::thread::sleep(Duration::from_millis(5));
        }
        for _ in 0..WRITES {
            let call = host.call(zoe, "acme/echo/echo-u8").json(r#"{"v":7}"#);
            assert_eq!(call.send().ok().text(), "7");
            let before = done.load(Ordering::Relaxed);
            write(zoe, &of_zoe).ok();
            delays.push(done.load(Ordering::Relaxed) - before);
        }
        over.store(true, Ordering::Relaxed);
        delays.sort_unstable();
        // With fair turns it is about four; in order of arrival it would be the whole crowd.
        assert!(
            delays[WRITES / 2] <= CROWD / 2,
            "it waited for too many of another party's writes: {delays:?}"
        );
    });
}

/// A call of the case `loop.onnx`, whose duration grows with `count`.
fn turns(host: &TestHost, party: &Party, count: i64) -> Reply {
    let count = json!({"name": "N", "datatype": "INT64", "shape": [1], "data": [count]});
    host.call(party, "workshop/loop/infer").json(&json!({ "inputs": [count] }).to_string()).send()
}

#[test]
fn a_caller_with_64_computations_in_a_worker_delays_another_s_by_few_of_them() {
    const CROWD: usize = 64;
    const EACH: Duration = Duration::from_millis(60);
    let host = TestHost::builder().config(|config| {
        config.inference.threads = 1.try_into().expect("not zero");
        // One account may use three quarters of the sandboxes.
        config.admission.slots_max = 128.try_into().expect("not zero");
        config.sandbox.deadline = Duration::from_secs(120);
    });
    let host = host.start();
    let workshop = host.party("workshop");
    let (mallory, zoe) = (host.party("mallory"), host.party("zoe"));
    let model = std::fs::read(workspace().join("tests/cases/loop.onnx")).expect("readable");
    let published =
        host.publish(&workshop, &model_bundle("loop", model, Some(BackendKind::Onnxruntime)));
    for party in [&mallory, &zoe] {
        host.agree(&workshop, party, &published, vec![terms("infer")]);
    }
    // Enough iterations that the inference dominates a call's time.
    let mut count = 1_000;
    loop {
        let began = Instant::now();
        turns(&host, &zoe, count).ok();
        if began.elapsed() >= EACH {
            break;
        }
        count *= 2;
    }
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CROWD {
            scope.spawn(|| {
                turns(&host, &mallory, count).ok();
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        let running = || {
            let status = host.operator("GET", "/status").send().ok().json();
            128 - status["sandboxes_free"].as_u64().expect("a number")
        };
        // All calls are running, or done.
        let until = Instant::now() + Duration::from_secs(60);
        while (running() as usize) + done.load(Ordering::Relaxed) < CROWD {
            assert!(Instant::now() < until, "not all calls of the crowd were admitted");
            std::thread::sleep(Duration::from_millis(5));
        }
        let before = done.load(Ordering::Relaxed);
        turns(&host, &zoe, count).ok();
        let delayed = done.load(Ordering::Relaxed) - before;
        assert!(before < CROWD / 2, "{before} calls ended before all were running");
        assert!(delayed <= 8, "it waited for {delayed} inferences of another caller");
    });
}

#[test]
fn the_copy_of_a_tensor_that_a_guest_reads_is_memory_like_any_other() {
    const MIB: usize = 1 << 20;
    let street = Street::with(&["read-tensor"], |config| {
        config.admission.memory_bytes_max = (64 * MIB).try_into().expect("not zero");
    });
    let read = |mib: usize| {
        let body = json!({"bytes": mib * MIB}).to_string();
        street.run(&street.mallory, "read-tensor", &body)
    };
    // One account may use 40 MiB. The guest takes 26, plus the tensor and its copy.
    read(1).ok();
    read(6).ok();
    let problem = read(12).problem(503, "busy");
    assert_eq!(problem["failure"], "host-memory", "{problem}");
}

#[test]
fn one_account_does_not_take_all_memory() {
    const MIB: usize = 1 << 20;
    let street = Street::with(&["take-memory"], |config| {
        config.admission.memory_bytes_max = (64 * MIB).try_into().expect("not zero");
        config.sandbox.deadline = Duration::from_secs(2);
    });
    // Of the 64 MiB, each of 12 calls is guaranteed one; three quarters of the other 52 are 39.
    let take = |party, mib: usize, keeps: bool| {
        let body = json!({"pages": mib * 16 - 1, "spin": keeps}).to_string();
        street.run(party, "take-memory", &body)
    };
    let is_refused = |reply: &Reply| {
        let problem = reply.problem(503, "busy");
        assert_eq!(problem["failure"], "host-memory", "{problem}");
        let detail = problem["detail"].as_str().expect("text");
        assert!(detail.contains("67108864") && detail.contains("admission.memory_bytes_max"));
        assert!(reply.header("hospes-receipt").is_some(), "the call ran, so it has a receipt");
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
        assert_eq!(free(), 52 * MIB as u64, "all memory is released");
    });
}
