//! The HTTP layer: listens, reads requests, passes them to `invoke`, renders responses, and stops without losing a call.
//!
//! Decides nothing. Two listeners: one public, one for the operator (loopback unless configured otherwise).

mod account;
mod admin;
mod agreements;
mod answer;
mod aside;
mod backup;
mod body;
mod calls;
mod certificate;
mod compression;
mod conformance;
mod connection;
mod connections;
mod cors;
mod detached;
mod form;
mod functions;
mod grpc;
mod health;
mod intake;
mod linger;
mod lobby;
mod market;
mod methods;
mod negotiations;
mod offers;
mod oip;
mod openai;
mod openapi;
mod operations;
mod out_of_service;
mod pace;
mod paging;
mod path;
mod pieces;
mod problem;
mod public;
mod publish;
mod query;
mod receipts;
mod router;
mod routes;
mod spool;
mod steady;
mod wasi_http;

use std::io::Write as _;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::config::{self, Config, ListenAddress, OPERATOR_ADDRESS_FILE};
use crate::host::Host;
use connections::Connections;

pub use certificate::Validity;
pub use connection::TlsError;
pub use problem::ProblemKind;

/// Connections of the operator's listener; at most half of the file descriptors that public connections leave free.
const OPERATOR_CONNECTIONS_MAX: usize = 64;

/// Why the host does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("cannot listen on {address} (`{key}`)")]
    Bind {
        address: ListenAddress,
        key: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A listener's audience, which decides its routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Audience {
    Everybody,
    Operator,
}

/// Both listeners, bound before the host has started. Meanwhile they answer that it is starting ([`Listeners::while_starting`]).
pub struct Listeners {
    public: TcpListener,
    operator: TcpListener,
    /// TLS for the public listener. The operator's is on loopback.
    tls: Option<TlsAcceptor>,
}

impl Listeners {
    /// Binds both listeners.
    ///
    /// # Errors
    /// [`ApiError::Bind`] names the address and the setting; [`ApiError::Tls`] says what is wrong with the certificate or key.
    pub async fn bind(config: &Config) -> Result<Self, ApiError> {
        let (certificate, key) = (&config.api.tls_certificate, &config.api.tls_key);
        let tls = connection::tls(certificate.as_deref(), key.as_deref())?;
        let public = bind(&config.api.listen, "api.listen").await?;
        let operator = bind(&config.api.operator_listen, "api.operator_listen").await?;
        Ok(Self { public, operator, tls })
    }

    /// The public listener's address.
    pub fn address(&self) -> Option<SocketAddr> {
        self.public.local_addr().ok()
    }

    /// Answers requests until `start` resolves: the process is live but not ready.
    pub async fn while_starting<T>(&self, start: impl Future<Output = T>) -> T {
        let lobby = async {
            tokio::join!(
                lobby::receive(&self.public, self.tls.as_ref()),
                lobby::receive(&self.operator, None)
            )
        };
        tokio::select! {
            started = start => started,
            _ = lobby => unreachable!("invariant: a lobby is open until the host has started"),
        }
    }

    /// The listeners of this host.
    pub fn of(self, host: Arc<Host>) -> Api {
        if let Ok(address) = self.operator.local_addr() {
            say_where(&host.config().data.dir.join(OPERATOR_ADDRESS_FILE), address);
        }
        Api { host, listeners: self }
    }
}

/// A host's listeners, bound and not yet serving.
pub struct Api {
    host: Arc<Host>,
    listeners: Listeners,
}

impl Api {
    /// Binds both listeners.
    ///
    /// # Errors
    /// As [`Listeners::bind`].
    pub async fn bind(host: Arc<Host>) -> Result<Self, ApiError> {
        Ok(Listeners::bind(host.config()).await?.of(host))
    }

