//! Receipts. A receipt is the record of one call, and is written before the response is released.
//!
//! A receipt is part of two structures. Its *chain* links the receipts of one agreement by number and hash, so that a party that keeps its
//! receipts notices a missing one. (Calls without an agreement form one chain per caller.) The *log* has all receipts of the host in one
//! Merkle tree (RFC 6962) with signed checkpoints, so that a [`ReceiptProof`] verifies without the host. This crate does not know agreements
//! and counts nothing: the caller of [`Log::append`] decides what is charged. The surprise: a receipt contains only salted commitments to
//! input and output, and only the caller gets the salt.

mod action;
mod checkpoint;
mod commitment;
mod consistency;
mod encode;
mod known;
mod log;
mod proof;
mod record;
#[cfg(test)]
mod tests;
mod tree;

use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;

use jiff::Timestamp;

use hospes_core::id::{CallId, Digest, FunctionName, ModelName, Party};
use hospes_core::outcome::Spoken;

pub use action::{Action, Actor, Deed, NewAction, REASON_BYTES_MAX, TARGET_BYTES_MAX};
pub use commitment::{Commitment, Salt};
pub use consistency::{Consistency, checkpoint_size};
pub use encode::FormError;
pub use known::{Known, Shown};
pub use log::{CHECKPOINT_FILE, LOG_FILE, Log, LogPlace, Prefix};
pub use proof::{PROOF_BYTES_MAX, ProofError, ReceiptProof, Verified};

/// Size of a log without receipts, in bytes.
pub const EMPTY_LOG_BYTES: u64 = record::MAGIC.len() as u64;

/// Maximum size of a receipt's CBOR, in bytes. A typical receipt has about 400.
pub const RECEIPT_BYTES_MAX: usize = 4096;

/// A record of one call, with the members of its [`Draft`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    draft: Draft,
    /// The receipt's index in its chain, from 0.
    pub sequence: u64,
    /// The leaf hash (RFC 6962 section 2.1) of the previous receipt in its chain; 32 zero bytes for the first.
    pub previous: Digest,
}

impl Deref for Receipt {
    type Target = Draft;

    fn deref(&self) -> &Draft {
        &self.draft
    }
}

/// A receipt that has no place in chain and log yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    pub call: CallId,
    /// When the receipt was made, to the microsecond.
    pub at: Timestamp,
    pub caller: Party,
    /// The publisher of the called model.
    pub publisher: Party,
    pub chain: ChainId,
    /// The agreement that permitted or refused the call. A call that ran without an agreement was a publisher's own.
    pub agreement: Option<Digest>,
    pub model: ModelName,
    /// The bundle that ran.
    pub bundle: Digest,
    pub function: FunctionName,
    /// The number of the agreement's permission that counted the call, from 0.
    pub rule: Option<u16>,
    /// Calls counted under that permission, including this one. `None` if this call was not counted.
    pub used: Option<u64>,
    /// Maximum calls under the permission.
    pub max: Option<u64>,
    /// Rows of the call's batch and tokens of its computations, if they are counted.
    pub rows: Option<u64>,
    pub tokens: Option<u64>,
    /// Tokens of language models, if the call spoke with one.
    pub spoken: Option<Spoken>,
    /// The call's price, in millionths of the agreement's currency.
    pub price: Option<u64>,
    /// The purpose that the caller declared.
    pub purpose: Option<Box<str>>,
    pub input: Commitment,
    pub output: Option<Commitment>,
    pub input_bytes: u64,
    pub output_bytes: u64,
    /// How long the plugin ran.
    pub wall_micros: u64,
    /// Peak memory of the plugin.
    pub memory_bytes: u64,
    pub result: CallResult,
}

/// A receipt's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChainId {
    /// The receipts under an agreement.
    Agreement(Digest),
    /// A party's calls without an agreement: refused ones, and those of its own models.
    Caller(Party),
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallResult {
    /// The plugin returned a result.
    Answered,
    /// The plugin returned an error.
    Refused,
    /// The plugin failed.
    Failed { code: Box<str> },
    /// The host refused the call. Nothing ran.
    Denied { code: Box<str> },
}

/// A written receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Issued {
    pub call: CallId,
    /// When the call ended.
    pub at: Timestamp,
    /// Its index in the log, from 0.
    pub index: u64,
    pub used: Option<u64>,
    pub max: Option<u64>,
}

