//! Rows as the trainer has them: pictures stay bytes until a step needs them.

use std::path::Path;

use hospes_core::tensor::{DataType, Tensor};
use hospes_data::{Classes, DataError, DataSet, LabelKind, Labels, Options};
use hospes_training::Native;
use hospes_training::native::{Predict, Task};

/// Rows, each with what is to be learnt of it.
#[derive(Debug, Clone)]
pub struct Rows {
    pub inputs: Inputs,
    pub wanted: Wanted,
}

/// What the model is given.
#[derive(Debug, Clone)]
pub enum Inputs {
    /// Pictures, one after another: rows of pixels from the top, the channels of a pixel side by side.
    Pictures { shape: Picture, pixels: bytes::Bytes },
    /// Cells, row by row. A text is the place of its category.
    Cells { columns: Vec<Column>, cells: Vec<f32> },
}

/// The size of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picture {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    /// Whether the data name the channels: `[height, width, channels]`, not `[height, width]`.
    pub names_channels: bool,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// The texts that it may have, sorted; none for numbers.
    pub categories: Vec<String>,
}

/// What is to be learnt.
#[derive(Debug, Clone)]
pub enum Wanted {
    Classes { of: Vec<u32>, names: Vec<String> },
    Numbers(Vec<f32>),
}

/// Why data cannot be learnt from.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    #[error(transparent)]
    Data(#[from] DataError),
    #[error("data set `{set}` has no labels: {fix}")]
    NoLabels { set: String, fix: &'static str },
    #[error(
        "data set `{set}` has numbers as labels, but pictures need classes: use a folder for each class, or an IDX file of labels"
    )]
    Numbers { set: String },
    #[error(
        "data set `{set}` is not of pictures: its rows are {found}; use `task = \"table\"`, or a folder with a subfolder for each class"
    )]
    NotPictures { set: String, found: String },
    #[error(
        "column `{column}` of data set `{set}` does not have single numbers or texts: give one value per cell"
    )]
    NotCells { set: String, column: String },
    #[error(
        "column `{column}` of data set `{set}` has empty cells ({count}, the first in row {row}): fill them in, or leave the column out \
         with ignore = [\"{column}\"]"
    )]
    Missing { set: String, column: String, count: usize, row: usize },
    #[error(
        "column `{column}` of data set `{set}` has {found} different texts, the limit is {CATEGORIES_MAX}: if they only \
         name the rows, leave it out with ignore = [\"{column}\"]"
    )]
    Categories { set: String, column: String, found: usize },
    #[error(
        "data set `{set}` has no column besides the one that is predicted: add columns to learn from"
    )]
    NoColumns { set: String },
    #[error(
        "`ignore` names column `{column}`, which data set `{set}` does not have: correct the name"
    )]
    Ignored { set: String, column: String },
    #[error("data set `{set}` is not like `train`: {difference}")]
    Differs { set: String, difference: String },
    #[error(
        "all rows of data set `train` have the same {what}, so there is nothing to learn: check the labels"
    )]
    Same { what: &'static str },
    #[error(
        "data set `train` has {rows} rows, too few to hold some out for early stopping: leave out `early_stop`, or add rows"
    )]
    Few { rows: usize },
}

/// Most categories of a column.
const CATEGORIES_MAX: usize = 1_000;

/// More whole numbers than these are rarely classes.
const CLASSES_USUAL: usize = 20;

/// Whether a class has a whole number as its name.
fn is_number(name: &str) -> bool {
    name.parse::<i64>().is_ok()
}

