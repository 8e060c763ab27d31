//! Models: what a version says of itself, and publishing one.

use hospes_core::id::{Digest, FunctionName, ModelName, Party};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text;

/// A version of a model: the answer to `GET /{publisher}/{model}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Description {
    /// The model.
    #[schemars(with = "text::ModelName")]
    pub model: ModelName,
    /// Which version of it.
    pub version: String,
    /// SHA-256 of the bundle.
    #[schemars(with = "text::Digest")]
    pub digest: Digest,
    /// The key of the account that publishes the model.
    #[schemars(with = "text::Party")]
    pub publisher: Party,
    /// What it does, in a line.
    pub summary: String,
    /// The licence, as an SPDX expression.
    pub licence: String,
    /// What can be called.
    pub functions: Vec<Function>,
}

/// A function of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Function {
    /// Its name, the last part of the path that calls it.
    #[schemars(with = "text::FunctionName")]
    pub name: FunctionName,
    /// What it takes and gives, for people.
    pub signature: String,
}

/// A bundle is live: the answer to `POST /api/bundles`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PublishedVersion")]
pub struct Published {
    /// The model.
    #[schemars(with = "text::ModelName")]
    pub model: ModelName,
    /// Which version of it.
    pub version: String,
    /// SHA-256 of the bundle.
    #[schemars(with = "text::Digest")]
    pub digest: Digest,
    /// The names of what can be called.
    #[schemars(with = "Vec<text::FunctionName>")]
    pub functions: Vec<FunctionName>,
    /// How each ONNX model in the bundle did when it was tried.
    #[serde(default)]
    pub models: Vec<Tried>,
}

/// How an ONNX model did with the smallest inputs that it takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tried {
    /// Its name in the bundle.
    pub name: String,
    /// What computed it.
    pub backend: String,
    /// How long that took, in milliseconds. Absent if the model refused the inputs that the host had invented.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub computed_ms: Option<f64>,
    /// Why it refused them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_computed: Option<String>,
}
