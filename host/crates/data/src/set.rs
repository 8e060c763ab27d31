//! A data set in memory.

use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use hospes_core::files::dir_hash;
use hospes_core::id::Digest;
use hospes_core::tensor::{DataType, Tensor, pack_strings};
use serde::{Deserialize, Serialize};

use crate::fault::{DataError, Faults, Place, Problem};
use crate::labels::Labels;
use crate::limits::{COLUMNS_MAX, DATA_BYTES_MAX, NAME_BYTES_MAX, ROWS_MAX};

/// A column: a tensor whose first dimension is the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub tensor: Tensor,
}

impl Column {
    /// The shape of one row: that of the tensor without the first dimension.
    pub fn row_shape(&self) -> &[usize] {
        self.tensor.shape().get(1..).unwrap_or(&[])
    }
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The file's name; in a folder, its path below the folder with `/`.
    pub name: String,
    /// The SHA-256 of its bytes as they lie on disk.
    pub digest: Digest,
    /// Its size on disk.
    pub bytes: u64,
}

/// Rows. Every column and the labels have the same number of them, at least one.
#[derive(Debug, Clone)]
pub struct DataSet {
    columns: Vec<Column>,
    labels: Option<Labels>,
    rows: usize,
    sources: Vec<Source>,
    digest: Digest,
}

