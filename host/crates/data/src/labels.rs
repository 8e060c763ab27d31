//! Labels: classes, or numbers.

use std::collections::BTreeSet;
use std::path::Path;

use hospes_core::tensor::{DataType, Tensor};

use crate::fault::{DataError, Faults, Place, Problem, excerpt};
use crate::limits::{Bounds, CLASS_NUMBER_MAX, CLASSES_MAX};

/// What labels are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LabelKind {
    /// Text and whole numbers from 0 to 999 are classes; other numbers are numbers.
    #[default]
    Auto,
    Classes,
    Numbers,
}

/// A label for each row.
#[derive(Debug, Clone, PartialEq)]
pub enum Labels {
    Classes(Classes),
    Numbers(Vec<f64>),
}

/// A class for each row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classes {
    of: Vec<u32>,
    names: Vec<String>,
}

impl Classes {
    /// Classes by number, and their names.
    ///
    /// # Errors
    /// The row whose class has no name.
    pub fn new(of: Vec<u32>, names: Vec<String>) -> Result<Self, usize> {
        match of.iter().position(|class| *class as usize >= names.len()) {
            Some(row) => Err(row),
            None => Ok(Self { of, names }),
        }
    }

    /// The class of each row, below the number of names.
    pub fn of(&self) -> &[u32] {
        &self.of
    }

    /// The names of the classes. Classes that are whole numbers have these numbers as names: `0`, `1`, …
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The same without classes that no row has, in their order. Whole numbers from 1 to 5 are read as if there were a 0.
    #[must_use]
    pub fn occurring(&self) -> Self {
        let mut seen = vec![false; self.names.len()];
        self.of.iter().for_each(|class| seen[*class as usize] = true);
        let mut places = Vec::with_capacity(seen.len());
        let mut names = Vec::new();
        for (name, seen) in self.names.iter().zip(seen) {
            places.push(u32::try_from(names.len()).expect("invariant: few classes"));
            names.extend(seen.then(|| name.clone()));
        }
        let of = self.of.iter().map(|class| places[*class as usize]).collect();
        Self { of, names }
    }
}

impl Labels {
    /// How many rows have one.
    pub fn rows(&self) -> usize {
        match self {
            Self::Classes(classes) => classes.of.len(),
            Self::Numbers(numbers) => numbers.len(),
        }
    }

    /// The classes, if they are some.
    pub fn classes(&self) -> Option<&Classes> {
        match self {
            Self::Classes(classes) => Some(classes),
            Self::Numbers(_) => None,
        }
    }

    /// The labels as numbers. Classes have a number if their name is one.
    pub fn numbers(&self) -> Option<Vec<f64>> {
        match self {
            Self::Numbers(numbers) => Some(numbers.clone()),
            Self::Classes(classes) => {
                let values: Option<Vec<f64>> =
                    classes.names.iter().map(|name| name.parse().ok()).collect();
                let values = values?;
                Some(classes.of.iter().map(|class| values[*class as usize]).collect())
            }
        }
    }

    pub(crate) fn select(&self, rows: &[usize]) -> Self {
        match self {
            Self::Numbers(numbers) => Self::Numbers(rows.iter().map(|row| numbers[*row]).collect()),
            Self::Classes(classes) => Self::Classes(Classes {
                of: rows.iter().map(|row| classes.of[*row]).collect(),
                names: classes.names.clone(),
            }),
        }
    }

    /// Labels from texts. Classes are sorted by name, except that whole numbers from 0 keep their number.
    pub(crate) fn of_texts(texts: &[String], kind: LabelKind) -> Result<Self, LabelFault> {
        if kind == LabelKind::Numbers {
            let parsed = texts.iter().enumerate().map(|(row, text)| {
                if text.is_empty() {
                    return Err(LabelFault { row: Some(row), problem: Problem::LabelMissing });
                }
                let number = text.parse().ok().filter(|number: &f64| number.is_finite());
                let seen = || Problem::LabelNumber { seen: excerpt(text) };
                number.ok_or_else(|| LabelFault { row: Some(row), problem: seen() })
            });
            return Ok(Self::Numbers(parsed.collect::<Result<_, _>>()?));
        }
        let whole: Option<Vec<i64>> = texts.iter().map(|text| text.parse().ok()).collect();
        if let Some(whole) = whole {
            return Self::of_whole(&whole, kind);
        }
        let numbers: Option<Vec<f64>> = texts.iter().map(|text| text.parse().ok()).collect();
        match (numbers, kind) {
            (Some(numbers), LabelKind::Auto) => return Ok(Self::Numbers(numbers)),
            // 1.0 is the class 1, as pandas writes whole numbers of a column in which one was missing.
            (Some(numbers), _) if numbers.iter().copied().all(is_whole) => {
                return Self::of_numbers(numbers, kind);
            }
            _ => {}
        }
        Self::named(texts)
    }

