//! `.npy` and `.npz`: arrays as `numpy.save` and `numpy.savez` write them.

use std::io::{Cursor, Read as _, Write as _};
use std::path::Path;

use bytes::Bytes;
use hospes_core::tensor::npy::{self, NpyError};
use hospes_core::tensor::{DataType, Tensor};
use zip::ZipArchive;
use zip::write::SimpleFileOptions;

use crate::fault::{DataError, Place, Problem};
use crate::labels::Labels;
use crate::limits::{ARRAYS_MAX, Bounds};
use crate::read::{Options, label_of};
use crate::set::Column;

type Parts = (Vec<Column>, Option<Labels>);

/// One array. It has no labels.
pub(crate) fn one(path: &Path, bytes: &Bytes) -> Result<Parts, DataError> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let tensor = array(bytes).map_err(|error| DataError::one(path, Place::File, error))?;
    Ok((vec![Column { name, tensor }], None))
}

/// Named arrays.
pub(crate) fn several(
    path: &Path,
    bytes: Bytes,
    options: &Options,
    bounds: &Bounds,
) -> Result<Parts, DataError> {
    let broken = |error: &dyn std::fmt::Display| {
        DataError::one(path, Place::File, Problem::Archive(error.to_string()))
    };
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| broken(&error))?;
    if archive.len() > ARRAYS_MAX {
        let many = Problem::Many { what: "arrays", max: ARRAYS_MAX };
        return Err(DataError::one(path, Place::File, many));
    }
    let mut arrays = Vec::new();
    let mut left = bounds.data_bytes;
    for place in 0..archive.len() {
        let mut entry = archive.by_index(place).map_err(|error| broken(&error))?;
        let name = entry.name().trim_end_matches(".npy").to_owned();
        if name.len() > bounds.name_bytes {
            let problem = Problem::Name { bytes: name.len(), max: bounds.name_bytes };
            return Err(DataError::one(path, Place::File, problem));
        }
        let at = || Place::Array(name.clone());
        let mut data = Vec::new();
        // The size that the archive claims is not trusted: an array may be larger than it says.
        let read = entry.by_ref().take(left.saturating_add(1)).read_to_end(&mut data);
        read.map_err(|error| DataError::one(path, at(), Problem::Archive(error.to_string())))?;
        let Some(rest) = left.checked_sub(data.len() as u64) else {
            return Err(DataError::one(path, at(), Problem::Memory { max: bounds.data_bytes }));
        };
        left = rest;
        let tensor = array(&data.into()).map_err(|error| DataError::one(path, at(), error))?;
        arrays.push(Column { name, tensor });
    }
    let names: Vec<&str> = arrays.iter().map(|array| array.name.as_str()).collect();
    let Some(place) = label_of(path, &names, options)? else { return Ok((arrays, None)) };
    let array = arrays.remove(place);
    let labels = Labels::of_tensor(path, &array.name, &array.tensor, options.labels, bounds)?;
    Ok((arrays, Some(labels)))
}

/// An array of numbers, or of texts.
fn array(bytes: &Bytes) -> Result<Tensor, NpyError> {
    match npy::read(bytes) {
        Err(NpyError::Elements(_)) => npy::read_text(bytes),
        read => read,
    }
}

/// Writes arrays as `numpy.savez` does, without compression.
///
/// # Errors
/// [`NpyError::NoForm`] if NumPy has no such elements. Texts have a form only in `read_text`.
pub fn write_npz<'c>(
    columns: impl IntoIterator<Item = (&'c str, &'c Tensor)>,
) -> Result<Vec<u8>, NpyError> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let plain = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, tensor) in columns {
        let bytes = npy::write(tensor)?;
        let plain = plain.large_file(bytes.len() > u32::MAX as usize);
        let written = archive
            .start_file(format!("{name}.npy"), plain)
            .and_then(|()| Ok(archive.write_all(&bytes)?));
        written.map_err(|_| NpyError::NoForm(DataType::Bytes))?;
    }
    let finished = archive.finish().map_err(|_| NpyError::NoForm(DataType::Bytes))?;
    Ok(finished.into_inner())
}
