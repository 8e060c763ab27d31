//! The operator's stops and withdrawals: immediate, also for running calls, written to the log, and permanent.
//!
//! An action is a leaf of the receipt log. The actions in force are derived from those leaves alone, which are read at start. The surprise:
//! an action that *stops* takes effect even if the log cannot be written (a full disk must not keep an abuser running), and the response
//! says so. An action that *restores* does not.

mod aside;
pub mod lost;
mod target;

use jiff::Timestamp;
use semver::Version;

use crate::bundle;
use crate::deploy::{self, DeployError};
use crate::host::{Host, SecretsError};
use crate::id::{AccountName, CallId, Digest, ModelName, Party};
use crate::receipt::{Action, Actor, Deed, NewAction, ProofError, ReceiptError};
use crate::state::accounts::{ApiKey, AuthError, Cause, Standing};
use crate::state::agreements::LifeError;
use crate::state::deployments::{Reference, ResolveError};
use crate::state::market::MarketError;
use crate::state::withdrawals::Withdrawable;
use crate::store::{Aside, StoreError, Table};

pub use aside::{record_aside, remove_record};
pub use target::Target;

/// Why an action failed, or only partly succeeded.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    #[error("`{deed}` does not take target `{target}`: it takes {wanted}")]
    Target { deed: Deed, target: String, wanted: &'static str },
    #[error("the reason is missing: every action needs one")]
    NoReason,
    #[error("`{0}` is not withdrawn")]
    NotWithdrawn(String),
    #[error("`{0}` is not frozen")]
    NotFrozen(String),
    #[error(
        "no record `{key}` of kind `{kind}` was set aside; `hospes admin out-of-service list` shows those that were"
    )]
    NotAside { kind: String, key: String },
    #[error(
        "the record now has digest `{seen}`, which is not the one that you name: look at it again"
    )]
    OtherRecord { seen: Digest },
    #[error(
        "account `{0}` was suspended or closed, and without its record that would be forgotten: the record stays"
    )]
    AccountStopped(String),
    #[error("the record cannot be read or removed")]
    Store(#[from] StoreError),
    #[error("the receipt or checkpoint is not from this host's log")]
    Shown(#[from] ProofError),
    #[error("the receipt or checkpoint is not from this host's log")]
    OtherLog(#[source] ReceiptError),
    #[error(
        "there are {count} receipts and checkpoints, more than the {max} that are read at once"
    )]
    TooManyShown { count: usize, max: usize },
    #[error(
        "`{0}` is the code that this host uses for every model without code: withdraw the model's digest instead"
    )]
    OwnCode(Digest),
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error(transparent)]
    Market(#[from] MarketError),
    #[error(transparent)]
    Agreement(#[from] LifeError),
    #[error(transparent)]
    Unsound(ReceiptError),
    #[error("nothing was done: the action could not be logged")]
    NotWritten(#[source] ReceiptError),
    #[error(
        "the action is in force until the next restart, but could not be logged: repeat it when the log can be written"
    )]
    NotKept(#[source] ReceiptError),
    #[error(
        "the operator's token is replaced, and `operator.token` holds the new one, but that could not be logged: rotate it again when the log can be written"
    )]
    NotLogged(#[source] ReceiptError),
    #[error(
        "nothing was done: the operator's token could not be replaced; make `operator.token` in the data directory writable"
    )]
    Token(#[source] SecretsError),
    #[error("the publications cannot be read")]
    Publications(#[source] Box<DeployError>),
}

/// Applies the actions that the log has from earlier runs.
pub fn restore(host: &Host) {
    for (index, Action { deed, target, reason, at, .. }) in host.receipts.log().actions() {
        if deed.is_noted() {
            continue;
        }
        let cause = Cause { at, reason: reason.as_ref().into() };
        let done =
            Target::parse(deed, &target).and_then(|target| apply(host, deed, &target, cause));
        if let Err(error) = done {
            // Such as an account of a store that was put back from an older copy than the log.
            tracing::warn!(index, %deed, %target, %error, "an earlier action has nothing to act on");
        }
    }
}

/// Rejects a party that may belong to an account set aside, because a new account would undo the operator's actions. The evidence is the
/// rest of the record, the log entry of its opening, and agreements without an account.
///
/// # Errors
/// [`AuthError::MayBeAside`]; [`AuthError::Store`].
pub fn check_not_aside(host: &Host, party: &Party) -> Result<(), AuthError> {
    if !host.auth.lacks_accounts() || host.auth.knows(party) {
        return Ok(());
    }
    let refused = || Err(AuthError::MayBeAside(*party));
    let said = party.to_string();
    for Aside { key, .. } in
        host.store.all_aside().iter().filter(|one| one.table == Table::Accounts)
    {
        let left = host.store.get(Table::Accounts, key)?.unwrap_or_default();
        if left.windows(said.len()).any(|part| part == said.as_bytes()) {
            return refused();
        }
    }
    let opening = opened_for(party, "");
    let was_opened = host.receipts.log().actions().iter().any(|(_, action)| {
        action.deed == Deed::OpenAccount
            && action.reason.starts_with(&opening)
            && host.store.why_aside(Table::Accounts, &action.target).is_some()
    });
    if was_opened || host.agreements.has_any_of(party) { refused() } else { Ok(()) }
}

/// The log entry of an account's opening.
fn opened_for(party: &Party, key: &str) -> String {
    format!("for {party}, key {key}")
}

/// Opens an account, or makes another key for it. The log entry is written first.
///
/// Waits for the disk.
///
/// # Errors
/// [`OperationError`]; nothing was done.
pub fn open_account(
    host: &Host,
    name: &AccountName,
    party: Party,
    key_name: Option<&str>,
) -> Result<ApiKey, OperationError> {
    let _one_at_a_time = host.operating.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    check_not_aside(host, &party)?;
    host.auth.open_account_noted(name, party, key_name, |opening| {
        let key = opening.key.to_string();
        match opening.is_new {
            true => note(host, Deed::OpenAccount, name.as_str(), &opened_for(&party, &key)),
            false => note(host, Deed::MakeKey, &key, &format!("for the account `{name}`")),
        }
    })
}

/// Logs that an out-of-service version is loaded or withdrawn. Does nothing for other versions.
///
/// Waits for the disk.
///
/// # Errors
/// [`OperationError::NotWritten`].
pub fn note_version(
    host: &Host,
    deed: Deed,
    model: &ModelName,
    version: &Version,
) -> Result<(), OperationError> {
    let found = host.deployments.published(model, &Reference::Version(version.clone()));
    match found.ok().and_then(|published| published.out_of_service()) {
        Some(why) => {
            let why: String =
                why.chars().filter(|c| !c.is_control()).take(NOTE_CHARS_MAX).collect();
            note(host, deed, &format!("{model}@{version}"), &format!("out of service: {why}"))
        }
        None => Ok(()),
    }
}

/// Logs that a publisher takes its model out of service or puts it back, because agreements may promise notice. Without an effect, nothing
/// is logged.
///
/// Waits for the disk.
///
/// # Errors
/// [`OperationError::NotWritten`].
pub fn note_model(
    host: &Host,
    by: &AccountName,
    deed: Deed,
    model: &ModelName,
) -> Result<(), OperationError> {
    let is_there = match deed {
        // What the operator has withdrawn stays so.
        Deed::LoadModel => {
            let gone = host.deployments.withdrawn_of(model);
            gone.iter().any(|(version, _)| host.withdrawals.why_out(model, version).is_none())
        }
        _ => host.deployments.published(model, &Reference::Latest).is_ok(),
    };
    if !is_there {
        return Ok(());
    }
    note_by(host, &Actor::Account(by.clone()), deed, (&model.to_string(), "by its publisher"))
}

/// Maximum length of a logged reason, in characters.
const NOTE_CHARS_MAX: usize = 200;

/// Logs the operator's action beforehand.
fn note(host: &Host, deed: Deed, target: &str, reason: &str) -> Result<(), OperationError> {
    note_by(host, &Actor::Operator, deed, (target, reason))
}

/// Logs an action beforehand.
fn note_by(
    host: &Host,
    by: &Actor,
    deed: Deed,
    (target, reason): (&str, &str),
) -> Result<(), OperationError> {
    let at = host.clock().now();
    let (id, actor) = (CallId::new(at), by.clone());
    let new = NewAction { id, at, by: actor, deed, target: target.into(), reason: reason.into() };
    host.receipts.log().act(new).map_err(OperationError::NotWritten)?;
    tracing::info!(%by, %deed, target, reason, "an action begins");
    Ok(())
}

/// Takes an action, which is in force when this returns.
///
/// Waits for the disk.
///
/// # Errors
/// [`OperationError`]; nothing was done, except after [`OperationError::NotKept`] or [`OperationError::NotLogged`].
#[expect(clippy::needless_pass_by_value, reason = "who acts is said once, in place")]
pub fn act(
    host: &Host,
    by: Actor,
    deed: Deed,
    target: &str,
    reason: &str,
) -> Result<(), OperationError> {
    let target = Target::parse(deed, target)?;
    let reason = reason.trim();
    if reason.is_empty() && !deed.lifts() {
        return Err(OperationError::NoReason);
    }
    let _one_at_a_time = host.operating.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    check(host, deed, &target)?;
    let at = host.clock().now();
    let new = NewAction {
        id: CallId::new(at),
        at,
        by: by.clone(),
        deed,
        target: target.to_string().into(),
        reason: reason.into(),
    };
    if !new.is_sound() {
        return Err(OperationError::Unsound(ReceiptError::UnsoundAction));
    }
    if deed == Deed::RotateToken {
        // First, because it may fail: the log must not contain actions that were not taken.
        host.rotate_operator_token().map_err(OperationError::Token)?;
    }
    let written = host.receipts.log().act(new);
    if deed == Deed::RotateToken {
        written.map_err(OperationError::NotLogged)?;
    } else if deed.lifts() {
        written.map_err(OperationError::NotWritten)?;
        apply(host, deed, &target, cause(at, reason))?;
    } else {
        apply(host, deed, &target, cause(at, reason))?;
        written.map_err(OperationError::NotKept)?;
    }
    tracing::info!(%by, %deed, %target, reason, "an action was taken");
    Ok(())
}

fn cause(at: Timestamp, reason: &str) -> Cause {
    let at = Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at);
    Cause { at, reason: reason.into() }
}

