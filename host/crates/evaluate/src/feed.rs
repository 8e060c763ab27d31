//! A data set bound to a model's inputs: types and shapes are checked once, before any row is computed.
//!
//! What cannot be meant in two ways is done: a column by its input's name, one column for one input, numbers side by side for an input of rows,
//! dimensions of one, colours before or after the picture. Pictures of bytes for an input of fractions can be meant in several ways, so
//! somebody must say how they are scaled.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use hospes_core::tensor::{DataType, Tensor};
use hospes_data::{Column, DataSet, NAMES_SHOWN, excerpt, listed};
use hospes_inference::{ModelSignature, TensorSpec};
use hospes_onnx::ToldColumn;

use crate::elements::elements;
use crate::pool::ATTENTION_MASK;
use crate::trained::chosen;

/// How pictures become numbers: each element is divided, then the mean is taken off and the result divided by the deviation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Preparation {
    /// What bytes are divided by: 1 leaves them as they are, 255 makes them 0 to 1.
    pub divide: Option<f64>,
    /// For each channel, or one for all.
    pub mean: Vec<f64>,
    pub deviation: Vec<f64>,
    /// Repeats the one channel of grey pictures for models that take three.
    pub grey_to_rgb: bool,
}

impl Preparation {
    /// Whether it says anything of the elements' values.
    fn scales(&self) -> bool {
        self.divide.is_some() || !self.mean.is_empty() || !self.deviation.is_empty()
    }
}

/// Why a data set does not fit a model.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FeedError {
    #[error(
        "there is no column for input `{input}` ({spec}): the data have {has}. Name a column or array `{input}`"
    )]
    Missing { input: String, spec: String, has: String },
    #[error(
        "the data have no column `{column}`, which the model was trained with: they have {has}. Name the columns as in training; \
         the column of the labels is none of them"
    )]
    NoColumn { column: String, has: String },
    #[error(
        "`{column}` has {values} values per row, but the model was trained with one: give one value per row"
    )]
    Cells { column: String, values: usize },
    #[error(
        "row {row}, `{column}`: `{seen}` is none of the texts that the model was trained with: {known}. Correct it, or leave the row out"
    )]
    Category { row: usize, column: String, seen: String, known: String },
    #[error(
        "row {row}, `{column}`: `{seen}` is not a finite number, and the model was trained with numbers there. Correct it, or leave the row out"
    )]
    Number { row: usize, column: String, seen: String },
    #[error("input `{input}` takes {spec}, and a row of `{column}` has shape {seen:?}{fix}")]
    Shape { input: String, spec: String, column: String, seen: Vec<usize>, fix: String },
    #[error(
        "`{column}` is UINT8, and input `{input}` takes {spec}: say what to divide the bytes by (`--divide 255` for 0 to 1, `--divide 1` to \
         leave them)"
    )]
    Scale { input: String, spec: String, column: String },
    #[error(
        "`--divide`, `--mean` and `--deviation` are for a model that takes fractions, and input `{input}` takes {spec}: leave them out: \
         the model takes the bytes and prepares them itself"
    )]
    Bytes { input: String, spec: String },
    #[error("input `{input}` takes {spec}, and `{column}` is {seen}: {fix}")]
    Type { input: String, spec: String, column: String, seen: DataType, fix: &'static str },
    #[error("row {row}, `{column}`: input `{input}` takes {spec}, which cannot hold {value}")]
    Value { input: String, spec: String, column: String, row: usize, value: f64 },
    #[error(
        "`--divide` and `--deviation` must not be 0, and `--mean` and `--deviation` need one number, or one for each of the {channels} channels"
    )]
    Preparation { channels: usize },
    #[error(
        "the inputs take {first} and {second} rows at once: export the model with an open first dimension"
    )]
    Batches { first: usize, second: usize },
    #[error(
        "the model takes {batch} rows at once, which would be more than {BATCH_BYTES_MAX} bytes: export it with an open first dimension"
    )]
    Batch { batch: usize },
}

/// Most bytes of the inputs of a model that takes a fixed number of rows, when the last row is repeated to fill it up.
const BATCH_BYTES_MAX: usize = 256 << 20;

/// Bytes of a text that is repeated: its length and its place.
const TEXT_BYTES: usize = 16;

/// A data set bound to a model's inputs.
#[derive(Debug)]
pub struct Feed<'d> {
    data: &'d DataSet,
    inputs: Vec<Input<'d>>,
    /// Rows that the model takes at once, if it takes only that many.
    batch: Option<usize>,
    /// Whether no name says which column comes first.
    is_by_place: bool,
}

