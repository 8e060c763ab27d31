//! Parts of a call, in this process and without HTTP.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hospes::admission::Priority;
use hospes::agreement::{CallFacts, Permission, Terms};
use hospes::bundle::{self, BundleLimits, VerifiedBundle};
use hospes::capability::Capabilities;
use hospes::config;
use hospes::id::{CallId, Digest, FunctionName};
use hospes::inference::{Caller, Meets};
use hospes::receipt::{CallResult, ChainId, Commitment, Draft, Log, Salt};
use hospes::sandbox::{CallContext, Declared, Entry, Graphs, Guest, Input, Sandbox};
use hospes::stop::Stops;
use hospes::telemetry::Allowance;
use hospes::value::Value;
use hospes::worker::Program;
use jiff::Timestamp;
use system_tests::{HostProcess, Limited as _, Party, plugin, wat_guest};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Engine, Store};

use crate::report::{Figure, median};
use crate::{ROUND, ROUNDS};

/// Receipts per round: enough to take a measurable part of a second, few enough to keep the log
/// small.
const RECEIPTS: usize = 20_000;

/// Starting a sandbox, one call, and its end, compared with the same component in a default engine.
pub fn instantiate() -> Figure {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let folder = TempDir::new().expect("a directory");
    let bundle = verified(&wat_guest("noop", &[]));
    let ours = Ours::new(&runtime, &bundle, "nothing", &folder);
    let plain = Plain::new(&bundle);
    let (mut our_times, mut plain_times) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        our_times.push(runtime.block_on(micros_of(async || ours.call(Vec::new()).await)));
        plain_times.push(runtime.block_on(micros_of(async || plain.call().await)));
    }
    Figure::time("µs", our_times, plain_times)
}

/// Microseconds of one call: the median of batches over one round.
async fn micros_of(mut call: impl AsyncFnMut()) -> f64 {
    const BATCH: usize = 100;
    let (began, mut batches) = (Instant::now(), Vec::new());
    while began.elapsed() < ROUND {
        let batch = Instant::now();
        for _ in 0..BATCH {
            call().await;
        }
        batches.push(batch.elapsed().as_secs_f64() * 1e6 / BATCH as f64);
    }
    median(batches)
}

/// Passing a mebibyte as a `list<u8>` into a new sandbox and out again.
pub fn bytes_1mib() -> Figure {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let folder = TempDir::new().expect("a directory");
    let ours = Ours::new(&runtime, &verified(&plugin("echo")), "echo-bytes", &folder);
    let bytes = Bytes::from(vec![7; 1 << 20]);
    let round = || {
        runtime.block_on(micros_of(async || ours.call(vec![Value::Packed(bytes.clone())]).await))
    };
    Figure::time_alone("µs", (0..ROUNDS).map(|_| round()).collect())
}

fn verified(bundle: &[u8]) -> VerifiedBundle {
    let signed = bundle::sign(bundle, &Party::key_of("acme")).expect("a sound bundle");
    let limits = BundleLimits { bundle_bytes_max: 1 << 30, code_bytes_max: 1 << 30 };
    bundle::verify(signed.into(), &limits).expect("signed")
}

/// A sandbox with production defaults.
struct Ours {
    sandbox: Sandbox,
    guest: Guest,
    entry: Entry,
    graphs: Graphs,
    tensor_bytes_max: usize,
}

impl Ours {
    fn new(runtime: &Runtime, bundle: &VerifiedBundle, name: &str, folder: &TempDir) -> Self {
        let config = config::Config::default();
        let cache = folder.path().join("compiled");
        let program = Program::File(HostProcess::program());
        let _entered = runtime.enter();
        let sandbox = Sandbox::new(config.sandbox, &config.admission, cache, b"secret", program)
            .expect("it starts");
        let found = bundle.manifest().functions.iter().find(|f| f.name.as_str() == name);
        let found = found.expect("it has this function");
        let declared =
            Declared { name: found.name.clone(), export: found.export.as_str().to_owned() };
        let (acme, digest) = ("acme".parse().expect("a name"), *bundle.component_digest());
        let guest = sandbox.compile(&acme, digest, bundle.component(), vec![declared]);
        let guest = runtime.block_on(guest).expect("it compiles");
        let tensor_bytes_max = config.inference.tensor_bytes_max.get();
        let entry = guest.entry(&found.name).expect("it has this function");
        Self { sandbox, guest, entry, graphs: Graphs::default(), tensor_bytes_max }
    }

    async fn call(&self, arguments: Vec<Value>) {
        let limits = self.sandbox.call_limits(Instant::now(), self.tensor_bytes_max);
        let context = CallContext {
            call: CallId::from_bytes([7; 16]),
            agreement: Some(Digest::of(b"agreement")),
            caller: Caller::new(0),
            priority: Priority::default(),
            meets: Meets::Nobody,
            account: "acme".parse().expect("a name"),
            input_bytes: 0,
            purpose: None,
            output_bytes_max: 1 << 20,
            speakers: Arc::default(),
            scope: None,
            gate: None,
            stop: Stops::default(),
            sink: None,
            responder: None,
            log: Arc::new(Allowance::new("acme", 1 << 20)),
        };
        let instance = self.sandbox.instantiate(&self.guest, &self.graphs, limits, context).await;
        let outcome =
            instance.expect("a slot").run(self.entry.clone(), Input::Values(arguments)).await;
        outcome.result.expect("it answers");
    }
}

