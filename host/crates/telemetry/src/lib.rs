//! The log: lines on standard error, for people or machines. Bodies, tensors and keys must never be logged.
//!
//! Much of the log is other people's text. An event is always one line, whatever its fields contain. Output of guests and native libraries
//! is limited in length and rate: [`Allowance`], [`Source`], [`foreign_line`].

mod allowance;
mod line;

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Arc, LazyLock, OnceLock};

use tracing::Level;
use tracing_subscriber::EnvFilter;

use hospes_config::{LogFormat, Telemetry};

pub use allowance::{Allowance, Allowances};
use line::{Lines, Style, escaped};

/// Maximum length of a line from a native library or worker, in bytes; the rest is dropped.
pub const FOREIGN_LINE_BYTES_MAX: usize = 2048;

/// Shared rate of native libraries and unassigned workers, in bytes per second; excess is dropped.
const FOREIGN_BYTES_PER_SECOND: u64 = 64 << 10;

static FOREIGN: LazyLock<Allowance> =
    LazyLock::new(|| Allowance::new("native libraries", FOREIGN_BYTES_PER_SECOND));

/// Why the log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error(
        "`{filter}` is not a log filter: write `info`, or directives such as `warn,hospes=debug`"
    )]
    Filter {
        filter: String,
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    #[error("the log is already started")]
    Started,
}

/// Starts this process's log. `RUST_LOG` overrides the settings. From then on panics are events too.
///
/// # Errors
/// [`TelemetryError`].
pub fn start(config: &Telemetry) -> Result<(), TelemetryError> {
    let filter = match EnvFilter::try_from_default_env() {
        Ok(filter) => filter,
        Err(_) => EnvFilter::try_new(&config.filter)
            .map_err(|source| TelemetryError::Filter { filter: config.filter.clone(), source })?,
    };
    let style = match config.format {
        LogFormat::Json => Style::Json,
        LogFormat::Text if io::stderr().is_terminal() => Style::Coloured,
        LogFormat::Text => Style::Text,
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || Lines::new(io::stderr(), style))
        .with_ansi(style == Style::Coloured);
    let started = match config.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    started.map_err(|_| TelemetryError::Started)?;
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("it said nothing");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a thread panicked: {message}");
    }));
    Ok(())
}

/// A process that logs, and the publisher whose models it computes, once known.
#[derive(Debug, Clone)]
pub struct Source {
    name: Arc<str>,
    owner: Arc<OnceLock<Arc<Allowance>>>,
}

impl Source {
    /// A process without a publisher so far.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), owner: Arc::default() }
    }

    /// Sets its publisher, for good.
    pub fn belongs_to(&self, allowance: Arc<Allowance>) {
        let _ = self.owner.set(allowance);
    }

    /// Its publisher.
    pub fn owner(&self) -> Option<&str> {
        self.owner.get().map(|allowance| allowance.who())
    }

    /// Logs a line from it: as one line, limited in length and rate.
    pub fn line(&self, text: &str) {
        let allowance = self.owner.get().map_or(&*FOREIGN, |allowance| &**allowance);
        write_line((&self.name, self.owner()), allowance, Level::WARN, text);
    }
}

/// Logs a line from a native library: as one line, limited in length and rate. A process without a log, such as a worker, writes it to
/// standard error in the log's format.
pub fn foreign_line(source: &str, level: Level, text: &str) {
    write_line((source, None), &FOREIGN, level, text);
}

fn write_line(
    (source, publisher): (&str, Option<&str>),
    allowance: &Allowance,
    level: Level,
    text: &str,
) {
    let has_log = tracing::dispatcher::has_been_set();
    let line = one_line(text);
    if line.is_empty() || (!has_log && level > Level::WARN) || !allowance.admits(line.len()) {
        return;
    }
    if !has_log {
        // There is nowhere to report a failure.
        let _ = writeln!(io::stderr().lock(), "{source}: {line}");
        return;
    }
    match level {
        Level::ERROR => tracing::error!(target: "hospes::native", source, publisher, "{line}"),
        Level::WARN => tracing::warn!(target: "hospes::native", source, publisher, "{line}"),
        Level::INFO => tracing::info!(target: "hospes::native", source, publisher, "{line}"),
        Level::DEBUG => tracing::debug!(target: "hospes::native", source, publisher, "{line}"),
        _ => tracing::trace!(target: "hospes::native", source, publisher, "{line}"),
    }
}

/// Foreign text as one line of at most [`FOREIGN_LINE_BYTES_MAX`].
fn one_line(text: &str) -> String {
    let text = text.trim_end();
    let mut end = text.len().min(FOREIGN_LINE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut line = escaped(&text[..end], Style::Text);
    if end < text.len() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_line_is_one_and_bounded() {
        assert_eq!(one_line("a\n\u{1b}[31mb\n"), "a\\n\\u{1b}[31mb");
        let long = one_line(&"ä".repeat(FOREIGN_LINE_BYTES_MAX));
        assert!(long.ends_with("ä…") && long.len() <= FOREIGN_LINE_BYTES_MAX + '…'.len_utf8());
    }
}
