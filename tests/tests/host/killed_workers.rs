//! Workers killed at random points under load: only their own calls are lost, exactly the calls
//! with receipts are counted, and new calls succeed at once.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hospes::backend::BackendKind;
use hospes::id::Digest;
use hospes::receipt::ReceiptProof;
use hospes::tensor::DataType;
use serde_json::{Value, json};
use system_tests::{
    Chance, Limited as _, Party, Reply, TestHost, documented, identity, model_bundle, terms,
};

const KILLS: usize = 50;
/// Enough that no caller reaches a model that is still backed off for it after a crash.
const MODELS: usize = 25;
const CALLS_MAX: u64 = 1_000_000;
/// The longest time until a call succeeds again, in a debug build on a busy machine.
const BACK: Duration = Duration::from_secs(10);

struct Scene {
    host: TestHost,
    callers: [Party; 2],
    yan: Party,
    /// The neighbour's worker, which is never killed.
    spared: u32,
    /// The agreements, each with the index of its caller.
    agreements: Vec<(usize, Digest)>,
    /// The model that the callers call now.
    model: AtomicUsize,
    over: AtomicBool,
    /// Receipts by caller, and the numbers of correct and lost calls.
    receipts: [Mutex<BTreeSet<String>>; 2],
    right: AtomicUsize,
    lost: AtomicUsize,
}