/// Whether the target exists.
fn check(host: &Host, deed: Deed, target: &Target) -> Result<(), OperationError> {
    match target {
        Target::Account(name) => {
            let account = host.auth.account(name);
            let account = account.ok_or_else(|| AuthError::NoAccount(name.clone()))?;
            match account.standing {
                Standing::Closed(_) => Err(AuthError::Closed(name.clone()).into()),
                Standing::Open | Standing::Suspended(_) => Ok(()),
            }
        }
        Target::Key(id) => Ok(host.auth.owner_of(*id).map(drop)?),
        Target::Offer(id) => {
            Ok(host.market.is_known(id).then_some(()).ok_or(MarketError::NotFound(*id))?)
        }
        Target::Agreement(id) if deed == Deed::ReleaseAgreement => {
            let is_frozen = host.agreements.is_frozen(id);
            is_frozen.then_some(()).ok_or_else(|| OperationError::NotFrozen(id.to_string()))
        }
        // An agreement may be frozen before it is submitted again.
        Target::Agreement(_) if deed == Deed::FreezeAgreement => Ok(()),
        Target::Agreement(id) => Ok(host.agreements.exists(id).map_err(LifeError::from)?),
        Target::Agreements => Ok(()),
        Target::Version(..) | Target::Model(_) | Target::Digest(_) if deed.lifts() => {
            let what = target.to_string();
            let is_withdrawn =
                host.withdrawals.list().iter().any(|withdrawn| withdrawn.what == what);
            if is_withdrawn { Ok(()) } else { Err(OperationError::NotWithdrawn(what)) }
        }
        // A digest may be withdrawn before anybody publishes it.
        Target::Digest(digest) if bundle::is_passthrough(digest) => {
            Err(OperationError::OwnCode(*digest))
        }
        Target::Digest(_) | Target::Token => Ok(()),
        Target::Model(model) | Target::Version(model, _) => {
            let versions = deploy::published(host, model)
                .map_err(|error| OperationError::Publications(Box::new(error)))?;
            match target {
                _ if versions.is_empty() => Err(ResolveError::NoModel(model.clone()).into()),
                Target::Version(model, version) if !versions.contains(version) => {
                    let (model, wanted) = (model.clone(), format!("`{version}`"));
                    let versions = versions.iter().map(Version::to_string).collect();
                    Err(ResolveError::NoVersion { model, wanted, versions }.into())
                }
                _ => Ok(()),
            }
        }
    }
}

