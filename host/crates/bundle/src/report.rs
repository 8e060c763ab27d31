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
        "the report has neither `evaluations` nor `metrics` with `data`: use the file that `hospes evaluate --json` or `hospes train` wrote"
    )]
    NoFigures,
    #[error(
        "the report has {count} figures, more than the {EVALUATIONS_MAX} allowed: evaluate less in one report"
    )]
    TooMany { count: usize },
}

/// What a report of either kind may hold.
#[derive(Deserialize)]
struct Report {
    /// Of `hospes evaluate`.
    evaluations: Option<Vec<Evaluation>>,
    /// Of `hospes train`: the last value of each metric.
    metrics: Option<BTreeMap<String, f64>>,
    /// Of `hospes train`: the data sets by name.
    #[serde(default)]
    data: serde_json::Value,
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
pub fn evaluations(json: &[u8]) -> Result<Vec<Evaluation>, ReportError> {
    if json.len() > REPORT_BYTES_MAX {
        return Err(ReportError::TooLarge { bytes: json.len() });
    }
    let report: Report = serde_json::from_slice(json).map_err(ReportError::Json)?;
    let found = match report {
        Report { evaluations: Some(evaluations), .. } => evaluations,
        Report { metrics: Some(metrics), data, .. } => of_training(metrics, &data)?,
        Report { .. } => return Err(ReportError::NoFigures),
    };
    if found.len() > EVALUATIONS_MAX {
        return Err(ReportError::TooMany { count: found.len() });
    }
    Ok(found)
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
        let found = evaluations(report.as_bytes()).expect("figures");
        assert_eq!(found.len(), 2);
        let Evaluation { data, data_sha256, metric, value, by, .. } = &found[0];
        assert_eq!((&**data, *data_sha256, &**metric), ("test", Some(digest), "accuracy"));
        assert_eq!((value.get(), *by), (0.905, FoundBy::Trainer));
    }

    #[test]
    fn an_evaluation_s_figures_are_taken_as_they_are() {
        let report = r#"{"evaluations": [{"data": "test", "metric": "accuracy", "value": 0.9, "low": 0.88,
            "high": 0.92, "rows": 1000, "by": "evaluation"}], "more": 1}"#;
        let found = evaluations(report.as_bytes()).expect("figures");
        assert_eq!(found[0].low.map(Figure::get), Some(0.88));
        assert_eq!((found[0].rows, found[0].by), (Some(1000), FoundBy::Evaluation));
    }

    #[test]
    fn what_is_no_report_is_refused() {
        let refused = |text: &str| evaluations(text.as_bytes()).expect_err("must be refused");
        assert!(matches!(refused("accuracy: 1"), ReportError::Json(_)));
        assert!(matches!(refused("{}"), ReportError::NoFigures));
        assert!(matches!(refused(r#"{"metrics": {"a": 1}}"#), ReportError::Json(_)));
        let one = r#"{"data": "d", "metric": "m", "value": 1, "by": "evaluation"}"#;
        let many = vec![one; EVALUATIONS_MAX + 1].join(",");
        let refused_many = refused(&format!(r#"{{"evaluations": [{many}]}}"#));
        assert!(
            matches!(refused_many, ReportError::TooMany { count } if count == EVALUATIONS_MAX + 1)
        );
        let large = evaluations(&vec![b' '; REPORT_BYTES_MAX + 1]);
        assert!(matches!(large, Err(ReportError::TooLarge { .. })));
    }
}
