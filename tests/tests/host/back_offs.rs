//! Crashed workers: who is to blame, what is loaded again, and who has to wait.

use std::time::{Duration, Instant};

use hospes::config::Isolation;
use serde_json::json;
use system_tests::tenants::{ENDLESS, Tenants, byte_identity, case, echo, int64, turns};
use system_tests::{documented, hostile_worker};

/// A host with malicious workers, and a model for which they behave as `word` says.
fn hostile(word: &str, deadline: Duration) -> Tenants {
    let scene = Tenants::new(|config| {
        config.sandbox.deadline = deadline;
        config.inference.worker_program = Some(hostile_worker());
    });
    let model = documented(&byte_identity(), &format!("hostile:{word};"));
    scene.model(&scene.acme, "liar", model);
    scene
}

#[test]
fn whoever_computes_beside_a_crash_never_waits_for_it() {
    let scene = Tenants::new(|config| {
        config.sandbox.deadline = Duration::from_secs(10);
        config.inference.threads = 2.try_into().expect("not zero");
    });
    scene.model(&scene.acme, "div", case("intdiv.onnx"));
    scene.model(&scene.acme, "loop", case("loop.onnx"));
    let crash = json!([int64("A", &[i64::MIN]), int64("B", &[-1])]);
    for _ in 0..2 {
        std::thread::scope(|scope| {
            let beside = scope.spawn(|| scene.call(&scene.yan, "acme/loop", &turns(ENDLESS)));
            std::thread::sleep(Duration::from_millis(300));
            while scene.call(&scene.zoe, "acme/div", &crash).status == 503 {
                std::thread::sleep(Duration::from_millis(20));
            }
            beside.join().expect("it ends").problem(502, "plugin-failed");
        });
        scene.call(&scene.yan, "acme/loop", &turns(1)).ok();
    }
    // From now on the suspects run one after the other, so a crash has one cause.
    scene.call(&scene.zoe, "acme/div", &crash);
    let incidents = scene.incidents();
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    scene.call(&scene.yan, "acme/loop", &turns(1)).ok();
}

#[test]
fn a_model_that_ends_workers_while_it_is_loaded_is_backed_off_for_everybody() {
    let scene = hostile("dies-again", Duration::from_secs(10));
    scene.call(&scene.zoe, "acme/liar", &echo()).ok();
    scene.kill_worker();
    let paused = scene.call(&scene.zoe, "acme/liar", &echo()).problem(503, "busy");
    assert_eq!(paused["failure"], "computation-paused", "{paused}");
    let incidents = scene.incidents();
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    assert_eq!(incidents[0]["times"], 1, "one call crashed one worker: {incidents:?}");
    let began = Instant::now();
    while scene.call(&scene.yan, "acme/liar", &echo()).status == 503
        && scene.incidents()[0]["times"].as_u64() < Some(3)
    {
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", scene.incidents());
    }
    let wait = scene.incidents()[0]["wait_ms"].as_u64();
    assert!(wait > Some(0), "the back-off grows whoever calls: {wait:?}");
}

#[test]
fn a_model_that_loads_longer_than_a_call_may_take_is_loaded_for_the_next() {
    let scene = hostile("slow-again", Duration::from_secs(1));
    scene.kill_worker();
    let began = Instant::now();
    scene.call(&scene.zoe, "acme/liar", &echo()).problem(504, "plugin-deadline");
    // If loading ended with the call that needs the model, each call would start it again.
    while scene.call(&scene.zoe, "acme/liar", &echo()).status != 200 {
        assert!(began.elapsed() < Duration::from_secs(30), "the model is never loaded");
    }
    assert_eq!(scene.workers().len(), 1);
}

#[test]
fn a_computation_that_was_cancelled_leaves_no_memory_behind() {
    const BYTES: usize = 12 << 20;
    let scene = hostile("obedient", Duration::from_secs(2));
    let workers = scene.workers();
    let before = shared_memory();
    let call = scene.host.call(&scene.zoe, "acme/liar/infer");
    call.octets(vec![1; BYTES]).send().problem(504, "plugin-deadline");
    let began = Instant::now();
    while shared_memory() > before + BYTES / 3 {
        let held = shared_memory() - before;
        assert!(began.elapsed() < Duration::from_secs(5), "{held} bytes are still held");
        std::thread::sleep(Duration::from_millis(20));
    }
    // Longer than the worker may take to confirm the cancellation.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(scene.workers(), workers, "the worker was killed although it confirmed in time");
}

/// Resident shared memory of this process, in bytes.
fn shared_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("readable");
    let line =
        status.lines().find(|line| line.starts_with("RssShmem:")).expect("the kernel reports it");
    let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok());
    kib.expect("a number") << 10
}

#[test]
fn an_idle_worker_makes_way_for_another_publisher_s_and_a_busy_one_does_not() {
    let scene = Tenants::new(|config| {
        config.sandbox.deadline = Duration::from_secs(6);
        config.inference.workers_max = 1.try_into().expect("not zero");
    });
    scene.model(&scene.acme, "loop", case("loop.onnx"));
    scene.model(&scene.umbrella, "echo", byte_identity());
    for _ in 0..3 {
        scene.call(&scene.zoe, "acme/loop", &turns(1)).ok();
        scene.call(&scene.yan, "umbrella/echo", &echo()).ok();
        assert_eq!(scene.workers().len(), 1);
    }
    std::thread::scope(|scope| {
        let hog = scope.spawn(|| {
            loop {
                let reply = scene.call(&scene.zoe, "acme/loop", &turns(ENDLESS));
                // The other publisher's worker may have been busy.
                if reply.status != 503 {
                    break reply;
                }
            }
        });
        let refused = loop {
            assert!(!hog.is_finished(), "no call was refused while the worker was busy");
            let reply = scene.call(&scene.yan, "umbrella/echo", &echo());
            // If it has a receipt, it got the place and lost it again at once.
            if reply.status != 200 && reply.header("hospes-receipt").is_none() {
                break reply;
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        let problem = refused.problem(503, "busy");
        let detail = problem["detail"].as_str().expect("text");
        assert!(detail.contains("`inference.workers_max`"), "{detail}");
        assert!(refused.header("retry-after").is_some());
        hog.join().expect("it ends").problem(504, "plugin-deadline");
    });
    scene.call(&scene.yan, "umbrella/echo", &echo()).ok();
}

#[test]
fn a_computation_in_the_host_s_own_process_ends_with_its_call() {
    let scene = Tenants::new(|config| {
        config.sandbox.deadline = Duration::from_secs(2);
        config.inference.threads = 1.try_into().expect("not zero");
        config.inference.isolation = Isolation::None;
        config.inference.trusted_publishers = vec!["acme".parse().expect("a name")];
    });
    scene.model(&scene.acme, "loop", case("loop.onnx"));
    assert!(scene.workers().is_empty(), "trusted models run without workers");
    for _ in 0..20 {
        scene.call(&scene.zoe, "acme/loop", &turns(1)).ok();
    }
    for _ in 0..2 {
        scene.call(&scene.zoe, "acme/loop", &turns(ENDLESS)).problem(504, "plugin-deadline");
    }
    // The only inference thread is free again.
    scene.call(&scene.yan, "acme/loop", &turns(1)).ok();
}
