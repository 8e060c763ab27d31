//! Room on the disk that is the log's already: calls that were let in can always be written down.
//!
//! Blocks are allocated ahead of the end of the file, which keeps its length. When no more are to be had, the log takes no
//! further calls while there is still room for those that run. A file system that cannot allocate ahead has no reserve; there a
//! full disk is seen when a write fails.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// Bytes that are allocated ahead of the file's end. Half of it is for calls that run when the disk is found to be full: 250 of
/// the longest receipts that there can be, some 2,000 usual ones.
pub(crate) const RESERVE_BYTES: u64 = 2 << 20;

/// How far blocks are allocated.
#[derive(Default)]
pub(super) struct Reserve {
    /// Where in the file they end.
    until: AtomicU64,
    /// Whether no more are to be had.
    is_low: AtomicBool,
}

impl Reserve {
    /// Whether there is room only for the calls that run already.
    pub(super) fn is_low(&self) -> bool {
        self.is_low.load(Ordering::Acquire)
    }

    /// Sees to it that there is room behind `end`, where the file ends.
    pub(super) fn keep(&self, file: &File, end: u64) {
        let until = self.until.load(Ordering::Relaxed);
        if self.is_low() || end.saturating_add(RESERVE_BYTES / 2) > until {
            self.extend(file, end);
        }
    }

    /// Allocates anew behind `end`, where the file was cut, for a cut gives blocks back.
    pub(super) fn renew(&self, file: &File, end: u64) -> bool {
        self.extend(file, end);
        !self.is_low()
    }

    fn extend(&self, file: &File, end: u64) {
        let until = end.saturating_add(RESERVE_BYTES);
        let (until, is_low) = match allocate(file, end) {
            Ok(()) => (until, false),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => (u64::MAX, false),
            Err(error) => {
                if !self.is_low() {
                    let error = io::Error::from(error);
                    tracing::error!(%error, "no room for more receipts: the host takes no calls until there is");
                }
                (self.until.load(Ordering::Relaxed), true)
            }
        };
        if self.is_low.swap(is_low, Ordering::AcqRel) && !is_low {
            tracing::info!("there is room for receipts again");
        }
        self.until.store(until, Ordering::Relaxed);
    }
}

fn allocate(file: &File, end: u64) -> Result<(), Errno> {
    loop {
        match fallocate(file, FallocateFlags::KEEP_SIZE, end, RESERVE_BYTES) {
            Err(Errno::INTR) => {}
            allocated => return allocated,
        }
    }
}
