//! Two publishers of models without code, and two consumers who may call all of them: the setup of
//! the worker tests.

use std::time::Duration;

use hospes::backend::BackendKind;
use hospes::config::Config;
use hospes::tensor::DataType;
use serde_json::{Value, json};

use crate::{Party, Reply, TestHost, identity, model_bundle, terms, workspace};

/// More iterations of a loop than any test could wait for.
pub const ENDLESS: i64 = 1 << 62;

/// A host and its parties.
pub struct Tenants {
    pub host: TestHost,
    pub acme: Party,
    pub umbrella: Party,
    pub zoe: Party,
    pub yan: Party,
}

impl Tenants {
    /// Starts a host with these settings.
    pub fn new(settings: impl FnOnce(&mut Config)) -> Self {
        let host = TestHost::builder().config(settings).start();
        let [acme, umbrella, zoe, yan] =
            ["acme", "umbrella", "zoe", "yan"].map(|name| host.party(name));
        Self { host, acme, umbrella, zoe, yan }
    }

    /// Publishes a model without code and lets both consumers call it.
    pub fn model(&self, publisher: &Party, name: &str, model: Vec<u8>) {
        let bundle = model_bundle(name, model, Some(BackendKind::Onnxruntime));
        let published = self.host.publish(publisher, &bundle);
        for consumer in [&self.zoe, &self.yan] {
            self.host.agree(publisher, consumer, &published, vec![terms("infer")]);
        }
    }

    /// Calls `model`, `publisher/name`, with these tensors.
    pub fn call(&self, consumer: &Party, model: &str, inputs: &Value) -> Reply {
        let body = json!({ "inputs": inputs }).to_string();
        self.host.call(consumer, &format!("{model}/infer")).json(&body).send()
    }

    /// The process IDs of the workers, in order.
    pub fn workers(&self) -> Vec<u32> {
        let mut workers = self.host.host().inference().workers();
        workers.sort_unstable();
        workers
    }

    /// The ended workers that the operator's status reports.
    pub fn incidents(&self) -> Vec<Value> {
        let status = self.host.operator("GET", "/status").send().ok().json();
        status["workers"]["incidents"].as_array().expect("a list").clone()
    }

    /// Kills the only worker and waits until the host notices.
    pub fn kill_worker(&self) {
        let workers = self.workers();
        let [worker] = workers[..] else { panic!("one worker, not {workers:?}") };
        let killed = std::process::Command::new("kill").args(["-9", &worker.to_string()]).status();
        assert!(killed.expect("it runs").success());
        while self.workers() == workers {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The receipt of a call that ran.
    #[track_caller]
    pub fn receipt(&self, consumer: &Party, reply: &Reply) -> Value {
        let call = reply.header("hospes-receipt").expect("a call that ran has a receipt");
        let listed = self.host.get("/api/receipts").bearer(&consumer.api_key).send().ok().json();
        let receipts = listed["receipts"].as_array().expect("a list");
        receipts.iter().find(|receipt| receipt["call"] == call).expect("listed").clone()
    }
}

/// A file that once crashed a host.
pub fn case(name: &str) -> Vec<u8> {
    std::fs::read(workspace().join("tests/cases").join(name)).expect("readable")
}

/// A tensor of whole numbers.
pub fn int64(name: &str, values: &[i64]) -> Value {
    json!({"name": name, "datatype": "INT64", "shape": [values.len()], "data": values})
}

/// The input of the case `loop.onnx`: the number of iterations.
pub fn turns(count: i64) -> Value {
    json!([int64("N", &[count])])
}

/// The input of [`byte_identity`].
pub fn echo() -> Value {
    json!([{"name": "x", "datatype": "UINT8", "shape": [2], "data": [1, 2]}])
}

/// A model that returns its input bytes.
pub fn byte_identity() -> Vec<u8> {
    identity(DataType::U8, 1)
}
