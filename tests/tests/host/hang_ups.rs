//! Callers who disconnect while their call runs: the call ends soon, and is counted and logged.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use hospes::backend::BackendKind;
use serde_json::{Value, json};
use system_tests::{
    Http2, Limited as _, Party, TestHost, model_bundle, terms, wat_guest, workspace,
};

/// A call's own deadline: long after the test would have failed.
const DEADLINE: Duration = Duration::from_secs(120);

/// How long a call may run after its caller has left: a second, plus time for a slow machine.
const SOON: Duration = Duration::from_secs(20);

/// More iterations of the loop than any test could wait for.
const ENDLESS: i64 = 1 << 62;

/// A host whose only inference thread is occupied by an endless inference.
struct Scene {
    host: TestHost,
    zoe: Party,
    yan: Party,
}

impl Scene {
    fn new() -> Self {
        let host = TestHost::builder()
            .config(|config| {
                config.sandbox.deadline = DEADLINE;
                config.inference.threads = 1.try_into().expect("not zero");
            })
            .start();
        let acme = host.party("acme");
        let (zoe, yan) = (host.party("zoe"), host.party("yan"));
        let model = std::fs::read(workspace().join("tests/cases/loop.onnx")).expect("readable");
        let turns =
            host.publish(&acme, &model_bundle("loop", model, Some(BackendKind::Onnxruntime)));
        let spin = host.publish(&acme, &wat_guest("spin", &[]));
        for consumer in [&zoe, &yan] {
            let limited = |function| terms(function).limit("count lteq 1000 call");
            host.agree(&acme, consumer, &turns, vec![limited("infer")]);
            host.agree(&acme, consumer, &spin, vec![limited("run")]);
        }
        Self { host, zoe, yan }
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.zoe.api_key)
    }

    /// Sends a request over HTTP/1.1 without waiting for the response.
    fn begin(&self, path: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.host.address()).expect("it listens");
        let (bearer, length) = (self.bearer(), body.len());
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: {bearer}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all((head + body).as_bytes()).expect("sent");
        stream
    }

    /// Waits until `calls` calls have a sandbox, and then a little longer.
    fn running(&self, calls: u64) {
        let slots = self.host.host().config().admission.slots_max.get() as u64;
        let until = Instant::now() + SOON;
        loop {
            let status = self.host.operator("GET", "/status").send().ok().json();
            if status["sandboxes_free"] == slots - calls {
                break;
            }
            assert!(Instant::now() < until, "{status}");
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(300));
    }

    fn receipts(&self) -> Vec<Value> {
        let listed = self.host.get("/api/receipts").bearer(&self.zoe.api_key).send().ok().json();
        listed["receipts"].as_array().expect("a list").clone()
    }

    /// The number of counted calls under the agreement on a model.
    fn used(&self, model: &str) -> Value {
        let listed = self.host.get("/api/agreements").bearer(&self.zoe.api_key).send().ok().json();
        let listed = listed["agreements"].as_array().expect("a list");
        let one = listed.iter().find(|one| one["model"] == model).expect("it is there");
        one["rules"][0]["used"].clone()
    }

    /// Checks that `calls` calls end soon because their callers have left, with a receipt each, and
    /// are counted.
    #[track_caller]
    fn end_soon(&self, model: &str, calls: usize) {
        assert!(self.receipts().is_empty(), "no call has ended yet: {:?}", self.receipts());
        let left = Instant::now();
        while self.receipts().len() < calls {
            assert!(left.elapsed() < SOON, "{:?}", self.receipts());
            std::thread::sleep(Duration::from_millis(20));
        }
        for receipt in self.receipts() {
            assert_eq!(receipt["result"], "failed: disconnected", "{receipt}");
        }
        assert_eq!(self.used(model), calls, "each call is counted");
        self.running(0);
    }

    /// Checks that the worker serves others again.
    fn is_free(&self) {
        let until = Instant::now() + SOON;
        loop {
            let call = self.host.call(&self.yan, "acme/loop/infer").json(&turns(3));
            let reply = call.send();
            if reply.status == 200 {
                break;
            }
            // On a slow machine, the worker may have been killed because it did not stop in time.
            assert!(matches!(reply.status, 502 | 503), "{}", reply.text());
            assert!(Instant::now() < until, "{}", reply.text());
        }
    }
}

fn turns(count: i64) -> String {
    let count = json!({"name": "N", "datatype": "INT64", "shape": [1], "data": [count]});
    json!({ "inputs": [count] }).to_string()
}

#[test]
fn a_computation_ends_soon_after_its_caller_has_closed_the_connection() {
    let scene = Scene::new();
    let callers: Vec<_> =
        (0..3).map(|_| scene.begin("/acme/loop/infer", &turns(ENDLESS))).collect();
    scene.running(3);
    drop(callers);
    scene.end_soon("acme/loop", 3);
    scene.is_free();
}

#[test]
fn a_computation_ends_soon_after_its_request_was_reset_and_others_of_the_connection_go_on() {
    let scene = Scene::new();
    let mut caller = Http2::connect(scene.host.address());
    let bearer = scene.bearer();
    let headers = [("authorization", &*bearer), ("content-type", "application/json")];
    let endless = caller.begin("POST", "/acme/loop/infer", &headers, false);
    caller.send(endless, turns(ENDLESS).as_bytes(), true, SOON);
    let rpc = caller.begin_grpc("/inference.GRPCInferenceService/ModelInfer", &headers[..1]);
    caller.send(rpc, &infer(ENDLESS), true, SOON);
    scene.running(2);
    caller.cancel(endless);
    caller.cancel(rpc);
    scene.end_soon("acme/loop", 2);
    let health = caller.begin("GET", "/healthz", &[], true);
    assert!(caller.wait(SOON, |caller| caller.fate(health).ended), "the connection still works");
    scene.is_free();
}

#[test]
fn a_guest_that_spins_ends_soon_after_its_caller_has_left() {
    let scene = Scene::new();
    let caller = scene.begin("/acme/spin/run", "");
    scene.running(1);
    drop(caller);
    scene.end_soon("acme/spin", 1);
}

/// A framed `ModelInferRequest` of the loop.
fn infer(count: i64) -> Vec<u8> {
    let field = |tag: u8, bytes: &[u8]| [&[tag, bytes.len() as u8][..], bytes].concat();
    let input = [field(0x0a, b"N"), field(0x12, b"INT64"), field(0x1a, &[1])].concat();
    let raw = field(0x3a, &count.to_le_bytes());
    let message = [field(0x0a, b"acme/loop"), field(0x2a, &input), raw].concat();
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    [&[0][..], &length, &message].concat()
}
