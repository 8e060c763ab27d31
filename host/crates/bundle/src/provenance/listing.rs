//! The files of a folder as one digest: in-toto's `dirHash`, which is `Hash1` of Go's `golang.org/x/mod/sumdb/dirhash`.
//!
//! SHA-256 of the lines `<sha256 of the file>  <path>`, sorted by path, as `sha256sum` prints them, so anybody can compute it without us.
//! Every file counts, and links are
//! followed. What each part of a folder hashes to is kept too, so that a change can be named.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::measure;
use hospes_core::id::{Digest, Hasher};

/// Most files of a folder.
pub const FOLDER_FILES_MAX: usize = 5_000_000;

/// Most folders inside each other.
pub const FOLDER_DEPTH_MAX: usize = 32;

/// Most parts of a folder that are listed by their own digests. A folder with more files is listed by what is directly in it.
pub const PARTS_MAX: usize = 256;

/// Why a folder has no digest.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    #[error("`{}` cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` has more than the {FOLDER_FILES_MAX} files allowed: pack them into fewer", path.display())]
    TooManyFiles { path: PathBuf },
    #[error("`{}` lies more than {FOLDER_DEPTH_MAX} folders deep: move it up", path.display())]
    TooDeep { path: PathBuf },
    #[error("the name of `{}` is not UTF-8, or has a line break or `\\`: rename it", path.display())]
    Name { path: PathBuf },
    #[error("`{}` is neither a file nor a folder: remove it", path.display())]
    Special { path: PathBuf },
    #[error("`{}` holds no files", path.display())]
    Empty { path: PathBuf },
}

/// The files of a folder, by digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The `dirHash` of all.
    pub digest: Digest,
    /// Their size together, in bytes.
    pub bytes: u64,
    /// Their number.
    pub files: u64,
    /// The digests of its parts by path: of every file, or if that would be more than [`PARTS_MAX`], of every file and folder directly in
    /// it. Empty if that would be too many too.
    pub parts: Vec<Part>,
}

/// A part of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its path within the folder, with `/`. Ends with `/` if it is a folder itself.
    pub path: String,
    /// SHA-256 of a file, the `dirHash` of a folder (of paths within the whole folder).
    pub digest: Digest,
}

/// A file of a folder, by its path with `/`.
type Files = BTreeMap<String, Digest>;

impl Listing {
    /// Reads all files below `folder`.
    ///
    /// # Errors
    /// [`ListingError`].
    pub fn of(folder: &Path) -> Result<Self, ListingError> {
        let mut walk = Walk { files: Files::new(), bytes: 0 };
        walk.folder(folder, "", 0)?;
        if walk.files.is_empty() {
            return Err(ListingError::Empty { path: folder.to_owned() });
        }
        Ok(Self {
            digest: dir_hash(walk.files.iter()),
            bytes: walk.bytes,
            files: walk.files.len() as u64,
            parts: parts(&walk.files),
        })
    }

    /// The paths of the parts that are not the same in `found`, which was recorded in the same way: changed, missing or new. Empty if the
    /// parts do not tell.
    pub fn changes(&self, found: &Self) -> Vec<String> {
        // Both were listed in the same way only if neither or both have too many files.
        let by_file = |listing: &Self| listing.files <= PARTS_MAX as u64;
        if self.parts.is_empty() || found.parts.is_empty() || by_file(self) != by_file(found) {
            return Vec::new();
        }
        let by_path = |listing: &Self| -> BTreeMap<String, Digest> {
            listing.parts.iter().map(|part| (part.path.clone(), part.digest)).collect()
        };
        let (before, now) = (by_path(self), by_path(found));
        let said = |path: &String| match (before.get(path), now.get(path)) {
            (Some(before), Some(now)) if before == now => None,
            (Some(_), Some(_)) => Some(format!("`{path}` changed")),
            (Some(_), None) => Some(format!("`{path}` is missing")),
            (None, _) => Some(format!("`{path}` is new")),
        };
        let new = now.keys().filter(|path| !before.contains_key(*path));
        before.keys().chain(new).filter_map(said).collect()
    }
}

struct Walk {
    files: Files,
    bytes: u64,
}

impl Walk {
    fn folder(&mut self, folder: &Path, prefix: &str, depth: usize) -> Result<(), ListingError> {
        if depth > FOLDER_DEPTH_MAX {
            return Err(ListingError::TooDeep { path: folder.to_owned() });
        }
        let failed = |path: &Path, source| ListingError::Read { path: path.to_owned(), source };
        for entry in fs::read_dir(folder).map_err(|source| failed(folder, source))? {
            let entry = entry.map_err(|source| failed(folder, source))?;
            let path = entry.path();
            let name = entry.file_name();
            let name = name.to_str().filter(|name| !name.contains(['\n', '\r', '\\']));
            let name = name.ok_or_else(|| ListingError::Name { path: path.clone() })?;
            let found = fs::metadata(&path).map_err(|source| failed(&path, source))?;
            if found.is_dir() {
                self.folder(&path, &format!("{prefix}{name}/"), depth + 1)?;
                continue;
            } else if !found.is_file() {
                return Err(ListingError::Special { path });
            }
            if self.files.len() == FOLDER_FILES_MAX {
                return Err(ListingError::TooManyFiles { path: folder.to_owned() });
            }
            let (digest, bytes) = measure(&path).map_err(|source| failed(&path, source))?;
            self.files.insert(format!("{prefix}{name}"), digest);
            self.bytes = self.bytes.saturating_add(bytes);
        }
        Ok(())
    }
}

fn dir_hash<'f>(files: impl Iterator<Item = (&'f String, &'f Digest)>) -> Digest {
    let mut hasher = Hasher::default();
    for (path, digest) in files {
        hasher.update(format!("{}  {path}\n", digest.hex()).as_bytes());
    }
    hasher.finish()
}

fn parts(files: &Files) -> Vec<Part> {
    if files.len() <= PARTS_MAX {
        let part =
            |(path, digest): (&String, &Digest)| Part { path: path.clone(), digest: *digest };
        return files.iter().map(part).collect();
    }
    let mut folders: BTreeMap<String, Files> = BTreeMap::new();
    let mut parts = Vec::new();
    for (path, digest) in files {
        match path.split_once('/') {
            Some((folder, _)) => {
                let folder = folders.entry(format!("{folder}/")).or_default();
                folder.insert(path.clone(), *digest);
            }
            None => parts.push(Part { path: path.clone(), digest: *digest }),
        }
        if parts.len() + folders.len() > PARTS_MAX {
            return Vec::new();
        }
    }
    parts.extend(
        folders.into_iter().map(|(path, files)| Part { path, digest: dir_hash(files.iter()) }),
    );
    parts.sort_by(|one, other| one.path.cmp(&other.path));
    parts
}
