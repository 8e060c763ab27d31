//! A host's identity, readiness and status.

use hospes_core::id::{AccountName, Digest, Party};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::operations::{BrokenVersion, RecordAside};
use super::text;
use super::word::words;

/// The response to `GET /healthz` and `GET /readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// The host's state.
    pub status: Healthy,
}

words! {
    /// A host's state.
    Healthy {
        /// The process is live.
        Ok = "ok",
        /// The host is ready for calls.
        Ready = "ready",
    }
}

/// A host's identity: the response to `GET /api/host`.
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

/// A host's status: the response to `GET /status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The key that signs its receipts.
    #[schemars(with = "text::Party")]
    pub party: Party,
    /// Its version.
    pub version: String,
    /// Versions of models that are in service, loaded or not.
    pub models: usize,
    /// What is loaded of them. The others are idle: their next call loads them.
    #[serde(default)]
    pub loaded: Loaded,
    /// Free sandboxes.
    pub sandboxes_free: usize,
    /// Free memory for sandboxes, in bytes.
    pub memory_free_bytes: u64,
    /// Receipts in the log.
    pub receipts: u64,
    /// Actions in the log.
    pub actions: u64,
    /// The backends that compute models.
    pub backends: Vec<Backend>,
    /// The worker processes.
    #[serde(default)]
    pub workers: Workers,
    /// What became of work that had to wait, since the start.
    #[serde(default)]
    pub queue: Queue,
    /// Whether it is stopping and takes no more calls.
    #[serde(default)]
    pub draining: bool,
    /// Versions that are being loaded or wait for that.
    #[serde(default)]
    pub loading: usize,
    /// Versions that failed to load.
    #[serde(default)]
    pub out_of_service: Vec<BrokenVersion>,
    /// Unreadable records.
    #[serde(default)]
    pub records_set_aside: Vec<RecordAside>,
}

/// Models and compiled plugins that are loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Loaded {
    /// Versions.
    pub versions: usize,
    /// Bytes of memory that they take.
    pub bytes: u64,
    /// Bytes that they may take: `inference.memory_bytes`.
    pub bytes_max: u64,
    /// Memory mappings that they take.
    pub mappings: u64,
    /// Memory mappings that they may take: `inference.mappings_max`.
    pub mappings_max: u64,
    /// Loads since the start.
    pub loads: u64,
    /// Versions that were unloaded since the start, to make room.
    pub unloads: u64,
    /// Milliseconds that all loads took together.
    pub load_ms: u64,
}

/// A backend that computes models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Backend {
    /// Its name.
    pub backend: String,
    /// Whether it is usable here.
    pub usable: bool,
}

/// The worker processes that compute models.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Workers {
    /// Their process IDs.
    pub processes: Vec<u32>,
    /// Confinement that the kernel does not support.
    pub confinement_missing: Vec<String>,
    /// Models that crashed a worker.
    pub incidents: Vec<Incident>,
}

/// What became of work that had to wait.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Queue {
    /// Calls that got no sandbox, because they would have ended after their deadline.
    pub calls_late: u64,
    /// Calls that got no sandbox, because their callers had left.
    pub calls_abandoned: u64,
    /// Computations that were not begun, because they would have ended after their call's deadline.
    pub computations_late: u64,
    /// Computations that were not begun, because nobody waited for them any more.
    pub computations_abandoned: u64,
    /// Batches of two rows, of three, and so on to eight.
    pub batches: Vec<u64>,
}

/// A model that crashed a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Incident {
    /// Its publisher.
    #[schemars(with = "text::AccountName")]
    pub publisher: AccountName,
    /// The crashes.
    #[serde(flatten)]
    pub crashes: Crashes,
}

/// A model's crashes of workers, as its publisher and the operator see them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Crashes {
    /// The digest of its weights.
    #[schemars(with = "text::Digest")]
    pub model: Digest,
    /// How the process ended.
    pub how: String,
    /// The number of crashes, less one for each minute without.
    pub times: u32,
    /// Milliseconds until the same caller can use it again.
    pub wait_ms: u64,
}
