//! Receipts and the log that contains them. `hospes-receipt` verifies proofs; this is their form.

use hospes_core::id::{Digest, FunctionName, ModelName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text;

/// A page of the caller's receipts: the response to `GET /api/receipts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Receipts")]
pub struct Page {
    /// The receipts, newest first.
    pub receipts: Vec<Receipt>,
    /// The call after which the next page begins, if there is one.
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
    /// Its outcome, as text.
    pub result: String,
    /// The agreement that permitted it.
    #[serde(default)]
    #[schemars(with = "Option<text::Digest>")]
    pub agreement: Option<Digest>,
    /// Calls under the rule, including this one.
    #[serde(default)]
    pub used: Option<u64>,
    /// Maximum calls under the rule, if limited.
    #[serde(default)]
    pub max: Option<u64>,
}

/// A receipt with its inclusion proof: the response to `GET /api/receipts/{call}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ReceiptProof")]
pub struct Proof {
    /// The receipt in CBOR, signed, in base64.
    pub receipt: String,
    /// Its index in the log, from 0.
    pub index: u64,
    /// The hashes from the leaf up to the root, in base64.
    pub path: Vec<String>,
    /// The signed size and root of the log.
    pub checkpoint: String,
    /// The salt that opens the receipt's commitments, if the file's owner has added it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
}

/// A consistency proof between two states of the log: the response to `GET /api/log/consistency`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "LogConsistency")]
pub struct Consistency {
    /// Leaves of the earlier state.
    pub from: u64,
    /// Leaves of the later state.
    pub to: u64,
    /// The hashes that lead from one root to the other, in base64.
    pub path: Vec<String>,
}
