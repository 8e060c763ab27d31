//! The data directory is for its owner only: keys, records, receipts and other people's weights are in it.
//!
//! What this host makes is private from the beginning. What an older one left readable is made private when the host starts.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Bits of a mode that let others than the owner in.
const OTHERS: u32 = 0o077;

/// Deepest folder below the data directory that is looked into. The host's own are two deep.
const DEPTH_MAX: usize = 8;

/// Makes the data directory, or takes the rights of others from all that is in it. Links are left alone, and so is what they lead to.
///
/// # Errors
/// If the directory cannot be made or read, with the path. A file whose mode cannot be changed is not one of this host's own: the
/// log says so.
pub(super) fn open(data: &Path) -> Result<(), (PathBuf, io::Error)> {
    DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(failed(data))?;
    each(data, tighten)
}

/// Shows the data directory and all that is in it, with their properties, but no links.
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

/// Whether a file or folder lets others than its owner in.
pub fn lets_others_in(meta: &fs::Metadata) -> bool {
    meta.permissions().mode() & OTHERS != 0
}

/// Takes the rights of others from one file or folder.
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
