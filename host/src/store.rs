//! Small records that must survive: accounts, API keys, publications, offers and agreements.
//!
//! It keeps bytes under keys and knows nothing of what they mean. Each write is one durable transaction. Nothing here is
//! on the path of a call: everything a call needs is in memory. Bundles are files (`bundle::registry`), receipts a log
//! (`receipt::log`). After an error of the disk the file is opened anew, by whoever comes next: redb refuses everything until then.

mod aside;
mod format;
mod look;
mod snapshot;

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};

use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    TableDefinition,
};

pub use aside::Aside;
use aside::SetAside;
pub use format::FORMAT;
pub use snapshot::Snapshot;

/// A kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
    /// What the host remembers of itself.
    Host,
    /// When agreements that only one party has signed were handed in.
    Proposals,
    /// Offers that their publishers have withdrawn, and when.
    WithdrawnOffers,
}

impl Table {
    const ALL: [Table; 11] = [
        Table::Accounts,
        Table::ApiKeys,
        Table::Publications,
        Table::Offers,
        Table::Agreements,
        Table::Events,
        Table::Negotiations,
        Table::Mandates,
        Table::Host,
        Table::Proposals,
        Table::WithdrawnOffers,
    ];

    /// Its name in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Table::Accounts => "accounts",
            Table::ApiKeys => "api-keys",
            Table::Publications => "publications",
            Table::Offers => "offers",
            Table::Agreements => "agreements",
            Table::Events => "events",
            Table::Negotiations => "negotiations",
            Table::Mandates => "mandates",
            Table::Host => "host",
            Table::Proposals => "proposals",
            Table::WithdrawnOffers => "withdrawn-offers",
        }
    }

    const fn definition(self) -> TableDefinition<'static, &'static str, &'static [u8]> {
        TableDefinition::new(self.name())
    }
}

/// Bytes of the file that are kept in memory.
const CACHE_BYTES_MAX: usize = 4 << 20;

/// The records of one host, in one file that only one process may have open.
pub struct Store {
    /// None while the file cannot be opened again.
    database: RwLock<Option<Database>>,
    /// Whether the disk failed since the file was opened.
    is_failing: AtomicBool,
    aside: SetAside,
    path: PathBuf,
    /// How the file is opened, also after an error of the disk.
    opener: Opener,
}

type Opener = fn(&Path) -> Result<Database, StoreError>;

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
    #[error("`{}` is closed: the host stops, or the disk failed and it could not be opened again yet", path.display())]
    Closed { path: PathBuf },
    #[error(
        "`{}` has records of format {}, of a newer host; this one reads format {known}. Nothing was changed: start the newer host, or restore a backup",
        path.display(),
        seen.map_or_else(|| "unknown".to_owned(), |seen| seen.to_string())
    )]
    Newer { path: PathBuf, seen: Option<u32>, known: u32 },
    #[error(
        "record `{key}` of {table} was set aside and is not written over: {reason}; the operator sees it with `hospes admin out-of-service list`"
    )]
    Aside { table: &'static str, key: String, reason: String },
}

impl StoreError {
    /// Whether it is the disk that failed, not the request or the file.
    pub fn is_of_the_disk(&self) -> bool {
        match self {
            StoreError::Database { source, .. } => is_of_the_disk(source),
            StoreError::Closed { .. } => true,
            StoreError::InUse { .. } | StoreError::Newer { .. } | StoreError::Aside { .. } => false,
        }
    }
}

/// Whether it is the disk that failed, somewhere below an error: it is full or broken, and may be mended while the host runs.
pub fn is_disk_failure(error: &(dyn Error + 'static)) -> bool {
    const EIO: i32 = 5;
    any_cause(error, |error| {
        is_full(error)
            || error.kind() == io::ErrorKind::ReadOnlyFilesystem
            || error.raw_os_error() == Some(EIO)
    }) || causes(error)
        .any(|cause| cause.downcast_ref::<StoreError>().is_some_and(StoreError::is_of_the_disk))
}

/// Whether a record stands in the way that was set aside, somewhere below an error.
pub fn is_aside(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| matches!(cause.downcast_ref(), Some(StoreError::Aside { .. })))
}

