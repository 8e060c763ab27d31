//! Published versions at start: known at once, loaded on first use or in the background, and out of service if they fail to load. A failure
//! affects no other version.

use std::sync::{Arc, Weak};
use std::time::Duration;

use semver::Version;
use tokio::task::block_in_place;

use super::{DeployError, Publication, keep, kept, key, load_kept};
use crate::causes;
use crate::host::Host;
use crate::id::ModelName;
use crate::inference::{LoadError, TrialError};
use crate::sandbox::SandboxError;
use crate::state::deployments::{Deployment, LOADING_MAX, Published, ResolveError};
use crate::store::{Store, StoreError, Table, is_disk_failure};

/// Maximum length of a stored reason.
const REASON_CHARS_MAX: usize = 1000;

/// Pauses before retrying a version that loaded too slowly or met a disk error.
const RETRY_PAUSES: [Duration; 5] = [
    Duration::from_secs(2),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(300),
    Duration::from_secs(1800),
];

/// Registers every published version, and queues those that are not withdrawn for loading on first use or in the background. Unreadable
/// records are out of service; the rest is unaffected.
///
/// # Errors
/// [`StoreError`] if the records cannot be read.
pub fn restore(host: &Arc<Host>) -> Result<(), StoreError> {
    let mut published = Vec::new();
    for (key, record) in host.store.all(Table::Publications)? {
        match Publication::read(&record) {
            Ok(Publication { model, version, bundle, withdrawn: true, .. }) => {
                host.deployments.remember_withdrawn(model, version, bundle);
            }
            Ok(Publication { model, version, bundle, withdrawn: false, .. }) => {
                if let Err(error) = host.withdrawals.check(&model, &version, [&bundle]) {
                    host.withdrawals.note(&model, &version, &error);
                    host.deployments.remember_withdrawn(model, version, bundle);
                    continue;
                }
                published.push(Published::waiting(model, version, bundle));
            }
            Err(error) => {
                let reason = causes::in_a_line(&error);
                let named = key.rsplit_once('@');
                let named = named.and_then(|(m, v)| Some((m.parse().ok()?, v.parse().ok()?)));
                match named {
                    Some((model, version)) => {
                        tracing::error!(key, reason, "a published version is out of service");
                        published.push(Published::damaged(model, version, &reason));
                    }
                    None => host.store.set_aside_as(Table::Publications, &key, &reason),
                }
            }
        }
    }
    host.deployments.remember(published);
    load_waiting(host);
    Ok(())
}

/// Sets unreadable publications aside, for readers that only inspect the records.
///
/// # Errors
/// [`StoreError`] if the records cannot be read.
pub fn look(store: &Store) -> Result<(), StoreError> {
    for (key, record) in store.all(Table::Publications)? {
        if let Err(error) = Publication::read(&record) {
            store.set_aside(Table::Publications, &key, &error);
        }
    }
    Ok(())
}

/// Loads queued versions, several at a time, until the queue is empty. Queueing another starts it again.
fn load_waiting(host: &Arc<Host>) {
    for _ in 0..LOADING_MAX.min(host.deployments.loading().left()) {
        let host = Arc::downgrade(host);
        tokio::spawn(async move {
            while let Some(host) = host.upgrade() {
                let Some(published) = host.deployments.loading().next() else { return };
                load_one(&host, &published).await;
            }
        });
    }
}

/// Loads a version, and puts it into or out of service.
async fn load_one(host: &Arc<Host>, published: &Arc<Published>) {
    // In a task of its own: a version that panics goes out of service like any other failure.
    let loading = tokio::spawn({
        let (host, published) = (Arc::clone(host), Arc::clone(published));
        async move { bring_back(&host, &published).await }
    });
    let loaded = match loading.await {
        Ok(Ok(deployment)) => Ok(deployment),
        Ok(Err(error)) => Err((causes::in_a_line(&error), is_for_now(&error))),
        Err(panic) => Err((causes::in_a_line(&panic), false)),
    };
    let (model, version) = (published.model(), published.version());
    if host.withdrawals.why_out(model, version).is_some() {
        // Its digest, unknown before loading, is withdrawn, and the version has been removed by now.
        host.deployments.loading().done(published, Err(Arc::from("withdrawn by the operator")));
        return;
    }
    let loaded = loaded.map_err(|(reason, is_for_now)| {
        tracing::error!(%model, %version, reason, "a published version is out of service");
        if is_for_now && !published.is_another_try() {
            tokio::spawn(try_again(Arc::downgrade(host), model.clone(), version.clone()));
        }
        Arc::from(excerpt(&reason))
    });
    host.deployments.loading().done(published, loaded);
    // If it was withdrawn while loading, take it out at once.
    block_in_place(|| host.withdrawals.take_out_of(&host.deployments));
}

