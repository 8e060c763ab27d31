//! What is recorded of a folder: the digest of all files, as [`hospes_core::files`] defines it, and those of its parts, so that a change can be
//! named.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use hospes_core::files::{Files, dir_hash};
use hospes_core::id::Digest;

/// Most parts of a folder that are listed by their own digests. A folder with more files is listed by what is directly in it.
pub const PARTS_MAX: usize = 256;

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

/// Files by their paths, with `/`.
type ByPath = BTreeMap<String, Digest>;

impl From<Files> for Listing {
    fn from(files: Files) -> Self {
        Self {
            digest: files.digest(),
            bytes: files.bytes,
            files: files.digests.len() as u64,
            parts: parts(&files.digests),
        }
    }
}

impl Listing {
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

fn parts(files: &ByPath) -> Vec<Part> {
    if files.len() <= PARTS_MAX {
        let part =
            |(path, digest): (&String, &Digest)| Part { path: path.clone(), digest: *digest };
        return files.iter().map(part).collect();
    }
    let mut folders: BTreeMap<String, ByPath> = BTreeMap::new();
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
    parts.extend(folders.into_iter().map(|(path, files)| {
        let files = files.iter().map(|(path, digest)| (path.as_str(), *digest));
        Part { path, digest: dir_hash(files) }
    }));
    parts.sort_by(|one, other| one.path.cmp(&other.path));
    parts
}
