//! Compares a candidate's answers with the original's and with the labels, which are read as `hospes evaluate` reads them: the same model on the
//! same rows has the same accuracy in both.

use hospes_data::{Classes, Labels};
use hospes_evaluate::{self as evaluate, AnswerError, Pool};
use hospes_evidence::r2;

use crate::execute::{Metric, Named, Rows, cosine, has_tokens};
use crate::gate::Answers;

/// What candidates are compared with.
pub(crate) struct Compare<'r> {
    rows: &'r Rows,
    with: With<'r>,
}

enum With<'r> {
    Truth { labels: &'r Classes, original: Vec<u32> },
    Classes(evaluate::Answers),
    Numbers { truth: Option<Vec<f64>>, original: Vec<f64> },
    Vectors(Vec<Named>),
    Pooled { pool: Pool, original: Vec<Vec<f32>> },
}

impl<'r> Compare<'r> {
    /// Reads the original's answers.
    ///
    /// # Errors
    /// Why they cannot be compared by this metric.
    pub(crate) fn new(
        rows: &'r Rows,
        original: Vec<Named>,
        metric: Metric,
    ) -> Result<Self, String> {
        let with = match (metric, &rows.labels) {
            (Metric::Cosine, _) => With::Vectors(original),
            (Metric::Pooled(pool), _) => {
                let original = rows.read(&original).and_then(|it| it.pooled(None, pool));
                With::Pooled { pool, original: original.map_err(|error| error.to_string())? }
            }
            (Metric::Classes, Some(Labels::Classes(labels))) => {
                let (_, original) = rows
                    .read(&original)
                    .and_then(|it| it.beside(None, labels))
                    .map_err(|error| classes(&error))?;
                With::Truth { labels, original }
            }
            (Metric::Classes, _) => {
                let original = rows.read(&original).map_err(|error| classes(&error))?;
                original.classes(None, None).map_err(|error| classes(&error))?;
                With::Classes(original)
            }
            (Metric::Numbers, labels) => {
                let original = rows
                    .read(&original)
                    .and_then(|it| it.scalars(None))
                    .map_err(|error| numbers(&error))?;
                let truth = labels.as_ref().and_then(Labels::numbers);
                if r2(truth.as_ref().unwrap_or(&original), &original).is_none() {
                    return Err("all numbers to compare with are the same: give other rows".into());
                }
                With::Numbers { truth, original }
            }
        };
        Ok(Self { rows, with })
    }

    /// A candidate's answers beside the original's.
    ///
    /// # Errors
    /// Why it gives none.
    pub(crate) fn with(&self, found: &[Named]) -> Result<Answers, String> {
        let read = || self.rows.read(found);
        match &self.with {
            With::Truth { labels, original } => {
                let (_, candidate) = read()
                    .and_then(|it| it.beside(None, labels))
                    .map_err(|error| classes(&error))?;
                let (truth, original) = (Some(labels.of().to_vec()), original.clone());
                Ok(Answers::Classes { truth, original, candidate })
            }
            With::Classes(original) => {
                let together =
                    read().and_then(|found| evaluate::together(original, &found, None, None));
                let (original, candidate) = together.map_err(|error| classes(&error))?;
                Ok(Answers::Classes { truth: None, original, candidate })
            }
            With::Numbers { truth, original } => {
                let candidate =
                    read().and_then(|it| it.scalars(None)).map_err(|error| numbers(&error))?;
                let (truth, original) = (truth.clone(), original.clone());
                Ok(Answers::Numbers { truth, original, candidate })
            }
            With::Vectors(original) => {
                let pairs = original.iter().zip(found);
                // What is not a number, or of another size, is as far as can be.
                let cosines = pairs.map(|(one, other)| cosine(one, other).unwrap_or(-1.0));
                Ok(Answers::Cosines(cosines.collect()))
            }
            With::Pooled { pool, original } => {
                let found = read().and_then(|it| it.pooled(None, *pool));
                let found = found.map_err(|error| error.to_string())?;
                let pairs = original.iter().zip(&found);
                let cosines =
                    pairs.map(|(one, other)| hospes_evidence::cosine(one, other).unwrap_or(-1.0));
                Ok(Answers::Cosines(cosines.collect()))
            }
        }
    }

    /// What the comparison is called.
    pub(crate) fn name(&self) -> &'static str {
        match &self.with {
            With::Truth { .. } => "accuracy",
            With::Classes(_) => "agreement",
            With::Numbers { .. } => "r2",
            With::Vectors(_) => evaluate::Metric::Cosine.name(),
            With::Pooled { pool, .. } => evaluate::Metric::Pooled(*pool).name(),
        }
    }

    /// Whether vectors of tokens are compared that could be pooled first, as those who use them do.
    pub(crate) fn could_pool(&self) -> bool {
        let With::Vectors(original) = &self.with else { return false };
        original.first().is_some_and(has_tokens) && self.rows.mask(1).is_some()
    }
}

