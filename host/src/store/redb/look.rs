//! Read-only records: writes go to memory and are discarded; the file is not changed.
//!
//! Reading can write: opening repairs a file that was not closed, and expired records are removed. A reader sees what a starting host would
//! see.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::FileExt as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};

/// Size of a page, in bytes.
const PAGE_BYTES: u64 = 4096;

/// Maximum bytes in memory: repairing a large file writes some of it.
const WRITTEN_BYTES_MAX: u64 = 512 << 20;

/// A file overlaid with writes in memory.
#[derive(Debug)]
pub(super) struct Overlay {
    file: File,
    /// The same file, for its locks.
    locks: FileBackend,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    length: u64,
    /// The file's bytes from here on do not count: it was truncated here.
    file_length: u64,
    pages: BTreeMap<u64, Box<[u8; PAGE_BYTES as usize]>>,
}

impl Overlay {
    /// An overlay over `file`, which is open for reading.
    pub(super) fn over(file: File) -> Result<Self, DatabaseError> {
        let length = file.metadata().map_err(redb::StorageError::from)?.len();
        let locks = FileBackend::new(file.try_clone().map_err(redb::StorageError::from)?)?;
        let written = Written { length, file_length: length, pages: BTreeMap::new() };
        Ok(Self { file, locks, written: Mutex::new(written) })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills `out` from the file at `offset`, with zeros beyond its end.
    fn read_file(&self, file_length: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = usize::try_from(file_length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (from_file, behind) = out.split_at_mut(there.min(out.len()));
        behind.fill(0);
        self.file.read_exact_at(from_file, offset)
    }
}

/// Splits `offset..offset + length` by page: the page, the offset in it, and the offset in the whole.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let at = offset + done as u64;
        let within = (at % PAGE_BYTES) as usize;
        let count = (PAGE_BYTES as usize - within).min(length - done);
        let range = done..done + count;
        done += count;
        Some((at / PAGE_BYTES, within, range))
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        let end = offset.checked_add(out.len() as u64);
        if end.is_none_or(|end| end > written.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_file(written.file_length, offset, out)?;
        for (page, within, range) in parts(offset, out.len()) {
            if let Some(page) = written.pages.get(&page) {
                let count = range.len();
                out[range].copy_from_slice(&page[within..within + count]);
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut written = self.written();
        if length < written.length {
            // After growing again, the content is zero.
            written.file_length = written.file_length.min(length);
            written.pages.retain(|page, _| page * PAGE_BYTES < length);
            let within = (length % PAGE_BYTES) as usize;
            if let Some(last) = written.pages.get_mut(&(length / PAGE_BYTES)) {
                last[within..].fill(0);
            }
        }
        written.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        for (page, within, range) in parts(offset, data.len()) {
            if !written.pages.contains_key(&page) {
                if written.pages.len() as u64 * PAGE_BYTES >= WRITTEN_BYTES_MAX {
                    let why = "reading the records exceeds the memory limit";
                    return Err(io::Error::other(why));
                }
                let mut bytes = Box::new([0; PAGE_BYTES as usize]);
                self.read_file(written.file_length, page * PAGE_BYTES, &mut bytes[..])?;
                written.pages.insert(page, bytes);
            }
            if let Some(bytes) = written.pages.get_mut(&page) {
                bytes[within..within + range.len()].copy_from_slice(&data[range]);
            }
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.locks.close()
    }

    // Shared lock: several may look at once, but not while a host has the file open.
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locks.try_lock_shared_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.locks.try_lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locks.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locks.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Store, StoreError, Table};

    #[test]
    fn what_is_written_is_read_and_the_file_stays_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let before: Vec<u8> = (0..10_000_u32).map(|i| i as u8).collect();
        std::fs::write(&path, &before).expect("written");
        let over = Overlay::over(File::open(&path).expect("opens")).expect("a file");
        let read = |offset: u64, count: usize| {
            let mut out = vec![0; count];
            over.read(offset, &mut out).map(|()| out)
        };
        over.write(4090, &[255; 12]).expect("writes");
        let mut wanted = before.clone();
        wanted[4090..4102].fill(255);
        assert_eq!(read(0, 10_000).expect("inside"), wanted);
        assert!(read(9_999, 2).is_err());
        over.set_len(4095).expect("shorter");
        over.set_len(12_000).expect("longer");
        wanted.truncate(4095);
        wanted.resize(12_000, 0);
        assert_eq!(read(0, 12_000).expect("inside"), wanted);
        assert_eq!(std::fs::read(&path).expect("reads"), before);
    }

    #[test]
    fn records_are_looked_at_by_several_at_once_and_not_while_a_host_has_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.redb");
        assert!(Store::look_at(&path).expect("nothing is there").is_none());
        let store = Store::open(&path).expect("opens");
        store.put(Table::Offers, "a", b"1").expect("writes");
        assert!(matches!(Store::look_at(&path), Err(StoreError::InUse { .. })));
        drop(store);
        let before = std::fs::read(&path).expect("reads");
        let looks = [(); 2].map(|()| Store::look_at(&path).expect("opens").expect("there"));
        for look in &looks {
            look.put(Table::Offers, "a", b"2").expect("writes into memory");
            assert_eq!(look.get(Table::Offers, "a").expect("reads"), Some(b"2".to_vec()));
        }
        assert!(matches!(Store::open(&path), Err(StoreError::InUse { .. })));
        drop(looks);
        // After a disk error the file is opened again, still read-only.
        let look = Store::look_at(&path).expect("opens").expect("there");
        look.fail_as_if();
        look.put(Table::Offers, "a", b"3").expect("writes into memory");
        drop(look);
        assert!(std::fs::read(&path).expect("reads") == before, "nothing was changed");
        let store = Store::open(&path).expect("opens");
        assert_eq!(store.get(Table::Offers, "a").expect("reads"), Some(b"1".to_vec()));
    }
}
