//! Published versions at start: known at once, loaded by their first call, and out of service if they fail to load. A failure affects no
//! other version.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use semver::Version;
use tokio::task::block_in_place;

use super::{DeployError, Publication, keep, kept, key, load_kept, space};
use crate::causes;
use crate::host::Host;
use crate::id::{Digest, ModelName};
use crate::inference::{LoadError, TrialError};
use crate::sandbox::SandboxError;
use crate::state::deployments::{
    Deployment, Descriptions, LOADING_MAX, Loaded, Outcome, Published, ResolveError, described,
    record,
};
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

/// Registers every published version by its name and digest. Nothing is loaded, except for versions that an older host published. Those
/// have no description yet, and are loaded one after the other. Unreadable records and missing bundles are out of service; the rest is
/// unaffected.
///
/// # Errors
/// [`StoreError`] if the records cannot be read.
pub fn restore(host: &Arc<Host>) -> Result<(), StoreError> {
    let descriptions = Arc::new(host.descriptions());
    let described: HashSet<String> = host.store.keys(Table::Descriptions)?.into_iter().collect();
    let (mut published, mut unknown) = (Vec::new(), Vec::new());
    for (key, record) in host.store.all(Table::Publications)? {
        match Publication::read(&record) {
            Ok(Publication { model, version, bundle, withdrawn: true, .. }) => {
                host.deployments.remember_withdrawn(model, version, bundle);
            }
            Ok(Publication { model, version, bundle, withdrawn: false, .. }) => {
                let is_known = described.contains(&key);
                let one = known(host, (model, version), bundle, is_known.then_some(&descriptions));
                if let Some(one) = one {
                    if !is_known && one.out_of_service().is_none() {
                        unknown.push(Arc::downgrade(&one));
                    }
                    published.push(one);
                }
            }
            Err(error) => {
                let reason = causes::in_a_line(&error);
                let named = key.rsplit_once('@');
                let named = named.and_then(|(m, v)| Some((m.parse().ok()?, v.parse().ok()?)));
                match named {
                    Some(named) => {
                        tracing::error!(key, reason, "a published version is out of service");
                        published.push(Published::damaged(named, None, &reason));
                    }
                    None => host.store.set_aside_as(Table::Publications, &key, &reason),
                }
            }
        }
    }
    host.deployments.remember(published);
    let weak = Arc::downgrade(host);
    host.deployments.loading().loaded_by(move || {
        if let Some(host) = weak.upgrade() {
            load_waiting(&host);
        }
    });
    if !unknown.is_empty() {
        host.deployments.loading().set_unknown(unknown.len());
        tokio::spawn(describe(Arc::downgrade(host), unknown));
    }
    Ok(())
}

/// A version that is in force as far as its record says; `None` if it is withdrawn.
fn known(
    host: &Host,
    (model, version): (ModelName, Version),
    bundle: Digest,
    descriptions: Option<&Arc<Descriptions>>,
) -> Option<Arc<Published>> {
    let withdrawn = |error: &ResolveError, model: &ModelName, version: &Version| {
        host.withdrawals.note(model, version, error);
        host.deployments.remember_withdrawn(model.clone(), version.clone(), bundle);
    };
    if let Err(error) = host.withdrawals.check(&model, &version, [&bundle]) {
        withdrawn(&error, &model, &version);
        return None;
    }
    if let Err(error) = host.registry.check_there(&bundle) {
        let reason = causes::in_a_line(&error);
        tracing::error!(%model, %version, reason, "a published version is out of service");
        return Some(Published::damaged((model, version), Some(bundle), &reason));
    }
    let published = match descriptions {
        Some(descriptions) => Published::kept((model, version), bundle, descriptions),
        None => Published::waiting(model, version, bundle),
    };
    // The digests of its parts are looked at only if some are withdrawn.
    if host.withdrawals.has_digests() {
        let (model, version) = (published.model(), published.version());
        let described = published.deployment();
        let checked = described
            .map_or(Ok(()), |known| host.withdrawals.check(model, version, known.digests()));
        if let Err(error) = checked {
            withdrawn(&error, model, version);
            return None;
        }
    }
    Some(published)
}

