//! A log checkpoint that the host stores outside the log, so that the next start notices a truncated or replaced log.

use std::path::Path;

use super::{Host, HostError, RECEIPTS, RECORDS};
use crate::receipt::{EMPTY_LOG_BYTES, LOG_FILE, Log, ReceiptError};
use crate::store::{Store, StoreError, Table};

/// Key of the latest stored checkpoint.
const CHECKPOINT: &str = "checkpoint";

/// Checks that accounts and agreements exist if receipts do: an empty host would not know any of its parties.
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

/// Checks the log against the stored checkpoint, and returns the checkpoint. Older hosts did not store one.
///
/// # Errors
/// [`ReceiptError::RolledBack`] if they do not match; [`StoreError`].
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
    /// Stores the log's latest checkpoint, if it is new. After a failure the older one remains.
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
