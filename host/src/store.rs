//! Small records that must survive: accounts, API keys, publications, offers and agreements.
//!
//! It stores bytes under keys and does not know their meaning. No call touches it, except for the first of a version: everything else that a call needs is in memory. Bundles are files
//! (`bundle::registry`), receipts a log (`receipt::log`).
//!
//! All writes go through [`Store::write`]: several records at once, all or none, if what the writer has read is unchanged. Writes are
//! numbered, and [`Store::changes_since`] lists recent changes (`journal`). `redb` is the only module that knows the database, and shows
//! what another one would need. Concurrent writers share a commit (`together`).

mod aside;
mod format;
mod journal;
mod redb;
mod together;
mod write;

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use self::redb as file;
use crate::causes;
pub use aside::Aside;
use aside::SetAside;
use file::Records;
pub use file::{Failure, Snapshot};
pub use format::FORMAT;
pub use journal::{Changes, Position};
use together::Together;
pub use write::Write;

/// A kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    Accounts,
    ApiKeys,
    Publications,
    /// What is known of publications without loading them.
    Descriptions,
    Offers,
    Agreements,
    /// Agreements' events, in order.
    Events,
    /// Negotiations' messages, in order.
    Negotiations,
    /// Publishers' mandates, by offer.
    Mandates,
    /// The host's own data.
    Host,
    /// When agreements with one signature were submitted.
    Proposals,
    /// Offers withdrawn by their publishers, with the time.
    WithdrawnOffers,
    /// Recent changes, by number of the write. Written by the store itself.
    Journal,
}

impl Table {
    const ALL: [Table; 13] = [
        Table::Accounts,
        Table::ApiKeys,
        Table::Publications,
        Table::Descriptions,
        Table::Offers,
        Table::Agreements,
        Table::Events,
        Table::Negotiations,
        Table::Mandates,
        Table::Host,
        Table::Proposals,
        Table::WithdrawnOffers,
        Table::Journal,
    ];

    /// Its name in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Table::Accounts => "accounts",
            Table::ApiKeys => "api-keys",
            Table::Publications => "publications",
            Table::Descriptions => "descriptions",
            Table::Offers => "offers",
            Table::Agreements => "agreements",
            Table::Events => "events",
            Table::Negotiations => "negotiations",
            Table::Mandates => "mandates",
            Table::Host => "host",
            Table::Proposals => "proposals",
            Table::WithdrawnOffers => "withdrawn-offers",
            Table::Journal => "journal",
        }
    }

    /// The one with this name in the file.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }
}

/// One host's records, in a file that only one process may open.
pub struct Store {
    records: Records,
    together: Together,
    aside: SetAside,
}

