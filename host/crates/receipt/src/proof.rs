//! A receipt that verifies without the host: its bytes, its inclusion proof, and the signed checkpoint that covers it.
//!
//! It proves that the holder of the host's key has signed a log that contains this receipt. It does not prove that the host shows everybody
//! the same log. To check that, parties compare checkpoints.

use std::ops::Deref;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::checkpoint::Checkpoint;
use super::encode::FormError;
use super::tree::{self, Hash, PROOF_HASHES_MAX};
use super::{Action, Commitment, Receipt, Salt};
use hospes_core::id::{Digest, Party};

/// Maximum size of a proof's file, in bytes.
pub const PROOF_BYTES_MAX: usize = 16 * 1024;

/// A receipt with its inclusion proof. It is unverified until [`ReceiptProof::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptProof {
    receipt: Vec<u8>,
    index: u64,
    path: Vec<Hash>,
    checkpoint: String,
    salt: Option<Salt>,
}

/// A leaf with a verified proof that it is in a host's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T> {
    value: T,
    hash: Digest,
    index: u64,
    origin: String,
    size: u64,
    root: Hash,
}

/// The bytes of a call that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CallBytes {
    Input,
    Output,
}

/// Why a proof is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("the file is {bytes} bytes, more than the {PROOF_BYTES_MAX} allowed")]
    TooLarge { bytes: usize },
    #[error("the file is not a receipt with its proof: {0}")]
    Malformed(String),
    #[error("the proof does not hold a receipt")]
    Receipt(#[source] FormError),
    #[error("the checkpoint is not signed by `{host}`, or was changed")]
    Checkpoint { host: Party },
    #[error("the receipt is not in the log that the checkpoint signs, or was changed")]
    NotIncluded,
    #[error("the two checkpoints are from different logs")]
    OtherLog,
    #[error(
        "the proof is for logs of {from} and {to} receipts, but the checkpoints are for {old} and {new}"
    )]
    OtherSizes { from: u64, to: u64, old: u64, new: u64 },
    #[error(
        "the log of {new} receipts does not begin with the {old} signed earlier: receipts were dropped or changed"
    )]
    Inconsistent { old: u64, new: u64 },
    #[error("the salt is missing, so the bytes cannot be compared; only the caller got it")]
    NoSalt,
    #[error("the receipt names no {0}: the call gave none")]
    Absent(&'static str),
    #[error("these {bytes} bytes are not the {part} of the call, which has {wanted}")]
    OtherBytes { part: &'static str, bytes: u64, wanted: u64 },
}

impl ReceiptProof {
    pub(super) fn new(receipt: Vec<u8>, index: u64, path: Vec<Hash>, checkpoint: String) -> Self {
        Self { receipt, index, path, checkpoint, salt: None }
    }

    /// Parses a file without verifying it.
    ///
    /// # Errors
    /// [`ProofError::TooLarge`], [`ProofError::Malformed`].
    pub fn parse(text: &[u8]) -> Result<Self, ProofError> {
        if text.len() > PROOF_BYTES_MAX {
            return Err(ProofError::TooLarge { bytes: text.len() });
        }
        let wire: Wire =
            serde_json::from_slice(text).map_err(|error| malformed(&error.to_string()))?;
        if wire.path.len() > PROOF_HASHES_MAX {
            return Err(malformed("`/path` has more than 64 hashes"));
        }
        let path = wire
            .path
            .iter()
            .map(|hash| STANDARD.decode(hash).ok()?.try_into().ok())
            .collect::<Option<_>>()
            .ok_or_else(|| malformed("`/path` holds something that is not a base64 hash"))?;
        let salt = wire.salt.as_deref().map(str::parse).transpose();
        Ok(Self {
            receipt: STANDARD
                .decode(&wire.receipt)
                .map_err(|_| malformed("`/receipt` is not canonical base64 with padding"))?,
            index: wire.index,
            path,
            checkpoint: wire.checkpoint,
            salt: salt.map_err(|_| malformed("`/salt` is not 64 lower-case hexadecimal digits"))?,
        })
    }

    /// The content of the proof's file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let wire = Wire {
            receipt: STANDARD.encode(&self.receipt),
            index: self.index,
            path: self.path.iter().map(|hash| STANDARD.encode(hash)).collect(),
            checkpoint: self.checkpoint.clone(),
            salt: self.salt.map(|salt| salt.to_hex()),
        };
        let mut text = serde_json::to_vec_pretty(&wire)
            .expect("invariant: texts, lists and integers always serialise");
        text.push(b'\n');
        text
    }

    /// Adds the salt, which only the caller has.
    #[must_use]
    pub fn with_salt(self, salt: Salt) -> Self {
        Self { salt: Some(salt), ..self }
    }

    /// The checkpoint that covers the receipt, an unverified signed note.
    pub fn checkpoint(&self) -> &str {
        &self.checkpoint
    }

    pub fn salt(&self) -> Option<&Salt> {
        self.salt.as_ref()
    }

    /// Checks that the log of `host` contains the receipt.
    ///
    /// # Errors
    /// [`ProofError::Receipt`], [`ProofError::Checkpoint`], [`ProofError::NotIncluded`].
    pub fn verify(&self, host: &Party) -> Result<Verified<Receipt>, ProofError> {
        self.verified(Receipt::parse(&self.receipt).map_err(ProofError::Receipt)?, host)
    }

    /// Checks that the log of `host` contains the action.
    ///
    /// # Errors
    /// As [`ReceiptProof::verify`].
    pub fn verify_action(&self, host: &Party) -> Result<Verified<Action>, ProofError> {
        self.verified(Action::parse(&self.receipt).map_err(ProofError::Receipt)?, host)
    }

    fn verified<T>(&self, value: T, host: &Party) -> Result<Verified<T>, ProofError> {
        let checkpoint = Checkpoint::verify(&self.checkpoint, host)
            .ok_or(ProofError::Checkpoint { host: *host })?;
        let leaf = tree::leaf(&self.receipt);
        let root = tree::root_of(self.index, checkpoint.size, leaf, &self.path);
        if root != Some(checkpoint.root) {
            return Err(ProofError::NotIncluded);
        }
        Ok(Verified {
            value,
            hash: Digest::from_bytes(leaf),
            index: self.index,
            origin: checkpoint.origin,
            size: checkpoint.size,
            root: checkpoint.root,
        })
    }
}

