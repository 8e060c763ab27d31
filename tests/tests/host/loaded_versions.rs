//! A version is loaded by its first call, and unloaded when others need the room.
#![allow(
    clippy::print_stdout,
    reason = "figures are for whoever runs it, and requests are written in place"
)]

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use hospes::backend::BackendKind;
use hospes::config::Config;
use hospes::tensor::DataType;
use serde_json::{Value, json};
use system_tests::{
    HostProcess, Party, Reply, Request, TestHost, documented, hostile_worker, identity,
    model_bundle, plugin, terms, wat_guest_as,
};
use tempfile::TempDir;

const TENSOR: &str = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[2],"data":[1.5,2.5]}]}"#;
const BYTES: &str = r#"{"inputs":[{"name":"x","datatype":"UINT8","shape":[2],"data":[1,2]}]}"#;

/// A host with models `m0`, `m1` … of `acme`, each with weights of its own, that `zoe` may call.
struct Models {
    host: TestHost,
    acme: Party,
    zoe: Party,
}

impl Models {
    fn start(count: usize) -> Self {
        let host = TestHost::start();
        let (acme, zoe) = (host.party("acme"), host.party("zoe"));
        for number in 0..count {
            let weights = documented(&identity(DataType::F32, 1), &number.to_string());
            let published =
                host.publish(&acme, &model_bundle(&format!("m{number}"), weights, None));
            host.agree(&acme, &zoe, &published, vec![terms("infer")]);
        }
        Self { host, acme, zoe }
    }

    fn restart(self, change: impl FnOnce(&mut Config)) -> Self {
        let Self { host, acme, zoe } = self;
        Self { host: TestHost::builder().data(host.stop()).config(change).start(), acme, zoe }
    }

    fn call(&self, number: usize) -> Reply {
        self.host.call(&self.zoe, &format!("acme/m{number}/infer")).json(TENSOR).send()
    }
}

fn status(host: &TestHost) -> Value {
    host.operator("GET", "/status").send().ok().json()
}

fn loaded(host: &TestHost, member: &str) -> u64 {
    status(host)["loaded"][member].as_u64().expect("a number")
}

/// What anybody who may know of the models can read of them.
fn readings(host: &TestHost, zoe: &Party) -> Vec<Value> {
    let paths = [
        "/acme/m1",
        "/acme/m1/openapi.json",
        "/v2/models",
        "/v2/models/acme%2Fm1",
        "/v2/models/acme%2Fm1/config",
        "/v2/models/acme%2Fm1/ready",
        "/v2/models/acme%2Fm1/stats",
        "/acme/echo",
        "/v1/models",
        "/api/market",
    ];
    let read = |path: &&str| host.get(path).bearer(&zoe.api_key).send().ok().json();
    paths.iter().map(read).collect()
}

#[test]
fn a_host_that_starts_again_knows_its_versions_and_has_loaded_none() {
    let models = Models::start(3);
    let echo = models.host.publish(&models.acme, &plugin("echo"));
    models.host.agree(&models.acme, &models.zoe, &echo, vec![terms("echo-u8")]);
    let before = readings(&models.host, &models.zoe);
    assert_eq!(loaded(&models.host, "versions"), 4);
    let models = models.restart(|_| {});
    assert_eq!(status(&models.host)["models"], 4);
    assert_eq!(readings(&models.host, &models.zoe), before);
    let stranger = models.host.party("eve");
    models.host.call(&stranger, "acme/m1/infer").json(TENSOR).send().problem(403, "not-permitted");
    let refused = models.host.call(&models.zoe, "acme/m1/infer").json("{}").send();
    assert!((400..500).contains(&refused.status), "{}", refused.text());
    assert_eq!((loaded(&models.host, "versions"), loaded(&models.host, "loads")), (0, 0));
    models.call(1).ok();
    models.call(1).ok();
    assert_eq!((loaded(&models.host, "versions"), loaded(&models.host, "loads")), (1, 1));
    let counted = models.host.get("/v2/models/acme%2Fm1/stats").bearer(&models.zoe.api_key);
    let counted = counted.send().ok().json();
    assert_eq!(counted["model_stats"][0]["inference_stats"]["success"]["count"], 2, "{counted}");
}

#[test]
fn a_hundred_first_calls_load_a_version_once() {
    const CALLS: usize = 100;
    let models = Models::start(1).restart(|_| {});
    let all_at_once = Barrier::new(CALLS);
    thread::scope(|scope| {
        for _ in 0..CALLS {
            scope.spawn(|| {
                all_at_once.wait();
                models.call(0).ok();
            });
        }
    });
    assert_eq!((loaded(&models.host, "versions"), loaded(&models.host, "loads")), (1, 1));
}

