//! What a model has answered for every row: classes, numbers or vectors, read out of its outputs.

use hospes_core::tensor::{DataType, Tensor};
use hospes_data::{Classes, excerpt, listed};

use crate::pool::{Pool, PoolError};

/// Why outputs are no answers to rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    #[error(
        "output `{name}` has shape {shape:?} for {rows} rows: its first dimension must be the rows"
    )]
    Rows { name: String, shape: Vec<usize>, rows: usize },
    #[error("output `{name}` changes its type or shape between rows")]
    Changes { name: String },
    #[error("the model has no output `{name}`: it has {has}")]
    NoOutput { name: String, has: String },
    #[error("row {row}: output `{name}` is not a number, so it names no class")]
    NotNumber { name: String, row: usize },
    #[error("output `{name}` has shape {shape:?} for a row, and {what} need {wanted}")]
    Shape { name: String, shape: Vec<usize>, what: &'static str, wanted: &'static str },
    #[error(
        "output `{name}` tells {seen} classes apart, and the labels have {classes}: give the labels of the model's own classes"
    )]
    Classes { name: String, seen: usize, classes: usize },
    #[error(
        "the labels have the class `{class}`, which the model does not know: it has {has}; rename the labels as in training, or leave such rows out"
    )]
    Strange { class: String, has: String },
    #[error("row {row}: output `{name}` is `{seen}`, which is none of the labels' classes")]
    Unknown { name: String, row: usize, seen: String },
    #[error("output `{name}` holds texts, and {what} need numbers")]
    Texts { name: String, what: &'static str },
    #[error(transparent)]
    Pool(#[from] PoolError),
}

impl AnswerError {
    /// The error, and what `hospes evaluate` has for it.
    pub(crate) fn advised(&self) -> String {
        match self {
            Self::Shape { .. } | Self::Texts { .. } => {
                format!("{self}: name another output with `--output`")
            }
            Self::Pool(PoolError::Shape { .. }) => {
                format!("{self}, or name another output with `--output`")
            }
            _ => self.to_string(),
        }
    }
}

/// The outputs for every row.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    rows: usize,
    outputs: Vec<Output>,
    /// The model's own names for the places of its scores; empty if it has none.
    own: Vec<String>,
    /// Which tokens of the rows are text, a number for each.
    mask: Option<Vec<f64>>,
}

#[derive(Debug, Clone)]
struct Output {
    name: String,
    data_type: DataType,
    /// The shape of one row's.
    shape: Vec<usize>,
    values: Values,
}

#[derive(Debug, Clone)]
enum Values {
    Numbers(Vec<f64>),
    Texts(Vec<String>),
}

impl Answers {
    /// Of a model with these names for its classes, or with none.
    pub fn of_model(own: Vec<String>) -> Self {
        Self { own, ..Self::default() }
    }

    /// With the rows' [`ATTENTION_MASK`](crate::ATTENTION_MASK), if they have one.
    #[must_use]
    pub fn masked(self, mask: Option<Vec<f64>>) -> Self {
        Self { mask, ..self }
    }

