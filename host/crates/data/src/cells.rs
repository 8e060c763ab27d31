//! Tables: columns of cells, which are numbers or texts, and one of which may hold the labels.

use std::path::Path;

use crate::fault::{DataError, Place, Problem};
use crate::labels::{LabelFault, Labels};
use crate::limits::Bounds;
use crate::read::{Options, label_of};
use crate::set::{Column, numbers, texts};

/// The cells of a column.
#[derive(Debug)]
pub(crate) enum Values {
    /// A missing one is NaN.
    Numbers(Vec<f64>),
    /// None is missing.
    Whole(Vec<i64>),
    /// A missing one is empty.
    Texts(Vec<String>),
}

#[derive(Debug)]
pub(crate) struct Cells {
    pub(crate) name: String,
    pub(crate) values: Values,
}

/// The memory that cells may use, which goes down as they are read.
pub(crate) struct Memory<'b> {
    bounds: &'b Bounds,
    left: u64,
    text_left: u64,
}

impl<'b> Memory<'b> {
    pub(crate) fn new(bounds: &'b Bounds) -> Self {
        Self { bounds, left: bounds.data_bytes, text_left: bounds.text_bytes }
    }

    /// For so many numbers.
    ///
    /// # Errors
    /// [`Problem::Memory`] when it is used up.
    pub(crate) fn numbers(&mut self, count: usize) -> Result<(), Problem> {
        self.take(size_of::<f64>().saturating_mul(count))
    }

    /// For so many texts of together so many bytes.
    ///
    /// # Errors
    /// [`Problem::Text`], [`Problem::Memory`].
    pub(crate) fn texts(&mut self, count: usize, bytes: usize) -> Result<(), Problem> {
        let left = self.text_left.checked_sub(bytes as u64);
        self.text_left = left.ok_or(Problem::Text { max: self.bounds.text_bytes })?;
        self.take(size_of::<String>().saturating_mul(count).saturating_add(bytes))
    }

    fn take(&mut self, bytes: usize) -> Result<(), Problem> {
        let left = self.left.checked_sub(bytes as u64);
        self.left = left.ok_or(Problem::Memory { max: self.bounds.data_bytes })?;
        Ok(())
    }
}

/// Takes the labels out of a table. `at` is the place of a row, from 0.
pub(crate) fn table(
    path: &Path,
    mut cells: Vec<Cells>,
    options: &Options,
    at: impl Fn(usize, &str) -> Place,
) -> Result<(Vec<Column>, Option<Labels>), DataError> {
    let names: Vec<&str> = cells.iter().map(|cells| cells.name.as_str()).collect();
    let labels = match label_of(path, &names, options)? {
        None => None,
        Some(place) => {
            let Cells { name, values } = cells.remove(place);
            let labels = match values {
                Values::Numbers(numbers) => Labels::of_numbers(numbers, options.labels),
                Values::Whole(whole) => Labels::of_whole(&whole, options.labels),
                Values::Texts(texts) => Labels::of_texts(&texts, options.labels),
            };
            let named = |fault: LabelFault| {
                let whole = || Place::Array(name.clone());
                let place = fault.row.map_or_else(whole, |row| at(row, &name));
                DataError::one(path, place, fault.problem)
            };
            Some(labels.map_err(named)?)
        }
    };
    let columns = cells.into_iter().map(|Cells { name, values }| match values {
        Values::Numbers(values) => numbers(name, &values),
        Values::Whole(values) => {
            numbers(name, &values.iter().map(|value| *value as f64).collect::<Vec<_>>())
        }
        Values::Texts(values) => texts(name, &values),
    });
    Ok((columns.collect(), labels))
}
