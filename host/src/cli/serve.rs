//! `hospes serve`: runs a host until it is told to stop.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::Context;
use super::failure::{During as _, Failure};
use super::screen::{Answer, Screen};
use crate::api::Api;
use crate::config::Config;
use crate::host::Host;
use crate::telemetry;

/// Run a host.
///
/// Starts on defaults: state in `./hospes-data`, everybody's listener on 127.0.0.1:8080, the operator's on 127.0.0.1:8081. All of
/// it can be set in a TOML file; `--print-config` shows every setting with its value. SIGTERM or Ctrl-C stops it: no new
/// connections, running calls may end.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes serve --data ./data --listen 127.0.0.1:8080\n  \
    hospes serve --print-config > hospes.toml && hospes serve --config hospes.toml")]
pub struct Serve {
    /// Settings, as TOML.
    #[arg(long, value_name = "FILE", env = "HOSPES_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// Where the host keeps everything; over the setting `data.dir`.
    #[arg(long, value_name = "DIR", env = "HOSPES_DATA", hide_env_values = true)]
    data: Option<PathBuf>,
    /// Everybody's listener; over the setting `api.listen`. Port 0 picks a free one.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// The operator's listener; over the setting `api.operator_listen`. Keep it off the network.
    #[arg(long, value_name = "ADDR")]
    operator_listen: Option<SocketAddr>,
    /// Print the settings that would be used, as TOML, and stop.
    #[arg(long)]
    print_config: bool,
}

impl Serve {
    pub fn run(self, context: &Context) -> Result<Answer, Failure> {
        let mut config = config(self.config.as_deref(), self.data)?;
        if let Some(address) = self.listen {
            config.api.listen = address;
        }
        if let Some(address) = self.operator_listen {
            config.api.operator_listen = address;
        }
        if self.print_config {
            return Ok(Answer::new(toml::to_string(&config)?, serde_json::to_value(&config)?));
        }
        telemetry::start(&config.telemetry)?;
        let runtime = (context.make_runtime)().during(|| "cannot start threads".into())?;
        runtime.block_on(serve(config, context))?;
        Ok(Answer::Nothing)
    }
}

/// The settings of a file, or the defaults, with another data directory if one is named.
///
/// # Errors
/// If the file cannot be read or holds settings that do not exist.
pub fn config(file: Option<&Path>, data: Option<PathBuf>) -> Result<Config, Failure> {
    let mut config = match file {
        Some(file) => Config::read(file)?,
        None => Config::default(),
    };
    if let Some(data) = data {
        config.data.dir = data;
    }
    Ok(config)
}

async fn serve(config: Config, context: &Context) -> Result<(), Failure> {
    // Before anything listens, so that a signal that comes early is not lost.
    let stop = stop_signal().during(|| "cannot wait for signals".into())?;
    let host = Host::start(config, context.clock.clone())
        .await
        .during(|| "the host does not start".into())?;
    let api = Api::bind(Arc::clone(&host)).await.or_fix(|| {
        "stop what listens there, or choose another with `--listen` or `--operator-listen`".into()
    })?;
    ready(&host, &api, context.screen)?;
    api.serve(stop).await;
    context.screen.note("stopped");
    Ok(())
}

/// One block that says what runs where.
fn ready(host: &Host, api: &Api, screen: Screen) -> Result<(), Failure> {
    let address = |scheme: &str, address: Option<SocketAddr>| {
        address.map_or_else(|| "unknown".to_owned(), |address| format!("{scheme}://{address}"))
    };
    let public = if host.config().api.tls_certificate.is_some() { "https" } else { "http" };
    let public = address(public, api.address());
    let operator = address("http", api.operator_address());
    let backends: Vec<(String, bool)> = host
        .inference
        .backends()
        .iter()
        .map(|status| (status.kind.to_string(), status.usable.is_ok()))
        .collect();
    let usable: Vec<&str> =
        backends.iter().filter(|(_, usable)| *usable).map(|(name, _)| name.as_str()).collect();
    let data = &host.config().data.dir;
    let plain = format!(
        "hospes {} is ready\n  everybody  {public}\n  operator   {operator}\n  data       {}\n  backends   {}\n  host       {}",
        env!("CARGO_PKG_VERSION"),
        data.display(),
        usable.join(", "),
        host.party()
    );
    let json: Value = json!({
        "address": public,
        "operator_address": operator,
        "data": data,
        "backends": usable,
        "party": host.party(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    screen.answer(&Answer::new(plain, json))
}

/// Resolves at SIGTERM or Ctrl-C.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
