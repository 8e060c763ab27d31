//! The report of a training: what it read, who trained, what came of it.

use std::collections::BTreeMap;

use hospes_core::id::Digest;
use serde::{Deserialize, Serialize};

use crate::events::Events;
use crate::native::{ALONE, UNPRUNED};
use crate::recipe::{Recipe, Trainer};
use crate::run::Finished;

/// The version of this report's format.
pub const REPORT_VERSION: u32 = 1;

/// `report.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub version: u32,
    /// The recipe as it was used: with the settings of the command line.
    pub recipe: Recipe,
    /// The digest of the recipe's file.
    pub recipe_sha256: Digest,
    pub data: BTreeMap<String, Read>,
    pub trainer: String,
    /// Whose answers were learnt from, if somebody's were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher: Option<Taught>,
    /// What made vectors of texts, if there were texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embeddings: Option<Embedded>,
    pub model: Made,
    /// The last value of each metric.
    pub metrics: BTreeMap<String, f64>,
    pub gate: Vec<Passed>,
    /// How far the backends' answers are from the trainer's own, on the same rows. Empty where the trainer left none.
    pub backends: Vec<Compared>,
    pub cost: Cost,
    /// Whether the trainer ran without network and with its own files only.
    pub confined: bool,
}

/// A data set as it was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Read {
    pub path: String,
    pub sha256: Digest,
    pub bytes: u64,
    pub files: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
}

/// The model's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    pub sha256: Digest,
    pub bytes: u64,
}

/// A teacher: the model's file as the recipe names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taught {
    pub path: String,
    pub model: Made,
}

/// A published model that made vectors of texts: its name, and the version's bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Embedded {
    pub model: String,
    pub version: String,
    pub sha256: Digest,
}

/// A metric that the recipe sets a limit for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Passed {
    pub metric: String,
    pub wanted: f64,
    pub reached: f64,
}

/// How far a backend's answers are from the trainer's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    pub backend: String,
    pub rows: u64,
    /// The greatest difference of a number, relative to the number where it is above 1.
    pub difference: f64,
}

/// What the training took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    pub cpu_seconds: f64,
    pub wall_seconds: f64,
    pub threads: usize,
}

/// Why a model is not kept.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    #[error(
        "the model is not kept: {metric} is {reached:.4}, the gate asks for {wanted:.4}; see `log.txt` and `events.jsonl`"
    )]
    Missed { metric: String, reached: f64, wanted: f64 },
    #[error(
        "the gate asks for `{metric}`, which the trainer has not reported: it reported {reported}"
    )]
    Silent { metric: String, reported: String },
    #[error(
        "the model is not kept: {cause}: {metric} is {reached:.4}, and {without:.4} without it; leave `{setting}` out, or accept this with \
         `{metric} = {accepted:.2}` below `[gate]` (for one run: `--set gate.{metric}={accepted:.2}`)"
    )]
    Lossy {
        cause: &'static str,
        setting: &'static str,
        metric: &'static str,
        reached: f64,
        without: f64,
        accepted: f64,
    },
}

/// How much a teacher or pruning may cost where the recipe sets no limit for the metric. Less is also what another seed changes.
const LOSS_MAX: f64 = 0.01;
/// Differences of fractions such as 0.88 - 0.87 are not exact.
const ROUNDING: f64 = 1e-9;

impl Cost {
    /// What a training took.
    pub fn of(ended: &Finished, threads: usize) -> Self {
        let Finished { cpu_seconds, wall_seconds, .. } = *ended;
        Self { cpu_seconds, wall_seconds, threads }
    }
}

/// Whether the metrics reach all that the recipe asks for, and what a teacher or pruning costs where it asks for nothing.
///
/// # Errors
/// [`GateError`] for the first that they do not.
pub fn gate(recipe: &Recipe, events: &Events) -> Result<Vec<Passed>, GateError> {
    let last = events.last();
    let gate = recipe.gate.iter().map(|(metric, wanted)| {
        let Some(reached) = last.get(metric) else {
            let names: Vec<String> = last.keys().map(|name| format!("`{name}`")).collect();
            let reported = if names.is_empty() { "nothing".into() } else { names.join(", ") };
            return Err(GateError::Silent { metric: metric.clone(), reported });
        };
        let passed = Passed { metric: metric.clone(), wanted: *wanted, reached: *reached };
        if *reached >= *wanted {
            Ok(passed)
        } else {
            let Passed { metric, wanted, reached } = passed;
            Err(GateError::Missed { metric, reached, wanted })
        }
    });
    let passed = gate.collect::<Result<_, _>>()?;
    check_losses(recipe, &last)?;
    Ok(passed)
}

/// Compares what is kept with the same network without the teacher, and before the pruning.
fn check_losses(recipe: &Recipe, last: &BTreeMap<String, f64>) -> Result<(), GateError> {
    let Trainer::Native(native) = recipe.trainer() else { return Ok(()) };
    let steps = [
        (native.prune.is_some(), UNPRUNED, "prune", "pruning costs too much"),
        (native.teacher.is_some(), ALONE, "teacher", "the teacher did not help"),
    ];
    for (is_done, prefix, setting, cause) in steps {
        let metrics = native.metrics().iter().filter(|metric| !recipe.gate.contains_key(**metric));
        for metric in metrics.copied().filter(|_| is_done) {
            let without = last.get(&format!("{prefix}{metric}"));
            let Some((&reached, &without)) = last.get(metric).zip(without) else { continue };
            if without - reached > LOSS_MAX + ROUNDING {
                let accepted = (reached * 100.0).floor() / 100.0;
                return Err(GateError::Lossy {
                    cause,
                    setting,
                    metric,
                    reached,
                    without,
                    accepted,
                });
            }
        }
    }
    Ok(())
}
