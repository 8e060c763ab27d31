//! The log: lines on standard error, for people or for machines. Bodies, tensors and keys must never go there.
//!
//! Much of what is logged is other people's text. No event is more than one line, whatever is in its fields, and what guests and
//! native libraries write is capped and rated: [`Allowance`], [`Source`], [`foreign_line`].

mod allowance;
mod line;

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Arc, LazyLock, OnceLock};

use tracing::Level;
use tracing_subscriber::EnvFilter;

use hospes_config::{LogFormat, Telemetry};

pub use allowance::{Allowance, Allowances};
use line::{Lines, Style, escaped};

/// Longest line of a native library or of a worker, in bytes; the rest of it is dropped.
pub const FOREIGN_LINE_BYTES_MAX: usize = 2048;

/// What native libraries and workers that are nobody's may write together, in bytes a second; more is dropped.
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

/// Starts the log of this process. `RUST_LOG` goes over the settings. From then on panics are events too.
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

/// A process that writes lines, and whose models it computes once that is known: then its lines are that publisher's.
#[derive(Debug, Clone)]
pub struct Source {
    name: Arc<str>,
    owner: Arc<OnceLock<Arc<Allowance>>>,
}

impl Source {
    /// One that is nobody's yet.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), owner: Arc::default() }
    }

    /// Whose it is from now on, for good.
    pub fn belongs_to(&self, allowance: Arc<Allowance>) {
        let _ = self.owner.set(allowance);
    }

    /// Whose it is.
    pub fn owner(&self) -> Option<&str> {
        self.owner.get().map(|allowance| allowance.who())
    }

    /// Writes a line that it has said: as one line, capped, and rated.
    pub fn line(&self, text: &str) {
        let allowance = self.owner.get().map_or(&*FOREIGN, |allowance| &**allowance);
        write_line((&self.name, self.owner()), allowance, Level::WARN, text);
    }
}

/// Writes a line that a native library has said: as one line, capped, and rated. In a process without a log, such as a worker, it goes to
/// standard error as it would look in one.
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
        // There is nobody to tell if this fails.
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
