//! Parses a call's payload into its function's arguments, by the function's types.
//!
//! Nothing is guessed: a payload that does not fit is rejected, and the error says where.

mod parts;

use bytes::Bytes;

use crate::admission::{ApartError, READ_HERE_BYTES_MAX, Reader};
use crate::backend::BackendKind;
use crate::call::{AnswerForm, Call, Payload};
use crate::id::ModelName;
use crate::inference::{ModelSignature, TensorSpec};
use crate::sandbox::{FunctionType, Input};
use crate::state::deployments::{BATCH_ROWS_MAX, Function};
use crate::tensor::json::TensorJsonError;
use crate::tensor::npy::NpyError;
use crate::tensor::{DataType, Tensor, TensorError, json, npy};
use crate::value::{Field, Type, Value, ValueError, parse};

/// Why a payload does not fit the function.
#[derive(Debug, thiserror::Error)]
pub enum ArgumentsError {
    #[error(transparent)]
    Value(#[from] ValueError),
    #[error(transparent)]
    Json(#[from] TensorJsonError),
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error(
        "a body of plain bytes is for a function with one parameter, a `list<u8>` or a tensor: send JSON"
    )]
    OctetsForValues,
    #[error(
        "a body of plain bytes is for a model with one input, but this one has {inputs}: send JSON"
    )]
    OctetsForInputs { inputs: usize },
    #[error("there is no parameter `{name}`; the parameters are {}", quoted(known))]
    UnknownPart { name: String, known: Vec<String> },
    #[error("part `{name}` appears twice")]
    DuplicatePart { name: String },
    #[error("part `{name}` is missing")]
    MissingPart { name: String },
    #[error("part `{name}` is not UTF-8 text")]
    PartNotText { name: String },
    #[error("part `{name}` is not JSON for `{expected}`: {error}")]
    PartNotJson { name: String, expected: String, error: String },
    #[error("the body is not a tensor in NumPy's format: {0}")]
    Npy(NpyError),
    #[error("part `{name}` is not a tensor in NumPy's format: {error}")]
    PartNotNpy { name: String, error: NpyError },
    /// The function cannot produce the wanted response.
    #[error("{0}")]
    Answer(String),
    #[error(
        "the function handles HTTP requests itself: send yours to /{{publisher}}/{{model}}/-/…"
    )]
    Handler,
    #[error(
        "the function does not handle HTTP requests: call it at /{{publisher}}/{{model}}/{{function}}"
    )]
    NoHandler,
    #[error("the function does not take arguments of this kind")]
    OtherTypes,
    #[error(
        "{} for model '{model}'. Got input(s) {}, but missing required input(s) {}. Please provide all required input(s).",
        too_few(*expected, got.len()), quoted(got), quoted(missing)
    )]
    MissingInputs { model: ModelName, expected: usize, got: Vec<String>, missing: Vec<String> },
    #[error("unexpected inference input '{input}' for model '{model}'; it takes {}", quoted(known))]
    UnknownInput { model: ModelName, input: String, known: Vec<String> },
    #[error(
        "unexpected inference input '{input}' for model '{model}': it has a value in the model, which backend '{backend}' takes as a constant; leave the input out"
    )]
    Constant { model: ModelName, input: String, backend: BackendKind },
    #[error("inference request batch-size must be <= {BATCH_ROWS_MAX} for '{model}', got {rows}")]
    BatchTooLarge { model: ModelName, rows: usize },
    #[error(
        "unexpected shape for input '{input}' for model '{model}'. Expected {expected}, got {got:?}"
    )]
    OtherShape { model: ModelName, input: String, expected: String, got: Vec<usize> },
    #[error(
        "inference input '{input}' data-type is '{got}', but model '{model}' expects '{expected}'"
    )]
    OtherDataType { model: ModelName, input: String, expected: DataType, got: DataType },
    #[error(transparent)]
    Apart(#[from] ApartError),
    #[error("{bytes} bytes do not fill input `{input}` of shape {shape}")]
    OctetsForShape { bytes: usize, input: String, shape: String },
}

/// Parses a call's arguments: a large text off the serving threads.
///
/// # Errors
/// [`ArgumentsError`] points at the member that does not fit.
pub async fn read(
    function: &Function,
    call: &Call,
    reader: Reader<'_>,
) -> Result<Input, ArgumentsError> {
    let suits = match &call.form {
        AnswerForm::Json | AnswerForm::Octets => Ok(()),
        AnswerForm::Protocol(encoder) => encoder.suits(function),
        AnswerForm::Stream(streaming) => streaming.suits(function),
        AnswerForm::Response(_) => Ok(()),
    };
    suits.map_err(ArgumentsError::Answer)?;
    let input = match call.payload.text_bytes() {
        0..=READ_HERE_BYTES_MAX => function.input(&call.payload)?,
        bytes => {
            let (function, payload) = (function.clone(), call.payload.clone());
            reader.apart(bytes, move || function.input(&payload)).await??
        }
    };
    Ok(match (input, function.signature().signature()) {
        (
            Input::Values(values),
            FunctionType::Values { params, .. } | FunctionType::Stream { params, .. },
        ) if function.signature().hands_tensors() => {
            let tensors = named_tensors(params, &values);
            Input::Handed(values, tensors)
        }
        (input, _) => input,
    })
}

