//! Where a model comes from: an in-toto Statement (version 1) with SLSA Provenance (version 1) about one training, signed in DSSE.
//!
//! [`Training`] says what went in and what came out, each by digest. [`Training::sign`] makes the document, [`Provenance::parse`] reads it
//! back and verifies the signature. The document claims what it can prove, SLSA build level 1: its signer says how the model was made, and
//! nobody else watched. Members that in-toto and SLSA allow others to add are ignored, as both require; members of our own build type are
//! strict. [`check`](Provenance::check) compares a document with the files that are at hand.

mod compare;
mod listing;
mod statement;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use hospes_core::dsse::{DsseError, Envelope};
use hospes_core::files::{self, FilesError, Found};
use hospes_core::id::{Digest, Party};
use hospes_core::key::PartyKey;

pub use compare::{Check, Finding, Places};
pub use listing::{Listing, PARTS_MAX, Part};

/// The payload type of in-toto statements in DSSE (in-toto attestation specification, envelope).
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// The build type of a training by `hospes train`: what the parameters of the statement mean.
pub const BUILD_TYPE: &str = "urn:hospes:train:1";

/// Most data sets of a training.
pub const DATA_SETS_MAX: usize = 64;

/// Most files, folders and commits of a training's code.
pub const CODE_MAX: usize = 64;

/// Most parameters of a training.
pub const PARAMETERS_MAX: usize = 256;

/// Longest name, path, licence or version in a provenance, in bytes.
pub const PROVENANCE_TEXT_BYTES_MAX: usize = 512;

/// Why a provenance was refused.
#[derive(Debug, thiserror::Error)]
pub enum ProvenanceError {
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error("the envelope is refused: use the `provenance.dsse` that `hospes train` wrote")]
    Envelope(#[from] DsseError),
    #[error("the payload has type `{found}`, not `{PAYLOAD_TYPE}`: it is not an in-toto statement")]
    PayloadType { found: String },
    #[error("the provenance has {count} signatures; it must have one, of who ran the training")]
    Signers { count: usize },
    #[error("the payload is not an in-toto statement with SLSA provenance in JSON")]
    Statement(#[source] serde_json::Error),
    #[error("`{member}` is `{found}`, not `{expected}`: this version reads only that")]
    Kind { member: &'static str, found: String, expected: &'static str },
    #[error(
        "`builder.id` is `{found}`, but `{signer}` signed: who runs the training must sign for it"
    )]
    Builder { found: String, signer: Party },
    #[error("`{member}` is missing: a training is not proven without it")]
    Missing { member: &'static str },
    #[error("`{name}` has no digest that can be compared: record it by `{expected}`")]
    Digest { name: String, expected: &'static str },
    #[error("the provenance lists {count} {what}, more than the {count_max} allowed")]
    TooMany { what: &'static str, count: usize, count_max: usize },
    #[error(
        "`{member}` has {bytes} bytes, more than the {PROVENANCE_TEXT_BYTES_MAX} allowed: shorten it"
    )]
    TextTooLong { member: &'static str, bytes: usize },
    #[error("`{member}` holds a control character: write it as plain text")]
    ControlCharacter { member: &'static str },
    #[error("the training ends before it starts: correct `finished`")]
    Backwards,
}

/// A file, by digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Its name, without a folder: `model.onnx`.
    pub name: String,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What a data set, or code, consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// One file.
    File { sha256: Digest, bytes: u64 },
    /// All files of a folder, or of a pair, such as the pictures and labels of IDX.
    Folder(Listing),
}

/// A data set that a training read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSet {
    /// Its channel in the recipe: `train`, `test`.
    pub name: String,
    /// Its path as the recipe says it, so that it can be found again. Not resolved: it says nothing about the machine.
    pub path: Option<String>,
    pub content: Content,
    /// Its licence, as an SPDX expression if there is one (Croissant's `license`).
    pub licence: Option<String>,
}

/// The code of a training that does not run natively.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Code {
    /// A commit of a Git repository without changes.
    Git {
        /// 40 or 64 hexadecimal digits.
        commit: String,
        /// Where the repository is, if it is known.
        uri: Option<String>,
    },
    /// A file, or a folder with all files in it.
    Files {
        /// Its path as the recipe says it.
        path: String,
        content: Content,
    },
}

/// The model that a training learnt from: a bundle whose embeddings it read, or a teacher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Its name: `acme/embed@1.2.0`, or a file's.
    pub name: String,
    /// SHA-256 of the bundle or the file.
    pub sha256: Digest,
}

/// The program that ran the training.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trainer {
    /// Its name: `hospes-train`, `python`.
    pub name: String,
    pub version: String,
}

/// One training: what went in, what came out.
#[derive(Debug, Clone, PartialEq)]
pub struct Training {
    /// The model that came out.
    pub model: Artifact,
    /// The report about it, with its figures.
    pub report: Option<Artifact>,
    /// The events of the run, line by line.
    pub events: Option<Artifact>,
    /// The recipe's file.
    pub recipe: Artifact,
    /// The seed of its random numbers.
    pub seed: Option<u64>,
    /// The parameters as they were used, by name: those of the recipe, with what the command line changed.
    pub parameters: BTreeMap<String, Value>,
    /// How it ran: threads, whether it was confined. Nothing that changes the result should be here only.
    pub environment: BTreeMap<String, Value>,
    pub data: Vec<DataSet>,
    /// The code, if the training did not run natively: each file or folder of it.
    pub code: Vec<Code>,
    /// The file that pins the versions of the code's libraries.
    pub lock: Option<Artifact>,
    pub base: Option<Base>,
    pub trainer: Trainer,
    pub started: Timestamp,
    pub finished: Timestamp,
}