fn classes(error: &AnswerError) -> String {
    format!("{error}; `--metric cosine` compares answers without classes")
}

fn numbers(error: &AnswerError) -> String {
    format!(
        "{error}; `--metric classes` or `--metric cosine` compares answers that are not one number a row"
    )
}

#[cfg(test)]
mod tests {
    use hospes_core::tensor::{DataType, Tensor};

    use super::*;

    fn answers(rows: &[&[f32]]) -> Vec<Named> {
        let row = |row: &&[f32]| {
            let data = row.iter().flat_map(|number| number.to_le_bytes()).collect();
            let tensor = Tensor::new(DataType::F32, vec![1, row.len()], data);
            vec![("y".to_owned(), tensor.expect("fits"))]
        };
        rows.iter().map(row).collect()
    }

    fn folders(names: &[&str], of: &[u32]) -> Rows {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let classes = Classes::new(of.to_vec(), names).expect("named");
        Rows { labels: Some(Labels::Classes(classes)), ..Rows::default() }
    }

    /// The accuracy that `hospes evaluate` finds.
    fn evaluated(rows: &Rows, found: &[Named]) -> f64 {
        let read = rows.read(found).expect("answers");
        let metric = evaluate::Metric::Accuracy;
        let figures = evaluate::judge(metric, &read, None, rows.labels.as_ref(), None);
        figures.expect("classes").value()
    }

    /// The accuracy of the same answers here.
    fn compared(rows: &Rows, found: &[Named]) -> f64 {
        let compare = Compare::new(rows, found.to_vec(), rows.metric(found)).expect("classes");
        assert_eq!(compare.name(), "accuracy");
        crate::gate::loss(&compare.with(found).expect("classes"), 0.05).value
    }

    #[test]
    fn folders_named_by_numbers_and_ties_are_read_as_evaluate_reads_them() {
        // Folders `1`, `2` and `3` are the model's classes 0, 1 and 2; of equal scores the first counts.
        let rows = folders(&["1", "2", "3"], &[0, 1, 2, 2]);
        let found =
            answers(&[&[2.0, 1.0, 0.0], &[0.0, 5.0, 5.0], &[0.0, 0.0, 9.0], &[3.0, 3.0, 3.0]]);
        assert_eq!(compared(&rows, &found), 0.75);
        assert_eq!(evaluated(&rows, &found), 0.75);
    }

    #[test]
    fn a_model_s_own_names_count_here_too() {
        let mut rows = folders(&["cat", "dog"], &[0, 1]);
        rows.classes = ["bird", "cat", "dog"].map(String::from).into();
        let found = answers(&[&[0.0, 1.0, 0.0], &[0.0, 0.0, 1.0]]);
        assert_eq!((compared(&rows, &found), evaluated(&rows, &found)), (1.0, 1.0));
    }

    #[test]
    fn labels_that_a_later_output_names_are_found() {
        let whole = |class: i64| {
            let data = class.to_le_bytes().to_vec().into();
            ("label".to_owned(), Tensor::new(DataType::I64, vec![1], data).expect("fits"))
        };
        let mut found = answers(&[&[1.0, 0.0], &[1.0, 0.0]]);
        found[0].push(whole(1));
        found[1].push(whole(2));
        let rows = folders(&["1", "2"], &[0, 1]);
        assert_eq!((compared(&rows, &found), evaluated(&rows, &found)), (1.0, 1.0));
    }

    #[test]
    fn numbers_are_compared_by_the_variance_that_they_explain() {
        let rows = Rows::default();
        let original: Vec<Vec<f32>> = (0..100_u8).map(|row| vec![f32::from(row)]).collect();
        let named =
            |rows: &[Vec<f32>]| answers(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let compare = Compare::new(&rows, named(&original), rows.metric(&named(&original)));
        let compare = compare.expect("numbers");
        assert_eq!(compare.name(), "r2");
        let loss = |candidate: &[Vec<f32>]| {
            crate::gate::loss(&compare.with(&named(candidate)).expect("numbers"), 0.05)
        };
        assert_eq!(loss(&original).loss, 0.0);
        // The same signs, so that cosines would all be 1.
        let halved: Vec<Vec<f32>> = original.iter().map(|row| vec![row[0] / 2.0]).collect();
        assert!(loss(&halved).loss > 0.5, "{:?}", loss(&halved));
        let same = Compare::new(&rows, answers(&[&[1.0], &[1.0]]), Metric::Numbers);
        assert!(
            same.is_err_and(|error| error.contains("all numbers to compare with are the same"))
        );
    }
}
