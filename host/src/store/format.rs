//! The format version of the records, which decides whether a host can read them.
//!
//! One number for all of them. It rises when a host writes what earlier ones would misread; optional members do not raise it. Conversions
//! from one format to the next belong here, each in one write. A host does not start on a newer format, and changes nothing.

use super::file::Records;
use super::{StoreError, Table};

/// The format that this host reads and writes.
pub const FORMAT: u32 = 1;

/// In [`Table::Host`]. Without it the format is 1.
pub(super) const KEY: &str = "format";

/// The format of the records, if they have one; rejects a newer one. Writes nothing.
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

/// The format entry of new records.
pub(super) fn record() -> (Table, &'static str, Vec<u8>) {
    (Table::Host, KEY, FORMAT.to_string().into_bytes())
}
