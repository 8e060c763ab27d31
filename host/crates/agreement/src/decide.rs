//! Whether an agreement permits a call: compiled before the first call, evaluated on every call, explained on refusal. Also whether one
//! agreement is within another.

pub(crate) mod compiled;
pub(crate) mod evaluate;
pub(crate) mod narrow;
pub(crate) mod report;
