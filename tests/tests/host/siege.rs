//! One host under siege: everything in `system_tests::siege`, harmful plugins and killed workers,
//! round after round, while a neighbour makes calls and both listeners are watched.
//! `HOSPES_SIEGE_ROUNDS` is the number of rounds. Most of a round's time is endless work that
//! runs until its deadline: with `HOSPES_SIEGE_DEADLINE_MS=300`, a thousand rounds take a third of the
//! time.
//!
//! The host promises that a call ends at most a second after its deadline, and that no listener is
//! silent for more than a tenth of a second. The assertions allow a second more for each, because
//! the machine may be busy; the figures are printed.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hospes::backend::BackendKind;
use hospes::receipt::ReceiptProof;
use hospes::tensor::DataType;
use serde_json::json;
use system_tests::hostile::{Expect, written};
use system_tests::siege::{Came, Input, Right, inputs};
use system_tests::{
    HostProcess, Party, Request, TestHost, identity, model_bundle, plugin, workspace,
};

const DEADLINE_MS: u64 = 1_000;
/// How long a call may run beyond its deadline.
const GRACE: Duration = Duration::from_secs(1);
/// How long a listener may be silent.
const SILENCE: Duration = Duration::from_millis(100);
/// What a busy machine may add to either.
const SLACK: Duration = Duration::from_secs(1);
/// Rounds that are not measured: they fill caches and pools.
const WARM_UP: usize = 1;
const ROUNDS: usize = 2;
/// Inputs that are sent concurrently, unless `HOSPES_SIEGE_AT_ONCE` says otherwise.
const BESIEGERS: u64 = 6;
/// Components that are called in each round.
const PLUGINS: [&str; 8] = [
    "answer-beyond-the-end",
    "clean-up-spins",
    "divide-least-by-minus-one",
    "fill-for-ever",
    "log-for-ever",
    "realloc-spins",
    "recurse-through-table",
    "spin-in-calls",
];
/// The allowed growth from the first rounds to the end: memory for receipts and allocator overhead,
/// descriptors and processes that happen to be open.
const GROWTH_BYTES_MAX: u64 = 256 << 20;
const GROWTH_DESCRIPTORS_MAX: usize = 64;
const GROWTH_PROCESSES_MAX: usize = 1;

/// A connection that sends requests repeatedly, like a browser or a load balancer.
struct Asker {
    address: SocketAddr,
    stream: Option<TcpStream>,
    asked: usize,
}

impl Asker {
    fn new(address: SocketAddr) -> Self {
        Self { address, stream: None, asked: 0 }
    }

    /// Returns the status and the body. A kept connection may have been closed, so it retries on a
    /// new one.
    fn ask(&mut self, request: &[u8]) -> (u16, Vec<u8>) {
        self.asked += 1;
        // Tests accepting as well.
        if self.asked.is_multiple_of(10) {
            self.stream = None;
        }
        if let Some(mut kept) = self.stream.take()
            && let Some(answer) = exchange(&mut kept, request)
        {
            self.stream = Some(kept);
            return answer;
        }
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_nodelay(true).expect("set");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
        let answer = exchange(&mut stream, request).expect("an answer");
        self.stream = Some(stream);
        answer
    }
}

fn exchange(stream: &mut TcpStream, request: &[u8]) -> Option<(u16, Vec<u8>)> {
    stream.write_all(request).ok()?;
    let (mut answer, mut part) = (Vec::new(), [0; 8192]);
    loop {
        let read = stream.read(&mut part).ok().filter(|read| *read > 0)?;
        answer.extend_from_slice(&part[..read]);
        let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.and_then(|length| length.parse().ok()).expect("a length");
        if answer.len() >= end + 4 + length {
            return Some((head.get(9..12)?.parse().ok()?, answer.split_off(end + 4)));
        }
    }
}

fn quantile(times: &mut [Duration], part: f64) -> Duration {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * part) as usize]
}

