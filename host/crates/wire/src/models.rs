//! Models: descriptions of versions, and publishing.

use hospes_core::id::{Digest, FunctionName, ModelName, Party};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text;

/// A version of a model: the response to `GET /{publisher}/{model}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Description {
    /// The model.
    #[schemars(with = "text::ModelName")]
    pub model: ModelName,
    /// The version.
    pub version: String,
    /// SHA-256 of the bundle.
    #[schemars(with = "text::Digest")]
    pub digest: Digest,
    /// The publisher's key.
    #[schemars(with = "text::Party")]
    pub publisher: Party,
    /// A one-line summary.
    pub summary: String,
    /// The licence, as an SPDX expression.
    pub licence: String,
    /// Its callable functions.
    pub functions: Vec<Function>,
}

/// A function of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Function {
    /// Its name, the last segment of its path.
    #[schemars(with = "text::FunctionName")]
    pub name: FunctionName,
    /// Its signature, as text.
    pub signature: String,
}

/// A bundle is live: the response to `POST /api/bundles`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PublishedVersion")]
pub struct Published {
    /// The model.
    #[schemars(with = "text::ModelName")]
    pub model: ModelName,
    /// The version.
    pub version: String,
    /// SHA-256 of the bundle.
    #[schemars(with = "text::Digest")]
    pub digest: Digest,
    /// The names of its callable functions.
    #[schemars(with = "Vec<text::FunctionName>")]
    pub functions: Vec<FunctionName>,
    /// The trial run of each ONNX model in the bundle.
    #[serde(default)]
    pub models: Vec<Tried>,
}

/// An ONNX model's trial run with the smallest inputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tried {
    /// Its name in the bundle.
    pub name: String,
    /// The backend that computed it.
    pub backend: String,
    /// Its duration in milliseconds. Absent if the model rejected the generated inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub computed_ms: Option<f64>,
    /// Why it rejected them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_computed: Option<String>,
}
