//! What became of computations that had to wait, counted since the host started.

use std::sync::atomic::{AtomicU64, Ordering};

use super::batch::ROWS_MAX;

/// The counters.
#[derive(Debug, Default)]
pub(super) struct Figures {
    late: AtomicU64,
    abandoned: AtomicU64,
    batches: [AtomicU64; ROWS_MAX + 1],
}

/// A snapshot of the counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueFigures {
    /// Computations that were not begun because they would have ended after their deadline.
    pub late: u64,
    /// Computations that were not begun because nobody waited for them any more.
    pub abandoned: u64,
    /// Batches by their number of rows, from two.
    pub batches: Vec<u64>,
}

impl Figures {
    pub(super) fn count_late(&self) {
        self.late.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_abandoned(&self) {
        self.abandoned.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_batch(&self, rows: usize) {
        if let Some(batches) = self.batches.get(rows) {
            batches.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn snapshot(&self) -> QueueFigures {
        let batches = self.batches.iter().skip(2);
        QueueFigures {
            late: self.late.load(Ordering::Relaxed),
            abandoned: self.abandoned.load(Ordering::Relaxed),
            batches: batches.map(|batches| batches.load(Ordering::Relaxed)).collect(),
        }
    }
}
