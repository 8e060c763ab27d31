//! Write a model plugin for the Hospes host in Rust.
//!
//! A plugin declares its functions in a WIT world of its own, in the folder `wit/` of its crate, and that world includes
//! what every plugin may import:
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
//! The crate is a `cdylib`, and this is all of it:
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
//! # What a plugin has
//! Its bundle's models ([`Graph`]), the terms of the call ([`call`]) and the operator's log ([`log`]). There is no file
//! system, network, clock or source of randomness, and a component built with this SDK does not import any.
//! `println!`, `eprintln!` and panic messages reach the log on `wasm32-wasip1`; on `wasm32-unknown-unknown` only
//! panics and [`log`] do. Anything that asks for the time or for random bytes panics; on `wasm32-wasip1` that includes
//! `std::collections::HashMap::new`, so use a `BTreeMap`, or a map with a hasher of your choice.
//!
//! # One instance, one call
//! The host starts a fresh instance for every call, so nothing in a `static` outlives the call, and freed memory is
//! never needed again: [`plugin!`] installs an allocator that only moves forward ([`arena`]).
//!
//! # Which target
//! `wasm32-wasip1` is the one to prefer. `wasm32-unknown-unknown` works too. `wasm32-wasip2` works, but its linker adds
//! a dozen `wasi:*` imports that the plugin never asked for, all of which the host has to grant.

#![warn(missing_docs)]

// Lets the macros' `::hospes_sdk` paths resolve in this crate's own tests.
extern crate self as hospes_sdk;

pub mod arena;
pub mod bindings;
pub mod call;
mod element;
mod error;
mod graph;
pub mod log;
mod panic;
mod plugin;
mod tensor;

pub use element::{Element, ElementType};
pub use error::{Error, ErrorKind};
pub use graph::{Graph, Outputs};
pub use tensor::Tensor;

include!(concat!(env!("OUT_DIR"), "/bind.rs"));

/// What the macros expand to; not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use crate::panic::install;
    pub use wit_bindgen;
}
