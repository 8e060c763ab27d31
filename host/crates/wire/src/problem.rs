//! Why there is no answer.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What stands before the code in a problem's type.
pub const TYPE_PREFIX: &str = "urn:hospes:problem:";

/// A problem (RFC 9457): the answer of every route that does not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// `urn:hospes:problem:` and a code. Programs go by this one.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// What the code stands for.
    #[serde(default)]
    pub title: String,
    /// The HTTP status.
    #[serde(default)]
    pub status: u16,
    /// What is wrong here, for people.
    #[serde(default)]
    pub detail: String,
    /// More for programs, by the kind of problem.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

impl Problem {
    /// The code: what its type ends with.
    pub fn code(&self) -> &str {
        self.kind.strip_prefix(TYPE_PREFIX).unwrap_or_default()
    }
}
