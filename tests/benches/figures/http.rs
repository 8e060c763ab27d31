//! Whole calls over HTTP. The client is wrk: it uses less CPU than a client in Rust would, and none
//! of this process's.

use std::io::Write as _;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hospes::config;
use hospes::inference::backend::onnxruntime::OnnxRuntime;
use hospes::inference::backend::{Backend as _, Model, Source};
use serde_json::Value;
use system_tests::{Party, Request, TestHost, plugin, terms, wat_guest, workspace};
use tempfile::NamedTempFile;

use crate::report::Figure;
use crate::servers::{Bare, Work};
use crate::{CONNECTIONS, ROUND, ROUNDS, SERVER_THREADS, cores};

/// Time before the rounds, in which connections, caches and moving averages settle.
const WARM_UP: Duration = Duration::from_secs(1);

const JSON: &str = "application/json";
const OCTETS: &str = "application/octet-stream";

/// A LeNet input of 32-bit floats.
const PICTURE: [usize; 4] = [1, 3, 32, 32];

/// A call of a function that does nothing, compared with a hello-world server.
pub fn noop() -> Figure {
    let (host, consumer) = host_with(&wat_guest("noop", &[]), "nothing");
    let bare = Bare::start(Work::Hello);
    let load = Load::new(&consumer, JSON, b"{}");
    let answer = load.once(host.address(), "/acme/noop/nothing");
    assert_eq!(answer, b"null", "{}", String::from_utf8_lossy(&answer));
    load.compare((host.address(), "/acme/noop/nothing"), (bare.address(), "/"))
}

/// A call of a function that returns its argument, a number, compared with a hello-world server.
pub fn typed() -> Figure {
    let (host, consumer) = host_with(&wat_guest("number", &[]), "same");
    same_number(&host, &consumer, "/acme/number/same")
}

/// The same with a Rust plugin that has 42 functions.
pub fn typed_of_many() -> Figure {
    let (host, consumer) = host_with(&plugin("echo"), "echo-u8");
    same_number(&host, &consumer, "/acme/echo/echo-u8")
}

/// A request to a `wasi:http` component, compared with a hello-world server.
pub fn handler() -> Figure {
    let (host, consumer) = host_with(&plugin("herald"), "handle");
    let bare = Bare::start(Work::Hello);
    let load = Load::new(&consumer, JSON, b"{}");
    assert_eq!(load.once(host.address(), "/acme/herald/-/"), b"<h1>Herald</h1>");
    load.compare((host.address(), "/acme/herald/-/"), (bare.address(), "/"))
}

fn same_number(host: &TestHost, consumer: &Party, path: &str) -> Figure {
    let bare = Bare::start(Work::Hello);
    let load = Load::new(consumer, JSON, br#"{"v":7}"#);
    assert_eq!(load.once(host.address(), path), b"7");
    load.compare((host.address(), path), (bare.address(), "/"))
}

/// A call of a small model, compared with a server that passes the same bytes to the same ONNX
/// Runtime.
pub fn lenet() -> Figure {
    let (host, consumer) = host_with(&plugin("lenet"), "infer");
    let bare = Bare::start(Work::Compute { model: raw_lenet(), shape: PICTURE.to_vec() });
    let load = Load::new(&consumer, OCTETS, &picture());
    let (ours, theirs) =
        (load.once(host.address(), "/acme/lenet/infer"), load.once(bare.address(), "/"));
    assert_eq!(ours.len(), 10 * size_of::<f32>());
    assert_eq!(ours, theirs, "both compute the same output");
    load.compare((host.address(), "/acme/lenet/infer"), (bare.address(), "/"))
}

/// A host with production defaults, one bundle, and a consumer who may call one function without
/// limits.
fn host_with(bundle: &[u8], function: &str) -> (TestHost, Party) {
    let host = TestHost::builder().threads(SERVER_THREADS).config(|config| {
        config.admission = config::Admission::default();
        config.receipt = config::Receipt::default();
    });
    let host = host.start();
    let (publisher, consumer) = (host.party("acme"), host.party("umbrella"));
    let published = host.publish(&publisher, bundle);
    host.agree(&publisher, &consumer, &published, vec![terms(function)]);
    (host, consumer)
}

fn raw_lenet() -> Arc<dyn Model> {
    let threads = NonZeroUsize::new(SERVER_THREADS).expect("not zero");
    let runtime = OnnxRuntime::find(&[TestHost::onnxruntime()], threads).expect("it loads");
    let path = workspace().join("plugins/target/models/lenet/model.onnx");
    let model = std::fs::read(path).expect("`make plugins` brings it");
    runtime.load(Source::Model(&model)).expect("it loads").into()
}

fn picture() -> Vec<u8> {
    let pixels = PICTURE.iter().product::<usize>();
    (0..pixels).flat_map(|pixel| ((pixel * 37 % 256) as f32 / 127.5 - 1.0).to_le_bytes()).collect()
}

/// One request, to be repeated.
struct Load {
    key: String,
    media: &'static str,
    body: NamedTempFile,
}

impl Load {
    fn new(consumer: &Party, media: &'static str, body: &[u8]) -> Self {
        let mut file = NamedTempFile::new().expect("a file");
        file.write_all(body).expect("written");
        Self { key: consumer.api_key.clone(), media, body: file }
    }

    /// Sends it once and returns the response's body.
    fn once(&self, address: SocketAddr, path: &str) -> Vec<u8> {
        let body = std::fs::read(&self.body).expect("readable");
        let request = Request::new("POST", format!("http://{address}{path}")).bearer(&self.key);
        let request = request.header("content-type", self.media).header("accept", self.media);
        let reply = request.body(body).send().ok();
        assert_eq!(reply.status, 200);
        reply.body
    }

    /// Requests per second of two servers, measured alternately. Each round swaps their order.
    fn compare(&self, ours: (SocketAddr, &str), theirs: (SocketAddr, &str)) -> Figure {
        self.run(ours, WARM_UP);
        self.run(theirs, WARM_UP);
        let (mut our_rates, mut their_rates) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            if round % 2 == 0 {
                our_rates.push(self.run(ours, ROUND));
                their_rates.push(self.run(theirs, ROUND));
            } else {
                their_rates.push(self.run(theirs, ROUND));
                our_rates.push(self.run(ours, ROUND));
            }
        }
        Figure::rate(our_rates, their_rates)
    }

    /// Requests per second of one server.
    ///
    /// # Panics
    /// If any request fails: an error is faster than a response, so it would improve the figure.
    fn run(&self, (address, path): (SocketAddr, &str), time: Duration) -> f64 {
        let script = workspace().join("tests/benches/figures/post.lua");
        let output = cores::client("wrk")
            .args(["--threads", "1", "--connections", &CONNECTIONS.to_string()])
            .args(["--duration", &format!("{}s", time.as_secs()), "--script"])
            .arg(script)
            .arg(format!("http://{address}{path}"))
            .args(["--", &self.key, self.media])
            .arg::<&Path>(self.body.as_ref())
            .output()
            .expect("`make bench` installs wrk");
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text.lines().next_back().unwrap_or_default();
        let summary: Value =
            serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {text}{output:?}"));
        let number = |member: &str| summary[member].as_f64().expect("`post.lua` prints it");
        assert!(number("refused") == 0.0 && number("broken") == 0.0, "{text}");
        number("requests") * 1e6 / number("micros")
    }
}