impl Rows {
    /// Reads a data set. One that is not `train` must be `like` it.
    ///
    /// # Errors
    /// [`RowsError`].
    pub fn read(
        set: &str,
        path: &Path,
        native: &Native,
        like: Option<&Self>,
    ) -> Result<Self, RowsError> {
        let labels = match like.map(|rows| &rows.wanted) {
            Some(Wanted::Classes { .. }) => LabelKind::Classes,
            Some(Wanted::Numbers(_)) => LabelKind::Numbers,
            None if native.task == Task::Image => LabelKind::Classes,
            None => native.predict.map_or(LabelKind::Auto, |predict| match predict {
                Predict::Class => LabelKind::Classes,
                Predict::Number => LabelKind::Numbers,
            }),
        };
        let text: Vec<String> = match like.map(|rows| &rows.inputs) {
            Some(Inputs::Cells { columns, .. }) => {
                let texts = columns.iter().filter(|column| !column.categories.is_empty());
                texts.map(|column| column.name.clone()).collect()
            }
            _ => Vec::new(),
        };
        let mut options =
            Options { label: native.target.clone(), labels, text, ..Options::default() };
        if let Some(Inputs::Pictures { shape, .. }) = like.map(|rows| &rows.inputs) {
            options.pictures.channels = u8::try_from(shape.channels).ok();
        }
        let read = hospes_data::read(path, &options)?;
        let rows = Self {
            inputs: match native.task {
                Task::Image => pictures(set, &read)?,
                // Texts have become columns of numbers: see `hospes train`.
                Task::Table | Task::Text => cells(set, &read, native, like)?,
            },
            wanted: wanted(set, &read, native)?,
        };
        match like {
            Some(like) => rows.check_like(set, native, like),
            None => rows.check_learnable(),
        }
    }

    pub fn count(&self) -> usize {
        match &self.wanted {
            Wanted::Classes { of, .. } => of.len(),
            Wanted::Numbers(numbers) => numbers.len(),
        }
    }

    /// What is said if the target looks like a number, but is read as classes.
    pub fn doubt(&self, native: &Native) -> Option<String> {
        let Wanted::Classes { names, .. } = &self.wanted else { return None };
        let target = native.target.as_ref().filter(|_| native.predict.is_none())?;
        let is_doubtful = names.len() > CLASSES_USUAL && names.iter().all(|name| is_number(name));
        is_doubtful.then(|| {
            format!(
                "`{target}` is read as {} classes: if it is a number, write predict = \"number\"",
                names.len()
            )
        })
    }

    /// How many numbers the network answers.
    pub fn outputs(&self) -> usize {
        match &self.wanted {
            Wanted::Classes { names, .. } => names.len(),
            Wanted::Numbers(_) => 1,
        }
    }

    /// Adds all rows to a digest.
    pub fn digest(&self, hasher: hospes_core::id::Hasher) -> hospes_core::id::Hasher {
        let hasher = match &self.inputs {
            Inputs::Pictures { pixels, .. } => hasher.with(pixels),
            Inputs::Cells { cells, .. } => hasher.with(bytemuck::cast_slice(cells)),
        };
        match &self.wanted {
            Wanted::Classes { of, .. } => hasher.with(bytemuck::cast_slice(of)),
            Wanted::Numbers(numbers) => hasher.with(bytemuck::cast_slice(numbers)),
        }
    }

    /// Some rows as the served model gets them.
    pub fn tensor(&self, rows: std::ops::Range<usize>) -> Tensor {
        let count = rows.len();
        let (kind, shape, data) = match &self.inputs {
            Inputs::Pictures { shape, pixels } => {
                let each = shape.pixels();
                let mut dims = vec![count, shape.height, shape.width];
                dims.extend(shape.names_channels.then_some(shape.channels));
                (DataType::U8, dims, pixels.slice(rows.start * each..rows.end * each))
            }
            Inputs::Cells { columns, cells } => {
                let each = columns.len();
                let cells = cells[rows.start * each..rows.end * each].iter();
                let bytes: Vec<u8> = cells.flat_map(|cell| cell.to_le_bytes()).collect();
                (DataType::F32, vec![count, each], bytes.into())
            }
        };
        Tensor::new(kind, shape, data).expect("invariant: as many bytes as its shape says")
    }

