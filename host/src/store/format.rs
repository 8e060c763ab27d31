//! The format of the records: which host can read them.
//!
//! One number for all of them. It rises when a host writes what the one before would misread; optional members do not raise it. What turns
//! the records of one number into those of the next belongs here, in one transaction. A host that finds a higher number than its own does
//! not start and changes nothing.

use super::{Store, StoreError, Table};

/// What this host reads and writes.
pub(super) const FORMAT: u32 = 1;

/// Of [`Table::Host`]. Records without it have format 1.
const KEY: &str = "format";

/// Refuses records of a newer host.
pub(super) fn check(store: &Store) -> Result<(), StoreError> {
    let Some(record) = store.get(Table::Host, KEY)? else { return Ok(()) };
    let seen = std::str::from_utf8(&record).ok().and_then(|text| text.parse().ok());
    match seen {
        Some(seen) if seen <= FORMAT => Ok(()),
        seen => Err(StoreError::Newer { path: store.path.clone(), seen, known: FORMAT }),
    }
}

/// Writes down the format of new records.
pub(super) fn begin(store: &Store) -> Result<(), StoreError> {
    match store.get(Table::Host, KEY)? {
        Some(_) => Ok(()),
        None => store.put(Table::Host, KEY, FORMAT.to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_a_newer_host_are_refused_and_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.redb");
        let store = Store::open(&path).expect("opens");
        assert_eq!(store.get(Table::Host, KEY).expect("reads"), Some(b"1".to_vec()));
        store.put(Table::Host, KEY, b"2").expect("writes");
        drop(store);
        let before = std::fs::read(&path).expect("readable");
        let refused = Store::open(&path).map(drop).expect_err("newer");
        assert!(matches!(refused, StoreError::Newer { seen: Some(2), known: 1, .. }), "{refused}");
        assert!(refused.to_string().contains("format 2"), "{refused}");
        assert_eq!(std::fs::read(&path).expect("readable").len(), before.len());
    }
}
