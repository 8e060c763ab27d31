//! The files of a log: locking, creating, reading and writing them.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::super::action::Leaf;
use super::super::record::{Broken, MAGIC, Records};
use super::super::{Receipt, ReceiptError};
use super::queue::Queue;
use super::state::State;
use hospes_core::id::ById;

/// The file mode. Only the host may read the file; a party gets its own receipts from the host.
const PRIVATE: u32 = 0o600;

/// Opens the file and locks it against other writers.
pub(super) fn open_file(path: &Path) -> Result<File, ReceiptError> {
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(PRIVATE)
        .open(path)
        .map_err(|source| read_error(path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ReceiptError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(read_error(path, source)),
    }
}

/// Writes or checks the beginning of the file.
pub(super) fn begin(file: &File, path: &Path) -> Result<(), ReceiptError> {
    let mut start = Vec::with_capacity(MAGIC.len());
    file.take(MAGIC.len() as u64)
        .read_to_end(&mut start)
        .map_err(|source| read_error(path, source))?;
    if start == MAGIC {
        return Ok(());
    }
    if !MAGIC.starts_with(&start) {
        let reason = "it does not begin as a log of receipts of this version".to_owned();
        return Err(ReceiptError::Damaged { path: path.to_owned(), offset: 0, reason });
    }
    // The file is new, or a crash has interrupted its creation.
    file.set_len(0)
        .and_then(|()| write_whole(file, MAGIC))
        .and_then(|()| file.sync_all())
        .and_then(|()| sync_folder(path))
        .map_err(|source| write_error(path, source))
}

/// Reads the file and passes every receipt to `replay`. An incomplete last record is cut off.
pub(super) fn read(
    file: &File,
    path: &Path,
    replay: &mut impl FnMut(&Receipt),
) -> Result<(State, Queue), ReceiptError> {
    let mut length = file.metadata().map_err(|source| read_error(path, source))?.len();
    let mut state = State::default();
    let mut calls = ById::default();
    let damaged = |offset, reason| ReceiptError::Damaged { path: path.to_owned(), offset, reason };
    let mut records = Records::new(file, length);
    loop {
        match records.next() {
            Ok(Some(record)) => {
                let leaf = Leaf::parse(&record.bytes)
                    .map_err(|error| damaged(record.offset, error.to_string()))?;
                let (id, misplaced) = match &leaf {
                    Leaf::Receipt(receipt) => (receipt.call, state.misplaced(receipt)),
                    Leaf::Action(action) => (action.id, state.misplaced_action(action)),
                };
                if let Some(reason) = misplaced {
                    return Err(damaged(record.offset, reason));
                }
                if calls.insert(id, state.tree.size()).is_some() {
                    let reason = format!("call `{id}` has a receipt already");
                    return Err(damaged(record.offset, reason));
                }
                match leaf {
                    Leaf::Receipt(receipt) => {
                        replay(&receipt);
                        state.enter(&receipt, record.leaf, record.offset);
                    }
                    Leaf::Action(action) => {
                        state.enter_action(action, record.leaf, record.offset);
                    }
                }
            }
            Ok(None) => break,
            Err(Broken::Torn(offset)) => {
                file.set_len(offset)
                    .and_then(|()| file.sync_all())
                    .map_err(|source| write_error(path, source))?;
                length = offset;
                break;
            }
            Err(Broken::Damaged { offset, reason }) => return Err(damaged(offset, reason)),
            Err(Broken::Read(source)) => return Err(read_error(path, source)),
        }
    }
    state.end = length;
    Ok((state, Queue::behind(calls)))
}

/// Writes everything with one `write(2)`. A partial write is an error.
pub(super) fn write_whole(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    loop {
        match file.write(bytes) {
            Ok(written) if written == bytes.len() => return Ok(()),
            Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Replaces a file atomically.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(PRIVATE).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    sync_folder(path)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

pub(super) fn read_error(path: &Path, source: io::Error) -> ReceiptError {
    ReceiptError::Read { path: path.to_owned(), source }
}

pub(super) fn write_error(path: &Path, source: io::Error) -> ReceiptError {
    ReceiptError::Write { path: path.to_owned(), source }
}
