//! Figures about a model from the reports of `hospes evaluate --json` and `hospes train`.
//!
//! Both are read leniently: they say more than a manifest needs, and newer ones say more still.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::lineage::{EVALUATIONS_MAX, Evaluation, Figure, FoundBy};
use hospes_core::id::Digest;

/// Largest report to read, in bytes.
pub const REPORT_BYTES_MAX: usize = 16 << 20;

/// Names of data that a training neither learns from nor stops by, the best first. Validation data are none: they choose the weights.
const HELD_OUT: [&str; 2] = ["test", "held_out"];

/// What Hospes' own trainer finds on the data set `test`. Its other metrics are of the rows that it learns from or stops by.
const OF_NATIVE: [&str; 3] = ["accuracy", "r2", "test_loss"];

/// Why a report has no figures for a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("the report has {bytes} bytes, more than the {REPORT_BYTES_MAX} allowed")]
    TooLarge { bytes: usize },
    #[error("the report is not the JSON of `hospes evaluate --json` or `hospes train`")]
    Json(#[source] serde_json::Error),
    #[error(
        "the report has neither `runs` nor `metrics`: use the file that `hospes evaluate --json` or `hospes train` wrote"
    )]
    NoFigures,
    #[error(
        "the training has no figures of held-out rows: train with a data set `test` (and for a script name such metrics in `held_out` of \
         `[command]`), or pack the report of `hospes evaluate --json`"
    )]
    NotHeldOut,
    #[error(
        "the report has {count} figures, more than the {EVALUATIONS_MAX} allowed: evaluate less in one report"
    )]
    TooMany { count: usize },
}

/// The figures of a report, and which model they are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    pub evaluations: Vec<Evaluation>,
    /// The digest of the model; `None` for a published function.
    pub model: Option<Digest>,
    /// What the report calls the model, if it does: a path or a published function's name.
    pub model_name: Option<String>,
}

/// What a report of either kind may hold.
#[derive(Deserialize)]
struct Report {
    /// The model that it is about.
    #[serde(default)]
    model: Subject,
    /// Of `hospes evaluate`: one for each place where the model ran.
    runs: Option<Vec<Run>>,
    /// Of `hospes train`: the last value of each metric.
    metrics: Option<BTreeMap<String, f64>>,
    /// Of `hospes train`: who trained.
    #[serde(default)]
    recipe: Recipe,
    /// Of `hospes train`: the data sets by name. Of `hospes evaluate`: the one.
    #[serde(default)]
    data: serde_json::Value,
}

/// The part of a recipe that says which metrics are of held-out rows.
#[derive(Default, Deserialize)]
struct Recipe {
    native: Option<IgnoredAny>,
    command: Option<Command>,
}

#[derive(Deserialize)]
struct Command {
    #[serde(default)]
    held_out: Vec<String>,
}

impl Recipe {
    fn is_held_out(&self, metric: &str) -> bool {
        let of_script = |command: &Command| command.held_out.iter().any(|name| name == metric);
        self.native.is_some() && OF_NATIVE.contains(&metric)
            || self.command.as_ref().is_some_and(of_script)
    }
}

#[derive(Default, Deserialize)]
struct Subject {
    name: Option<String>,
    sha256: Option<Digest>,
}

#[derive(Deserialize)]
struct Rows {
    name: String,
    sha256: Digest,
}

#[derive(Deserialize)]
struct Run {
    place: String,
    figures: Option<Measured>,
}

/// The figures of a run: the value has the name that fits its metric.
#[derive(Deserialize)]
struct Measured {
    metric: String,
    #[serde(alias = "share", alias = "mean")]
    value: f64,
    interval: Option<Interval>,
    rows: u64,
}

#[derive(Deserialize)]
struct Interval {
    low: f64,
    high: f64,
}

/// A data set of a training's report.
#[derive(Deserialize)]
struct Read {
    sha256: Digest,
}

/// The figures of a report, for the manifest.
///
/// # Errors
/// [`ReportError`].
pub fn evaluations(json: &[u8]) -> Result<Reported, ReportError> {
    if json.len() > REPORT_BYTES_MAX {
        return Err(ReportError::TooLarge { bytes: json.len() });
    }
    let mut report: Report = serde_json::from_slice(json).map_err(ReportError::Json)?;
    let (model, model_name) = (report.model.sha256, report.model.name.take());
    let evaluations = match report {
        Report { runs: Some(runs), data, .. } => of_evaluation(&runs, &data)?,
        Report { metrics: Some(metrics), recipe, data, .. } => {
            of_training(metrics, &recipe, &data)?
        }
        Report { .. } => return Err(ReportError::NoFigures),
    };
    if evaluations.len() > EVALUATIONS_MAX {
        return Err(ReportError::TooMany { count: evaluations.len() });
    }
    Ok(Reported { evaluations, model, model_name })
}

