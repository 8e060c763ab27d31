//! What this crate asks of whoever computes models, and how it reads what they answer.

use bytes::Bytes;
use hospes_core::backend::BackendKind;
use hospes_core::tensor::{DataType, Tensor};
use hospes_data::Labels;
use hospes_evaluate as evaluate;
use hospes_evaluate::{ATTENTION_MASK, AnswerError, Answers, Pool};

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
    /// What is right for each row, if it is known.
    pub labels: Option<Labels>,
    /// Rows of one computation, if the model takes only so many. The first of them counts; the others fill it up.
    pub batch: Option<usize>,
    /// The model's own names for its classes; empty if it has none.
    pub classes: Vec<String>,
}

/// How answers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// By the class that they give: right answers where the truth is known, else agreement.
    Classes,
    /// By R2 of the one number that they are: of the labels where they are numbers, else of the original's numbers.
    Numbers,
    /// By the cosine between the numbers.
    Cosine,
    /// By the cosine between the one vectors that are pooled from those of each row's tokens.
    Pooled(Pool),
}

impl Rows {
    /// The answers to some of the rows, as `hospes evaluate` reads them.
    ///
    /// # Errors
    /// [`AnswerError`], e.g. if their shape depends on the row.
    pub fn read(&self, found: &[Named]) -> Result<Answers, AnswerError> {
        let mask = self.mask(found.len());
        let mut answers = Answers::of_model(self.classes.clone()).masked(mask);
        for outputs in found {
            answers.add(outputs.clone(), 1, self.batch.unwrap_or(1))?;
        }
        Ok(answers)
    }

    /// The attention mask of the first rows, if they have one.
    pub(crate) fn mask(&self, rows: usize) -> Option<Vec<f64>> {
        let of = |inputs: &Named| {
            let (_, mask) = inputs.iter().find(|(name, _)| name == ATTENTION_MASK)?;
            let mut numbers = mask.numbers()?;
            numbers.truncate(numbers.len() / self.batch.unwrap_or(1).max(1));
            Some(numbers)
        };
        let masks: Option<Vec<Vec<f64>>> = self.inputs.iter().take(rows).map(of).collect();
        masks.filter(|masks| !masks.is_empty()).map(|masks| masks.concat())
    }

    /// How answers like these are best compared: a model of one number by the number, one with a class for each row by the class.
    pub fn metric(&self, found: &[Named]) -> Metric {
        let of = |answers: Answers| {
            let usual = match &self.labels {
                Some(Labels::Numbers(_)) => evaluate::Metric::R2,
                Some(Labels::Classes(_)) => evaluate::Metric::Accuracy,
                None => evaluate::Metric::Agreement,
            };
            let fitting = usual.fitting(&answers, None, self.labels.as_ref())?;
            if fitting == evaluate::Metric::R2 && answers.scalars(None).is_ok() {
                return Ok(Metric::Numbers);
            }
            answers.classes(None, None).map(|_| Metric::Classes)
        };
        self.read(found).and_then(of).unwrap_or(Metric::Cosine)
    }
}

/// The numbers of a tensor of floats.
pub fn floats(tensor: &Tensor) -> Option<Vec<f32>> {
    let numbers = tensor.numbers().filter(|_| tensor.data_type() == DataType::F32)?;
    Some(numbers.into_iter().map(|number| number as f32).collect())
}

/// The cosine between the first outputs of floats of two answers. 1 if both are zero.
pub fn cosine(one: &Named, other: &Named) -> Option<f64> {
    let floats = |answer: &Named| answer.iter().find_map(|(_, tensor)| floats(tensor));
    let (one, other) = (floats(one)?, floats(other)?);
    hospes_evidence::cosine(&one, &other)
}

/// Whether that output has a vector for each token.
pub(crate) fn has_tokens(answer: &Named) -> bool {
    let first = answer.iter().find(|(_, tensor)| tensor.data_type() == DataType::F32);
    first.is_some_and(|(_, tensor)| tensor.shape().len() == 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(shape: &[usize], numbers: &[f32]) -> Named {
        let data = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        vec![("y".into(), Tensor::new(DataType::F32, shape.to_vec(), data).expect("fits"))]
    }

    fn metric(labels: Option<Labels>, answers: &[Named]) -> Metric {
        Rows { labels, ..Rows::default() }.metric(answers)
    }

    #[test]
    fn answers_with_a_class_are_compared_by_it_and_numbers_as_numbers() {
        let scores = [answer(&[1, 3], &[0.1, 0.7, 0.2])];
        assert_eq!(metric(None, &scores), Metric::Classes);
        let states = [answer(&[1, 2, 2], &[1.0, 0.0, 0.0, 2.0])];
        assert_eq!(metric(None, &states), Metric::Cosine);
        let texts = [answer(&[1, 1, 2], &[1.0, 0.0]), answer(&[1, 2, 2], &[1.0; 4])];
        assert_eq!(metric(None, &texts), Metric::Cosine, "as long as its text");
        // The cosine of two single numbers says no more than their sign.
        let ages = [answer(&[1, 1], &[4.0]), answer(&[1, 1], &[40.0])];
        assert_eq!(metric(None, &ages), Metric::Numbers);
        assert_eq!(metric(Some(Labels::Numbers(vec![4.5, 41.0])), &ages), Metric::Numbers);
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