struct Siege {
    host: HostProcess,
    data: std::path::PathBuf,
    _folder: tempfile::TempDir,
    zoe: Party,
    yan: Party,
    inputs: Vec<Input>,
    /// The neighbour's worker, which is never killed.
    spared: u32,
    /// The number of receipts, and the wrong results.
    receipts: AtomicUsize,
    wrong: Mutex<BTreeMap<String, String>>,
    /// The longest time that a call ran beyond its deadline.
    late: Mutex<Duration>,
    deadline: Duration,
    at_once: u64,
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn settings(deadline: Duration) -> String {
    format!(
        "[api]\nheader_read_timeout = \"500ms\"\nbody_grace = \"300ms\"\nbody_bytes_per_second_min = \"1KiB\"\ndrain_delay = \"0s\"\n\
        drain_timeout = \"5s\"\n[sandbox]\ndeadline = \"{}ms\"\n[inference]\nonnxruntime_library = \"{}\"\n",
        deadline.as_millis(),
        TestHost::onnxruntime().display()
    )
}

fn case(name: &str) -> Vec<u8> {
    std::fs::read(workspace().join("tests/cases").join(name)).expect("readable")
}

/// The process IDs of the workers.
fn workers(host: &HostProcess, data: &std::path::Path) -> Vec<u32> {
    let token = std::fs::read_to_string(data.join("operator.token")).expect("it exists");
    let status = Request::new("GET", format!("{}/status", host.operator));
    let status = status.bearer(token.trim()).send().ok().json();
    serde_json::from_value(status["workers"]["processes"].clone()).expect("numbers")
}

impl Siege {
    fn begin() -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let data = folder.path().join("data");
        let deadline = from_environment("HOSPES_SIEGE_DEADLINE_MS").unwrap_or(DEADLINE_MS);
        let deadline = Duration::from_millis(deadline);
        let at_once = from_environment("HOSPES_SIEGE_AT_ONCE").unwrap_or(BESIEGERS);
        let host = HostProcess::start_with(&data, &settings(deadline));
        let party = |name| host.party(&data, name);
        let (acme, umbrella, mallory) = (party("acme"), party("umbrella"), party("mallory"));
        let (zoe, yan) = (party("zoe"), party("yan"));
        let model = |publisher: &Party, consumer: &Party, name: &str, model| {
            let bundle = model_bundle(name, model, Some(BackendKind::Onnxruntime));
            host.agree((publisher, consumer), &bundle, "infer");
        };
        model(&acme, &zoe, "div", case("intdiv.onnx"));
        model(&acme, &zoe, "gather", case("gather.onnx"));
        model(&acme, &zoe, "loop", case("loop.onnx"));
        model(&acme, &zoe, "same", identity(DataType::F32, 1));
        model(&acme, &zoe, "text", identity(DataType::Bytes, 1));
        let others = workers(&host, &data);
        model(&umbrella, &yan, "same", identity(DataType::F32, 1));
        let own = workers(&host, &data).into_iter().find(|worker| !others.contains(worker));
        let spared = own.expect("one worker per publisher");
        let functions = ["echo-u8", "fall", "produce", "misshape", "log-lines"];
        let echo = host.publish(&acme, &plugin("echo"));
        host.agree_to((&acme, &zoe), &echo, &functions);
        let echo = host.publish(&umbrella, &plugin("echo"));
        host.agree_to((&umbrella, &yan), &echo, &functions[..1]);
        let mut inputs = inputs(&zoe.api_key);
        for hostile in written().into_iter().filter(|one| PLUGINS.contains(&one.name.as_str())) {
            host.agree((&mallory, &zoe), &hostile.bundle().expect("packed"), "run");
            let Expect::Fails(status, _, failure) = &hostile.expect else {
                panic!("{} must be expected to fail", hostile.name);
            };
            let path = format!("/mallory/{}/run", hostile.name);
            let failed = Right::Call(*status, format!("failed: {failure}").leak());
            inputs.push(Input::call(
                &hostile.name,
                &zoe.api_key,
                &path,
                hostile.body.as_bytes(),
                failed,
            ));
        }
        let unsigned = plugin("echo");
        let outside = acme.sign(&model_bundle("outside", case("ext_hostkey.onnx"), None));
        let bundle = |name, key, bytes: &[u8]| {
            let refused = Input::call(name, key, "/api/bundles", bytes, Right::Refused(422));
            // Many uploads at once wait for each other, and then for too long.
            refused.or(Right::Refused(429))
        };
        inputs.push(bundle("a bundle that nobody signed", &acme.api_key, &unsigned));
        inputs.push(bundle("half a bundle", &acme.api_key, &unsigned[..unsigned.len() / 2]));
        inputs.push(bundle("a model that names the host's key", &acme.api_key, &outside));
        let (receipts, wrong, late) = (AtomicUsize::new(0), Mutex::default(), Mutex::default());
        Self {
            host,
            data,
            _folder: folder,
            zoe,
            yan,
            inputs,
            spared,
            receipts,
            wrong,
            late,
            deadline,
            at_once,
        }
    }