/// Applies an action.
fn apply(host: &Host, deed: Deed, target: &Target, cause: Cause) -> Result<(), OperationError> {
    match target {
        Target::Account(name) => {
            let standing = match deed {
                Deed::CloseAccount => Standing::Closed(cause),
                Deed::SuspendAccount => Standing::Suspended(cause),
                _ => Standing::Open,
            };
            host.auth.set_standing(name, standing)?;
            host.agreements.hold(&host.auth.stopped_parties());
        }
        Target::Key(id) => host.auth.revoke(*id, cause)?,
        Target::Offer(id) if deed.lifts() => host.market.reinstate(id)?,
        Target::Offer(id) => host.market.withdraw(id, cause)?,
        Target::Agreement(id) => match deed {
            Deed::FreezeAgreement => host.agreements.freeze(id, cause),
            Deed::ReleaseAgreement => host.agreements.release(id),
            _ => host.agreements.stop(id, cause),
        },
        Target::Agreements if deed.lifts() => host.agreements.release_all(),
        Target::Agreements => host.agreements.freeze_all(cause),
        // The token's file is already written.
        Target::Token => {}
        Target::Model(model) => change(host, deed, Withdrawable::Model(model), &cause),
        Target::Version(model, version) => {
            change(host, deed, Withdrawable::Version(model, version), &cause);
        }
        Target::Digest(digest) => change(host, deed, Withdrawable::Digest(digest), &cause),
    }
    Ok(())
}

/// Withdraws something, or ends a withdrawal.
fn change(host: &Host, deed: Deed, what: Withdrawable<'_>, cause: &Cause) {
    if deed.lifts() {
        return host.withdrawals.lift(what);
    }
    host.withdrawals.withdraw(what, cause);
    host.withdrawals.take_out_of(&host.deployments);
}