/// Why a receipt could not be written or found.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    #[error("`{0}` is not a salt: write it as 64 lower-case hexadecimal digits")]
    Salt(String),
    #[error(
        "`{0}` cannot name a log: use 1 to 200 printable ASCII characters without spaces and `+`"
    )]
    Origin(String),
    #[error("`{}` could not be opened or read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("`{}` could not be written", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("`{}` is in use by another process; only one host may write a log", path.display())]
    InUse { path: PathBuf },
    #[error("`{}` is damaged at byte {offset}: {reason}; restore it from a copy", path.display())]
    Damaged { path: PathBuf, offset: u64, reason: String },
    #[error(
        "the checkpoint in `{}` does not belong to this host's key and the log `{origin}`; start the host with the key and name that wrote it",
        path.display()
    )]
    OtherLog { path: PathBuf, origin: String },
    #[error(
        "the log holds {size} receipts, which differ from the {signed} that its checkpoint signs; restore it from a copy"
    )]
    RolledBack { size: u64, signed: u64 },
    #[error("the receipt could come to {bytes} bytes, more than the {RECEIPT_BYTES_MAX} allowed")]
    TooLarge { bytes: usize },
    #[error("call `{0}` already has a receipt")]
    Repeated(CallId),
    #[error(
        "the log's latest checkpoint signs {signed} receipts: there is no proof from {from} to {to}"
    )]
    NoSuchState { from: u64, to: u64, signed: u64 },
    #[error("call `{0}` has no receipt")]
    NotFound(CallId),
    #[error("there is no action `{0}`")]
    NoAction(u64),
    #[error(
        "an action has a target of at most {TARGET_BYTES_MAX} bytes and a reason of at most {REASON_BYTES_MAX} bytes, each on one line"
    )]
    UnsoundAction,
    #[error(
        "the code of the result is {bytes} bytes, more than the {} allowed",
        encode::CODE_BYTES_MAX
    )]
    CodeTooLong { bytes: usize },
    #[error(
        "the log holds {size} receipts, and its checkpoint `{}` is missing; restore both from a copy",
        path.display()
    )]
    NoCheckpoint { path: PathBuf, size: u64 },
    #[error("there is no room for more receipts in `{}`, so the host takes no calls until there is", path.display())]
    Full { path: PathBuf },
    #[error(
        "an earlier write of receipts failed (`{cause}`), so none is written until that is fixed"
    )]
    Stopped { cause: String },
    #[error("the thread that writes checkpoints could not be started")]
    Thread(#[source] std::io::Error),
}

impl ReceiptError {
    /// Whether the disk currently rejects receipts. This may be temporary.
    pub fn is_for_now(&self) -> bool {
        matches!(
            self,
            ReceiptError::Write { .. } | ReceiptError::Full { .. } | ReceiptError::Stopped { .. }
        )
    }
}

impl Draft {
    /// Whether a publisher called its own model, which needs no agreement. In older logs, every receipt without an agreement is for a
    /// refused call.
    pub fn is_own_call(&self) -> bool {
        self.agreement.is_none()
            && self.caller == self.publisher
            && !matches!(self.result, CallResult::Denied { .. })
    }

    /// Checks that the receipt can be serialised within the limits, whatever place it gets.
    fn check(&self) -> Result<(), ReceiptError> {
        let code = match &self.result {
            CallResult::Answered | CallResult::Refused => 0,
            CallResult::Failed { code } | CallResult::Denied { code } => code.len(),
        };
        if code > encode::CODE_BYTES_MAX {
            return Err(ReceiptError::CodeTooLong { bytes: code });
        }
        let ModelName { publisher, label } = &self.model;
        let model = publisher.as_str().len() + "/".len() + label.as_str().len();
        let purpose = self.purpose.as_deref().map_or(0, str::len);
        let texts = model + self.function.as_str().len() + purpose + code;
        let bytes = encode::BYTES_BESIDE_TEXTS_MAX + texts;
        if bytes > RECEIPT_BYTES_MAX { Err(ReceiptError::TooLarge { bytes }) } else { Ok(()) }
    }

    /// The receipt, at its place in its chain.
    fn at(self, sequence: u64, previous: Digest) -> Receipt {
        // Rounded to microseconds, as it is written, so that the receipt in memory equals the one that is read back.
        let at = Timestamp::from_microsecond(self.at.as_microsecond()).unwrap_or(self.at);
        Receipt { draft: Draft { at, ..self }, sequence, previous }
    }
}

impl fmt::Display for CallResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallResult::Answered => f.write_str("answered"),
            CallResult::Refused => f.write_str("refused by the plugin"),
            CallResult::Failed { code } => write!(f, "failed: {code}"),
            CallResult::Denied { code } => write!(f, "denied: {code}"),
        }
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChainId::Agreement(agreement) => write!(f, "agreement {agreement}"),
            ChainId::Caller(party) => write!(f, "caller {party}"),
        }
    }
}