/// What one of the models takes when it is loaded.
fn bytes_of_one(models: &Models) -> u64 {
    models.call(0).ok();
    assert_eq!(loaded(&models.host, "versions"), 1);
    loaded(&models.host, "bytes")
}

#[test]
fn the_versions_that_were_not_called_for_longest_make_room() {
    let models = Models::start(4).restart(|_| {});
    let one = bytes_of_one(&models);
    let room = 2 * one + one / 2;
    let models = models.restart(|config| config.inference.memory_bytes = room);
    for number in [0, 1, 0, 2] {
        models.call(number).ok();
    }
    // 1 was not called for longest.
    assert_eq!((loaded(&models.host, "versions"), loaded(&models.host, "unloads")), (2, 1));
    models.call(0).ok();
    assert_eq!(loaded(&models.host, "loads"), 3, "0 was still loaded");
    for _ in 0..3 {
        (0..4).for_each(|number| drop(models.call(number).ok()));
    }
    let status = status(&models.host);
    assert_eq!((&status["models"], &status["out_of_service"]), (&json!(4), &json!([])));
    assert!(status["loaded"]["bytes"].as_u64().expect("a number") <= room, "{status}");
    // A version keeps its statistics when it is unloaded.
    let stats = models.host.get("/v2/models/acme%2Fm1/stats").bearer(&models.zoe.api_key);
    let stats = stats.send().ok().json();
    assert_eq!(stats["model_stats"][0]["inference_stats"]["success"]["count"], 4, "{stats}");
    // Publishing makes room too, and what does not fit at all is refused.
    let weights = documented(&identity(DataType::F32, 1), "another");
    models.host.publish(&models.acme, &model_bundle("another", weights, None));
    let huge = documented(&identity(DataType::F32, 1), &"x".repeat(room as usize));
    let huge = models.acme.sign(&model_bundle("huge", huge, None));
    let refused = models.host.try_publish(&models.acme, &huge).problem(422, "bundle-refused");
    assert!(refused["detail"].as_str().expect("text").contains("inference.memory_bytes"));
}

#[test]
fn a_host_whose_room_running_calls_fill_is_busy() {
    let host = TestHost::start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    for name in ["one", "two"] {
        let published = host.publish(&acme, &wat_guest_as("spin", name, &[]));
        host.agree(&acme, &zoe, &published, vec![terms("run")]);
    }
    let settings = |room: Option<u64>| {
        move |config: &mut Config| {
            config.sandbox.deadline = Duration::from_secs(3);
            config.inference.memory_bytes = room.unwrap_or(config.inference.memory_bytes);
        }
    };
    let host = TestHost::builder().data(host.stop()).config(settings(None)).start();
    let call = |host: &TestHost, name: &str| {
        host.call(&zoe, &format!("acme/{name}/run")).json("{}").send()
    };
    call(&host, "one").problem(504, "plugin-deadline");
    let room = loaded(&host, "bytes") * 3 / 2;
    let host = TestHost::builder().data(host.stop()).config(settings(Some(room))).start();
    thread::scope(|scope| {
        scope.spawn(|| call(&host, "one").problem(504, "plugin-deadline"));
        until("the first runs", || loaded(&host, "versions") == 1);
        let busy = call(&host, "two");
        let problem = busy.problem(503, "busy");
        assert!(busy.header("retry-after").is_some());
        let detail = problem["detail"].as_str().expect("text").to_owned();
        assert!(detail.contains("inference.memory_bytes"), "{detail}");
    });
    // It is not out of service, and loaded when there is room.
    assert_eq!(status(&host)["out_of_service"], json!([]));
    call(&host, "two").problem(504, "plugin-deadline");
    assert_eq!((loaded(&host, "versions"), loaded(&host, "unloads")), (1, 1));
}

#[test]
fn calls_go_on_while_another_version_loads_slowly() {
    let hostile = |config: &mut Config| {
        config.inference.worker_program = Some(hostile_worker());
        config.inference.backend = BackendKind::Tract.into();
    };
    // With tract, one of these models never loads.
    let first = TestHost::builder()
        .config(|config| config.inference.worker_program = Some(hostile_worker()))
        .start();
    let (acme, zoe) = (first.party("acme"), first.party("zoe"));
    for (name, word) in [("stuck", "tract-hang"), ("quick", "good")] {
        let model = documented(&identity(DataType::U8, 1), &format!("hostile:{word};"));
        let published = first.publish(&acme, &model_bundle(name, model, None));
        first.agree(&acme, &zoe, &published, vec![terms("infer")]);
    }
    let host = TestHost::builder().data(first.stop()).config(hostile).start();
    let call = |name: &str| host.call(&zoe, &format!("acme/{name}/infer")).json(BYTES);
    call("quick").send().ok();
    let stuck = call("stuck");
    // The response would take a minute, so nothing waits for it.
    thread::spawn(move || drop(stuck.try_send()));
    until("it is being loaded", || status(&host)["loading"] == 1);
    for _ in 0..20 {
        call("quick").send().ok();
    }
    assert_eq!(status(&host)["loading"], 1);
}

