//! A snapshot of the records, for copying them while others write.

use std::fs::File;
use std::path::PathBuf;

use redb::backends::FileBackend;
use redb::{
    Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, TableDefinition,
    TableHandle as _,
};

use super::{CACHE_BYTES_MAX, Records, definition, failed};
use crate::store::{StoreError, Table};

/// The records when it was made. While it lives, the file keeps the overwritten pages.
pub struct Snapshot {
    transaction: ReadTransaction,
    path: PathBuf,
}

impl Records {
    /// A snapshot of the records now.
    pub(in crate::store) fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let transaction = self.run(|database| Ok(database.begin_read()?))?;
        Ok(Snapshot { transaction, path: self.path.clone() })
    }
}

impl Snapshot {
    /// Visits every record of a table in key order.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn each(&self, table: Table, mut visit: impl FnMut(&[u8])) -> Result<(), StoreError> {
        let mut read = || {
            for entry in self.transaction.open_table(definition(table))?.iter()? {
                visit(entry?.1.value());
            }
            Ok::<_, redb::Error>(())
        };
        read().map_err(|error| failed(&self.path, error))
    }

    /// Writes them durably into an empty file, which then is a file of records like the host's own.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn copy_to(&self, file: File) -> Result<(), StoreError> {
        let copy = || {
            let mut copy = Database::builder();
            copy.set_cache_size(CACHE_BYTES_MAX);
            let copy = copy.create_with_backend(FileBackend::new(file)?)?;
            let change = copy.begin_write()?;
            // All tables in the file, including those unknown to this host.
            for table in self.transaction.list_tables()? {
                let definition = TableDefinition::<&str, &[u8]>::new(table.name());
                let from = self.transaction.open_table(definition)?;
                let mut to = change.open_table(definition)?;
                for entry in from.iter()? {
                    let (key, record) = entry?;
                    to.insert(key.value(), record.value())?;
                }
            }
            change.commit()?;
            Ok::<_, redb::Error>(())
        };
        copy().map_err(|error| failed(&self.path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn a_copy_has_what_there_was_when_it_was_begun() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("state.redb")).expect("opens");
        store.put(Table::Offers, "a", b"1").expect("writes");
        let snapshot = store.snapshot().expect("taken");
        store.put(Table::Offers, "a", b"2").expect("writes");
        store.put(Table::Offers, "b", b"2").expect("writes");
        let path = folder.path().join("copy.redb");
        snapshot
            .copy_to(
                File::options().read(true).write(true).create_new(true).open(&path).expect("made"),
            )
            .expect("copied");
        let copy = Store::open(&path).expect("opens");
        assert_eq!(copy.all(Table::Offers).expect("reads"), [("a".into(), b"1".to_vec())]);
        assert_eq!(copy.all(Table::Host).expect("reads"), store.all(Table::Host).expect("reads"));
    }
}
