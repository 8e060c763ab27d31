//! A model's inputs and outputs, and checks of tensors against them. A backend gets only checked tensors.

use std::fmt;

use serde::{Deserialize, Serialize};

use hospes_core::backend::BackendKind;
use hospes_core::tensor::{DataType, Tensor};

/// A model's inputs and outputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelSignature {
    /// Required ones first, in the model's order.
    pub inputs: Vec<TensorSpec>,
    /// In the model's order.
    pub outputs: Vec<OutputSpec>,
}

/// The size of each dimension; `None` for an open one.
pub type Sizes = Vec<Option<usize>>;

/// One output of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputSpec {
    pub name: String,
    /// `None` if it is only known when the model runs.
    pub data_type: Option<DataType>,
    /// `None` if even the number of dimensions is only known then.
    pub shape: Option<Sizes>,
}

/// One input of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorSpec {
    pub name: String,
    pub data_type: DataType,
    /// `None` if a tensor may have any number of dimensions.
    pub shape: Option<Sizes>,
    /// Whether it is optional: the model has a default (an initialiser that is also a graph input, ONNX IR 4).
    pub optional: bool,
}

impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(shape) = &self.shape else {
            return write!(f, "{} of any shape", self.data_type);
        };
        let sizes = shape.iter().map(|size| size.map_or_else(|| "?".into(), |s| s.to_string()));
        write!(f, "{}[{}]", self.data_type, sizes.collect::<Vec<String>>().join(", "))
    }
}

/// Why tensors do not match a model's inputs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    #[error("the model has no input `{name}`; it has {}", list(.known))]
    Unknown { name: String, known: Vec<String> },
    #[error(
        "input `{name}` has a value in the model, which backend `{backend}` takes as a constant: leave it out"
    )]
    Constant { name: String, backend: BackendKind },
    #[error("input `{name}` appears twice")]
    Duplicate { name: String },
    #[error("input `{name}` is missing: it is {spec}")]
    Missing { name: String, spec: String },
    #[error("input `{name}` is {spec}, not {seen}")]
    Mismatch { name: String, spec: String, seen: String },
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

impl ModelSignature {
    /// The required inputs.
    pub fn required(&self) -> impl Iterator<Item = &TensorSpec> {
        self.inputs.iter().filter(|spec| !spec.optional)
    }

    /// The tensors in the signature's order with checked types and shapes; `None` for absent optional inputs.
    ///
    /// # Errors
    /// [`InputError`] names the first mismatch.
    pub fn bind(&self, given: Vec<(String, Tensor)>) -> Result<Vec<Option<Tensor>>, InputError> {
        let mut places: Vec<Option<Tensor>> = self.inputs.iter().map(|_| None).collect();
        for (name, tensor) in given {
            let Some(index) = self.inputs.iter().position(|spec| spec.name == name) else {
                let known = self.inputs.iter().map(|spec| spec.name.clone()).collect();
                return Err(InputError::Unknown { name, known });
            };
            let tensor = self.inputs[index].accept(tensor)?;
            if places[index].replace(tensor).is_some() {
                return Err(InputError::Duplicate { name });
            }
        }
        match places
            .iter()
            .zip(&self.inputs)
            .find(|(given, spec)| given.is_none() && !spec.optional)
        {
            Some((_, spec)) => {
                Err(InputError::Missing { name: spec.name.clone(), spec: spec.to_string() })
            }
            None => Ok(places),
        }
    }
}

impl TensorSpec {
    /// Whether the input may have this shape.
    pub fn fits(&self, shape: &[usize]) -> bool {
        let fits =
            |(known, size): (&Option<usize>, &usize)| known.is_none_or(|known| known == *size);
        self.shape
            .as_ref()
            .is_none_or(|known| known.len() == shape.len() && known.iter().zip(shape).all(fits))
    }

    fn accept(&self, tensor: Tensor) -> Result<Tensor, InputError> {
        let tensor = if self.fits(tensor.shape()) { self.typed(tensor) } else { Err(tensor) };
        tensor.map_err(|tensor| InputError::Mismatch {
            name: self.name.clone(),
            spec: self.to_string(),
            seen: format!("{}{:?}", tensor.data_type(), tensor.shape()),
        })
    }

