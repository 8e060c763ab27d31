//! What a trainer printed, in a file.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::prepare::remove;
use crate::run::RunError;

/// The file of a trainer's output. Only so much of it is kept.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
    bytes_max: u64,
    bytes: u64,
}

impl Log {
    /// A new file of at most `bytes_max` bytes, in place of an earlier run's.
    ///
    /// # Errors
    /// [`RunError::File`].
    pub fn create(path: &Path, bytes_max: u64) -> Result<Self, RunError> {
        remove(path)?;
        let failed = |source| RunError::File { path: path.to_owned(), source };
        // Not through a link that somebody has put there meanwhile.
        let file = File::options().write(true).create_new(true).open(path).map_err(failed)?;
        Ok(Self::of(path, file, bytes_max))
    }

    /// A file that is open already.
    pub(crate) fn of(path: &Path, file: File, bytes_max: u64) -> Self {
        Self { path: path.to_owned(), file, bytes_max, bytes: 0 }
    }

    /// Adds a piece of output as far as it fits. The last line of a full log says so.
    ///
    /// # Errors
    /// [`RunError::Log`].
    pub(crate) fn write(&mut self, piece: &[u8]) -> Result<(), RunError> {
        let added = self.add(piece);
        added.map_err(|source| RunError::Log { path: self.path.clone(), source })
    }

    fn add(&mut self, piece: &[u8]) -> io::Result<()> {
        let left = self.bytes_max - self.bytes;
        if left == 0 {
            return Ok(());
        }
        let fits = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.file.write_all(&piece[..fits])?;
        self.bytes += fits as u64;
        if self.bytes == self.bytes_max {
            let most = self.bytes_max;
            write!(self.file, "\n[the log ends here: {most} bytes of output are kept]\n")?;
        }
        Ok(())
    }
}
