//! ONNX models: checked before a backend parses them, and read, changed, built and written.
//!
//! [`check()`] walks the protobuf of a publisher's file, with limits on everything. A backend reads whatever a model refers to, including the
//! host's files. So a model must not refer to anything outside its file. Then a backend runs exactly what was signed. A model cannot control
//! how much memory the check allocates.
//!
//! [`model`] represents a model as values. It reads only what [`check()`] accepts, and writes only that. [`fit()`] finds what else a host would
//! reject, and [`cure()`] repairs some of it. [`relay()`] lays out weights that a backend maps. This crate depends on no backend.

mod accepted;
mod check;
mod cure;
mod facts;
mod field;
mod fit;
mod functions;
mod limits;
pub mod model;
mod operators;
mod refused;
mod relay;
mod released;
mod schema;
#[cfg(test)]
mod tests;
mod told;
mod wire;

pub use accepted::{Accepted, CATEGORY_BYTES_MAX, Category, accepted};
pub use check::{check, foreign};
pub use cure::{CureError, cure};
pub use facts::{ModelFacts, OperatorCount};
pub use field::NAME_BYTES_MAX;
pub use fit::{Interface, Port, fit};
pub use limits::{
    DENSE_BYTES_MAX, DEPTH_MAX, ELEMENTS_MAX, FUNCTION_DEPTH_MAX, INITIALISED_INPUTS_MAX,
    IR_VERSION_MAX, Limit, ML_OPSET_MAX, MODEL_BYTES_MAX, NODES_MAX, OPSET_MAX, RANK_MAX,
};
pub use model::Model;
pub use refused::{ModelRefused, Problem};
pub use relay::{ALIGNMENT, Part, Relaid, RelayError, relay};
pub use told::{Told, ToldColumn};
pub use wire::WireError;