/// Loads versions of which nothing but the name is known, one after the other, so that they are listed and described from then on.
async fn describe(host: Weak<Host>, unknown: Vec<Weak<Published>>) {
    let count = unknown.len();
    for (index, published) in unknown.into_iter().enumerate() {
        let Some(host) = host.upgrade() else { return };
        if let Some(published) = published.upgrade() {
            // Who fails is out of service by now; a busy host describes the rest after its next start, or when they are called.
            let _ = host.deployments.loading().load(&published).await;
        }
        host.deployments.loading().set_unknown(count - index - 1);
    }
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

/// Loads a version, or puts it out of service.
async fn load_one(host: &Arc<Host>, published: &Arc<Published>) {
    let began = Instant::now();
    // In a task of its own: a version that panics goes out of service like any other failure.
    let loading = tokio::spawn({
        let (host, published) = (Arc::clone(host), Arc::clone(published));
        async move { bring_back(&host, &published).await }
    });
    let loaded = match loading.await {
        Ok(Ok(loaded)) => Ok(loaded),
        Ok(Err(error)) => Err((causes::in_a_line(&error), Cause::of(&error))),
        Err(panic) => Err((causes::in_a_line(&panic), Cause::Lasting)),
    };
    let (model, version) = (published.model(), published.version());
    let outcome = match loaded {
        // Its digest, unknown before loading, is withdrawn, and the version has been removed by now.
        _ if host.withdrawals.why_out(model, version).is_some() => {
            Outcome::Failed(Arc::from("withdrawn by the operator"))
        }
        Ok(loaded) => Outcome::Loaded(loaded),
        Err((reason, Cause::Busy)) => {
            tracing::warn!(%model, %version, reason, "a version could not be loaded now");
            Outcome::Busy(Arc::from(excerpt(&reason)))
        }
        Err((reason, cause)) => {
            tracing::error!(%model, %version, reason, "a published version is out of service");
            if cause == Cause::Passing && !published.is_another_try() {
                tokio::spawn(try_again(Arc::downgrade(host), model.clone(), version.clone()));
            }
            Outcome::Failed(Arc::from(excerpt(&reason)))
        }
    };
    let loaded = match &outcome {
        Outcome::Loaded(loaded) => Some(Arc::clone(loaded)),
        Outcome::Busy(_) | Outcome::Failed(_) => None,
    };
    host.deployments.loading().done(published, outcome);
    if let Some(loaded) = loaded {
        let deployment = Arc::clone(loaded.deployment());
        drop(loaded);
        host.deployments.note_loaded(published, began.elapsed());
        space::tidy(host);
        block_in_place(|| look_again(host, &deployment));
    }
}

/// If a version was withdrawn while it was loaded, takes it out at once.
fn look_again(host: &Host, deployment: &Deployment) {
    let (model, version) = (deployment.model(), deployment.version());
    if host.withdrawals.check(model, version, deployment.digests()).is_err() {
        host.withdrawals.take_out_of(&host.deployments);
    }
}

/// Restores published versions whose withdrawal has ended. Waits for loading, and returns those that failed, with the reason.
///
/// # Errors
/// [`StoreError`] if the records cannot be read.
pub async fn reinstate(
    host: &Arc<Host>,
) -> Result<Vec<(ModelName, Version, ResolveError)>, StoreError> {
    let mut back = Vec::new();
    let descriptions = Arc::new(host.descriptions());
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
            back.push(Published::kept((model, version), bundle, &descriptions));
        }
    }
    let back = block_in_place(|| host.deployments.put_back(back));
    let mut failed = Vec::new();
    for published in back {
        let loaded = host.deployments.loading().load(&published).await;
        let (model, version) = (published.model().clone(), published.version().clone());
        let is_withdrawn = host.withdrawals.why_out(&model, &version).is_some();
        if let (Err(error), false) = (loaded, is_withdrawn) {
            failed.push((model, version, error));
        }
    }
    Ok(failed)
}

