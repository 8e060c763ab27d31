//! The columns that a model of `hospes train` was trained with: which, in which order, and which texts they had.

use std::borrow::Cow;
use std::collections::HashMap;

use hospes_core::tensor::{DataType, Tensor};
use hospes_data::{Column, DataSet, excerpt, listed};
use hospes_onnx::ToldColumn;

use crate::elements::elements;
use crate::feed::FeedError;

/// The columns of a table as the model takes them. A table may have others, and another order.
///
/// # Errors
/// [`FeedError`] if one is missing, or if a cell is not what the model was trained with.
pub(crate) fn chosen<'d>(
    trained: &[ToldColumn],
    data: &'d DataSet,
) -> Result<Vec<Cow<'d, Column>>, FeedError> {
    trained.iter().map(|trained| column(trained, data)).collect()
}

/// A column as the model takes it.
fn column<'d>(trained: &ToldColumn, data: &'d DataSet) -> Result<Cow<'d, Column>, FeedError> {
    let ToldColumn { name, categories } = trained;
    let column = data.column(name).ok_or_else(|| FeedError::NoColumn {
        column: name.clone(),
        has: listed(data.columns().iter().map(|column| &column.name)),
    })?;
    let values: usize = column.row_shape().iter().product();
    if values != 1 {
        return Err(FeedError::Cells { column: name.clone(), values });
    }
    let is_text = column.tensor.data_type() == DataType::Bytes;
    if categories.is_empty() && !is_text {
        return Ok(Cow::Borrowed(column));
    }
    let texts: Vec<String> = match column.tensor.numbers() {
        // Texts that look like numbers in these rows.
        Some(numbers) => numbers.iter().map(f64::to_string).collect(),
        None => {
            let texts = column.tensor.strings();
            texts.map(|text| String::from_utf8_lossy(text).into_owned()).collect()
        }
    };
    let places: HashMap<&str, usize> =
        categories.iter().enumerate().map(|(place, text)| (text.as_str(), place)).collect();
    let number = |(row, text): (usize, &String)| number(trained, row + 1, text, &places);
    let numbers: Result<Vec<f64>, FeedError> = texts.iter().enumerate().map(number).collect();
    let data = elements(&numbers?, DataType::F64).expect("invariant: it holds every number");
    let tensor = Tensor::new(DataType::F64, vec![texts.len()], data.into());
    let tensor = tensor.expect("invariant: a number a row");
    Ok(Cow::Owned(Column { name: name.clone(), tensor }))
}

/// What the model takes for a text.
fn number(
    ToldColumn { name, categories }: &ToldColumn,
    row: usize,
    text: &str,
    places: &HashMap<&str, usize>,
) -> Result<f64, FeedError> {
    let (column, seen) = (name.clone(), excerpt(text));
    if categories.is_empty() {
        let number = text.parse().ok().filter(|number: &f64| number.is_finite());
        return number.ok_or(FeedError::Number { row, column, seen });
    }
    let known = || listed(categories.iter());
    places.get(text).map(|place| *place as f64).ok_or_else(|| FeedError::Category {
        row,
        column,
        seen,
        known: known(),
    })
}
