//! The messages, generated from `proto/inference.proto`.

#![allow(
    clippy::all,
    clippy::semicolon_if_nothing_returned,
    reason = "generated code has a style of its own"
)]

include!(concat!(env!("OUT_DIR"), "/inference.rs"));

/// The file's descriptor, for reflection.
pub(super) const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/inference.bin"));