    /// Sends everything this many times, and kills a worker of the models' publisher each time. Some
    /// inputs take seconds, because the host waits for more; the next round begins meanwhile.
    fn rounds(&self, first: usize, count: usize) {
        let (next, inputs) = (AtomicUsize::new(0), self.inputs.len());
        std::thread::scope(|scope| {
            for _ in 0..self.at_once {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= count * inputs {
                            break;
                        }
                        let input = &self.inputs[index % inputs];
                        let came = input.send(self.host.listeners());
                        if let Err(what) = self.judge(input, &came) {
                            let number = first + index / inputs;
                            let mut wrong = self.wrong.lock().expect("no panic");
                            wrong
                                .entry(input.name.clone())
                                .or_insert(format!("round {number}: {what}"));
                        }
                    }
                });
            }
            for number in 0..count {
                while next.load(Ordering::Relaxed) < number * inputs {
                    std::thread::sleep(Duration::from_millis(10));
                }
                std::thread::sleep(Duration::from_millis(50 + 37 * (number as u64 % 20)));
                self.kill_a_worker();
            }
        });
    }

    fn kill_a_worker(&self) {
        let workers = workers(&self.host, &self.data);
        if let Some(victim) = workers.into_iter().find(|worker| *worker != self.spared) {
            // It may have ended by itself meanwhile: inputs crash workers too.
            let mut kill = std::process::Command::new("kill");
            kill.args(["-9", &victim.to_string()]).output().expect("it runs");
        }
    }

    /// Checks an input's response, receipt and duration.
    fn judge(&self, input: &Input, came: &Came) -> Result<(), String> {
        let Some(right) = input.right.iter().find(|right| came.is(right)) else {
            return Err(format!("expected one of {:?}, got {}", input.right, came.text()));
        };
        if let Right::Call(_, result) = right {
            let call = came.header("hospes-receipt").ok_or("no receipt")?;
            let path = format!("{}/api/receipts/{call}", self.host.address);
            let get = || Request::new("GET", path.as_str()).bearer(&self.zoe.api_key).try_send();
            // The first may use a kept connection that the host has closed meanwhile.
            let proof = get().or_else(|_| get()).map_err(|error| error.to_string())?.ok();
            let proof = ReceiptProof::parse(&proof.body).map_err(|error| error.to_string())?;
            let host = self.host.party.parse().expect("a party");
            let receipt = proof.verify(&host).map_err(|error| error.to_string())?;
            self.receipts.fetch_add(1, Ordering::Relaxed);
            let found = receipt.get().result.to_string();
            if found != *result {
                return Err(format!("its receipt says `{found}`, not `{result}`"));
            }
            let mut late = self.late.lock().expect("no panic");
            *late = (*late).max(came.took.saturating_sub(self.deadline));
        }
        Ok(())
    }

    /// The neighbour calls a model and a function until told to stop. Returns the calls' durations.
    fn neighbour(&self, over: &AtomicBool) -> Vec<Duration> {
        let [address, _] = self.host.listeners();
        let mut asker = Asker::new(address);
        let post = |path: &str, body: &str| {
            format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                self.yan.api_key,
                body.len()
            )
        };
        let tensor = json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1.5, 2.5]}]});
        let infer = post("/v2/models/umbrella/same/infer", &tensor.to_string());
        let echo = post("/umbrella/echo/echo-u8", r#"{"v":7}"#);
        let mut times = Vec::new();
        while !over.load(Ordering::Relaxed) {
            let began = Instant::now();
            let (status, body) = asker.ask(infer.as_bytes());
            times.push(began.elapsed());
            let text = String::from_utf8_lossy(&body).into_owned();
            assert!(
                status == 200 && text.contains("[1.5,2.5]"),
                "the neighbour got {status}: {text}"
            );
            let began = Instant::now();
            let (status, body) = asker.ask(echo.as_bytes());
            times.push(began.elapsed());
            let text = String::from_utf8_lossy(&body).into_owned();
            assert!(status == 200 && text == "7", "the neighbour got {status}: {text}");
            std::thread::sleep(Duration::from_millis(5));
        }
        times
    }

    /// Sends a request to a listener every 10 ms. Returns the response times.
    fn watch(address: SocketAddr, over: &AtomicBool) -> Vec<Duration> {
        let mut asker = Asker::new(address);
        let mut times = Vec::new();
        while !over.load(Ordering::Relaxed) {
            let began = Instant::now();
            let (status, _) = asker.ask(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n");
            times.push(began.elapsed());
            assert_eq!(status, 200);
            std::thread::sleep(Duration::from_millis(10));
        }
        times
    }

    /// Runs `what` while the neighbour makes calls and both listeners are watched. Returns the
    /// times of the neighbour and of each listener.
    fn watched(&self, what: impl FnOnce()) -> [Vec<Duration>; 3] {
        let over = AtomicBool::new(false);
        let [everybody, operator] = self.host.listeners();
        std::thread::scope(|scope| {
            let neighbour = scope.spawn(|| self.neighbour(&over));
            let everybody = scope.spawn(|| Self::watch(everybody, &over));
            let operator = scope.spawn(|| Self::watch(operator, &over));
            what();
            over.store(true, Ordering::Relaxed);
            [neighbour, everybody, operator].map(|one| one.join().expect("every response is right"))
        })
    }

    /// The number of calls counted under the agreements.
    fn used(&self) -> usize {
        let path = format!("{}/api/agreements", self.host.address);
        let all = Request::new("GET", path).bearer(&self.zoe.api_key).send().ok().json();
        let all = all["agreements"].as_array().expect("a list");
        let rules = all.iter().flat_map(|one| one["rules"].as_array().expect("rules"));
        rules.map(|rule| rule["used"].as_u64().unwrap_or(0) as usize).sum()
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "longer runs are judged by the figures")]
fn a_host_under_siege_stays_up_answers_its_neighbours_and_does_not_grow() {
    let rounds = from_environment("HOSPES_SIEGE_ROUNDS").map_or(ROUNDS, |rounds| rounds as usize);
    let mut siege = Siege::begin();
    assert!(siege.inputs.len() >= 100, "{}", siege.inputs.len());
    let [mut alone, ..] = siege.watched(|| std::thread::sleep(Duration::from_secs(2)));
    siege.rounds(0, WARM_UP);
    std::thread::sleep(Duration::from_secs(1));
    let before = siege.host.usage();
    let began = Instant::now();
    let times = siege.watched(|| siege.rounds(WARM_UP, rounds));
    let took = began.elapsed();
    std::thread::sleep(Duration::from_secs(1));
    let after = siege.host.usage();
    let [mut under, everybody, operator] = times;
    let listeners = [everybody, operator];
    let silence =
        listeners.each_ref().map(|times| *times.iter().max().expect("at least one request"));
    let long = |times: &Vec<Duration>| times.iter().filter(|time| **time > SILENCE).count();
    let long = listeners.each_ref().map(long);
    let late = *siege.late.lock().expect("no panic");
    println!(
        "{} inputs, {rounds} rounds in {took:?}; longest silences {silence:?}, {long:?} above {SILENCE:?}; late by {late:?}",
        siege.inputs.len()
    );
    println!(
        "neighbour alone: p50 {:?}, p99 {:?}; under siege, {} calls: p50 {:?}, p99 {:?}, max {:?}",
        quantile(&mut alone, 0.5),
        quantile(&mut alone, 0.99),
        under.len(),
        quantile(&mut under, 0.5),
        quantile(&mut under, 0.99),
        quantile(&mut under, 1.0)
    );
    println!("before {before:?}, after {after:?}");
    let wrong = siege.wrong.lock().expect("no panic").clone();
    let wrong: Vec<String> = wrong.iter().map(|(name, what)| format!("{name}: {what}")).collect();
    assert!(wrong.is_empty(), "{} inputs:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(
        siege.used(),
        siege.receipts.load(Ordering::Relaxed),
        "every counted call has a receipt"
    );
    assert!(silence.iter().all(|silence| *silence < SILENCE + SLACK), "{silence:?}");
    assert!(late < GRACE + SLACK, "a call ended {late:?} after its deadline");
    assert!(after.resident < before.resident + GROWTH_BYTES_MAX, "{before:?}, {after:?}");
    assert!(
        after.descriptors <= before.descriptors + GROWTH_DESCRIPTORS_MAX,
        "{before:?}, {after:?}"
    );
    assert!(after.processes <= before.processes + GROWTH_PROCESSES_MAX, "{before:?}, {after:?}");
    assert!(
        workers(&siege.host, &siege.data).contains(&siege.spared),
        "the neighbour's worker was killed"
    );
    siege.host.signal("TERM");
    let began = Instant::now();
    assert!(siege.host.wait().success() && began.elapsed() < Duration::from_secs(20));
}
