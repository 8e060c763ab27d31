//! Finds out what a path holds, and reads it.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use hospes_core::id::Digest;
use hospes_core::tensor::Tensor;

use crate::fault::{DataError, Place, Problem, listed};
use crate::labels::{LabelKind, Labels};
use crate::limits::Bounds;
use crate::set::{Column, DataSet, Source};
use crate::{csv, idx, numpy, parquet, pictures};

/// Names that are taken as the labels' if the caller names none, in this order.
const LABEL_NAMES: [&str; 5] = ["y", "label", "labels", "target", "class"];

/// How the names of IDX files end, before `.gz`.
const IMAGES: &str = "-images-idx3-ubyte";
const LABELS: &str = "-labels-idx1-ubyte";

/// The formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Npy,
    Npz,
    Csv,
    Parquet,
    /// A pair of files, pictures and labels; each may be compressed with gzip.
    Idx,
    /// A folder with a subfolder for each class.
    Pictures,
}

/// How a data set is read.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The format; otherwise the name tells.
    pub format: Option<Format>,
    /// The column or array with the labels. Without it, the first of `y`, `label`, `labels`, `target` and `class` that there is.
    pub label: Option<String>,
    /// What the labels are.
    pub labels: LabelKind,
    /// Whether every column is data, so that none is taken as the labels for its name.
    pub unlabelled: bool,
    /// Columns of a CSV file that are text, whatever they look like.
    pub text: Vec<String>,
    pub pictures: PictureOptions,
}

/// How a folder of pictures is read.
#[derive(Debug, Clone, Default)]
pub struct PictureOptions {
    /// Width and height to which pictures are scaled. Without it, all must have the size of the first.
    pub size: Option<(u32, u32)>,
    /// 1 (grey) or 3 (RGB). Without it, as the first picture.
    pub channels: Option<u8>,
}

/// Reads a data set.
///
/// # Errors
/// [`DataError`], with every fault that was found.
pub fn read(path: &Path, options: &Options) -> Result<DataSet, DataError> {
    within(path, options, &Bounds::USUAL)
}

/// Reads the arrays of an `.npz` file that is in memory, none of them as labels. `name` is what faults call it, `bytes_max` how much all arrays
/// may take unpacked.
///
/// # Errors
/// As [`read`].
pub fn arrays(name: &Path, bytes: Bytes, bytes_max: u64) -> Result<DataSet, DataError> {
    let options = Options { unlabelled: true, ..Options::default() };
    let bounds = Bounds { data_bytes: bytes_max.min(Bounds::USUAL.data_bytes), ..Bounds::USUAL };
    let sources = vec![source(name, &bytes)];
    let (columns, _) = numpy::several(name, bytes, &options, &bounds)?;
    DataSet::new(name, columns, None, sources)
}

fn within(path: &Path, options: &Options, bounds: &Bounds) -> Result<DataSet, DataError> {
    let format = match options.format {
        Some(format) => format,
        None => guess(path)?,
    };
    let one = |bytes: &Bytes| vec![source(path, bytes)];
    match format {
        Format::Idx => read_idx(path, bounds),
        Format::Pictures => match pictures::look(path, bounds)? {
            Some(classes) => pictures::read(path, classes, &options.pictures, bounds),
            None => Err(DataError::one(path, Place::File, Problem::FewClasses { classes: 0 })),
        },
        Format::Npy | Format::Npz | Format::Csv | Format::Parquet => {
            let bytes = Bytes::from(file_bytes(path, bounds.file_bytes)?);
            let sources = one(&bytes);
            let (columns, labels): (Vec<Column>, Option<Labels>) = match format {
                Format::Npy => numpy::one(path, &bytes)?,
                Format::Npz => numpy::several(path, bytes, options, bounds)?,
                Format::Csv => csv::read(path, &bytes, options, bounds)?,
                _ => parquet::read(path, &bytes, options, bounds)?,
            };
            DataSet::new(path, columns, labels, sources)
        }
    }
}

fn guess(path: &Path) -> Result<Format, DataError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    if path.is_dir() {
        let is_idx = !idx_prefixes(path)?.is_empty();
        return Ok(if is_idx { Format::Idx } else { Format::Pictures });
    }
    let end = name.rsplit('.').next().unwrap_or_default();
    match end {
        "npy" => Ok(Format::Npy),
        "npz" => Ok(Format::Npz),
        "csv" | "tsv" => Ok(Format::Csv),
        "parquet" | "pq" => Ok(Format::Parquet),
        _ if is_idx(path) => Ok(Format::Idx),
        _ if !path.exists() => {
            let source = std::io::Error::from(std::io::ErrorKind::NotFound);
            Err(DataError::Open { path: path.to_owned(), source })
        }
        _ => Err(DataError::Unknown { path: path.to_owned() }),
    }
}

/// Whether a path is a file of pictures in IDX, or what such files begin with.
fn is_idx(path: &Path) -> bool {
    let prefix = idx_prefix(path);
    prefix != path || either(path, IMAGES).is_some()
}

