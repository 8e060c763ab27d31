//! Concurrent writers share a commit: each waits for the disk, and one wait serves all.
//!
//! The first writer commits what is queued. Others wait while the disk is busy, and the first of them then commits for all. Nobody waits
//! for more writers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::{StoreError, Write};

/// The result of each write of a commit, in order; an error if the commit failed.
pub(super) type Verdicts = Result<Vec<Result<u64, StoreError>>, StoreError>;

pub(super) struct Together {
    queue: Mutex<Queue>,
    settled: Condvar,
    path: PathBuf,
}

#[derive(Default)]
struct Queue {
    next: u64,
    waiting: Vec<(u64, Write)>,
    /// Results of committed writes, until their writers fetch them.
    results: HashMap<u64, Result<u64, StoreError>>,
    has_writer: bool,
}

/// The committing writer. It reports a result in any case, even after a panic.
struct Turn<'a> {
    together: &'a Together,
    tickets: Vec<u64>,
    verdicts: Verdicts,
}

impl Together {
    pub(super) fn new(path: &Path) -> Self {
        Self { queue: Mutex::default(), settled: Condvar::new(), path: path.to_owned() }
    }

    /// Commits a write, alone or with others. Durable when it returns.
    pub(super) fn write(
        &self,
        write: Write,
        commit: impl FnOnce(&[Write]) -> Verdicts,
    ) -> Result<u64, StoreError> {
        let mut queue = self.lock();
        let ticket = queue.next;
        queue.next += 1;
        queue.waiting.push((ticket, write));
        loop {
            if let Some(result) = queue.results.remove(&ticket) {
                return result;
            }
            if !queue.has_writer {
                break;
            }
            queue = self.settled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.has_writer = true;
        let (tickets, writes): (Vec<_>, Vec<_>) =
            std::mem::take(&mut queue.waiting).into_iter().unzip();
        drop(queue);
        let mut turn = Turn { together: self, tickets, verdicts: Err(self.closed()) };
        turn.verdicts = commit(&writes);
        drop(turn);
        let result = self.lock().results.remove(&ticket);
        result.unwrap_or_else(|| Err(self.closed()))
    }

    fn closed(&self) -> StoreError {
        StoreError::Closed { path: self.path.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut queue = self.together.lock();
        let mut verdicts = match &mut self.verdicts {
            Ok(verdicts) => std::mem::take(verdicts),
            Err(error) => self.tickets.iter().map(|_| Err(error.clone())).collect(),
        };
        queue.results.extend(self.tickets.drain(..).zip(verdicts.drain(..)));
        queue.has_writer = false;
        drop(queue);
        self.together.settled.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::{Records, Store, Table};
    use super::*;

    const WRITERS: usize = 64;

    /// Runs 64 writers at once: the first is held up until the others wait.
    fn write_at_once(
        records: &Records,
        write: impl Fn(usize) -> Write + Sync,
    ) -> (usize, Vec<Result<u64, StoreError>>) {
        let (together, commits) = (Together::new(records.path()), AtomicUsize::new(0));
        let commit = |writes: &[Write]| {
            let is_first = commits.fetch_add(1, Ordering::SeqCst) == 0;
            while is_first && together.lock().waiting.len() + writes.len() < WRITERS {
                std::thread::yield_now();
            }
            records.commit(writes)
        };
        let results = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|number| {
                    scope.spawn({
                        let (together, commit, write) = (&together, &commit, &write);
                        move || together.write(write(number), commit)
                    })
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().expect("it ends")).collect()
        });
        (commits.into_inner(), results)
    }

    fn put(number: usize) -> Write {
        Write::default().put(Table::Offers, &number.to_string(), b"1")
    }

    #[test]
    fn writers_at_the_same_time_share_commits_and_all_is_there_after_a_kill() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.redb");
        let store = Store::open(&path).expect("opens");
        let (commits, results) = write_at_once(&store.records, put);
        assert_eq!(commits, 2, "one for the first, and one for all others");
        let mut numbers: Vec<_> = results.into_iter().map(|one| one.expect("written")).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=WRITERS as u64).collect::<Vec<_>>());
        // The file as a process killed now would leave it.
        let left = folder.path().join("left.redb");
        std::fs::copy(&path, &left).expect("copied");
        let left = Store::open(&left).expect("opens");
        assert_eq!(left.count(Table::Offers).expect("reads"), WRITERS);
        assert_eq!(left.sequence().expect("reads"), WRITERS as u64);
    }

    #[test]
    fn what_one_expects_in_vain_fails_nobody_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("state.redb")).expect("opens");
        // All odd writers want to be the first to write `x`.
        let (commits, results) = write_at_once(&store.records, |number| match number % 2 {
            0 => put(number),
            _ => put(number).expect(Table::Offers, "x", None).put(Table::Offers, "x", b"2"),
        });
        assert_eq!(commits, 2);
        let failed: Vec<_> = results.into_iter().filter_map(Result::err).collect();
        assert_eq!(failed.len(), WRITERS / 2 - 1);
        assert!(failed.iter().all(|one| matches!(one, StoreError::Changed { .. })), "{failed:?}");
        // The even ones, the first odd one, and `x`.
        assert_eq!(store.count(Table::Offers).expect("reads"), WRITERS / 2 + 2);
        assert_eq!(store.sequence().expect("reads"), WRITERS as u64 / 2 + 1);
    }

    #[test]
    fn a_commit_that_fails_fails_all_of_it_and_the_next_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("state.redb")).expect("opens");
        store.close();
        let (_, results) = write_at_once(&store.records, put);
        assert!(results.iter().all(|one| matches!(one, Err(StoreError::Closed { .. }))));
        let together = Together::new(store.records.path());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            together.write(put(0), |_| panic!("as a test wants it"))
        }));
        assert!(panicked.is_err());
        together.write(put(0), |writes| Ok(writes.iter().map(|_| Ok(1)).collect())).expect("taken");
    }
}
