//! The log: an append-only file of receipts with a Merkle tree over it.
//!
//! [`Log::append`] and [`Log::written`] return after the receipt's `write(2)` has returned, so the receipt survives a crash of the process.
//! Receipts of calls that end at the same time are written together: the first waiting call lets the others reach the same point, and then
//! serialises, hashes and writes all receipts. A receipt survives a power failure after the next flush: a thread regularly syncs the file and
//! signs a checkpoint. Space for the receipts of running calls is reserved in advance (`reserve`). Without it, no more calls are accepted.
//! After a failed write or sync, the disk's content is unknown and nothing is appended. Writing resumes when the thread has cut the file to
//! its known content or rewritten what was not synced, and the calls with lost receipts have been uncounted.

mod actions;
mod file;
mod lost;
mod prefix;
mod queue;
mod reading;
mod recovery;
mod reserve;
mod state;

use std::fs::{DirBuilder, File};
use std::future::poll_fn;
use std::io::{self, Read as _};
use std::ops::Deref;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::{Poll, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use super::checkpoint::{self, CHECKPOINT_BYTES_MAX, Checkpoint};
use super::record::{self, HEADER_BYTES};
use super::{ChainId, Consistency, Draft, Issued, Receipt, ReceiptError, ReceiptProof};
use file::{begin, open_file, read, read_error, replace, write_error, write_whole};
use hospes_core::id::{CallId, Digest, Party};
use hospes_core::key::PartyKey;
use queue::{Cure, Pending, Queue, Stopped};
use reserve::Reserve;
use state::State;

pub use prefix::Prefix;

pub const LOG_FILE: &str = "receipts.log";
pub const CHECKPOINT_FILE: &str = "checkpoint";

/// The reason for not writing when the state in memory may be inconsistent.
fn after_a_panic() -> Stopped {
    Stopped { cause: "a thread ended while writing".to_owned(), cure: Cure::Restart }
}

/// A host's log of receipts. Open a folder once, and share the log by reference.
pub struct Log {
    shared: Arc<Shared>,
    flusher: Option<JoinHandle<()>>,
}

struct Shared {
    path: PathBuf,
    folder: PathBuf,
    file: File,
    key: PartyKey,
    origin: String,
    reserve: Reserve,
    /// Held by the writer during a write.
    state: Mutex<State>,
    /// Held only briefly. To hold both locks, lock `state` first.
    queue: Mutex<Queue>,
    /// Held during a flush, so that checkpoints are signed in order.
    flushing: Mutex<()>,
    signed: Mutex<Signed>,
    stop: Mutex<bool>,
    wake: Condvar,
    #[cfg(test)]
    writes_fail: AtomicBool,
    #[cfg(test)]
    syncs_fail: AtomicBool,
}

/// A place in the log. A call holds it until it knows whether the receipt was written and has corrected its counts. While a call with a lost
/// receipt holds its place, nothing is written.
#[must_use]
pub struct LogPlace<'l> {
    log: &'l Log,
    issued: Issued,
    is_settled: AtomicBool,
}

impl Deref for LogPlace<'_> {
    type Target = Issued;

    fn deref(&self) -> &Issued {
        &self.issued
    }
}

impl Drop for LogPlace<'_> {
    fn drop(&mut self) {
        if !*self.is_settled.get_mut() {
            self.log.shared.queue().leave(self.issued.index);
        }
    }
}

/// The latest checkpoint.
#[derive(Default, Clone)]
struct Signed {
    note: String,
    size: u64,
}

