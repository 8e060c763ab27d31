//! A bundle's manifest: the JSON of its `hospes:manifest` section, format 1.
//!
//! Serialisation is deterministic: members in the order of the structs below, absent ones omitted, no spaces. Parsing is strict: unknown or
//! duplicate members and out-of-range values are rejected. `verify` checks the claims about component and weights.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::lineage::{self, DERIVATIONS_MAX, Derivation, EVALUATIONS_MAX, Evaluation};
use super::names::{Export, GraphName, Licence};
use hospes_core::backend::{BackendKind, Device};
use hospes_core::id::{Digest, FunctionName, ModelLabel, Party};

/// The only format that this version of the host reads and writes.
pub const MANIFEST_FORMAT: u32 = 1;
/// Largest manifest, in bytes of JSON.
pub const MANIFEST_BYTES_MAX: usize = 1 << 20;
/// Maximum functions of a bundle.
pub const FUNCTIONS_MAX: usize = 256;
/// Maximum documented types.
pub const TYPES_MAX: usize = 1024;
/// Maximum members of a documented type.
pub const MEMBERS_MAX: usize = 1024;
/// Longest name of a type or a member, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// Maximum models in a bundle.
pub const MODELS_MAX: usize = 64;
/// Longest version, in bytes.
pub const VERSION_BYTES_MAX: usize = 64;
/// Longest summary, in bytes.
pub const SUMMARY_BYTES_MAX: usize = 512;
/// Longest text of a card or a function's documentation, in bytes.
pub const TEXT_BYTES_MAX: usize = 16 << 10;
/// Most tags, languages, data sets, metrics or base models of a card.
pub const CARD_LIST_MAX: usize = 64;
/// Longest entry of such a list, in bytes.
pub const CARD_ENTRY_BYTES_MAX: usize = 256;
/// Highest batch axis. The host accepts no tensor with more dimensions.
pub const BATCH_AXIS_MAX: u32 = 7;

/// Why a manifest was refused.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("the manifest has {bytes} bytes, more than the {MANIFEST_BYTES_MAX} allowed")]
    TooLarge { bytes: usize },
    #[error("the manifest is not the JSON that format {MANIFEST_FORMAT} describes")]
    Json(#[source] serde_json::Error),
    #[error("the manifest has format {found}, but this host reads format {MANIFEST_FORMAT}")]
    Format { found: u32 },
    #[error("the manifest lists {count} {what}, more than the {count_max} allowed")]
    TooMany { what: &'static str, count: usize, count_max: usize },
    #[error("the manifest lists {what} `{name}` twice")]
    Duplicate { what: &'static str, name: String },
    #[error("`{member}` has {bytes} bytes, more than the {bytes_max} allowed")]
    TextTooLong { member: &'static str, bytes: usize, bytes_max: usize },
    #[error("`{member}` holds a control character: write it as plain text")]
    ControlCharacter { member: &'static str },
    #[error("`summary` is empty: say in one line what the model does")]
    SummaryEmpty,
    #[error("version `{0}` carries build metadata, which does not order versions: drop the `+…`")]
    BuildMetadata(semver::Version),
    #[error("`{member}` is 0: leave it out for the host's own limit")]
    ZeroLimit { member: &'static str },
    #[error("model `{model}` has batch axis {axis}, more than the highest, {BATCH_AXIS_MAX}")]
    BatchAxis { model: GraphName, axis: u32 },
    #[error(
        "model `{model}` is a decoder, whose sequences the host batches: leave out `batch_axis`"
    )]
    DecoderBatch { model: GraphName },
    #[error("an entry of `derived_from` has no digest: give `bundle`, `model` or both")]
    FromNothing,
    #[error("the interval of `{metric}` does not hold its value: correct `low` and `high`")]
    Interval { metric: String },
}

/// A bundle's manifest. [`Manifest::parse`] and [`Manifest::to_json`] check the rules that its types alone do not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always [`MANIFEST_FORMAT`].
    pub format: u32,
    /// The model's name within its publisher.
    pub name: ModelLabel,
    /// Semantic version, without build metadata. A published version never changes.
    pub version: semver::Version,
    /// The key that signed the bundle. Absent until it is signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publisher: Option<Party>,
    /// The model's licence.
    pub licence: Licence,
    /// One line on what the model does.
    pub summary: String,
    /// What a user should know before using the model.
    #[serde(default, skip_serializing_if = "Card::is_empty")]
    pub card: Card,
    /// The functions that callers may invoke. Other exports of the component are never exposed.
    pub functions: Vec<FunctionSpec>,
    /// Documentation of the functions' types.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<TypeSpec>,
    /// The models that the guest may load, in the order of their sections.
    pub models: Vec<ModelSpec>,
    /// Permissions that the guest requests besides computing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<Privilege>,
    /// Limits that the guest requests. The host may grant less.
    #[serde(default, skip_serializing_if = "RequestedLimits::is_empty")]
    pub limits: RequestedLimits,
    /// What the models were made from, the latest step first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub derived_from: Vec<Derivation>,
    /// What is known about the models' quality.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evaluations: Vec<Evaluation>,
}

/// The model card, for people and for search.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intended_use: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limitations: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training_data: Option<String>,
    /// The languages of its texts, as codes such as `en`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub languages: Vec<String>,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The names of data sets that it was trained on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub datasets: Vec<String>,
    /// The names of the metrics that it was judged by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<String>,
    /// The names of the models that it was made from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub base_models: Vec<String>,
    /// What it does, in Hugging Face's words: `image-classification`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
}

/// One function that callers may invoke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionSpec {
    /// The name in URLs and agreements.
    pub name: FunctionName,
    /// The component's export that it calls.
    pub export: Export,
    /// The documentation comment in the WIT, which a component does not contain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docs: Option<String>,
}