    fn check_learnable(self) -> Result<Self, RowsError> {
        match &self.wanted {
            Wanted::Classes { names, .. } if names.len() < 2 => {
                Err(RowsError::Same { what: "class" })
            }
            Wanted::Numbers(numbers) if numbers.iter().all(|number| *number == numbers[0]) => {
                Err(RowsError::Same { what: "number" })
            }
            Wanted::Classes { .. } | Wanted::Numbers(_) => Ok(self),
        }
    }

    /// Data of another shape or other classes would give figures about another model.
    fn check_like(mut self, set: &str, native: &Native, like: &Self) -> Result<Self, RowsError> {
        let differs = |difference: String| RowsError::Differs { set: set.to_owned(), difference };
        if let (Inputs::Pictures { shape, .. }, Inputs::Pictures { shape: other, .. }) =
            (&self.inputs, &like.inputs)
            && shape != other
        {
            return Err(differs(format!(
                "its pictures are {}, those of `train` are {}",
                shape.in_words(),
                other.in_words()
            )));
        }
        if let (Wanted::Classes { of, names }, Wanted::Classes { names: wanted, .. }) =
            (&mut self.wanted, &like.wanted)
        {
            // A class that has no row here still has its number.
            let places: Result<Vec<usize>, &String> = names
                .iter()
                .map(|name| wanted.iter().position(|other| other == name).ok_or(name))
                .collect();
            let places = places.map_err(|name| {
                let fix = match is_number(name) && native.task != Task::Image {
                    true => ": for a target that is a number, write predict = \"number\"",
                    false => "",
                };
                differs(format!("it has class `{name}`, which `train` does not have{fix}"))
            })?;
            for class in of.iter_mut() {
                *class = u32::try_from(places[*class as usize]).expect("invariant: few classes");
            }
            names.clone_from(wanted);
        }
        Ok(self)
    }
}

impl Picture {
    pub fn pixels(&self) -> usize {
        self.height * self.width * self.channels
    }

    fn in_words(self) -> String {
        let Self { height, width, channels, .. } = self;
        format!("{width}x{height} with {channels} channel{}", if channels == 1 { "" } else { "s" })
    }
}

fn pictures(set: &str, read: &DataSet) -> Result<Inputs, RowsError> {
    let refused = |found: String| RowsError::NotPictures { set: set.to_owned(), found };
    let column = match read.columns() {
        [column] => column,
        several => return Err(refused(format!("of {} columns", several.len()))),
    };
    let tensor = &column.tensor;
    let found = || refused(format!("tensors {:?} of {:?}", column.row_shape(), tensor.data_type()));
    let (height, width, channels, names_channels) = match *column.row_shape() {
        [height, width] => (height, width, 1, false),
        [height, width, channels @ (1 | 3)] => (height, width, channels, true),
        _ => return Err(found()),
    };
    if tensor.data_type() != DataType::U8 || height * width == 0 {
        return Err(found());
    }
    let shape = Picture { height, width, channels, names_channels };
    Ok(Inputs::Pictures { shape, pixels: tensor.data().clone() })
}

fn wanted(set: &str, read: &DataSet, native: &Native) -> Result<Wanted, RowsError> {
    let fix = match native.task {
        Task::Image => "put each class's pictures into a folder of its name",
        Task::Table | Task::Text => "name the column that is predicted with `target`",
    };
    match read.labels() {
        None => Err(RowsError::NoLabels { set: set.to_owned(), fix }),
        Some(Labels::Classes(classes)) => Ok(named(&classes.occurring())),
        Some(Labels::Numbers(_)) if native.task == Task::Image => {
            Err(RowsError::Numbers { set: set.to_owned() })
        }
        Some(Labels::Numbers(numbers)) => {
            Ok(Wanted::Numbers(numbers.iter().map(|number| *number as f32).collect()))
        }
    }
}