#[derive(Debug)]
struct Input<'d> {
    spec: TensorSpec,
    columns: Vec<Cow<'d, Column>>,
    /// The shape of a row as the model takes it.
    shape: Vec<usize>,
    turn: Turn,
    preparation: Option<Preparation>,
    repeat: bool,
}

/// Whether colours change their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    None,
    /// Height, width, channels become channels, height, width.
    First,
    /// The other way round.
    Last,
}

impl<'d> Feed<'d> {
    /// Binds a data set to the required inputs of a model that does not say which columns it was trained with.
    ///
    /// # Errors
    /// [`FeedError`] if types or shapes do not fit. Values are checked when rows are computed.
    pub fn new(
        signature: &ModelSignature,
        data: &'d DataSet,
        preparation: &Preparation,
    ) -> Result<Self, FeedError> {
        Self::of_trained(signature, &[], data, preparation)
    }

    /// The same for a model that says which columns it was trained with: a table's columns are found by name, and texts become the places of
    /// their categories. Then texts are checked here, too.
    ///
    /// # Errors
    /// [`FeedError`].
    pub fn of_trained(
        signature: &ModelSignature,
        trained: &[ToldColumn],
        data: &'d DataSet,
        preparation: &Preparation,
    ) -> Result<Self, FeedError> {
        let required: Vec<&TensorSpec> = signature.required().collect();
        let mut inputs = Vec::new();
        let mut is_by_place = false;
        for spec in &required {
            let is_only = required.len() == 1;
            let is_trained = !trained.is_empty() && is_only && takes(spec, trained);
            let columns = if is_trained && is_table_of(trained, spec, data) {
                chosen(trained, data)?
            } else {
                let columns = columns(spec, is_only, data)?;
                is_by_place |= columns.len() > 1;
                columns.into_iter().map(Cow::Borrowed).collect()
            };
            inputs.push(Input::new(spec, columns, preparation)?);
        }
        let is_unused = inputs.iter().all(|input| input.preparation.is_none());
        if is_unused && preparation.scales() {
            let takes_bytes = |spec: &&&TensorSpec| spec.data_type == DataType::U8;
            if let Some(spec) = required.iter().find(takes_bytes) {
                let (input, spec) = (spec.name.clone(), spec.to_string());
                return Err(FeedError::Bytes { input, spec });
            }
        }
        let mut batch = None;
        for fixed in inputs.iter().filter_map(Input::batch) {
            match batch.replace(fixed) {
                Some(first) if first != fixed => {
                    return Err(FeedError::Batches { first, second: fixed });
                }
                _ => {}
            }
        }
        if let Some(batch) = batch {
            let row = inputs.iter().map(Input::row_bytes).fold(0_usize, usize::saturating_add);
            if batch.saturating_mul(row) > BATCH_BYTES_MAX {
                return Err(FeedError::Batch { batch });
            }
        }
        Ok(Self { data, inputs, batch, is_by_place })
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.data.rows()
    }

    /// Rows that the model takes at once, if its first dimension is fixed.
    pub fn batch(&self) -> Option<usize> {
        self.batch
    }

    /// That a table's columns were taken as they stand, if so: in another order they give other answers.
    pub fn note(&self) -> Option<String> {
        let columns = self.data.columns().iter().map(|column| excerpt(&column.name));
        self.is_by_place
            .then(|| format!("columns were taken in the order of the file: {}", listed(columns)))
    }

    /// The rows' attention mask, if they have one.
    pub fn mask(&self) -> Option<Vec<f64>> {
        self.data.column(ATTENTION_MASK)?.tensor.numbers()
    }

    /// The inputs of some rows. If the model takes a fixed number of them, the last row is repeated to fill it up.
    ///
    /// # Errors
    /// [`FeedError::Value`].
    pub fn inputs(&self, rows: Range<usize>) -> Result<Vec<(String, Tensor)>, FeedError> {
        let one = |input: &Input<'_>| {
            let tensor = input.rows(self.data, rows.clone(), self.batch)?;
            Ok((input.spec.name.clone(), tensor))
        };
        self.inputs.iter().map(one).collect()
    }
}

/// Whether an input is a row of these columns.
fn takes(spec: &TensorSpec, trained: &[ToldColumn]) -> bool {
    let shape = spec.shape.as_deref();
    spec.data_type.is_float()
        && matches!(shape, Some([_, width]) if width.is_none_or(|width| width == trained.len()))
}

