//! `croissant.json` beside a data set: its licence, and the digests of its files (Croissant 1.0 and 1.1, mlcommons.org).

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::fault::{DataError, Faults, Place, Problem};
use crate::read::file_bytes;
use crate::set::DataSet;

/// Maximum bytes of a description.
const DESCRIPTION_BYTES_MAX: u64 = 4 << 20;

/// What a description says of a data set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Croissant {
    /// The licence: an address or a name.
    pub licence: Option<String>,
    /// Name and lower-case SHA-256 of each file that has one.
    pub files: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Description {
    license: Option<Value>,
    #[serde(default)]
    distribution: Vec<Value>,
}

impl Croissant {
    /// The description beside a file, or in a folder; `None` if there is none.
    ///
    /// # Errors
    /// [`DataError`] if it cannot be read.
    pub fn beside(path: &Path) -> Result<Option<Self>, DataError> {
        let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
        let path = folder.join("croissant.json");
        if !path.is_file() {
            return Ok(None);
        }
        let bytes = file_bytes(&path, DESCRIPTION_BYTES_MAX)?;
        let parsed = serde_json::from_slice::<Description>(&bytes);
        let description = parsed.map_err(|error| {
            DataError::one(&path, Place::File, Problem::Croissant(error.to_string()))
        })?;
        let files = description.distribution.iter().filter_map(|file| {
            let text = |key: &str| file.get(key).and_then(Value::as_str);
            let name = text("contentUrl").or_else(|| text("name"))?;
            let name = name.rsplit('/').next().unwrap_or(name).to_owned();
            Some((name, text("sha256")?.to_ascii_lowercase()))
        });
        let files = files.collect();
        Ok(Some(Self { licence: description.license.as_ref().and_then(words), files }))
    }

    /// Compares the digests of what was read with those of the description. Files without a digest in it are not compared.
    ///
    /// # Errors
    /// [`DataError::Faulty`] with each file that differs.
    pub fn check(&self, set: &DataSet) -> Result<(), DataError> {
        let mut faults = Faults::default();
        for source in set.sources() {
            let name = source.name.rsplit('/').next().unwrap_or(&source.name);
            let said = self.files.iter().find(|(file, _)| file == name);
            if let Some((_, expected)) = said.filter(|(_, said)| *said != source.digest.hex()) {
                let (seen, expected) = (source.digest.hex(), expected.clone());
                faults.add(
                    Path::new(&source.name),
                    Place::File,
                    Problem::Digest { seen, expected },
                );
            }
        }
        faults.check()
    }
}

/// A text, or the first of several.
fn words(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(values) => values.first().and_then(words),
        Value::Object(map) => map.get("name").or_else(|| map.get("@id")).and_then(words),
        Value::Null | Value::Bool(_) => None,
    }
}
