//! A teacher: another model, whose answers to the training rows are learnt from beside their labels.

use std::path::Path;

use hospes_core::id::Hasher;
use hospes_core::tensor::{DataType, Tensor};
use hospes_data::{Format, Options};
use hospes_training::native::Teacher;

use crate::data::{Rows, Wanted};

/// A teacher's answers to every row of `train`.
#[derive(Debug)]
pub struct Soft {
    /// Softened probabilities, row by row.
    probabilities: Vec<f32>,
    pub temperature: f64,
    pub weight: f64,
}

/// Why a teacher cannot teach.
#[derive(Debug, thiserror::Error)]
pub enum TeacherError {
    #[error(transparent)]
    Data(#[from] hospes_data::DataError),
    #[error("the teacher's answers have no array `answers` of numbers")]
    NoAnswers,
    #[error(
        "the teacher answers {found:?} for {rows} rows of {classes} classes: use a model of the same classes"
    )]
    Shape { found: Vec<usize>, rows: usize, classes: usize },
    #[error("the teacher's answer to row {row} is not of finite numbers")]
    NotFinite { row: usize },
    #[error("a teacher teaches classes, and these labels are numbers: leave out `teacher`")]
    Numbers,
    #[error(
        "the teacher is right on {right} of {rows} training rows, no more than if it always named the most frequent class ({most}): it has \
         other classes, or the same in another order, or its pictures need another `divide`"
    )]
    Useless { right: usize, rows: usize, most: usize },
}

impl Soft {
    /// Reads the answers that `hospes train` has left, `[rows, classes]`: logits, or probabilities.
    ///
    /// # Errors
    /// [`TeacherError`].
    pub fn read(path: &Path, settings: &Teacher, rows: &Rows) -> Result<Self, TeacherError> {
        let options = Options { format: Some(Format::Npz), ..Options::default() };
        let read = hospes_data::read(path, &options)?;
        let column = read.column("answers").ok_or(TeacherError::NoAnswers)?;
        Self::new(&column.tensor, settings, rows)
    }

    fn new(answers: &Tensor, settings: &Teacher, rows: &Rows) -> Result<Self, TeacherError> {
        let Wanted::Classes { of, names } = &rows.wanted else {
            return Err(TeacherError::Numbers);
        };
        let (count, classes) = (of.len(), names.len());
        if answers.shape() != [count, classes] {
            let found = answers.shape().to_vec();
            return Err(TeacherError::Shape { found, rows: count, classes });
        }
        if answers.data_type() != DataType::F32 {
            return Err(TeacherError::NoAnswers);
        }
        let (cells, _) = answers.data().as_chunks::<4>();
        let mut logits: Vec<f32> = cells.iter().map(|cell| f32::from_le_bytes(*cell)).collect();
        if let Some(place) = logits.iter().position(|logit| !logit.is_finite()) {
            return Err(TeacherError::NotFinite { row: place / classes + 1 });
        }
        check_right(&logits, of, classes)?;
        if logits.chunks(classes).all(are_probabilities) {
            // Their logarithms are logits. What is 0 was below what the number can hold.
            logits.iter_mut().for_each(|probability| *probability = probability.max(1e-7).ln());
        }
        let temperature = settings.temperature;
        logits.chunks_mut(classes).for_each(|row| soften(row, temperature));
        Ok(Self { probabilities: logits, temperature, weight: settings.weight })
    }

    /// For the loss: the negative probabilities of some rows, divided by how many rows there are.
    pub fn negative_means(&self, chosen: &[usize], classes: usize) -> Vec<f32> {
        let by = -1.0 / chosen.len() as f32;
        let rows = chosen.iter().map(|row| &self.probabilities[row * classes..(row + 1) * classes]);
        rows.flatten().map(|probability| probability * by).collect()
    }

    /// Adds them to a digest.
    pub fn digest(&self, hasher: Hasher) -> Hasher {
        hasher.with(bytemuck::cast_slice(&self.probabilities))
    }
}

fn check_right(logits: &[f32], of: &[u32], classes: usize) -> Result<(), TeacherError> {
    let mut counts = vec![0_usize; classes];
    of.iter().for_each(|class| counts[*class as usize] += 1);
    let most = counts.into_iter().max().unwrap_or_default();
    let is_right = |(row, class): &(&[f32], &u32)| {
        let best = (1..classes).fold(0, |best, at| if row[at] > row[best] { at } else { best });
        best == **class as usize
    };
    let right = logits.chunks(classes).zip(of).filter(is_right).count();
    match right > most {
        true => Ok(()),
        false => Err(TeacherError::Useless { right, rows: of.len(), most }),
    }
}

fn are_probabilities(row: &[f32]) -> bool {
    let within = row.iter().all(|number| (0.0..=1.0).contains(number));
    within && (row.iter().sum::<f32>() - 1.0).abs() < 1e-3
}

/// The softmax of logits that are divided by a temperature.
fn soften(row: &mut [f32], temperature: f64) {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> =
        row.iter().map(|logit| (f64::from(logit - most) / temperature).exp()).collect();
    let sum: f64 = powers.iter().sum();
    row.iter_mut().zip(powers).for_each(|(cell, power)| *cell = (power / sum) as f32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Inputs, Picture};

    fn rows(of: &[u32]) -> Rows {
        let shape = Picture { height: 1, width: 1, channels: 1, names_channels: false };
        let names = vec!["a".into(), "b".into()];
        let inputs = Inputs::Pictures { shape, pixels: vec![0; of.len()].into() };
        Rows { inputs, wanted: Wanted::Classes { of: of.to_vec(), names } }
    }

    fn soft(answers: &[f32], of: &[u32]) -> Result<Soft, TeacherError> {
        let bytes: Vec<u8> = answers.iter().flat_map(|answer| answer.to_le_bytes()).collect();
        let shape = vec![answers.len() / 2, 2];
        let tensor = Tensor::new(DataType::F32, shape, bytes.into()).expect("fits");
        let settings =
            Teacher { model: "t.onnx".into(), temperature: 2.0, weight: 0.5, divide: None };
        Soft::new(&tensor, &settings, &rows(of))
    }

    #[test]
    fn logits_and_probabilities_teach_the_same() {
        // ln(0.8) - ln(0.2) = 1.3863; at temperature 2 the odds are the square root of 4 to 1.
        let of_logits = soft(&[1.386_294_4, 0.0, 0.0, 1.386_294_4], &[0, 1]).expect("right");
        let of_probabilities = soft(&[0.8, 0.2, 0.2, 0.8], &[0, 1]).expect("right");
        let wanted = [2.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 2.0 / 3.0];
        for soft in [of_logits, of_probabilities] {
            let near = |(one, other): (&f32, &f32)| (one - other).abs() < 1e-5;
            assert!(soft.probabilities.iter().zip(&wanted).all(near), "{soft:?}");
            assert!((soft.negative_means(&[1], 2)[0] + 1.0 / 3.0).abs() < 1e-5);
        }
    }

    #[test]
    fn teachers_of_other_classes_are_refused() {
        let wrong_order = soft(&[0.0, 1.0, 1.0, 0.0], &[0, 1]);
        assert!(matches!(wrong_order, Err(TeacherError::Useless { right: 0, rows: 2, most: 1 })));
        assert!(matches!(soft(&[0.0, 1.0], &[0, 1]), Err(TeacherError::Shape { .. })));
        let not_finite = soft(&[1.0, 0.0, f32::NAN, 1.0], &[0, 1]);
        assert!(matches!(not_finite, Err(TeacherError::NotFinite { row: 2 })));
    }
}
