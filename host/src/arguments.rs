//! Reads the payload of a call as the arguments of its function, by the function's own types.
//!
//! Nothing is guessed: a payload that does not fit is refused, and the error says where.

use bytes::Bytes;

use crate::deployments::Function;
use crate::inference::TensorSpec;
use crate::invoke::Payload;
use crate::sandbox::{Input, Signature};
use crate::tensor::json::TensorJsonError;
use crate::tensor::{Tensor, TensorError, json};
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
    #[error("a body of plain bytes is for a function with one `list<u8>` parameter: send JSON")]
    OctetsForValues,
    #[error(
        "a body of plain bytes is for a model with one input, this one has {inputs}: send JSON"
    )]
    OctetsForInputs { inputs: usize },
    #[error("{bytes} bytes do not fill input `{input}` of shape {shape}")]
    OctetsForShape { bytes: usize, input: String, shape: String },
}

impl Function {
    /// Reads the arguments of a call.
    ///
    /// # Errors
    /// [`ArgumentsError`] points at the member that does not fit.
    pub fn read(&self, payload: &Payload) -> Result<Input, ArgumentsError> {
        match (self.signature().signature(), payload) {
            (Signature::Values { params, .. }, Payload::Json(text)) => {
                Ok(Input::Values(parse::arguments(params, text)?))
            }
            (Signature::Values { params, .. }, Payload::Octets(bytes)) => octets(params, bytes),
            (Signature::Tensors, Payload::Json(text)) => {
                Ok(Input::Tensors(json::parse_inputs(text)?))
            }
            (Signature::Tensors, Payload::Octets(bytes)) => self.tensor(bytes),
        }
    }

    /// The bytes as the only input of the bundle's only model.
    fn tensor(&self, bytes: &Bytes) -> Result<Input, ArgumentsError> {
        let mut graphs = self.graphs().values();
        let (Some(graph), None) = (graphs.next(), graphs.next()) else {
            return Err(ArgumentsError::OctetsForInputs { inputs: self.graphs().len() });
        };
        let [input] = graph.signature().inputs.as_slice() else {
            let inputs = graph.signature().inputs.len();
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

fn octets(params: &[Field], bytes: &Bytes) -> Result<Input, ArgumentsError> {
    match params {
        [Field { ty: Type::List(element), .. }] if **element == Type::U8 => {
            Ok(Input::Values(vec![Value::Packed(bytes.clone())]))
        }
        _ => Err(ArgumentsError::OctetsForValues),
    }
}

/// The shape that so many bytes of an input have, if its dimensions leave one possibility.
fn shape(input: &TensorSpec, bytes: usize) -> Option<Vec<usize>> {
    let width = input.data_type.size()?;
    let known = input.shape.iter().flatten();
    let known = known.copied().try_fold(width, usize::checked_mul)?;
    let mut open = input.shape.iter().filter(|size| size.is_none());
    let open = match (open.next(), open.next()) {
        (None, _) => 1,
        (Some(_), None) => bytes.checked_div(known)?,
        (Some(_), Some(_)) => return None,
    };
    let fits = known.checked_mul(open)? == bytes;
    fits.then(|| input.shape.iter().map(|size| size.unwrap_or(open)).collect())
}
