//! Errors.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Prefix of the code in a problem's type.
pub const TYPE_PREFIX: &str = "urn:hospes:problem:";

/// A problem (RFC 9457): the response of every route that fails.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// `urn:hospes:problem:` and a code, for programs.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The code's meaning.
    #[serde(default)]
    pub title: String,
    /// The HTTP status.
    #[serde(default)]
    pub status: u16,
    /// What is wrong, for people.
    #[serde(default)]
    pub detail: String,
    /// Further machine-readable members, by kind of problem.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

impl Problem {
    /// The code: the end of its type.
    pub fn code(&self) -> &str {
        self.kind.strip_prefix(TYPE_PREFIX).unwrap_or_default()
    }
}
