//! What waits: its order, its deadline, and who has left. Also what a quiet account notices of one
//! that floods the same models.
#![allow(
    clippy::print_stdout,
    clippy::needless_pass_by_value,
    reason = "figures are for whoever runs it, and requests are written in place"
)]

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use system_tests::tenants::{ENDLESS, Tenants, byte_identity, case, echo, turns};
use system_tests::{Party, Reply, plugin};

/// A host with one sandbox and models of `acme` that anybody may call.
fn scene(sandboxes: usize) -> Tenants {
    let scene = Tenants::new(|config| {
        config.admission.slots_max = sandboxes.try_into().expect("not zero");
        config.sandbox.deadline = Duration::from_secs(60);
    });
    scene.model(&scene.acme, "loop", case("loop.onnx"));
    scene.model(&scene.acme, "echo", byte_identity());
    scene
}

/// Calls a model over the Open Inference Protocol with these parameters.
fn infer(scene: &Tenants, party: &Party, model: &str, inputs: &Value, parameters: &Value) -> Reply {
    let body = json!({"inputs": inputs, "parameters": parameters}).to_string();
    let path = format!("/v2/models/acme/{model}/infer");
    scene.host.post(&path).bearer(&party.api_key).body(body).send()
}

/// The same in another thread.
fn begin(scene: &Tenants, party: &Party, inputs: Value, parameters: Value) -> JoinHandle<Reply> {
    let body = json!({"inputs": inputs, "parameters": parameters}).to_string();
    let request = scene.host.post("/v2/models/acme/loop/infer").bearer(&party.api_key).body(body);
    spawn(move || request.send())
}

fn queue(scene: &Tenants) -> Value {
    scene.host.operator("GET", "/status").send().ok().json()["queue"].clone()
}

/// Waits until the only sandbox is taken.
fn wait_until_busy(scene: &Tenants) {
    let began = Instant::now();
    while scene.host.operator("GET", "/status").send().ok().json()["sandboxes_free"] != 0 {
        assert!(began.elapsed().as_secs() < 20, "nobody took it");
        sleep(Duration::from_millis(5));
    }
}

fn receipts(scene: &Tenants, party: &Party) -> Vec<Value> {
    let listed = scene.host.get("/api/receipts").bearer(&party.api_key).send().ok().json();
    listed["receipts"].as_array().expect("a list").clone()
}

#[test]
fn a_call_that_cannot_end_in_time_is_refused_at_once_and_not_charged() {
    let scene = scene(4);
    let mut count = 1000;
    let slow = loop {
        let at = Instant::now();
        infer(&scene, &scene.zoe, "loop", &turns(count), &json!({})).ok();
        if at.elapsed() > Duration::from_millis(40) {
            break turns(count);
        }
        count *= 2;
    };
    for _ in 0..40 {
        infer(&scene, &scene.zoe, "loop", &slow, &json!({})).ok();
    }
    let before = receipts(&scene, &scene.zoe).len();
    let refused = infer(&scene, &scene.zoe, "loop", &slow, &json!({"timeout": 1000}));
    assert_eq!(refused.status, 504, "{}", refused.text());
    assert!(refused.text().contains("it would end after its deadline"), "{}", refused.text());
    assert_eq!(refused.header("hospes-receipt"), None, "it did not take place");
    assert_eq!(receipts(&scene, &scene.zoe).len(), before);
    assert_eq!(queue(&scene)["calls_late"], 1, "{}", queue(&scene));
    infer(&scene, &scene.zoe, "loop", &slow, &json!({"timeout": 50_000_000})).ok();
}

#[test]
fn a_call_waits_for_a_sandbox_no_longer_than_its_deadline() {
    let scene = scene(1);
    let long = begin(&scene, &scene.zoe, turns(ENDLESS), json!({"timeout": 3_000_000}));
    wait_until_busy(&scene);
    let at = Instant::now();
    let refused = infer(&scene, &scene.yan, "echo", &echo(), &json!({"timeout": 300_000}));
    assert_eq!(refused.status, 504, "{}", refused.text());
    assert!(at.elapsed() < Duration::from_millis(2500), "it waited for {:?}", at.elapsed());
    assert_eq!(refused.header("hospes-receipt"), None, "it did not take place");
    assert_eq!(long.join().expect("no panic").status, 504);
    infer(&scene, &scene.yan, "echo", &echo(), &json!({"timeout": 10_000_000})).ok();
}

