//! Decides which candidates may replace the original: pure, over what was measured.
//!
//! A candidate is judged on each backend by itself, because it may answer well on one and badly on another. Its time is compared with the
//! original on the backend where the original is fastest: to be faster elsewhere is no win.

use hospes_core::backend::BackendKind;
use hospes_evaluate::Timing;
use hospes_evidence::{Interval, Paired, R2Loss, clopper_pearson, r2_loss};
use serde::Serialize;

/// Classes with so many rows are judged by the loss itself. Of smaller ones a loss must be proven.
const CLASS_ROWS_MIN: u64 = 30;

/// Of fewer rows with numbers, drawing them again says too little of others.
const NUMBERS_ROWS_MIN: usize = 30;

/// The seed of these draws, so that the same answers get the same verdict.
const SEED: u64 = 7;

/// What is asked of a candidate. All are shares.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Limits {
    /// The most that may be lost: of right answers, of agreement, of R2, or of cosine.
    pub loss_max: f64,
    /// The same for each class.
    pub class_loss_max: f64,
    /// The least that must be won, of size or time.
    pub win_min: f64,
    /// How likely the bound on the loss may be wrong.
    pub risk: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { loss_max: 0.01, class_loss_max: 0.03, win_min: 0.1, risk: 0.05 }
    }
}

/// A candidate's answers to held-out rows beside the original's.
#[derive(Debug, Clone, PartialEq)]
pub enum Answers {
    /// The class that each gave. Without `truth`, the original counts as right.
    Classes { truth: Option<Vec<u32>>, original: Vec<u32>, candidate: Vec<u32> },
    /// The number that each gave. Without `truth`, the original's count as true.
    Numbers { truth: Option<Vec<f64>>, original: Vec<f64>, candidate: Vec<f64> },
    /// For each row, the cosine between both.
    Cosines(Vec<f64>),
}

/// What was measured on a backend.
#[derive(Debug, Clone, PartialEq)]
pub struct OnBackend {
    pub backend: BackendKind,
    /// Or why the backend cannot compute the candidate.
    pub measured: Result<Measured, String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// `None` without held-out rows.
    pub answers: Option<Answers>,
    pub times: Timing,
}

/// The model as it was.
#[derive(Debug, Clone, PartialEq)]
pub struct Original {
    pub bytes: u64,
    pub times: Vec<(BackendKind, Timing)>,
}

/// A model that may replace it.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    pub name: String,
    /// Whether answers may differ by more than the rounding of floats.
    pub is_lossy: bool,
    pub bytes: u64,
    pub on: Vec<OnBackend>,
}

/// How much worse a candidate's answers are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Loss {
    /// Right answers, agreement, R2 or mean cosine of the candidate.
    pub value: f64,
    /// What was lost against the original.
    pub loss: f64,
    /// The most that may have been lost, but for `risk`.
    pub bound: f64,
    /// The class that lost most, and its loss.
    pub worst_class: Option<(u32, f64)>,
}

/// Why a candidate was refused.
#[derive(Debug, Clone, PartialEq, Serialize, thiserror::Error)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Refusal {
    #[error("there are no held-out rows, and it may answer differently: give some with `--data`")]
    NoData,
    #[error("it does not run: {error}")]
    Fails { error: String },
    #[error("it loses {}, and may lose up to {} (at most {} is allowed)", percent(*loss), percent(*bound), percent(*max))]
    Loss { loss: f64, bound: f64, max: f64 },
    #[error(
        "it loses {} on {rows} rows, which leaves up to {} possible (at most {} is allowed): give it {needed} rows or more",
        percent(*loss), percent(*bound), percent(*max)
    )]
    Unproven { loss: f64, bound: f64, max: f64, rows: usize, needed: usize },
    #[error("class {class} loses {} of its answers (at most {} is allowed)", percent(*loss), percent(*max))]
    Class { class: u32, loss: f64, max: f64 },
    #[error("{}", no_win(*size, *time, *min))]
    NoWin { size: f64, time: f64, min: f64 },
}

/// Why a candidate wins too little, or pays too much for what it wins.
fn no_win(size: f64, time: f64, min: f64) -> String {
    let (win, most) = (1.0 - min, percent(1.0 + min));
    let has = format!("it has {} of the original's size", percent(size));
    let takes =
        format!("takes {} of the time of the original on its fastest backend", percent(time));
    if size <= win {
        return format!("{has}, but is slower than allowed: it {takes} (at most {most})");
    }
    if time <= win {
        return format!("it {takes}, but is larger than allowed: {has} (at most {most})");
    }
    format!("{has} and {takes}: neither is {} less", percent(min))
}

