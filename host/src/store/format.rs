//! The format of the records: which host can read them.
//!
//! One number for all of them. It rises when a host writes what the one before would misread; optional members do not raise it. What turns
//! the records of one number into those of the next belongs here, in one write. A host that finds a higher number than its own does not
//! start and changes nothing.

use super::file::Records;
use super::{StoreError, Table};

/// What this host reads and writes.
pub const FORMAT: u32 = 1;

/// Of [`Table::Host`]. Records without it have format 1.
pub(super) const KEY: &str = "format";

/// The format of the records, if they say one; those of a newer host are refused. Nothing is written.
pub(super) fn check(records: &Records) -> Result<Option<u32>, StoreError> {
    let Some(record) = records.get(Table::Host, KEY)? else { return Ok(None) };
    let seen = std::str::from_utf8(&record).ok().and_then(|text| text.parse().ok());
    match seen {
        Some(seen) if seen <= FORMAT => Ok(Some(seen)),
        seen => {
            let path = records.path().to_owned();
            Err(StoreError::Newer { path, seen, known: FORMAT })
        }
    }
}

/// What new records say of their format.
pub(super) fn record() -> (Table, &'static str, Vec<u8>) {
    (Table::Host, KEY, FORMAT.to_string().into_bytes())
}