#[test]
fn calls_of_one_account_that_wait_are_served_by_priority() {
    let scene = scene(1);
    let long = begin(&scene, &scene.zoe, turns(ENDLESS), json!({"timeout": 4_000_000}));
    wait_until_busy(&scene);
    let mut waiting = Vec::new();
    for priority in [0, 9, 1, 5, 2] {
        waiting
            .push((priority, begin(&scene, &scene.zoe, turns(1), json!({"priority": priority}))));
        sleep(Duration::from_millis(150));
    }
    let long = long.join().expect("no panic");
    let mut of_calls: Vec<(String, u64)> = Vec::new();
    for (priority, waiting) in waiting {
        let reply = waiting.join().expect("no panic").ok();
        of_calls.push((reply.header("hospes-receipt").expect("a receipt").to_owned(), priority));
    }
    // The log of receipts has the order in which they ended.
    let listed = receipts(&scene, &scene.zoe);
    let mut ended: Vec<&str> = listed.iter().filter_map(|one| one["call"].as_str()).collect();
    if ended.first().copied() != long.header("hospes-receipt") {
        ended.reverse();
    }
    let of = |call: &str| of_calls.iter().find(|(one, _)| one == call).map(|(_, level)| *level);
    let order: Vec<u64> = ended.into_iter().filter_map(of).collect();
    assert_eq!(order, [1, 2, 0, 5, 9]);
}

#[test]
fn a_call_whose_caller_leaves_before_it_has_a_sandbox_is_dropped_and_not_counted() {
    let scene = scene(1);
    let long = begin(&scene, &scene.zoe, turns(ENDLESS), json!({"timeout": 3_000_000}));
    wait_until_busy(&scene);
    let body = json!({"inputs": turns(1)}).to_string();
    let mut stream = TcpStream::connect(scene.host.address()).expect("it listens");
    let (key, length) = (&scene.yan.api_key, body.len());
    let request = format!(
        "POST /v2/models/acme/loop/infer HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("sent");
    sleep(Duration::from_millis(500));
    drop(stream);
    let began = Instant::now();
    while queue(&scene)["calls_abandoned"] != 1 {
        assert!(began.elapsed().as_secs() < 20, "{}", queue(&scene));
        sleep(Duration::from_millis(10));
    }
    long.join().expect("no panic");
    infer(&scene, &scene.yan, "echo", &echo(), &json!({})).ok();
    assert_eq!(receipts(&scene, &scene.yan).len(), 1, "only the second call took place");
}

#[test]
fn publishing_says_whether_a_model_s_calls_are_joined_and_joined_calls_have_their_own_answers() {
    let scene = Tenants::new(|config| config.inference.threads = 1.try_into().expect("not zero"));
    let published = scene.host.try_publish(&scene.acme, &scene.acme.sign(&plugin("iris")));
    assert_eq!(published.status, 201, "{}", published.text());
    let tried = published.json()["models"][0].clone();
    println!("iris: {tried}");
    assert!(tried["batch_gain"].is_number() || tried["not_joined"].is_string(), "{tried}");
    let gain = tried["batch_gain"].as_f64();
    assert_eq!(tried["joined"], gain.is_some_and(|gain| gain >= 1.2), "{tried}");
}

/// The largest of 99 of 100.
fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[(times.len() * 99).div_ceil(100) - 1]
}

/// How long each of an account's calls takes, one after the other, with a pause before each.
fn quiet(scene: &Tenants, model: &str, inputs: &Value, calls: usize) -> Vec<Duration> {
    let call = || {
        sleep(Duration::from_millis(3));
        let at = Instant::now();
        scene.call(&scene.yan, model, inputs).ok();
        at.elapsed()
    };
    (0..calls).map(|_| call()).collect()
}

/// Prints p99 of a quiet account alone and beside one that floods the same model with 16 calls at a
/// time. Run it on an otherwise idle machine: `HOSPES_FLOOD=1 cargo nextest run -E
/// 'test(beside_one_that_floods)' --no-capture`.
#[test]
fn what_a_quiet_account_notices_beside_one_that_floods_the_same_model() {
    if std::env::var_os("HOSPES_FLOOD").is_none() {
        return;
    }
    let scene = scene(64);
    let mut count = 100;
    while quiet(&scene, "acme/loop", &turns(count), 5)[2..].iter().min()
        < Some(&Duration::from_millis(10))
    {
        count += count / 4;
    }
    for (name, model, inputs) in
        [("small", "acme/echo", echo()), ("10 ms", "acme/loop", turns(count))]
    {
        quiet(&scene, model, &inputs, 50);
        let alone = p99(quiet(&scene, model, &inputs, 500));
        let (over, served) = (AtomicBool::new(false), std::sync::atomic::AtomicU64::new(0));
        let began = Instant::now();
        let beside = std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        scene.call(&scene.zoe, model, &inputs).ok();
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            sleep(Duration::from_millis(500));
            let beside = p99(quiet(&scene, model, &inputs, 500));
            over.store(true, Ordering::Relaxed);
            beside
        });
        let rate = served.into_inner() as f64 / began.elapsed().as_secs_f64();
        println!(
            "{name}: p99 alone {alone:?}, beside {beside:?}, {:.2} times; the other account had {rate:.0} calls/s",
            beside.as_secs_f64() / alone.as_secs_f64()
        );
    }
}
