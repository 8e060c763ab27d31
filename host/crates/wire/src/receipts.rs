//! Receipts, and the log that they are leaves of. What proves something is checked by `hospes-receipt`; here is how it is written.

use hospes_core::id::{Digest, FunctionName, ModelName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text;

/// A page of the caller's receipts: the answer to `GET /api/receipts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Receipts")]
pub struct Page {
    /// The receipts, the newest first.
    pub receipts: Vec<Receipt>,
    /// The call that the next page begins after, while there is more.
    #[serde(default)]
    #[schemars(with = "Option<text::CallId>")]
    pub next: Option<String>,
}

/// A receipt in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// The call.
    #[schemars(with = "text::CallId")]
    pub call: String,
    /// When it ended.
    #[schemars(with = "text::Time")]
    pub at: String,
    /// The model.
    #[schemars(with = "text::ModelName")]
    pub model: ModelName,
    /// The function.
    #[schemars(with = "text::FunctionName")]
    pub function: FunctionName,
    /// What it came to, for people.
    pub result: String,
    /// The agreement that allowed it.
    #[serde(default)]
    #[schemars(with = "Option<text::Digest>")]
    pub agreement: Option<Digest>,
    /// Calls of the rule, with this one.
    #[serde(default)]
    pub used: Option<u64>,
    /// Most calls of the rule, if they are limited.
    #[serde(default)]
    pub max: Option<u64>,
}

/// A receipt, and that it is in the log: the answer to `GET /api/receipts/{call}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ReceiptProof")]
pub struct Proof {
    /// The receipt in CBOR, signed, in base64.
    pub receipt: String,
    /// Its place in the log, from 0.
    pub index: u64,
    /// The hashes from the leaf up to the root, in base64.
    pub path: Vec<String>,
    /// The signed size and root of the log.
    pub checkpoint: String,
    /// What opens the receipt's commitments, if whoever keeps the file has put it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
}

/// That a log is the beginning of a later one: the answer to `GET /api/log/consistency`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "LogConsistency")]
pub struct Consistency {
    /// Leaves of the earlier log.
    pub from: u64,
    /// Leaves of the later one.
    pub to: u64,
    /// The hashes that lead from one root to the other, in base64.
    pub path: Vec<String>,
}