    /// Adds the outputs of `rows` rows. They may hold `batch` rows, of which the last ones only filled it up.
    ///
    /// # Errors
    /// [`AnswerError::Rows`], [`AnswerError::Changes`].
    pub fn add(
        &mut self,
        outputs: Vec<(String, Tensor)>,
        rows: usize,
        batch: usize,
    ) -> Result<(), AnswerError> {
        for (place, (name, tensor)) in outputs.into_iter().enumerate() {
            let shape = match tensor.shape() {
                [first, rest @ ..] if *first == batch => rest.to_vec(),
                other => {
                    return Err(AnswerError::Rows { name, shape: other.to_vec(), rows: batch });
                }
            };
            let keep = rows * shape.iter().product::<usize>();
            let mut values = match tensor.numbers() {
                Some(numbers) => Values::Numbers(numbers),
                None => Values::Texts(
                    tensor
                        .strings()
                        .map(|text| String::from_utf8_lossy(text).into_owned())
                        .collect(),
                ),
            };
            match &mut values {
                Values::Numbers(numbers) => numbers.truncate(keep),
                Values::Texts(texts) => texts.truncate(keep),
            }
            let data_type = tensor.data_type();
            match self.outputs.get_mut(place) {
                None => self.outputs.push(Output { name, data_type, shape, values }),
                Some(seen) if seen.shape != shape || seen.name != name => {
                    return Err(AnswerError::Changes { name });
                }
                Some(seen) => match (&mut seen.values, values) {
                    (Values::Numbers(all), Values::Numbers(more)) => all.extend(more),
                    (Values::Texts(all), Values::Texts(more)) => all.extend(more),
                    _ => return Err(AnswerError::Changes { name }),
                },
            }
        }
        self.rows += rows;
        Ok(())
    }

    /// The model's own names for its classes; none if it has none.
    pub(crate) fn own(&self) -> &[String] {
        &self.own
    }

    /// How many rows were answered.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The names of the outputs.
    pub fn names(&self) -> Vec<&str> {
        self.outputs.iter().map(|output| output.name.as_str()).collect()
    }

    /// The elements of an output as numbers, with the shape of a row; `None` for texts.
    pub fn output_numbers(&self, name: &str) -> Option<(&[usize], &[f64])> {
        let output = self.outputs.iter().find(|output| output.name == name)?;
        match &output.values {
            Values::Numbers(numbers) => Some((&output.shape, numbers)),
            Values::Texts(_) => None,
        }
    }

    /// The texts of an output; `None` for numbers.
    pub fn output_texts(&self, name: &str) -> Option<&[String]> {
        match &self.outputs.iter().find(|output| output.name == name)?.values {
            Values::Numbers(_) => None,
            Values::Texts(texts) => Some(texts),
        }
    }

    fn named(&self, name: Option<&str>) -> Result<Option<&Output>, AnswerError> {
        let Some(name) = name else { return Ok(None) };
        let found = self.outputs.iter().find(|output| output.name == name);
        let has =
            || self.names().iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let missing = || AnswerError::NoOutput { name: name.into(), has: has() };
        found.map(Some).ok_or_else(missing)
    }

    /// The class of each row: the one that an output of whole numbers or texts names, else the place of the largest number, else, for one
    /// number a row, 1 if it is at least one half (a probability) or positive (a score).
    ///
    /// `names` are the classes of the labels. Without them, classes are numbered as the model does, and texts in the order of their names.
    ///
    /// # Errors
    /// [`AnswerError`].
    pub fn classes(
        &self,
        output: Option<&str>,
        names: Option<&[String]>,
    ) -> Result<Vec<u32>, AnswerError> {
        let Some(chosen) = self.of_classes(output)? else { return Ok(Vec::new()) };
        let each = chosen.each();
        match &chosen.values {
            Values::Texts(texts) => chosen.of_texts(texts, names),
            Values::Numbers(numbers) if chosen.names_classes() => chosen.of_labels(numbers, names),
            Values::Numbers(numbers) if each == 1 => chosen.of_scores(numbers, names),
            Values::Numbers(numbers) => {
                let is_list = chosen.shape.iter().filter(|size| **size != 1).count() == 1;
                if !is_list {
                    return Err(chosen.shaped("classes", "one list of scores"));
                }
                let own = Some(&*self.own).filter(|own| own.len() == each);
                chosen.of_largest(numbers, each, names, own)
            }
        }
    }

    /// The output that says classes: the one that is named, else the first that names them, else the first.
    fn of_classes(&self, output: Option<&str>) -> Result<Option<&Output>, AnswerError> {
        let first = || self.outputs.iter().find(|it| it.names_classes()).or(self.outputs.first());
        Ok(self.named(output)?.or_else(first))
    }

