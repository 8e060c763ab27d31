//! Whether a call is within an agreement: compiled before the first call, evaluated on every call, explained when it is not. And whether
//! one agreement is within another.

pub(crate) mod compiled;
pub(crate) mod evaluate;
pub(crate) mod narrow;
pub(crate) mod report;