    pub(crate) fn of_whole(whole: &[i64], kind: LabelKind) -> Result<Self, LabelFault> {
        let (low, high) = whole.iter().fold((0, 0), |(low, high), n| (low.min(*n), high.max(*n)));
        let is_small = low >= 0 && high < CLASS_NUMBER_MAX;
        match kind {
            LabelKind::Auto if is_small => {}
            LabelKind::Auto | LabelKind::Numbers => {
                return Ok(Self::Numbers(whole.iter().map(|n| *n as f64).collect()));
            }
            LabelKind::Classes if low >= 0 && high < CLASSES_MAX as i64 => {}
            LabelKind::Classes => return Self::of_far_apart(whole),
        }
        let of = whole.iter().map(|n| u32::try_from(*n).expect("invariant: small")).collect();
        let names = (0..=high).map(|n| n.to_string()).collect();
        Ok(Self::Classes(Classes { of, names }))
    }

    /// Classes of numbers that are too large or below 0 to be places themselves: those that occur, in their order.
    fn of_far_apart(whole: &[i64]) -> Result<Self, LabelFault> {
        let mut occurring = BTreeSet::new();
        for number in whole {
            if occurring.insert(*number) && occurring.len() > CLASSES_MAX {
                let problem = Problem::Classes { max: CLASSES_MAX };
                return Err(LabelFault { row: None, problem });
            }
        }
        let occurring: Vec<i64> = occurring.into_iter().collect();
        let of = whole.iter().map(|number| {
            let class = occurring.binary_search(number).expect("invariant: just collected");
            u32::try_from(class).expect("invariant: few classes")
        });
        let of = of.collect();
        Ok(Self::Classes(Classes { of, names: occurring.iter().map(i64::to_string).collect() }))
    }

    pub(crate) fn of_numbers(numbers: Vec<f64>, kind: LabelKind) -> Result<Self, LabelFault> {
        if let Some(row) = numbers.iter().position(|number| !number.is_finite()) {
            return Err(LabelFault { row: Some(row), problem: Problem::LabelMissing });
        }
        if kind != LabelKind::Classes {
            return Ok(Self::Numbers(numbers));
        }
        let whole = numbers.iter().enumerate().map(|(row, number)| {
            let problem = || Problem::LabelClass { seen: number.to_string() };
            let fault = || LabelFault { row: Some(row), problem: problem() };
            if is_whole(*number) { Ok(*number as i64) } else { Err(fault()) }
        });
        Self::of_whole(&whole.collect::<Result<Vec<_>, _>>()?, kind)
    }

    fn named(texts: &[String]) -> Result<Self, LabelFault> {
        if let Some(row) = texts.iter().position(String::is_empty) {
            return Err(LabelFault { row: Some(row), problem: Problem::LabelMissing });
        }
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for text in texts {
            if names.insert(text) && names.len() > CLASSES_MAX {
                let problem = Problem::Classes { max: CLASSES_MAX };
                return Err(LabelFault { row: None, problem });
            }
        }
        let names: Vec<&str> = names.into_iter().collect();
        let of = texts.iter().map(|text| {
            let class = names.binary_search(&text.as_str()).expect("invariant: just collected");
            u32::try_from(class).expect("invariant: few classes")
        });
        Ok(Self::Classes(Classes {
            of: of.collect(),
            names: names.into_iter().map(str::to_owned).collect(),
        }))
    }

