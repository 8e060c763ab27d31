//! `hospes runtime`: the inference backends and their native libraries.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::serve;
use crate::host::inference_settings;
use crate::inference::{self, BackendStatus};
use hospes_cli::Context;
use hospes_cli::failure::{During as _, Failure};
use hospes_cli::screen::{Answer, table};

/// List and install inference backends.
///
/// `tract` is built in: pure Rust, memory-safe, slower. `onnxruntime` is a native library, faster, and supports more models. The host
/// searches for it in the configuration, the environment, beside the binary, in the data directory and in the system.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes runtime install onnxruntime --data ./data\n  hospes runtime list --data ./data"
)]
pub struct Runtime {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the backends, and why one is not usable.
    List {
        /// The host's data directory.
        #[arg(long, value_name = "DIR", env = "HOSPES_DATA", hide_env_values = true)]
        data: Option<PathBuf>,
    },
    Install(Install),
}

/// Install a backend's library into the data directory.
///
/// Fetches the official package with pip, pinned by version and checksum, and keeps only the library. Hosts use it from their
/// next start.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes runtime install onnxruntime --data ./data --python python3"
)]
struct Install {
    backend: Installable,
    /// The host's data directory.
    #[arg(long, value_name = "DIR", env = "HOSPES_DATA", hide_env_values = true)]
    data: Option<PathBuf>,
    /// The Python whose pip fetches the package.
    #[arg(long, value_name = "COMMAND", default_value = "python3")]
    python: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Installable {
    Onnxruntime,
}

impl Runtime {
    pub fn run(self, context: &Context) -> Result<Answer, Failure> {
        match self.action {
            Action::List { data } => {
                let config = serve::config(None, data)?;
                let backends = inference::backends(&inference_settings(&config));
                let rows: Vec<_> = backends.iter().map(row).collect();
                let json: Vec<_> = backends.iter().map(entry).collect();
                Ok(Answer::new(
                    table(&["BACKEND", "USABLE", "DETAIL"], &rows),
                    json!({"backends": json}),
                ))
            }
            Action::Install(install) => install.run(context),
        }
    }
}

impl Install {
    fn run(self, context: &Context) -> Result<Answer, Failure> {
        match self.backend {
            Installable::Onnxruntime => {}
        }
        let config = serve::config(None, self.data)?;
        let progress = context.screen.spinner("installing onnxruntime");
        let library =
            inference::runtime::install(&config.data.dir, &self.python, |step| progress.step(step))
                .during(|| "cannot install onnxruntime".into())?;
        drop(progress);
        let plain = format!("installed {}\nhosts use it from their next start", library.display());
        Ok(Answer::new(
            plain,
            json!({"backend": "onnxruntime", "library": library.display().to_string()}),
        ))
    }
}

fn row(status: &BackendStatus) -> Vec<String> {
    let (usable, detail) = match &status.usable {
        Ok(detail) => ("yes", detail.to_string()),
        Err(reason) => ("no", reason.to_string()),
    };
    vec![status.kind.to_string(), usable.into(), detail]
}

fn entry(status: &BackendStatus) -> Value {
    let (detail, reason) = match &status.usable {
        Ok(detail) => (Some(detail.to_string()), None),
        Err(reason) => (None, Some(reason.to_string())),
    };
    json!({
        "backend": status.kind.to_string(),
        "usable": status.usable.is_ok(),
        "detail": detail,
        "reason": reason,
    })
}
