//! Data sets on disk, read as rows.
//!
//! [`read()`] takes a file or a folder in any [`Format`] and returns a [`DataSet`]: named columns whose first dimension is the rows, labels if
//! there are any, and the SHA-256 of every byte that was read. It reads everything before anybody works with a part of it, so that a fault in
//! the last row is named before the first hour of work. It does not know models, and it has no network: licences and paths are left to callers.

mod cells;
pub mod croissant;
mod csv;
mod fault;
pub mod idx;
mod labels;
mod limits;
mod numpy;
pub mod parquet;
mod pictures;
mod read;
mod set;

pub use fault::{DataError, Fault, Faults, NAMES_SHOWN, Place, Problem, excerpt, listed};
pub use labels::{Classes, LabelKind, Labels};
pub use limits::{
    ARRAYS_MAX, CELL_BYTES_MAX, CELLS_MAX, CLASSES_MAX, COLUMN_CHUNKS_MAX, COLUMNS_MAX,
    DATA_BYTES_MAX, FAULTS_MAX, FILE_BYTES_MAX, FOOTER_BYTES_MAX, KEY_VALUES_MAX, NAME_BYTES_MAX,
    PAGE_BYTES_MAX, PICTURE_BYTES_MAX, PICTURE_SIDE_MAX, PICTURES_MAX, ROW_BYTES_MAX,
    ROW_GROUPS_MAX, ROWS_MAX, SCHEMA_ELEMENTS_MAX, SCHEMA_LEVELS_MAX, TEXT_BYTES_MAX,
};
pub use numpy::write_npz;
pub use read::{Format, Options, PictureOptions, arrays, read};
pub use set::{Column, DataSet, Source};