impl Log {
    /// Opens or creates the log in `folder` and passes every receipt in it to `replay`, oldest first.
    ///
    /// `key` signs the checkpoints and `origin` names the log in them. Neither can change later. If a crash has left the last record
    /// incomplete, it is cut off.
    ///
    /// # Errors
    /// [`ReceiptError::Origin`], [`ReceiptError::InUse`], [`ReceiptError::Damaged`], [`ReceiptError::OtherLog`],
    /// [`ReceiptError::RolledBack`], [`ReceiptError::NoCheckpoint`], [`ReceiptError::Read`], [`ReceiptError::Write`],
    /// [`ReceiptError::Thread`]. An existing log can be opened on a full disk, and then accepts no calls.
    pub fn open(
        folder: &Path,
        key: &PartyKey,
        origin: String,
        flush_interval: Duration,
        mut replay: impl FnMut(&Receipt),
    ) -> Result<Self, ReceiptError> {
        if !checkpoint::is_origin(&origin) {
            return Err(ReceiptError::Origin(origin.chars().take(80).collect()));
        }
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|source| write_error(folder, source))?;
        let path = folder.join(LOG_FILE);
        let file = open_file(&path)?;
        begin(&file, &path)?;
        let (state, queue) = read(&file, &path, &mut replay)?;
        let shared = Shared {
            path,
            folder: folder.to_owned(),
            file,
            key: key.clone(),
            origin,
            reserve: Reserve::default(),
            state: Mutex::new(state),
            queue: Mutex::new(queue),
            flushing: Mutex::default(),
            signed: Mutex::default(),
            stop: Mutex::default(),
            wake: Condvar::new(),
            #[cfg(test)]
            writes_fail: Default::default(),
            #[cfg(test)]
            syncs_fail: Default::default(),
        };
        let last = shared.check_last_checkpoint()?;
        shared.reserve.keep(&shared.file, shared.state().end);
        match (shared.flush(), last) {
            // Retried later. Until then, the previous checkpoint stays the latest.
            (Err(error), Some(last)) => {
                tracing::error!(%error, "the checkpoint could not be written");
                *unpoisoned(shared.signed.lock()) = last;
            }
            (flushed, _) => flushed?,
        }
        let shared = Arc::new(shared);
        let theirs = Arc::clone(&shared);
        let flusher = std::thread::Builder::new()
            .name("receipts".to_owned())
            .spawn(move || theirs.flush_until_stopped(flush_interval))
            .map_err(ReceiptError::Thread)?;
        Ok(Self { shared, flusher: Some(flusher) })
    }

    /// Gives the receipt its numbers in its chain and in the log, and writes it.
    ///
    /// # Errors
    /// [`ReceiptError::Write`], [`ReceiptError::Stopped`] after an earlier failure, [`ReceiptError::Repeated`], [`ReceiptError::TooLarge`],
    /// [`ReceiptError::CodeTooLong`]. The receipt then does not exist.
    pub fn append(&self, draft: Draft) -> Result<Issued, ReceiptError> {
        let place = self.enqueue(draft)?;
        drop(self.shared.write_pending()?);
        Ok(*place)
    }

    /// Whether the log has room for another call besides the running ones.
    ///
    /// # Errors
    /// [`ReceiptError::Full`], [`ReceiptError::Stopped`]. Both may be temporary.
    pub fn takes_calls(&self) -> Result<(), ReceiptError> {
        if self.shared.reserve.is_low() {
            return Err(ReceiptError::Full { path: self.shared.path.clone() });
        }
        self.shared.queue().goes_on()
    }

    /// Gives the receipt its number in the log, after all earlier ones. It may not be written before [`Log::written`] returns, and must not
    /// be shown before.
    ///
    /// # Errors
    /// As [`Log::append`]; the receipt then does not exist.
    pub fn enqueue(&self, draft: Draft) -> Result<LogPlace<'_>, ReceiptError> {
        draft.check()?;
        let Draft { call, at, used, max, .. } = draft;
        let index = self.shared.queue().enter(call, Pending::Receipt(draft))?;
        let issued = Issued { call, at, index, used, max };
        Ok(LogPlace { log: self, issued, is_settled: AtomicBool::new(false) })
    }

    /// Waits until every receipt enqueued so far is in the file.
    ///
    /// # Errors
    /// [`ReceiptError::Write`], [`ReceiptError::Stopped`]: the pending receipts do not exist, and the log accepts no more until their
    /// places are released.
    pub async fn written(&self, place: &LogPlace<'_>) -> Result<(), ReceiptError> {
        let mut turn = Turn { log: self, is_writer: false };
        poll_fn(|context| turn.poll(place.index, context.waker())).await?;
        if turn.is_writer {
            drop(self.shared.write_pending()?);
        }
        place.is_settled.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The number of receipts and actions.
    pub fn size(&self) -> u64 {
        self.shared.queue().written
    }

    /// The log's name.
    pub fn origin(&self) -> &str {
        &self.shared.origin
    }

    /// The key of the checkpoints, as a signed note's *vkey*.
    pub fn verifier_key(&self) -> String {
        checkpoint::verifier_key(&self.shared.origin, &self.shared.key.party())
    }

    /// Checks that the log contains what an earlier checkpoint of it signs.
    ///
    /// # Errors
    /// [`ReceiptError::OtherLog`], [`ReceiptError::RolledBack`].
    pub fn check_holds(&self, note: &str) -> Result<(), ReceiptError> {
        self.shared.check_signed(note, &self.shared.folder).map(drop)
    }

    /// The number of receipts in the latest checkpoint.
    pub fn signed_size(&self) -> u64 {
        self.shared.signed().size
    }

    /// The latest checkpoint, a signed note.
    pub fn checkpoint(&self) -> String {
        self.shared.signed().note
    }

    /// Makes every receipt so far durable and signs a checkpoint over them.
    ///
    /// # Errors
    /// [`ReceiptError::Write`], [`ReceiptError::Stopped`].
    pub fn flush(&self) -> Result<(), ReceiptError> {
        self.shared.flush()
    }

    /// The proof that the log with `from` receipts is a prefix of the log with `to` receipts. Both must have had a checkpoint.
    ///
    /// # Errors
    /// [`ReceiptError::NoSuchState`].
    pub fn consistency(&self, from: u64, to: u64) -> Result<Consistency, ReceiptError> {
        let signed = self.shared.signed().size;
        let path = self.shared.state().tree.consistency(from, to).filter(|_| to <= signed);
        let path = path.ok_or(ReceiptError::NoSuchState { from, to, signed })?;
        Ok(Consistency::new(from, to, path))
    }

    /// A call's receipt with its inclusion proof. Flushes first if no checkpoint covers it yet.
    ///
    /// # Errors
    /// [`ReceiptError::NotFound`]; as [`Log::find`] and [`Log::flush`].
    pub fn proof(&self, call: &CallId) -> Result<ReceiptProof, ReceiptError> {
        let missing = || ReceiptError::NotFound(*call);
        let index = self.shared.place(call).ok_or_else(missing)?;
        self.shared.prove(index)?.ok_or_else(missing)
    }
}

