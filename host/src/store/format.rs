//! The format of the records: which host can read them.
//!
//! One number for all of them. It rises when a host writes what the one before would misread; optional members do not raise it. What turns
//! the records of one number into those of the next belongs here, in one transaction. A host that finds a higher number than its own does
//! not start and changes nothing.

use redb::ReadableDatabase as _;

use super::{Store, StoreError, Table};

/// What this host reads and writes.
pub const FORMAT: u32 = 1;

/// Of [`Table::Host`]. Records without it have format 1.
const KEY: &str = "format";

/// The format of the records, if they say one; those of a newer host are refused. Nothing is written.
pub(super) fn check(store: &Store) -> Result<Option<u32>, StoreError> {
    let record = store.run(|database| {
        let table = match database.begin_read()?.open_table(Table::Host.definition()) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(table.get(KEY)?.map(|record| record.value().to_vec()))
    })?;
    let Some(record) = record else { return Ok(None) };
    let seen = std::str::from_utf8(&record).ok().and_then(|text| text.parse().ok());
    match seen {
        Some(seen) if seen <= FORMAT => Ok(Some(seen)),
        seen => Err(StoreError::Newer { path: store.path.clone(), seen, known: FORMAT }),
    }
}

/// Writes down the format of new records.
pub(super) fn begin(host: &mut redb::Table<'_, &str, &[u8]>) -> Result<(), redb::Error> {
    host.insert(KEY, FORMAT.to_string().as_bytes())?;
    Ok(())
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
        // Records of that host, which has another list of tables.
        let dropped = redb::TableDefinition::<&str, &[u8]>::new(Table::Mandates.name());
        store
            .write(|change| {
                change.delete_table(dropped)?;
                Ok(())
            })
            .expect("writes");
        drop(store);
        let refused = Store::open(&path).map(drop).expect_err("newer");
        assert!(matches!(refused, StoreError::Newer { seen: Some(2), known: 1, .. }), "{refused}");
        assert!(refused.to_string().contains("format 2"), "{refused}");
        let database = redb::Database::open(&path).expect("opens");
        let read = database.begin_read().expect("reads");
        assert!(read.open_table(dropped).is_err(), "nothing was made");
    }
}
