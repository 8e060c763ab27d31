//! Disk space reserved for the log, so that every admitted call can be recorded.
//!
//! Blocks are allocated beyond the end of the file, without changing its length. When no more blocks can be allocated, the log accepts no
//! more calls, and there is still space for the running ones. On a file system that cannot allocate ahead, there is no reserve. A full disk
//! is then noticed when a write fails.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// Bytes allocated beyond the file's end. Half of them are for calls that are running when the disk is found to be full: 250 receipts of
/// maximum size, or about 2,000 typical ones.
pub(crate) const RESERVE_BYTES: u64 = 2 << 20;

/// The allocated range.
#[derive(Default)]
pub(super) struct Reserve {
    /// The end of the range in the file.
    until: AtomicU64,
    /// Whether allocation has failed.
    is_low: AtomicBool,
}

impl Reserve {
    /// Whether there is space only for the running calls.
    pub(super) fn is_low(&self) -> bool {
        self.is_low.load(Ordering::Acquire)
    }

    /// Allocates space beyond `end`, the end of the file.
    pub(super) fn keep(&self, file: &File, end: u64) {
        let until = self.until.load(Ordering::Relaxed);
        if self.is_low() || end.saturating_add(RESERVE_BYTES / 2) > until {
            self.extend(file, end);
        }
    }

    /// Allocates again beyond `end` after the file was cut, because cutting frees blocks.
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
