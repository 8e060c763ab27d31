//! Puts weights from files beside a model into it.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::tensor::Data;
use super::{Entry, Model};
use crate::limits::MODEL_BYTES_MAX;
use crate::refused::quoted;

/// Reads files beside a model: a whole file, by a name without folders. `None` if it does not exist.
pub type Beside<'f> = dyn Fn(&str) -> std::io::Result<Option<Vec<u8>>> + 'f;

/// Why weights cannot be put into a model.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    #[error("its weights are in `{location}`, which is not a file beside it: {ADVICE}")]
    Place { location: String },
    #[error(
        "its weights are in `{location}`, and there is no such file beside it: put it there, or {ADVICE}"
    )]
    Missing { location: String },
    #[error("`{location}`, where its weights are, cannot be read")]
    Read {
        location: String,
        #[source]
        source: std::io::Error,
    },
    #[error("`{location}` is shorter than the model says: fetch it again")]
    Short { location: String },
    #[error(
        "with its weights it has more than the {MODEL_BYTES_MAX} bytes that an ONNX file may have"
    )]
    TooLarge,
}

const ADVICE: &str =
    "save the weights inside it, with `onnx.save_model(model, path, save_as_external_data=False)`";

impl Model {
    /// Puts weights of other files into the model. Returns the names of these files.
    ///
    /// # Errors
    /// [`EmbedError`] if a file is not beside the model, cannot be read or is too short, or if all weights together are more than
    /// [`MODEL_BYTES_MAX`].
    pub fn embed(&mut self, beside: &Beside<'_>) -> Result<Vec<String>, EmbedError> {
        let mut files = BTreeMap::new();
        let mut total = 0_usize;
        self.tensors_mut(&mut |tensor| {
            let Data::Outside(place) = &tensor.data else { return Ok(()) };
            let bytes = part(place, &mut files, beside)?;
            total = total.saturating_add(bytes.len());
            if total > MODEL_BYTES_MAX {
                return Err(EmbedError::TooLarge);
            }
            tensor.data = Data::Bytes(bytes);
            Ok(())
        })?;
        Ok(files.into_keys().collect())
    }
}

/// The part of a file that `place` says.
fn part(
    place: &[Entry],
    files: &mut BTreeMap<String, Bytes>,
    beside: &Beside<'_>,
) -> Result<Bytes, EmbedError> {
    let entry =
        |key: &str| place.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str());
    let location = entry("location").unwrap_or_default();
    let short = || EmbedError::Short { location: quoted(location) };
    let size = |key| entry(key).map(|text| text.trim().parse::<usize>()).transpose();
    let from = size("offset").map_err(|_| short())?.unwrap_or(0);
    let length = size("length").map_err(|_| short())?;
    let name = location.strip_prefix("./").unwrap_or(location);
    if name.is_empty() || name.contains(['/', '\\', '\0']) || name == ".." || name == "." {
        return Err(EmbedError::Place { location: quoted(location) });
    }
    if !files.contains_key(name) {
        let read = beside(name);
        let read =
            read.map_err(|source| EmbedError::Read { location: quoted(location), source })?;
        let read = read.ok_or_else(|| EmbedError::Missing { location: quoted(location) })?;
        files.insert(name.to_owned(), read.into());
    }
    let file = files.get(name).ok_or_else(short)?;
    let rest = file.len().checked_sub(from).ok_or_else(short)?;
    let length = length.unwrap_or(rest);
    if length > rest {
        return Err(short());
    }
    Ok(file.slice(from..from + length))
}
