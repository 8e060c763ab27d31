//! ONNX models, looked at before anybody parses them: a publisher's file is walked by its protobuf, with limits on everything.
//!
//! A backend that parses a model reads what the model tells it to, files of the host among it. So nothing in a model may refer to
//! anything outside it: what was signed is what is computed. Knows no backend and allocates nothing that a model could make large.

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
