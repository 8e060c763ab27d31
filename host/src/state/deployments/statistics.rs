//! Call statistics since the host started: number, duration, stages.
//!
//! A version counts all its calls, an agreement those under it, so that its parties see only their own. Counters are independent: during a
//! call's end one may be ahead of another.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use crate::admission::{Estimate, Took};

/// Counters of calls.
#[derive(Debug, Default)]
pub struct Statistics {
    succeeded: AtomicU64,
    failed: AtomicU64,
    /// Nanoseconds: per stage of successful calls, and in total of failed calls.
    queue: AtomicU64,
    start: AtomicU64,
    run: AtomicU64,
    settle: AtomicU64,
    fail: AtomicU64,
    rows: AtomicU64,
    last_millis: AtomicU64,
    /// How long a call has its sandbox.
    held: Estimate,
}

/// A count and a total duration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    pub count: u64,
    pub nanos: u64,
}

/// The durations of one call's stages.
#[derive(Debug, Clone, Copy)]
pub struct Stages {
    /// Until admission.
    pub queue: Duration,
    /// Creating the sandbox.
    pub start: Duration,
    /// The guest with its inference.
    pub run: Duration,
    /// Serialising the response and writing the receipt.
    pub settle: Duration,
}

/// A snapshot of the counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub success: Span,
    pub fail: Span,
    pub queue: Span,
    pub start: Span,
    pub run: Span,
    pub settle: Span,
    /// Rows of successful calls.
    pub rows: u64,
    /// When the last call ended, in milliseconds since 1970; 0 if there was none.
    pub last_millis: u64,
}

impl Statistics {
    /// Counts one call. As in the Open Inference Protocol's statistics, failed calls do not count in the stages.
    pub(crate) fn record(&self, stages: &Stages, succeeded: bool, rows: u64, ended: Timestamp) {
        let Stages { queue, start, run, settle } = *stages;
        if succeeded {
            self.succeeded.fetch_add(1, Ordering::Relaxed);
            add(&self.queue, queue);
            add(&self.start, start);
            add(&self.run, run);
            add(&self.settle, settle);
            self.rows.fetch_add(rows, Ordering::Relaxed);
            self.held.learn(start + run + settle);
        } else {
            self.failed.fetch_add(1, Ordering::Relaxed);
            add(&self.fail, queue + start + run + settle);
        }
        let millis = u64::try_from(ended.as_millisecond()).unwrap_or(0);
        self.last_millis.fetch_max(millis, Ordering::Relaxed);
    }

    /// How long a successful call has its sandbox; `None` if there were too few.
    pub fn took(&self) -> Option<Took> {
        self.held.took()
    }

    /// A snapshot of the counters.
    pub fn totals(&self) -> Totals {
        let count = self.succeeded.load(Ordering::Relaxed);
        let stage = |nanos: &AtomicU64| Span { count, nanos: nanos.load(Ordering::Relaxed) };
        let (queue, start) = (stage(&self.queue), stage(&self.start));
        let (run, settle) = (stage(&self.run), stage(&self.settle));
        let nanos = queue.nanos + start.nanos + run.nanos + settle.nanos;
        Totals {
            success: Span { count, nanos },
            fail: Span {
                count: self.failed.load(Ordering::Relaxed),
                nanos: self.fail.load(Ordering::Relaxed),
            },
            queue,
            start,
            run,
            settle,
            rows: self.rows.load(Ordering::Relaxed),
            last_millis: self.last_millis.load(Ordering::Relaxed),
        }
    }
}

fn add(nanos: &AtomicU64, span: Duration) {
    nanos.fetch_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

impl Totals {
    /// The sum of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let span = |a: Span, b: Span| Span { count: a.count + b.count, nanos: a.nanos + b.nanos };
        Self {
            success: span(self.success, other.success),
            fail: span(self.fail, other.fail),
            queue: span(self.queue, other.queue),
            start: span(self.start, other.start),
            run: span(self.run, other.run),
            settle: span(self.settle, other.settle),
            rows: self.rows + other.rows,
            last_millis: self.last_millis.max(other.last_millis),
        }
    }
}