/// The figures of each place where the model ran. Where all found the same, it is one figure; otherwise each names its place.
fn of_evaluation(runs: &[Run], data: &serde_json::Value) -> Result<Vec<Evaluation>, ReportError> {
    let Rows { name, sha256 } = Rows::deserialize(data).map_err(ReportError::Json)?;
    let mut found: Vec<(Evaluation, &str)> = Vec::new();
    for Run { place, figures } in runs {
        let Some(Measured { metric, value, interval, rows }) = figures else { continue };
        let end = |end: fn(&Interval) -> f64| {
            interval.as_ref().and_then(|interval| Figure::try_from(end(interval)).ok())
        };
        let Ok(value) = Figure::try_from(*value) else { continue };
        let one = Evaluation {
            data: name.clone(),
            data_sha256: Some(sha256),
            metric: metric.clone(),
            value,
            low: end(|interval| interval.low),
            high: end(|interval| interval.high),
            rows: Some(*rows),
            by: FoundBy::Evaluation,
        };
        if !found.iter().any(|(known, _)| *known == one) {
            found.push((one, place));
        }
    }
    let differ = found.len() > 1;
    let named = |(one, place): (Evaluation, &str)| match differ {
        true => Evaluation { metric: format!("{} ({place})", one.metric), ..one },
        false => one,
    };
    Ok(found.into_iter().map(named).collect())
}

