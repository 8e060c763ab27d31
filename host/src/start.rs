//! Bringing a host to life: what was in force when it stopped is in force again, what was published comes back, and what it does by
//! itself begins.

pub mod look;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::clock::Clock;
use crate::config::Config;
use crate::host::{Host, HostError};
use crate::{deploy, operations};

/// The runtime that a host serves on, with so many threads or one a core. Guests and inference have threads of their own.
///
/// # Errors
/// If the system starts no threads.
pub fn runtime(threads: Option<NonZeroUsize>) -> std::io::Result<Runtime> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = threads {
        runtime.worker_threads(threads.get());
    }
    runtime.thread_name("hospes").enable_all().build()
}

/// Starts a host on its data directory. Every version that was live before is known when this returns, and is loaded when it is first
/// asked for, or in the background.
///
/// # Errors
/// [`HostError`]: what the host itself needs. A version that cannot be brought back is out of service, and the rest serves.
pub async fn start(config: Config, clock: Clock) -> Result<Arc<Host>, HostError> {
    let host = Arc::new(Host::open(config, clock).await?);
    operations::restore(&host);
    operations::lost::take_over(&host)?;
    deploy::restore(&host)?;
    confirm_agreements(&host);
    keep_key_uses(&host);
    Ok(host)
}

/// How often it is written down when keys were last used: what a crash can forget of it.
const KEEP_USES_INTERVAL: Duration = Duration::from_secs(60);

/// Keeps when keys were last used, for as long as the host lives. Calls note it in memory only.
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

/// How often the host asks its store whether it still holds what is in memory.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(1);

/// After how many of these intervals the state of the log is remembered apart from the log.
const REMEMBER_TICKS: u64 = 60;

/// How many of these intervals pass between two times that are kept.
const KEEP_TIME_TICKS: u64 = 60;

/// Keeps the age of what the host knows of its agreements, for as long as the host lives.
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