impl Scene {
    fn new() -> Self {
        let host = TestHost::start();
        let party = |name| host.party(name);
        let (acme, umbrella) = (party("acme"), party("umbrella"));
        let (callers, yan) = ([party("zoe"), party("eve")], party("yan"));
        let model = identity(DataType::U8, 1);
        let mut agreements = Vec::new();
        for number in 0..MODELS {
            let different = documented(&model, &number.to_string());
            let bundle =
                model_bundle(&format!("m{number}"), different, Some(BackendKind::Onnxruntime));
            let published = host.publish(&acme, &bundle);
            for (at, caller) in callers.iter().enumerate() {
                let limited = terms("infer").limit(&format!("count lteq {CALLS_MAX} call"));
                agreements.push((at, host.agree(&acme, caller, &published, vec![limited])));
            }
        }
        let others = host.host().inference().workers();
        let bundle = model_bundle("echo", model, Some(BackendKind::Onnxruntime));
        let published = host.publish(&umbrella, &bundle);
        host.agree(&umbrella, &yan, &published, vec![terms("infer")]);
        let own = host.host().inference().workers();
        let spared = own.into_iter().find(|worker| !others.contains(worker));
        let spared = spared.expect("one worker per publisher");
        let (model, over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (receipts, right, lost) = Default::default();
        Self { host, callers, yan, spared, agreements, model, over, receipts, right, lost }
    }

    fn call(&self, consumer: &Party, model: &str) -> Reply {
        let input = json!([{"name": "x", "datatype": "UINT8", "shape": [2], "data": [1, 2]}]);
        let body = json!({ "inputs": input }).to_string();
        self.host.call(consumer, &format!("{model}/infer")).json(&body).send()
    }

    /// One caller's load: calls until the test is over.
    fn load(&self, at: usize) {
        while !self.over.load(Ordering::Relaxed) {
            let model = format!("acme/m{}", self.model.load(Ordering::Relaxed));
            let reply = self.call(&self.callers[at], &model);
            if let Some(receipt) = reply.header("hospes-receipt") {
                let mut receipts = self.receipts[at].lock().expect("no panic");
                assert!(receipts.insert(receipt.to_owned()), "one receipt per call");
            }
            let count = if reply.status == 200 {
                assert_eq!(reply.json()["outputs"][0]["data"], json!([1, 2]));
                &self.right
            } else {
                // Its worker was killed: the caller is told, and may be backed off.
                let problem = reply.json();
                let failure = problem["failure"].as_str().unwrap_or_default();
                let is_told = ["computation-lost", "computation-paused"].contains(&failure);
                assert!(matches!(reply.status, 502 | 503) && is_told, "{problem}");
                assert!(
                    reply.header("hospes-receipt").is_some(),
                    "a lost call has a receipt: {problem}"
                );
                &self.lost
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn workers(&self) -> Vec<u32> {
        self.host.host().inference().workers()
    }

    /// Kills the worker that is not the neighbour's and switches to the next model. Returns how
    /// long it took until calls succeeded again.
    fn kill(&self, next: usize) -> Duration {
        let worker = || self.workers().into_iter().find(|worker| *worker != self.spared);
        let began = Instant::now();
        // It may have exited since it was listed.
        let kill = |victim: u32| {
            let mut kill = std::process::Command::new("kill");
            kill.args(["-9", &victim.to_string()]).stderr(std::process::Stdio::null());
            kill.status().expect("it runs").success()
        };
        let mut before = self.right.load(Ordering::Relaxed);
        while !worker().is_some_and(kill) {
            self.check_time(began);
            std::thread::sleep(Duration::from_millis(1));
            before = self.right.load(Ordering::Relaxed);
        }
        let began = Instant::now();
        self.model.store(next, Ordering::Relaxed);
        // Up to two responses may have been computed before the kill, so the third is awaited.
        while self.right.load(Ordering::Relaxed) < before + 3 {
            self.check_time(began);
            std::thread::sleep(Duration::from_millis(1));
        }
        began.elapsed()
    }

    /// Fails if no call succeeds for too long.
    fn check_time(&self, since: Instant) {
        if since.elapsed() > BACK {
            self.over.store(true, Ordering::Relaxed);
            panic!("no call succeeded for {:?}", since.elapsed());
        }
    }

    /// Checks that each response is counted once, that each count has a receipt, and that every
    /// twentieth receipt verifies.
    fn check_receipts(&self, answers: usize) {
        let mut counted = 0;
        for (at, agreement) in &self.agreements {
            let (listed, used) = self.listed(&self.callers[*at], agreement);
            assert_eq!(listed.len() as u64, used, "{agreement}");
            counted += listed.len();
            let mut told = self.receipts[*at].lock().expect("no panic");
            for call in &listed {
                assert!(told.remove(call), "{call} is counted, but no caller got it");
            }
            for call in listed.iter().step_by(20) {
                self.verify(&self.callers[*at], call);
            }
        }
        let told = self.receipts.each_ref().map(|told| told.lock().expect("no panic").len());
        assert_eq!(told, [0, 0], "responses that are not counted");
        assert_eq!(counted, answers);
    }

    fn verify(&self, caller: &Party, call: &str) {
        let proof = self.host.get(&format!("/api/receipts/{call}")).bearer(&caller.api_key);
        let proof = ReceiptProof::parse(&proof.send().ok().body).expect("a proof");
        let receipt = proof.verify(&self.host.host().party()).expect("genuine");
        assert!(receipt.get().used.is_some(), "the call was counted");
    }

    /// All receipts under an agreement, and the number of counted calls.
    fn listed(&self, caller: &Party, agreement: &Digest) -> (BTreeSet<String>, u64) {
        let get = |path: &str| self.host.get(path).bearer(&caller.api_key).send().ok().json();
        let (mut calls, mut after) = (BTreeSet::new(), String::new());
        loop {
            let page = get(&format!("/api/receipts?agreement={agreement}&limit=100{after}"));
            let receipts = page["receipts"].as_array().expect("a list");
            calls.extend(receipts.iter().map(|one| one["call"].as_str().expect("text").to_owned()));
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        let listed = get("/api/agreements");
        let mut all = listed["agreements"].as_array().expect("a list").iter();
        let shown = all.find(|one| one["id"] == agreement.to_string()).expect("it is there");
        (calls, used(shown))
    }
}

fn used(agreement: &Value) -> u64 {
    agreement["rules"][0]["used"].as_u64().unwrap_or_else(|| panic!("{agreement}"))
}

#[test]
#[expect(clippy::print_stdout, reason = "the recovery times are of interest")]
fn a_worker_that_is_killed_takes_only_its_own_calls_along() {
    let scene = Scene::new();
    let first = scene.call(&scene.callers[0], "acme/m0").ok();
    let first = first.header("hospes-receipt").expect("a receipt").to_owned();
    scene.receipts[0].lock().expect("no panic").insert(first);
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let neighbour = scope.spawn(|| {
            while !scene.over.load(Ordering::Relaxed) {
                scene.call(&scene.yan, "umbrella/echo").ok();
            }
        });
        let load = [0, 1].map(|at| {
            scope.spawn({
                let scene = &scene;
                move || scene.load(at)
            })
        });
        let mut chance = Chance(0x5eed);
        let kills = (1..=KILLS).map(|kill| {
            std::thread::sleep(Duration::from_micros(chance.next() % 60_000));
            scene.kill(kill % MODELS)
        });
        let times = kills.collect();
        scene.over.store(true, Ordering::Relaxed);
        neighbour.join().expect("every call of the neighbour succeeds");
        for one in load {
            one.join().expect("every call succeeds or reports a lost worker");
        }
        times
    });
    times.sort_unstable();
    let (right, lost) = (scene.right.load(Ordering::Relaxed), scene.lost.load(Ordering::Relaxed));
    scene.check_receipts(right + lost + 1);
    println!(
        "{right} succeeded, {lost} lost; recovered after {:?} (median), {:?} (maximum)",
        times[KILLS / 2],
        times[KILLS - 1]
    );
    assert!(right > 3 * KILLS && lost < right, "{right} succeeded, {lost} lost");
    assert!(scene.workers().contains(&scene.spared), "the neighbour's worker still runs");
}
