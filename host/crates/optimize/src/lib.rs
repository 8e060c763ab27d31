//! Smaller and faster models, and the gate that decides which of them may replace the original.
//!
//! [`passes`] are pure functions from a model to a model. Most lose precision, so none of them decides about itself: the [`gate`] compares
//! each result with the original on held-out data. The surprise: what a pass gains depends on the model and on the backend. The same pass
//! makes one model twice as fast and another ten times slower.

pub mod array;
mod compare;
pub mod execute;
pub mod gate;
mod method;
pub mod passes;
pub mod quantise;
mod report;
mod run;
mod search;

pub use execute::{Executor, Metric, Rows};
pub use gate::Limits;
pub use method::{Method, UnknownMethod};
pub use passes::{Change, PassError};
pub use report::{BackendTimes, Chosen, OriginalReport, Report, Skipped, Tried};
pub use run::{Made, OptimizeError, Task, judge, make};
