//! `hospes serve`: runs a host until it is told to stop.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::signal::unix;
use tokio::sync::oneshot;

use super::MakeRuntime;
use crate::api::{Api, Listeners};
use crate::clock::Clock;
use crate::config::{self, Config, ListenAddress};
use crate::host::Host;
use crate::start;
use crate::store::is_disk_full;
use crate::telemetry;
use hospes_cli::Context;
use hospes_cli::failure::{During as _, Failure};
use hospes_cli::screen::{Answer, Screen};

/// Time until a start on a full disk is tried again.
const START_RETRY: Duration = Duration::from_secs(1);

/// Time to write the last receipts when the host stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for the host's threads to end when it stops.
const LET_GO_TIMEOUT: Duration = Duration::from_secs(1);

/// Run a host.
///
/// The defaults: state in `./hospes-data`, the public listener on 127.0.0.1:8080, the operator's on 127.0.0.1:8081. A TOML file can
/// override them; `--print-config` shows every setting with its value. SIGTERM or Ctrl-C stops the host: it takes no new connections
/// and lets running calls finish. After SIGTERM, `/readyz` first answers 503 for `api.drain_delay`.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes serve --data ./data --listen 127.0.0.1:8080\n  \
    hospes serve --print-config > hospes.toml && hospes serve --config hospes.toml")]
pub struct Serve {
    #[command(flatten)]
    settings: Settings,
    /// Print the effective settings as TOML, and stop.
    #[arg(long)]
    print_config: bool,
}

/// A host's settings.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// A TOML file of settings.
    #[arg(long, value_name = "FILE", env = "HOSPES_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// The data directory; overrides the setting `data.dir`.
    #[arg(long, value_name = "DIR", env = "HOSPES_DATA", hide_env_values = true)]
    data: Option<PathBuf>,
    /// The public listener, an address or a name with a port; overrides the setting `api.listen`. Port 0 picks a free one.
    #[arg(long, value_name = "ADDR")]
    listen: Option<ListenAddress>,
    /// The operator's listener; overrides the setting `api.operator_listen`. Keep it off the network.
    #[arg(long, value_name = "ADDR")]
    operator_listen: Option<ListenAddress>,
}

impl Settings {
    /// The settings. The command line overrides the file.
    ///
    /// # Errors
    /// As [`config()`].
    pub fn read(self) -> Result<Config, Failure> {
        let mut config = config(self.config.as_deref(), self.data)?;
        if let Some(address) = self.listen {
            config.api.listen = address;
        }
        if let Some(address) = self.operator_listen {
            config.api.operator_listen = address;
        }
        Ok(config)
    }
}

impl Serve {
    pub fn run(self, context: &Context, make_runtime: MakeRuntime) -> Result<Answer, Failure> {
        let config = self.settings.read()?;
        if self.print_config {
            return Ok(Answer::new(config.to_toml()?, serde_json::to_value(&config)?));
        }
        telemetry::start(&config.telemetry)?;
        let runtime = make_runtime().during(|| "cannot start threads".into())?;
        let screen = context.screen;
        let listens = move |host, addresses| {
            tokio::spawn(announce(host, addresses, screen));
        };
        let served = runtime.block_on(serve(config, context, listens, std::future::pending()));
        // Do not wait for work after the drain: a computation or a read may never end.
        runtime.shutdown_background();
        served.map(|()| Answer::Nothing)
    }
}

/// The settings of a file, or the defaults, with the named data directory if there is one.
///
/// # Errors
/// If the file cannot be read or holds unknown settings.
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

