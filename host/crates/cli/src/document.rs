//! Files that commands read and write: signed documents, which are small, and whatever else goes where `-o` says.
//!
//! One rule for all that write: a file that exists is not overwritten without `--force`.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;

use super::failure::Failure;
use hospes_core::id::{Digest, IdError};

/// Largest document that is read, in bytes.
pub const DOCUMENT_BYTES_MAX: u64 = 4 << 20;

/// The media type of a DSSE envelope in JSON.
pub const ENVELOPE_TYPE: &str = hospes_wire::envelope::MEDIA_TYPE;

/// A document on the host, by its digest, or in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    Id(Digest),
    File(PathBuf),
}

impl FromStr for Reference {
    type Err = IdError;

    /// What begins as a digest is one: a slip of the pen in it is not taken for a file's name.
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
            "`{}` is larger than {DOCUMENT_BYTES_MAX} bytes, so it is no such document",
            path.display()
        )));
    }
    Ok(bytes)
}

/// Whether a command may write over a file.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Force {
    /// Overwrite a file that exists.
    #[arg(long)]
    force: bool,
}

impl Force {
    /// Refuses a file that is in the way, before there is work that would be lost.
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

    /// The same for what takes the file's place as a whole, which a device or a pipe cannot have.
    ///
    /// # Errors
    /// As [`Force::check`]; if it is not a file.
    pub fn check_whole(self, path: &Path) -> Result<(), Failure> {
        if is_stream(path) {
            return Err(Failure::new(format!("`{}` is not a file", path.display())));
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
        // It may have come since it was checked.
        let mut file =
            OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
        file.write_all(bytes).map_err(failed)
    }

    /// Whether it may.
    pub fn is_set(self) -> bool {
        self.force
    }
}

/// Whether nothing is lost by writing there: a device such as `/dev/null`, or a pipe.
fn is_stream(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// Says that a file is in the way.
pub fn exists(path: &Path) -> Failure {
    Failure::new(format!("`{}` exists already", path.display()))
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
    fn documents_are_small_and_overwritten_by_force_only() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.offer");
        let (careful, force) = (Force::default(), Force { force: true });
        careful.check(&path).expect("nothing is there");
        careful.write(&path, b"one").expect("written");
        for again in [careful.check(&path), careful.write(&path, b"two")] {
            let again = again.expect_err("exists").to_string();
            assert!(again.contains("exists already") && again.contains("`--force`"), "{again}");
        }
        assert_eq!(read(&path).expect("read"), b"one");
        force.check(&path).and_then(|()| force.write(&path, b"2")).expect("overwritten");
        assert_eq!(read(&path).expect("read"), b"2");
        careful.write(Path::new("/dev/null"), b"x").expect("nothing is lost there");
        File::create(&path).and_then(|file| file.set_len(DOCUMENT_BYTES_MAX + 1)).expect("a file");
        assert!(read(&path).expect_err("large").to_string().contains("4194304"));
    }
}