    /// Labels from an array: one a row, of whole numbers, numbers, booleans or texts.
    pub(crate) fn of_tensor(
        file: &Path,
        name: &str,
        tensor: &Tensor,
        kind: LabelKind,
        bounds: &Bounds,
    ) -> Result<Self, DataError> {
        let array = || Place::Array(name.to_owned());
        // A label takes more memory than an element of one byte.
        if tensor.shape().first().is_some_and(|rows| *rows > bounds.rows) {
            let many = Problem::Many { what: "rows", max: bounds.rows };
            return Err(DataError::one(file, array(), many));
        }
        let is_one_a_row = matches!(tensor.shape(), [_] | [_, 1]);
        if !is_one_a_row {
            let shape = tensor.shape().to_vec();
            return Err(DataError::one(file, array(), Problem::LabelShape { shape }));
        }
        let labels = match tensor.data_type() {
            DataType::Bytes => {
                let mut faults = Faults::default();
                let mut texts = Vec::new();
                for (row, text) in tensor.strings().enumerate() {
                    match str::from_utf8(text) {
                        Ok(text) => texts.push(text.to_owned()),
                        Err(_) => {
                            let at = Place::Row { row: row + 1, column: name.to_owned() };
                            faults.add(file, at, Problem::NotUtf8);
                        }
                    }
                }
                faults.check()?;
                Self::of_texts(&texts, kind)
            }
            float if float.is_float() => {
                Self::of_numbers(tensor.numbers().unwrap_or_default(), kind)
            }
            _ => match whole(tensor) {
                Some(whole) => Self::of_whole(&whole, kind),
                None => {
                    let what = "a whole number above 9223372036854775807".to_owned();
                    return Err(DataError::one(file, array(), Problem::LabelType { what }));
                }
            },
        };
        labels.map_err(|fault| match fault.row {
            Some(row) => {
                let at = Place::Row { row: row + 1, column: name.to_owned() };
                DataError::one(file, at, fault.problem)
            }
            None => DataError::one(file, array(), fault.problem),
        })
    }
}

fn is_whole(number: f64) -> bool {
    number.fract() == 0.0 && number.abs() < 9e15
}

/// What is wrong with labels, and in which row, from 0.
#[derive(Debug)]
pub(crate) struct LabelFault {
    pub(crate) row: Option<usize>,
    pub(crate) problem: Problem,
}

/// The elements of a tensor of whole numbers or booleans; `None` if one does not fit.
fn whole(tensor: &Tensor) -> Option<Vec<i64>> {
    let data = tensor.data();
    Some(match tensor.data_type() {
        DataType::Bool | DataType::U8 => data.iter().map(|n| i64::from(*n)).collect(),
        DataType::I8 => data.iter().map(|n| i64::from(n.cast_signed())).collect(),
        DataType::U16 => each(data, |bytes| u16::from_le_bytes(bytes).into()),
        DataType::I16 => each(data, |bytes| i16::from_le_bytes(bytes).into()),
        DataType::U32 => each(data, |bytes| u32::from_le_bytes(bytes).into()),
        DataType::I32 => each(data, |bytes| i32::from_le_bytes(bytes).into()),
        DataType::I64 => each(data, i64::from_le_bytes),
        DataType::U64 => {
            let (chunks, _) = data.as_chunks();
            let numbers = chunks.iter().map(|bytes| i64::try_from(u64::from_le_bytes(*bytes)));
            numbers.collect::<Result<_, _>>().ok()?
        }
        _ => return None,
    })
}

