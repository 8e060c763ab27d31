//! What was tried and measured, as a table, a plot and JSON.

use std::fmt::Write as _;

use hospes_config::about_bytes;
use hospes_core::backend::BackendKind;
use hospes_evaluate::Timing;
use hospes_evidence::chart::{Mark, scatter};
use serde::Serialize;

use crate::gate::{Limits, Original, Refusal, Verdict, percent};

/// All that was tried on a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub original: OriginalReport,
    /// Held-out rows.
    pub rows: usize,
    /// `accuracy`, `agreement`, `r2`, `cosine`, or `cosine (mean-pooled)` and its like.
    pub compared_by: &'static str,
    pub limits: Limits,
    pub tried: Vec<Tried>,
    /// Of each candidate on each backend.
    pub verdicts: Vec<Verdict>,
    pub skipped: Vec<Skipped>,
    /// What replaces the original; `None`: keep it.
    pub chosen: Option<Chosen>,
    /// What else to try.
    pub advice: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OriginalReport {
    pub bytes: u64,
    pub times: Vec<BackendTimes>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BackendTimes {
    pub backend: BackendKind,
    pub times: Timing,
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
        // Names such as `cosine (mean-pooled)` are wider than their figures.
        let width = self.compared_by.len().max(9);
        let mut table = format!(
            "{:<14} {:<12} {:>10} {:>9} {:>9} {:>width$} {:>8} {:>8} {:>8}  {}\n",
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
            let size = about_bytes(self.original.bytes);
            let backend = backend.name();
            let Timing { p50_ms: p50, p95_ms: p95, .. } = times;
            let _ = writeln!(
                table,
                "{:<14} {backend:<12} {size:>10} {p50:>9.2} {p95:>9.2}",
                "original"
            );
        }
        for verdict in &self.verdicts {
            table += &line(verdict, self.chosen.as_ref(), width);
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
        if let Some(advice) = self.advice {
            let _ = writeln!(table, "{advice}");
        }
        table
    }

    /// Size and time of each candidate by the original's, as SVG. What passed is filled.
    pub fn plot(&self) -> String {
        let mark = |verdict: &Verdict| {
            let name = format!("{} ({})", verdict.candidate, verdict.backend);
            let (x, filled) = (verdict.time?, verdict.refused.is_none());
            Some(Mark { name, x, y: verdict.size, filled })
        };
        let mut marks: Vec<Mark> = self.verdicts.iter().filter_map(mark).collect();
        marks.push(Mark { name: "original".into(), x: 1.0, y: 1.0, filled: true });
        let title = "candidates (filled: passed)";
        scatter(title, "time by the original's", "size by the original's", &marks)
    }
}

fn line(verdict: &Verdict, chosen: Option<&Chosen>, width: usize) -> String {
    let time = |of: fn(&Timing) -> f64| {
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
        None if is_chosen => "chosen",
        None => "passed",
        Some(Refusal::NoData) => "refused: no rows",
        Some(Refusal::Fails { .. }) => "refused: fails",
        Some(Refusal::Loss { .. }) => "refused: loss",
        Some(Refusal::Unproven { .. }) => "refused: too few rows",
        Some(Refusal::Class { .. }) => "refused: a class",
        Some(Refusal::NoWin { .. }) => "refused: no win",
    };
    format!(
        "{:<14} {:<12} {:>10} {:>9} {:>9} {value:>width$} {lost:>8} {bound:>8} {class:>8}  {said}\n",
        verdict.candidate,
        verdict.backend.name(),
        about_bytes(verdict.bytes),
        time(|times| times.p50_ms),
        time(|times| times.p95_ms),
    )
}
