//! What an account sees of itself, even while suspended: its standing, keys, the actions taken on it, and which of its models are backed
//! off.

use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;

use super::answer::{self, Answer};
use super::aside::{aside, asker};
use super::body;
use super::intake;
use super::operations::{done, entry, with_keys};
use super::problem::Problem;
use crate::host::Host;
use crate::id::KeyId;
use crate::inference::Incident;
use crate::operations::Target;
use crate::receipt::{Action, Actor, Deed};
use crate::state::accounts::{AuthError, Caller};
use crate::state::deployments::Deployment;
use crate::wire::account::{ModelIncident, OwnAccount, RevokeKey};
use crate::wire::operations as wire;
use crate::wire::status::Crashes;

/// Maximum size of a request to revoke a key, in bytes.
const REVOKE_BYTES_MAX: u64 = 4096;

/// Maximum actions listed, latest first.
const ACTIONS_MAX: usize = 100;

/// Actions copied at once for filtering.
const LOOKED_AT: usize = 256;

/// Maximum models listed as backed off, longest wait first.
const INCIDENTS_MAX: usize = 100;

/// `GET /api/account`: the caller's own account.
pub(super) async fn show(host: &Arc<Host>, request: &Request<Incoming>) -> Result<Answer, Problem> {
    let caller = host.auth.reader(body::bearer(request.headers()))?;
    aside(host, asker(&caller), move |host| {
        Ok(answer::done(&OwnAccount {
            account: with_keys(host, caller.account()),
            key: Some(caller.key().id.to_string()),
            actions: actions(host, &caller),
            incidents: incidents(host, &caller),
        }))
    })
    .await
}

/// The latest actions that concern the caller, newest first.
fn actions(host: &Host, caller: &Caller) -> Vec<wire::Action> {
    let log = host.receipts.log();
    let mut own = Vec::new();
    let mut end = usize::try_from(log.action_count()).unwrap_or(usize::MAX);
    while end > 0 && own.len() < ACTIONS_MAX {
        let begin = end.saturating_sub(LOOKED_AT);
        let looked_at = log.actions_in(begin..end);
        let concerning = looked_at.iter().rev().filter(|(_, one)| concerns(host, caller, one));
        own.extend(concerning.take(ACTIONS_MAX - own.len()).map(|(_, action)| entry(action)));
        end = begin;
    }
    own
}

/// Computations of the caller's models that crashed a worker, with the versions. The consumers are not named.
fn incidents(host: &Host, caller: &Caller) -> Vec<ModelIncident> {
    let publisher = &caller.account().name;
    let mut incidents = host.inference.incidents_of(publisher);
    incidents.truncate(INCIDENTS_MAX);
    if incidents.is_empty() {
        return Vec::new();
    }
    let own = host.deployments.of_publisher(publisher);
    let shown = incidents.into_iter().map(|incident| {
        let model = incident.model;
        let has = |live: &Deployment| live.manifest().models.iter().any(|one| one.sha256 == model);
        let with = own.iter().filter(|live| has(live));
        let versions = with.map(|live| format!("{}@{}", live.model(), live.version()));
        ModelIncident { versions: versions.collect(), crashes: crashes(incident) }
    });
    shown.collect()
}

/// The part of an incident that its publisher and the operator see alike.
pub(super) fn crashes(incident: Incident) -> Crashes {
    let Incident { publisher: _, model, how, times, wait_ms } = incident;
    Crashes { model, how, times, wait_ms }
}

/// Whether an action concerned the caller's account or something it owns.
fn concerns(host: &Host, caller: &Caller, action: &Action) -> bool {
    let name = &caller.account().name;
    match Target::parse(action.deed, &action.target) {
        Ok(Target::Account(account)) => account == *name,
        Ok(Target::Key(id)) => host.auth.owner_of(id).is_ok_and(|owner| owner.name == *name),
        Ok(Target::Version(model, _) | Target::Model(model)) => model.publisher == *name,
        Ok(Target::Offer(id)) => host.market.is_by(&id, caller),
        Ok(Target::Agreement(id)) => host.agreements.find(caller, &id).is_ok(),
        Ok(Target::Agreements | Target::Digest(_) | Target::Token) | Err(_) => false,
    }
}

/// `POST /api/account/keys/{id}/revocation`: revokes one of the caller's own keys. The body may be empty.
pub(super) async fn revoke(
    host: &Arc<Host>,
    id: &str,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let (caller, RevokeKey { reason }) = intake::optional(host, request, REVOKE_BYTES_MAX).await?;
    let id: KeyId = id.parse().map_err(AuthError::NotAKeyId)?;
    // Does not reveal whether other accounts' keys exist.
    let own = host.auth.keys_of(&caller.account().name);
    let key = own.iter().find(|key| key.info.id == id).ok_or(AuthError::NoKey(id))?;
    if key.revoked.is_none() {
        let reason = match reason.trim() {
            "" => "revoked by its owner".to_owned(),
            reason => reason.to_owned(),
        };
        let by = Actor::Account(caller.account().name.clone());
        done(host, by, Deed::RevokeKey, (id.to_string(), reason)).await?;
    }
    Ok(answer::done(&with_keys(host, caller.account())))
}