/// An engine with wasmtime's defaults: memory is mapped for each instance, and nothing interrupts a
/// guest.
struct Plain {
    engine: Engine,
    pre: InstancePre<()>,
}

impl Plain {
    fn new(bundle: &VerifiedBundle) -> Self {
        let engine = Engine::default();
        let component = Component::new(&engine, bundle.component()).expect("it compiles");
        let mut linker = Linker::new(&engine);
        linker.define_unknown_imports_as_traps(&component).expect("linked");
        let pre = linker.instantiate_pre(&component).expect("linked");
        Self { engine, pre }
    }

    async fn call(&self) {
        let mut store = Store::new(&self.engine, ());
        let instance = self.pre.instantiate_async(&mut store).await.expect("it starts");
        let function = instance.get_typed_func::<(), ()>(&mut store, "nothing").expect("exported");
        function.call_async(&mut store, ()).await.expect("it answers");
    }
}

/// Evaluates an agreement with this many compiled rules for one call, which the last rule permits.
pub fn agreement_check(rules: usize) -> Figure {
    const BATCH: usize = 1000;
    let terms = terms_of(rules);
    let function = function(rules - 1);
    let facts = CallFacts {
        function: &function,
        now: Timestamp::now(),
        input_bytes: 100,
        purpose: Some("https://w3id.org/dpv#ResearchAndDevelopment"),
        country: None,
        imports: Capabilities::default(),
    };
    assert_eq!(terms.permits(&facts).iter().count(), 1);
    let round = || {
        let (began, mut batches) = (Instant::now(), Vec::new());
        while began.elapsed() < ROUND / 4 {
            let batch = Instant::now();
            for _ in 0..BATCH {
                black_box(black_box(&terms).permits(black_box(&facts)));
            }
            batches.push(batch.elapsed().as_secs_f64() * 1e9 / BATCH as f64);
        }
        median(batches)
    };
    Figure::time_alone("ns", (0..ROUNDS).map(|_| round()).collect())
}

fn function(number: usize) -> FunctionName {
    format!("function-{number}").parse().expect("a name")
}

/// A compiled agreement whose rules have every kind of constraint.
fn terms_of(rules: usize) -> Terms {
    let party =
        |name: &str| Party { name: name.into(), key: Party::key_of(name), api_key: String::new() };
    let (publisher, consumer) = (party("acme"), party("umbrella"));
    let specs = (0..rules).map(|number| {
        ["count lteq 1000000 call", "dateTime gteq 2026-01-01T00:00:00Z", "dateTime lt 2099-01-01T00:00:00Z", "inputBytes lteq 1048576", "outputBytes lteq 1048576", "purpose isAnyOf https://w3id.org/dpv#AcademicResearch,https://w3id.org/dpv#ResearchAndDevelopment", "dailyWindow eq 00:00-24:00 Europe/Paris", "hostCapability isNoneOf clock,network", "topK lteq 5"]
            .iter()
            .fold(Permission::new(function(number)), |permission, line| permission.limit(line))
    });
    let model = "acme/echo".parse().expect("a model");
    let offer = publisher.offer(&model, Digest::of(b"bundle"), specs.collect());
    let mut proposal = consumer.accept(&offer);
    proposal.add_signature(&publisher.key).expect("the publisher");
    Terms::compile(&proposal.complete().expect("both have signed"))
}

/// Writes a receipt, as every call does before its response is released.
pub fn receipt_append() -> Figure {
    let folder = TempDir::new().expect("a directory");
    let key = Party::key_of("host");
    let interval = config::Receipt::default().flush_interval;
    let log = Log::open(folder.path(), &key, "figures".into(), interval, |_| ());
    let log = log.expect("a log");
    let round = || {
        let drafts: Vec<_> = (0..RECEIPTS).map(|_| draft()).collect();
        let began = Instant::now();
        for draft in drafts {
            log.append(draft).expect("written");
        }
        began.elapsed().as_secs_f64() * 1e6 / RECEIPTS as f64
    };
    Figure::time_alone("µs", (0..ROUNDS).map(|_| round()).collect())
}

fn draft() -> Draft {
    let salt = Salt::from_bytes([1; 32]);
    let agreement = Digest::of(b"agreement");
    let now = Timestamp::now();
    Draft {
        call: CallId::new(now),
        at: now,
        caller: Party::key_of("umbrella").party(),
        publisher: Party::key_of("acme").party(),
        chain: ChainId::Agreement(agreement),
        agreement: Some(agreement),
        model: "acme/echo".parse().expect("a model"),
        bundle: Digest::of(b"bundle"),
        function: "nothing".parse().expect("a name"),
        rule: Some(0),
        used: Some(1),
        max: Some(1_000_000),
        rows: Some(1),
        tokens: None,
        spoken: None,
        price: None,
        purpose: None,
        input: Commitment::of(&salt, "input", b"{}"),
        output: Some(Commitment::of(&salt, "output", b"null")),
        input_bytes: 2,
        output_bytes: 4,
        wall_micros: 10,
        memory_bytes: 1 << 20,
        result: CallResult::Answered,
    }
}
