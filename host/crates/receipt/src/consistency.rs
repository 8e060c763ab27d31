//! Proofs that a log has only grown: an earlier signed state is a prefix of a later one (RFC 6962 section 2.1.2). They verify without the
//! host.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::checkpoint::Checkpoint;
use super::tree::{self, Hash, PROOF_HASHES_MAX};
use super::{PROOF_BYTES_MAX, ProofError};
use hospes_core::id::Party;

/// Maximum hashes of a consistency proof.
const HASHES_MAX: usize = 2 * PROOF_HASHES_MAX;

/// A proof that the log with `from` receipts is a prefix of the log with `to` receipts. It is unverified until [`Consistency::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consistency {
    from: u64,
    to: u64,
    path: Vec<Hash>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    from: u64,
    to: u64,
    path: Vec<String>,
}

impl Consistency {
    pub(super) fn new(from: u64, to: u64, path: Vec<Hash>) -> Self {
        Self { from, to, path }
    }

    /// Parses a file without verifying it.
    ///
    /// # Errors
    /// [`ProofError::TooLarge`], [`ProofError::Malformed`].
    pub fn parse(text: &[u8]) -> Result<Self, ProofError> {
        if text.len() > PROOF_BYTES_MAX {
            return Err(ProofError::TooLarge { bytes: text.len() });
        }
        let malformed = |reason: &str| ProofError::Malformed(reason.chars().take(200).collect());
        let wire: Wire =
            serde_json::from_slice(text).map_err(|error| malformed(&error.to_string()))?;
        if wire.path.len() > HASHES_MAX {
            return Err(malformed("`/path` has more than 128 hashes"));
        }
        let hashes = wire.path.iter().map(|hash| STANDARD.decode(hash).ok()?.try_into().ok());
        let path = hashes
            .collect::<Option<_>>()
            .ok_or_else(|| malformed("`/path` holds something that is not a base64 hash"))?;
        Ok(Self { from: wire.from, to: wire.to, path })
    }

    /// The content of the proof's file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let path = self.path.iter().map(|hash| STANDARD.encode(hash)).collect();
        let wire = Wire { from: self.from, to: self.to, path };
        let mut text = serde_json::to_vec_pretty(&wire)
            .expect("invariant: texts, lists and integers always serialise");
        text.push(b'\n');
        text
    }

    /// Verifies that the log in `old` is a prefix of that in `new`, both checkpoints of the same log of `host`.
    ///
    /// # Errors
    /// [`ProofError::Checkpoint`], [`ProofError::OtherLog`], [`ProofError::OtherSizes`], [`ProofError::Inconsistent`].
    pub fn verify(&self, old: &str, new: &str, host: &Party) -> Result<(), ProofError> {
        let signed = |note: &str| {
            Checkpoint::verify(note, host).ok_or(ProofError::Checkpoint { host: *host })
        };
        let (old, new) = (signed(old)?, signed(new)?);
        if old.origin != new.origin {
            return Err(ProofError::OtherLog);
        }
        if (self.from, self.to) != (old.size, new.size) {
            let (from, to, old, new) = (self.from, self.to, old.size, new.size);
            return Err(ProofError::OtherSizes { from, to, old, new });
        }
        if tree::is_consistent((old.size, old.root), (new.size, new.root), &self.path) {
            Ok(())
        } else {
            Err(ProofError::Inconsistent { old: old.size, new: new.size })
        }
    }
}

/// The number of receipts in a checkpoint.
///
/// # Errors
/// [`ProofError::Checkpoint`] if `host` did not sign it.
pub fn checkpoint_size(note: &str, host: &Party) -> Result<u64, ProofError> {
    let checkpoint = Checkpoint::verify(note, host);
    checkpoint.map(|signed| signed.size).ok_or(ProofError::Checkpoint { host: *host })
}