    /// Whether the model answers one fraction a row. Such a model predicts a number, unless somebody says that it is a score between two
    /// classes.
    ///
    /// # Errors
    /// [`AnswerError::NoOutput`].
    pub fn is_single_number(&self, output: Option<&str>) -> Result<bool, AnswerError> {
        let chosen = self.of_classes(output)?;
        Ok(chosen.is_some_and(|it| it.data_type.is_float() && it.each() == 1))
    }

    /// The class of each row as a number below that of the names, which are those of the labels and then those that only the model knows.
    ///
    /// Scores are matched with labels by the model's own names for its classes, if it has some, otherwise by their places.
    ///
    /// # Errors
    /// [`AnswerError`].
    pub fn beside(
        &self,
        output: Option<&str>,
        labels: &Classes,
    ) -> Result<(Vec<String>, Vec<u32>), AnswerError> {
        let mut names = labels.names().to_vec();
        let own = self.own();
        // Names that have nothing in common are of another kind, such as numbers for texts: then places say which is which.
        if own.iter().any(|name| names.contains(name)) {
            let is_known: Vec<bool> = names.iter().map(|name| own.contains(name)).collect();
            let strange = |class: &&u32| !is_known[**class as usize];
            if let Some(class) = labels.of().iter().find(strange) {
                let class = names[*class as usize].clone();
                return Err(AnswerError::Strange { class, has: listed(own.iter()) });
            }
            names.extend(own.iter().filter(|name| !labels.names().contains(name)).cloned());
        }
        let predicted = self.classes(output, Some(&names))?;
        let highest = predicted.iter().copied().max().unwrap_or_default() as usize;
        let unnamed = names.len()..highest.saturating_add(1);
        names.extend(unnamed.map(|class| class.to_string()));
        Ok((names, predicted))
    }

    /// The number of each row.
    ///
    /// # Errors
    /// [`AnswerError`] if the output is not one number a row.
    pub fn scalars(&self, output: Option<&str>) -> Result<Vec<f64>, AnswerError> {
        let chosen = self.named(output)?.or(self.outputs.first());
        let Some(chosen) = chosen else { return Ok(Vec::new()) };
        match &chosen.values {
            Values::Texts(_) => Err(chosen.texts("numbers")),
            Values::Numbers(_) if chosen.each() != 1 => {
                Err(chosen.shaped("numbers", "one element"))
            }
            Values::Numbers(numbers) => match numbers.iter().position(|number| !number.is_finite())
            {
                Some(row) => {
                    Err(AnswerError::NotNumber { name: chosen.name.clone(), row: row + 1 })
                }
                None => Ok(numbers.clone()),
            },
        }
    }

    /// All elements of each row's output, as one vector.
    ///
    /// # Errors
    /// [`AnswerError`] if the output holds texts.
    pub fn vectors(&self, output: Option<&str>) -> Result<Vec<Vec<f32>>, AnswerError> {
        let chosen = self.named(output)?.or(self.outputs.first());
        let Some(chosen) = chosen else { return Ok(Vec::new()) };
        let Values::Numbers(numbers) = &chosen.values else { return Err(chosen.texts("vectors")) };
        let each = chosen.each().max(1);
        Ok(numbers
            .chunks(each)
            .map(|row| row.iter().map(|value| *value as f32).collect())
            .collect())
    }

    /// One vector of each row's tokens: of the output that is named, else of the first that has some.
    ///
    /// # Errors
    /// [`AnswerError`] if the output has none, or [`PoolError`].
    pub fn pooled(&self, output: Option<&str>, pool: Pool) -> Result<Vec<Vec<f32>>, AnswerError> {
        let first = || self.outputs.iter().find(|it| it.tokens().is_some());
        let chosen = self.named(output)?.or_else(first).or(self.outputs.first());
        let Some(chosen) = chosen else { return Ok(Vec::new()) };
        let Values::Numbers(numbers) = &chosen.values else { return Err(chosen.texts("vectors")) };
        let Some(sizes) = chosen.tokens() else {
            let (name, shape) = (chosen.name.clone(), chosen.shape.clone());
            return Err(PoolError::Shape { name, shape }.into());
        };
        Ok(pool.vectors(numbers, sizes, self.mask.as_deref())?)
    }
}

