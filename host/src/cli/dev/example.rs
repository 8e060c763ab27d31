//! Example calls: a command to paste for each function, with an input made from its types.

use std::path::Path;

use serde_json::{Value, json};

use crate::id::ModelName;
use crate::wire::models::{Published, Tried};
use hospes_cli::client::{Client, HostUrl, Payload, Post};
use hospes_cli::failure::Failure;
use hospes_cli::shell::word;

/// Longest input in a command; a longer one goes into a file.
const INLINE_BYTES_MAX: usize = 2000;

/// Most elements of a call's made-up tensors together.
const ELEMENTS_MAX: usize = 1 << 20;

/// Most bytes of a response to keep for display.
const ANSWER_BYTES_MAX: usize = 4096;

/// Most functions to try with made-up inputs.
const TRIED_MAX: usize = 4;

/// A live version.
pub struct Live {
    pub model: ModelName,
    pub version: String,
    /// The address of a page to try it.
    pub page: String,
    pub calls: Vec<Call>,
    pub models: Vec<Tried>,
}

/// A function's example call.
pub struct Call {
    pub function: String,
    /// A command line.
    pub command: String,
    /// The response, perhaps cut short, or why there was none.
    pub tried: Option<Result<String, String>>,
}

impl Call {
    pub fn json(&self) -> Value {
        let (answer, refused) = match &self.tried {
            Some(Ok(answer)) => (Some(answer), None),
            Some(Err(refused)) => (None, Some(refused)),
            None => (None, None),
        };
        json!({"function": self.function, "command": self.command, "answer": answer, "refused": refused})
    }
}

/// The caller and the host.
pub struct Caller<'a> {
    pub client: &'a Client,
    pub host: &'a HostUrl,
    pub api_key: &'a str,
    /// The folder for long inputs.
    pub folder: &'a Path,
}

impl Caller<'_> {
    /// How to call a published version.
    ///
    /// # Errors
    /// If the host does not describe the functions.
    pub fn calls(&self, published: Published) -> Result<Live, Failure> {
        let Published { model, version, functions, models, .. } = published;
        let (document, _): (Value, Value) =
            self.client.document(&format!("/{model}@{version}/openapi.json"))?;
        // Do not wait long for a made-up call.
        let client = Client::looking(self.host.clone(), Some(self.api_key.to_owned()));
        let mut calls = Vec::new();
        for function in functions.iter().map(ToString::to_string) {
            let operation = &document["paths"][format!("/{model}@{version}/{function}")]["post"];
            let input = &operation["requestBody"]["content"]["application/json"]["example"];
            let path = format!("/{model}/{function}");
            calls.push(if input.is_null() {
                // An HTTP handler.
                Call { command: self.command(&format!("/{model}/-/"), None), function, tried: None }
            } else {
                let input = filled(input.clone()).to_string();
                let tried = (calls.len() < TRIED_MAX).then(|| attempt(&client, &path, &input));
                let data = self.data(&function, &input)?;
                Call { command: self.command(&path, Some(&data)), function, tried }
            });
        }
        let page = format!("{}/{model}/docs", self.host);
        Ok(Live { model, version, page, calls, models })
    }

    fn command(&self, path: &str, data: Option<&str>) -> String {
        let url = word(&format!("{}{path}", self.host));
        let key = word(&format!("Authorization: Bearer {}", self.api_key));
        match data {
            Some(data) => {
                format!("curl -sS {url} -H {key} -H 'Content-Type: application/json' {data}")
            }
            None => format!("curl -sS {url} -H {key}"),
        }
    }

    /// The option that sends an input.
    fn data(&self, function: &str, input: &str) -> Result<String, Failure> {
        if input.len() <= INLINE_BYTES_MAX {
            return Ok(format!("-d {}", word(input)));
        }
        // The host has checked the function's name: letters, digits and hyphens.
        let path = self.folder.join(format!("{function}.json"));
        std::fs::write(&path, input).map_err(|error| Failure::file("write", &path, &error))?;
        Ok(format!("--data-binary {}", word(&format!("@{}", path.display()))))
    }
}

fn attempt(client: &Client, path: &str, input: &str) -> Result<String, String> {
    let post = Post {
        content_type: "application/json",
        headers: Vec::new(),
        body: Payload::Bytes(input.as_bytes().to_vec()),
    };
    match client.post(path, post) {
        Ok(mut reply) => {
            reply.body.truncate(ANSWER_BYTES_MAX);
            Ok(String::from_utf8_lossy(&reply.body).into_owned())
        }
        Err(failure) => Err(failure.in_a_line()),
    }
}

/// Fills an example's tensors up to their shapes; documents show only the first element.
fn filled(mut example: Value) -> Value {
    let mut left = ELEMENTS_MAX;
    fill(&mut example, &mut left);
    example
}

/// Fills the tensors in a value with at most this many elements.
fn fill(value: &mut Value, left: &mut usize) {
    match value {
        Value::Object(members) => {
            let count = members.get("shape").and_then(elements);
            match (count, members.get_mut("data")) {
                (Some(count), Some(Value::Array(data))) if count <= *left => {
                    *left -= count;
                    let first = data.first().cloned().unwrap_or(json!(1));
                    data.resize(count, first);
                }
                _ => members.values_mut().for_each(|member| fill(member, left)),
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(|element| fill(element, left)),
        _ => {}
    }
}

fn elements(shape: &Value) -> Option<usize> {
    let sizes = shape.as_array()?.iter().map(|size| usize::try_from(size.as_u64()?).ok());
    sizes.into_iter().try_fold(1_usize, |count, size| count.checked_mul(size?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_are_as_large_as_their_shapes_say() {
        let example =
            json!({"inputs": [{"name": "X", "datatype": "FP32", "shape": [2, 3], "data": [1]}]});
        assert_eq!(filled(example)["inputs"][0]["data"], json!([1, 1, 1, 1, 1, 1]));
        let scalar = json!({"datatype": "FP32", "shape": [], "data": [0.5]});
        assert_eq!(filled(scalar.clone()), scalar);
        let huge = json!({"shape": [1 << 20, 2], "data": [1]});
        assert_eq!(filled(huge.clone()), huge);
        let half = json!({"shape": [1 << 19], "data": [1]});
        let three = filled(json!([half, half, half]));
        let lengths = [0, 1, 2].map(|at| three[at]["data"].as_array().expect("a list").len());
        assert_eq!(lengths, [1 << 19, 1 << 19, 1]);
        let other = json!({"shape": "round", "data": [1]});
        assert_eq!(filled(other.clone()), other);
    }
}