    fn typed(&self, tensor: Tensor) -> Result<Tensor, Tensor> {
        if tensor.data_type() == self.data_type {
            return Ok(tensor);
        }
        // `wasi:nn` has no BOOL: a guest's booleans are bytes.
        if self.data_type == DataType::Bool && tensor.data_type() == DataType::U8 {
            let (shape, data) = (tensor.shape().to_vec(), tensor.data().clone());
            return Tensor::new(DataType::Bool, shape, data).map_err(|_| tensor);
        }
        Err(tensor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, data_type: DataType, shape: &[Option<usize>]) -> TensorSpec {
        TensorSpec { name: name.into(), data_type, shape: Some(shape.to_vec()), optional: false }
    }

    fn tensor(data_type: DataType, shape: &[usize], bytes: usize) -> Tensor {
        Tensor::new(data_type, shape.to_vec(), vec![1; bytes].into()).expect("fits")
    }

    fn signature() -> ModelSignature {
        let inputs =
            vec![spec("x", DataType::F32, &[None, Some(2)]), spec("mask", DataType::Bool, &[None])];
        ModelSignature {
            inputs,
            outputs: vec![OutputSpec { name: "y".into(), data_type: None, shape: None }],
        }
    }

    #[test]
    fn inputs_come_in_the_model_s_order_and_bytes_may_be_truth_values() {
        let (x, mask) = (tensor(DataType::F32, &[1, 2], 8), tensor(DataType::U8, &[3], 3));
        let bound = signature().bind(vec![("mask".into(), mask), ("x".into(), x.clone())]);
        let bound = bound.expect("fits");
        assert_eq!(bound[0], Some(x));
        assert_eq!(bound[1].as_ref().expect("given").data_type(), DataType::Bool);
    }

    #[test]
    fn only_an_optional_input_may_be_left_out() {
        let scale = TensorSpec { optional: true, ..spec("scale", DataType::F32, &[Some(1)]) };
        let inputs = vec![spec("x", DataType::F32, &[Some(1)]), scale];
        let signature = ModelSignature { inputs, outputs: Vec::new() };
        let one = || tensor(DataType::F32, &[1], 4);
        let bound = signature.bind(vec![("x".into(), one())]);
        assert_eq!(bound, Ok(vec![Some(one()), None]));
        let bound = signature.bind(vec![("scale".into(), one()), ("x".into(), one())]);
        assert_eq!(bound, Ok(vec![Some(one()), Some(one())]));
        let refused = signature.bind(vec![("scale".into(), one())]).expect_err("x is missing");
        assert_eq!(refused.to_string(), "input `x` is missing: it is FP32[1]");
        let two = tensor(DataType::F32, &[2], 8);
        let refused = signature.bind(vec![("x".into(), one()), ("scale".into(), two)]);
        assert_eq!(
            refused.expect_err("its shape").to_string(),
            "input `scale` is FP32[1], not FP32[2]"
        );
    }

    #[test]
    fn an_input_of_unknown_rank_takes_any_shape_of_its_type() {
        let any =
            TensorSpec { name: "x".into(), data_type: DataType::F32, shape: None, optional: false };
        for shape in [&[][..], &[0], &[2], &[1, 2, 3]] {
            let bytes = shape.iter().product::<usize>() * 4;
            let given = tensor(DataType::F32, shape, bytes);
            assert_eq!(any.accept(given.clone()), Ok(given));
        }
        let refused = any.accept(tensor(DataType::F64, &[1], 8)).expect_err("another type");
        assert_eq!(refused.to_string(), "input `x` is FP32 of any shape, not FP64[1]");
    }

    #[test]
    fn what_is_not_an_input_is_named() {
        let x = || ("x".to_owned(), tensor(DataType::F32, &[1, 2], 8));
        let mask = || ("mask".to_owned(), tensor(DataType::Bool, &[1], 1));
        let x_of = |ty, shape: &[usize], bytes| ("x".to_owned(), tensor(ty, shape, bytes));
        let not_truth = Tensor::new(DataType::U8, vec![1], vec![2].into()).expect("fits");
        for (inputs, said) in [
            (vec![x()], "input `mask` is missing: it is BOOL[?]"),
            (vec![x(), x(), mask()], "input `x` appears twice"),
            (vec![x(), mask(), ("z".into(), x().1)], "no input `z`; it has `x`, `mask`"),
            (vec![x_of(DataType::F64, &[1, 2], 16), mask()], "`x` is FP32[?, 2], not FP64[1, 2]"),
            (vec![x_of(DataType::F32, &[1, 3], 12), mask()], "not FP32[1, 3]"),
            (vec![x_of(DataType::F32, &[2], 8), mask()], "not FP32[2]"),
            (vec![x(), ("mask".into(), not_truth)], "`mask` is BOOL[?], not UINT8[1]"),
        ] {
            let error = signature().bind(inputs).expect_err(said).to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