/// A share as people read it.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// What the gate says of a candidate on a backend.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    pub candidate: String,
    pub backend: BackendKind,
    pub bytes: u64,
    pub loss: Option<Loss>,
    pub times: Option<Timing>,
    /// Its size by the original's.
    pub size: f64,
    /// Its p50 by that of the original where the original is fastest.
    pub time: Option<f64>,
    pub refused: Option<Refusal>,
}

impl Verdict {
    /// Whether it was refused for what was lost on all rows.
    pub(crate) fn is_loss(&self) -> bool {
        matches!(self.refused, Some(Refusal::Loss { .. } | Refusal::Unproven { .. }))
    }
}

/// Judges a candidate on each backend.
pub fn judge(original: &Original, candidate: &Candidate, limits: &Limits) -> Vec<Verdict> {
    let size = candidate.bytes as f64 / original.bytes.max(1) as f64;
    let verdict = |on: &OnBackend| {
        let mut verdict = Verdict {
            candidate: candidate.name.clone(),
            backend: on.backend,
            bytes: candidate.bytes,
            loss: None,
            times: None,
            size,
            time: None,
            refused: None,
        };
        match &on.measured {
            Err(error) => verdict.refused = Some(Refusal::Fails { error: error.clone() }),
            Ok(measured) => {
                verdict.times = Some(measured.times);
                verdict.time = time(original, measured.times);
                let loss = measured.answers.as_ref().map(|answers| loss(answers, limits.risk));
                verdict.loss = loss;
                verdict.refused = refuse(candidate, measured, &verdict, limits);
            }
        }
        verdict
    };
    candidate.on.iter().map(verdict).collect()
}

/// The candidate's p50 by the original's on its fastest backend.
fn time(original: &Original, times: Timing) -> Option<f64> {
    let fastest = original.times.iter().map(|(_, times)| times.p50_ms).min_by(f64::total_cmp)?;
    Some(times.p50_ms / fastest.max(f64::MIN_POSITIVE))
}

fn refuse(
    candidate: &Candidate,
    measured: &Measured,
    verdict: &Verdict,
    limits: &Limits,
) -> Option<Refusal> {
    if let (Some(answers), Some(loss)) = (&measured.answers, verdict.loss) {
        let refused = too_much(answers, loss, limits);
        if refused.is_some() {
            return refused;
        }
    }
    let (size, time) = (verdict.size, verdict.time.unwrap_or(1.0));
    let (win, not_worse) = (1.0 - limits.win_min, 1.0 + limits.win_min);
    // What is won in one must not be lost in the other.
    let is_smaller = size <= win && time <= not_worse;
    let is_faster = time <= win && size <= not_worse;
    let no_win = Refusal::NoWin { size, time, min: limits.win_min };
    if !is_smaller && !is_faster {
        return Some(no_win);
    }
    (candidate.is_lossy && measured.answers.is_none()).then_some(Refusal::NoData)
}

/// Whether a candidate lost more than it may.
fn too_much(answers: &Answers, loss: Loss, limits: &Limits) -> Option<Refusal> {
    let max = limits.loss_max;
    let Loss { loss: lost, bound, .. } = loss;
    if lost > max {
        return Some(Refusal::Loss { loss: lost, bound, max });
    }
    if let Answers::Classes { .. } = answers {
        let classes = classes(answers);
        let broken = classes.iter().filter(|class| class.is_broken(limits));
        let worst = broken.max_by(|one, other| one.loss().total_cmp(&other.loss()));
        if let Some(class) = worst {
            let (loss, max) = (class.loss(), limits.class_loss_max);
            return Some(Refusal::Class { class: class.class, loss, max });
        }
    }
    if bound > max {
        let rows = answers.rows();
        let is_few = matches!(answers, Answers::Numbers { .. }) && rows < NUMBERS_ROWS_MIN;
        let needed = if is_few { NUMBERS_ROWS_MIN } else { needed(rows, loss, max) };
        return Some(Refusal::Unproven { loss: lost, bound, max, rows, needed });
    }
    None
}

/// About how many rows would prove the same loss: the bound's distance shrinks with their square root.
fn needed(rows: usize, loss: Loss, max: f64) -> usize {
    let (has, may) = (loss.bound - loss.loss, (max - loss.loss).max(1e-4));
    ((rows as f64 * (has / may).powi(2)).ceil() as usize).max(rows + 1)
}

