//! Named tensors in the Open Inference Protocol's JSON: `{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0.5,
//! 1]}]}`.
//!
//! Data is flat in row-major order, or nested by the shape. Numbers without a JSON form are the strings `"NaN"`, `"Infinity"` and
//! `"-Infinity"`. No tree is built: elements are parsed straight into the tensor's bytes.

mod elements;

use std::io::Write as _;

use bytes::Bytes;
use half::{bf16, f16};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::few::Few;
use super::{DataType, Tensor, TensorError, count};
use crate::value::write::not_finite;
use elements::{Elements, Misfit};

/// Maximum tensors in a body.
pub const TENSORS_MAX: usize = 256;

/// Maximum length of a tensor's name, in bytes.
pub const TENSOR_NAME_BYTES_MAX: usize = 256;

/// Maximum dimensions of a tensor.
pub const DIMENSIONS_MAX: usize = 64;

/// Why a body is not a set of named tensors.
#[derive(Debug, thiserror::Error)]
pub enum TensorJsonError {
    #[error(
        "the body is not `{{\"inputs\": [{{\"name\", \"datatype\", \"shape\", \"data\"}}, …]}}`: {0}"
    )]
    Json(serde_json::Error),
    #[error(
        "the body is not `{{\"inputs\": [{{\"name\", \"datatype\", \"shape\", \"data\"}}, …]}}`: it is an array, expected an object"
    )]
    NoObject,
    #[error("there are {tensors} inputs, more than the {TENSORS_MAX} allowed")]
    TooMany { tensors: usize },
    #[error(
        "the name of `/inputs/{index}` has {bytes} bytes, more than the {TENSOR_NAME_BYTES_MAX} allowed"
    )]
    NameTooLong { index: usize, bytes: usize },
    #[error(
        "`/inputs/{index}/shape` has {count} dimensions, more than the {DIMENSIONS_MAX} allowed"
    )]
    TooManyDimensions { index: usize, count: usize },
    #[error("input `{name}` appears twice")]
    Duplicate { name: String },
    #[error("`/inputs/{index}/data{at}`: {reason}")]
    Data {
        index: usize,
        /// The end of the JSON pointer, from the data on.
        at: String,
        reason: String,
    },
    #[error("`/inputs/{index}`: {source}")]
    Tensor {
        index: usize,
        #[source]
        source: TensorError,
    },
}

/// Why tensors cannot be written as JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("output `{name}` holds bytes that are not UTF-8 text: request `application/octet-stream`")]
pub struct NotText {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct Body<'b> {
    #[serde(borrow)]
    inputs: Few<Input<'b>, TENSORS_MAX>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct Input<'b> {
    name: String,
    datatype: String,
    shape: Few<usize, DIMENSIONS_MAX>,
    // The type may follow the data, so the data is parsed when both are known.
    #[serde(borrow)]
    data: &'b RawValue,
}

/// Reads the inputs of a call.
///
/// # Errors
/// [`TensorJsonError`] points at what does not fit.
pub fn parse_inputs(text: &[u8]) -> Result<Vec<(String, Tensor)>, TensorJsonError> {
    // The derived parser would also accept an array of the members' values, which no client means.
    if text.trim_ascii_start().starts_with(b"[") {
        return Err(TensorJsonError::NoObject);
    }
    let body: Body<'_> = serde_json::from_slice(text).map_err(TensorJsonError::Json)?;
    if body.inputs.count > TENSORS_MAX {
        return Err(TensorJsonError::TooMany { tensors: body.inputs.count });
    }
    let mut inputs = Vec::with_capacity(body.inputs.count);
    for (index, input) in body.inputs.kept.into_iter().enumerate() {
        let bytes = input.name.len();
        if bytes > TENSOR_NAME_BYTES_MAX {
            return Err(TensorJsonError::NameTooLong { index, bytes });
        }
        if inputs.iter().any(|(name, _)| *name == input.name) {
            return Err(TensorJsonError::Duplicate { name: input.name });
        }
        let tensor = tensor(index, &input)?;
        inputs.push((input.name, tensor));
    }
    Ok(inputs)
}

fn tensor(index: usize, input: &Input<'_>) -> Result<Tensor, TensorJsonError> {
    let data_type = input.datatype.parse();
    let data_type = data_type.map_err(|source| TensorJsonError::Tensor { index, source })?;
    if input.shape.count > DIMENSIONS_MAX {
        return Err(TensorJsonError::TooManyDimensions { index, count: input.shape.count });
    }
    read(index, data_type, &input.shape.kept, input.data.get())
}

/// Reads one tensor, the input at `index`, from the JSON of its data.
///
/// # Errors
/// [`TensorJsonError::Data`] and [`TensorJsonError::Tensor`].
pub fn read(
    index: usize,
    data_type: DataType,
    shape: &[usize],
    data: &str,
) -> Result<Tensor, TensorJsonError> {
    let wrong = |source| TensorJsonError::Tensor { index, source };
    let uncountable = || wrong(TensorError::Shape { shape: shape.to_vec() });
    let elements = count(shape).ok_or_else(uncountable)?;
    let data = Elements::read(data_type, shape, elements, data)
        .map_err(|Misfit { at, reason }| TensorJsonError::Data { index, at, reason })?;
    Tensor::new(data_type, shape.to_vec(), Bytes::from(data)).map_err(wrong)
}

/// Reads a tensor without a name: `{"datatype": "FP32", "shape": [2], "data": [1, 2]}`.
///
/// # Errors
/// An error text.
pub fn read_one(text: &str) -> Result<Tensor, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, expecting = "an object")]
    struct One<'b> {
        datatype: String,
        shape: Few<usize, DIMENSIONS_MAX>,
        #[serde(borrow)]
        data: &'b RawValue,
    }
    let One { datatype, shape, data } =
        serde_json::from_str(text).map_err(|error| error.to_string())?;
    let Few { kept: shape, count } = shape;
    if count > DIMENSIONS_MAX {
        return Err(format!(
            "`shape` has {count} dimensions, more than the {DIMENSIONS_MAX} allowed"
        ));
    }
    let data_type = datatype.parse().map_err(|error: TensorError| error.to_string())?;
    read(0, data_type, &shape, data.get()).map_err(|error| match error {
        TensorJsonError::Data { at, reason, .. } => format!("`data{at}`: {reason}"),
        TensorJsonError::Tensor { source, .. } => source.to_string(),
        other => other.to_string(),
    })
}

