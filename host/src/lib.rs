//! Hospes: a serverless host for WebAssembly model plugins, with signed agreements enforced on every call.
//!
//! Read [`invoke`] and [`deploy`] first: they tell the whole story in order. `ARCHITECTURE.md` has the map.

// The host's crates, under the names used here, in alphabetical order. `ARCHITECTURE.md` shows their dependencies.
pub use hospes_admission as admission;
pub use hospes_agreement as agreement;
pub use hospes_agreement::{controls, ledger};
pub use hospes_bundle as bundle;
pub use hospes_checkpoint as checkpoint;
pub use hospes_config as config;
pub use hospes_confine as confine;
pub use hospes_convert as convert;
pub use hospes_core::{
    backend, capability, clock, dsse, files, id, key, language, outcome, tensor, value,
};
pub use hospes_data as data;
pub use hospes_decoder as decoder;
pub use hospes_evaluate as evaluate;
pub use hospes_evidence as evidence;
pub use hospes_inference as inference;
pub use hospes_onnx as onnx;
pub use hospes_optimize as optimize;
pub use hospes_receipt as receipt;
pub use hospes_telemetry as telemetry;
pub use hospes_training as training;
pub use hospes_wire as wire;
pub use hospes_worker as worker;

pub mod api;
pub mod backup;
pub mod call;
pub mod causes;
pub mod cli;
pub mod deploy;
pub mod host;
pub mod invoke;
pub mod operations;
pub mod sandbox;
pub mod start;
pub mod state;
pub mod stop;
pub mod store;
pub mod visibility;