/// Whether the data are a table, and not rows that are encoded already: one array, or one with the input's name.
fn is_table_of(trained: &[ToldColumn], spec: &TensorSpec, data: &DataSet) -> bool {
    let is_rows = |column: &Column| !column.row_shape().is_empty();
    let is_column = trained.iter().any(|column| column.name == spec.name);
    match (data.column(&spec.name), data.columns()) {
        (Some(named), _) => is_column && !is_rows(named),
        (None, [one]) => !is_rows(one),
        (None, _) => true,
    }
}

/// The columns of an input.
fn columns<'d>(
    spec: &TensorSpec,
    is_only: bool,
    data: &'d DataSet,
) -> Result<Vec<&'d Column>, FeedError> {
    if let Some(column) = data.column(&spec.name) {
        return Ok(vec![column]);
    }
    let all: Vec<&Column> = data.columns().iter().collect();
    let is_table = all.iter().all(|column| {
        column.row_shape().is_empty() && column.tensor.data_type() != DataType::Bytes
    });
    if is_only && (all.len() == 1 || is_table) {
        return Ok(all);
    }
    let has: Vec<String> = all
        .iter()
        .take(NAMES_SHOWN)
        .map(|column| {
            let (ty, shape) = (column.tensor.data_type(), column.row_shape());
            format!("`{}` ({ty}, a row {shape:?})", column.name)
        })
        .collect();
    let (input, spec) = (spec.name.clone(), spec.to_string());
    Err(FeedError::Missing { input, spec, has: has.join(", ") })
}

impl<'d> Input<'d> {
    fn new(
        spec: &TensorSpec,
        columns: Vec<Cow<'d, Column>>,
        preparation: &Preparation,
    ) -> Result<Self, FeedError> {
        let first = columns[0].clone();
        let own = match columns.as_slice() {
            [one] => one.row_shape().to_vec(),
            several => vec![several.len()],
        };
        let (shape, turn, repeat) =
            fit(spec, &own, preparation).ok_or_else(|| FeedError::Shape {
                input: spec.name.clone(),
                spec: spec.to_string(),
                column: names(&columns),
                seen: own.clone(),
                fix: fix(spec, &own),
            })?;
        let seen = first.tensor.data_type();
        let error = |fix| FeedError::Type {
            input: spec.name.clone(),
            spec: spec.to_string(),
            column: first.name.clone(),
            seen,
            fix,
        };
        match (seen == DataType::Bytes, spec.data_type == DataType::Bytes) {
            (true, false) => {
                return Err(error("encode the texts as the model was trained with them"));
            }
            (false, true) => return Err(error("name the column as text")),
            _ => {}
        }
        let is_picture = seen == DataType::U8 && own.len() >= 2;
        let preparation = match preparation.divide {
            _ if !is_picture || !spec.data_type.is_float() => None,
            Some(_) => Some(preparation.clone()),
            None => {
                return Err(FeedError::Scale {
                    input: spec.name.clone(),
                    spec: spec.to_string(),
                    column: first.name.clone(),
                });
            }
        };
        if let Some(preparation) = &preparation {
            check(preparation, channels(&shape, &own, turn, repeat))?;
        }
        Ok(Self { spec: spec.clone(), columns, shape, turn, preparation, repeat })
    }

    /// How many bytes a row takes, as the model takes it.
    fn row_bytes(&self) -> usize {
        let each = self.spec.data_type.size().unwrap_or(TEXT_BYTES);
        self.shape.iter().fold(each, |bytes, size| bytes.saturating_mul(*size))
    }

    /// The number of rows that the input takes at once, if it is fixed.
    fn batch(&self) -> Option<usize> {
        self.spec.shape.as_ref().and_then(|sizes| *sizes.first()?)
    }

    fn rows(
        &self,
        data: &DataSet,
        rows: Range<usize>,
        batch: Option<usize>,
    ) -> Result<Tensor, FeedError> {
        let tensor = match self.columns.as_slice() {
            [one] => data.slice(one, rows.clone()),
            several => self.beside(several, data, rows.clone())?,
        };
        let count = tensor.shape()[0];
        let mut shape = vec![count];
        shape.extend_from_slice(&self.shape);
        let is_same = tensor.data_type() == self.spec.data_type && self.turn == Turn::None;
        let is_plain = is_same && self.preparation.is_none() && !self.repeat;
        let data = if is_plain {
            tensor.data().clone()
        } else {
            let values = tensor.numbers().unwrap_or_default();
            let values = self.prepared(values, count);
            self.typed(&values, count, rows.start)?
        };
        let tensor = Tensor::new(self.spec.data_type, shape, data);
        let tensor = tensor.expect("invariant: the shape was fitted to the row");
        Ok(match batch {
            Some(batch) if batch > count => filled(&tensor, batch),
            _ => tensor,
        })
    }

