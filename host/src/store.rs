//! Small records that must survive: accounts, API keys, publications, offers and agreements.
//!
//! It keeps bytes under keys and knows nothing of what they mean. Each write is one durable transaction. Nothing here is
//! on the path of a call: everything a call needs is in memory. Bundles are files (`bundle::registry`), receipts a log
//! (`receipt::log`).

use std::path::{Path, PathBuf};

use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    TableDefinition,
};

/// A kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    Accounts,
    ApiKeys,
    Publications,
    Offers,
    Agreements,
    /// Events in the life of agreements, in order.
    Events,
    /// Messages of negotiations, in order.
    Negotiations,
    /// By which publishers let the host agree for them, by offer.
    Mandates,
}

impl Table {
    const ALL: [Table; 8] = [
        Table::Accounts,
        Table::ApiKeys,
        Table::Publications,
        Table::Offers,
        Table::Agreements,
        Table::Events,
        Table::Negotiations,
        Table::Mandates,
    ];

    const fn definition(self) -> TableDefinition<'static, &'static str, &'static [u8]> {
        TableDefinition::new(match self {
            Table::Accounts => "accounts",
            Table::ApiKeys => "api-keys",
            Table::Publications => "publications",
            Table::Offers => "offers",
            Table::Agreements => "agreements",
            Table::Events => "events",
            Table::Negotiations => "negotiations",
            Table::Mandates => "mandates",
        })
    }
}

/// The records of one host, in one file that only one process may have open.
pub struct Store {
    database: Database,
    path: PathBuf,
}

/// Why records could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("`{}` is in use by another host; stop that one or choose another `--data` directory", path.display())]
    InUse { path: PathBuf },
    #[error("`{}` could not be read or written", path.display())]
    Database {
        path: PathBuf,
        #[source]
        source: Box<redb::Error>,
    },
}

impl Store {
    /// Opens the records in `path`, or begins them.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while another process has them open.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let database = Database::create(path).map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: path.into() },
            other => failed(path, other),
        })?;
        let store = Self { database, path: path.into() };
        store.write(|transaction| {
            Table::ALL.iter().try_for_each(|table| {
                transaction.open_table(table.definition()).map(drop).map_err(redb::Error::from)
            })
        })?;
        Ok(store)
    }

    /// Writes one record over whatever was under `key`. Durable when it returns.
    ///
    /// # Errors
    /// [`StoreError::Database`]; nothing was changed then.
    pub fn put(&self, table: Table, key: &str, record: &[u8]) -> Result<(), StoreError> {
        self.put_all(&[(table, key, record)])
    }

    /// Writes several records, all or none. Durable when it returns.
    ///
    /// # Errors
    /// [`StoreError::Database`]; nothing was changed then.
    pub fn put_all(&self, records: &[(Table, &str, &[u8])]) -> Result<(), StoreError> {
        self.write(|transaction| {
            for (table, key, record) in records {
                transaction.open_table(table.definition())?.insert(*key, *record)?;
            }
            Ok(())
        })
    }

    /// Every record of a table, in the order of the keys.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn all(&self, table: Table) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let read = || -> Result<_, redb::Error> {
            let transaction = self.database.begin_read()?;
            let table = transaction.open_table(table.definition())?;
            let mut records = Vec::new();
            for entry in table.iter()? {
                let (key, record) = entry?;
                records.push((key.value().to_owned(), record.value().to_vec()));
            }
            Ok(records)
        };
        read().map_err(|error| failed(&self.path, error))
    }

    /// How many records a table has.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn count(&self, table: Table) -> Result<usize, StoreError> {
        let read = || -> Result<_, redb::Error> {
            Ok(self.database.begin_read()?.open_table(table.definition())?.len()?)
        };
        let count = read().map_err(|error| failed(&self.path, error))?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    fn write(
        &self,
        change: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), StoreError> {
        let write = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            change(&transaction)?;
            transaction.commit()?;
            Ok(())
        };
        write().map_err(|error| failed(&self.path, error))
    }
}

fn failed(path: &Path, error: impl Into<redb::Error>) -> StoreError {
    StoreError::Database { path: path.into(), source: Box::new(error.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_and_one_process_at_a_time_has_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.redb");
        let store = Store::open(&path).expect("opens");
        store.put(Table::Offers, "b", b"2").expect("writes");
        store
            .put_all(&[(Table::Offers, "a", b"1"), (Table::Agreements, "a", b"3")])
            .expect("writes");
        assert!(matches!(Store::open(&path), Err(StoreError::InUse { .. })));
        drop(store);
        let store = Store::open(&path).expect("opens again");
        let offers = store.all(Table::Offers).expect("reads");
        assert_eq!(offers, [("a".into(), b"1".to_vec()), ("b".into(), b"2".to_vec())]);
        assert_eq!(store.all(Table::Accounts).expect("reads"), []);
    }
}