impl Answers {
    /// How many rows they are to.
    pub fn rows(&self) -> usize {
        match self {
            Answers::Classes { candidate, .. } => candidate.len(),
            Answers::Numbers { candidate, .. } => candidate.len(),
            Answers::Cosines(cosines) => cosines.len(),
        }
    }
}

/// What was lost, with its bound.
///
/// Of classes, the rows that only one of both answers right are counted ([`Paired`]).
pub fn loss(answers: &Answers, risk: f64) -> Loss {
    match answers {
        Answers::Classes { truth, original, candidate } => {
            let truth = truth.as_ref().unwrap_or(original);
            let pairs = || truth.iter().zip(original.iter().zip(candidate));
            let rights = pairs().map(|(truth, (one, other))| (one == truth, other == truth));
            let paired = Paired::count(rights);
            let right = pairs().filter(|(truth, (_, other))| other == truth).count();
            let classes = classes(answers);
            let worst = classes.iter().max_by(|one, other| one.loss().total_cmp(&other.loss()));
            Loss {
                value: right as f64 / candidate.len().max(1) as f64,
                loss: paired.loss(),
                bound: paired.loss_upper_bound(1.0 - risk),
                worst_class: worst.map(|class| (class.class, class.loss())),
            }
        }
        Answers::Numbers { truth, original, candidate } => {
            let truth = truth.as_ref().unwrap_or(original);
            let found = r2_loss(truth, (original, candidate), 1.0 - risk, SEED);
            let R2Loss { value, loss, bound } =
                found.unwrap_or(R2Loss { value: 0.0, loss: 1.0, bound: 1.0 });
            let bound = if truth.len() < NUMBERS_ROWS_MIN { 1.0 } else { bound };
            Loss { value, loss, bound, worst_class: None }
        }
        Answers::Cosines(cosines) => {
            let count = cosines.len().max(1) as f64;
            let mean = cosines.iter().sum::<f64>() / count;
            let spread = cosines.iter().map(|cosine| (cosine - mean).powi(2)).sum::<f64>();
            // Of a mean: normal, for the usual risk of 5 %, and never tighter for a smaller one.
            let width = if risk < 0.05 { 2.576 } else { 1.645 };
            let error = (spread / (count - 1.0).max(1.0) / count).sqrt() * width;
            let bound = 1.0 - mean + error;
            Loss { value: mean, loss: 1.0 - mean, bound, worst_class: None }
        }
    }
}

/// A class on the held-out rows.
struct Class {
    class: u32,
    paired: Paired,
}

impl Class {
    fn loss(&self) -> f64 {
        self.paired.loss()
    }

    fn is_broken(&self, limits: &Limits) -> bool {
        let (Paired { rows, lost, won }, max) = (self.paired, limits.class_loss_max);
        if rows >= CLASS_ROWS_MIN {
            return self.loss() > max;
        }
        let bounds =
            |hits, risk: f64| -> Interval { clopper_pearson(hits, rows, 1.0 - 2.0 * risk) };
        let proven = if won == 0 {
            bounds(lost, limits.risk).low
        } else {
            bounds(lost, limits.risk / 2.0).low - bounds(won, limits.risk / 2.0).high
        };
        proven > max
    }
}

fn classes(answers: &Answers) -> Vec<Class> {
    let Answers::Classes { truth, original, candidate } = answers else { return Vec::new() };
    let truth = truth.as_ref().unwrap_or(original);
    let mut rows: std::collections::BTreeMap<u32, Vec<(bool, bool)>> = Default::default();
    for (truth, (one, other)) in truth.iter().zip(original.iter().zip(candidate)) {
        rows.entry(*truth).or_default().push((one == truth, other == truth));
    }
    let class =
        |(class, rows): (u32, Vec<(bool, bool)>)| Class { class, paired: Paired::count(rows) };
    rows.into_iter().map(class).collect()
}

/// The verdict whose candidate replaces the original: of those within a tenth of the fastest, the smallest. `None`: keep the original.
pub fn best(verdicts: &[Verdict]) -> Option<&Verdict> {
    let passed = || verdicts.iter().filter(|verdict| verdict.refused.is_none());
    let time = |verdict: &Verdict| verdict.time.unwrap_or(1.0);
    let fastest = passed().map(time).min_by(f64::total_cmp)?;
    let quick = passed().filter(|verdict| time(verdict) <= fastest * 1.1);
    quick.min_by(|one, other| one.bytes.cmp(&other.bytes).then(time(one).total_cmp(&time(other))))
}

#[cfg(test)]
mod tests;