impl DataSet {
    /// Puts columns and labels together. `file` is named in faults.
    ///
    /// # Errors
    /// [`DataError::Faulty`] if there is no column or row, columns differ in their rows, names occur twice, or a limit is exceeded.
    pub fn new(
        file: &Path,
        columns: Vec<Column>,
        labels: Option<Labels>,
        sources: Vec<Source>,
    ) -> Result<Self, DataError> {
        let mut faults = Faults::default();
        if columns.len() > COLUMNS_MAX {
            let many = Problem::Many { what: "columns", max: COLUMNS_MAX };
            return Err(DataError::one(file, Place::File, many));
        }
        // First of all: other faults name columns.
        let longest = columns.iter().map(|column| column.name.len()).max();
        if let Some(bytes) = longest.filter(|bytes| *bytes > NAME_BYTES_MAX) {
            let problem = Problem::Name { bytes, max: NAME_BYTES_MAX };
            return Err(DataError::one(file, Place::File, problem));
        }
        let first = columns.first().map(|column| (column.name.clone(), &column.tensor));
        let Some((other, tensor)) = first else {
            return Err(DataError::one(file, Place::File, Problem::NoColumns));
        };
        let expected = tensor.shape().first().copied().unwrap_or(0);
        let mut names = std::collections::HashSet::new();
        for column in &columns {
            let at = || Place::Array(column.name.clone());
            match column.tensor.shape().first() {
                None => faults.add(file, at(), Problem::NoDimension),
                Some(seen) if *seen != expected => {
                    let other = other.clone();
                    faults.add(file, at(), Problem::Rows { seen: *seen, other, expected });
                }
                Some(_) => {}
            }
            if !names.insert(&column.name) {
                faults.add(file, at(), Problem::Twice);
            }
        }
        if let Some(seen) = labels.as_ref().map(Labels::rows).filter(|seen| *seen != expected) {
            let problem = Problem::Rows { seen, other, expected };
            faults.add(file, Place::Array("labels".into()), problem);
        }
        faults.check()?;
        if expected == 0 {
            return Err(DataError::one(file, Place::File, Problem::NoRows));
        }
        if expected > ROWS_MAX {
            let many = Problem::Many { what: "rows", max: ROWS_MAX };
            return Err(DataError::one(file, Place::File, many));
        }
        let bytes: u64 = columns.iter().map(|column| column.tensor.data().len() as u64).sum();
        if bytes > DATA_BYTES_MAX {
            let memory = Problem::Memory { max: DATA_BYTES_MAX };
            return Err(DataError::one(file, Place::File, memory));
        }
        let digest = digest_of(&sources);
        Ok(Self { columns, labels, rows: expected, sources, digest })
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The columns, in the file's order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The column of this name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The labels.
    pub fn labels(&self) -> Option<&Labels> {
        self.labels.as_ref()
    }

    /// The files that were read, by name.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The digest of all that was read. Of one file it is the file's SHA-256. Of several it is the SHA-256 of the lines that
    /// `sha256sum` prints for them (64 digits, two spaces, name, line feed), sorted by name. Parts of a data set have the whole's digest.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The same rows without these columns, unless there is nothing else.
    #[must_use]
    pub fn without(mut self, names: &[&str]) -> Self {
        let is_kept = |column: &Column| !names.contains(&&*column.name);
        if self.columns.iter().any(is_kept) {
            self.columns.retain(is_kept);
        }
        self
    }

    /// Some of the rows, in the order given. A row may occur more than once.
    ///
    /// # Panics
    /// If a row is not below [`DataSet::rows`]: the caller chose it.
    pub fn select(&self, rows: &[usize]) -> Self {
        let columns = self.columns.iter().map(|column| Column {
            name: column.name.clone(),
            tensor: select(&column.tensor, rows),
        });
        Self {
            columns: columns.collect(),
            labels: self.labels.as_ref().map(|labels| labels.select(rows)),
            rows: rows.len(),
            sources: self.sources.clone(),
            digest: self.digest,
        }
    }

    /// One column's rows from `range`, which is cut at the last row. Columns of numbers share the memory.
    pub fn slice(&self, column: &Column, range: Range<usize>) -> Tensor {
        let range = range.start.min(self.rows)..range.end.min(self.rows);
        slice(&column.tensor, range)
    }
}

/// The rows of a tensor in `range`.
fn slice(tensor: &Tensor, range: Range<usize>) -> Tensor {
    let Some(width) = row_bytes(tensor) else {
        let rows: Vec<usize> = range.collect();
        return select(tensor, &rows);
    };
    let mut shape = tensor.shape().to_vec();
    shape[0] = range.len();
    let data = tensor.data().slice(range.start * width..range.end * width);
    Tensor::new(tensor.data_type(), shape, data).expect("invariant: whole rows of a tensor")
}

fn select(tensor: &Tensor, rows: &[usize]) -> Tensor {
    let mut shape = tensor.shape().to_vec();
    shape[0] = rows.len();
    let data: Bytes = match row_bytes(tensor) {
        Some(width) => {
            let mut data = Vec::with_capacity(width * rows.len());
            for row in rows {
                data.extend_from_slice(&tensor.data()[row * width..(row + 1) * width]);
            }
            data.into()
        }
        None => {
            let strings: Vec<&[u8]> = tensor.strings().collect();
            let each: usize = tensor.shape().get(1..).unwrap_or(&[]).iter().product();
            let picked = rows.iter().flat_map(|row| &strings[row * each..(row + 1) * each]);
            pack_strings(picked.copied()).expect("invariant: they were packed before")
        }
    };
    Tensor::new(tensor.data_type(), shape, data).expect("invariant: whole rows of a tensor")
}

/// Bytes of one row; `None` if elements have individual lengths.
fn row_bytes(tensor: &Tensor) -> Option<usize> {
    let each: usize = tensor.shape().get(1..).unwrap_or(&[]).iter().product();
    Some(tensor.data_type().size()? * each)
}

/// The digest of several files: see [`DataSet::digest`].
pub(crate) fn digest_of(sources: &[Source]) -> Digest {
    if let [one] = sources {
        return one.digest;
    }
    let mut sorted: Vec<&Source> = sources.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    dir_hash(sorted.into_iter().map(|source| (source.name.as_str(), source.digest)))
}

/// A column of numbers, one a row.
pub(crate) fn numbers(name: String, values: &[f64]) -> Column {
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let tensor = Tensor::new(DataType::F64, vec![values.len()], data.into());
    Column { name, tensor: tensor.expect("invariant: eight bytes a number") }
}

/// A column of texts, one a row.
pub(crate) fn texts(name: String, values: &[String]) -> Column {
    let data = pack_strings(values.iter().map(String::as_bytes));
    let data = data.expect("invariant: cells are below 4 GiB");
    let tensor = Tensor::new(DataType::Bytes, vec![values.len()], data);
    Column { name, tensor: tensor.expect("invariant: as many texts as rows") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str, bytes: &[u8]) -> Source {
        Source { name: name.into(), digest: Digest::of(bytes), bytes: bytes.len() as u64 }
    }

    fn pixels() -> Column {
        let tensor = Tensor::new(DataType::U8, vec![3, 2], vec![0, 1, 2, 3, 4, 5].into());
        Column { name: "x".into(), tensor: tensor.expect("fits") }
    }

    #[test]
    fn parts_keep_rows_together() {
        let words: Vec<String> = ["a", "", "ccc"].map(String::from).into();
        let labels = Labels::Numbers(vec![0.0, 1.0, 2.0]);
        let columns = vec![pixels(), texts("t".into(), &words)];
        let set = DataSet::new(Path::new("f"), columns, Some(labels), vec![source("f", b"1")]);
        let set = set.expect("fits");
        let part = set.select(&[2, 0, 2]);
        assert_eq!(part.columns()[0].tensor.data().as_ref(), [4, 5, 0, 1, 4, 5]);
        let seen: Vec<&[u8]> = part.columns()[1].tensor.strings().collect();
        assert_eq!(seen, [&b"ccc"[..], b"a", b"ccc"]);
        assert_eq!(part.labels(), Some(&Labels::Numbers(vec![2.0, 0.0, 2.0])));
        assert_eq!((part.rows(), part.digest()), (3, Digest::of(b"1")));
        let slice = set.slice(&set.columns()[0], 1..9);
        assert_eq!((slice.shape(), slice.data().as_ref()), (&[2, 2][..], &[2, 3, 4, 5][..]));
        let slice = set.slice(&set.columns()[1], 1..3);
        assert_eq!(slice.strings().collect::<Vec<_>>(), [&b""[..], b"ccc"]);
    }

    #[test]
    fn the_digest_of_several_files_is_that_of_sha256sum() {
        // printf 1 > b; printf 2 > a; sha256sum a b | sha256sum
        let expected = "22ea5f8862036ac8c39b7462a1e08530b31d59fa1d683ddbe2c31a531e38baf9";
        let digest = digest_of(&[source("b", b"1"), source("a", b"2")]);
        assert_eq!(digest.hex(), expected);
    }

    #[test]
    fn what_does_not_fit_together_is_named() {
        let new = |columns: Vec<Column>, labels| {
            DataSet::new(Path::new("f.npz"), columns, labels, Vec::new())
                .expect_err("does not fit")
                .to_string()
        };
        let two = Tensor::new(DataType::U8, vec![2], vec![0, 1].into()).expect("fits");
        let scalar = Tensor::new(DataType::U8, vec![], vec![0].into()).expect("fits");
        let none = Tensor::new(DataType::U8, vec![0, 2], Bytes::new()).expect("fits");
        let named = |name: &str, tensor| Column { name: name.into(), tensor };
        assert_eq!(new(vec![], None), "`f.npz`: it has no column besides the labels");
        let said = new(vec![pixels(), named("z", two), named("s", scalar)], None);
        assert!(said.contains("`z`: it has 2 rows, and `x` has 3"), "{said}");
        assert!(said.contains("`s`: it has no dimension for rows"), "{said}");
        assert!(new(vec![pixels(), pixels()], None).contains("`x`: it appears twice"));
        assert!(new(vec![named("x", none)], None).contains("no rows"));
        let labels = Some(Labels::Numbers(vec![1.0]));
        assert!(new(vec![pixels()], labels).contains("`labels`: it has 1 rows"));
        let many: Vec<Column> =
            (0..=COLUMNS_MAX).map(|n| named(&n.to_string(), pixels().tensor)).collect();
        assert!(new(many, None).contains("16384 columns"));
        let long = named(&"x".repeat(NAME_BYTES_MAX + 1), pixels().tensor);
        assert!(new(vec![long], None).contains("a name has 1025 bytes, more than the 1024"));
    }
}