/// Waits until the pending receipts are in the file.
struct Turn<'l> {
    log: &'l Log,
    is_writer: bool,
}

impl Turn<'_> {
    /// Ready when the receipts are written, or when this waiter must write them.
    fn poll(&mut self, index: u64, waker: &Waker) -> Poll<Result<(), ReceiptError>> {
        if self.is_writer {
            return Poll::Ready(Ok(()));
        }
        let mut queue = self.log.shared.queue();
        if index < queue.written {
            return Poll::Ready(Ok(()));
        }
        if let Err(stopped) = queue.goes_on() {
            return Poll::Ready(Err(stopped));
        }
        if queue.has_writer {
            queue.waiting.push(waker.clone());
        } else {
            queue.has_writer = true;
            self.is_writer = true;
            // Requeues this task, so that ready calls on this thread run first and their receipts join the same write. Tokio's own yield
            // would also poll for new requests, which would delay the responses to these calls.
            waker.wake_by_ref();
        }
        Poll::Pending
    }
}

impl Drop for Turn<'_> {
    /// Lets the next waiter write, whatever happened to this one.
    fn drop(&mut self) {
        if self.is_writer {
            let mut queue = self.log.shared.queue();
            queue.has_writer = false;
            queue.wake_all();
        }
    }
}

#[cfg(test)]
impl Log {
    /// Makes further appends fail, as on a full disk.
    pub(super) fn fail_writes(&self) {
        self.shared.writes_fail.store(true, Ordering::SeqCst);
    }