/// A named type with its documentation. A component contains neither, so the type is matched by the names of its members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypeSpec {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docs: Option<String>,
    /// The fields of a record, the cases of a variant or an enum, the flags, or the parameters of a resource's constructor, in their
    /// order.
    pub members: Vec<MemberSpec>,
}

/// A member of a type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberSpec {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docs: Option<String>,
}

/// One model of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// The name by which the guest loads it.
    pub name: GraphName,
    /// How the weights are encoded.
    pub encoding: Encoding,
    /// Digest of the weights.
    pub sha256: Digest,
    /// Size of the weights.
    pub bytes: u64,
    /// The axis along which inputs of several calls may be joined; `None` if they must not be joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_axis: Option<u32>,
    /// Where the model must run.
    #[serde(default)]
    pub device: Device,
    /// The backend that the publisher measured the model with, if that matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<BackendKind>,
}

/// How weights are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    Onnx,
    /// A language model as data, for which hosts write the graph.
    Decoder,
}

/// Permissions that a guest can request. This version of the host grants none, so a manifest that requests one is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Privilege {}

/// Limits that a guest requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestedLimits {
    /// Linear memory of one call, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Maximum duration of one call, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
}

impl Card {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn check_lists(&self) -> Result<(), ManifestError> {
        for (member, list) in [
            ("card.languages", &self.languages),
            ("card.tags", &self.tags),
            ("card.datasets", &self.datasets),
            ("card.metrics", &self.metrics),
            ("card.base_models", &self.base_models),
        ] {
            at_most(member, list.len(), CARD_LIST_MAX)?;
            list.iter().try_for_each(|entry| check_line(member, entry))?;
        }
        check_line("card.task", self.task.as_deref().unwrap_or_default())
    }
}

