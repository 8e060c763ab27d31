//! Who a host is, whether it takes calls, and what runs on it.

use hospes_core::id::{AccountName, Digest, Party};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::operations::{BrokenVersion, RecordAside};
use super::text;
use super::word::words;

/// The answer to `GET /healthz` and `GET /readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// How the host is.
    pub status: Healthy,
}

words! {
    /// How a host is.
    Healthy {
        /// The process answers.
        Ok = "ok",
        /// The host takes calls.
        Ready = "ready",
    }
}

/// Who a host is: the answer to `GET /api/host`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Host {
    /// The key that signs its receipts.
    #[schemars(with = "text::Party")]
    pub party: Party,
    /// Its log of receipts.
    pub log: Log,
    /// Its version.
    pub version: String,
}

/// A host's log of receipts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Log {
    /// Its name, the first line of every checkpoint.
    pub origin: String,
    /// The key that verifies checkpoints, as `vkey` of signed notes.
    pub verifier: String,
}

/// What runs on a host: the answer to `GET /status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The key that signs its receipts.
    #[schemars(with = "text::Party")]
    pub party: Party,
    /// Its version.
    pub version: String,
    /// Versions of models that are live.
    pub models: usize,
    /// Sandboxes that are free.
    pub sandboxes_free: usize,
    /// Memory for sandboxes that is free, in bytes.
    pub memory_free_bytes: u64,
    /// Receipts in the log.
    pub receipts: u64,
    /// Actions in the log.
    pub actions: u64,
    /// What computes models.
    pub backends: Vec<Backend>,
    /// The processes that do.
    #[serde(default)]
    pub workers: Workers,
    /// Whether it is about to stop and takes no more calls.
    #[serde(default)]
    pub draining: bool,
    /// Versions that have yet to be loaded since it started.
    #[serde(default)]
    pub loading: usize,
    /// Versions that could not be brought back.
    #[serde(default)]
    pub out_of_service: Vec<BrokenVersion>,
    /// Records that could not be read.
    #[serde(default)]
    pub records_set_aside: Vec<RecordAside>,
}

/// What computes models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Backend {
    /// Its name.
    pub backend: String,
    /// Whether it can be used here.
    pub usable: bool,
}

/// The processes that compute models.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Workers {
    /// Their numbers, as the kernel has them.
    pub processes: Vec<u32>,
    /// What the kernel did not let them give up.
    pub confinement_missing: Vec<String>,
    /// Models that ended such a process.
    pub incidents: Vec<Incident>,
}

/// A model that ended the process which computed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Incident {
    /// Whose model it is.
    #[schemars(with = "text::AccountName")]
    pub publisher: AccountName,
    /// The digest of its weights.
    #[schemars(with = "text::Digest")]
    pub model: Digest,
    /// How the process ended.
    pub how: String,
    /// How often that has happened, less one for each minute without.
    pub times: u32,
    /// Milliseconds until it can be computed again by the same caller.
    pub wait_ms: u64,
}
