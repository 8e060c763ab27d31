//! Shared code of the system tests: a whole host on loopback, parties with keys and accounts,
//! bundles of real plugins and hostile guests, and a plain HTTP client.

mod bundles;
mod chance;
mod client;
mod fronts;
mod host;
pub mod hostile;
mod http2;
pub mod model;
mod onnx;
mod party;
mod process;
mod python;
mod reference;
pub mod scene;
pub mod siege;
mod siege_http2;
pub mod smollm2;
pub mod talk;
pub mod tenants;
mod vectors;

pub use bundles::{
    batched_bundle, built, model_bundle, model_input, plugin, release, text_guest, wat_guest,
    wat_guest_as, workspace,
};
pub use chance::{Chance, resident, storms};
pub use client::{Reply, Request};
pub use fronts::Tensors;
pub use host::{Builder, TestHost};
pub use http2::{Fate, Http2};
pub use onnx::{computed, documented, gather, identity, simple};
pub use party::{Limited, Party, terms};
pub use process::{HostProcess, Usage, hostile_worker, later_host, without_landlock};
pub use python::{client, oracle, oracle_json};
pub use reference::{Asked, Reference, Verdict};
pub use vectors::{Vector, vectors};