impl Function {
    fn input(&self, payload: &Payload) -> Result<Input, ArgumentsError> {
        match (self.signature().signature(), payload) {
            (
                FunctionType::Values { params, .. } | FunctionType::Stream { params, .. },
                Payload::Json(text),
            ) => Ok(Input::Values(parse::arguments(params, text)?)),
            (
                FunctionType::Values { params, .. } | FunctionType::Stream { params, .. },
                Payload::Octets(bytes),
            ) => octets(params, bytes),
            (
                FunctionType::Values { params, .. } | FunctionType::Stream { params, .. },
                Payload::Parts { parts, body, .. },
            ) => Ok(Input::Values(parts::read(params, parts, body.as_ref())?)),
            (FunctionType::Tensors, Payload::Json(text)) => {
                let tensors = json::parse_inputs(parse::without_bom(text))?;
                self.check(&tensors)?;
                Ok(Input::Tensors(tensors))
            }
            (FunctionType::Tensors, Payload::Octets(bytes)) => self.tensor(bytes),
            (FunctionType::Tensors, Payload::Tensors { tensors, .. }) => {
                self.check(tensors)?;
                self.check_batch(tensors)?;
                Ok(Input::Tensors(tensors.clone()))
            }
            (
                FunctionType::Values { params, .. } | FunctionType::Stream { params, .. },
                Payload::Values { values, .. },
            ) => {
                let fit = values.len() == params.len()
                    && values
                        .iter()
                        .zip(params.iter())
                        .all(|(value, param)| value.is_of(&param.ty));
                if fit {
                    Ok(Input::Values(values.clone()))
                } else {
                    Err(ArgumentsError::OtherTypes)
                }
            }
            (FunctionType::Http(_), Payload::Request(exchange)) => {
                let request = exchange.request().ok_or(ArgumentsError::OtherTypes)?;
                Ok(Input::Request(Box::new(request)))
            }
            (FunctionType::Http(_), _) => Err(ArgumentsError::Handler),
            (_, Payload::Request(_)) => Err(ArgumentsError::NoHandler),
            (FunctionType::Tensors, Payload::Values { .. } | Payload::Parts { .. })
            | (
                FunctionType::Values { .. } | FunctionType::Stream { .. },
                Payload::Tensors { .. },
            ) => Err(ArgumentsError::OtherTypes),
        }
    }

    /// The model's signature if it is that of the function too, that is if the bundle has no code.
    fn known(&self) -> Option<&ModelSignature> {
        let deployment = self.deployment();
        deployment.tensors().filter(|_| deployment.is_codeless())
    }

