//! The log: lines on standard error, for people or for machines. Bodies, tensors and keys never go there.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, Telemetry};

/// Why the log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error(
        "`{filter}` says nothing about what to log: write `info`, or directives such as `warn,hospes=debug`"
    )]
    Filter {
        filter: String,
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    #[error("the log was started before")]
    Started,
}

/// Starts the log of this process. `RUST_LOG` goes over the settings.
///
/// # Errors
/// [`TelemetryError`].
pub fn start(config: &Telemetry) -> Result<(), TelemetryError> {
    let filter = match EnvFilter::try_from_default_env() {
        Ok(filter) => filter,
        Err(_) => EnvFilter::try_new(&config.filter)
            .map_err(|source| TelemetryError::Filter { filter: config.filter.clone(), source })?,
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match config.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    started.map_err(|_| TelemetryError::Started)
}
