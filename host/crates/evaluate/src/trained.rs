//! The columns that a model of `hospes train` was trained with: which, in which order, and which texts they had.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use hospes_core::tensor::{DataType, Tensor};
use hospes_data::{COLUMNS_MAX, Column, DataSet};
use hospes_onnx::Model;
use serde::Deserialize;

use crate::elements::elements;
use crate::feed::FeedError;

/// The metadata of ONNX models with the columns of their input `row`, as JSON.
const KEY: &str = "hospes.columns";

/// How many names a message lists.
const NAMES_SHOWN: usize = 20;

/// A column as the model takes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TrainedColumn {
    pub name: String,
    /// The texts that it may have. The model takes the place of a row's text. None for numbers.
    #[serde(default)]
    pub categories: Vec<String>,
}

/// The columns that a model was trained with, if it says so.
pub fn trained_columns(model: &Bytes) -> Option<Vec<TrainedColumn>> {
    let model = Model::read(model.clone()).ok()?;
    let columns: Vec<TrainedColumn> = serde_json::from_str(model.names(KEY)?).ok()?;
    // Each is a column of its own: otherwise a short list could ask for one column many times.
    let names: HashSet<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let is_sound = (1..=COLUMNS_MAX).contains(&columns.len()) && names.len() == columns.len();
    is_sound.then_some(columns)
}

/// The columns of a table as the model takes them. A table may have others, and another order.
///
/// # Errors
/// [`FeedError`] if one is missing, or if a cell is not what the model was trained with.
pub(crate) fn chosen<'d>(
    trained: &[TrainedColumn],
    data: &'d DataSet,
) -> Result<Vec<Cow<'d, Column>>, FeedError> {
    trained.iter().map(|column| column.of(data)).collect()
}

impl TrainedColumn {
    fn of<'d>(&self, data: &'d DataSet) -> Result<Cow<'d, Column>, FeedError> {
        let column = data.column(&self.name).ok_or_else(|| FeedError::NoColumn {
            column: self.name.clone(),
            has: listed(data.columns().iter().map(|column| &column.name)),
        })?;
        let values: usize = column.row_shape().iter().product();
        if values != 1 {
            return Err(FeedError::Cells { column: self.name.clone(), values });
        }
        let is_text = column.tensor.data_type() == DataType::Bytes;
        if self.categories.is_empty() && !is_text {
            return Ok(Cow::Borrowed(column));
        }
        let texts: Vec<String> = match column.tensor.numbers() {
            // Texts that look like numbers in these rows.
            Some(numbers) => numbers.iter().map(f64::to_string).collect(),
            None => column
                .tensor
                .strings()
                .map(|text| String::from_utf8_lossy(text).into_owned())
                .collect(),
        };
        let places: HashMap<&str, usize> = self
            .categories
            .iter()
            .enumerate()
            .map(|(place, text)| (text.as_str(), place))
            .collect();
        let number = |(row, text): (usize, &String)| self.number(row + 1, text, &places);
        let numbers: Result<Vec<f64>, FeedError> = texts.iter().enumerate().map(number).collect();
        let data = elements(&numbers?, DataType::F64).expect("invariant: it holds every number");
        let tensor = Tensor::new(DataType::F64, vec![texts.len()], data.into());
        let tensor = tensor.expect("invariant: a number a row");
        Ok(Cow::Owned(Column { name: self.name.clone(), tensor }))
    }

    /// What the model takes for a text.
    fn number(
        &self,
        row: usize,
        text: &str,
        places: &HashMap<&str, usize>,
    ) -> Result<f64, FeedError> {
        let (column, seen) = (self.name.clone(), text.chars().take(40).collect());
        if self.categories.is_empty() {
            let number = text.parse().ok().filter(|number: &f64| number.is_finite());
            return number.ok_or(FeedError::Number { row, column, seen });
        }
        let known = || listed(self.categories.iter());
        places.get(text).map(|place| *place as f64).ok_or_else(|| FeedError::Category {
            row,
            column,
            seen,
            known: known(),
        })
    }
}

pub(crate) fn listed<'n>(names: impl ExactSizeIterator<Item = &'n String>) -> String {
    let more = names.len().saturating_sub(NAMES_SHOWN);
    let shown: Vec<String> = names.take(NAMES_SHOWN).map(|name| format!("`{name}`")).collect();
    match more {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use hospes_onnx::model::Graph;

    use super::*;

    #[test]
    fn a_model_without_sound_columns_has_none() {
        let of = |value: &str| {
            let mut model = Model::new(Graph::new("g"), 17);
            model.set_metadata(KEY, value);
            trained_columns(&model.write().expect("written").into())
        };
        let sound = of(r#"[{"name": "size"}, {"name": "colour", "categories": ["blue", "red"]}]"#);
        let sound = sound.expect("two columns");
        assert_eq!((&*sound[0].name, sound[0].categories.len()), ("size", 0));
        assert_eq!((&*sound[1].name, &*sound[1].categories[1]), ("colour", "red"));
        for value in [
            "size, colour",
            "[]",
            r#"["size"]"#,
            r#"{"name": "size"}"#,
            r#"[{"name": "a"}, {"name": "a"}]"#,
        ] {
            assert_eq!(of(value), None, "{value}");
        }
    }
}