    /// Checks names, data types and shapes against the model if it is known, so that a call that the model cannot take is neither run nor
    /// counted, on whatever route. Open Inference Protocol clients expect these messages.
    fn check(&self, tensors: &[(String, Tensor)]) -> Result<(), ArgumentsError> {
        let Some(signature) = self.known() else { return Ok(()) };
        let model = || self.deployment().model().clone();
        let is_given = |spec: &TensorSpec| tensors.iter().any(|(name, _)| *name == spec.name);
        // Before what is missing, so that a misspelt name is named.
        for (name, tensor) in tensors {
            let Some(spec) = signature.inputs.iter().find(|spec| spec.name == *name) else {
                return Err(self.unknown_input(signature, name));
            };
            let (expected, got) = (spec.data_type, tensor.data_type());
            if got != expected {
                let input = name.clone();
                return Err(ArgumentsError::OtherDataType { model: model(), input, expected, got });
            }
            if !spec.fits(tensor.shape()) {
                let (input, got) = (name.clone(), tensor.shape().to_vec());
                let expected = dimensions(spec.shape.as_deref().unwrap_or_default());
                return Err(ArgumentsError::OtherShape { model: model(), input, expected, got });
            }
        }
        let missing = signature.required().filter(|spec| !is_given(spec));
        let missing: Vec<_> = missing.map(|spec| spec.name.clone()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let got = tensors.iter().map(|(name, _)| name.clone()).collect();
        let expected = signature.required().count();
        Err(ArgumentsError::MissingInputs { model: model(), expected, got, missing })
    }

    /// Checks the number of rows against the `max_batch_size` that the Open Inference Protocol's configuration names.
    fn check_batch(&self, tensors: &[(String, Tensor)]) -> Result<(), ArgumentsError> {
        let deployment = self.deployment();
        if self.known().is_none() || !deployment.batches() {
            return Ok(());
        }
        let rows = tensors.iter().filter_map(|(_, tensor)| tensor.shape().first());
        match rows.max() {
            Some(rows) if *rows > BATCH_ROWS_MAX => Err(ArgumentsError::BatchTooLarge {
                model: deployment.model().clone(),
                rows: *rows,
            }),
            Some(_) | None => Ok(()),
        }
    }

    fn unknown_input(&self, signature: &ModelSignature, name: &str) -> ArgumentsError {
        let deployment = self.deployment();
        let (model, input) = (deployment.model().clone(), name.to_owned());
        match deployment.models().first() {
            Some(only) if only.initialised.contains(&input) => {
                ArgumentsError::Constant { model, input, backend: only.backend }
            }
            Some(_) | None => {
                let known = signature.inputs.iter().map(|spec| spec.name.clone()).collect();
                ArgumentsError::UnknownInput { model, input, known }
            }
        }
    }

    /// The bytes as the only input of the bundle's only model.
    fn tensor(&self, bytes: &Bytes) -> Result<Input, ArgumentsError> {
        let Some(signature) = self.deployment().tensors() else {
            return Err(ArgumentsError::OctetsForInputs {
                inputs: self.deployment().models().len(),
            });
        };
        let mut required = signature.required();
        let (Some(input), None) = (required.next(), required.next()) else {
            let inputs = signature.required().count();
            return Err(ArgumentsError::OctetsForInputs { inputs });
        };
        let shape = shape(input, bytes.len()).ok_or_else(|| ArgumentsError::OctetsForShape {
            bytes: bytes.len(),
            input: input.name.clone(),
            shape: input.to_string(),
        })?;
        let tensor = Tensor::new(input.data_type, shape, bytes.clone())?;
        Ok(Input::Tensors(vec![(input.name.clone(), tensor)]))
    }
}

/// The tensor arguments by parameter name: agreements may limit them.
fn named_tensors(params: &[Field], values: &[Value]) -> Vec<(String, Tensor)> {
    let mut named = Vec::new();
    for (param, value) in params.iter().zip(values) {
        let mut found = Vec::new();
        value.tensors(&mut found);
        named.extend(found.into_iter().map(|tensor| (param.name.to_string(), tensor)));
    }
    named
}

/// The beginning of a message about missing inputs. Numbers explain nothing if optional inputs are given in place of required ones.
fn too_few(expected: usize, got: usize) -> String {
    let inputs =
        |count: usize| if count == 1 { "1 input".into() } else { format!("{count} inputs") };
    match got < expected {
        true => format!("expected {} but got {}", inputs(expected), inputs(got)),
        false => "required inputs are missing".into(),
    }
}

/// Formatted as a Python list, as clients have seen so far. A model can have thousands of inputs: not all are named.
fn quoted(names: &[String]) -> String {
    /// Maximum names in a message.
    const NAMED_MAX: usize = 16;
    let mut shown: Vec<_> = names.iter().take(NAMED_MAX).map(|name| format!("'{name}'")).collect();
    if names.len() > NAMED_MAX {
        shown.push("…".into());
    }
    format!("[{}]", shown.join(","))
}

/// A shape in the protocol's form: -1 for an open dimension.
fn dimensions(shape: &[Option<usize>]) -> String {
    let sizes = shape.iter().map(|size| size.map_or_else(|| "-1".into(), |size| size.to_string()));
    format!("[{}]", sizes.collect::<Vec<_>>().join(", "))
}

fn octets(params: &[Field], bytes: &Bytes) -> Result<Input, ArgumentsError> {
    match params {
        [Field { ty, .. }] if ty.is_bytes() => {
            Ok(Input::Values(vec![Value::Packed(bytes.clone())]))
        }
        [Field { ty: Type::Tensor, .. }] => {
            let tensor = npy::read(bytes).map_err(ArgumentsError::Npy)?;
            Ok(Input::Values(vec![Value::Tensor(tensor)]))
        }
        _ => Err(ArgumentsError::OctetsForValues),
    }
}

/// The shape of an input with this many bytes, if its dimensions allow only one.
fn shape(input: &TensorSpec, bytes: usize) -> Option<Vec<usize>> {
    let width = input.data_type.size()?;
    let sizes = input.shape.as_ref()?;
    let known = sizes.iter().flatten();
    let known = known.copied().try_fold(width, usize::checked_mul)?;
    let mut open = sizes.iter().filter(|size| size.is_none());
    let open = match (open.next(), open.next()) {
        (None, _) => 1,
        (Some(_), None) => bytes.checked_div(known)?,
        (Some(_), Some(_)) => return None,
    };
    let fits = known.checked_mul(open)? == bytes;
    fits.then(|| sizes.iter().map(|size| size.unwrap_or(open)).collect())
}