/// Writes a tensor without a name.
///
/// # Errors
/// [`NotText`], before anything is written.
pub fn write_one(tensor: &Tensor, out: &mut Vec<u8>) -> Result<(), NotText> {
    let start = out.len();
    out.extend_from_slice(b"{\"datatype\":\"");
    out.extend_from_slice(tensor.data_type().name().as_bytes());
    out.extend_from_slice(b"\",\"shape\":");
    shape(tensor.shape(), out);
    out.extend_from_slice(b",\"data\":");
    data("tensor", tensor, out).inspect_err(|_| out.truncate(start))?;
    out.push(b'}');
    Ok(())
}

/// Whether JSON can hold the tensor: byte strings must be UTF-8.
pub fn is_text(tensor: &Tensor) -> bool {
    tensor.data_type() != DataType::Bytes
        || tensor.strings().all(|string| str::from_utf8(string).is_ok())
}

/// Writes the outputs of a call.
///
/// # Errors
/// [`NotText`]; discard what was written to `out`.
pub fn write_outputs(outputs: &[(String, Tensor)], out: &mut Vec<u8>) -> Result<(), NotText> {
    out.extend_from_slice(b"{\"outputs\":[");
    for (index, (name, tensor)) in outputs.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"name\":");
        string(name, out);
        out.extend_from_slice(b",\"datatype\":\"");
        out.extend_from_slice(tensor.data_type().name().as_bytes());
        out.extend_from_slice(b"\",\"shape\":");
        shape(tensor.shape(), out);
        out.extend_from_slice(b",\"data\":");
        data(name, tensor, out)?;
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    Ok(())
}

/// Writes the elements of output `name`, flat.
///
/// # Errors
/// [`NotText`]; discard what was written to `out`.
pub fn data(name: &str, tensor: &Tensor, out: &mut Vec<u8>) -> Result<(), NotText> {
    let bytes = tensor.data();
    fn chunks<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
        bytes.as_chunks::<N>().0.iter().copied()
    }
    match tensor.data_type() {
        DataType::Bool => separated(bytes.iter().map(|byte| *byte != 0), out, number),
        DataType::U8 => separated(bytes.iter(), out, number),
        DataType::I8 => separated(chunks(bytes).map(i8::from_le_bytes), out, number),
        DataType::U16 => separated(chunks(bytes).map(u16::from_le_bytes), out, number),
        DataType::I16 => separated(chunks(bytes).map(i16::from_le_bytes), out, number),
        DataType::U32 => separated(chunks(bytes).map(u32::from_le_bytes), out, number),
        DataType::I32 => separated(chunks(bytes).map(i32::from_le_bytes), out, number),
        DataType::U64 => separated(chunks(bytes).map(u64::from_le_bytes), out, number),
        DataType::I64 => separated(chunks(bytes).map(i64::from_le_bytes), out, number),
        DataType::F16 => {
            separated(chunks(bytes).map(|b| f16::from_le_bytes(b).to_f32()), out, float);
        }
        DataType::Bf16 => {
            separated(chunks(bytes).map(|b| bf16::from_le_bytes(b).to_f32()), out, float);
        }
        DataType::F32 => separated(chunks(bytes).map(f32::from_le_bytes), out, float),
        DataType::F64 => separated(chunks(bytes).map(f64::from_le_bytes), out, float),
        DataType::Bytes => {
            let texts: Option<Vec<&str>> =
                tensor.strings().map(|s| str::from_utf8(s).ok()).collect();
            separated(texts.ok_or_else(|| NotText { name: name.into() })?, out, string);
        }
    }
    Ok(())
}

/// Writes a shape.
pub fn shape(shape: &[usize], out: &mut Vec<u8>) {
    separated(shape.iter(), out, number);
}

fn separated<T>(items: impl IntoIterator<Item = T>, out: &mut Vec<u8>, write: fn(T, &mut Vec<u8>)) {
    out.push(b'[');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(b']');
}

fn number<T: std::fmt::Display>(number: T, out: &mut Vec<u8>) {
    write!(out, "{number}").expect("invariant: a vector takes all that is written to it");
}

/// The shortest decimal that reads back as the same number.
fn float<T: Into<f64> + serde::Serialize + Copy>(number: T, out: &mut Vec<u8>) {
    let value: f64 = number.into();
    if value.is_finite() {
        serde_json::to_writer(out, &number)
            .expect("invariant: a vector takes all that is written to it");
    } else {
        string(not_finite(value), out);
    }
}

/// Writes a text as a JSON string.
pub fn string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("invariant: a vector takes all that is written to it");
}
