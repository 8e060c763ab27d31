//! Weights that another library has trained, for a recipe's network: `hospes convert` reads them from its file, and Hospes' own trainer
//! places them.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// All weights of a file, and what their network's inputs are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Weights {
    pub tensors: Vec<Tensor>,
    /// Whether the tensors are in the order in which the layers were made. Otherwise the file has no order.
    pub is_ordered: bool,
    /// What was done to the inputs; `None` for what the recipe's training does.
    pub scaling: Option<Scaling>,
}

/// A tensor by its name in the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tensor {
    pub name: String,
    pub shape: Vec<usize>,
    #[serde(skip)]
    pub numbers: Vec<f32>,
}

/// `(x / divide - mean) / deviation`: one mean and deviation for all, or one for each channel of pictures or column of numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    pub divide: f64,
    pub mean: Vec<f64>,
    pub deviation: Vec<f64>,
}

/// Why weights could not be handed over.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    #[error("cannot use the weights `{}`", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the weights `{}` are damaged", path.display())]
    Damaged { path: PathBuf },
}

impl Weights {
    /// Writes them: a line of JSON, then all numbers.
    ///
    /// # Errors
    /// [`WeightsError::File`].
    pub fn write(&self, path: &Path) -> Result<(), WeightsError> {
        let failed = |source| WeightsError::File { path: path.to_owned(), source };
        let head = serde_json::to_vec(self).map_err(|error| failed(error.into()))?;
        let mut file = std::io::BufWriter::new(std::fs::File::create_new(path).map_err(failed)?);
        file.write_all(&head).and_then(|()| file.write_all(b"\n")).map_err(failed)?;
        for number in self.tensors.iter().flat_map(|tensor| &tensor.numbers) {
            file.write_all(&number.to_le_bytes()).map_err(failed)?;
        }
        file.flush().map_err(failed)
    }

    /// Reads what [`Weights::write`] has written.
    ///
    /// # Errors
    /// [`WeightsError`].
    pub fn read(path: &Path) -> Result<Self, WeightsError> {
        let failed = |source| WeightsError::File { path: path.to_owned(), source };
        let damaged = || WeightsError::Damaged { path: path.to_owned() };
        let bytes = std::fs::read(path).map_err(failed)?;
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(damaged)?;
        let mut weights: Self = serde_json::from_slice(&bytes[..end]).map_err(|_| damaged())?;
        let (mut cells, rest) = bytes[end + 1..].as_chunks::<4>();
        for tensor in &mut weights.tensors {
            let product = tensor.shape.iter().try_fold(1_usize, |all, size| all.checked_mul(*size));
            let (own, others) =
                product.and_then(|count| cells.split_at_checked(count)).ok_or_else(damaged)?;
            tensor.numbers = own.iter().map(|cell| f32::from_le_bytes(*cell)).collect();
            cells = others;
        }
        let is_whole = cells.is_empty() && rest.is_empty();
        is_whole.then_some(weights).ok_or_else(damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_read_as_they_were_written_and_damaged_ones_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("w");
        let tensor = |name: &str, shape: &[usize], numbers: &[f32]| Tensor {
            name: name.into(),
            shape: shape.to_vec(),
            numbers: numbers.to_vec(),
        };
        let tensors = vec![tensor("a\n.weight", &[2, 1], &[1.5, -0.0]), tensor("b", &[], &[7.0])];
        let scaling = Some(Scaling { divide: 255.0, mean: vec![0.1], deviation: Vec::new() });
        let weights = Weights { tensors, is_ordered: true, scaling };
        weights.write(&path).expect("written");
        assert_eq!(Weights::read(&path).expect("sound"), weights);
        assert!(matches!(weights.write(&path), Err(WeightsError::File { .. })), "it is there");
        let bytes = std::fs::read(&path).expect("there");
        for damaged in [&bytes[..3], &bytes[..bytes.len() - 4], &[&bytes[..], b"1234"].concat()] {
            std::fs::write(&path, damaged).expect("written");
            assert!(matches!(Weights::read(&path), Err(WeightsError::Damaged { .. })));
        }
    }
}
