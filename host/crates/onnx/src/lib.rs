//! Checks ONNX models before a backend parses them: walks the protobuf of a publisher's file, with limits on everything.
//!
//! A backend reads whatever a model refers to, including the host's files. So a model must not refer to anything outside its file. Then a
//! backend runs exactly what was signed. This crate depends on no backend, and a model cannot control how much memory it allocates.

mod check;
mod cure;
mod facts;
mod field;
mod functions;
mod limits;
mod operators;
mod refused;
mod schema;
#[cfg(test)]
mod tests;
mod wire;

pub use check::check;
pub use cure::{CureError, Cured, cure};
pub use facts::{ModelFacts, OperatorCount};
pub use field::NAME_BYTES_MAX;
pub use limits::{
    DENSE_BYTES_MAX, DEPTH_MAX, ELEMENTS_MAX, FUNCTION_DEPTH_MAX, INITIALISED_INPUTS_MAX, Limit,
    MODEL_BYTES_MAX, NODES_MAX, RANK_MAX,
};
pub use refused::{ModelRefused, Problem};
pub use wire::WireError;
