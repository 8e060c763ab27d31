//! What a hostile model is, and what has to come of it.

use serde_json::{Value, json};
use system_tests::model::{Graph, element};

use super::outcomes;

/// A hostile model.
pub struct Case {
    pub name: &'static str,
    pub model: Vec<u8>,
    /// The tensors that it is called with.
    pub inputs: Value,
    pub becomes: Becomes,
}

/// What has to come of a model.
pub enum Becomes {
    /// It is refused when it is published, and this is said.
    Refused(&'static str),
    /// It goes live, and its calls answer.
    Answers,
    /// It goes live, its calls fail, and this is said.
    Fails(&'static str),
    /// It goes live, its calls are refused before they run, and this is said.
    Unfit(&'static str),
    /// It goes live, and its calls end the process that computes them, in this way; then it is backed off.
    Ends(&'static str),
    /// It goes live, and its calls fail, for want of memory or of time: which of them comes first depends on the machine.
    Overdone,
    /// Its calls end at their deadline; it does not go live if it is as endless when it is tried out.
    Endless,
}

impl Case {
    /// One that is refused when it is published.
    pub fn refused(name: &'static str, model: Vec<u8>, said: &'static str) -> Self {
        let becomes = Becomes::Refused(said);
        Self { name, model, inputs: json!([]), becomes }
    }

    /// One that backends may refuse or compute, each in time: [`outcomes`] says what they do.
    pub fn contained(name: &'static str, model: Vec<u8>, inputs: Value) -> Self {
        Self { name, model, inputs, becomes: outcomes::of(name) }
    }

    /// One whose calls never end by themselves.
    pub fn endless(name: &'static str, model: Vec<u8>, inputs: Value) -> Self {
        Self { name, model, inputs, becomes: Becomes::Endless }
    }
}

/// An input for a call.
pub fn given(name: &str, datatype: &str, shape: &[u64], data: &Value) -> Value {
    json!({"name": name, "datatype": datatype, "shape": shape, "data": data})
}

/// One INT64.
pub fn one(name: &str, value: i64) -> Value {
    json!([given(name, "INT64", &[], &json!([value]))])
}

/// A graph from an FP32 input `x` of any length to a result `y`.
pub fn floats() -> Graph {
    Graph::new().input("x", element::F32, &[-1]).result("y", element::F32)
}

/// Two numbers for it.
pub fn two() -> Value {
    json!([given("x", "FP32", &[2], &json!([1, 2]))])
}

/// A graph from an INT64 input `n`, a single number, to a result `y`.
pub fn counted(result: u64) -> Graph {
    Graph::new().input("n", element::I64, &[]).result("y", result)
}