impl RequestedLimits {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The only member that every format has.
#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

impl Manifest {
    /// Reads a manifest section.
    ///
    /// # Errors
    /// [`ManifestError`]. The format is checked first, to distinguish a newer bundle from a malformed one.
    pub fn parse(json: &[u8]) -> Result<Self, ManifestError> {
        if json.len() > MANIFEST_BYTES_MAX {
            return Err(ManifestError::TooLarge { bytes: json.len() });
        }
        let FormatOnly { format } = serde_json::from_slice(json).map_err(ManifestError::Json)?;
        if format != MANIFEST_FORMAT {
            return Err(ManifestError::Format { found: format });
        }
        let manifest: Self = serde_json::from_slice(json).map_err(ManifestError::Json)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The bytes of the manifest section. Equal manifests have equal bytes.
    ///
    /// # Errors
    /// If [`Manifest::parse`] would refuse them.
    pub fn to_json(&self) -> Result<Vec<u8>, ManifestError> {
        self.check()?;
        let json = serde_json::to_vec(self).map_err(ManifestError::Json)?;
        if json.len() > MANIFEST_BYTES_MAX {
            return Err(ManifestError::TooLarge { bytes: json.len() });
        }
        Ok(json)
    }

    fn check(&self) -> Result<(), ManifestError> {
        if self.format != MANIFEST_FORMAT {
            return Err(ManifestError::Format { found: self.format });
        }
        self.check_texts()?;
        at_most("functions", self.functions.len(), FUNCTIONS_MAX)?;
        at_most("types", self.types.len(), TYPES_MAX)?;
        at_most("models", self.models.len(), MODELS_MAX)?;
        at_most("steps in `derived_from`", self.derived_from.len(), DERIVATIONS_MAX)?;
        at_most("evaluations", self.evaluations.len(), EVALUATIONS_MAX)?;
        lineage::check(self)?;
        distinct("function", self.functions.iter().map(|function| function.name.as_str()))?;
        distinct("model", self.models.iter().map(|model| model.name.as_str()))?;
        for model in &self.models {
            if let Some(axis) = model.batch_axis.filter(|axis| *axis > BATCH_AXIS_MAX) {
                return Err(ManifestError::BatchAxis { model: model.name.clone(), axis });
            }
            if model.encoding == Encoding::Decoder && model.batch_axis.is_some() {
                return Err(ManifestError::DecoderBatch { model: model.name.clone() });
            }
        }
        for (member, limit) in [
            ("limits.memory_bytes", self.limits.memory_bytes),
            ("limits.deadline_ms", self.limits.deadline_ms),
        ] {
            if limit == Some(0) {
                return Err(ManifestError::ZeroLimit { member });
            }
        }
        Ok(())
    }

    fn check_texts(&self) -> Result<(), ManifestError> {
        if !self.version.build.is_empty() {
            return Err(ManifestError::BuildMetadata(self.version.clone()));
        }
        if self.summary.trim().is_empty() {
            return Err(ManifestError::SummaryEmpty);
        }
        if self.summary.contains('\n') {
            return Err(ManifestError::ControlCharacter { member: "summary" });
        }
        check_text("version", &self.version.to_string(), VERSION_BYTES_MAX)?;
        check_text("summary", &self.summary, SUMMARY_BYTES_MAX)?;
        for (member, text) in [
            ("card.intended_use", &self.card.intended_use),
            ("card.limitations", &self.card.limitations),
            ("card.training_data", &self.card.training_data),
        ] {
            check_text(member, text.as_deref().unwrap_or_default(), TEXT_BYTES_MAX)?;
        }
        self.card.check_lists()?;
        for function in &self.functions {
            let docs = function.docs.as_deref().unwrap_or_default();
            check_text("functions.docs", docs, TEXT_BYTES_MAX)?;
        }
        for ty in &self.types {
            at_most("members of a type", ty.members.len(), MEMBERS_MAX)?;
            check_text("types.name", &ty.name, NAME_BYTES_MAX)?;
            check_text("types.docs", ty.docs.as_deref().unwrap_or_default(), TEXT_BYTES_MAX)?;
            for member in &ty.members {
                let docs = member.docs.as_deref().unwrap_or_default();
                check_text("types.members.name", &member.name, NAME_BYTES_MAX)?;
                check_text("types.members.docs", docs, TEXT_BYTES_MAX)?;
            }
        }
        Ok(())
    }
}

/// A short text of one line.
fn check_line(member: &'static str, text: &str) -> Result<(), ManifestError> {
    check_text(member, text, CARD_ENTRY_BYTES_MAX)?;
    if text.contains('\n') {
        return Err(ManifestError::ControlCharacter { member });
    }
    Ok(())
}

/// Rejects control characters that would disturb a terminal or a log line. Line breaks are allowed.
pub(super) fn check_text(
    member: &'static str,
    text: &str,
    bytes_max: usize,
) -> Result<(), ManifestError> {
    if text.len() > bytes_max {
        return Err(ManifestError::TextTooLong { member, bytes: text.len(), bytes_max });
    }
    if text.chars().any(|c| c.is_control() && c != '\n') {
        return Err(ManifestError::ControlCharacter { member });
    }
    Ok(())
}

fn at_most(what: &'static str, count: usize, count_max: usize) -> Result<(), ManifestError> {
    if count > count_max {
        return Err(ManifestError::TooMany { what, count, count_max });
    }
    Ok(())
}

fn distinct<'a>(
    what: &'static str,
    mut names: impl Iterator<Item = &'a str>,
) -> Result<(), ManifestError> {
    let mut seen = BTreeSet::new();
    match names.find(|name| !seen.insert(*name)) {
        Some(name) => Err(ManifestError::Duplicate { what, name: name.to_owned() }),
        None => Ok(()),
    }
}