impl<T> Verified<T> {
    /// The proven leaf.
    pub fn get(&self) -> &T {
        &self.value
    }

    pub fn into_inner(self) -> T {
        self.value
    }

    /// The receipt's leaf hash. The next receipt of its chain contains it.
    pub fn hash(&self) -> &Digest {
        &self.hash
    }

    /// The receipt's index in the log, from 0.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The log's name.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The number of receipts when the checkpoint was signed.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root hash.
    pub(super) fn root(&self) -> Hash {
        self.root
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl Receipt {
    /// Checks that `bytes` are the call's arguments.
    ///
    /// # Errors
    /// [`ProofError::NoSalt`], [`ProofError::OtherBytes`].
    pub fn check_input(&self, salt: Option<&Salt>, bytes: &[u8]) -> Result<(), ProofError> {
        check(CallBytes::Input, Some(&self.input), self.input_bytes, salt, bytes)
    }

    /// Checks that `bytes` are the call's response.
    ///
    /// # Errors
    /// [`ProofError::NoSalt`], [`ProofError::Absent`], [`ProofError::OtherBytes`].
    pub fn check_output(&self, salt: Option<&Salt>, bytes: &[u8]) -> Result<(), ProofError> {
        check(CallBytes::Output, self.output.as_ref(), self.output_bytes, salt, bytes)
    }
}

impl CallBytes {
    fn label(self) -> &'static str {
        match self {
            CallBytes::Input => "input",
            CallBytes::Output => "output",
        }
    }
}

fn check(
    part: CallBytes,
    commitment: Option<&Commitment>,
    wanted: u64,
    salt: Option<&Salt>,
    bytes: &[u8],
) -> Result<(), ProofError> {
    let part = part.label();
    let commitment = commitment.ok_or(ProofError::Absent(part))?;
    let salt = salt.ok_or(ProofError::NoSalt)?;
    if bytes.len() as u64 == wanted && commitment.opens(salt, part, bytes) {
        return Ok(());
    }
    Err(ProofError::OtherBytes { part, bytes: bytes.len() as u64, wanted })
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    receipt: String,
    index: u64,
    path: Vec<String>,
    checkpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    salt: Option<String>,
}

fn malformed(reason: &str) -> ProofError {
    const REASON_CHARS_MAX: usize = 200;
    ProofError::Malformed(
        reason.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX).collect(),
    )
}