/// Runs a host until a signal or until `ended` resolves. `listens` gets the addresses of the public and the operator's listener.
///
/// # Errors
/// If the host does not start.
pub async fn serve(
    config: Config,
    context: &Context,
    listens: impl FnOnce(Arc<Host>, [String; 2]),
    ended: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Failure> {
    config::machine::raise_files_max();
    // Before anything listens, so that an early signal is not lost.
    let mut signals = Signals::wait().during(|| "cannot wait for signals".into())?;
    let listeners = Listeners::bind(&config).await.or_fix(|| {
        "stop the program that listens there, or choose another address with `--listen` or `--operator-listen`".into()
    })?;
    let host = tokio::select! {
        host = listeners.while_starting(start(&config, &context.clock)) => host?,
        _ = signals.next() => return Ok(()),
    };
    let api = listeners.of(Arc::clone(&host));
    listens(Arc::clone(&host), addresses(&host, &api));
    let (stop, stopping) = oneshot::channel();
    let (hurry, hurrying) = oneshot::channel();
    tokio::spawn(async move {
        // No drain delay after Ctrl-C: people do not wait.
        let is_patient = tokio::select! {
            signal = signals.next() => signal == Signal::Terminate,
            () = ended => false,
        };
        let _ = stop.send(());
        if is_patient {
            signals.next().await;
        }
        let _ = hurry.send(());
    });
    api.serve(stopping.map(drop), hurrying.map(drop)).await;
    close(host).await;
    context.screen.note("stopped");
    Ok(())
}

/// Starts the host. On a full disk, tries again until there is room.
async fn start(config: &Config, clock: &Clock) -> Result<Arc<Host>, Failure> {
    loop {
        let (config, clock) = (config.clone(), clock.clone());
        // On its own thread: it reads files without yielding, and requests must get an answer meanwhile.
        let started =
            tokio::task::spawn_blocking(|| Handle::current().block_on(start::start(config, clock)));
        match started.await.during(|| "the host ended while it started".into())? {
            Err(error) if is_disk_full(&error) => {
                let error = Failure::from(error).in_a_line();
                tracing::error!(error, "the host cannot start on a full disk; it tries again");
                tokio::time::sleep(START_RETRY).await;
            }
            started => return started.during(|| "the host cannot start".into()),
        }
    }
}

/// Writes the remaining state, and drops the host. A thread that does not end in time ends with the process.
async fn close(host: Arc<Host>) {
    let closing = Arc::clone(&host);
    let closed = tokio::task::spawn_blocking(move || closing.close());
    if tokio::time::timeout(CLOSE_TIMEOUT, closed).await.is_err() {
        tracing::warn!("the last receipts were not written in time");
    }
    let let_go = tokio::task::spawn_blocking(move || drop(host));
    let _ = tokio::time::timeout(LET_GO_TIMEOUT, let_go).await;
}

/// The addresses of the public and the operator's listener.
fn addresses(host: &Host, api: &Api) -> [String; 2] {
    let address = |scheme: &str, address: Option<SocketAddr>| {
        address.map_or_else(|| "unknown".to_owned(), |address| format!("{scheme}://{address}"))
    };
    let public = if host.config().api.tls_certificate.is_some() { "https" } else { "http" };
    [address(public, api.address()), address("http", api.operator_address())]
}

/// Prints the addresses, in one block, when the host is ready.
async fn announce(host: Arc<Host>, [public, operator]: [String; 2], screen: Screen) {
    host.ready().await;
    if let Err(failure) = ready(&host, [public, operator], screen) {
        tracing::warn!(%failure, "cannot print that the host is ready");
    }
}

fn ready(host: &Host, [public, operator]: [String; 2], screen: Screen) -> Result<(), Failure> {
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
        "data": data.display().to_string(),
        "backends": usable,
        "party": host.party(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    screen.answer(&Answer::new(plain, json))
}

/// The signals that stop the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    Terminate,
    Interrupt,
}

struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    /// A file has reached the process's size limit. Handled, it is a write error and does not end the process.
    _file_size: unix::Signal,
}

/// `SIGXFSZ`.
const FILE_SIZE: i32 = 25;

/// From here on, reaching the file size limit is a write error and does not end this process.
///
/// # Errors
/// If the signal cannot be handled.
pub fn outlive_file_size() -> std::io::Result<unix::Signal> {
    unix::signal(unix::SignalKind::from_raw(FILE_SIZE))
}

impl Signals {
    fn wait() -> std::io::Result<Self> {
        let terminate = unix::signal(unix::SignalKind::terminate())?;
        let interrupt = unix::signal(unix::SignalKind::interrupt())?;
        let file_size = outlive_file_size()?;
        Ok(Self { terminate, interrupt, _file_size: file_size })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Interrupt,
        }
    }
}
