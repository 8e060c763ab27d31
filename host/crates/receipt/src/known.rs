//! What somebody shows of a host's log: a receipt with its proof, an action with its proof, or a checkpoint alone. Each tells how far
//! the log had come, so a log that was put back from a backup can be seen to be an older one.

use super::checkpoint::Checkpoint;
use super::proof::Verified;
use super::tree::Hash;
use super::{Action, ProofError, Receipt, ReceiptProof};
use hospes_core::id::{Digest, Party};

/// Something of a log, signed by its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    checkpoint: String,
    size: u64,
    root: Hash,
    place: Option<(u64, Digest)>,
    shown: Shown,
}

/// What it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    Receipt(Box<Receipt>),
    Action(Box<Action>),
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

    /// The checkpoint that covers it, a signed note.
    pub fn checkpoint(&self) -> &str {
        &self.checkpoint
    }

    /// How many receipts and actions the log had at least.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root over them.
    pub(super) fn root(&self) -> Hash {
        self.root
    }

    /// The place in the log of what is shown, and its hash there; a checkpoint alone has none.
    pub fn place(&self) -> Option<(u64, Digest)> {
        self.place
    }

    pub fn shown(&self) -> &Shown {
        &self.shown
    }
}
