//! The current call. Nothing here identifies the caller.

use std::time::Duration;

use crate::bindings::hospes::plugin::call;

/// The terms that a plugin should respect, so that the host does not refuse its result. The host enforces each of them
/// itself.
///
/// ```no_run
/// let bytes = hospes_sdk::call::terms().output_bytes_max;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The agreement that permits this call: `sha256:` and 64 hexadecimal digits. Empty if the model's publisher calls it.
    pub agreement: String,
    /// Maximum bytes that the call may return, after the host has encoded them.
    pub output_bytes_max: u64,
}

/// The time until the host ends this call.
///
/// ```no_run
/// use std::time::Duration;
///
/// if hospes_sdk::call::deadline() < Duration::from_millis(50) {
///     hospes_sdk::log::warn("little time left: one pass instead of three");
/// }
/// ```
pub fn deadline() -> Duration {
    Duration::from_millis(call::deadline())
}

/// The purpose that the caller declared, as an IRI.
///
/// ```no_run
/// if hospes_sdk::call::purpose().is_none() {
///     hospes_sdk::log::debug("no purpose was declared");
/// }
/// ```
pub fn purpose() -> Option<String> {
    call::purpose()
}

/// The terms under which this call runs.
///
/// ```no_run
/// hospes_sdk::log::info(format!("under {}", hospes_sdk::call::terms().agreement));
/// ```
pub fn terms() -> Terms {
    let call::CallTerms { agreement, output_bytes_max } = call::terms();
    Terms { agreement, output_bytes_max }
}