/// Whether the disk is full, somewhere below an error.
pub fn is_disk_full(error: &(dyn Error + 'static)) -> bool {
    any_cause(error, is_full)
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| <dyn Error>::source(*error))
}

fn any_cause(error: &(dyn Error + 'static), is_it: impl Fn(&io::Error) -> bool) -> bool {
    causes(error).any(|cause| {
        let redb = match cause.downcast_ref() {
            Some(StoreError::Database { source, .. }) => match &**source {
                redb::Error::Io(error) => Some(error),
                _ => None,
            },
            Some(
                StoreError::Closed { .. }
                | StoreError::InUse { .. }
                | StoreError::Newer { .. }
                | StoreError::Aside { .. },
            )
            | None => None,
        };
        cause.downcast_ref::<io::Error>().or(redb).is_some_and(&is_it)
    })
}

fn is_of_the_disk(error: &redb::Error) -> bool {
    matches!(error, redb::Error::Io(_) | redb::Error::PreviousIo)
}

impl Store {
    /// Opens the records in `path`, or begins them.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while another process has them open, [`StoreError::Newer`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::begin(path, open)
    }

    /// Opens the records in `path` to look at them: what is written stays in memory, and the file as it is. None if there are none.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn look_at(path: &Path) -> Result<Option<Self>, StoreError> {
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            _ => Self::begin(path, open_to_look).map(Some),
        }
    }

    fn begin(path: &Path, opener: Opener) -> Result<Self, StoreError> {
        let database = RwLock::new(Some(opener(path)?));
        let (is_failing, aside) = (AtomicBool::new(false), SetAside::default());
        let store = Self { database, is_failing, aside, path: path.into(), opener };
        let seen = format::check(&store)?;
        // A file that has them all is not written: the disk may be full.
        let lacks = |table: &Table| store.count(*table).is_err();
        if Table::ALL.iter().any(lacks) {
            let is_new = Table::ALL.iter().all(lacks);
            store.write(|transaction| {
                for table in Table::ALL {
                    transaction.open_table(table.definition())?;
                }
                if is_new && seen.is_none() {
                    format::begin(&mut transaction.open_table(Table::Host.definition())?)?;
                }
                Ok(())
            })?;
        }
        Ok(store)
    }

    /// Whether the disk failed, and the file could not be opened again yet.
    pub fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Acquire)
    }

    /// Closes the file, in order, whoever still shares the records. Nothing is read or written after that.
    pub fn close(&self) {
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

    fn open_again(&self) -> Result<(), StoreError> {
        let mut database: RwLockWriteGuard<'_, _> =
            self.database.write().unwrap_or_else(PoisonError::into_inner);
        // Others may have been quicker.
        if self.is_failing() {
            // The file's lock goes with the old one.
            *database = None;
            *database = Some((self.opener)(&self.path)?);
            self.is_failing.store(false, Ordering::Release);
            tracing::info!(path = %self.path.display(), "the records are open again");
        }
        Ok(())
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
    /// [`StoreError::Database`], [`StoreError::Aside`]; nothing was changed then.
    pub fn put_all(&self, records: &[(Table, &str, &[u8])]) -> Result<(), StoreError> {
        self.change(&[], records)
    }

    /// Takes records out and writes others, all or none. Durable when it returns; what is not there to be taken out is no error.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Aside`]; nothing was changed then.
    pub fn change(
        &self,
        out: &[(Table, &str)],
        records: &[(Table, &str, &[u8])],
    ) -> Result<(), StoreError> {
        for (table, key, _) in records {
            self.check_aside(*table, key)?;
        }
        self.write(|transaction| {
            for (table, key) in out {
                transaction.open_table(table.definition())?.remove(*key)?;
            }
            for (table, key, record) in records {
                transaction.open_table(table.definition())?.insert(*key, *record)?;
            }
            Ok(())
        })
    }

    /// Removes a record, if it is there. Durable when it returns.
    ///
    /// # Errors
    /// [`StoreError::Database`]; nothing was changed then.
    pub fn remove(&self, table: Table, key: &str) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction.open_table(table.definition())?.remove(key)?;
            Ok(())
        })
    }

    /// Takes records out, all or none. Durable when it returns; what is not there is no error.
    ///
    /// # Errors
    /// [`StoreError::Database`]; nothing was changed then.
    pub fn remove_all(&self, records: &[(Table, &str)]) -> Result<(), StoreError> {
        self.change(records, &[])
    }

    /// One record, if it is there.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn get(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.run(|database| {
            let table = database.begin_read()?.open_table(table.definition())?;
            Ok(table.get(key)?.map(|record| record.value().to_vec()))
        })
    }

    /// The keys of a table, in order.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn keys(&self, table: Table) -> Result<Vec<String>, StoreError> {
        self.run(|database| {
            let table = database.begin_read()?.open_table(table.definition())?;
            table.iter()?.map(|entry| Ok(entry?.0.value().to_owned())).collect()
        })
    }

    /// Looks at every record of a table, in the order of the keys, one at a time.
    ///
    /// # Errors
    /// [`StoreError::Database`]; what `visit` says.
    pub fn each<E: From<StoreError>>(
        &self,
        table: Table,
        mut visit: impl FnMut(&str, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for key in self.keys(table)? {
            if let Some(record) = self.get(table, &key)? {
                visit(&key, &record)?;
            }
        }
        Ok(())
    }

    /// Every record of a table, in the order of the keys.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn all(&self, table: Table) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.run(|database| {
            let transaction = database.begin_read()?;
            let table = transaction.open_table(table.definition())?;
            let mut records = Vec::new();
            for entry in table.iter()? {
                let (key, record) = entry?;
                records.push((key.value().to_owned(), record.value().to_vec()));
            }
            Ok(records)
        })
    }

    /// Every record of a table whose key begins with `prefix`, in the order of the keys.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn below(&self, table: Table, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.run(|database| {
            let transaction = database.begin_read()?;
            let table = transaction.open_table(table.definition())?;
            let mut records = Vec::new();
            for entry in table.range(prefix..)? {
                let (key, record) = entry?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                records.push((key.value().to_owned(), record.value().to_vec()));
            }
            Ok(records)
        })
    }

    /// How many records a table has.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn count(&self, table: Table) -> Result<usize, StoreError> {
        let count = self
            .run(|database| Ok(database.begin_read()?.open_table(table.definition())?.len()?))?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    fn check_aside(&self, table: Table, key: &str) -> Result<(), StoreError> {
        match self.why_aside(table, key) {
            None => Ok(()),
            Some(reason) => {
                Err(StoreError::Aside { table: table.name(), key: key.to_owned(), reason })
            }
        }
    }

    fn write(
        &self,
        change: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), StoreError> {
        self.run(|database| {
            let transaction = database.begin_write()?;
            change(&transaction)?;
            transaction.commit()?;
            Ok(())
        })
    }
}

fn open(path: &Path) -> Result<Database, StoreError> {
    // Made here, so that it is for its owner only from the beginning.
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

    #[test]
    fn records_below_a_prefix_are_those_and_no_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("state.redb")).expect("opens");
        for key in ["a", "a/1", "a/2", "a0", "ab/1", "b/1"] {
            store.put(Table::Offers, key, b"").expect("writes");
        }
        let keys = |prefix| {
            let records = store.below(Table::Offers, prefix).expect("reads").into_iter();
            records.map(|(key, _)| key).collect::<Vec<_>>()
        };
        assert_eq!(keys("a/"), ["a/1", "a/2"]);
        assert_eq!(keys("c"), [""; 0]);
    }
}
