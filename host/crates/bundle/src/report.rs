//! Figures about a model from the reports of `hospes evaluate --json` and `hospes train`.
//!
//! Both are read leniently: they say more than a manifest needs, and newer ones say more still.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::lineage::{EVALUATIONS_MAX, Evaluation, Figure, FoundBy};
use hospes_core::id::Digest;

/// Largest report to read, in bytes.
pub const REPORT_BYTES_MAX: usize = 16 << 20;

/// Names of data that a training did not learn from, the best first.
const HELD_OUT: [&str; 4] = ["test", "held-out", "validation", "valid"];

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
    /// Of `hospes train`: the data sets by name. Of `hospes evaluate`: the one.
    #[serde(default)]
    data: serde_json::Value,
}

#[derive(Default, Deserialize)]
struct Subject {
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
    let report: Report = serde_json::from_slice(json).map_err(ReportError::Json)?;
    let model = report.model.sha256;
    let evaluations = match report {
        Report { runs: Some(runs), data, .. } => of_evaluation(&runs, &data)?,
        Report { metrics: Some(metrics), data, .. } => of_training(metrics, &data)?,
        Report { .. } => return Err(ReportError::NoFigures),
    };
    if evaluations.len() > EVALUATIONS_MAX {
        return Err(ReportError::TooMany { count: evaluations.len() });
    }
    Ok(Reported { evaluations, model })
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

/// The last metrics of a training. It does not say which data each is about, so they are listed under the held-out data, if there is some.
fn of_training(
    metrics: BTreeMap<String, f64>,
    data: &serde_json::Value,
) -> Result<Vec<Evaluation>, ReportError> {
    let sets: BTreeMap<String, Read> = BTreeMap::deserialize(data).map_err(ReportError::Json)?;
    let held_out = HELD_OUT.iter().find_map(|name| sets.get_key_value(*name));
    let (data, data_sha256) = match held_out {
        Some((name, read)) => (name.as_str(), Some(read.sha256)),
        None => ("training", None),
    };
    let evaluation = |(metric, value): (String, f64)| {
        // A loss may be NaN at the end; then there is nothing to say.
        let value = Figure::try_from(value).ok()?;
        let data = data.to_owned();
        let (low, high, rows) = (None, None, None);
        Some(Evaluation { data, data_sha256, metric, value, low, high, rows, by: FoundBy::Trainer })
    };
    Ok(metrics.into_iter().filter_map(evaluation).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_training_s_metrics_are_about_its_held_out_data() {
        let digest = Digest::of(b"rows");
        let report = format!(
            r#"{{"version": 1, "data": {{"train": {{"sha256": "{}"}}, "test": {{"sha256": "{digest}", "bytes": 4}}}},
                "metrics": {{"accuracy": 0.905, "loss": 0.3}}, "gate": []}}"#,
            Digest::of(b"other")
        );
        let found = evaluations(report.as_bytes()).expect("figures").evaluations;
        assert_eq!(found.len(), 2);
        let Evaluation { data, data_sha256, metric, value, by, .. } = &found[0];
        assert_eq!((&**data, *data_sha256, &**metric), ("test", Some(digest), "accuracy"));
        assert_eq!((value.get(), *by), (0.905, FoundBy::Trainer));
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
        let many = format!(r#"{{"metrics": {{{}}}, "data": {{}}}}"#, many.join(","));
        let refused_many = refused(&many);
        assert!(
            matches!(refused_many, ReportError::TooMany { count } if count == EVALUATIONS_MAX + 1)
        );
        let large = evaluations(&vec![b' '; REPORT_BYTES_MAX + 1]);
        assert!(matches!(large, Err(ReportError::TooLarge { .. })));
    }
}
