//! What somebody shows of a host's log: a receipt with its proof, an action with its proof, or a checkpoint alone. Each tells how far
//! the log had come, so a log that was put back from a backup can be seen to be an older one.

use super::{Action, ProofError, Receipt, ReceiptProof, checkpoint_size};
use hospes_core::id::Party;

/// Something of a log, signed by its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    checkpoint: String,
    size: u64,
    shown: Shown,
}

/// What it shows, each with its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    Receipt(Box<Receipt>, u64),
    Action(Box<Action>, u64),
    /// Only that the log has come so far.
    Checkpoint,
}

impl Known {
    /// Reads a file, and checks that `host` signed what it shows.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn parse(text: &[u8], host: &Party) -> Result<Self, ProofError> {
        if text.trim_ascii_start().first() != Some(&b'{') {
            let checkpoint = String::from_utf8_lossy(text).into_owned();
            let size = checkpoint_size(&checkpoint, host)?;
            return Ok(Self { checkpoint, size, shown: Shown::Checkpoint });
        }
        let proof = ReceiptProof::parse(text)?;
        let (shown, size) = match proof.verify(host) {
            Ok(proven) => {
                let (index, size) = (proven.index(), proven.size());
                (Shown::Receipt(Box::new(proven.into_inner()), index), size)
            }
            Err(ProofError::Receipt(error)) => {
                let proven = proof.verify_action(host).map_err(|_| ProofError::Receipt(error))?;
                let (index, size) = (proven.index(), proven.size());
                (Shown::Action(Box::new(proven.into_inner()), index), size)
            }
            Err(error) => return Err(error),
        };
        Ok(Self { checkpoint: proof.checkpoint().to_owned(), size, shown })
    }

    /// The checkpoint that covers it, a signed note.
    pub fn checkpoint(&self) -> &str {
        &self.checkpoint
    }

    /// How many receipts and actions the log had at least.
    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn shown(&self) -> &Shown {
        &self.shown
    }
}
