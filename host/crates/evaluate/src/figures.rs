//! Figures of answers, each with its interval. Without labels nothing is called accuracy.

use hospes_data::Labels;
use hospes_evidence::{
    Agreement, Class, Confusion, ConfusionError, Interval, clopper_pearson, cosine,
    mean_absolute_error, quantile, r2, r2_interval, root_mean_square_error,
};
use serde::{Serialize, Serializer};

use crate::answers::{AnswerError, Answers};
use crate::pool::Pool;

/// The confidence of every interval.
pub const CONFIDENCE: f64 = 0.95;

/// The seed of the bootstrap, so that a report is the same when it is made again.
const SEED: u64 = 7;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// The share of rows whose class is the label.
    Accuracy,
    /// The share of rows whose class is that of another model.
    Agreement,
    /// The share of the variance that the numbers explain: of the labels, or of another model's numbers.
    R2,
    /// The cosine between the vectors of two models.
    Cosine,
    /// The same after the vectors of each row's tokens were made one.
    Pooled(Pool),
}

impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl Metric {
    /// What reports call it, and the command line where it takes it by itself.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::Agreement => "agreement",
            Self::R2 => "r2",
            Self::Cosine => "cosine",
            Self::Pooled(Pool::Mean) => "cosine (mean-pooled)",
            Self::Pooled(Pool::Cls) => "cosine (first token)",
        }
    }

    /// What is measured where nobody has said it: by default this, but R2 if the model predicts a number and there is one to compare it with.
    ///
    /// # Errors
    /// [`AnswerError::NoOutput`].
    pub fn fitting(
        self,
        answers: &Answers,
        output: Option<&str>,
        labels: Option<&Labels>,
    ) -> Result<Self, AnswerError> {
        let has_numbers = match self {
            Self::Accuracy => labels.and_then(Labels::numbers).is_some(),
            Self::Agreement => true,
            Self::R2 | Self::Cosine | Self::Pooled(_) => false,
        };
        Ok(if has_numbers && answers.is_single_number(output)? { Self::R2 } else { self })
    }
}

/// Why figures cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    #[error(
        "`{}` needs labels, and the data have none: name their column with `--label`, or measure agreement with `--reference MODEL`",
        metric.name()
    )]
    NoLabels { metric: Metric },
    #[error(
        "`accuracy` needs classes, but the labels are numbers: measure `r2`, or say that they are classes"
    )]
    NotClasses,
    #[error("`r2` needs numbers, but the labels are named classes: measure `accuracy`")]
    NotNumbers,
    #[error("`{}` compares with another model: name it with `--reference MODEL`", metric.name())]
    NoReference { metric: Metric },
    #[error(
        "all numbers to compare with are the same, so there is no variance to explain: give more rows"
    )]
    NoVariance,
    #[error(
        "row {row}: the reference answers {first} numbers and the model {second}, and cosines are between as many: compare outputs of one \
         size, or name them with `--output`"
    )]
    Lengths { row: usize, first: usize, second: usize },
    #[error(
        "row {row}: one of the two vectors is zero or not finite, so it has no direction: leave the row out"
    )]
    NoDirection { row: usize },
    #[error("the reference answered {reference} rows, not {rows}")]
    Rows { reference: usize, rows: usize },
    #[error("{}", .0.advised())]
    Answer(AnswerError),
    /// Of a model whose answer to a row is a vector for each token.
    #[error("{}, or use `--pool mean`", .0.advised())]
    Tokens(AnswerError),
    #[error(transparent)]
    Confusion(#[from] ConfusionError),
}

impl From<AnswerError> for JudgeError {
    fn from(error: AnswerError) -> Self {
        Self::Answer(error)
    }
}

