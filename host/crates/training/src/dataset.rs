//! Data sets of a recipe as they lie there. [`hospes_core::files`] defines their digests.

use std::path::{Path, PathBuf};

use hospes_core::files::{self, FilesError, Found};

use crate::recipe::DataSet;

/// Why a data set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataSetError {
    #[error("data set `{name}` cannot be read")]
    Files {
        name: String,
        #[source]
        source: FilesError,
    },
    #[error(
        "data set `{name}` at `{}` has changed: its digest is {found}, the recipe says {stated}; run `hospes train RECIPE --lock` \
         to accept it as it is now",
        path.display()
    )]
    Changed { name: String, path: PathBuf, found: String, stated: String },
}

/// Reads a data set whole: a file, a folder, or files whose names begin alike. `beside` is the recipe's folder.
///
/// # Errors
/// [`DataSetError`], also if the recipe states another digest.
pub fn read(name: &str, set: &DataSet, beside: &Path) -> Result<Found, DataSetError> {
    let path = beside.join(&set.path);
    let name = name.to_owned();
    let found = match files::read(&path) {
        Ok(found) => found,
        Err(source) => return Err(DataSetError::Files { name, source }),
    };
    let digest = found.digest().hex();
    match &set.sha256 {
        Some(stated) if *stated != digest => {
            Err(DataSetError::Changed { name, path, found: digest, stated: stated.clone() })
        }
        Some(_) | None => Ok(found),
    }
}
