//! The results of a front matter's `model-index`.

use serde_json::Value;

use super::line;
use crate::lineage::{EVALUATION_TEXT_BYTES_MAX, EVALUATIONS_MAX, Evaluation, Figure, FoundBy};

/// Every result that names its metric, its data and a finite number. Adds to `notes` how many do not.
pub(super) fn read(index: &Value, notes: &mut Vec<String>) -> Vec<Evaluation> {
    let mut found = Vec::new();
    let mut left_out = 0_usize;
    for result in each(index).flat_map(|model| each(&model["results"])) {
        let data = data_of(&result["dataset"]);
        for metric in each(&result["metrics"]) {
            match data.as_ref().and_then(|data| evaluation(data, metric)) {
                Some(one) if found.len() < EVALUATIONS_MAX => found.push(one),
                Some(_) | None => left_out += 1,
            }
        }
    }
    if left_out > 0 {
        notes.push(format!(
            "{left_out} results of `model-index` left out: each needs a data set's name, a metric's type and a number, and {EVALUATIONS_MAX} are taken"
        ));
    }
    found
}

/// The entries of a list; none of anything else.
fn each(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

/// `imdb (test)`.
fn data_of(dataset: &Value) -> Option<String> {
    let name = line(&dataset["name"]).or_else(|| line(&dataset["type"]))?;
    let text = match line(&dataset["split"]) {
        Some(split) => format!("{name} ({split})"),
        None => name,
    };
    (text.len() <= EVALUATION_TEXT_BYTES_MAX).then_some(text)
}

fn evaluation(data: &str, metric: &Value) -> Option<Evaluation> {
    let value = match &metric["value"] {
        Value::Number(number) => number.as_f64()?,
        // Some write it in quotation marks.
        Value::String(text) => text.trim().parse().ok()?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    Some(Evaluation {
        data: data.to_owned(),
        data_sha256: None,
        metric: line(&metric["type"]).or_else(|| line(&metric["name"]))?,
        value: Figure::try_from(value).ok()?,
        low: None,
        high: None,
        rows: None,
        by: FoundBy::Publisher,
    })
}
