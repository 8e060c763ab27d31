//! What is wrong with a data set, and where: the file, and the row, line, column or array in it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use hospes_core::tensor::TensorError;
use hospes_core::tensor::npy::NpyError;

use crate::limits::FAULTS_MAX;

/// Why a data set could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("cannot read `{}`", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "`{}` is in no format that is read here: give an `.npy`, `.npz`, `.csv`, `.tsv`, `.parquet` or `-ubyte` (IDX) file, a folder with a \
         subfolder of PNG or JPEG pictures for each class, or a folder with one pair of IDX files",
        path.display()
    )]
    Unknown { path: PathBuf },
    #[error("{0}")]
    Faulty(Faults),
}

impl DataError {
    /// Whether one of the faults listed is of this kind. Commands with an option for it say so.
    pub fn has(&self, kind: impl Fn(&Problem) -> bool) -> bool {
        match self {
            Self::Faulty(faults) => faults.listed.iter().any(|fault| kind(&fault.problem)),
            Self::Open { .. } | Self::Unknown { .. } => false,
        }
    }

    pub(crate) fn open(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Open { path, source }
    }

    /// One fault.
    pub(crate) fn one(file: &Path, at: Place, problem: impl Into<Problem>) -> Self {
        let mut faults = Faults::default();
        faults.add(file, at, problem);
        Self::Faulty(faults)
    }
}

/// The faults of a data set: the first [`FAULTS_MAX`], and how many there are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Faults {
    listed: Vec<Fault>,
    count: usize,
}

impl Faults {
    /// The first ones, in the order of the data.
    pub fn listed(&self) -> &[Fault] {
        &self.listed
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn add(&mut self, file: &Path, at: Place, problem: impl Into<Problem>) {
        self.count += 1;
        if self.listed.len() < FAULTS_MAX {
            self.listed.push(Fault { file: file.to_owned(), at, problem: problem.into() });
        }
    }

    pub(crate) fn check(self) -> Result<(), DataError> {
        if self.count == 0 { Ok(()) } else { Err(DataError::Faulty(self)) }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, fault) in self.listed.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        match self.count - self.listed.len() {
            0 => Ok(()),
            more => write!(f, "\nand {more} more faults"),
        }
    }
}

