//! The state of the receipts' log that the host remembers apart from the log: whoever cuts the log and its checkpoint, or puts
//! older ones in their place, is noticed at the next start.

use std::path::Path;

use super::{Host, HostError, RECEIPTS, RECORDS};
use crate::receipt::{EMPTY_LOG_BYTES, LOG_FILE, Log, ReceiptError};
use crate::store::{Store, StoreError, Table};

/// What the latest remembered checkpoint is kept under.
const CHECKPOINT: &str = "checkpoint";

/// Checks that accounts and agreements are there if receipts are: an empty host would take all its parties for strangers.
///
/// # Errors
/// [`HostError::NoRecords`].
pub(crate) fn check_records(data: &Path) -> Result<(), HostError> {
    let length = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
    let (records, log) = (data.join(RECORDS), data.join(RECEIPTS).join(LOG_FILE));
    if length(&records) == 0 && length(&log) > EMPTY_LOG_BYTES {
        return Err(HostError::NoRecords { records, log });
    }
    Ok(())
}

/// Checks that the log still holds what the records remember of it, and gives that back. Of hosts that ran before this was remembered,
/// nothing is.
///
/// # Errors
/// [`ReceiptError::RolledBack`] if it does not; [`StoreError`].
pub fn check<E>(store: &Store, log: &Log) -> Result<String, E>
where
    E: From<StoreError> + From<ReceiptError>,
{
    let Some(note) = store.get(Table::Host, CHECKPOINT)? else { return Ok(String::new()) };
    let note = String::from_utf8_lossy(&note).into_owned();
    log.check_holds(&note)?;
    Ok(note)
}

impl Host {
    /// Remembers the log's latest checkpoint, if there is a new one. A failure costs nothing but that an older one is remembered.
    pub(crate) fn remember_log(&self) {
        let note = self.receipts.log().checkpoint();
        let mut remembered =
            self.remembered.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if note.is_empty() || *remembered == note {
            return;
        }
        match self.store.put(Table::Host, CHECKPOINT, note.as_bytes()) {
            Ok(()) => *remembered = note,
            Err(error) => tracing::debug!(%error, "the log's checkpoint could not be stored"),
        }
    }
}
