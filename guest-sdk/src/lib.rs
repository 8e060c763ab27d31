//! Write a model plugin for the Hospes host in Rust.
//!
//! A plugin declares its functions in its own WIT world, in the folder `wit/` of its crate. The world includes what every
//! plugin may import:
//!
//! ```wit
//! package acme:doubling;
//!
//! world doubling {
//!     include hospes:plugin/plugin@0.1.0;
//!
//!     /// Twice every number.
//!     export double: func(numbers: list<f32>) -> result<list<f32>, string>;
//! }
//! ```
//!
//! The crate is a `cdylib` with this code:
//!
//! ```
//! use hospes_sdk::{Graph, Tensor};
//!
//! hospes_sdk::plugin!("acme:doubling/doubling");
//!
//! struct Doubling;
//!
//! impl Guest for Doubling {
//!     fn double(numbers: Vec<f32>) -> Result<Vec<f32>, String> {
//!         let x = Tensor::new(&[numbers.len()], &numbers)?;
//!         let outputs = Graph::load("model")?.compute([("x", x)])?;
//!         Ok(outputs.get("y")?.to_vec()?)
//!     }
//! }
//!
//! export!(Doubling);
//! # fn main() {}
//! ```
//!
//! # What a plugin can use
//! A plugin can use its bundle's models ([`Graph`]), the terms of the call ([`call`]) and the operator's log ([`log`]).
//! There is no file system, network, clock or source of randomness, and a component built with this SDK imports none.
//! On `wasm32-wasip1`, `println!`, `eprintln!` and panic messages go to the log. On `wasm32-unknown-unknown`, only panic
//! messages and [`log`] do. Code that needs the time or random bytes panics. On `wasm32-wasip1` that includes
//! `std::collections::HashMap::new`, so use a `BTreeMap`, or a map with a hasher of your choice.
//!
//! # One instance, one call
//! The host starts a fresh instance for every call, so nothing in a `static` outlives the call. Freed memory is rarely
//! needed again, so [`plugin!`] installs an allocator that only moves forward ([`arena`]).
//!
//! # Which target
//! Prefer `wasm32-wasip1`. `wasm32-unknown-unknown` works too. `wasm32-wasip2` works, but its linker adds a dozen
//! `wasi:*` imports that the plugin does not need and the host must grant.

#![warn(missing_docs)]

// Lets the macros' `::hospes_sdk` paths resolve in this crate's own tests.
extern crate self as hospes_sdk;

pub mod arena;
pub mod bindings;
pub mod call;
#[cfg(feature = "language")]
pub mod chat;
mod element;
mod error;
mod graph;
#[cfg(feature = "language")]
pub mod language;
pub mod log;
mod panic;
mod plugin;
mod tensor;

pub use element::{Element, ElementType};
pub use error::{Error, ErrorKind};
pub use graph::{Graph, Outputs};
pub use tensor::Tensor;

include!(concat!(env!("OUT_DIR"), "/bind.rs"));

/// Used by the macros. Not part of the public API.
#[doc(hidden)]
pub mod __private {
    pub use crate::panic::install;
    pub use wit_bindgen;
}
