//! Lines for the operator's log. The host adds the call to each line, cuts long lines and drops lines above a limit, so a
//! plugin need not limit itself. Do not log callers' data.
//!
//! ```no_run
//! use hospes_sdk::log;
//!
//! log::info("model loaded");
//! log::warn(format!("picture of {}x{} pixels enlarged", 16, 16));
//! ```

use crate::bindings::hospes::plugin::logging;

/// The level of a line, the least important first.
///
/// ```
/// use hospes_sdk::log::Level;
///
/// assert!(Level::Debug < Level::Error);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Every step.
    Trace,
    /// Information for the plugin's developers.
    Debug,
    /// Normal events.
    Info,
    /// Possible problems.
    Warn,
    /// Errors.
    Error,
}

/// Writes one line.
///
/// ```no_run
/// use hospes_sdk::log::{self, Level};
///
/// log::line(Level::Info, "ready");
/// ```
pub fn line(level: Level, message: impl AsRef<str>) {
    let level = match level {
        Level::Trace => logging::Level::Trace,
        Level::Debug => logging::Level::Debug,
        Level::Info => logging::Level::Info,
        Level::Warn => logging::Level::Warn,
        Level::Error => logging::Level::Error,
    };
    logging::log(level, message.as_ref());
}

/// Writes a line at [`Level::Trace`].
///
/// ```no_run
/// hospes_sdk::log::trace("window 3 of 7");
/// ```
pub fn trace(message: impl AsRef<str>) {
    line(Level::Trace, message);
}

/// Writes a line at [`Level::Debug`].
///
/// ```no_run
/// hospes_sdk::log::debug("no model needed for an empty file");
/// ```
pub fn debug(message: impl AsRef<str>) {
    line(Level::Debug, message);
}

/// Writes a line at [`Level::Info`].
///
/// ```no_run
/// hospes_sdk::log::info("model loaded");
/// ```
pub fn info(message: impl AsRef<str>) {
    line(Level::Info, message);
}

/// Writes a line at [`Level::Warn`].
///
/// ```no_run
/// hospes_sdk::log::warn("the picture is smaller than the model's input");
/// ```
pub fn warn(message: impl AsRef<str>) {
    line(Level::Warn, message);
}

/// Writes a line at [`Level::Error`].
///
/// ```no_run
/// hospes_sdk::log::error("the model gave no output called `logits`");
/// ```
pub fn error(message: impl AsRef<str>) {
    line(Level::Error, message);
}
