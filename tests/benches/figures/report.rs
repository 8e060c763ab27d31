//! Results, for people and for programs.

use std::path::PathBuf;

use serde_json::{Value, json};
use system_tests::workspace;

/// One figure.
pub struct Figure {
    value: f64,
    unit: &'static str,
    baseline: Option<f64>,
    /// Higher is better.
    ratio: Option<f64>,
}

impl Figure {
    /// Requests per second, from the rounds of both sides. The ratio is the median of the rounds'
    /// ratios, because other load on the machine affects both sides of a round.
    pub fn rate(ours: Vec<f64>, baseline: Vec<f64>) -> Self {
        let ratios = ours.iter().zip(&baseline).map(|(ours, baseline)| ours / baseline).collect();
        let (value, baseline) = (median(ours), Some(median(baseline)));
        Self { value, unit: "requests/s", baseline, ratio: Some(median(ratios)) }
    }

    /// A time, from the rounds of both sides.
    pub fn time(unit: &'static str, ours: Vec<f64>, baseline: Vec<f64>) -> Self {
        let (value, baseline) = (median(ours), median(baseline));
        Self { value, unit, baseline: Some(baseline), ratio: Some(baseline / value) }
    }

    /// A time without a baseline.
    pub fn time_alone(unit: &'static str, ours: Vec<f64>) -> Self {
        Self { value: median(ours), unit, baseline: None, ratio: None }
    }
}

/// The median of some measurements.
///
/// # Panics
/// If there are none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The column headings of [`row`].
pub fn heading() -> String {
    format!("{:<20}{:>12}  {:<12}{:>12}{:>8}", "", "ours", "unit", "baseline", "ratio")
}

/// One line of the table.
pub fn row(name: &str, figure: &Figure) -> String {
    let Figure { value, unit, baseline, ratio } = figure;
    let show =
        |value: f64| if value < 1000.0 { format!("{value:.2}") } else { format!("{value:.0}") };
    let baseline = baseline.map_or_else(|| "-".into(), show);
    let ratio = ratio.map_or_else(|| "-".into(), show);
    format!("{name:<20}{:>12}  {unit:<12}{baseline:>12}{ratio:>8}", show(*value))
}

/// Writes all figures to `target/bench/results.json`.
///
/// # Errors
/// If that cannot be written.
pub fn keep(figures: &[(&str, Figure)]) -> std::io::Result<PathBuf> {
    let figures = figures.iter().map(|(name, figure)| {
        let Figure { value, unit, baseline, ratio } = figure;
        json!({"name": name, "value": value, "unit": unit, "baseline": baseline, "ratio": ratio})
    });
    let list = Value::Array(figures.collect());
    let folder = workspace().join("target/bench");
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("results.json");
    std::fs::write(&path, format!("{list:#}\n"))?;
    Ok(path)
}
