//! A model on rows, in the host's own executor: confined worker processes, as `hospes serve` uses them.
//!
//! [`Evaluator`] loads a model on a backend. [`Feed`] binds a data set to the model's inputs, and says what to change where they do not fit.
//! [`Loaded::answers`] computes every row, and [`Answers`] reads classes, numbers or vectors out of the outputs. [`interleaved`] times several
//! models in turns, so that a busy machine slows all of them alike. [`judge`] makes figures with intervals. This crate knows no HTTP and
//! prints nothing.

mod answers;
mod elements;
mod evaluator;
mod feed;
mod figures;
mod pool;
mod profile;
mod report;
mod timing;
mod trained;

pub use answers::{AnswerError, Answers};
pub use evaluator::{BATCH_ROWS, EvaluateError, Evaluator, Loaded};
pub use feed::{Feed, FeedError, Preparation};
pub use figures::{Accuracy, CONFIDENCE, Cosine, Figures, JudgeError, Metric, R2, judge, together};
pub use hospes_inference::{ModelSignature, Settings};
pub use pool::{ATTENTION_MASK, Pool, PoolError};
pub use profile::profile;
pub use report::{FIGURE_TOLERANCE, Report, Reported, Rows, Run, Subject};
pub use timing::{RUNS, Timing, interleaved};