/// A fault, and where it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    pub file: PathBuf,
    pub at: Place,
    pub problem: Problem,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`{}: {}", self.file.display(), self.at, self.problem)
    }
}

/// A place in a file. Rows and lines are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    File,
    Array(String),
    Row { row: usize, column: String },
    Line { line: u64, column: Option<String> },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => Ok(()),
            Self::Array(name) => write!(f, ", `{name}`"),
            Self::Row { row, column } => write!(f, ", row {row}, `{column}`"),
            Self::Line { line, column: Some(column) } => write!(f, ", line {line}, `{column}`"),
            Self::Line { line, column: None } => write!(f, ", line {line}"),
        }
    }
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Problem {
    #[error("it has {bytes} bytes, more than the {max} allowed: give a part of it")]
    Large { bytes: u64, max: u64 },
    #[error("the data needs more than the {max} bytes of memory allowed: give a part of the rows")]
    Memory { max: u64 },
    #[error("it has more than the {max} {what} allowed: give a part of them")]
    Many { what: &'static str, max: usize },
    #[error("it has no rows")]
    NoRows,
    #[error("it has no column besides the labels")]
    NoColumns,
    #[error("it has {seen} rows, and `{other}` has {expected}: every column needs the same number")]
    Rows { seen: usize, other: String, expected: usize },
    #[error("it has no dimension for rows: its shape is []; add one with `numpy.expand_dims`")]
    NoDimension,
    #[error("it cannot be read as NumPy's format: {0}")]
    Numpy(NpyError),
    #[error("{0}")]
    Tensor(#[from] TensorError),
    #[error("it is not an archive as `numpy.savez` writes it: {0}")]
    Archive(String),
    #[error("it appears twice; rename one of them")]
    Twice,
    #[error(
        "column {number} has no name: give every column one (pandas writes its index without a name: use `to_csv(…, index=False)`)"
    )]
    NoName { number: usize },
    #[error("it has {seen} cells, and the header has {expected}: quote cells that hold a comma")]
    Cells { seen: usize, expected: usize },
    #[error("it is not UTF-8: save the file as UTF-8")]
    NotUtf8,
    #[error("`{seen}` is not a finite number, but most of the column are numbers: correct it")]
    NotNumber { seen: String },
    #[error(
        "a cell has {bytes} bytes, more than the {max} allowed: shorten it, or leave the column out"
    )]
    Cell { bytes: usize, max: usize },
    #[error(
        "the row has more than the {max} bytes allowed: close a quotation mark that is open, or leave out columns"
    )]
    Row { max: usize },
    #[error(
        "its texts have more than the {max} bytes allowed: leave out columns of long texts, or give a part of the rows"
    )]
    Text { max: u64 },
    #[error("a name has {bytes} bytes, more than the {max} allowed: rename the column or array")]
    Name { bytes: usize, max: usize },
    #[error(
        "a page of it has {bytes} bytes unpacked, more than the {max} allowed: write it with smaller pages (pyarrow: `data_page_size`)"
    )]
    Page { bytes: u64, max: u64 },
    #[error(
        "its footer has {seen} {what}, more than the {max} allowed: write it with fewer or flat columns, larger row groups (pyarrow: \
         `row_group_size`), and less metadata"
    )]
    Footer { what: &'static str, seen: u64, max: u64 },
    #[error("there is no column `{name}` for the labels: it has {has}")]
    NoLabel { name: String, has: String },
    #[error("the label is missing: remove the row, or give the label")]
    LabelMissing,
    #[error(
        "the labels have shape {shape:?} instead of one label per row (for one-hot rows, take `numpy.argmax(y, axis=1)`)"
    )]
    LabelShape { shape: Vec<usize> },
    #[error("a label cannot be {what}: give class numbers, names or numbers")]
    LabelType { what: String },
    #[error("`{seen}` is not a class: give whole numbers from 0, or text")]
    LabelClass { seen: String },
    #[error(
        "there are more than {max} classes: read the labels as numbers, or name another column"
    )]
    Classes { max: usize },
    #[error("`{seen}` is not a number, but the labels must be numbers: correct it")]
    LabelNumber { seen: String },
    #[error("it cannot be read as CSV: {0}")]
    Csv(String),
    #[error("it cannot be read as Parquet: {0}")]
    Parquet(String),
    #[error("a column of {kind} cannot be read: write numbers, text or booleans")]
    ColumnKind { kind: String },
    #[error("it is not an IDX file: {0}")]
    Idx(#[from] crate::idx::IdxError),
    #[error("it cannot be decompressed: {0}")]
    Gzip(String),
    #[error("the file with its labels is missing: expected `{expected}`, also with `.gz`")]
    NoLabelFile { expected: String },
    #[error("the folder has {count} files with pictures: name one, such as `{example}`")]
    ManyIdx { count: usize, example: String },
    #[error("{classes} of its subfolders hold pictures: give at least 2, one for each class")]
    FewClasses { classes: usize },
    #[error("it is not a PNG or JPEG file: move it out of the folder, or convert it")]
    NotPicture,
    #[error("the picture cannot be read: {0}")]
    Picture(String),
    #[error(
        "the picture is {width} x {height} pixels, and the first is {first_width} x {first_height}: scale the pictures to one size"
    )]
    PictureSize { width: u32, height: u32, first_width: u32, first_height: u32 },
    #[error("its SHA-256 is `{seen}`, but `croissant.json` beside it says `{expected}`")]
    Digest { seen: String, expected: String },
    #[error("it is not a Croissant description: {0}")]
    Croissant(String),
}

impl From<NpyError> for Problem {
    fn from(error: NpyError) -> Self {
        Self::Numpy(error)
    }
}

/// How many characters of foreign text a message shows: enough to find it in the file, and half of a terminal's line.
const EXCERPT_CHARS: usize = 40;

/// How many names a message lists. The others are counted.
pub const NAMES_SHOWN: usize = 20;

/// The beginning of foreign text, for a message.
pub fn excerpt(text: &str) -> String {
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut excerpt: String = chars.by_ref().take(EXCERPT_CHARS).collect();
    if chars.next().is_some() {
        excerpt.push('…');
    }
    excerpt
}

/// The first names of a list, and how many more there are, for a message.
pub fn listed<N: AsRef<str>>(names: impl ExactSizeIterator<Item = N>) -> String {
    let more = names.len().saturating_sub(NAMES_SHOWN);
    let shown = names.take(NAMES_SHOWN).map(|name| format!("`{}`", name.as_ref()));
    let shown = shown.collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}
