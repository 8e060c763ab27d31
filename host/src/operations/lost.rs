//! Losses of a log restored from a backup. Calls after the backup are no longer counted, so agreements could exceed their limits. The data
//! directory cannot show that; a later receipt or checkpoint can. What may have been used is then frozen until the operator releases it.
//!
//! `hospes restore` leaves a note in the records, and the evidence given to it; the first start writes both to the log.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{OperationError, act, note};
use crate::host::Host;
use crate::id::Digest;
use crate::receipt::{Actor, Deed, Known, Shown};
use crate::store::{Store, StoreError, Table};

/// Maximum receipts and checkpoints per request.
pub const SHOWN_MAX: usize = 256;

/// Key of the restore note in [`Table::Host`], until the log has it.
const KEY: &str = "restored";

/// The note left by `hospes restore`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Restored {
    /// Receipts and actions in the backup's log.
    pub size: u64,
    /// When the backup was made.
    pub made: Timestamp,
    /// The evidence: verified proofs and checkpoints.
    pub shown: Vec<String>,
}

/// What the evidence shows.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The lost log's size. `None`: nothing was lost.
    pub lost_up_to: Option<u64>,
    /// Where the loss begins, if the log records a restore; after several restores, the first that fits.
    pub lost_from: Option<u64>,
    /// Frozen agreements.
    pub frozen: Vec<Digest>,
    /// Whether all agreements with limits made before were frozen.
    pub all: bool,
    /// The operator's lost actions and their targets.
    pub undone: Vec<(Deed, Box<str>)>,
}

impl Restored {
    /// Leaves the note for the host's next start.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn keep(&self, store: &Store) -> Result<(), StoreError> {
        let record = serde_json::to_vec(self).expect("invariant: texts and numbers serialise");
        store.put(Table::Host, KEY, &record)
    }
}

/// Processes the note of `hospes restore` before the host serves.
///
/// # Errors
/// [`StoreError`].
pub fn take_over(host: &Host) -> Result<(), StoreError> {
    let Some(record) = host.store.get(Table::Host, KEY)? else { return Ok(()) };
    let taken = match serde_json::from_slice::<Restored>(&record) {
        Ok(Restored { size, made, shown }) => {
            let reason = format!("from a backup of {made}; later receipts and actions are lost");
            note(host, Deed::Restore, &format!("a log of {size}"), &reason).and_then(|()| {
                let shown: Vec<_> = shown.iter().map(String::as_bytes).collect();
                for (deed, target) in show(host, &shown)?.undone {
                    tracing::warn!(%deed, %target, "an action is lost: repeat it if it is still wanted");
                }
                Ok(())
            })
        }
        Err(error) => {
            tracing::error!(%error, "the restore's note is damaged");
            Err(OperationError::NoReason)
        }
    };
    let Err(error) = taken else { return host.store.remove(Table::Host, KEY) };
    // Whatever it was: what could be overshot is stopped.
    tracing::error!(%error, "the restore's notes cannot be read: agreements with limits are frozen");
    let why = "this host was restored from a backup, and what it lost is unknown";
    match act(host, Actor::Operator, Deed::FreezeAgreements, "all", why) {
        Ok(()) => host.store.remove(Table::Host, KEY),
        Err(error) => {
            // They are until the next start, which finds the note again.
            tracing::error!(%error, "the freeze of agreements cannot be logged");
            Ok(())
        }
    }
}

/// Checks receipts and checkpoints of this host. If the log lacks any of them, what may have been used is frozen.
///
/// # Errors
/// [`OperationError`]: nothing was done, except after [`OperationError::NotKept`].
pub fn show(host: &Host, shown: &[&[u8]]) -> Result<Findings, OperationError> {
    let (count, max) = (shown.len(), SHOWN_MAX);
    if count > max {
        return Err(OperationError::TooManyShown { count, max });
    }
    let (log, party) = (host.receipts.log(), host.party());
    let mut lost = Vec::new();
    for text in shown {
        let known = Known::parse(text, &party)?;
        if log.has_lost(known.checkpoint()).map_err(OperationError::OtherLog)? {
            lost.push(known);
        }
    }
    let Some(lost_up_to) = lost.iter().map(Known::size).max() else {
        return Ok(Findings::default());
    };
    let actions = log.actions().into_iter().filter(|(_, action)| action.deed == Deed::Restore);
    let restored: Vec<_> = actions.map(|(index, _)| index).filter(|at| *at < lost_up_to).collect();
    let all_from = log.all_lost_from(&lost, &restored);
    let lost_from = match restored[..] {
        _ if all_from.is_some() => all_from,
        [only] => Some(only),
        // It is unknown which restore lost it.
        _ => None,
    };
    lost.retain(|known| !log.has(known));
    let frozen = all_from.and_then(|_| counted(host, &lost));
    let all = frozen.is_none();
    let frozen = frozen.unwrap_or_default();
    let undone = undone(&lost);
    let reason = match lost_from {
        Some(from) => format!(
            "it was restored from a backup, and entries {from} to {} of its log are lost",
            lost_up_to - 1
        ),
        None => format!("its log had {lost_up_to} entries, and some are missing"),
    };
    let freeze = |deed, target: &str| act(host, Actor::Operator, deed, target, &reason);
    if all {
        freeze(Deed::FreezeAgreements, "all")?;
    }
    for id in &frozen {
        freeze(Deed::FreezeAgreement, &id.to_string())?;
    }
    let frozen = frozen.into_iter().collect();
    Ok(Findings { lost_up_to: Some(lost_up_to), lost_from, frozen, all, undone })
}

/// The agreements that counted the lost calls, if known.
fn counted(host: &Host, lost: &[Known]) -> Option<BTreeSet<Digest>> {
    let mut counted = BTreeSet::new();
    for known in lost {
        let Shown::Receipt(receipt) = known.shown() else { continue };
        // Other calls were refused, or a publisher's own, and not counted.
        if let (Some(agreement), Some(_)) = (receipt.agreement, receipt.used) {
            counted.extend(host.agreements.counted_by(&agreement)?);
        }
    }
    Some(counted)
}

/// The actions in order, without the restores of logs that were lost themselves.
fn undone(lost: &[Known]) -> Vec<(Deed, Box<str>)> {
    let mut undone = BTreeMap::new();
    for known in lost {
        if let (Shown::Action(action), Some(place)) = (known.shown(), known.place())
            && action.deed != Deed::Restore
        {
            undone.insert(place, (action.deed, action.target.clone()));
        }
    }
    undone.into_values().collect()
}