/// A path without the end of an IDX file's name.
fn idx_prefix(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let bare = name.strip_suffix(".gz").unwrap_or(&name);
    match bare.strip_suffix(IMAGES).or_else(|| bare.strip_suffix(LABELS)) {
        Some(prefix) => path.with_file_name(prefix),
        None => path.to_owned(),
    }
}

/// The file with this prefix and end, plain or compressed.
fn either(prefix: &Path, end: &str) -> Option<PathBuf> {
    let name = prefix.file_name()?.to_string_lossy().into_owned();
    let named = |gz: &str| prefix.with_file_name(format!("{name}{end}{gz}"));
    [named(""), named(".gz")].into_iter().find(|path| path.is_file())
}

/// The prefixes of a folder's IDX files of pictures, sorted.
fn idx_prefixes(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut prefixes = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(DataError::open(folder))? {
        let path = entry.map_err(DataError::open(folder))?.path();
        let prefix = idx_prefix(&path);
        if prefix != path && either(&prefix, IMAGES).is_some() {
            prefixes.push(prefix);
        }
    }
    prefixes.sort();
    prefixes.dedup();
    Ok(prefixes)
}

fn read_idx(path: &Path, bounds: &Bounds) -> Result<DataSet, DataError> {
    let prefix = if path.is_dir() {
        let prefixes = idx_prefixes(path)?;
        match prefixes.as_slice() {
            [one] => one.clone(),
            many => {
                let example = many.first().unwrap_or(&path.join("train")).display().to_string();
                let problem = Problem::ManyIdx { count: many.len(), example };
                return Err(DataError::one(path, Place::File, problem));
            }
        }
    } else {
        idx_prefix(path)
    };
    let Some(images) = either(&prefix, IMAGES) else {
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(DataError::Open { path: path.to_owned(), source });
    };
    let Some(labels) = either(&prefix, LABELS) else {
        let name = prefix.file_name().unwrap_or_default().to_string_lossy();
        let expected = format!("{name}{LABELS}");
        return Err(DataError::one(&images, Place::File, Problem::NoLabelFile { expected }));
    };
    let (tensor, first) = idx_file(&images, bounds)?;
    let (classes, second) = idx_file(&labels, bounds)?;
    let of = Labels::of_tensor(&labels, "labels", &classes, LabelKind::Classes, bounds)?;
    let columns = vec![Column { name: "image".into(), tensor }];
    DataSet::new(&images, columns, Some(of), vec![first, second])
}

/// One IDX file, and what was read of it.
fn idx_file(path: &Path, bounds: &Bounds) -> Result<(Tensor, Source), DataError> {
    let max = bounds.data_bytes;
    let bytes = Bytes::from(file_bytes(path, bounds.file_bytes)?);
    let source = source(path, &bytes);
    let bytes = if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        let mut decoder = MultiGzDecoder::new(&*bytes).take(max + 1);
        let read = decoder.read_to_end(&mut plain);
        read.map_err(|error| DataError::one(path, Place::File, Problem::Gzip(error.to_string())))?;
        if plain.len() as u64 > max {
            let memory = Problem::Memory { max };
            return Err(DataError::one(path, Place::File, memory));
        }
        plain.into()
    } else {
        bytes
    };
    let tensor = idx::parse(&bytes).map_err(|error| DataError::one(path, Place::File, error))?;
    Ok((tensor, source))
}

fn source(path: &Path, bytes: &[u8]) -> Source {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Source { name, digest: Digest::of(bytes), bytes: bytes.len() as u64 }
}

/// A whole file of at most `max` bytes.
pub(crate) fn file_bytes(path: &Path, max: u64) -> Result<Vec<u8>, DataError> {
    let file = File::open(path).map_err(DataError::open(path))?;
    let size = file.metadata().map_err(DataError::open(path))?.len();
    let large = |bytes| DataError::one(path, Place::File, Problem::Large { bytes, max });
    if size > max {
        return Err(large(size));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    // It may grow meanwhile.
    file.take(max + 1).read_to_end(&mut bytes).map_err(DataError::open(path))?;
    let read = bytes.len() as u64;
    if read > max { Err(large(read)) } else { Ok(bytes) }
}

/// The place of the labels among names: the one that the caller names, or a usual one.
pub(crate) fn label_of(
    path: &Path,
    names: &[&str],
    options: &Options,
) -> Result<Option<usize>, DataError> {
    let place = |wanted: &str| names.iter().position(|name| *name == wanted);
    match &options.label {
        _ if options.unlabelled => Ok(None),
        None => Ok(LABEL_NAMES.into_iter().find_map(place)),
        Some(name) => match place(name) {
            Some(place) => Ok(Some(place)),
            None => {
                let problem = Problem::NoLabel { name: name.clone(), has: listed(names.iter()) };
                Err(DataError::one(path, Place::File, problem))
            }
        },
    }
}

#[cfg(test)]
mod tests;
