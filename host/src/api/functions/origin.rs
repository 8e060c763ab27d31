//! Where a model comes from and how good it is, as the market and the model's page show it. Bounded: the bundle has all of it.

use crate::bundle::provenance::{DataSummary, TrainingSummary};
use crate::bundle::{self, Figure, Manifest, Trained};
use crate::id::Party;
use crate::wire::models::{Base, DataSet, Derivation, Evaluation, Lineage};

/// Most figures that are shown.
const EVALUATIONS_MAX: usize = 8;

/// Most tags that are shown.
pub(super) const TAGS_MAX: usize = 8;

pub(super) fn evaluations(manifest: &Manifest) -> Vec<Evaluation> {
    let shown = |one: &bundle::Evaluation| Evaluation {
        data: one.data.clone(),
        data_sha256: one.data_sha256,
        metric: one.metric.clone(),
        value: one.value.get(),
        low: one.low.map(Figure::get),
        high: one.high.map(Figure::get),
        rows: one.rows,
        by: one.by.to_string(),
    };
    manifest.evaluations.iter().take(EVALUATIONS_MAX).map(shown).collect()
}

pub(super) fn derived_from(manifest: &Manifest) -> Vec<Derivation> {
    let shown = |step: &bundle::Derivation| Derivation {
        bundle: step.bundle,
        model: step.model,
        how: step.how.to_string(),
    };
    manifest.derived_from.iter().map(shown).collect()
}

pub(super) fn lineage(
    training: &TrainingSummary,
    manifest: &Manifest,
    publisher: Party,
) -> Lineage {
    let trained = Trained::of(training.model, manifest);
    let data = |data: &DataSummary| DataSet {
        name: data.name.clone(),
        digest: data.digest,
        bytes: data.bytes,
        licence: data.licence.clone(),
    };
    Lineage {
        signer: training.signer,
        signer_is_publisher: training.signer == publisher,
        model: training.model,
        model_in_bundle: trained == Some(Trained::Here),
        model_then: match trained {
            Some(Trained::Before(how)) => Some(how.to_string()),
            Some(Trained::Here) | None => None,
        },
        slsa_build_level: training.level,
        trainer: format!("{} {}", training.trainer.name, training.trainer.version),
        finished: training.finished.to_string(),
        recipe: training.recipe,
        seed: training.seed,
        data: training.data.iter().map(data).collect(),
        base: training
            .base
            .as_ref()
            .map(|base| Base { name: base.name.clone(), sha256: base.sha256 }),
    }
}
