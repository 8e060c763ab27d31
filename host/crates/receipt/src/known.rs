//! Evidence of a host's log: a receipt or an action with its proof, or a checkpoint alone. Each shows how large the log was at least, and so
//! whether a restored log has lost entries.

use super::checkpoint::Checkpoint;
use super::proof::Verified;
use super::tree::Hash;
use super::{Action, ProofError, Receipt, ReceiptProof};
use hospes_core::id::{Digest, Party};

/// Evidence of a log, signed by its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    checkpoint: String,
    size: u64,
    root: Hash,
    place: Option<(u64, Digest)>,
    shown: Shown,
}

/// Its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    Receipt(Box<Receipt>),
    Action(Box<Action>),
    /// A checkpoint alone, which shows only the log's size.
    Checkpoint,
}

impl Known {
    /// Parses a file, and verifies `host`'s signature on it.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn parse(text: &[u8], host: &Party) -> Result<Self, ProofError> {
        if text.trim_ascii_start().first() != Some(&b'{') {
            let checkpoint = String::from_utf8_lossy(text).into_owned();
            let Checkpoint { size, root, .. } = Checkpoint::verify(&checkpoint, host)
                .ok_or(ProofError::Checkpoint { host: *host })?;
            return Ok(Self { checkpoint, size, root, place: None, shown: Shown::Checkpoint });
        }
        let proof = ReceiptProof::parse(text)?;
        match proof.verify(host) {
            Ok(proven) => Ok(Self::of(&proof, proven, Shown::Receipt)),
            Err(ProofError::Receipt(error)) => {
                let proven = proof.verify_action(host).map_err(|_| ProofError::Receipt(error))?;
                Ok(Self::of(&proof, proven, Shown::Action))
            }
            Err(error) => Err(error),
        }
    }

    fn of<T>(proof: &ReceiptProof, proven: Verified<T>, shown: fn(Box<T>) -> Shown) -> Self {
        Self {
            checkpoint: proof.checkpoint().to_owned(),
            size: proven.size(),
            root: proven.root(),
            place: Some((proven.index(), *proven.hash())),
            shown: shown(Box::new(proven.into_inner())),
        }
    }

    /// The checkpoint that covers the evidence, a signed note.
    pub fn checkpoint(&self) -> &str {
        &self.checkpoint
    }

    /// The log's minimum size.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root hash.
    pub(super) fn root(&self) -> Hash {
        self.root
    }

    /// The leaf's index and hash; `None` for a checkpoint alone.
    pub fn place(&self) -> Option<(u64, Digest)> {
        self.place
    }

    pub fn shown(&self) -> &Shown {
        &self.shown
    }
}
