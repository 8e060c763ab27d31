//! Hostile models, each published to a real host and called if it goes live: the expected error and
//! receipt, every call over by its deadline, and a host that responds throughout.

mod files;
mod outcomes;
mod sizes;
mod table;
mod traps;
mod work;

use std::time::{Duration, Instant};

use hospes::id::Digest;
use serde_json::json;
use system_tests::{Party, Reply, TestHost, model_bundle, simple, terms};
use table::{Becomes, Case};

const DEADLINE: Duration = Duration::from_secs(2);

/// How long a call may run beyond its deadline.
const LATE_MAX: Duration = Duration::from_secs(1);

/// The memory limit of a worker.
const WORKER_BYTES_MAX: u64 = 1 << 30;

struct Scene {
    host: TestHost,
    acme: Party,
    zoe: Party,
}

impl Scene {
    fn new() -> Self {
        let host = TestHost::builder().config(|config| {
            config.sandbox.deadline = DEADLINE;
            config.inference.worker_memory_bytes_max = WORKER_BYTES_MAX;
        });
        let host = host.start();
        let (acme, zoe) = (host.party("acme"), host.party("zoe"));
        let bob = host.party("bob");
        let honest = host.publish(&bob, &model_bundle("simple", simple(), None));
        host.agree(&bob, &zoe, &honest, vec![terms("infer")]);
        Self { host, acme, zoe }
    }

    /// Checks that another publisher's model and the health check respond at once.
    #[track_caller]
    fn still_serves(&self, name: &str) {
        let began = Instant::now();
        self.host.get("/healthz").send().ok();
        let row: Vec<i32> = (0..16).collect();
        let input =
            |name: &str| json!({"name": name, "datatype": "INT32", "shape": [1, 16], "data": row});
        let body = json!({"inputs": [input("INPUT0"), input("INPUT1")]}).to_string();
        self.host.call(&self.zoe, "bob/simple/infer").json(&body).send().ok();
        assert!(began.elapsed() < Duration::from_secs(1), "{name}: {:?}", began.elapsed());
    }

    fn meet(&self, number: usize, case: &Case) {
        let name = case.name;
        let label = format!("hostile-{number}");
        let bundle = self.acme.sign(&model_bundle(&label, case.model.clone(), None));
        let published = self.host.try_publish(&self.acme, &bundle);
        if published.status == 201 {
            assert!(!matches!(case.becomes, Becomes::Refused(_)), "{name}: it went live");
            let digest = published.json()["digest"].as_str().expect("text").parse();
            self.call(&label, digest.expect("a digest"), case);
        } else {
            let problem = published.problem(422, "bundle-refused");
            let said = problem["detail"].as_str().unwrap_or_default();
            match case.becomes {
                Becomes::Refused(wanted) => assert!(said.contains(wanted), "{name}: {said}"),
                Becomes::Endless | Becomes::Overdone => {
                    let is_said = ["unusable", "ended"].iter().any(|word| said.contains(word));
                    assert!(is_said, "{name}: {said}");
                }
                Becomes::Answers | Becomes::Fails(_) | Becomes::Unfit(_) | Becomes::Ends(_) => {
                    panic!("{name} is refused: {said}")
                }
            }
            assert!(!said.contains('\n'), "{name}: {said}");
        }
        self.still_serves(name);
    }

    /// A call, retried while the model is backed off because another case crashed a worker with the
    /// same weights.
    fn once_let(&self, case: &Case, call: impl Fn() -> Reply) -> Reply {
        let waits = matches!(case.becomes, Becomes::Answers | Becomes::Fails(_));
        let began = Instant::now();
        loop {
            let reply = call();
            let is_over = !waits || !reply.text().contains("computation-paused");
            if is_over || began.elapsed() > DEADLINE {
                return reply;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn call(&self, label: &str, digest: Digest, case: &Case) {
        let name = case.name;
        let model = format!("acme/{label}").parse().expect("a model");
        let live = (model, digest);
        self.host.agree(&self.acme, &self.zoe, &live, vec![terms("infer")]);
        let body = json!({"inputs": case.inputs}).to_string();
        for _ in 0..2 {
            let began = Instant::now();
            let reply = self.once_let(case, || {
                self.host.call(&self.zoe, &format!("acme/{label}/infer")).json(&body).send()
            });
            let took = began.elapsed();
            assert!(took < DEADLINE + LATE_MAX, "{name}: {took:?}");
            if let Becomes::Unfit(wanted) = case.becomes {
                let problem = reply.problem(400, "invalid-arguments");
                let said = problem["detail"].as_str().unwrap_or_default();
                assert!(said.contains(wanted) && said.len() < 8192, "{name}: {said}");
                assert_eq!(reply.header("hospes-receipt"), None, "{name}");
                self.still_serves(name);
                continue;
            }
            let call = reply.header("hospes-receipt").expect("a call that ran has a receipt");
            let listed =
                self.host.get("/api/receipts").bearer(&self.zoe.api_key).send().ok().json();
            let receipts = listed["receipts"].as_array().expect("a list");
            let receipt = receipts.iter().find(|receipt| receipt["call"] == call).expect("listed");
            let result = receipt["result"].as_str().expect("text");
            let is_right = match reply.status {
                200 => result == "answered",
                422 => result == "refused by the plugin",
                502 => result == "failed: computation-lost",
                503 => result == "failed: computation-paused",
                504 => result == "failed: deadline",
                _ => false,
            };
            let (status, said) = (reply.status, reply.text());
            assert!(is_right, "{name}: {status} {result}: {said}");
            let is_expected = match case.becomes {
                Becomes::Answers => status == 200,
                Becomes::Fails(wanted) => status == 422 && said.contains(wanted),
                // After it has crashed a process, it is backed off.
                Becomes::Ends(how) => status == 503 || status == 502 && said.contains(how),
                Becomes::Overdone => status != 200,
                Becomes::Endless => (502..=504).contains(&status),
                Becomes::Refused(_) | Becomes::Unfit(_) => false,
            };
            assert!(is_expected, "{name}: {status} {said}");
            self.still_serves(name);
        }
    }
}

/// Publishes each case, and calls those that go live.
fn meet(cases: &[Case]) {
    let scene = Scene::new();
    for (number, case) in cases.iter().enumerate() {
        scene.meet(number, case);
    }
}

#[test]
fn a_model_that_names_anything_outside_itself_is_refused() {
    meet(&files::cases());
}

#[test]
fn giant_shapes_constants_and_types_are_refused_or_contained() {
    meet(&sizes::cases());
}

#[test]
fn endless_and_exponential_work_ends_at_the_deadline() {
    meet(&work::cases());
}

#[test]
fn what_stops_a_processor_stops_no_host() {
    meet(&traps::cases());
}

#[test]
fn there_are_many_hostile_models_and_each_has_a_name_of_its_own() {
    let cases = [files::cases(), sizes::cases(), work::cases(), traps::cases()].concat_names();
    let mut names = cases.clone();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), cases.len());
    assert!(names.len() >= 60, "{}", names.len());
}

trait Names {
    fn concat_names(&self) -> Vec<&'static str>;
}

impl Names for [Vec<Case>; 4] {
    fn concat_names(&self) -> Vec<&'static str> {
        self.iter().flatten().map(|case| case.name).collect()
    }
}
