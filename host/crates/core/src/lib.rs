//! What every part of Hospes speaks of: ids and digests, time, keys and signed envelopes, values and tensors, and how a call ended.
//!
//! It knows no host: no files but keys, no network, no sandbox.

pub mod backend;
pub mod capability;
pub mod clock;
pub mod dsse;
pub mod id;
pub mod key;
pub mod outcome;
pub mod tensor;
pub mod value;
