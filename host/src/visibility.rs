//! What a caller may know of (invariant 8): a version without a listed offer exists only for its publisher and for parties with an
//! agreement. Everybody else gets "not found", as for a name that does not exist.

use std::sync::Arc;

use crate::host::Host;
use crate::id::ModelName;
use crate::state::accounts::Caller;
use crate::state::deployments::{
    Deployment, Function, Published, Reference, Release, ResolveError, Target,
};

/// Whether a caller may know that a version of a model exists.
pub fn may_know(host: &Host, caller: Option<&Caller>, release: Release<'_>) -> bool {
    let is_party = |caller: &Caller| {
        caller.account().name == release.model.publisher || host.agreements.knows(caller, release)
    };
    caller.is_some_and(is_party) || host.market.lists(release, caller)
}

/// The function that a call addresses, if the caller may know of its version.
///
/// # Errors
/// [`ResolveError`]; a hidden version is reported as not found.
pub fn resolve(host: &Host, caller: &Caller, target: &Target) -> Result<Function, ResolveError> {
    let Target { model, reference, .. } = target;
    let known = |published: &Published| may_know(host, Some(caller), published.release());
    let found = host.deployments.resolve(target, known);
    found.map_err(|error| unless_withdrawn(host, Some(caller), (model, reference), error))
}

/// As [`resolve`], but waits until the version is described, if it must be loaded for that.
///
/// # Errors
/// As [`resolve`].
pub async fn reach(
    host: &Host,
    caller: &Caller,
    target: &Target,
) -> Result<Function, ResolveError> {
    match resolve(host, caller, target) {
        Err(ResolveError::Loading { .. }) => {
            awaken(host, caller, &target.model, &target.reference).await;
            resolve(host, caller, target)
        }
        resolved => resolved,
    }
}

/// The version that a reference means, among those the caller may know of.
///
/// # Errors
/// As [`resolve`].
pub fn version(
    host: &Host,
    caller: Option<&Caller>,
    model: &ModelName,
    reference: &Reference,
) -> Result<Arc<Deployment>, ResolveError> {
    let known = |published: &Published| may_know(host, caller, published.release());
    let found = host.deployments.version_among(model, reference, known);
    found.map_err(|error| unless_withdrawn(host, caller, (model, reference), error))
}

/// Loads a version that is known by its name only, if the caller may know of it, and waits for that up to a time limit.
pub async fn awaken(host: &Host, caller: &Caller, model: &ModelName, reference: &Reference) {
    let known = |published: &Published| may_know(host, Some(caller), published.release());
    if let Ok(wanted) = host.deployments.published_among(model, reference, known)
        && matches!(wanted.described(), Err(ResolveError::Loading { .. }))
    {
        // Whoever asks for it next hears how that ended.
        let _ = host.deployments.loading().wait_for(&wanted).await;
    }
}

/// Turns "not found" into "withdrawn" for callers who may know that the version existed.
fn unless_withdrawn(
    host: &Host,
    caller: Option<&Caller>,
    (model, reference): (&ModelName, &Reference),
    error: ResolveError,
) -> ResolveError {
    let is_missing = matches!(error, ResolveError::NoModel(_) | ResolveError::NoVersion { .. });
    if !is_missing || host.withdrawals.is_idle() {
        return error;
    }
    let gone = host.deployments.withdrawn_of(model);
    let withdrawal = gone.iter().rev().find_map(|(version, digest)| {
        let is_meant = match reference {
            Reference::Latest => true,
            Reference::Version(wanted) => wanted == version,
            Reference::Digest(wanted) => wanted == digest,
        };
        let withdrawal = is_meant.then(|| host.withdrawals.why_out(model, version))?;
        let release = Release { model, version, digest: Some(digest) };
        withdrawal.filter(|_| may_know(host, caller, release))
    });
    withdrawal.map_or(error, ResolveError::from)
}
