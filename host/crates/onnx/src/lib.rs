//! Checks ONNX models before any backend parses them: walks the protobuf of a publisher's file, with limits on everything.
//!
//! A backend reads whatever a model refers to, including files of the host. So a model must not refer to anything outside itself: what was
//! signed is what is computed. Depends on no backend, and allocates nothing whose size a model controls.

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
