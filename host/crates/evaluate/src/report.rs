//! The report of an evaluation, as JSON. Its form is stable: members are added, never changed or removed within a format.

use hospes_core::id::Digest;
use hospes_data::{DataSet, Source};
use serde::Serialize;

use crate::figures::{CONFIDENCE, Figures, Metric};
use crate::timing::Timing;

/// The version of the report's form.
const FORMAT: u32 = 1;

/// How far a figure may be from that of another computation: rounding may move a row in a thousand from one class to another.
pub const FIGURE_TOLERANCE: f64 = 1e-3;

/// What was measured of a model on held-out rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub format: u32,
    pub model: Subject,
    /// The model that answers were compared with.
    pub reference: Option<Subject>,
    pub data: Rows,
    /// `None` if there was nothing to compare answers with.
    pub metric: Option<Metric>,
    /// The confidence of every interval.
    pub confidence: f64,
    /// One for each backend, or one for a published function.
    pub runs: Vec<Run>,
    /// Another report that the figures were compared with.
    pub reported: Option<Reported>,
    /// What a reader should know, a line each.
    pub notes: Vec<String>,
}

/// What another report says of the same rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reported {
    pub name: String,
    /// Where it has a figure for each place, that of the first one that differs, or of the first one.
    pub value: f64,
    pub tolerance: f64,
    /// The places whose figures are farther from it than that.
    pub differs: Vec<String>,
}

/// A model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Subject {
    pub name: String,
    /// SHA-256 and size of the ONNX file; unknown of published functions.
    pub sha256: Option<Digest>,
    pub bytes: Option<u64>,
}

/// The rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rows {
    pub name: String,
    pub sha256: Digest,
    pub rows: u64,
    pub sources: Vec<Source>,
    /// From a `croissant.json` beside the data.
    pub licence: Option<String>,
}

/// A model on one backend.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// `onnxruntime`, `tract`, or the host's address.
    pub place: String,
    /// Why there are no figures.
    pub error: Option<String>,
    pub figures: Option<Figures>,
    pub latency: Option<Timing>,
    /// The most memory that the worker process has held: the library, the model and its computations.
    pub memory_bytes: Option<u64>,
    pub load_ms: Option<f64>,
}

impl Run {
    /// A place without figures.
    pub fn failed(place: impl Into<String>, error: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            error: Some(error.into()),
            figures: None,
            latency: None,
            memory_bytes: None,
            load_ms: None,
        }
    }
}

impl Rows {
    /// The rows of a data set.
    pub fn of(name: String, data: &DataSet, licence: Option<String>) -> Self {
        let (sha256, rows) = (data.digest(), data.rows() as u64);
        Self { name, sha256, rows, sources: data.sources().to_vec(), licence }
    }
}

impl Report {
    /// A report without runs yet.
    pub fn new(model: Subject, data: Rows, metric: Option<Metric>) -> Self {
        Self {
            format: FORMAT,
            model,
            reference: None,
            data,
            metric,
            confidence: CONFIDENCE,
            runs: Vec::new(),
            reported: None,
            notes: Vec::new(),
        }
    }

    /// Whether any run has computed the rows.
    pub fn has_run(&self) -> bool {
        self.runs.iter().any(|run| run.error.is_none())
    }

    /// Whether a figure is not what another report says.
    pub fn differs(&self) -> bool {
        self.reported.as_ref().is_some_and(|reported| !reported.differs.is_empty())
    }
}