/// Why records could not be read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    #[error("`{}` is in use by another host; stop that one or choose another `--data` directory", path.display())]
    InUse { path: PathBuf },
    #[error("`{}` could not be read or written", path.display())]
    Database {
        path: PathBuf,
        #[source]
        source: Failure,
    },
    #[error("`{}` is closed: the host is stopping, or the disk failed and the file is not open again yet", path.display())]
    Closed { path: PathBuf },
    #[error(
        "`{}` has records of format {}, from a newer host; this one reads format {known}. Nothing was changed: start the newer host, or restore a backup",
        path.display(),
        seen.map_or_else(|| "unknown".to_owned(), |seen| seen.to_string())
    )]
    Newer { path: PathBuf, seen: Option<u32>, known: u32 },
    #[error(
        "record `{key}` of {table} was set aside and is not overwritten: {reason}; the operator sees it with `hospes admin out-of-service list`"
    )]
    Aside { table: &'static str, key: String, reason: String },
    #[error("record `{key}` of {table} was changed concurrently")]
    Changed { table: &'static str, key: String },
    #[error("the system has no random bytes")]
    Randomness,
}

impl StoreError {
    /// Whether the disk failed, as opposed to the request or the file.
    pub fn is_of_the_disk(&self) -> bool {
        match self {
            StoreError::Database { source, .. } => source.is_of_the_disk(),
            StoreError::Closed { .. } => true,
            StoreError::InUse { .. }
            | StoreError::Newer { .. }
            | StoreError::Aside { .. }
            | StoreError::Changed { .. }
            | StoreError::Randomness => false,
        }
    }
}

/// Whether an error was caused by the disk. It may be full or broken, and repaired while the host runs.
pub fn is_disk_failure(error: &(dyn Error + 'static)) -> bool {
    const EIO: i32 = 5;
    any_cause(error, |error| {
        is_full(error)
            || error.kind() == io::ErrorKind::ReadOnlyFilesystem
            || error.raw_os_error() == Some(EIO)
    }) || causes::of(error)
        .any(|cause| cause.downcast_ref::<StoreError>().is_some_and(StoreError::is_of_the_disk))
}

/// Whether an error was caused by a record that was set aside.
pub fn is_aside(error: &(dyn Error + 'static)) -> bool {
    causes::of(error).any(|cause| matches!(cause.downcast_ref(), Some(StoreError::Aside { .. })))
}

/// Whether an error was caused by a full disk.
pub fn is_disk_full(error: &(dyn Error + 'static)) -> bool {
    any_cause(error, is_full)
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

fn any_cause(error: &(dyn Error + 'static), is_it: impl Fn(&io::Error) -> bool) -> bool {
    causes::of(error).any(|cause| {
        let of_store = cause.downcast_ref().and_then(|error| match error {
            StoreError::Database { source, .. } => source.io(),
            StoreError::Closed { .. }
            | StoreError::InUse { .. }
            | StoreError::Newer { .. }
            | StoreError::Aside { .. }
            | StoreError::Changed { .. }
            | StoreError::Randomness => None,
        });
        cause.downcast_ref::<io::Error>().or(of_store).is_some_and(&is_it)
    })
}

impl Store {
    /// Opens or creates the records at `path`.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while another process has them open, [`StoreError::Newer`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::begin(Records::open(path)?)
    }

    /// Opens the records at `path` read-only: writes stay in memory, and the file is not changed. `None` if there are none.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn look_at(path: &Path) -> Result<Option<Self>, StoreError> {
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            _ => Self::begin(Records::look_at(path)?).map(Some),
        }
    }

    fn begin(records: Records) -> Result<Self, StoreError> {
        let seen = format::check(&records)?;
        let missing = records.missing()?;
        // A complete file is not written to: the disk may be full.
        if !missing.is_empty() {
            let is_new = missing.len() == Table::ALL.len() && seen.is_none();
            let mut first: Vec<_> = is_new.then(format::record).into_iter().collect();
            // Writes are numbered from 1 again.
            if missing.contains(&Table::Journal) {
                first.push(journal::record()?);
            }
            records.create(&missing, &first)?;
        }
        let together = Together::new(records.path());
        Ok(Self { records, together, aside: SetAside::default() })
    }

    /// Whether the disk failed and the file could not be opened again yet.
    pub fn is_failing(&self) -> bool {
        self.records.is_failing()
    }

    /// Closes the file properly, even while others share the records. Nothing is read or written afterwards.
    pub fn close(&self) {
        self.records.close();
    }

    /// A snapshot of the records.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.records.snapshot()
    }

    /// Performs `write`, all or nothing, if its conditions hold. Durable when it returns. Concurrent writers share the commit, but a failed
    /// condition affects only its own write. Returns the write's number; numbers are consecutive.
    ///
    /// # Errors
    /// [`StoreError::Changed`], [`StoreError::Aside`], [`StoreError::Database`]; nothing was changed.
    pub fn write(&self, write: Write) -> Result<u64, StoreError> {
        for (table, key, _) in write.puts() {
            self.check_aside(*table, key)?;
        }
        self.together.write(write, |writes| self.records.commit(writes))
    }

    /// Writes one record, replacing any under `key`. Durable when it returns.
    ///
    /// # Errors
    /// [`StoreError::Database`]; nothing was changed.
    pub fn put(&self, table: Table, key: &str, record: &[u8]) -> Result<(), StoreError> {
        self.put_all(&[(table, key, record)])
    }

    /// Writes several records, all or none. Durable when it returns.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Aside`]; nothing was changed.
    pub fn put_all(&self, records: &[(Table, &str, &[u8])]) -> Result<(), StoreError> {
        self.change(&[], records)
    }

    /// Removes records and writes others, all or none. Durable when it returns. Removing a missing record is no error.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Aside`]; nothing was changed.
    pub fn change(
        &self,
        out: &[(Table, &str)],
        records: &[(Table, &str, &[u8])],
    ) -> Result<(), StoreError> {
        let mut write = Write::default();
        for (table, key) in out {
            write = write.take_out(*table, key);
        }
        for (table, key, record) in records {
            write = write.put(*table, key, record);
        }
        self.write(write).map(drop)
    }

    /// Removes a record if it exists. Durable when it returns.
    ///
    /// # Errors
    /// [`StoreError::Database`]; nothing was changed.
    pub fn remove(&self, table: Table, key: &str) -> Result<(), StoreError> {
        self.remove_all(&[(table, key)])
    }

    /// Removes records, all or none. Durable when it returns. Removing a missing record is no error.
    ///
    /// # Errors
    /// [`StoreError::Database`]; nothing was changed.
    pub fn remove_all(&self, records: &[(Table, &str)]) -> Result<(), StoreError> {
        self.change(records, &[])
    }

    /// One record, if it is there.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn get(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.records.get(table, key)
    }

    /// The keys of a table, in order.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn keys(&self, table: Table) -> Result<Vec<String>, StoreError> {
        self.records.keys(table)
    }

    /// Visits every record of a table in key order, one at a time.
    ///
    /// # Errors
    /// [`StoreError::Database`], and the errors of `visit`.
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

    /// Every record of a table, in key order.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn all(&self, table: Table) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.records.below(table, "")
    }

    /// Every record of a table whose key begins with `prefix`, in key order.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn below(&self, table: Table, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.records.below(table, prefix)
    }

    /// The number of records in a table.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn count(&self, table: Table) -> Result<usize, StoreError> {
        self.records.count(table)
    }

    /// Simulates a disk error.
    #[cfg(test)]
    fn fail_as_if(&self) {
        self.records.fail_as_if();
    }

    fn check_aside(&self, table: Table, key: &str) -> Result<(), StoreError> {
        match self.why_aside(table, key) {
            None => Ok(()),
            Some(reason) => {
                Err(StoreError::Aside { table: table.name(), key: key.to_owned(), reason })
            }
        }
    }
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

    #[test]
    fn a_write_changes_nothing_unless_all_is_as_it_expects() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("state.redb")).expect("opens");
        let first = Write::default().expect(Table::Offers, "a", None);
        store.write(first.put(Table::Offers, "a", b"1")).expect("nothing is there");
        for expected in [None, Some(&b"2"[..])] {
            let write = Write::default().expect(Table::Offers, "a", expected);
            let write = write.put(Table::Offers, "b", b"2").take_out(Table::Offers, "a");
            let refused = store.write(write).expect_err("another one is there");
            assert!(matches!(refused, StoreError::Changed { table: "offers", .. }), "{refused}");
        }
        assert_eq!(store.all(Table::Offers).expect("reads"), [("a".into(), b"1".to_vec())]);
        let write = Write::default().expect(Table::Offers, "a", Some(b"1"));
        store.write(write.put(Table::Offers, "a", b"2")).expect("as it expects");
        assert_eq!(store.get(Table::Offers, "a").expect("reads"), Some(b"2".to_vec()));
    }
}