/// The last metrics of a training, as far as they are of held-out rows.
fn of_training(
    metrics: BTreeMap<String, f64>,
    recipe: &Recipe,
    data: &serde_json::Value,
) -> Result<Vec<Evaluation>, ReportError> {
    let sets: BTreeMap<String, Read> = BTreeMap::deserialize(data).map_err(ReportError::Json)?;
    let held_out = HELD_OUT.iter().find_map(|name| sets.get_key_value(*name));
    let Some((data, read)) = held_out else { return Err(ReportError::NotHeldOut) };
    let evaluation = |(metric, value): (String, f64)| {
        // A loss may be NaN at the end; then there is nothing to say.
        let value = Figure::try_from(value).ok().filter(|_| recipe.is_held_out(&metric))?;
        let (data, data_sha256) = (data.clone(), Some(read.sha256));
        let (low, high, rows) = (None, None, None);
        Some(Evaluation { data, data_sha256, metric, value, low, high, rows, by: FoundBy::Trainer })
    };
    let found: Vec<Evaluation> = metrics.into_iter().filter_map(evaluation).collect();
    if found.is_empty() { Err(ReportError::NotHeldOut) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the form of `report.json`, with the data sets of these names.
    fn trained(recipe: &str, sets: &[&str]) -> String {
        let sets: Vec<String> = sets
            .iter()
            .map(|set| format!(r#""{set}": {{"sha256": "{}"}}"#, Digest::of(set.as_bytes())))
            .collect();
        format!(
            r#"{{"version": 1, "recipe": {recipe}, "data": {{{}}}, "gate": [], "metrics": {{"accuracy": 0.905, "loss": 0.3,
                "alone_accuracy": 0.95, "unpruned_accuracy": 0.96, "test_loss": 0.4, "validation_accuracy": 0.99, "validation_loss": 0.2}}}}"#,
            sets.join(", ")
        )
    }

    #[test]
    fn only_metrics_of_held_out_rows_are_taken_from_a_training() {
        let native = r#"{"native": {"epochs": 3}, "command": null}"#;
        let report = trained(native, &["train", "test", "validation"]);
        let found = evaluations(report.as_bytes()).expect("figures").evaluations;
        let metrics: Vec<&str> = found.iter().map(|one| &*one.metric).collect();
        assert_eq!(metrics, ["accuracy", "test_loss"], "not of other rows or networks");
        let Evaluation { data, data_sha256, value, by, .. } = &found[0];
        assert_eq!((&**data, *data_sha256), ("test", Some(Digest::of(b"test"))));
        assert_eq!((value.get(), *by), (0.905, FoundBy::Trainer));
    }

    #[test]
    fn a_script_s_metrics_count_where_its_recipe_says_that_they_are_of_held_out_rows() {
        let script = r#"{"command": {"argv": ["x"], "held_out": ["accuracy"]}}"#;
        let found = evaluations(trained(script, &["train", "test"]).as_bytes()).expect("one");
        assert_eq!((found.evaluations.len(), &*found.evaluations[0].metric), (1, "accuracy"));
        let silent = r#"{"command": {"argv": ["x"]}}"#;
        let native = r#"{"native": {}}"#;
        for (recipe, sets) in [
            (silent, &["train", "test"][..]),
            (script, &["train", "validation"]),
            (native, &["train"]),
            ("{}", &["train", "test"]),
        ] {
            let refused = evaluations(trained(recipe, sets).as_bytes());
            assert!(matches!(refused, Err(ReportError::NotHeldOut)), "{recipe} {refused:?}");
        }
    }

    /// In the form of `hospes evaluate --json`.
    fn evaluated(tract: f64) -> String {
        let digest = Digest::of(b"rows");
        format!(
            r#"{{"format": 1, "model": {{"name": "m", "sha256": "{}", "bytes": 5}}, "reference": null,
            "data": {{"name": "t10k", "sha256": "{digest}", "rows": 1000, "sources": [], "licence": null}},
            "metric": "accuracy", "confidence": 0.95, "runs": [
                {{"place": "onnxruntime", "error": null, "figures": {{"metric": "accuracy", "value": 0.9,
                    "interval": {{"low": 0.88, "high": 0.92}}, "hits": 900, "rows": 1000}}}},
                {{"place": "tract", "error": null, "figures": {{"metric": "accuracy", "value": {tract},
                    "interval": {{"low": 0.88, "high": 0.92}}, "hits": 900, "rows": 1000}}}},
                {{"place": "third", "error": "it does not load", "figures": null}}]}}"#,
            Digest::of(b"model")
        )
    }

    #[test]
    fn an_evaluation_is_one_figure_where_all_backends_found_the_same() {
        let found = evaluations(evaluated(0.9).as_bytes()).expect("figures");
        assert_eq!(found.model, Some(Digest::of(b"model")));
        let [one] = &found.evaluations[..] else { panic!("{found:?}") };
        assert_eq!((&*one.data, &*one.metric), ("t10k", "accuracy"));
        assert_eq!(one.low.map(Figure::get), Some(0.88));
        assert_eq!((one.rows, one.by), (Some(1000), FoundBy::Evaluation));
        let found = evaluations(evaluated(0.89).as_bytes()).expect("figures").evaluations;
        let metrics: Vec<_> = found.iter().map(|one| &*one.metric).collect();
        assert_eq!(metrics, ["accuracy (onnxruntime)", "accuracy (tract)"]);
        let cosine = r#"{"data": {"name": "d", "sha256": "DIGEST"}, "runs": [{"place": "tract",
            "figures": {"metric": "cosine", "mean": 0.99, "lowest": 0.9, "p01": 0.95, "rows": 7}}]}"#;
        let cosine = cosine.replace("DIGEST", &Digest::of(b"d").to_string());
        let found = evaluations(cosine.as_bytes()).expect("figures");
        assert_eq!((found.evaluations[0].value.get(), found.model), (0.99, None));
    }

    #[test]
    fn what_is_no_report_is_refused() {
        let refused = |text: &str| evaluations(text.as_bytes()).expect_err("must be refused");
        assert!(matches!(refused("accuracy: 1"), ReportError::Json(_)));
        assert!(matches!(refused("{}"), ReportError::NoFigures));
        assert!(matches!(refused(r#"{"metrics": {"a": 1}}"#), ReportError::Json(_)));
        let many: Vec<_> = (0..=EVALUATIONS_MAX).map(|n| format!(r#""m{n}": {n}"#)).collect();
        let names: Vec<_> = (0..=EVALUATIONS_MAX).map(|n| format!(r#""m{n}""#)).collect();
        let many = format!(
            r#"{{"metrics": {{{}}}, "data": {{"test": {{"sha256": "{}"}}}}, "recipe": {{"command": {{"held_out": [{}]}}}}}}"#,
            many.join(","),
            Digest::of(b"rows"),
            names.join(",")
        );
        let refused_many = refused(&many);
        assert!(
            matches!(refused_many, ReportError::TooMany { count } if count == EVALUATIONS_MAX + 1)
        );
        let large = evaluations(&vec![b' '; REPORT_BYTES_MAX + 1]);
        assert!(matches!(large, Err(ReportError::TooLarge { .. })));
    }
}
