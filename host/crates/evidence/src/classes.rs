//! Classes: what was predicted for rows of each true class.

use serde::Serialize;

use crate::interval::{Interval, wilson};

/// Why a confusion matrix cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfusionError {
    #[error("row {row} has class {class}, and there are {classes}: name all classes")]
    Class { row: usize, class: u32, classes: usize },
    #[error("there are {truths} labels and {predictions} predictions: give one of each a row")]
    Rows { truths: usize, predictions: usize },
    #[error("{classes} classes are more than the {max} of a matrix: evaluate agreement instead")]
    Classes { classes: usize, max: usize },
}

/// Maximum classes of a matrix: it has their square of cells.
const CLASSES_MAX: usize = 2_000;

/// A confusion matrix: counts of rows by true class and predicted class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Confusion {
    names: Vec<String>,
    /// By true class, then by predicted class.
    counts: Vec<Vec<u64>>,
}

/// What a class's rows became. Shares of no rows are `None`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Class {
    pub name: String,
    /// Rows of this class.
    pub rows: u64,
    /// The share of its rows that were predicted as it.
    pub recall: Option<f64>,
    pub recall_interval: Interval,
    /// The share of the rows predicted as it that are of it.
    pub precision: Option<f64>,
    /// The harmonic mean of both.
    pub f1: Option<f64>,
}

impl Confusion {
    /// Counts rows: true classes and predicted ones.
    ///
    /// # Errors
    /// [`ConfusionError`].
    pub fn new(
        names: &[String],
        truths: &[u32],
        predictions: &[u32],
    ) -> Result<Self, ConfusionError> {
        let classes = names.len();
        if classes > CLASSES_MAX {
            return Err(ConfusionError::Classes { classes, max: CLASSES_MAX });
        }
        if truths.len() != predictions.len() {
            let (truths, predictions) = (truths.len(), predictions.len());
            return Err(ConfusionError::Rows { truths, predictions });
        }
        let mut counts = vec![vec![0; classes]; classes];
        for (row, (truth, predicted)) in truths.iter().zip(predictions).enumerate() {
            let class = *truth.max(predicted);
            if class as usize >= classes {
                return Err(ConfusionError::Class { row: row + 1, class, classes });
            }
            counts[*truth as usize][*predicted as usize] += 1;
        }
        Ok(Self { names: names.to_vec(), counts })
    }

    /// The names of the classes.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Rows by true class, then by predicted class.
    pub fn counts(&self) -> &[Vec<u64>] {
        &self.counts
    }

    /// Rows in all.
    pub fn rows(&self) -> u64 {
        self.counts.iter().flatten().sum()
    }

    /// Rows whose class was predicted.
    pub fn hits(&self) -> u64 {
        (0..self.counts.len()).map(|class| self.counts[class][class]).sum()
    }

    /// The share of rows whose class was predicted; `None` of no rows.
    pub fn accuracy(&self) -> Option<f64> {
        share(self.hits(), self.rows())
    }

    /// Each class, in order. Intervals have the given confidence.
    pub fn classes(&self, confidence: f64) -> Vec<Class> {
        let classes = self.names.iter().enumerate().map(|(class, name)| {
            let rows: u64 = self.counts[class].iter().sum();
            let predicted: u64 = self.counts.iter().map(|row| row[class]).sum();
            let hits = self.counts[class][class];
            let f1 = share(2 * hits, rows + predicted);
            Class {
                name: name.clone(),
                rows,
                recall: share(hits, rows),
                recall_interval: wilson(hits, rows, confidence),
                precision: share(hits, predicted),
                f1,
            }
        });
        classes.collect()
    }
}

fn share(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_classes_are_those_of_scikit_learn() {
        // The example of sklearn.metrics.classification_report: y_true = [0, 1, 2, 2, 2], y_pred = [0, 0, 2, 2, 1].
        let names = ["class 0", "class 1", "class 2"].map(String::from);
        let confusion = Confusion::new(&names, &[0, 1, 2, 2, 2], &[0, 0, 2, 2, 1]).expect("counts");
        assert_eq!(confusion.counts(), [vec![1, 0, 0], vec![1, 0, 0], vec![0, 1, 2]]);
        assert_eq!((confusion.hits(), confusion.rows(), confusion.accuracy()), (3, 5, Some(0.6)));
        let classes = confusion.classes(0.95);
        let recalls: Vec<_> = classes.iter().map(|class| class.recall).collect();
        let precisions: Vec<_> = classes.iter().map(|class| class.precision).collect();
        assert_eq!(recalls, [Some(1.0), Some(0.0), Some(2.0 / 3.0)]);
        assert_eq!(precisions, [Some(0.5), Some(0.0), Some(1.0)]);
        assert_eq!(classes[2].f1, Some(0.8));
    }

    #[test]
    fn what_cannot_be_counted_is_named() {
        let names = ["a", "b"].map(String::from);
        let of = |truths: &[u32], predictions: &[u32]| Confusion::new(&names, truths, predictions);
        assert_eq!(
            of(&[0, 1], &[0, 2]),
            Err(ConfusionError::Class { row: 2, class: 2, classes: 2 })
        );
        assert_eq!(of(&[0], &[]), Err(ConfusionError::Rows { truths: 1, predictions: 0 }));
        let many: Vec<String> = (0..=CLASSES_MAX).map(|n| n.to_string()).collect();
        let error = Confusion::new(&many, &[], &[]).expect_err("too many");
        assert_eq!(error, ConfusionError::Classes { classes: 2001, max: 2000 });
        let none = of(&[0], &[0]).expect("counts").classes(0.95).remove(1);
        assert_eq!((none.rows, none.recall, none.precision, none.f1), (0, None, None, None));
    }
}
