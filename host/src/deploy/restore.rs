//! What was published before the host started: known at once, loaded when it is asked for or in the background, and out of service
//! where it cannot be brought back. One version that cannot takes nothing else down.

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

/// Longest reason that is kept of why a version is out of service.
const REASON_CHARS_MAX: usize = 1000;

/// Pauses before a version is tried again that did not load in time, or because the disk failed.
const RETRY_PAUSES: [Duration; 5] = [
    Duration::from_secs(2),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(300),
    Duration::from_secs(1800),
];

/// Makes every version known that was published before, and has those loaded that were not withdrawn: when they are first asked
/// for, or in the background. What cannot be read is out of service; the rest does not notice.
///
/// # Errors
/// [`StoreError`] if the records cannot be had.
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

/// Sets aside what was published and cannot be read, as far as its record says, for whoever only looks at the records.
///
/// # Errors
/// [`StoreError`] if the records cannot be had.
pub fn look(store: &Store) -> Result<(), StoreError> {
    for (key, record) in store.all(Table::Publications)? {
        if let Err(error) = Publication::read(&record) {
            store.set_aside(Table::Publications, &key, &error);
        }
    }
    Ok(())
}

/// Loads the versions that wait for it, some at a time, until none is left whose turn it is: who loads another one has the rest follow.
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

/// Loads a version, and puts it into service or out of it.
async fn load_one(host: &Arc<Host>, published: &Arc<Published>) {
    // In a task of its own: a version that panics is out of service like any other.
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
        // Withdrawn by a digest that nobody knew of before it was loaded, and taken away by now.
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
    // What was withdrawn while it was loaded goes at once.
    block_in_place(|| host.withdrawals.take_out_of(&host.deployments));
}

/// Puts back what is published, was withdrawn by the operator, and is not any more. Waits until it is loaded, and returns what is
/// not back in service, with why.
///
/// # Errors
/// [`StoreError`] if the records cannot be had.
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

/// Whether the machine was too busy or its disk failed, so that the same may succeed later.
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

/// Loads a version again, after ever longer pauses, until it loads or somebody else has seen to it.
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

/// Loads a version again that is out of service, and waits for what comes of it.
///
/// # Errors
/// [`ResolveError`] if there is no such version, if it is not out of service, or if it still is.
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

/// Withdraws a version that is out of service. It lasts over a restart; a publication whose record cannot be read is forgotten.
///
/// # Errors
/// [`DeployError`]; nothing was changed then.
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
