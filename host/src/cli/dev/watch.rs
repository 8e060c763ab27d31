//! Detects changed files by polling their times, sizes and inode numbers.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Most files to watch.
pub const FILES_MAX: usize = 4096;

/// Deepest folder to search.
const DEPTH_MAX: usize = 16;

/// A file's state: its last change in seconds and nanoseconds, its size in bytes, and its inode.
type Stamp = (i64, i64, u64, u64);

/// The files' state at one check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    files: BTreeMap<PathBuf, Stamp>,
    /// There are more than [`FILES_MAX`]; the rest were not checked.
    pub is_cut: bool,
}

impl Look {
    /// Checks files, and all files in folders. Missing ones are left out.
    pub fn at(places: &[PathBuf]) -> Self {
        let mut look = Self::default();
        for place in places {
            // A given path may be a link. Within folders, links to folders are not followed: they may form a loop.
            if let Ok(meta) = fs::metadata(place) {
                look.add(place, &meta, 0);
            }
        }
        look
    }

    fn add(&mut self, path: &Path, meta: &Metadata, depth: usize) {
        if self.files.len() >= FILES_MAX {
            self.is_cut = true;
        } else if !meta.is_dir() {
            let stamp = (meta.mtime(), meta.mtime_nsec(), meta.len(), meta.ino());
            self.files.insert(path.to_owned(), stamp);
        } else if depth < DEPTH_MAX
            && let Ok(entries) = fs::read_dir(path)
        {
            for entry in entries.take(FILES_MAX).flatten() {
                if let Ok(meta) = entry.metadata() {
                    self.add(&entry.path(), &meta, depth + 1);
                }
            }
        }
    }

    /// How many files were checked.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// The files that have changed, are new or are gone.
    pub fn changes(&self, before: &Self) -> Vec<PathBuf> {
        let other =
            self.files.iter().filter(|(path, stamp)| before.files.get(*path) != Some(stamp));
        let gone = before.files.iter().filter(|(path, _)| !self.files.contains_key(*path));
        other.chain(gone).map(|(path, _)| path.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_made_or_removed_has_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (one, two) = (folder.path().join("one"), folder.path().join("deep/two"));
        fs::create_dir(folder.path().join("deep")).expect("made");
        fs::write(&one, "1").expect("written");
        let places = [folder.path().to_owned(), folder.path().join("missing")];
        let first = Look::at(&places);
        assert_eq!((first.files(), first.is_cut), (1, false));
        assert_eq!(Look::at(&places), first);
        fs::write(&two, "2").expect("written");
        let second = Look::at(&places);
        assert_eq!(second.changes(&first), std::slice::from_ref(&two));
        fs::write(&two, "three").expect("written");
        let third = Look::at(&places);
        assert_eq!(third.changes(&second), [two]);
        fs::remove_file(&one).expect("removed");
        assert_eq!(Look::at(&places).changes(&third), [one]);
    }
}