impl Output {
    /// How many elements a row has.
    fn each(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it says the class itself, as a whole number or a text.
    fn names_classes(&self) -> bool {
        self.each() == 1 && !self.data_type.is_float()
    }

    /// The tokens of a row and the numbers of each, if it has vectors of tokens.
    fn tokens(&self) -> Option<(usize, usize)> {
        match *self.shape {
            [tokens, width] if tokens.min(width) > 0 && self.data_type.is_float() => {
                Some((tokens, width))
            }
            _ => None,
        }
    }

    fn shaped(&self, what: &'static str, wanted: &'static str) -> AnswerError {
        AnswerError::Shape { name: self.name.clone(), shape: self.shape.clone(), what, wanted }
    }

    fn texts(&self, what: &'static str) -> AnswerError {
        AnswerError::Texts { name: self.name.clone(), what }
    }

    fn of_texts(
        &self,
        texts: &[String],
        names: Option<&[String]>,
    ) -> Result<Vec<u32>, AnswerError> {
        if self.each() != 1 {
            return Err(self.shaped("classes", "one text"));
        }
        let mut own: Vec<String> = Vec::new();
        if names.is_none() {
            own = texts.to_vec();
            own.sort_unstable();
            own.dedup();
        }
        let names = names.unwrap_or(&own);
        let place: std::collections::HashMap<&str, usize> =
            names.iter().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
        let classes = texts.iter().enumerate().map(|(row, text)| {
            let class = place.get(text.as_str()).and_then(|place| u32::try_from(*place).ok());
            class.ok_or_else(|| self.unknown(row, text))
        });
        classes.collect()
    }

    fn unknown(&self, row: usize, seen: &str) -> AnswerError {
        AnswerError::Unknown { name: self.name.clone(), row: row + 1, seen: excerpt(seen) }
    }

    /// Whole numbers name classes: by the classes' names if these are numbers, otherwise by their place.
    fn of_labels(
        &self,
        numbers: &[f64],
        names: Option<&[String]>,
    ) -> Result<Vec<u32>, AnswerError> {
        let values: Option<Vec<f64>> =
            names.and_then(|names| names.iter().map(|name| name.parse().ok()).collect());
        let classes = numbers.iter().enumerate().map(|(row, number)| {
            let class = match &values {
                Some(values) => values.iter().position(|value| value == number),
                None => {
                    let count = names.map_or(u32::MAX as usize, <[String]>::len);
                    (*number >= 0.0 && *number < count as f64).then_some(*number as usize)
                }
            };
            let class = class.and_then(|class| u32::try_from(class).ok());
            class.ok_or_else(|| self.unknown(row, &number.to_string()))
        });
        classes.collect()
    }

    fn of_largest(
        &self,
        numbers: &[f64],
        each: usize,
        names: Option<&[String]>,
        own: Option<&[String]>,
    ) -> Result<Vec<u32>, AnswerError> {
        let places: Option<Vec<usize>> = own.zip(names).and_then(|(own, names)| {
            let place = |name: &String| names.iter().position(|other| other == name);
            own.iter().map(place).collect()
        });
        // The held-out rows may lack the last classes, whose numbers then have no name. More names than scores are another set of classes.
        if let Some(names) = names.filter(|names| places.is_none() && names.len() > each) {
            let (name, classes) = (self.name.clone(), names.len());
            return Err(AnswerError::Classes { name, seen: each, classes });
        }
        let classes = numbers.chunks(each).enumerate().map(|(row, scores)| {
            if scores.iter().any(|score| score.is_nan()) {
                return Err(AnswerError::NotNumber { name: self.name.clone(), row: row + 1 });
            }
            // The first of equal ones, as NumPy's argmax.
            let best = (1..scores.len())
                .fold(0, |best, at| if scores[at] > scores[best] { at } else { best });
            let best = places.as_ref().map_or(best, |places| places[best]);
            Ok(u32::try_from(best).unwrap_or(u32::MAX))
        });
        classes.collect()
    }

    fn of_scores(
        &self,
        numbers: &[f64],
        names: Option<&[String]>,
    ) -> Result<Vec<u32>, AnswerError> {
        if let Some(names) = names.filter(|names| names.len() > 2) {
            let (name, classes) = (self.name.clone(), names.len());
            return Err(AnswerError::Classes { name, seen: 2, classes });
        }
        if let Some(row) = numbers.iter().position(|number| number.is_nan()) {
            return Err(AnswerError::NotNumber { name: self.name.clone(), row: row + 1 });
        }
        let are_probabilities = numbers.iter().all(|number| (0.0..=1.0).contains(number));
        let from = |number: &f64| if are_probabilities { *number >= 0.5 } else { *number > 0.0 };
        Ok(numbers.iter().map(|number| u32::from(from(number))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elements::elements;
    use hospes_core::tensor::pack_strings;

    fn tensor(ty: DataType, shape: &[usize], values: &[f64]) -> Tensor {
        let data = elements(values, ty).expect("it holds them");
        Tensor::new(ty, shape.to_vec(), data.into()).expect("fits")
    }

    fn answers(outputs: Vec<(&str, Tensor)>, rows: usize) -> Answers {
        let mut answers = Answers::default();
        let outputs = outputs.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
        answers.add(outputs, rows, rows).expect("rows");
        answers
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn classes_are_read_from_labels_scores_and_texts() {
        let scores = tensor(DataType::F32, &[2, 3], &[0.1, 0.7, 0.7, 3.0, -1.0, 2.0]);
        let labels = tensor(DataType::I64, &[2], &[3.0, 1.0]);
        let by_scores = answers(vec![("p", scores.clone())], 2);
        assert_eq!(by_scores.classes(None, None), Ok(vec![1, 0]), "the first of equal ones");
        assert_eq!(by_scores.classes(None, Some(&names(&["a", "b"]))), Ok(vec![1, 0]));
        let error = by_scores.classes(None, Some(&names(&["a", "b", "c", "d"]))).expect_err("four");
        assert_eq!(error, AnswerError::Classes { name: "p".into(), seen: 3, classes: 4 });
        // As scikit-learn's exporter: probabilities after labels, whatever the order.
        let both = answers(vec![("probabilities", scores), ("label", labels)], 2);
        assert_eq!(both.classes(None, Some(&names(&["0", "1", "2", "3"]))), Ok(vec![3, 1]));
        assert_eq!(both.classes(None, Some(&names(&["1", "3"]))), Ok(vec![1, 0]), "by name");
        assert_eq!(both.classes(Some("probabilities"), None), Ok(vec![1, 0]));
        let error = both.classes(None, Some(&names(&["0", "1"]))).expect_err("no 3");
        assert_eq!(error, AnswerError::Unknown { name: "label".into(), row: 1, seen: "3".into() });
        let data = pack_strings([&b"no"[..], b"yes"]).expect("short");
        let texts = Tensor::new(DataType::Bytes, vec![2], data).expect("fits");
        let texts = answers(vec![("label", texts)], 2);
        assert_eq!(texts.classes(None, Some(&names(&["maybe", "no", "yes"]))), Ok(vec![1, 2]));
        assert_eq!(texts.classes(None, None), Ok(vec![0, 1]));
    }

    fn labels(of: &[u32], known: &[&str]) -> Classes {
        Classes::new(of.to_vec(), names(known)).expect("named")
    }

    #[test]
    fn a_model_s_own_names_say_which_class_a_score_is_for() {
        let scores = tensor(DataType::F32, &[2, 3], &[0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
        let own = |own: &[&str]| {
            let mut answers = Answers::of_model(names(own));
            answers.add(vec![("p".into(), scores.clone())], 2, 2).expect("rows");
            answers
        };
        // The rows have no bird, so their classes are numbered otherwise than the model's.
        let animals = own(&["bird", "cat", "dog"]);
        let seen = animals.beside(None, &labels(&[0, 1], &["cat", "dog"]));
        assert_eq!(seen, Ok((names(&["cat", "dog", "bird"]), vec![0, 1])));
        let many: Vec<String> = (0..25).map(|class| class.to_string()).collect();
        let seen = Answers::of_model(many).beside(None, &labels(&[0, 1], &["7", "cow"]));
        let error = seen.expect_err("no cow").to_string();
        assert!(error.contains("`19` and 5 more") && !error.contains("`20`"), "{error}");
        let seen = animals.beside(None, &labels(&[0, 1], &["cat", "cow"]));
        let error = seen.expect_err("no cow").to_string();
        assert!(error.contains("`cow`") && error.contains("`bird`, `cat`, `dog`"), "{error}");
        // Without names, or with none in common, by place.
        let folders = labels(&[0, 1, 2], &["1", "2", "3"]);
        for answers in [own(&[]), animals] {
            let (known, predicted) = answers.beside(None, &folders).expect("three classes");
            assert_eq!((known, predicted), (names(&["1", "2", "3"]), vec![1, 2]));
        }
    }

    #[test]
    fn a_fraction_a_row_is_a_number_and_not_a_class() {
        let one = tensor(DataType::F32, &[2, 1], &[0.5, 7.0]);
        let is = |outputs| answers(outputs, 2).is_single_number(None);
        assert_eq!(is(vec![("y", one.clone())]), Ok(true));
        let whole = tensor(DataType::I64, &[2], &[0.0, 1.0]);
        assert_eq!(is(vec![("y", one), ("label", whole)]), Ok(false), "a class is said");
        assert_eq!(is(vec![("y", tensor(DataType::F32, &[2, 2], &[0.0; 4]))]), Ok(false));
    }

    #[test]
    fn one_score_a_row_decides_between_two() {
        let of = |values: &[f64]| {
            answers(vec![("y", tensor(DataType::F32, &[3, 1], values))], 3).classes(None, None)
        };
        assert_eq!(of(&[0.5, 0.4, 1.0]), Ok(vec![1, 0, 1]), "probabilities");
        assert_eq!(of(&[0.4, -2.0, 3.0]), Ok(vec![1, 0, 1]), "scores");
        assert_eq!(
            of(&[0.5, f64::NAN, 1.0]),
            Err(AnswerError::NotNumber { name: "y".into(), row: 2 })
        );
    }

    #[test]
    fn rows_that_filled_a_batch_up_are_left_out() {
        let mut answers = Answers::default();
        let batch = |values: &[f64]| vec![("y".to_owned(), tensor(DataType::F32, &[2], values))];
        answers.add(batch(&[1.0, 2.0]), 2, 2).expect("rows");
        answers.add(batch(&[3.0, 3.0]), 1, 2).expect("rows");
        assert_eq!((answers.rows(), answers.scalars(None)), (3, Ok(vec![1.0, 2.0, 3.0])));
        let other = vec![("y".to_owned(), tensor(DataType::F32, &[2, 1], &[1.0, 2.0]))];
        assert_eq!(answers.add(other, 2, 2), Err(AnswerError::Changes { name: "y".into() }));
        let error = Answers::default().add(batch(&[1.0, 2.0]), 3, 3).expect_err("two");
        assert_eq!(error, AnswerError::Rows { name: "y".into(), shape: vec![2], rows: 3 });
        assert!(
            answers.scalars(Some("z")).is_err_and(|error| error.to_string().contains("it has `y`"))
        );
    }
}
