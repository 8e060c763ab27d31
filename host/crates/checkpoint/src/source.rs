//! Where a file's bytes come from. Models are larger than memory, so they are read in parts.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Bytes that can be read at any place.
pub trait Source {
    /// How many there are.
    ///
    /// # Errors
    /// If the file system does not say.
    fn size(&self) -> io::Result<u64>;

    /// Fills `out` from this place.
    ///
    /// # Errors
    /// If there are fewer bytes, or they cannot be read.
    fn fill(&self, at: u64, out: &mut [u8]) -> io::Result<()>;
}

impl Source for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn fill(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(out, at)
    }
}

impl Source for Vec<u8> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn fill(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        let rest = usize::try_from(at).ok().and_then(|at| self.get(at..));
        match rest.and_then(|rest| rest.get(..out.len())) {
            Some(bytes) => {
                out.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
