//! Models: descriptions of versions, and publishing.

use hospes_core::id::{Digest, FunctionName, ModelName, Party};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text;

/// A version of a model: the response to `GET /{publisher}/{model}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// The first figures about its quality; the bundle has all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evaluations: Vec<Evaluation>,
    /// What it was made from, the latest step first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub derived_from: Vec<Derivation>,
    /// Who trained it and on what, if the bundle has a signed provenance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<Lineage>,
    /// What it does, in Hugging Face's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// A figure about a model's quality.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ModelEvaluation")]
pub struct Evaluation {
    /// The data set's name.
    pub data: String,
    /// SHA-256 of the data set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Digest>")]
    pub data_sha256: Option<Digest>,
    /// What was measured, such as `accuracy`.
    pub metric: String,
    /// The figure.
    pub value: f64,
    /// The lower end of its interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// The upper end of its interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
    /// The number of rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Who found it: `evaluation`, `trainer`, or `publisher`, who states it without a report.
    pub by: String,
}

/// A step from one model to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ModelDerivation")]
pub struct Derivation {
    /// SHA-256 of the earlier bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Digest>")]
    pub bundle: Option<Digest>,
    /// SHA-256 of the earlier model's weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Digest>")]
    pub model: Option<Digest>,
    /// `optimised`, `converted`, `repaired`, `fine-tuned` or `distilled`.
    pub how: String,
}

/// A training, as its signed provenance says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ModelLineage")]
pub struct Lineage {
    /// Who signed, and says to have run the training.
    #[schemars(with = "text::Party")]
    pub signer: Party,
    /// Whether the signer is the model's publisher.
    pub signer_is_publisher: bool,
    /// SHA-256 of the model that the training made.
    #[schemars(with = "text::Digest")]
    pub model: Digest,
    /// Whether that model is in the bundle, byte for byte.
    pub model_in_bundle: bool,
    /// How the bundle's model was made from it, as its publisher says without proof: `optimised`, `converted` or `repaired`. Absent if
    /// it is in the bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_then: Option<String>,
    /// The SLSA build level that it claims: 1 means that the signer says so and nobody else watched.
    pub slsa_build_level: u8,
    /// The program that trained.
    pub trainer: String,
    /// When the training ended.
    pub finished: String,
    /// SHA-256 of the recipe.
    #[schemars(with = "text::Digest")]
    pub recipe: Digest,
    /// The seed of its random numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The first data sets that it read; the bundle has all.
    #[serde(default)]
    pub data: Vec<DataSet>,
    /// The model that it learnt from: a teacher, or what embedded its texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
}

/// A model that a training learnt from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ModelBase")]
pub struct Base {
    /// `publisher/model@version` if it was called, otherwise the name in its bundle or the path of its file.
    pub name: String,
    /// SHA-256 of its bundle or file.
    #[schemars(with = "text::Digest")]
    pub sha256: Digest,
}

/// A data set of a training.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ModelDataSet")]
pub struct DataSet {
    /// Its name in the recipe.
    pub name: String,
    /// SHA-256 of its file, or of the list of its files.
    #[schemars(with = "text::Digest")]
    pub digest: Digest,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its licence, if one is stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
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
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// Whether computations of several calls are joined.
    #[serde(default)]
    pub joined: bool,
    /// How many times as many rows a batch of eight computes in the same time. Absent if that was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_gain: Option<f64>,
    /// Why it was not measured, although the bundle declares an axis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_joined: Option<String>,
}
