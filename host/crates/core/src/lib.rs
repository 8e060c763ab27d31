//! Basic types of all parts of Hospes: identifiers and digests, time, keys and signed envelopes, values and tensors, and the outcome of a
//! call.
//!
//! It depends on no host: no files except keys and those that are given a digest, no network, no sandbox.

pub mod backend;
pub mod capability;
pub mod clock;
pub mod dsse;
pub mod files;
pub mod id;
pub mod key;
pub mod language;
pub mod outcome;
pub mod random;
pub mod tensor;
pub mod value;