    /// Columns of numbers side by side.
    fn beside(
        &self,
        columns: &[Cow<'_, Column>],
        data: &DataSet,
        rows: Range<usize>,
    ) -> Result<Tensor, FeedError> {
        let sides: Vec<Vec<f64>> = columns
            .iter()
            .map(|column| data.slice(column, rows.clone()).numbers().unwrap_or_default())
            .collect();
        let count = sides[0].len();
        let values: Vec<f64> =
            (0..count).flat_map(|row| sides.iter().map(move |side| side[row])).collect();
        let data = self.typed(&values, count, rows.start)?;
        let tensor = Tensor::new(self.spec.data_type, vec![count, columns.len()], data);
        Ok(tensor.expect("invariant: a value for each column and row"))
    }

    fn typed(&self, values: &[f64], rows: usize, first: usize) -> Result<Bytes, FeedError> {
        elements(values, self.spec.data_type).map(Bytes::from).map_err(|value| {
            let same = |other: &f64| other.to_bits() == value.to_bits();
            let place = values.iter().position(same).unwrap_or_default();
            let width = (values.len() / rows.max(1)).max(1);
            let column = self.columns.get(place % width).filter(|_| self.columns.len() > 1);
            FeedError::Value {
                input: self.spec.name.clone(),
                spec: self.spec.to_string(),
                column: column.unwrap_or(&self.columns[0]).name.clone(),
                row: first + place / width + 1,
                value,
            }
        })
    }

    /// Elements of pictures as the model takes them: scaled, channels repeated and in their place.
    fn prepared(&self, mut values: Vec<f64>, rows: usize) -> Vec<f64> {
        let width = values.len() / rows.max(1);
        if self.repeat {
            // The model's colours come first or last; grey pictures are the same in both.
            let comes_first = self.shape.first() == Some(&3);
            values = values
                .chunks(width.max(1))
                .flat_map(|row| match comes_first {
                    true => row.repeat(3),
                    false => row.iter().flat_map(|value| [*value; 3]).collect(),
                })
                .collect();
        }
        if self.turn != Turn::None {
            values = self.turned(&values, width.max(1));
        }
        if let Some(preparation) = &self.preparation {
            let (channels, each) = planes(&self.shape);
            for (place, value) in values.iter_mut().enumerate() {
                let channel = place / each % channels;
                let of = |list: &[f64], otherwise: f64| {
                    list.get(channel).or(list.first()).copied().unwrap_or(otherwise)
                };
                let divided = *value / preparation.divide.unwrap_or(1.0);
                *value = (divided - of(&preparation.mean, 0.0)) / of(&preparation.deviation, 1.0);
            }
        }
        values
    }

    fn turned(&self, values: &[f64], width: usize) -> Vec<f64> {
        let [a, b, c] = *self.shape.as_slice() else { return values.to_vec() };
        let mut out = Vec::with_capacity(values.len());
        for row in values.chunks(width) {
            for (x, y, z) in
                (0..a).flat_map(|x| (0..b).flat_map(move |y| (0..c).map(move |z| (x, y, z))))
            {
                out.push(match self.turn {
                    Turn::First => row[(y * c + z) * a + x],
                    _ => row[(z * a + x) * b + y],
                });
            }
        }
        out
    }
}

/// Repeats the last row until there are `batch`.
fn filled(tensor: &Tensor, batch: usize) -> Tensor {
    let count = tensor.shape()[0];
    let mut shape = tensor.shape().to_vec();
    shape[0] = batch;
    let data: Bytes = if tensor.data_type() == DataType::Bytes {
        let strings: Vec<&[u8]> = tensor.strings().collect();
        let each = strings.len() / count.max(1);
        let last = strings[strings.len() - each..].iter().cycle().take(each * (batch - count));
        let all = strings.iter().chain(last).copied();
        hospes_core::tensor::pack_strings(all).expect("invariant: they were packed before")
    } else {
        let width = tensor.data().len() / count.max(1);
        let last = &tensor.data()[(count - 1) * width..];
        [tensor.data().as_ref(), &last.repeat(batch - count)].concat().into()
    };
    Tensor::new(tensor.data_type(), shape, data).expect("invariant: whole rows")
}

/// The shape of a row as the model takes it, and what becomes of the colours; `None` if it does not fit.
fn fit(
    spec: &TensorSpec,
    own: &[usize],
    preparation: &Preparation,
) -> Option<(Vec<usize>, Turn, bool)> {
    let Some(sizes) = &spec.shape else { return Some((own.to_vec(), Turn::None, false)) };
    let sizes = sizes.get(1..)?;
    let fits = |shape: &[usize]| {
        let same =
            |(known, size): (&Option<usize>, &usize)| known.is_none_or(|known| known == *size);
        shape.len() == sizes.len() && sizes.iter().zip(shape).all(same)
    };
    if fits(own) {
        return Some((own.to_vec(), Turn::None, false));
    }
    if let [height, width, channels] = *own {
        let turned = vec![channels, height, width];
        if matches!(channels, 1 | 3 | 4) && fits(&turned) {
            return Some((turned, if channels == 1 { Turn::None } else { Turn::First }, false));
        }
    }
    if let [channels @ (3 | 4), height, width] = *own {
        let turned = vec![height, width, channels];
        if fits(&turned) {
            return Some((turned, Turn::Last, false));
        }
    }
    // A grey picture for three colours.
    let grey: Vec<usize> = own.iter().copied().filter(|size| *size != 1).collect();
    if let ([height, width], true) = (grey.as_slice(), preparation.grey_to_rgb) {
        let repeated = [vec![3, *height, *width], vec![*height, *width, 3]];
        if let Some(shape) = repeated.into_iter().find(|shape| fits(shape)) {
            return Some((shape, Turn::None, true));
        }
    }
    // Dimensions of one may come or go.
    let mut rest = grey.iter();
    let shape: Option<Vec<usize>> = sizes
        .iter()
        .map(|size| match size {
            Some(1) => Some(1),
            _ => rest.next().copied(),
        })
        .collect();
    let shape = shape.filter(|_| rest.next().is_none())?;
    fits(&shape).then_some((shape, Turn::None, false))
}

/// What to do about a shape that does not fit.
fn fix(spec: &TensorSpec, own: &[usize]) -> String {
    let wanted: Vec<Option<usize>> = spec.shape.iter().flatten().skip(1).copied().collect();
    let bare: Vec<usize> = own.iter().copied().filter(|size| *size != 1).collect();
    let colours = wanted.contains(&Some(3)) && wanted.len() == 3;
    if colours && bare.len() == 2 {
        let sizes: Vec<usize> =
            wanted.iter().flatten().copied().filter(|size| *size != 3).collect();
        if sizes == bare || sizes.is_empty() {
            return ". Repeat the grey channel with `--grey-to-rgb`".into();
        }
        return format!(
            ". Pad or scale the pictures to {sizes:?} and repeat the channel with `--grey-to-rgb`"
        );
    }
    if bare.len() == 2 || bare.len() == 3 && wanted.len() == 3 {
        return ". Scale or pad the pictures to its size".into();
    }
    if let (&[Some(want)], &[seen]) = (wanted.as_slice(), own) {
        return if seen > want {
            ". Remove the columns that it was not trained with, or name the label's column".into()
        } else {
            format!(". Give all {want} columns, in the order of training")
        };
    }
    if wanted.is_empty() {
        return ". Export the model with a first dimension for rows".into();
    }
    String::new()
}

fn names(columns: &[Cow<'_, Column>]) -> String {
    let names: Vec<&str> = columns.iter().take(8).map(|column| column.name.as_str()).collect();
    names.join(", ")
}

/// The channels of a picture.
fn channels(shape: &[usize], own: &[usize], turn: Turn, repeat: bool) -> usize {
    match (turn, repeat) {
        (Turn::None, false) if own.len() == 2 => 1,
        _ => planes(shape).0,
    }
}

/// How many channels a row's shape has, and how many elements lie between one channel's and the next's.
fn planes(shape: &[usize]) -> (usize, usize) {
    match *shape {
        [channels @ (1 | 3 | 4), height, width] => (channels, (height * width).max(1)),
        [_, _, channels] => (channels.max(1), 1),
        _ => (1, 1),
    }
}

fn check(preparation: &Preparation, channels: usize) -> Result<(), FeedError> {
    let counts = |list: &[f64]| list.len() <= 1 || list.len() == channels;
    let is_divisor = |value: &f64| *value != 0.0 && value.is_finite();
    let sound = preparation.divide.iter().all(is_divisor)
        && preparation.deviation.iter().all(is_divisor)
        && counts(&preparation.mean)
        && counts(&preparation.deviation);
    if sound { Ok(()) } else { Err(FeedError::Preparation { channels }) }
}

#[cfg(test)]
mod tests;
