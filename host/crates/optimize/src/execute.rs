//! What this crate asks of whoever computes models, and how it reads what they answer.

use bytes::Bytes;
use hospes_core::backend::BackendKind;
use hospes_core::tensor::{DataType, Tensor};

/// The inputs of a call, or its outputs, by name.
pub type Named = Vec<(String, Tensor)>;

/// Computes models, as a host does for its callers.
pub trait Executor {
    /// A loaded model.
    type Loaded;

    /// The backends that this machine has, the one that hosts prefer first.
    fn backends(&self) -> Vec<BackendKind>;

    /// Loads a model.
    ///
    /// # Errors
    /// Why the backend does not take it.
    fn load(&self, model: Bytes, backend: BackendKind) -> Result<Self::Loaded, String>;

    /// Computes its outputs, in the model's order.
    ///
    /// # Errors
    /// Why it fails.
    fn compute(&self, loaded: &Self::Loaded, inputs: Named) -> Result<Named, String>;
}

/// Rows that are given to models one by one, as callers do.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    pub inputs: Vec<Named>,
    /// The right class of each row, if it is known.
    pub truth: Option<Vec<u32>>,
}

/// How answers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// By the class that they give: right answers where the truth is known, else agreement.
    Classes,
    /// By the cosine between the numbers.
    Cosine,
}

impl Metric {
    /// How the outputs of a model are best compared: those that have a class for a row, by the class.
    pub fn of(outputs: &Named) -> Self {
        if class(outputs).is_some() { Self::Classes } else { Self::Cosine }
    }
}

/// The class that an answer gives to its row: a whole number, or the place of the largest of several numbers.
pub fn class(outputs: &Named) -> Option<u32> {
    let (_, tensor) = outputs.first()?;
    let rank = tensor.shape().iter().filter(|size| **size != 1).count();
    match tensor.data_type() {
        DataType::I64 if rank == 0 => {
            let bytes = tensor.data().first_chunk::<8>()?;
            u32::try_from(i64::from_le_bytes(*bytes)).ok()
        }
        DataType::F32 if rank == 1 && tensor.shape().len() <= 2 => {
            let numbers = numbers(tensor)?;
            let largest = numbers.iter().enumerate().max_by(|one, other| one.1.total_cmp(other.1));
            u32::try_from(largest?.0).ok()
        }
        _ => None,
    }
}

/// The numbers of a tensor of floats.
pub fn numbers(tensor: &Tensor) -> Option<Vec<f32>> {
    let floats = tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    (tensor.data_type() == DataType::F32).then(|| floats.collect())
}

/// The cosine between the first outputs of floats of two answers. 1 if both are zero.
pub fn cosine(one: &Named, other: &Named) -> Option<f64> {
    let floats = |answer: &Named| answer.iter().find_map(|(_, tensor)| numbers(tensor));
    let (one, other) = (floats(one)?, floats(other)?);
    hospes_evidence::cosine(&one, &other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(shape: &[usize], numbers: &[f32]) -> Named {
        let data = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        vec![("y".into(), Tensor::new(DataType::F32, shape.to_vec(), data).expect("fits"))]
    }

    #[test]
    fn answers_with_a_class_are_compared_by_it() {
        let scores = answer(&[1, 3], &[0.1, 0.7, 0.2]);
        assert_eq!((class(&scores), Metric::of(&scores)), (Some(1), Metric::Classes));
        let states = answer(&[1, 2, 2], &[1.0, 0.0, 0.0, 2.0]);
        assert_eq!((class(&states), Metric::of(&states)), (None, Metric::Cosine));
        let one = answer(&[1, 1], &[4.0]);
        assert_eq!(class(&one), None, "a single number is no class");
    }

    #[test]
    fn cosines_are_between_answers_of_the_same_size() {
        let one = answer(&[1, 2], &[1.0, 0.0]);
        assert_eq!(cosine(&one, &answer(&[1, 2], &[2.0, 0.0])), Some(1.0));
        assert_eq!(cosine(&one, &answer(&[1, 2], &[0.0, 3.0])), Some(0.0));
        assert_eq!(cosine(&one, &answer(&[1, 3], &[1.0, 0.0, 0.0])), None);
        assert_eq!(cosine(&one, &answer(&[1, 2], &[f32::NAN, 0.0])), None);
    }
}