fn named(classes: &Classes) -> Wanted {
    Wanted::Classes { of: classes.of().to_vec(), names: classes.names().to_vec() }
}

fn cells(
    set: &str,
    read: &DataSet,
    native: &Native,
    like: Option<&Rows>,
) -> Result<Inputs, RowsError> {
    if let Some(column) = native.ignore.iter().find(|name| read.column(name).is_none()) {
        return Err(RowsError::Ignored { set: set.to_owned(), column: column.clone() });
    }
    let used: Vec<_> =
        read.columns().iter().filter(|column| !native.ignore.contains(&column.name)).collect();
    if used.is_empty() {
        return Err(RowsError::NoColumns { set: set.to_owned() });
    }
    let known = match like.map(|rows| &rows.inputs) {
        Some(Inputs::Cells { columns, .. }) => Some(columns),
        _ => None,
    };
    if let Some(known) = known {
        let names = |names: Vec<&String>| {
            names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        };
        let (ours, theirs) = (
            used.iter().map(|column| &column.name).collect::<Vec<_>>(),
            known.iter().map(|column| &column.name).collect::<Vec<_>>(),
        );
        if ours != theirs {
            let difference =
                format!("its columns are {}, those of `train` are {}", names(ours), names(theirs));
            return Err(RowsError::Differs { set: set.to_owned(), difference });
        }
    }
    let (rows, width) = (read.rows(), used.len());
    let mut columns = Vec::with_capacity(width);
    let mut cells = vec![0.0; rows * width];
    for (at, column) in used.into_iter().enumerate() {
        let not_cells = || RowsError::NotCells { set: set.to_owned(), column: column.name.clone() };
        if column.row_shape().iter().product::<usize>() != 1 {
            return Err(not_cells());
        }
        let (categories, values) = match column.tensor.data_type() {
            DataType::Bytes => {
                texts(set, &column.name, &column.tensor, known.map(|known| &known[at]))?
            }
            _ => {
                let numbers = column.tensor.numbers().ok_or_else(not_cells)?;
                (Vec::new(), numbers.into_iter().map(|number| number as f32).collect())
            }
        };
        let missing = values.iter().filter(|value| !value.is_finite()).count();
        if let Some(row) = values.iter().position(|value| !value.is_finite()) {
            let (set, column) = (set.to_owned(), column.name.clone());
            return Err(RowsError::Missing { set, column, count: missing, row: row + 1 });
        }
        for (row, value) in values.into_iter().enumerate() {
            cells[row * width + at] = value;
        }
        columns.push(Column { name: column.name.clone(), categories });
    }
    Ok(Inputs::Cells { columns, cells })
}

/// The categories of a column, and the place of each row's. An empty text is missing.
fn texts(
    set: &str,
    name: &str,
    tensor: &Tensor,
    known: Option<&Column>,
) -> Result<(Vec<String>, Vec<f32>), RowsError> {
    let texts: Vec<String> =
        tensor.strings().map(|text| String::from_utf8_lossy(text).into_owned()).collect();
    let categories = match known {
        Some(known) => known.categories.clone(),
        None => {
            let mut categories = texts.clone();
            categories.sort();
            categories.dedup();
            categories.retain(|text| !text.is_empty());
            categories
        }
    };
    if categories.len() > CATEGORIES_MAX {
        let (set, column) = (set.to_owned(), name.to_owned());
        return Err(RowsError::Categories { set, column, found: categories.len() });
    }
    let mut places = Vec::with_capacity(texts.len());
    for (row, text) in texts.iter().enumerate() {
        match categories.binary_search(text) {
            Ok(place) => places.push(place as f32),
            Err(_) if text.is_empty() => places.push(f32::NAN),
            Err(_) => {
                let difference = format!(
                    "column `{name}` has `{text}` in row {}, which `train` never has",
                    row + 1
                );
                return Err(RowsError::Differs { set: set.to_owned(), difference });
            }
        }
    }
    Ok((categories, places))
}
