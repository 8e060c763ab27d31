//! What a manifest says about a model's origin and quality, and whether that fits the provenance in the bundle.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, de};

use super::manifest::{Manifest, ManifestError, check_text};
use super::provenance::{Provenance, shown};
use hospes_core::id::Digest;

/// Most steps that a bundle lists in `derived_from`.
pub const DERIVATIONS_MAX: usize = 16;
/// Most evaluations of a bundle.
pub const EVALUATIONS_MAX: usize = 64;
/// Longest name of a data set or a metric, in bytes.
pub const EVALUATION_TEXT_BYTES_MAX: usize = 256;

/// The bundle's provenance does not name its model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the provenance is about the model {named}, which is not in the bundle, nor does `derived_from` list it: pack the model that was trained, or say with `--derived-from` how this one was made from it"
)]
pub struct OtherModel {
    /// The digest of the model that the provenance names.
    pub named: Digest,
}

/// Something that the bundle's models were made from. At least one of the digests is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Derivation {
    /// The digest of its bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<Digest>,
    /// The digest of its weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Digest>,
    /// What was done to it.
    pub how: How,
}

/// What was done to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// Made smaller or faster: quantised, pruned, cleaned up.
    Optimised,
    /// Written in another format.
    Converted,
    /// Changed when it was packed, so that hosts accept it.
    Repaired,
    /// Trained on other data, from its weights.
    FineTuned,
    /// It taught the bundle's model.
    Distilled,
}

/// One figure about the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// The data set's name.
    pub data: String,
    /// The data set's digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_sha256: Option<Digest>,
    /// What was measured: `accuracy`.
    pub metric: String,
    pub value: Figure,
    /// The interval's ends, with the confidence that the report gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<Figure>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<Figure>,
    /// The number of rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Who found it.
    pub by: FoundBy,
}

/// Who found a figure. The publisher signs all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FoundBy {
    /// `hospes evaluate`, by running the model in the host's own executor.
    Evaluation,
    /// The program that trained the model.
    Trainer,
    /// The publisher, who states it without a report.
    Publisher,
}

/// A finite number, so that equal manifests have equal bytes.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Figure(f64);

/// A number is neither infinite nor NaN, so it equals itself.
impl Eq for Figure {}

/// The number is infinite or not a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a figure must be finite: leave the metric out")]
pub struct NotFinite;

impl TryFrom<f64> for Figure {
    type Error = NotFinite;

    fn try_from(value: f64) -> Result<Self, NotFinite> {
        // -0 would have other bytes than 0.
        if value.is_finite() { Ok(Self(value + 0.0)) } else { Err(NotFinite) }
    }
}

impl Figure {
    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Figure {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(f64::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl fmt::Display for FoundBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FoundBy::Evaluation => "evaluation",
            FoundBy::Trainer => "trainer",
            FoundBy::Publisher => "publisher",
        })
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            How::Optimised => "optimised",
            How::Converted => "converted",
            How::Repaired => "repaired",
            How::FineTuned => "fine-tuned",
            How::Distilled => "distilled",
        })
    }
}

/// Text does not say what was done to a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a way to make one model from another: write `optimised`, `converted`, `repaired`, `fine-tuned` or `distilled`"
)]
pub struct HowError(String);

impl FromStr for How {
    type Err = HowError;

    fn from_str(text: &str) -> Result<Self, HowError> {
        // The command is `hospes optimize`.
        let text = if text == "optimized" { "optimised" } else { text };
        let found = Self::ALL.into_iter().find(|how| how.to_string() == text);
        found.ok_or_else(|| HowError(shown(text)))
    }
}

impl How {
    /// Every one.
    pub const ALL: [Self; 5] =
        [Self::Optimised, Self::Converted, Self::Repaired, Self::FineTuned, Self::Distilled];

    /// Whether the result is the same model in another form, so that a proof of its training still says where it comes from.
    pub fn keeps_training(self) -> bool {
        match self {
            How::Optimised | How::Converted | How::Repaired => true,
            How::FineTuned | How::Distilled => false,
        }
    }
}

/// Checks what the types of a manifest's lineage do not.
pub(super) fn check(manifest: &Manifest) -> Result<(), ManifestError> {
    for step in &manifest.derived_from {
        if step.bundle.is_none() && step.model.is_none() {
            return Err(ManifestError::FromNothing);
        }
    }
    for one in &manifest.evaluations {
        for (member, text) in [("evaluations.data", &one.data), ("evaluations.metric", &one.metric)]
        {
            check_text(member, text, EVALUATION_TEXT_BYTES_MAX)?;
            if text.contains('\n') {
                return Err(ManifestError::ControlCharacter { member });
            }
        }
        let below = one.low.is_none_or(|low| low <= one.value);
        if !below || one.high.is_some_and(|high| high < one.value) {
            return Err(ManifestError::Interval { metric: one.metric.clone() });
        }
    }
    Ok(())
}

/// Whether a model is in the bundle, if only repaired so that hosts accept it.
pub(super) fn is_packed(model: Digest, manifest: &Manifest) -> bool {
    let before = manifest.derived_from.iter().filter(|step| step.how == How::Repaired);
    let before = before.filter_map(|step| step.model);
    manifest.models.iter().map(|spec| spec.sha256).chain(before).any(|found| found == model)
}

/// Whether the bundle's models were made from this one, as the manifest says.
pub(super) fn is_ancestor(model: Digest, manifest: &Manifest) -> bool {
    manifest.derived_from.iter().any(|step| [step.model, step.bundle].contains(&Some(model)))
}

/// How the model that a training made became one of the bundle's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trained {
    /// It is in the bundle, byte for byte.
    Here,
    /// The bundle's model was made from it in this way. The manifest says so, and nothing proves it.
    Before(How),
}

impl Trained {
    /// Of the model with this digest; `None` if the manifest names it nowhere, or only before another training.
    pub fn of(model: Digest, manifest: &Manifest) -> Option<Self> {
        if manifest.models.iter().any(|spec| spec.sha256 == model) {
            return Some(Self::Here);
        }
        let mut steps = manifest.derived_from.iter().filter(|step| step.how.keeps_training());
        let step = steps.find(|step| [step.model, step.bundle].contains(&Some(model)));
        step.map(|step| Self::Before(step.how))
    }
}

/// Checks that the provenance is about a model of the bundle, or one that the bundle's was made from without another training.
pub(super) fn names_a_model(
    provenance: &Provenance,
    manifest: &Manifest,
) -> Result<(), OtherModel> {
    let named = provenance.training().model.sha256;
    Trained::of(named, manifest).map(drop).ok_or(OtherModel { named })
}
