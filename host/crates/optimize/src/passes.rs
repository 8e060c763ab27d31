//! Passes: pure functions from a model to a model. A pass that finds nothing to do returns `None`, so the file stays as it is.
//!
//! Only the model's own graph is changed, not the graphs of `If`, `Loop` and functions. Weights that callers may override stay.

mod bits;
mod build;
mod dynamic8;
mod gelu;
mod graph;
mod layers;
mod prune;
mod static8;
mod store8;
#[cfg(test)]
mod tests;

use hospes_onnx::Model;
use hospes_onnx::model::{EditError, TensorError};

pub use bits::bits;
pub use dynamic8::{Dynamic, dynamic8};
pub use graph::graph;
pub use layers::layers;
pub use prune::{Choice, prune};
pub use static8::{Plan, Ranges, observe, static8};
pub use store8::store8;

/// A changed model, and what was done, one line each.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub model: Model,
    pub notes: Vec<String>,
}

/// A changed model, or `None` if there was nothing to do.
pub type Changed = Result<Option<Change>, PassError>;

/// Why a pass cannot be applied to a model.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PassError {
    #[error(
        "the model has operators of ONNX {found}, and {pass} needs {needed}: export it with `opset_version={needed}`"
    )]
    Opset { pass: &'static str, found: i64, needed: i64 },
    #[error(
        "calibration saw no finite numbers in `{value}`: give it rows that the model can compute"
    )]
    NoRange { value: String },
    #[error("{amount} is not a share of weights: give one from 0 to 1")]
    Amount { amount: f64 },
    #[error(transparent)]
    Edit(#[from] EditError),
    #[error(transparent)]
    Tensor(#[from] TensorError),
}
