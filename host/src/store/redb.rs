//! The records in a redb file. The only module that depends on redb; its functions are what another store would need.
//!
//! Reading: one record, a table's keys, records from a key on, the last one, their number, and a snapshot of all. Writing:
//! [`Records::commit`], several writes in one durable step, each atomic and with its own conditions. The surprise: after a disk error redb
//! refuses everything, so the next user opens the file again.

mod look;
mod snapshot;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    TableDefinition, TableError, TableHandle as _, WriteTransaction,
};

pub use snapshot::Snapshot;

use super::together::Verdicts;
use super::write::{self, JOURNAL_WRITES_MAX, Write};
use super::{StoreError, Table};

/// Cache size in bytes.
const CACHE_BYTES_MAX: usize = 4 << 20;

/// Records by key, and the journal's entries.
type Entries = Vec<(String, Vec<u8>)>;

const fn definition(table: Table) -> TableDefinition<'static, &'static str, &'static [u8]> {
    TableDefinition::new(table.name())
}

/// Why the database failed. Writers that share a commit share the error.
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
pub struct Failure(Arc<redb::Error>);

impl Failure {
    /// Whether the disk failed.
    pub fn is_of_the_disk(&self) -> bool {
        is_of_the_disk(&self.0)
    }

    /// The operating system's error.
    pub fn io(&self) -> Option<&io::Error> {
        match &*self.0 {
            redb::Error::Io(error) => Some(error),
            _ => None,
        }
    }
}

fn is_of_the_disk(error: &redb::Error) -> bool {
    matches!(error, redb::Error::Io(_) | redb::Error::PreviousIo)
}

type Opener = fn(&Path) -> Result<Database, StoreError>;

pub(super) struct Records {
    /// `None` while the file cannot be opened again.
    database: RwLock<Option<Database>>,
    /// Whether the disk failed since the file was opened.
    is_failing: AtomicBool,
    path: PathBuf,
    /// How to open the file, also after a disk error.
    opener: Opener,
}

