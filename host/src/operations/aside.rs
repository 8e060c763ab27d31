//! Records that were set aside: shown to the operator, and removed once they have dealt with them.
//!
//! What a removed record said is forgotten, so what it may have stopped stays stopped: the agreement of such a record or event is frozen
//! until the operator releases it, and the record of an account that was suspended or closed is not removed. Memory
//! stays as it is; the host reads again at its next start what depends on the record.

use super::{NOTE_CHARS_MAX, OperationError, act, note};
use crate::host::Host;
use crate::id::Digest;
use crate::receipt::{Action, Actor, Deed};
use crate::store::Table;

/// Maximum length of a logged target, in characters. Keys of records from newer hosts may have any.
const TARGET_CHARS_MAX: usize = 120;

/// A record that was set aside, as it is stored.
///
/// Waits for the disk.
///
/// # Errors
/// [`OperationError::NotAside`], [`OperationError::Store`].
pub fn record_aside(host: &Host, kind: &str, key: &str) -> Result<Vec<u8>, OperationError> {
    find(host, kind, key).map(|(_, record)| record)
}

fn find(host: &Host, kind: &str, key: &str) -> Result<(Table, Vec<u8>), OperationError> {
    let not_aside = || OperationError::NotAside { kind: kind.to_owned(), key: key.to_owned() };
    let table = Table::named(kind).filter(|table| host.store.why_aside(*table, key).is_some());
    let table = table.ok_or_else(not_aside)?;
    let record = host.store.get(table, key)?.ok_or_else(not_aside)?;
    Ok((table, record))
}

/// Removes a record that was set aside, if it has this digest. The log entry is written first. Returns the agreement that is frozen from
/// now on, if the record was of one.
///
/// Waits for the disk.
///
/// # Errors
/// [`OperationError`]; the record is still there.
pub fn remove_record(
    host: &Host,
    (kind, key): (&str, &str),
    digest: &Digest,
    reason: &str,
) -> Result<Option<Digest>, OperationError> {
    let (table, record) = find(host, kind, key)?;
    let seen = Digest::of(&record);
    if seen != *digest {
        return Err(OperationError::OtherRecord { seen });
    }
    if table == Table::Accounts && is_stopped(host, key) {
        return Err(OperationError::AccountStopped(key.to_owned()));
    }
    let agreement = agreement_of(table, key);
    if let Some(agreement) = &agreement {
        let why = "a record of it that could not be read was removed";
        act(host, Actor::Operator, Deed::FreezeAgreement, &agreement.to_string(), why)?;
    }
    let _one_at_a_time = host.operating.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let what = format!("{seen}, {} bytes", record.len());
    let why = match in_a_line(reason.trim(), NOTE_CHARS_MAX).as_str() {
        "" => what,
        reason => format!("{what}: {reason}"),
    };
    let target = in_a_line(&format!("{}/{key}", table.name()), TARGET_CHARS_MAX);
    note(host, Deed::RemoveRecord, &target, &why)?;
    host.store.remove_aside(table, key, &record)?;
    Ok(agreement)
}

/// The agreement whose calls or events the host no longer knows without this record.
fn agreement_of(table: Table, key: &str) -> Option<Digest> {
    match table {
        Table::Agreements => key.parse().ok(),
        Table::Events => key.split_once('/')?.0.parse().ok(),
        _ => None,
    }
}

/// Whether the operator has suspended or closed the account of this name, and has not resumed it.
fn is_stopped(host: &Host, name: &str) -> bool {
    let standing = host.receipts.log().actions().into_iter().rev().find_map(|(_, action)| {
        let Action { deed, target, .. } = action;
        let is_standing =
            matches!(deed, Deed::SuspendAccount | Deed::ResumeAccount | Deed::CloseAccount);
        (is_standing && *target == *name).then_some(deed)
    });
    standing.is_some_and(|deed| deed != Deed::ResumeAccount)
}

fn in_a_line(text: &str, chars_max: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(chars_max).collect()
}