fn each<const WIDTH: usize>(data: &[u8], read: impl Fn([u8; WIDTH]) -> i64) -> Vec<i64> {
    data.as_chunks().0.iter().map(|bytes| read(*bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn classes(labels: Result<Labels, LabelFault>) -> (Vec<u32>, Vec<String>) {
        match labels.expect("labels") {
            Labels::Classes(classes) => (classes.of, classes.names),
            Labels::Numbers(numbers) => panic!("numbers: {numbers:?}"),
        }
    }

    #[test]
    fn small_whole_numbers_and_text_are_classes() {
        let auto = LabelKind::Auto;
        let named = classes(Labels::of_texts(&texts(&["no", "yes", "no"]), auto));
        assert_eq!(named, (vec![0, 1, 0], texts(&["no", "yes"])));
        let numbered = classes(Labels::of_texts(&texts(&["3", "1"]), auto));
        assert_eq!(numbered, (vec![3, 1], texts(&["0", "1", "2", "3"])), "they keep their number");
        for numbers in [&["1000"][..], &["-1"], &["1.5", "2"]] {
            let labels = Labels::of_texts(&texts(numbers), auto).expect("numbers");
            assert!(matches!(labels, Labels::Numbers(_)), "{numbers:?}");
        }
        let signs = classes(Labels::of_texts(&texts(&["1", "-1"]), LabelKind::Classes));
        assert_eq!(signs, (vec![1, 0], texts(&["-1", "1"])));
        let far = classes(Labels::of_texts(&texts(&["10", "-9", "2"]), LabelKind::Classes));
        assert_eq!(far, (vec![2, 0, 1], texts(&["-9", "2", "10"])), "as numbers are ordered");
        let written = classes(Labels::of_texts(&texts(&["1.0", "0.0"]), LabelKind::Classes));
        assert_eq!(written, (vec![1, 0], texts(&["0", "1"])));
        let floats = classes(Labels::of_numbers(vec![0.0, 2.0], LabelKind::Classes));
        assert_eq!(floats.0, [0, 2]);
    }

    #[test]
    fn whole_numbers_that_do_not_occur_can_be_left_out() {
        let labels = Labels::of_whole(&[10, 2, 10, 7], LabelKind::Auto).expect("classes");
        let occurring = labels.classes().expect("classes").occurring();
        assert_eq!(occurring.of(), [2, 0, 2, 1]);
        assert_eq!(occurring.names(), ["2", "7", "10"]);
        assert_eq!(occurring.occurring(), occurring);
    }

    #[test]
    fn labels_of_the_wrong_kind_are_refused_with_their_row() {
        let fault = Labels::of_texts(&texts(&["1", "x"]), LabelKind::Numbers).expect_err("text");
        assert_eq!(fault.row, Some(1));
        let fault = Labels::of_texts(&texts(&["1", ""]), LabelKind::Numbers).expect_err("none");
        assert_eq!((fault.row, fault.problem), (Some(1), Problem::LabelMissing));
        let fault = Labels::of_numbers(vec![0.0, 0.5], LabelKind::Classes).expect_err("a half");
        assert_eq!(
            (fault.row, fault.problem),
            (Some(1), Problem::LabelClass { seen: "0.5".into() })
        );
        let fault = Labels::of_numbers(vec![f64::NAN], LabelKind::Auto).expect_err("missing");
        assert_eq!((fault.row, fault.problem), (Some(0), Problem::LabelMissing));
        let fault = Labels::of_texts(&texts(&["a", ""]), LabelKind::Auto).expect_err("missing");
        assert_eq!(fault.row, Some(1));
        let many: Vec<String> = (0..=CLASSES_MAX).map(|n| format!("c{n}")).collect();
        let fault = Labels::of_texts(&many, LabelKind::Auto).expect_err("too many");
        assert_eq!(fault.problem, Problem::Classes { max: CLASSES_MAX });
    }

    fn of(tensor: &Tensor, bounds: &Bounds) -> Result<Labels, DataError> {
        Labels::of_tensor(Path::new("f"), "y", tensor, LabelKind::Auto, bounds)
    }

    #[test]
    fn every_type_of_whole_number_is_read() {
        for (ty, data) in [
            (DataType::U8, vec![7]),
            (DataType::I8, vec![7]),
            (DataType::U16, vec![7, 0]),
            (DataType::I16, vec![7, 0]),
            (DataType::U32, vec![7, 0, 0, 0]),
            (DataType::I32, vec![7, 0, 0, 0]),
            (DataType::U64, vec![7, 0, 0, 0, 0, 0, 0, 0]),
            (DataType::I64, vec![7, 0, 0, 0, 0, 0, 0, 0]),
        ] {
            let tensor = Tensor::new(ty, vec![1, 1], data.into()).expect("fits");
            let labels = of(&tensor, &Bounds::USUAL);
            assert_eq!(labels.expect("whole").classes().expect("classes").of(), [7], "{ty}");
        }
        let hot = Tensor::new(DataType::U8, vec![1, 2], vec![0, 1].into()).expect("fits");
        let error = of(&hot, &Bounds::USUAL);
        assert!(error.expect_err("one-hot").to_string().contains("argmax"));
        let two = Tensor::new(DataType::U8, vec![2], vec![0, 1].into()).expect("fits");
        let error = of(&two, &Bounds { rows: 1, ..Bounds::USUAL }).expect_err("two rows");
        assert!(error.to_string().contains("more than the 1 rows allowed"), "{error}");
    }

    #[test]
    fn classes_that_are_numbers_are_numbers_when_asked() {
        let labels = Labels::of_whole(&[2, 0], LabelKind::Auto).expect("classes");
        assert_eq!(labels.numbers(), Some(vec![2.0, 0.0]));
        let labels = Labels::of_texts(&texts(&["a"]), LabelKind::Auto).expect("classes");
        assert_eq!(labels.numbers(), None);
        assert_eq!(Classes::new(vec![0, 1], texts(&["a"])), Err(1));
    }
}