    /// Makes further syncs fail, as on a broken disk.
    pub(super) fn fail_syncs(&self) {
        self.shared.syncs_fail.store(true, Ordering::SeqCst);
    }

    /// Lets appends succeed again, and waits until the log has recovered.
    pub(super) fn mend_writes(&self) {
        self.shared.writes_fail.store(false, Ordering::SeqCst);
        self.shared.syncs_fail.store(false, Ordering::SeqCst);
        self.shared.recover();
    }

    /// Runs a function in the middle of a write.
    pub(super) fn while_writing<T>(&self, something: impl FnOnce() -> T) -> T {
        let _held = self.shared.state();
        something()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        *unpoisoned(self.shared.stop.lock()) = true;
        self.shared.wake.notify_all();
        if let Some(flusher) = self.flusher.take() {
            // If the thread has panicked, all receipts are still in the file, so there is nothing to do.
            drop(flusher.join());
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| {
            self.queue().stop(after_a_panic(), []);
            poisoned.into_inner()
        })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(|poisoned| {
            let mut queue = poisoned.into_inner();
            queue.stop(after_a_panic(), []);
            queue
        })
    }

    fn write(&self, record: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        if self.writes_fail.load(Ordering::SeqCst) {
            write_whole(&self.file, &record[..record.len() / 2])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        write_whole(&self.file, record)
    }

    fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        if self.syncs_fail.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is broken"));
        }
        self.file.sync_data()
    }

    /// Writes the pending receipts to the file, all or none.
    fn write_pending(&self) -> Result<MutexGuard<'_, State>, ReceiptError> {
        let mut state = self.state();
        self.queue().take(&mut state.taken)?;
        if state.taken.is_empty() {
            return Ok(state);
        }
        state.spell_taken();
        if let Err(source) = self.write(&state.records) {
            let lost = state.drop_spelled();
            // Some receipts of the group may have reached the file. Their calls are told that they are lost, so they are cut off.
            drop(self.file.set_len(state.end));
            let stopped = Stopped { cause: source.to_string(), cure: Cure::Cut };
            self.queue().stop(stopped, lost);
            return Err(write_error(&self.path, source));
        }
        state.keep_spelled();
        self.queue().wrote(state.tree.size());
        self.reserve.keep(&self.file, state.end);
        Ok(state)
    }

    /// Writes the pending receipts, and returns the number of receipts in the file. Receipts that could not be written are not counted.
    fn written(&self) -> u64 {
        drop(self.write_pending());
        self.queue().written
    }

    /// The place of a call's receipt in the log, if there is one.
    fn place(&self, call: &CallId) -> Option<u64> {
        let written = self.written();
        let place = self.queue().calls.get(call).copied().filter(|index| *index < written);
        place.filter(|index| !self.state().is_action(*index))
    }

    fn signed(&self) -> Signed {
        unpoisoned(self.signed.lock()).clone()
    }

    fn flush_until_stopped(&self, interval: Duration) {
        let mut stop = unpoisoned(self.stop.lock());
        loop {
            if !*stop {
                stop = unpoisoned(self.wake.wait_timeout(stop, interval)).0;
            }
            self.recover();
            // A failed sync stops the log, which the next append reports. A failed checkpoint is retried.
            drop(self.flush());
            if *stop {
                return;
            }
        }
    }

    fn flush(&self) -> Result<(), ReceiptError> {
        let _one_at_a_time = unpoisoned(self.flushing.lock());
        let (size, root) = {
            let state = self.write_pending()?;
            let size = state.tree.size();
            (size, state.tree.root(size).expect("invariant: a tree has the root of its own size"))
        };
        {
            let signed = unpoisoned(self.signed.lock());
            if signed.size == size && !signed.note.is_empty() {
                return Ok(());
            }
        }
        if let Err(source) = self.sync() {
            let _nobody_writes = self.state();
            let stopped = Stopped { cause: source.to_string(), cure: Cure::WriteAgain };
            self.queue().stop(stopped, []);
            return Err(write_error(&self.path, source));
        }
        let note = Checkpoint { origin: self.origin.clone(), size, root }.sign(&self.key);
        let path = self.folder.join(CHECKPOINT_FILE);
        replace(&path, note.as_bytes()).map_err(|source| write_error(&path, source))?;
        *unpoisoned(self.signed.lock()) = Signed { note, size };
        Ok(())
    }

    /// Checks that the file still contains what the last checkpoint signs. Only before the first flush is there no checkpoint.
    fn check_last_checkpoint(&self) -> Result<Option<Signed>, ReceiptError> {
        let path = self.folder.join(CHECKPOINT_FILE);
        let mut note = String::new();
        match File::open(&path) {
            Ok(file) => file
                .take(CHECKPOINT_BYTES_MAX as u64 + 1)
                .read_to_string(&mut note)
                .map_err(|source| read_error(&path, source))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // The first checkpoint is written before the first receipt.
                return match self.state().tree.size() {
                    0 => Ok(None),
                    size => Err(ReceiptError::NoCheckpoint { path, size }),
                };
            }
            Err(source) => return Err(read_error(&path, source)),
        };
        let size = self.check_signed(&note, &path)?;
        Ok(Some(Signed { note, size }))
    }

    /// Checks that a note by this log's key signs what the log contains, and returns the number of receipts.
    fn check_signed(&self, note: &str, path: &Path) -> Result<u64, ReceiptError> {
        let signed = Checkpoint::verify(note, &self.key.party())
            .filter(|signed| signed.origin == self.origin)
            .ok_or_else(|| ReceiptError::OtherLog {
                path: path.to_owned(),
                origin: self.origin.clone(),
            })?;
        let tree = &self.state().tree;
        if tree.root(signed.size) == Some(signed.root) {
            Ok(signed.size)
        } else {
            Err(ReceiptError::RolledBack { size: tree.size(), signed: signed.size })
        }
    }

    /// Reads a receipt again, and checks that it is the one that was written.
    fn read(&self, index: u64) -> Result<Receipt, ReceiptError> {
        let bytes = self.read_leaf(index)?;
        Receipt::parse(&bytes).map_err(|error| {
            let ((offset, _), path) = (self.state().at(index), self.path.clone());
            ReceiptError::Damaged { path, offset, reason: error.to_string() }
        })
    }

    /// Reads a leaf's bytes again, and checks that they are those that were written.
    fn read_leaf(&self, index: u64) -> Result<Vec<u8>, ReceiptError> {
        let (offset, wanted) = self.state().at(index);
        let damaged = |reason: &str| ReceiptError::Damaged {
            path: self.path.clone(),
            offset,
            reason: reason.to_owned(),
        };
        let (header, mut bytes) = self.read_record(offset).map_err(|source| {
            if source.kind() == io::ErrorKind::InvalidData {
                return damaged("a record's length is cut off");
            }
            read_error(&self.path, source)
        })?;
        if record::check(&header, &bytes) != Some(wanted) {
            return Err(damaged("the record is not the one that was written"));
        }
        bytes.pop();
        Ok(bytes)
    }

    /// The header of the record at `offset`, and the rest.
    fn read_record(&self, offset: u64) -> io::Result<([u8; HEADER_BYTES], Vec<u8>)> {
        let mut header = [0; HEADER_BYTES];
        self.file.read_exact_at(&mut header, offset)?;
        let length = record::length_in(&header).ok_or(io::ErrorKind::InvalidData)?;
        let mut bytes = vec![0; length + 1];
        self.file.read_exact_at(&mut bytes, offset + HEADER_BYTES as u64)?;
        Ok((header, bytes))
    }
}

/// Ignores poisoning, for values that are replaced in one step and so are consistent even after a panic.
fn unpoisoned<T>(locked: Result<T, std::sync::PoisonError<T>>) -> T {
    locked.unwrap_or_else(std::sync::PoisonError::into_inner)
}
