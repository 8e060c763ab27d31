//! The generated bindings of everything that a plugin may import. The rest of the SDK wraps them. Use them directly where
//! there is no wrapper, for example for `wasi:nn`'s tensor in an exported function that takes handles.
//!
//! ```no_run
//! use hospes_sdk::{Tensor, bindings::wasi::nn::tensor};
//!
//! fn first_dimension(handle: tensor::Tensor) -> Option<u32> {
//!     Tensor::from(handle).shape().first().copied()
//! }
//! ```

#![allow(missing_docs, reason = "generated; the documentation is in the WIT")]

wit_bindgen::generate!({
    world: "hospes:plugin/plugin",
    path: ["../wit/deps/wasi-nn-0.2.0-rc-2024-10-28", "../wit/plugin.wit"],
    generate_all,
});
