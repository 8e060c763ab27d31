//! One write: its conditions, removals and insertions, and its journal entry.
//!
//! A journal entry is a JSON list of tables and keys, or `null` for a write of very many records.

use super::Table;

/// Writes kept in the journal.
pub(super) const JOURNAL_WRITES_MAX: u64 = if cfg!(test) { 8 } else { 1024 };

/// Maximum records named by a journal entry.
const NAMED_MAX: usize = 100;

/// Conditional changes to several records, all or none.
#[derive(Debug, Clone, Default)]
pub struct Write {
    expected: Vec<(Table, String, Option<Vec<u8>>)>,
    out: Vec<(Table, String)>,
    puts: Vec<(Table, String, Vec<u8>)>,
}

impl Write {
    /// Adds the condition that exactly this record, or none, is under `key`.
    #[must_use]
    pub fn expect(mut self, table: Table, key: &str, record: Option<&[u8]>) -> Self {
        self.expected.push((table, key.to_owned(), record.map(<[u8]>::to_vec)));
        self
    }

    /// Removes the record under `key`, if there is one.
    #[must_use]
    pub fn take_out(mut self, table: Table, key: &str) -> Self {
        self.out.push((table, key.to_owned()));
        self
    }

    /// Puts a record under `key`, replacing any other. If a key is both removed and put, the record is there afterwards.
    #[must_use]
    pub fn put(mut self, table: Table, key: &str, record: &[u8]) -> Self {
        self.puts.push((table, key.to_owned(), record.to_vec()));
        self
    }

    pub(super) fn expected(&self) -> &[(Table, String, Option<Vec<u8>>)] {
        &self.expected
    }

    pub(super) fn out(&self) -> &[(Table, String)] {
        &self.out
    }

    pub(super) fn puts(&self) -> &[(Table, String, Vec<u8>)] {
        &self.puts
    }

    /// Its journal entry.
    pub(super) fn entry(&self) -> Vec<u8> {
        let puts = self.puts.iter().map(|(table, key, _)| (table.name(), key.as_str()));
        let out = self.out.iter().map(|(table, key)| (table.name(), key.as_str()));
        let named: Vec<_> = out.chain(puts).collect();
        let named = (named.len() <= NAMED_MAX).then_some(named);
        serde_json::to_vec(&named).expect("invariant: texts always serialise")
    }
}

/// The records that an entry names. `None` if it is incomplete or names tables unknown to this host.
pub(super) fn changed(entry: &[u8]) -> Option<Vec<(Table, String)>> {
    let named: Vec<(String, String)> = serde_json::from_slice::<Option<_>>(entry).ok()??;
    named.into_iter().map(|(table, key)| Some((Table::named(&table)?, key))).collect()
}

/// The key of a write's entry. Keys are ordered like the numbers.
pub(super) fn key_of(number: u64) -> String {
    format!("{number:020}")
}

/// The number of a write, from its entry's key.
pub(super) fn number_of(key: &str) -> u64 {
    key.parse().unwrap_or(0)
}