impl Records {
    /// Opens or creates the file at `path`.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        Self::begin(path, open)
    }

    /// Opens a file read-only: writes stay in memory.
    pub(super) fn look_at(path: &Path) -> Result<Self, StoreError> {
        Self::begin(path, open_to_look)
    }

    fn begin(path: &Path, opener: Opener) -> Result<Self, StoreError> {
        let database = RwLock::new(Some(opener(path)?));
        Ok(Self { database, is_failing: AtomicBool::new(false), path: path.into(), opener })
    }

    /// The missing tables.
    pub(super) fn missing(&self) -> Result<Vec<Table>, StoreError> {
        self.run(|database| {
            let there: Vec<_> = database.begin_read()?.list_tables()?.collect();
            let is_there = |table: &Table| there.iter().any(|one| one.name() == table.name());
            Ok(Table::ALL.into_iter().filter(|table| !is_there(table)).collect())
        })
    }

    /// Creates tables and first records.
    pub(super) fn create(
        &self,
        tables: &[Table],
        first: &[(Table, &'static str, Vec<u8>)],
    ) -> Result<(), StoreError> {
        self.run(|database| {
            let transaction = database.begin_write()?;
            for table in tables {
                transaction.open_table(definition(*table))?;
            }
            for (table, key, record) in first {
                transaction.open_table(definition(*table))?.insert(*key, &**record)?;
            }
            transaction.commit()?;
            Ok(())
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the disk failed and the file could not be opened again yet.
    pub(super) fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Acquire)
    }

    /// Closes the file. Nothing is read or written afterwards.
    pub(super) fn close(&self) {
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn run<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        if self.is_failing() {
            self.open_again()?;
        }
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let closed = || StoreError::Closed { path: self.path.clone() };
        work(database.as_ref().ok_or_else(closed)?).map_err(|error| {
            if is_of_the_disk(&error) {
                self.is_failing.store(true, Ordering::Release);
            }
            failed(&self.path, error)
        })
    }

    #[cfg(test)]
    pub(super) fn fail_as_if(&self) {
        self.is_failing.store(true, Ordering::Release);
    }

    fn open_again(&self) -> Result<(), StoreError> {
        let mut database: RwLockWriteGuard<'_, _> =
            self.database.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have opened it already.
        if self.is_failing() {
            // Release the old file's lock first.
            *database = None;
            *database = Some((self.opener)(&self.path)?);
            self.is_failing.store(false, Ordering::Release);
            tracing::info!(path = %self.path.display(), "the records are open again");
        }
        Ok(())
    }

    /// One record, if it exists; `None` if the table is missing.
    pub(super) fn get(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.run(|database| {
            let table = match database.begin_read()?.open_table(definition(table)) {
                Ok(table) => table,
                Err(TableError::TableDoesNotExist(_)) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            Ok(table.get(key)?.map(|record| record.value().to_vec()))
        })
    }

    /// The keys of a table, in order.
    pub(super) fn keys(&self, table: Table) -> Result<Vec<String>, StoreError> {
        self.run(|database| {
            let table = database.begin_read()?.open_table(definition(table))?;
            table.iter()?.map(|entry| Ok(entry?.0.value().to_owned())).collect()
        })
    }

    /// The records whose keys begin with `prefix`, ordered by key.
    pub(super) fn below(&self, table: Table, prefix: &str) -> Result<Entries, StoreError> {
        self.range(table, prefix, |key| key.starts_with(prefix))
    }

    /// The records from `key` on, ordered by key.
    pub(super) fn from(&self, table: Table, key: &str) -> Result<Entries, StoreError> {
        self.range(table, key, |_| true)
    }

    fn range(
        &self,
        table: Table,
        from: &str,
        goes_on: impl Fn(&str) -> bool,
    ) -> Result<Entries, StoreError> {
        self.run(|database| {
            let table = database.begin_read()?.open_table(definition(table))?;
            let mut records = Vec::new();
            for entry in table.range(from..)? {
                let (key, record) = entry?;
                if !goes_on(key.value()) {
                    break;
                }
                records.push((key.value().to_owned(), record.value().to_vec()));
            }
            Ok(records)
        })
    }

    /// The record with the last key.
    pub(super) fn last(&self, table: Table) -> Result<Option<(String, Vec<u8>)>, StoreError> {
        self.run(|database| {
            let table = database.begin_read()?.open_table(definition(table))?;
            let last = table.last()?;
            Ok(last.map(|(key, record)| (key.value().to_owned(), record.value().to_vec())))
        })
    }

    /// How many records a table has.
    pub(super) fn count(&self, table: Table) -> Result<usize, StoreError> {
        let count = self
            .run(|database| Ok(database.begin_read()?.open_table(definition(table))?.len()?))?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// Performs several writes in one durable step, in order. A write whose conditions fail changes nothing; the others happen. Each
    /// successful write gets the next number and a journal entry.
    pub(super) fn commit(&self, writes: &[Write]) -> Verdicts {
        self.run(|database| {
            let transaction = database.begin_write()?;
            let verdicts = writes.iter().map(|write| apply(&transaction, write));
            let verdicts: Vec<_> = verdicts.collect::<Result<_, redb::Error>>()?;
            if verdicts.iter().any(Result::is_ok) {
                transaction.commit()?;
            } else {
                transaction.abort()?;
            }
            Ok(verdicts)
        })
    }
}

/// Performs one write and numbers it, unless its conditions fail.
fn apply(
    transaction: &WriteTransaction,
    write: &Write,
) -> Result<Result<u64, StoreError>, redb::Error> {
    for (table, key, expected) in write.expected() {
        let records = transaction.open_table(definition(*table))?;
        let seen = records.get(&**key)?;
        if seen.as_ref().map(|seen| seen.value()) != expected.as_deref() {
            let (table, key) = (table.name(), key.clone());
            return Ok(Err(StoreError::Changed { table, key }));
        }
    }
    for (table, key) in write.out() {
        transaction.open_table(definition(*table))?.remove(&**key)?;
    }
    for (table, key, record) in write.puts() {
        transaction.open_table(definition(*table))?.insert(&**key, &**record)?;
    }
    let mut journal = transaction.open_table(definition(Table::Journal))?;
    let last = journal.last()?.map_or(0, |(key, _)| write::number_of(key.value()));
    let number = last + 1;
    journal.insert(&*write::key_of(number), &*write.entry())?;
    while journal.len()? > JOURNAL_WRITES_MAX {
        journal.pop_first()?;
    }
    Ok(Ok(number))
}

fn open(path: &Path) -> Result<Database, StoreError> {
    // Created here, so that only its owner can read it from the start.
    let made = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    drop(made.map_err(|error| failed(path, error))?);
    let opened = Database::builder().set_cache_size(CACHE_BYTES_MAX).create(path);
    opened.map_err(|error| refused(path, error))
}

fn open_to_look(path: &Path) -> Result<Database, StoreError> {
    let file = File::open(path).map_err(|error| failed(path, error))?;
    let overlay = look::Overlay::over(file).map_err(|error| failed(path, error))?;
    let mut builder = Database::builder();
    let opened = builder.set_cache_size(CACHE_BYTES_MAX).create_with_backend(overlay);
    opened.map_err(|error| refused(path, error))
}

fn refused(path: &Path, error: redb::DatabaseError) -> StoreError {
    match error {
        redb::DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: path.into() },
        other => failed(path, other),
    }
}

fn failed(path: &Path, error: impl Into<redb::Error>) -> StoreError {
    StoreError::Database { path: path.into(), source: Failure(Arc::new(error.into())) }
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::super::format::KEY;
    use super::*;

    #[test]
    fn records_of_a_newer_host_are_refused_and_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.redb");
        let store = Store::open(&path).expect("opens");
        assert_eq!(store.get(Table::Host, KEY).expect("reads"), Some(b"1".to_vec()));
        store.put(Table::Host, KEY, b"2").expect("writes");
        drop(store);
        // Records of a host with another list of tables.
        let dropped = definition(Table::Mandates);
        let database = Database::open(&path).expect("opens");
        let change = database.begin_write().expect("begins");
        change.delete_table(dropped).expect("dropped");
        change.commit().expect("written");
        drop(database);
        let refused = Store::open(&path).map(drop).expect_err("newer");
        assert!(matches!(refused, StoreError::Newer { seen: Some(2), known: 1, .. }), "{refused}");
        assert!(refused.to_string().contains("format 2"), "{refused}");
        let database = Database::open(&path).expect("opens");
        let read = database.begin_read().expect("reads");
        assert!(read.open_table(dropped).is_err(), "nothing was made");
    }

    /// The journal's table was added later than the others.
    #[test]
    fn records_without_a_journal_get_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.redb");
        Store::open(&path).expect("opens").put(Table::Offers, "a", b"1").expect("writes");
        let database = Database::open(&path).expect("opens");
        let change = database.begin_write().expect("begins");
        change.delete_table(definition(Table::Journal)).expect("dropped");
        change.commit().expect("written");
        drop(database);
        let store = Store::open(&path).expect("opens");
        assert_eq!(store.sequence().expect("reads"), 0);
        store.put(Table::Offers, "b", b"2").expect("writes");
        assert_eq!(store.sequence().expect("reads"), 1);
        assert_eq!(store.count(Table::Offers).expect("reads"), 2);
    }
}
