//! What was tried and measured, as a table, a plot and JSON.

use std::fmt::Write as _;

use hospes_core::backend::BackendKind;
use serde::Serialize;

use crate::gate::{Limits, Original, Refusal, Times, Verdict, percent};

/// All that was tried on a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub original: OriginalReport,
    /// Held-out rows.
    pub rows: usize,
    /// `accuracy`, `agreement` or `cosine`.
    pub compared_by: &'static str,
    pub limits: Limits,
    pub tried: Vec<Tried>,
    /// Of each candidate on each backend.
    pub verdicts: Vec<Verdict>,
    pub skipped: Vec<Skipped>,
    /// What replaces the original; `None`: keep it.
    pub chosen: Option<Chosen>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OriginalReport {
    pub bytes: u64,
    pub times: Vec<BackendTimes>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BackendTimes {
    pub backend: BackendKind,
    /// In milliseconds.
    pub times: Times,
}

/// A candidate and what was done for it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tried {
    pub name: String,
    pub notes: Vec<String>,
}

/// A method that gave no candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    pub name: String,
    pub why: String,
}

/// The candidate that replaces the original, and the backend where it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Chosen {
    pub candidate: String,
    pub backend: BackendKind,
}

impl From<Verdict> for Chosen {
    fn from(verdict: Verdict) -> Self {
        Self { candidate: verdict.candidate, backend: verdict.backend }
    }
}

impl From<&Original> for OriginalReport {
    fn from(original: &Original) -> Self {
        let times = original.times.iter();
        let times = times.map(|(backend, times)| BackendTimes { backend: *backend, times: *times });
        Self { bytes: original.bytes, times: times.collect() }
    }
}

impl Report {
    /// As people read it: a line for each candidate and backend, then why each was refused.
    pub fn table(&self) -> String {
        let mut table = format!(
            "{:<14} {:<12} {:>10} {:>9} {:>9} {:>9} {:>8} {:>8} {:>8}  {}\n",
            "model",
            "backend",
            "size",
            "p50 ms",
            "p95 ms",
            self.compared_by,
            "loss",
            "at most",
            "class",
            "verdict"
        );
        for BackendTimes { backend, times } in &self.original.times {
            let size = size(self.original.bytes);
            let backend = backend.name();
            let Times { p50, p95 } = times;
            let _ = writeln!(
                table,
                "{:<14} {backend:<12} {size:>10} {p50:>9.2} {p95:>9.2}",
                "original"
            );
        }
        for verdict in &self.verdicts {
            table += &line(verdict, self.chosen.as_ref());
        }
        for verdict in &self.verdicts {
            if let Some(refused) = &verdict.refused {
                let (candidate, backend) = (&verdict.candidate, verdict.backend);
                let _ = writeln!(table, "{candidate} on {backend}: {refused}");
            }
        }
        for Skipped { name, why } in &self.skipped {
            let _ = writeln!(table, "{name} was not tried: {why}");
        }
        table
    }

    /// Size and time of each candidate beside the original, as SVG. What passed is filled.
    pub fn plot(&self) -> String {
        const SIDE: f64 = 480.0;
        const EDGE: f64 = 50.0;
        let points: Vec<(f64, &Verdict)> =
            self.verdicts.iter().filter_map(|one| Some((one.time?, one))).collect();
        let most = |of: &dyn Fn(&(f64, &Verdict)) -> f64| {
            points.iter().map(of).fold(1.2_f64, f64::max).min(4.0)
        };
        let (time_max, size_max) = (most(&|(time, _)| *time), most(&|(_, one)| one.size));
        let x = |time: f64| EDGE + time.min(time_max) / time_max * SIDE;
        let y = |size: f64| EDGE + SIDE - size.min(size_max) / size_max * SIDE;
        let whole = SIDE + 2.0 * EDGE;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {whole} {whole}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"{whole}\" height=\"{whole}\" fill=\"white\"/>\n\
             <path d=\"M{EDGE} {EDGE}V{end}H{end}\" fill=\"none\" stroke=\"black\"/>\n\
             <text x=\"{EDGE}\" y=\"{label}\">time by the original's (to the right: slower, cut at {time_max:.1})</text>\n\
             <text x=\"{EDGE}\" y=\"30\">size by the original's (up: larger); filled: passed</text>\n\
             <path d=\"M{one} {EDGE}V{end}M{EDGE} {same}H{end}\" stroke=\"grey\" stroke-dasharray=\"4\"/>\n",
            end = EDGE + SIDE,
            label = EDGE + SIDE + 30.0,
            one = x(1.0),
            same = y(1.0),
        );
        for (time, verdict) in points {
            let (x, y) = (x(time), y(verdict.size));
            let fill = if verdict.refused.is_none() { "green" } else { "none" };
            let (name, backend) = (escaped(&verdict.candidate), verdict.backend);
            let _ = writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"{fill}\" stroke=\"black\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\">{name} ({backend})</text>",
                x + 8.0,
                y - 4.0
            );
        }
        svg + "</svg>\n"
    }
}

fn line(verdict: &Verdict, chosen: Option<&Chosen>) -> String {
    let time = |of: fn(&Times) -> f64| {
        verdict.times.as_ref().map_or("-".into(), |times| format!("{:.2}", of(times)))
    };
    let loss = verdict.loss;
    let value = loss.map_or("-".into(), |loss| format!("{:.4}", loss.value));
    let lost = loss.map_or("-".into(), |loss| percent(loss.loss));
    let bound = loss.map_or("-".into(), |loss| percent(loss.bound));
    let class = loss.and_then(|loss| loss.worst_class);
    let class = class.map_or("-".into(), |(_, loss)| percent(loss));
    let is_chosen = chosen.is_some_and(|chosen| {
        chosen.candidate == verdict.candidate && chosen.backend == verdict.backend
    });
    let said = match &verdict.refused {
        None if is_chosen => "takes its place",
        None => "passed",
        Some(Refusal::NoData) => "refused: no rows",
        Some(Refusal::Fails { .. }) => "refused: fails",
        Some(Refusal::Loss { .. }) => "refused: loss",
        Some(Refusal::Unproven { .. }) => "refused: too few rows",
        Some(Refusal::Class { .. }) => "refused: a class",
        Some(Refusal::NoWin { .. }) => "refused: no win",
    };
    format!(
        "{:<14} {:<12} {:>10} {:>9} {:>9} {value:>9} {lost:>8} {bound:>8} {class:>8}  {said}\n",
        verdict.candidate,
        verdict.backend.name(),
        size(verdict.bytes),
        time(|times| times.p50),
        time(|times| times.p95),
    )
}

fn size(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} B"),
        10_000..=9_999_999 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