    /// The public listener's address.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listeners.public.local_addr().ok()
    }

    /// The operator's listener's address.
    pub fn operator_address(&self) -> Option<SocketAddr> {
        self.listeners.operator.local_addr().ok()
    }

    /// Serves until `stop` resolves. Then the host reports not ready and serves for `api.drain_delay` or until `at_once` resolves. Finally
    /// it accepts no connections and waits up to `api.drain_timeout` for running calls.
    pub async fn serve(self, stop: impl Future<Output = ()>, at_once: impl Future<Output = ()>) {
        let (stopping, stopped) = watch::channel(false);
        let host = self.host;
        let Listeners { public, operator, tls } = self.listeners;
        let (drain_delay, drain_timeout) =
            (host.config().api.drain_delay, host.config().api.drain_timeout);
        let public = tokio::spawn(listen(
            Arc::clone(&host),
            (public, tls),
            Audience::Everybody,
            stopped.clone(),
        ));
        let operator = (operator, None);
        let operator =
            tokio::spawn(listen(Arc::clone(&host), operator, Audience::Operator, stopped));
        stop.await;
        host.begin_drain();
        if !drain_delay.is_zero() {
            tracing::info!(
                seconds = drain_delay.as_secs(),
                "stopping: `/readyz` says 503 from now on"
            );
            let _ = tokio::time::timeout(drain_delay, at_once).await;
        }
        tracing::info!("draining: no new connections, running calls may finish");
        let _ = stopping.send(true);
        let drained = async {
            let _ = public.await;
            let _ = operator.await;
        };
        if tokio::time::timeout(drain_timeout, drained).await.is_err() {
            tracing::warn!(
                seconds = drain_timeout.as_secs(),
                "calls were still running when the drain ended"
            );
        }
        let kept = tokio::task::spawn_blocking(move || host.auth.keep_uses()).await;
        if let Ok(Err(error)) = kept {
            tracing::warn!(%error, "the keys' last uses could not be stored");
        }
    }
}

/// The validity of the public listener's certificate, if the settings name one. Certificate and key are read as at a host's start.
///
/// # Errors
/// [`TlsError`]. `None` if the certificate does not state its validity.
pub fn certificate(api: &config::Api) -> Result<Option<Option<Validity>>, TlsError> {
    let (certificate, key) = (api.tls_certificate.as_deref(), api.tls_key.as_deref());
    let read = connection::tls_with_leaf(certificate, key)?;
    Ok(read.map(|(_, leaf)| certificate::validity(&leaf)))
}

async fn bind(address: &ListenAddress, key: &'static str) -> Result<TcpListener, ApiError> {
    let bound = TcpListener::bind((address.host(), address.port())).await;
    bound.map_err(|source| ApiError::Bind { address: address.clone(), key, source })
}

/// Writes the address of the operator's listener to a file. A failure is not fatal: commands also accept `--operator`.
fn say_where(path: &std::path::Path, mut address: SocketAddr) {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    let folder = path.parent().unwrap_or(std::path::Path::new("."));
    let written = tempfile::NamedTempFile::new_in(folder).and_then(|mut file| {
        writeln!(file, "http://{address}")?;
        file.persist(path).map_err(|error| error.error)
    });
    if let Err(error) = written {
        tracing::warn!(%error, "the operator's listener's address could not be stored");
    }
}

/// Accepts connections until told to stop, then waits for the open ones.
async fn listen(
    host: Arc<Host>,
    (listener, tls): (TcpListener, Option<TlsAcceptor>),
    audience: Audience,
    mut stopped: watch::Receiver<bool>,
) {
    let proxies = host.config().api.trusted_proxies.clone();
    let is_proxy = move |peer| proxies.iter().any(|network| network.contains(peer));
    let most = match audience {
        Audience::Everybody => config::machine::connections_max(),
        Audience::Operator => (config::machine::files_reserved() / 2).min(OPERATOR_CONNECTIONS_MAX),
    };
    let wanted = host.config().api.connections_max.get();
    if audience == Audience::Everybody && most < wanted {
        tracing::warn!(
            most,
            wanted,
            "fewer connections than `api.connections_max`: the limit on open files is too low (`ulimit -n`)"
        );
    }
    let connections = Connections::new(&host.config().api, most, Box::new(is_proxy));
    let mut stop = pin!(async move {
        let _ = stopped.wait_for(|stopped| *stopped).await;
    });
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Most likely out of file descriptors: only waiting helps.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // At the limit, one connection waits here and the others in the kernel's queue.
        let seat = tokio::select! {
            () = &mut stop => break,
            seat = connections.seat(peer.ip()) => seat,
        };
        let Some(seat) = seat else {
            tracing::debug!(%peer, "an address has reached its limit of connections");
            continue;
        };
        let connection = connection::serve(Arc::clone(&host), audience, tls.clone(), stream, seat);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
    drop(listener);
    connections.finish().await;
}