/// A training, with a valid signature by who says to have run it. Only [`Provenance::parse`] makes one.
#[derive(Debug, Clone, PartialEq)]
pub struct Provenance {
    signer: Party,
    training: Training,
}

/// The most important of a training, small enough to keep for every live version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainingSummary {
    pub signer: Party,
    /// The SLSA build level that the provenance claims.
    pub level: u8,
    /// SHA-256 of the model that came out.
    pub model: Digest,
    pub trainer: Trainer,
    pub finished: Timestamp,
    /// SHA-256 of the recipe.
    pub recipe: Digest,
    pub seed: Option<u64>,
    /// The first data sets.
    pub data: Vec<DataSummary>,
    pub base: Option<Base>,
}

/// The most important of a data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataSummary {
    pub name: String,
    pub digest: Digest,
    pub bytes: u64,
    pub licence: Option<String>,
}

/// Most data sets of a summary.
pub const DATA_SUMMARIES_MAX: usize = 8;

impl Artifact {
    /// A file that is in memory.
    pub fn of_bytes(name: impl Into<String>, bytes: &[u8]) -> Self {
        Self { name: name.into(), sha256: Digest::of(bytes), bytes: bytes.len() as u64 }
    }

    /// A file on disk, under its own name.
    ///
    /// # Errors
    /// [`ProvenanceError::Files`].
    pub fn of_file(path: &Path) -> Result<Self, ProvenanceError> {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let (sha256, bytes) = files::read_file(path)?;
        Ok(Self { name, sha256, bytes })
    }
}

impl From<Found> for Content {
    fn from(found: Found) -> Self {
        match found {
            Found::File { digest, bytes } => Self::File { sha256: digest, bytes },
            Found::Files(files) => Self::Folder(files.into()),
        }
    }
}

impl Content {
    /// The file or folder at `path`, or the files whose names begin so, read completely.
    ///
    /// # Errors
    /// [`ProvenanceError::Files`].
    pub fn of(path: &Path) -> Result<Self, ProvenanceError> {
        Ok(files::read(path)?.into())
    }

    /// Its digest: SHA-256 of a file's bytes, or of a folder's listing.
    pub fn digest(&self) -> Digest {
        match self {
            Self::File { sha256, .. } => *sha256,
            Self::Folder(listing) => listing.digest,
        }
    }

    /// How many files there are.
    pub fn files(&self) -> u64 {
        match self {
            Self::File { .. } => 1,
            Self::Folder(listing) => listing.files,
        }
    }

    /// The size of its files together, in bytes.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::File { bytes, .. } => *bytes,
            Self::Folder(listing) => listing.bytes,
        }
    }
}

impl Training {
    /// Signs the training as run by the owner of `key`, and returns the envelope for `provenance.dsse`.
    ///
    /// # Errors
    /// If something in it exceeds its limit; [`DsseError::PayloadTooLarge`] if all together does.
    pub fn sign(&self, key: &PartyKey) -> Result<Envelope, ProvenanceError> {
        let payload = statement::write(self, key.party())?;
        Ok(Envelope::sign(PAYLOAD_TYPE, payload, key)?)
    }
}

impl Provenance {
    /// Reads an envelope's text and verifies its signature.
    ///
    /// # Errors
    /// [`ProvenanceError`]. A document of another build type or level is refused, because nothing here could check it.
    pub fn parse(envelope: &[u8]) -> Result<Self, ProvenanceError> {
        let envelope = Envelope::parse(envelope)?;
        if envelope.payload_type() != PAYLOAD_TYPE {
            return Err(ProvenanceError::PayloadType { found: shown(envelope.payload_type()) });
        }
        let signers: Vec<Party> = envelope.signers().collect();
        let [signer] = signers[..] else {
            return Err(ProvenanceError::Signers { count: signers.len() });
        };
        envelope.signers_are(&[signer])?;
        let training = statement::read(envelope.payload(), signer)?;
        Ok(Self { signer, training })
    }

    /// Who signed, and says to have run the training.
    pub fn signer(&self) -> Party {
        self.signer
    }

    /// What was signed.
    pub fn training(&self) -> &Training {
        &self.training
    }

    /// The most important of it.
    pub fn summary(&self) -> TrainingSummary {
        let Training { model, trainer, finished, recipe, seed, data, base, .. } = &self.training;
        let data = data.iter().take(DATA_SUMMARIES_MAX).map(|data| DataSummary {
            name: data.name.clone(),
            digest: data.content.digest(),
            bytes: data.content.bytes(),
            licence: data.licence.clone(),
        });
        TrainingSummary {
            signer: self.signer,
            level: self.level(),
            model: model.sha256,
            trainer: trainer.clone(),
            finished: *finished,
            recipe: recipe.sha256,
            seed: *seed,
            data: data.collect(),
            base: base.clone(),
        }
    }

    /// The SLSA build level that it claims. Higher ones need a builder that the publisher does not control.
    pub fn level(&self) -> u8 {
        1
    }
}

/// Shortens untrusted text for an error message and makes it printable.
pub(super) fn shown(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 80;
    text.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect()
}
