//! Parses an inference request: JSON, followed by its binary tensors.
//!
//! Unknown members are ignored, because clients add them; known ones are parsed strictly. Binary tensors are not copied.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::encode::{Encode, Wanted};
use crate::admission::Priority;
use crate::tensor::few::{Few, FewMembers};
use crate::tensor::json::{
    self, DIMENSIONS_MAX, TENSOR_NAME_BYTES_MAX, TENSORS_MAX, TensorJsonError,
};
use crate::tensor::{DataType, Tensor, TensorError, count};
use crate::value::parse::without_bom;

/// A parsed request.
#[derive(Debug)]
pub(in crate::api) struct InferRequest {
    pub(in crate::api) tensors: Vec<(String, Tensor)>,
    pub(in crate::api) encode: Encode,
    /// The parameter `timeout`, microseconds in the protocol.
    pub(in crate::api) patience: Option<Duration>,
    /// The parameter `priority`.
    pub(in crate::api) priority: Priority,
}

/// Why a request is invalid.
#[derive(Debug, thiserror::Error)]
pub(in crate::api) enum RequestError {
    #[error("inference header size should be in range (0, {body}), got: {head}")]
    Head { head: usize, body: usize },
    #[error("failed to parse the request JSON: it is not an object")]
    NoObject,
    #[error("failed to parse the request JSON: {0}")]
    Json(serde_json::Error),
    #[error("{count} {what}, more than the {max} that a request may have")]
    TooMany { what: &'static str, count: usize, max: usize },
    #[error(
        "the name of a tensor has {bytes} bytes, more than the {TENSOR_NAME_BYTES_MAX} allowed"
    )]
    NameTooLong { bytes: usize },
    #[error("{what} '{name}' is there twice")]
    Duplicate { what: &'static str, name: String },
    #[error("shape of input '{input}' has the negative dimension {size}")]
    Negative { input: String, size: i64 },
    #[error("input '{input}' for model '{model}': {source}")]
    Tensor {
        input: String,
        model: Box<str>,
        #[source]
        source: TensorError,
    },
    #[error(
        "input byte size mismatch for input '{input}' for model '{model}'. Expected {expected}, got {got}"
    )]
    Size { input: String, model: Box<str>, expected: usize, got: usize },
    #[error("input '{input}' must have exactly one of 'data' and the parameter 'binary_data_size'")]
    Data { input: String },
    #[error("input '{input}' is binary, which needs the header 'Inference-Header-Content-Length'")]
    NoHead { input: String },
    #[error(
        "the binary data of input '{input}' is {wanted} bytes, but only {left} are left of the body"
    )]
    Short { input: String, wanted: u64, left: usize },
    #[error("unexpected additional input data for model '{model}': {bytes} bytes")]
    Additional { model: Box<str>, bytes: usize },
    #[error(transparent)]
    Elements(TensorJsonError),
    #[error("parameter '{0}' is reserved")]
    Reserved(String),
    #[error("parameter '{0}' is not supported here")]
    Unsupported(&'static str),
    #[error("parameter '{name}' must be {expected}")]
    Parameter { name: &'static str, expected: &'static str },
}

#[derive(Deserialize)]
struct Body<'b> {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    parameters: Option<Given>,
    #[serde(default, borrow)]
    inputs: Few<Input<'b>, TENSORS_MAX>,
    #[serde(default)]
    outputs: Option<Few<Output, TENSORS_MAX>>,
}

#[derive(Deserialize)]
struct Input<'b> {
    name: String,
    datatype: String,
    shape: Few<i64, DIMENSIONS_MAX>,
    #[serde(default)]
    parameters: Option<Given>,
    #[serde(default, borrow)]
    data: Option<&'b RawValue>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    #[serde(default)]
    parameters: Option<Given>,
}

/// Maximum parameters of a request, input or output.
const PARAMETERS_MAX: usize = 64;

/// Parameters as sent. None with a meaning is a list or object.
type Given = FewMembers<PARAMETERS_MAX>;

/// Rejects more entries than permitted.
fn few(what: &'static str, count: usize, max: usize) -> Result<(), RequestError> {
    if count > max { Err(RequestError::TooMany { what, count, max }) } else { Ok(()) }
}

/// Parses the request in `wire` for the model called `model`; `head` bytes of it are JSON, or all.
pub(in crate::api) fn read(
    model: &str,
    wire: &Bytes,
    head: Option<usize>,
) -> Result<InferRequest, RequestError> {
    let length = head.unwrap_or(wire.len());
    let text = wire.get(..length).ok_or(RequestError::Head { head: length, body: wire.len() })?;
    let text = without_bom(text);
    // The derived parser would also accept an array of the members' values, which no client means.
    if !text.trim_ascii_start().starts_with(b"{") {
        return Err(RequestError::NoObject);
    }
    let body: Body<'_> = serde_json::from_slice(text).map_err(RequestError::Json)?;
    let asked = parameters(body.parameters.as_ref())?;
    few("inputs", body.inputs.count, TENSORS_MAX)?;
    let mut binary = Binary { model, wire, at: length, is_announced: head.is_some() };
    let mut tensors: Vec<(String, Tensor)> = Vec::with_capacity(body.inputs.count);
    for (index, input) in body.inputs.kept.into_iter().enumerate() {
        let bytes = input.name.len();
        if bytes > TENSOR_NAME_BYTES_MAX {
            return Err(RequestError::NameTooLong { bytes });
        }
        if tensors.iter().any(|(name, _)| *name == input.name) {
            return Err(RequestError::Duplicate { what: "input", name: input.name });
        }
        let tensor = tensor(index, &input, &mut binary)?;
        tensors.push((input.name, tensor));
    }
    let left = wire.len() - binary.at;
    if left > 0 {
        return Err(RequestError::Additional { model: model.into(), bytes: left });
    }
    let outputs = body.outputs.map(wanted).transpose()?;
    let id = body.id.filter(|id| !id.is_empty());
    let encode = Encode::new(model, id, outputs, asked.binary);
    let Parameters { patience, priority, .. } = asked;
    Ok(InferRequest { tensors, encode, patience, priority })
}