#[test]
fn versions_are_loaded_and_unloaded_a_thousand_times_in_the_same_memory() {
    let cycles = from_environment("HOSPES_LOADS").unwrap_or(40);
    let models = Models::start(5).restart(|_| {});
    let one = bytes_of_one(&models);
    let models = models.restart(|config| config.inference.memory_bytes = one + one / 2);
    let mut resident = Vec::new();
    for cycle in 0..cycles {
        models.call(cycle % 5).ok();
        if cycle >= cycles / 10 {
            resident.push(workers_resident(&models.host));
        }
    }
    let status = status(&models.host);
    let loads = status["loaded"]["loads"].as_u64().expect("a number");
    assert!(loads >= cycles as u64 - 1, "each call needs another version: {status}");
    let (least, most) = (resident.iter().min(), resident.iter().max());
    println!("{loads} loads: workers between {least:?} and {most:?} KiB");
    let (least, most) = (least.expect("some"), most.expect("some"));
    assert!(*most < least * 2, "workers grew from {least} to {most} KiB in {loads} loads");
}

/// Prints what the first calls of plugins take after a start. A release build takes less.
#[test]
fn first_calls_after_a_start_are_timed() {
    let (host, models) = (TestHost::start(), ["echo", "filetype", "classify", "flower-c"]);
    let acme = host.party("acme");
    for name in models {
        host.publish(&acme, &plugin(name));
    }
    let host = TestHost::builder().data(host.stop()).start();
    let mut before = 0;
    for name in models {
        // A call with wrong arguments loads nothing, so the publisher asks for the version by name.
        let page = host.get(&format!("/acme/{name}")).bearer(&acme.api_key).send().ok().json();
        let function = page["functions"][0]["name"].as_str().expect("a name").to_owned();
        let began = Instant::now();
        let call = host.call(&acme, &format!("acme/{name}/{function}")).octets(vec![1; 64]).send();
        let took = began.elapsed();
        let all = loaded(&host, "load_ms");
        println!("{name}: {} after {took:?}, {} ms of it to load it", call.status, all - before);
        before = all;
    }
}

/// Resident memory of all workers, in KiB.
fn workers_resident(host: &TestHost) -> u64 {
    let workers = host.host().inference().workers();
    workers.into_iter().filter_map(resident).sum()
}

/// Private resident memory of a process, in KiB.
fn resident(process: u32) -> Option<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
    let private = rollup.lines().filter(|line| line.starts_with("Private_"));
    Some(private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum())
}

/// Memory of a version that is not loaded.
const IDLE_KIB_MAX: u64 = 100;

/// What two starts of the same host differ by.
const START_KIB: u64 = 12 << 10;

#[test]
fn many_versions_are_idle_in_little_memory() {
    let count = from_environment("HOSPES_IDLE").unwrap_or(50);
    let first = Models::start(1);
    let before = first.restart(|_| {});
    let data = before.host.stop();
    let private = |data: &TempDir| {
        let began = Instant::now();
        let host = HostProcess::start(&data.path().join("data"));
        Request::new("GET", format!("{}/readyz", host.address)).send().ok();
        let took = began.elapsed();
        // Everything that is kept of a version without loading it is read.
        let mut next = Some("/v2/models?limit=100".to_owned());
        while let Some(path) = next {
            let page = Request::new("GET", format!("{}{path}", host.address));
            let page = page.bearer(&before.acme.api_key).send().ok();
            next = page.header("link").and_then(|link| {
                let (target, _) = link.strip_prefix('<')?.split_once('>')?;
                Some(target.to_owned())
            });
        }
        (resident(host.id()).expect("it runs"), took)
    };
    let few = private(&data);
    let room_for_all = |config: &mut Config| {
        config.bundle.models_per_publisher_max = 1 << 20;
        config.bundle.versions_per_publisher_max = 1 << 20;
    };
    let host = TestHost::builder().data(data).config(room_for_all).start();
    for number in 1..count {
        let weights = documented(&identity(DataType::F32, 1), &number.to_string());
        host.publish(&before.acme, &model_bundle(&format!("m{number}"), weights, None));
    }
    let data = host.stop();
    let many = private(&data);
    let grown = many.0.saturating_sub(few.0);
    let each = grown / (count as u64 - 1);
    println!("{count} versions: ready after {:?} (one: {:?}), {each} KiB each", many.1, few.1);
    let most = IDLE_KIB_MAX * (count as u64 - 1) + START_KIB;
    assert!(grown <= most, "{grown} KiB for {count} versions that are not loaded");
}

fn from_environment(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "not true in time: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