/// Whether a version that was not loaded may be loaded later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// The next call may load it.
    Busy,
    /// The machine was too slow or its disk failed, so that another try may succeed.
    Passing,
    Lasting,
}

impl Cause {
    fn of(error: &DeployError) -> Self {
        match error {
            DeployError::NoRoom { .. }
            | DeployError::Sandbox(SandboxError::CompileTurn(_) | SandboxError::PoolExhausted)
            | DeployError::Model { source: LoadError::Workers { .. }, .. } => Cause::Busy,
            DeployError::Sandbox(SandboxError::CompileTimeout { .. })
            | DeployError::Model {
                source:
                    LoadError::Timeout { .. } | LoadError::Lost { .. } | LoadError::BackedOff { .. },
                ..
            }
            | DeployError::Trial {
                source:
                    TrialError::Slow(_) | TrialError::BackedOff { .. } | TrialError::Unclear { .. },
                ..
            } => Cause::Passing,
            error if is_disk_failure(error) => Cause::Passing,
            _ => Cause::Lasting,
        }
    }
}

/// Retries a version after increasing pauses, until it loads or is handled otherwise.
async fn try_again(host: Weak<Host>, model: ModelName, version: Version) {
    for pause in RETRY_PAUSES {
        tokio::time::sleep(pause).await;
        let Some(host) = host.upgrade() else { return };
        match retry(&host, &model, &version).await {
            Err(ResolveError::OutOfService { .. } | ResolveError::Busy { .. }) => {}
            _ => return,
        }
    }
}

/// A published version from its bundle on disk. Its description is stored if it is new.
async fn bring_back(host: &Host, published: &Published) -> Result<Arc<Loaded>, DeployError> {
    let (model, version) = (published.model(), published.version());
    let Some(bundle) = published.digest() else {
        let (model, version) = (model.clone(), version.clone());
        return Err(ResolveError::OutOfService { model, version }.into());
    };
    let publication = block_in_place(|| kept(host, (model, version), *bundle))?;
    let known = published.deployment();
    let loaded = load_kept(host, &publication, known.clone()).await;
    if let Err(DeployError::Version(error @ ResolveError::Withdrawn { .. })) = &loaded {
        host.withdrawals.note(model, version, error);
        block_in_place(|| host.withdrawals.take_out_of(&host.deployments));
    }
    let loaded = loaded?;
    let deployment = loaded.deployment();
    if !known.is_some_and(|known| Arc::ptr_eq(&known, deployment))
        && let Some(bytes) = record(deployment)
    {
        let key = described(model, version);
        let stored = block_in_place(|| host.store.put(Table::Descriptions, &key, &bytes));
        if let Err(error) = stored {
            tracing::warn!(%model, %version, %error, "a version's description could not be stored");
        }
    }
    Ok(loaded)
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
    host.deployments.loading().load(&again).await.map(drop)
}

/// Withdraws an out-of-service version, also across restarts. A publication with an unreadable record is forgotten.
///
/// # Errors
/// [`DeployError`]; nothing was changed.
pub fn take_out(host: &Host, model: &ModelName, version: &Version) -> Result<(), DeployError> {
    host.deployments.take_out(model, version, |bundle| match bundle {
        Some(bundle) => {
            let publication = kept(host, (model, version), *bundle)?;
            keep(host, &[(&Publication { withdrawn: true, ..publication }, None)])
        }
        None => Ok(host.store.remove(Table::Publications, &key(model, version))?),
    })
}

/// As much of a reason as is kept.
fn excerpt(reason: &str) -> &str {
    let end = reason.char_indices().nth(REASON_CHARS_MAX).map_or(reason.len(), |(end, _)| end);
    &reason[..end]
}
