//! Recent changes, for those who keep a copy of records and want to know what to read again.
//!
//! Writes are numbered. A restored backup has fewer writes, and gives the lost ones' numbers to others. So numbers belong to an epoch, a
//! random value that a restore replaces, and a position from another epoch is answered with "read everything again". The surprise: records
//! written before there were epochs have none until they are restored, which is an epoch like any other.

use std::collections::BTreeSet;

use super::{Store, StoreError, Table, write};

/// Where the epoch is in [`Table::Host`].
pub(super) const EPOCH: &str = "journal-epoch";

/// Length of an epoch, in bytes.
const EPOCH_BYTES: usize = 16;

/// A place in the history of the records. Opaque to its readers, who hand it back to [`Store::changes_since`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// As it is stored; empty if there is none.
    epoch: Vec<u8>,
    /// The number of the last write; 0 before the first.
    sequence: u64,
}

/// Changes by writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The position after the last of them.
    pub position: Position,
    /// The records written or removed.
    pub records: BTreeSet<(Table, String)>,
}

/// A new epoch's record.
pub(super) fn record() -> Result<(Table, &'static str, Vec<u8>), StoreError> {
    let mut epoch = [0; EPOCH_BYTES];
    getrandom::fill(&mut epoch).map_err(|_| StoreError::Randomness)?;
    Ok((Table::Host, EPOCH, crate::id::hex(&epoch).into_bytes()))
}

impl Store {
    /// The position after the last write.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn position(&self) -> Result<Position, StoreError> {
        let epoch = self.get(Table::Host, EPOCH)?.unwrap_or_default();
        Ok(Position { epoch, sequence: self.sequence()? })
    }

    /// The number of the last write; 0 before the first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub(super) fn sequence(&self) -> Result<u64, StoreError> {
        let last = self.records.last(Table::Journal)?;
        Ok(last.map_or(0, |(key, _)| write::number_of(&key)))
    }

    /// The changes after a position. `None` if they are no longer known, or the position is from another epoch: read all records instead.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn changes_since(&self, position: &Position) -> Result<Option<Changes>, StoreError> {
        let now = self.position()?;
        if position.epoch != now.epoch || position.sequence > now.sequence {
            return Ok(None);
        }
        let mut changes = Changes { position: position.clone(), records: BTreeSet::new() };
        if position.sequence == now.sequence {
            return Ok(Some(changes));
        }
        let first = write::key_of(position.sequence + 1);
        for (key, entry) in self.records.from(Table::Journal, &first)? {
            let number = write::number_of(&key);
            let is_next = number == changes.position.sequence + 1;
            let Some(changed) = write::changed(&entry).filter(|_| is_next) else {
                return Ok(None);
            };
            changes.records.extend(changed);
            changes.position.sequence = number;
        }
        Ok(Some(changes))
    }

    /// Begins a new epoch, so that nobody takes the next writes for others of the same numbers. For records restored from a backup, before a
    /// host serves them.
    ///
    /// # Errors
    /// [`StoreError::Randomness`], [`StoreError::Database`].
    pub fn begin_epoch(&self) -> Result<(), StoreError> {
        let (table, key, epoch) = record()?;
        self.put(table, key, &epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::super::write::JOURNAL_WRITES_MAX;
    use super::*;

    #[test]
    fn writes_are_numbered_and_say_what_they_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.redb");
        let store = Store::open(&path).expect("opens");
        assert_eq!(store.sequence().expect("reads"), 0);
        store.put(Table::Offers, "a", b"1").expect("writes");
        let many: Vec<_> = (0..200).map(|number| format!("{number}")).collect();
        let many: Vec<_> = many.iter().map(|key| (Table::Accounts, &**key, &b""[..])).collect();
        store.put_all(&many).expect("writes");
        store.change(&[(Table::Offers, "a")], &[(Table::Events, "b", b"2")]).expect("writes");
        store.put(Table::Offers, "a", b"3").expect("writes");
        drop(store);
        let store = Store::open(&path).expect("opens again");
        let now = store.position().expect("reads");
        assert_eq!((now.sequence, now.epoch.len()), (4, 2 * EPOCH_BYTES));
        let at = |sequence| Position { sequence, ..now.clone() };
        let since = |sequence| store.changes_since(&at(sequence)).expect("reads");
        let records = [(Table::Offers, "a".to_owned()), (Table::Events, "b".to_owned())].into();
        assert_eq!(since(2), Some(Changes { position: at(4), records }));
        assert_eq!(since(4), Some(Changes { position: at(4), records: BTreeSet::new() }));
        assert_eq!((since(0), since(1), since(5)), (None, None, None), "too many, and none yet");
        for _ in 0..JOURNAL_WRITES_MAX {
            store.put(Table::Offers, "c", b"").expect("writes");
        }
        assert_eq!(since(3), None, "forgotten");
        assert!(since(4).is_some_and(|changes| changes.records.len() == 1));
    }

    /// Once the lost write and the one that has its number now were taken for one another.
    #[test]
    fn who_has_seen_writes_that_a_restore_lost_reads_everything_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, backup) = (folder.path().join("state.redb"), folder.path().join("backup.redb"));
        let store = Store::open(&path).expect("opens");
        store.put(Table::Offers, "a", b"1").expect("writes");
        store.close();
        std::fs::copy(&path, &backup).expect("copied");
        let store = Store::open(&path).expect("opens");
        store.put(Table::Offers, "lost", b"2").expect("writes");
        store.put(Table::Offers, "lost too", b"2").expect("writes");
        let seen = store.position().expect("reads");
        drop(store);
        let restored = Store::open(&backup).expect("opens");
        restored.begin_epoch().expect("writes");
        restored.put(Table::Offers, "b", b"3").expect("writes");
        let now = restored.position().expect("reads");
        assert_eq!(now.sequence, seen.sequence, "as the reader has seen it");
        assert_eq!(restored.changes_since(&seen).expect("reads"), None);
        restored.put(Table::Offers, "c", b"4").expect("writes");
        let changes = restored.changes_since(&now).expect("reads").expect("known");
        assert_eq!(changes.records, [(Table::Offers, "c".to_owned())].into());
    }

    #[test]
    fn records_written_before_there_were_epochs_open_and_get_one_when_restored() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.redb");
        let store = Store::open(&path).expect("opens");
        store.put(Table::Offers, "a", b"1").expect("writes");
        store.remove(Table::Host, EPOCH).expect("writes");
        drop(store);
        let store = Store::open(&path).expect("opens");
        let before = store.position().expect("reads");
        assert_eq!(before, Position { epoch: Vec::new(), sequence: 2 }, "nothing was written");
        store.put(Table::Offers, "b", b"2").expect("writes");
        let changes = store.changes_since(&before).expect("reads").expect("known");
        assert_eq!(changes.records, [(Table::Offers, "b".to_owned())].into());
        store.begin_epoch().expect("writes");
        assert_eq!(store.changes_since(&before).expect("reads"), None);
    }
}
