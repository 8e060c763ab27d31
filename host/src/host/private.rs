//! Only the owner may read the data directory: it holds keys, records, receipts and others' weights.
//!
//! This host creates everything private. What an older host left readable is made private at start.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Mode bits of group and others.
const OTHERS: u32 = 0o077;

/// Maximum depth below the data directory. The host's own folders are two deep.
const DEPTH_MAX: usize = 8;

/// Creates the data directory, or removes others' access to everything in it. Links are not followed.
///
/// # Errors
/// If the directory cannot be created or read, with the path. A file whose mode cannot be changed is not this host's own and is logged.
pub(super) fn open(data: &Path) -> Result<(), (PathBuf, io::Error)> {
    DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(failed(data))?;
    each(data, tighten)
}

/// Visits the data directory and everything in it with metadata, except links.
///
/// # Errors
/// If the directory or a folder in it cannot be read, with the path.
pub fn each(
    data: &Path,
    mut visit: impl FnMut(&Path, &fs::Metadata),
) -> Result<(), (PathBuf, io::Error)> {
    visit(data, &fs::metadata(data).map_err(failed(data))?);
    let mut folders = vec![(data.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(failed(&folder))? {
            let path = entry.map_err(failed(&folder))?.path();
            let meta = fs::symlink_metadata(&path).map_err(failed(&path))?;
            if meta.is_symlink() {
                continue;
            }
            visit(&path, &meta);
            if meta.is_dir() && depth < DEPTH_MAX {
                folders.push((path, depth + 1));
            }
        }
    }
    Ok(())
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> (PathBuf, io::Error) + use<> {
    let path = path.to_owned();
    move |error| (path, error)
}

/// Whether group or others have access to a file or folder.
pub fn lets_others_in(meta: &fs::Metadata) -> bool {
    meta.permissions().mode() & OTHERS != 0
}

/// Removes others' access to one file or folder.
fn tighten(path: &Path, meta: &fs::Metadata) {
    let mode = meta.permissions().mode();
    if !lets_others_in(meta) {
        return;
    }
    if let Err(error) = fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS)) {
        tracing::warn!(?path, %error, "others can read this file, and its mode cannot be changed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_host_left_readable_is_made_private_and_links_are_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let (data, outside) = (folder.path().join("data"), folder.path().join("outside"));
        fs::create_dir_all(data.join("receipts")).expect("made");
        let log = data.join("receipts/receipts.log");
        for file in [&log, &outside] {
            fs::write(file, "x").expect("written");
            fs::set_permissions(file, Permissions::from_mode(0o644)).expect("a mode");
        }
        std::os::unix::fs::symlink(&outside, data.join("link")).expect("linked");
        fs::set_permissions(data.join("receipts"), Permissions::from_mode(0o755)).expect("a mode");
        open(&data).expect("opened");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&data), mode(&data.join("receipts"))), (0o700, 0o700));
        assert_eq!((mode(&log), mode(&outside)), (0o600, 0o644));
        let made = folder.path().join("new/data");
        open(&made).expect("made");
        assert_eq!(mode(&made), 0o700);
    }
}