/// Figures of one model.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "metric", rename_all = "lowercase")]
pub enum Figures {
    Accuracy(Accuracy),
    Agreement(Agreement),
    R2(R2),
    /// Which of them, they say themselves.
    #[serde(untagged)]
    Cosine(Cosine),
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Accuracy {
    pub value: f64,
    /// Clopper and Pearson's: it holds the true share at least as often as it says.
    pub interval: Interval,
    pub hits: u64,
    pub rows: u64,
    /// The mean of the classes' recalls: classes with few rows count as much as others.
    pub balanced: f64,
    pub classes: Vec<Class>,
    pub confusion: Confusion,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct R2 {
    pub value: f64,
    /// By the bootstrap with a fixed seed.
    pub interval: Interval,
    pub rows: u64,
    pub mean_absolute_error: f64,
    pub root_mean_square_error: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cosine {
    /// Of the vectors as they are answered, or pooled.
    pub metric: Metric,
    pub mean: f64,
    /// The lowest of all rows, and the value below which one row of a hundred is.
    pub lowest: f64,
    pub p01: f64,
    pub rows: u64,
}

impl Figures {
    /// The value that stands for all.
    pub fn value(&self) -> f64 {
        match self {
            Self::Accuracy(accuracy) => accuracy.value,
            Self::Agreement(agreement) => agreement.share,
            Self::R2(r2) => r2.value,
            Self::Cosine(cosine) => cosine.mean,
        }
    }

    /// Its interval; cosines have none.
    pub fn interval(&self) -> Option<Interval> {
        match self {
            Self::Accuracy(accuracy) => Some(accuracy.interval),
            Self::Agreement(agreement) => Some(agreement.interval),
            Self::R2(r2) => Some(r2.interval),
            Self::Cosine(_) => None,
        }
    }
}

/// Makes the figures of answers: against labels, or against the answers of another model to the same rows. `output` names the output that
/// is meant.
///
/// # Errors
/// [`JudgeError`].
pub fn judge(
    metric: Metric,
    answers: &Answers,
    output: Option<&str>,
    labels: Option<&Labels>,
    reference: Option<&Answers>,
) -> Result<Figures, JudgeError> {
    let labels = labels.ok_or(JudgeError::NoLabels { metric });
    let reference = reference.ok_or(JudgeError::NoReference { metric });
    match metric {
        Metric::Accuracy => accuracy(answers, output, labels?).map(Figures::Accuracy),
        Metric::R2 => {
            let truth = match reference {
                Ok(reference) => same_rows(reference, answers)?.scalars(output)?,
                Err(_) => labels?.numbers().ok_or(JudgeError::NotNumbers)?,
            };
            explained(&truth, &answers.scalars(output)?).map(Figures::R2)
        }
        Metric::Agreement => {
            let names = labels.ok().and_then(Labels::classes).map(|classes| classes.names());
            let reference = same_rows(reference?, answers)?;
            let both = together(reference, answers, output, names);
            let (first, second) = both.map_err(|error| match error {
                AnswerError::Shape { ref shape, .. } if shape.len() == 2 => {
                    JudgeError::Tokens(error)
                }
                error => error.into(),
            })?;
            let agreement = Agreement::of(&first, &second, CONFIDENCE);
            let rows = answers.rows();
            agreement
                .map(Figures::Agreement)
                .ok_or(JudgeError::Rows { reference: first.len(), rows })
        }
        Metric::Cosine | Metric::Pooled(_) => {
            let reference = same_rows(reference?, answers)?;
            let vectors = |answers: &Answers| match metric {
                Metric::Pooled(pool) => answers.pooled(output, pool),
                _ => answers.vectors(output),
            };
            cosines(metric, &vectors(reference)?, &vectors(answers)?).map(Figures::Cosine)
        }
    }
}

fn same_rows<'a>(reference: &'a Answers, answers: &Answers) -> Result<&'a Answers, JudgeError> {
    let (seen, rows) = (reference.rows(), answers.rows());
    if seen == rows { Ok(reference) } else { Err(JudgeError::Rows { reference: seen, rows }) }
}

/// The classes of two models, numbered alike: the reference's, then the other's. Names are those that the models have or answer, otherwise the
/// labels'.
///
/// # Errors
/// [`AnswerError`].
pub fn together(
    reference: &Answers,
    answers: &Answers,
    output: Option<&str>,
    labels: Option<&[String]>,
) -> Result<(Vec<u32>, Vec<u32>), AnswerError> {
    let texts = |answers: &Answers| -> Vec<String> {
        let names = answers.names();
        let chosen = output
            .or_else(|| names.iter().copied().find(|name| answers.output_texts(name).is_some()));
        chosen.and_then(|name| answers.output_texts(name)).unwrap_or_default().to_vec()
    };
    let mut answered = [texts(reference), texts(answers)].concat();
    answered.sort_unstable();
    answered.dedup();
    let mut names: Vec<String> = Vec::new();
    for name in reference.own().iter().chain(answers.own()).chain(&answered) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let names = if names.is_empty() { labels } else { Some(names.as_slice()) };
    Ok((reference.classes(output, names)?, answers.classes(output, names)?))
}

fn accuracy(
    answers: &Answers,
    output: Option<&str>,
    labels: &Labels,
) -> Result<Accuracy, JudgeError> {
    let classes = labels.classes().ok_or(JudgeError::NotClasses)?;
    // A model that names its classes is matched by name, so numbers that no label has are no classes of the table.
    let occurring = classes.occurring();
    let is_named = answers.own().iter().any(|name| occurring.names().contains(name));
    let classes = if is_named { &occurring } else { classes };
    let (names, predicted) = answers.beside(output, classes)?;
    let confusion = Confusion::new(&names, classes.of(), &predicted)?;
    let (hits, rows) = (confusion.hits(), confusion.rows());
    let of_classes = confusion.classes(CONFIDENCE);
    let recalls: Vec<f64> = of_classes.iter().filter_map(|class| class.recall).collect();
    Ok(Accuracy {
        value: confusion.accuracy().unwrap_or_default(),
        interval: clopper_pearson(hits, rows, CONFIDENCE),
        hits,
        rows,
        balanced: recalls.iter().sum::<f64>() / recalls.len().max(1) as f64,
        classes: of_classes,
        confusion,
    })
}

fn explained(truth: &[f64], predicted: &[f64]) -> Result<R2, JudgeError> {
    let interval = || r2_interval(truth, predicted, CONFIDENCE, SEED);
    Ok(R2 {
        value: r2(truth, predicted).ok_or(JudgeError::NoVariance)?,
        interval: interval().ok_or(JudgeError::NoVariance)?,
        rows: truth.len() as u64,
        mean_absolute_error: mean_absolute_error(truth, predicted).unwrap_or_default(),
        root_mean_square_error: root_mean_square_error(truth, predicted).unwrap_or_default(),
    })
}

fn cosines(metric: Metric, first: &[Vec<f32>], second: &[Vec<f32>]) -> Result<Cosine, JudgeError> {
    let mut values = Vec::with_capacity(first.len());
    for (row, (a, b)) in first.iter().zip(second).enumerate() {
        let (row, first, second) = (row + 1, a.len(), b.len());
        if first != second {
            return Err(JudgeError::Lengths { row, first, second });
        }
        values.push(cosine(a, b).ok_or(JudgeError::NoDirection { row })?);
    }
    Ok(Cosine {
        metric,
        mean: values.iter().sum::<f64>() / values.len().max(1) as f64,
        lowest: quantile(&values, 0.0).unwrap_or_default(),
        p01: quantile(&values, 0.01).unwrap_or_default(),
        rows: values.len() as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hospes_core::tensor::{DataType, Tensor};
    use hospes_data::Classes;

    fn answers(shape: &[usize], values: &[f32]) -> Answers {
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let tensor = Tensor::new(DataType::F32, shape.to_vec(), data.into()).expect("fits");
        let mut answers = Answers::default();
        answers.add(vec![("y".into(), tensor)], shape[0], shape[0]).expect("rows");
        answers
    }

    fn classes(of: &[u32], names: &[&str]) -> Labels {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Labels::Classes(Classes::new(of.to_vec(), names).expect("named"))
    }

    #[test]
    fn accuracy_is_counted_by_class() {
        let scores = answers(&[3, 3], &[1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        let labels = classes(&[0, 1, 1], &["cat", "dog"]);
        let figures = judge(Metric::Accuracy, &scores, None, Some(&labels), None).expect("classes");
        let Figures::Accuracy(seen) = &figures else { panic!("accuracy") };
        assert_eq!((seen.hits, seen.rows, seen.balanced), (1, 3, 0.5));
        assert_eq!(seen.confusion.names(), ["cat", "dog", "2"], "the model knows one more");
        assert_eq!(seen.classes[1].recall, Some(0.0));
        let json = serde_json::to_value(&figures).expect("JSON");
        assert_eq!((&json["metric"], &json["hits"]), (&"accuracy".into(), &1.into()));
    }

    #[test]
    fn classes_from_1_are_matched_by_the_model_s_own_names() {
        // Whole numbers from 1 are read as if there were a 0, whose place a model that was trained on them does not have.
        let labels = classes(&[1, 3, 2], &["0", "1", "2", "3"]);
        let own = ["1", "2", "3"].map(String::from).to_vec();
        let mut answered = Answers::of_model(own);
        let scores = [1.0_f32, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0];
        let data: Vec<u8> = scores.iter().flat_map(|score| score.to_le_bytes()).collect();
        let tensor = Tensor::new(DataType::F32, vec![3, 3], data.into()).expect("fits");
        answered.add(vec![("logits".into(), tensor)], 3, 3).expect("rows");
        let figures = judge(Metric::Accuracy, &answered, None, Some(&labels), None);
        let Figures::Accuracy(seen) = figures.expect("classes") else { panic!("accuracy") };
        assert_eq!(
            (seen.hits, seen.confusion.names()),
            (3, &["1", "2", "3"].map(String::from)[..])
        );
    }

    #[test]
    fn numbers_are_explained_and_vectors_compared() {
        let predicted = answers(&[4, 1], &[2.5, 0.0, 2.0, 8.0]);
        let labels = Labels::Numbers(vec![3.0, -0.5, 2.0, 7.0]);
        let figures = judge(Metric::R2, &predicted, None, Some(&labels), None).expect("numbers");
        assert!((figures.value() - 0.948_608_137_044_967_9).abs() < 1e-12);
        let (one, two) =
            (answers(&[2, 2], &[1.0, 0.0, 1.0, 1.0]), answers(&[2, 2], &[1.0, 0.0, 1.0, 0.0]));
        let figures = judge(Metric::Cosine, &two, None, None, Some(&one)).expect("vectors");
        let Figures::Cosine(seen) = figures else { panic!("cosine") };
        assert!((seen.lowest - 0.5_f64.sqrt()).abs() < 1e-6 && seen.rows == 2);
        let figures = judge(Metric::Agreement, &two, None, None, Some(&one)).expect("classes");
        assert_eq!(figures.value(), 1.0);
    }

    #[test]
    fn a_model_of_one_number_is_judged_by_r2_unless_somebody_says_otherwise() {
        let ages = answers(&[4, 1], &[21.0, 35.0, 48.0, 60.0]);
        let labels = classes(&[2, 0, 1, 3], &["35", "48", "21", "60"]);
        let metric = |metric: Metric, labels| metric.fitting(&ages, None, labels).expect("one");
        assert_eq!(metric(Metric::Accuracy, Some(&labels)), Metric::R2);
        assert_eq!(metric(Metric::Agreement, None), Metric::R2);
        assert_eq!(metric(Metric::Cosine, None), Metric::Cosine);
        let named = classes(&[0, 1, 0, 1], &["young", "old"]);
        assert_eq!(metric(Metric::Accuracy, Some(&named)), Metric::Accuracy, "no numbers");
        let scores = answers(&[2, 2], &[0.0, 1.0, 1.0, 0.0]);
        let two = classes(&[0, 1], &["0", "1"]);
        let of_scores = Metric::Accuracy.fitting(&scores, None, Some(&two)).expect("two");
        assert_eq!(of_scores, Metric::Accuracy);
        let figures = judge(Metric::R2, &ages, None, Some(&labels), None).expect("numbers");
        assert_eq!(figures.value(), 1.0);
        let nearly = answers(&[4, 1], &[21.0, 35.0, 48.0, 61.0]);
        let figures = judge(Metric::R2, &nearly, None, None, Some(&ages)).expect("numbers");
        assert!(figures.value() > 0.99 && figures.value() < 1.0, "{}", figures.value());
    }

    #[test]
    fn what_is_missing_is_said() {
        let of = |metric, labels: Option<&Labels>| {
            judge(metric, &answers(&[1, 1], &[1.0]), None, labels, None)
                .expect_err("missing")
                .to_string()
        };
        assert!(of(Metric::Accuracy, None).contains("`--label`"));
        assert!(of(Metric::Agreement, None).contains("`--reference MODEL`"));
        assert!(of(Metric::Accuracy, Some(&Labels::Numbers(vec![1.5]))).contains("`r2`"));
        assert!(of(Metric::R2, Some(&classes(&[0], &["a"]))).contains("`accuracy`"));
        assert!(of(Metric::R2, Some(&Labels::Numbers(vec![1.5]))).contains("variance"));
    }

    #[test]
    fn vectors_that_cannot_be_compared_are_told_apart() {
        let of = |metric, answers: &Answers, reference: &Answers| {
            judge(metric, answers, None, None, Some(reference)).expect_err("no figure").to_string()
        };
        let (two, three) = (answers(&[1, 2], &[1.0; 2]), answers(&[1, 3], &[1.0; 3]));
        let said = of(Metric::Cosine, &three, &two);
        assert!(said.contains("answers 2 numbers and the model 3"), "{said}");
        let said = of(Metric::Cosine, &two, &answers(&[1, 2], &[0.0; 2]));
        assert!(said.contains("no direction") && !said.contains("numbers"), "{said}");
        let tokens = answers(&[1, 2, 2], &[1.0; 4]);
        let said = of(Metric::Agreement, &tokens, &tokens);
        assert!(said.ends_with("with `--output`, or use `--pool mean`"), "{said}");
    }
}
