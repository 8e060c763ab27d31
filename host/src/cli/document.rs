//! Signed documents as files: offers, agreements and receipts, small and never overwritten.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::failure::Failure;
use crate::id::{Digest, IdError};

/// Largest document that is read, in bytes.
pub const DOCUMENT_BYTES_MAX: u64 = 4 << 20;

/// The media type of a DSSE envelope in JSON.
pub const ENVELOPE_TYPE: &str = "application/vnd.dsse.envelope.v1+json";

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

/// Writes a new document.
///
/// # Errors
/// If the file exists already, or cannot be written.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::new(format!(
            "`{}` exists already; signed documents are never overwritten",
            path.display()
        ))
        .fix("name another file with `-o FILE`"),
        _ => Failure::file("write", path, &error),
    };
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
    file.write_all(bytes).map_err(failed)
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
    fn documents_are_small_and_never_overwritten() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.offer");
        write_new(&path, b"one").expect("written");
        let again = write_new(&path, b"two").expect_err("exists");
        assert!(again.to_string().contains("never overwritten"), "{again}");
        assert_eq!(read(&path).expect("read"), b"one");
        File::create(&path).and_then(|file| file.set_len(DOCUMENT_BYTES_MAX + 1)).expect("a file");
        assert!(read(&path).expect_err("large").to_string().contains("4194304"));
    }
}
