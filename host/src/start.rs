//! Starts a host: restores agreements and published versions, and starts the background tasks.

pub mod look;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::clock::Clock;
use crate::config::Config;
use crate::host::{Host, HostError};
use crate::{deploy, operations};

/// The runtime that serves requests, with `threads` threads or one per core. Guests and inference have threads of their own.
///
/// # Errors
/// If the system cannot start threads.
pub fn runtime(threads: Option<NonZeroUsize>) -> std::io::Result<Runtime> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = threads {
        runtime.worker_threads(threads.get());
    }
    runtime.thread_name("hospes").enable_all().build()
}

/// Starts a host on its data directory. Every version that was live before is known when this returns. It is loaded on first use, or in the
/// background.
///
/// # Errors
/// [`HostError`] for what the host itself needs. A version that fails to load is out of service; the rest serves.
pub async fn start(config: Config, clock: Clock) -> Result<Arc<Host>, HostError> {
    let host = Arc::new(Host::open(config, clock).await?);
    operations::restore(&host);
    operations::lost::take_over(&host)?;
    deploy::restore(&host)?;
    confirm_agreements(&host);
    keep_key_uses(&host);
    Ok(host)
}

/// How often the last use of keys is stored: a crash loses at most this much of it.
const KEEP_USES_INTERVAL: Duration = Duration::from_secs(60);

/// Stores the last use of keys for as long as the host lives. Calls note it in memory only.
fn keep_key_uses(host: &Arc<Host>) {
    let host = Arc::downgrade(host);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(KEEP_USES_INTERVAL);
        loop {
            ticks.tick().await;
            let Some(host) = host.upgrade() else { return };
            let kept = tokio::task::spawn_blocking(move || host.auth.keep_uses()).await;
            if let Ok(Err(error)) = kept {
                tracing::warn!(%error, "the keys' last uses could not be stored");
            }
        }
    });
}

/// How often the host checks that the store still holds what is in memory.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(1);

/// The log's state is stored apart from the log after this many intervals.
const REMEMBER_TICKS: u64 = 60;

/// The present time is stored after this many intervals.
const KEEP_TIME_TICKS: u64 = 60;

/// Refreshes the age of the agreements in memory for as long as the host lives.
fn confirm_agreements(host: &Arc<Host>) {
    let host = Arc::downgrade(host);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(CONFIRM_INTERVAL);
        for tick in 0_u64.. {
            ticks.tick().await;
            let Some(host) = host.upgrade() else { return };
            host.auth.tick();
            let confirmed = tokio::task::spawn_blocking(move || {
                if tick.is_multiple_of(REMEMBER_TICKS) {
                    host.remember_log();
                }
                if tick.is_multiple_of(KEEP_TIME_TICKS) {
                    host.keep_time();
                }
                host.negotiations.drop_expired()?;
                host.agreements.confirm()
            });
            let confirmed = confirmed.await;
            if let Ok(Err(error)) = confirmed {
                tracing::error!(%error, "the store does not respond: agreements that need a fresh state permit nothing");
            }
        }
    });
}
