//! The current log, for copying. It is a prefix of the file, which later receipts do not change.

use std::fs::File;

use super::{Log, Signed, read_error};
use crate::ReceiptError;

/// A prefix of the log's file, and the checkpoint that signs it.
pub struct Prefix {
    file: File,
    bytes: u64,
    size: u64,
    checkpoint: String,
}

impl Log {
    /// Signs a checkpoint of the current log, and opens the file.
    ///
    /// # Errors
    /// [`ReceiptError::Write`], [`ReceiptError::Stopped`], [`ReceiptError::Read`].
    pub fn prefix(&self) -> Result<Prefix, ReceiptError> {
        self.shared.flush()?;
        let Signed { note: checkpoint, size, .. } = self.shared.signed();
        let path = &self.shared.path;
        let file = File::open(path).map_err(|source| read_error(path, source))?;
        let bytes = {
            let state = self.shared.state();
            let behind = usize::try_from(size).ok().and_then(|size| state.offsets.get(size));
            behind.copied().unwrap_or(state.end)
        };
        Ok(Prefix { file, bytes, size, checkpoint })
    }
}

impl Prefix {
    /// The file, from its beginning. It may be longer than [`Prefix::bytes`].
    pub fn file(&self) -> &File {
        &self.file
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The number of receipts and actions.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The checkpoint, a signed note.
    pub fn checkpoint(&self) -> &str {
        &self.checkpoint
    }
}