/// Parameters of the whole request.
struct Parameters {
    binary: bool,
    patience: Option<Duration>,
    priority: Priority,
}

fn parameters(given: Option<&Given>) -> Result<Parameters, RequestError> {
    let priority = Priority::default();
    let mut read = Parameters { binary: false, patience: None, priority };
    few("parameters", given.map_or(0, |given| given.count), PARAMETERS_MAX)?;
    for (name, value) in given.into_iter().flat_map(|given| &given.kept) {
        match name.as_str() {
            "binary_data_output" => read.binary = flag("binary_data_output", value)?,
            "timeout" => read.patience = patience(number("timeout", value)?),
            "priority" => read.priority = Priority::of(number("priority", value)?),
            "sequence_id" if *value != 0 && *value != "" => {
                return Err(RequestError::Unsupported("sequence_id"));
            }
            reserved if reserved.starts_with("triton_") => {
                return Err(RequestError::Reserved(reserved.chars().take(80).collect()));
            }
            _ => {}
        }
    }
    Ok(read)
}

/// The caller's timeout in microseconds; 0 means none.
pub(in crate::api) fn patience(micros: u64) -> Option<Duration> {
    (micros > 0).then(|| Duration::from_micros(micros))
}

fn flag(name: &'static str, value: &Value) -> Result<bool, RequestError> {
    value.as_bool().ok_or(RequestError::Parameter { name, expected: "true or false" })
}

fn number(name: &'static str, value: &Value) -> Result<u64, RequestError> {
    value.as_u64().ok_or(RequestError::Parameter { name, expected: "a number from 0" })
}

/// The part of the body after the JSON.
struct Binary<'r> {
    model: &'r str,
    wire: &'r Bytes,
    at: usize,
    is_announced: bool,
}

impl Binary<'_> {
    fn take(&mut self, input: &str, size: u64) -> Result<Bytes, RequestError> {
        if !self.is_announced {
            return Err(RequestError::NoHead { input: input.into() });
        }
        let left = self.wire.len() - self.at;
        let short = || RequestError::Short { input: input.into(), wanted: size, left };
        let size = usize::try_from(size).ok().filter(|size| *size <= left).ok_or_else(short)?;
        let data = self.wire.slice(self.at..self.at + size);
        self.at += size;
        Ok(data)
    }
}

fn tensor(
    index: usize,
    input: &Input<'_>,
    binary: &mut Binary<'_>,
) -> Result<Tensor, RequestError> {
    let model = binary.model;
    let wrong = |source| match source {
        TensorError::Size { expected, seen, .. } => RequestError::Size {
            input: input.name.clone(),
            model: model.into(),
            expected,
            got: seen,
        },
        source => RequestError::Tensor { input: input.name.clone(), model: model.into(), source },
    };
    let data_type: DataType = input.datatype.parse().map_err(wrong)?;
    few("dimensions", input.shape.count, DIMENSIONS_MAX)?;
    few("parameters", input.parameters.as_ref().map_or(0, |given| given.count), PARAMETERS_MAX)?;
    let shape: Result<Vec<usize>, _> = input
        .shape
        .kept
        .iter()
        .map(|size| {
            let negative = |_| RequestError::Negative { input: input.name.clone(), size: *size };
            usize::try_from(*size).map_err(negative)
        })
        .collect();
    let shape = shape?;
    count(&shape).ok_or_else(|| wrong(TensorError::Shape { shape: shape.clone() }))?;
    let parameter = |name: &str| input.parameters.as_ref().and_then(|given| given.kept.get(name));
    if parameter("shared_memory_region").is_some() {
        return Err(RequestError::Unsupported("shared_memory_region"));
    }
    match (input.data, parameter("binary_data_size")) {
        (Some(data), None) => {
            json::read(index, data_type, &shape, data.get()).map_err(RequestError::Elements)
        }
        (None, Some(size)) => {
            let data = binary.take(&input.name, number("binary_data_size", size)?)?;
            Tensor::new(data_type, shape, data).map_err(wrong)
        }
        (Some(_), Some(_)) | (None, None) => Err(RequestError::Data { input: input.name.clone() }),
    }
}

fn wanted(outputs: Few<Output, TENSORS_MAX>) -> Result<Vec<Wanted>, RequestError> {
    few("outputs", outputs.count, TENSORS_MAX)?;
    let mut wanted: Vec<Wanted> = Vec::with_capacity(outputs.count);
    for Output { name, parameters } in outputs.kept {
        few("parameters", parameters.as_ref().map_or(0, |given| given.count), PARAMETERS_MAX)?;
        if wanted.iter().any(|other| *other.name == *name) {
            return Err(RequestError::Duplicate { what: "output", name });
        }
        let parameter = |name: &str| parameters.as_ref().and_then(|given| given.kept.get(name));
        if parameter("shared_memory_region").is_some() {
            return Err(RequestError::Unsupported("shared_memory_region"));
        }
        let binary =
            parameter("binary_data").map(|value| flag("binary_data", value)).transpose()?;
        let classes = parameter("classification").map(|value| number("classification", value));
        let classes = classes.transpose()?.and_then(|classes| usize::try_from(classes).ok());
        wanted.push(Wanted { name: name.into(), binary, classes: classes.filter(|n| *n > 0) });
    }
    Ok(wanted)
}
