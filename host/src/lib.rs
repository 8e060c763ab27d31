//! Hospes: a serverless host for WebAssembly model plugins, with signed agreements enforced on every call.
//!
//! Read [`invoke`] and [`deploy`] first: they tell the whole story in order. `ARCHITECTURE.md` has the map.

pub mod admission;
pub mod agreement;
pub mod agreements;
pub mod api;
pub mod arguments;
pub mod auth;
pub mod backup;
pub mod bundle;
pub mod capability;
pub mod cli;
pub mod clock;
pub mod config;
pub mod controls;
pub mod deploy;
pub mod deployments;
pub mod dsse;
pub mod exchange;
pub mod host;
pub mod id;
pub mod inference;
pub mod invoke;
pub mod key;
pub mod market;
pub mod negotiations;
pub mod onnx;
pub mod operations;
pub mod outcome;
pub mod outputs;
pub mod receipt;
pub mod receipts;
pub mod sandbox;
pub mod stop;
pub mod store;
pub mod telemetry;
pub mod tensor;
pub mod value;
pub mod worker;
