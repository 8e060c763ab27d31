//! One write: what it expects, what it takes out and what it puts there; and what the journal says of it.
//!
//! An entry of the journal is a list of tables and keys in JSON, or `null` for a write of very many records.

use super::Table;

/// Writes that the journal remembers.
pub(super) const JOURNAL_WRITES_MAX: u64 = if cfg!(test) { 8 } else { 1024 };

/// Records that one entry of the journal names.
const NAMED_MAX: usize = 100;

/// Changes of several records, all or none, on conditions.
#[derive(Debug, Clone, Default)]
pub struct Write {
    expected: Vec<(Table, String, Option<Vec<u8>>)>,
    out: Vec<(Table, String)>,
    puts: Vec<(Table, String, Vec<u8>)>,
}

impl Write {
    /// The same, on the condition that this very record, or none, is under `key` before.
    #[must_use]
    pub fn expect(mut self, table: Table, key: &str, record: Option<&[u8]>) -> Self {
        self.expected.push((table, key.to_owned(), record.map(<[u8]>::to_vec)));
        self
    }

    /// The same, and takes out what is under `key`, if anything is.
    #[must_use]
    pub fn take_out(mut self, table: Table, key: &str) -> Self {
        self.out.push((table, key.to_owned()));
        self
    }

    /// The same, and puts a record under `key`, over whatever was there. What is both taken out and put is there afterwards.
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

    /// Its entry in the journal.
    pub(super) fn entry(&self) -> Vec<u8> {
        let puts = self.puts.iter().map(|(table, key, _)| (table.name(), key.as_str()));
        let out = self.out.iter().map(|(table, key)| (table.name(), key.as_str()));
        let named: Vec<_> = out.chain(puts).collect();
        let named = (named.len() <= NAMED_MAX).then_some(named);
        serde_json::to_vec(&named).expect("invariant: texts always serialise")
    }
}

/// The records that an entry names. None if it does not say all, or speaks of tables that this host does not know.
pub(super) fn changed(entry: &[u8]) -> Option<Vec<(Table, String)>> {
    let named: Vec<(String, String)> = serde_json::from_slice::<Option<_>>(entry).ok()??;
    named.into_iter().map(|(table, key)| Some((Table::named(&table)?, key))).collect()
}

/// Where the entry of a write is: the order of the keys is that of the numbers.
pub(super) fn key_of(number: u64) -> String {
    format!("{number:020}")
}

/// The number of a write, by its entry's key.
pub(super) fn number_of(key: &str) -> u64 {
    key.parse().unwrap_or(0)
}
