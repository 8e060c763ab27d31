//! Records that could not be read at start: damaged, or written by a newer host.
//!
//! They are kept unchanged, shown to the operator, and never overwritten; only the operator removes them. They have no effect: an agreement
//! permits nothing, an offer is not listed, an account's keys are invalid.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Store, StoreError, Table, Write};
use crate::causes;

/// Maximum records with their own reason. Further ones share one reason.
const REASONS_MAX: usize = 10_000;

/// Maximum length of a reason, in characters.
const REASON_CHARS_MAX: usize = 500;

/// A record that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    pub table: Table,
    pub key: String,
    /// Why it cannot be read.
    pub reason: String,
}

#[derive(Debug, Default)]
pub(super) struct SetAside(Mutex<BTreeMap<(Table, String), String>>);

impl SetAside {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Table, String), String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn reason(&self, table: Table, key: &str) -> Option<String> {
        let aside = self.lock();
        if aside.is_empty() {
            return None;
        }
        aside.get(&(table, key.to_owned())).cloned()
    }
}

impl Store {
    /// Sets a record aside for this reason.
    pub fn set_aside(&self, table: Table, key: &str, reason: &(dyn Error + 'static)) {
        self.set_aside_as(table, key, &causes::in_a_line(reason));
    }

    /// The same with a text.
    pub fn set_aside_as(&self, table: Table, key: &str, reason: &str) {
        let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
        tracing::error!(table = table.name(), key, reason, "a record is set aside");
        let mut aside = self.aside.lock();
        let reason = match aside.len() {
            REASONS_MAX.. => {
                format!("more than {REASONS_MAX} records are set aside; the host's log says why")
            }
            _ => reason,
        };
        aside.insert((table, key.to_owned()), reason);
    }

    /// Removes a record that was set aside, if it is still `record`. Durable when it returns.
    ///
    /// # Errors
    /// [`StoreError::Changed`] if it is another one or was not set aside; [`StoreError::Database`]. Nothing was changed.
    pub fn remove_aside(&self, table: Table, key: &str, record: &[u8]) -> Result<(), StoreError> {
        if self.why_aside(table, key).is_none() {
            return Err(StoreError::Changed { table: table.name(), key: key.to_owned() });
        }
        self.write(Write::default().expect(table, key, Some(record)).take_out(table, key))?;
        self.aside.lock().remove(&(table, key.to_owned()));
        Ok(())
    }

    /// Why a record was set aside, if it was.
    pub fn why_aside(&self, table: Table, key: &str) -> Option<String> {
        self.aside.reason(table, key)
    }

    /// The records that were set aside, by table and key.
    pub fn all_aside(&self) -> Vec<Aside> {
        let aside = self.aside.lock();
        let entries = aside.iter().map(|((table, key), reason)| Aside {
            table: *table,
            key: key.clone(),
            reason: reason.clone(),
        });
        entries.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_set_aside_is_removed_and_only_as_it_was_seen() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("state.redb")).expect("opens");
        for key in ["sound", "torn"] {
            store.put(Table::Offers, key, b"1").expect("writes");
        }
        store.set_aside_as(Table::Offers, "torn", "it is torn");
        for (key, record) in [("sound", b"1"), ("torn", b"2"), ("none", b"1")] {
            let refused = store.remove_aside(Table::Offers, key, record).expect_err(key);
            assert!(matches!(refused, StoreError::Changed { .. }), "{refused}");
        }
        assert_eq!(store.count(Table::Offers).expect("reads"), 2);
        store.remove_aside(Table::Offers, "torn", b"1").expect("removed");
        assert_eq!(
            (store.all_aside(), store.get(Table::Offers, "torn").ok()),
            (vec![], Some(None))
        );
        store.put(Table::Offers, "torn", b"3").expect("its place is free");
    }
}
