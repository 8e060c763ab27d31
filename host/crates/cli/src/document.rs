//! Files that commands read and write: signed documents, which are small, and outputs named by `-o`.
//!
//! No command overwrites a file without `--force`.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;

use super::failure::Failure;
use super::shell;
use hospes_core::id::{Digest, IdError};

/// Largest document to read, in bytes.
pub const DOCUMENT_BYTES_MAX: u64 = 4 << 20;

/// The media type of a DSSE envelope in JSON.
pub const ENVELOPE_TYPE: &str = hospes_wire::envelope::MEDIA_TYPE;

/// A document on the host, named by its digest, or in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    Id(Digest),
    File(PathBuf),
}

impl FromStr for Reference {
    type Err = IdError;

    /// Text that begins like a digest is parsed as one, so that a mistyped digest is not taken for a file name.
    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.starts_with("sha256:") {
            text.parse().map(Reference::Id)
        } else {
            Ok(Reference::File(text.into()))
        }
    }
}

/// Reads a document.
///
/// # Errors
/// If it cannot be read, or is larger than [`DOCUMENT_BYTES_MAX`].
pub fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error| Failure::file("read", path, &error);
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
        return Err(Failure::new(format!(
            "`{}` is larger than {DOCUMENT_BYTES_MAX} bytes, the most for a document",
            path.display()
        )));
    }
    Ok(bytes)
}

/// Whether a command may write over a file.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Force {
    /// Overwrite an existing file.
    #[arg(long)]
    force: bool,
}

impl Force {
    /// Refuses an existing file, before there is work to lose.
    ///
    /// # Errors
    /// If the file exists and may not be overwritten.
    pub fn check(self, path: &Path) -> Result<(), Failure> {
        if self.force || is_stream(path) || fs::symlink_metadata(path).is_err() {
            Ok(())
        } else {
            Err(exists(path))
        }
    }

    /// The same for an output that replaces the whole file. A device or a pipe cannot be replaced.
    ///
    /// # Errors
    /// As [`Force::check`]; if it is not a file, or its folder is not there.
    pub fn check_whole(self, path: &Path) -> Result<(), Failure> {
        if is_stream(path) {
            return Err(Failure::new(format!("`{}` is not a file", path.display())));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            let message =
                format!("there is no folder `{}` for `{}`", folder.display(), path.display());
            return Err(
                Failure::new(message).fix(format!("make it: `mkdir -p {}`", shell::path(folder)))
            );
        }
        self.check(path)
    }

    /// Writes a file.
    ///
    /// # Errors
    /// If the file exists and may not be overwritten, or cannot be written.
    pub fn write(self, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => exists(path),
            _ => Failure::file("write", path, &error),
        };
        if self.is_set() || is_stream(path) {
            return fs::write(path, bytes).map_err(failed);
        }
        // It may have appeared since the check.
        let mut file =
            OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
        file.write_all(bytes).map_err(failed)
    }

    /// Whether overwriting is allowed.
    pub fn is_set(self) -> bool {
        self.force
    }
}

/// Whether writing there overwrites nothing: a device such as `/dev/null`, or a pipe.
fn is_stream(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// The failure for an existing file.
pub fn exists(path: &Path) -> Failure {
    Failure::new(format!("`{}` already exists", path.display()))
        .fix("name another file, or overwrite it with `--force`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_with_a_slip_is_no_file() {
        let id = Digest::of(b"x");
        assert_eq!(id.to_string().parse(), Ok(Reference::Id(id)));
        assert_eq!("iris.offer".parse(), Ok(Reference::File("iris.offer".into())));
        assert!("sha256:12".parse::<Reference>().is_err());
    }

    #[test]
    fn a_missing_folder_is_found_before_the_work() {
        let folder = tempfile::tempdir().expect("a folder");
        let force = Force::default();
        assert_eq!(force.check_whole(&folder.path().join("x.onnx")), Ok(()));
        assert_eq!(force.check_whole(Path::new("x.onnx")), Ok(()));
        let missing = force.check_whole(&folder.path().join("nodir/x.onnx"));
        let missing = missing.expect_err("there is no folder").to_string();
        assert!(missing.contains("nodir`") && missing.contains("mkdir -p"), "{missing}");
    }

    #[test]
    fn documents_are_small_and_overwritten_by_force_only() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.offer");
        let (careful, force) = (Force::default(), Force { force: true });
        careful.check(&path).expect("nothing is there");
        careful.write(&path, b"one").expect("written");
        for again in [careful.check(&path), careful.write(&path, b"two")] {
            let again = again.expect_err("exists").to_string();
            assert!(again.contains("already exists") && again.contains("`--force`"), "{again}");
        }
        assert_eq!(read(&path).expect("read"), b"one");
        force.check(&path).and_then(|()| force.write(&path, b"2")).expect("overwritten");
        assert_eq!(read(&path).expect("read"), b"2");
        careful.write(Path::new("/dev/null"), b"x").expect("nothing is lost there");
        File::create(&path).and_then(|file| file.set_len(DOCUMENT_BYTES_MAX + 1)).expect("a file");
        assert!(read(&path).expect_err("large").to_string().contains("4194304"));
    }
}
