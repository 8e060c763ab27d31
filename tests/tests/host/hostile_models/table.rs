//! Hostile models and their expected results.

use serde_json::{Value, json};
use system_tests::model::{Graph, element};

use super::outcomes;

/// A hostile model.
pub struct Case {
    pub name: &'static str,
    pub model: Vec<u8>,
    /// The inputs of its calls.
    pub inputs: Value,
    pub becomes: Becomes,
}

/// The expected result of a model.
pub enum Becomes {
    /// It is refused at publishing with this message.
    Refused(&'static str),
    /// It goes live and its calls succeed.
    Answers,
    /// It goes live and its calls fail with this message.
    Fails(&'static str),
    /// It goes live and its calls are refused before they run, with this message.
    Unfit(&'static str),
    /// It goes live and its calls crash the worker with this signal; then it is backed off.
    Ends(&'static str),
    /// It goes live and its calls run out of memory or time; which comes first depends on the
    /// machine.
    Overdone,
    /// Its calls run until their deadline; if the trial inference does so as well, it does not go
    /// live.
    Endless,
}

impl Case {
    /// A model that is refused at publishing.
    pub fn refused(name: &'static str, model: Vec<u8>, said: &'static str) -> Self {
        let becomes = Becomes::Refused(said);
        Self { name, model, inputs: json!([]), becomes }
    }

    /// A model that backends may refuse or run, but in time: [`outcomes`] lists the results.
    pub fn contained(name: &'static str, model: Vec<u8>, inputs: Value) -> Self {
        Self { name, model, inputs, becomes: outcomes::of(name) }
    }

    /// A model whose calls never end by themselves.
    pub fn endless(name: &'static str, model: Vec<u8>, inputs: Value) -> Self {
        Self { name, model, inputs, becomes: Becomes::Endless }
    }
}

/// An input for a call.
pub fn given(name: &str, datatype: &str, shape: &[u64], data: &Value) -> Value {
    json!({"name": name, "datatype": datatype, "shape": shape, "data": data})
}

/// An INT64 input with one element.
pub fn one(name: &str, value: i64) -> Value {
    json!([given(name, "INT64", &[], &json!([value]))])
}

/// A graph from an FP32 input `x` of any length to a result `y`.
pub fn floats() -> Graph {
    Graph::new().input("x", element::F32, &[-1]).result("y", element::F32)
}

/// Two numbers as its input.
pub fn two() -> Value {
    json!([given("x", "FP32", &[2], &json!([1, 2]))])
}

/// A graph from an INT64 input `n` with one element to a result `y`.
pub fn counted(result: u64) -> Graph {
    Graph::new().input("n", element::I64, &[]).result("y", result)
}