/// Restores published versions whose withdrawal has ended. Waits for loading, and returns those that failed, with the reason.
///
/// # Errors
/// [`StoreError`] if the records cannot be read.
pub async fn reinstate(
    host: &Arc<Host>,
) -> Result<Vec<(ModelName, Version, ResolveError)>, StoreError> {
    let mut back = Vec::new();
    for (_, record) in block_in_place(|| host.store.all(Table::Publications))? {
        let Ok(Publication { model, version, bundle, withdrawn: false, .. }) =
            Publication::read(&record)
        else {
            continue;
        };
        let is_gone =
            host.deployments.withdrawn_of(&model).iter().any(|(gone, _)| *gone == version);
        if is_gone
            && host.withdrawals.why_out(&model, &version).is_none()
            && host.withdrawals.check(&model, &version, [&bundle]).is_ok()
        {
            back.push(Published::waiting(model, version, bundle));
        }
    }
    let back = block_in_place(|| host.deployments.put_back(back));
    load_waiting(host);
    let mut failed = Vec::new();
    for published in back {
        published.settled().await;
        let (model, version) = (published.model().clone(), published.version().clone());
        let is_withdrawn = host.withdrawals.why_out(&model, &version).is_some();
        if let (Err(error), false) = (published.get(), is_withdrawn) {
            failed.push((model, version, error));
        }
    }
    Ok(failed)
}

/// Whether the machine was too busy or its disk failed, so that a retry may succeed.
fn is_for_now(error: &DeployError) -> bool {
    is_disk_failure(error)
        || matches!(
            error,
            DeployError::Sandbox(
                SandboxError::CompileTimeout { .. }
                    | SandboxError::CompileTurn(_)
                    | SandboxError::PoolExhausted
            ) | DeployError::Model {
                source: LoadError::Timeout { .. }
                    | LoadError::Lost { .. }
                    | LoadError::BackedOff { .. }
                    | LoadError::Workers { .. },
                ..
            } | DeployError::Trial {
                source: TrialError::Slow(_)
                    | TrialError::BackedOff { .. }
                    | TrialError::Unclear { .. },
                ..
            }
        )
}

/// Retries a version after increasing pauses, until it loads or is handled otherwise.
async fn try_again(host: Weak<Host>, model: ModelName, version: Version) {
    for pause in RETRY_PAUSES {
        tokio::time::sleep(pause).await;
        let Some(host) = host.upgrade() else { return };
        match retry(&host, &model, &version).await {
            Err(ResolveError::OutOfService { .. }) => {}
            _ => return,
        }
    }
}

/// A published version from its bundle on disk.
async fn bring_back(host: &Host, published: &Published) -> Result<Arc<Deployment>, DeployError> {
    let (model, version) = (published.model(), published.version());
    match published.digest() {
        Some(bundle) => {
            let publication = block_in_place(|| kept(host, (model, version), *bundle))?;
            let loaded = load_kept(host, &publication).await;
            if let Err(DeployError::Version(error @ ResolveError::Withdrawn { .. })) = &loaded {
                host.withdrawals.note(model, version, error);
                block_in_place(|| host.withdrawals.take_out_of(&host.deployments));
            }
            loaded
        }
        None => {
            let (model, version) = (model.clone(), version.clone());
            Err(ResolveError::OutOfService { model, version }.into())
        }
    }
}

/// Loads an out-of-service version again, and waits for the result.
///
/// # Errors
/// [`ResolveError`] if there is no such version, it is in service, or it failed again.
pub async fn retry(
    host: &Arc<Host>,
    model: &ModelName,
    version: &Version,
) -> Result<(), ResolveError> {
    let again = block_in_place(|| host.deployments.retry(model, version))?;
    load_waiting(host);
    again.settled().await;
    again.get().map(drop)
}

/// Withdraws an out-of-service version, also across restarts. A publication with an unreadable record is forgotten.
///
/// # Errors
/// [`DeployError`]; nothing was changed.
pub fn take_out(host: &Host, model: &ModelName, version: &Version) -> Result<(), DeployError> {
    host.deployments.take_out(model, version, |bundle| match bundle {
        Some(bundle) => {
            let publication = kept(host, (model, version), *bundle)?;
            keep(host, &[&Publication { withdrawn: true, ..publication }])
        }
        None => Ok(host.store.remove(Table::Publications, &key(model, version))?),
    })
}

/// As much of a reason as is kept.
fn excerpt(reason: &str) -> &str {
    let end = reason.char_indices().nth(REASON_CHARS_MAX).map_or(reason.len(), |(end, _)| end);
    &reason[..end]
}
