//! Slices: a guest computes for about a millisecond, then yields.
//!
//! A call begins on the serving thread, because most calls end before a thread switch would pay. It runs at most one slice there. A guest
//! that computes longer or wants much memory continues on the guest threads ([`super::threads`]). Functions that usually compute longer
//! begin there.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use super::threads::{Shared, Taken};
use crate::id::AccountName;

/// How long a guest computes at least before it yields. The epoch ticks for all guests at once, and a call that has just begun should not
/// be moved.
const SLICE_MIN: Duration = Duration::from_micros(500);

/// Calls of functions expected to compute no longer than this begin on the serving thread.
const QUICK_MAX: Duration = Duration::from_micros(200);

/// Maximum memory of a small guest, in bytes. An instruction such as `memory.fill` cannot be interrupted, so this bounds how long one holds
/// a serving thread or a thread for small guests.
const SMALL_MEMORY_BYTES_MAX: usize = 8 << 20;

/// Maximum bytes of arguments, or of one tensor, copied into a guest on a serving thread: the copy cannot be interrupted.
const SERVED_INPUT_BYTES_MAX: usize = 1 << 20;

/// A thread's purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thread {
    /// Serves requests and lets guests begin.
    Serves,
    RunsSmall,
    RunsLarge,
}

/// Why a guest yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It has used up its slice.
    Time,
    /// It has become too large for this thread.
    Size,
}

/// The slice running on this thread.
#[derive(Debug, Clone, Copy)]
struct Slice {
    began: Instant,
    thread: Thread,
    end: Option<End>,
}

thread_local! {
    static NOW: Cell<Option<Slice>> = const { Cell::new(None) };
}

/// Whether the guest on this thread has used up its slice. Asked at every epoch tick.
pub(super) fn is_over() -> bool {
    let Some(mut slice) = NOW.get() else { return true };
    if slice.end.is_none() && slice.began.elapsed() >= SLICE_MIN {
        slice.end = Some(End::Time);
        NOW.set(Some(slice));
    }
    slice.end.is_some()
}

/// Whether a guest with this much memory must leave this thread.
pub(super) fn is_too_large_here(memory_bytes: usize) -> bool {
    let Some(mut slice) = NOW.get() else { return false };
    if slice.thread == Thread::RunsLarge || !is_large(memory_bytes) {
        return false;
    }
    slice.end = Some(End::Size);
    NOW.set(Some(slice));
    true
}

/// Whether a copy of this size takes too long on this thread; the guest should then yield first.
pub(super) fn is_too_much_here(bytes: usize) -> bool {
    let Some(mut slice) = NOW.get() else { return false };
    let most = match slice.thread {
        Thread::Serves => SERVED_INPUT_BYTES_MAX,
        Thread::RunsSmall => SMALL_MEMORY_BYTES_MAX,
        Thread::RunsLarge => usize::MAX,
    };
    if bytes <= most {
        return false;
    }
    slice.end = Some(if is_large(bytes) { End::Size } else { End::Time });
    NOW.set(Some(slice));
    true
}

/// Whether a guest with this much memory needs a thread for large guests.
pub(super) fn is_large(memory_bytes: usize) -> bool {
    memory_bytes > SMALL_MEMORY_BYTES_MAX
}

/// Lets the poller move on to other work: pending once.
pub(super) async fn make_room() {
    let mut asked = false;
    std::future::poll_fn(|context| {
        if asked {
            return Poll::Ready(());
        }
        asked = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs one slice. Returns its duration, and why it ended unless the guest finished or waits.
pub(super) fn run<T>(thread: Thread, poll: impl FnOnce() -> T) -> (T, Option<End>, Duration) {
    let began = Instant::now();
    let outer = NOW.replace(Some(Slice { began, thread, end: None }));
    let polled = poll();
    let slice = NOW.replace(outer);
    (polled, slice.and_then(|slice| slice.end), began.elapsed())
}

/// How long one function's calls usually compute: a moving average over about eight. Racing updates only lose a sample.
#[derive(Debug, Clone, Default)]
pub(super) struct Pace(Arc<AtomicU64>);

impl Pace {
    /// Maximum learned duration, so that one long call is not remembered forever.
    const LEARNED_MAX: Duration = Duration::from_millis(2);

    /// Whether a call with arguments of this size may begin on a serving thread. False while nothing is known.
    pub(super) fn is_quick(&self, input_bytes: usize) -> bool {
        let nanos = self.0.load(Ordering::Relaxed);
        nanos > 0
            && Duration::from_nanos(nanos) <= QUICK_MAX
            && input_bytes <= SERVED_INPUT_BYTES_MAX
    }

    fn learn(&self, took: Duration) {
        let nanos =
            u64::try_from(took.min(Self::LEARNED_MAX).as_nanos()).unwrap_or(u64::MAX).max(1);
        let old = self.0.load(Ordering::Relaxed);
        let new = if old == 0 { nanos } else { (old * 7 + nanos) / 8 };
        self.0.store(new, Ordering::Relaxed);
    }
}

/// A guest's work, wherever it runs.
#[must_use]
pub(super) struct Work<T> {
    place: Place<T>,
    pace: Pace,
}

enum Place<T> {
    /// On the thread that serves its call.
    Here {
        future: BoxFuture<'static, T>,
        threads: Arc<Shared>,
        account: AccountName,
        spent: Duration,
    },
    /// On the guest threads.
    There(Taken<T>),
    Gone,
}

impl<T: Send + 'static> Work<T> {
    /// Runs `work` of a guest with this much memory, in `account`'s turn. It begins on the polling thread if expected to be quick,
    /// otherwise on the guest threads.
    pub(super) fn new(
        threads: Arc<Shared>,
        account: AccountName,
        pace: Pace,
        (input_bytes, memory_bytes): (usize, usize),
        work: impl Future<Output = T> + Send + 'static,
    ) -> Self {
        let future: BoxFuture<'static, T> = Box::pin(work);
        let is_large = is_large(memory_bytes);
        let place = if pace.is_quick(input_bytes) && !is_large {
            Place::Here { future, threads, account, spent: Duration::ZERO }
        } else {
            Place::There(threads.take(account, future, Duration::ZERO, is_large))
        };
        Self { place, pace }
    }
}

impl<T: Send + 'static> Future for Work<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let this = self.get_mut();
        if let Place::Here { future, spent, .. } = &mut this.place {
            let (polled, end, took) = run(Thread::Serves, || future.as_mut().poll(context));
            *spent += took;
            if polled.is_pending() && end.is_none() {
                return Poll::Pending;
            }
            this.pace.learn(*spent);
            match (std::mem::replace(&mut this.place, Place::Gone), polled) {
                (Place::Here { future, threads, account, spent }, Poll::Pending) => {
                    let is_large = end == Some(End::Size);
                    this.place = Place::There(threads.take(account, future, spent, is_large));
                }
                (_, polled) => return polled,
            }
        }
        let Place::There(task) = &mut this.place else {
            unreachable!("invariant: nothing polls a future that is done")
        };
        match std::task::ready!(Pin::new(task).poll(context)) {
            Some((done, spent)) => {
                this.pace.learn(spent);
                this.place = Place::Gone;
                Poll::Ready(done)
            }
            // The guest threads have ended, and the host with them: nobody is left to answer.
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_to_be_quick_begins_on_a_thread_that_serves() {
        let pace = Pace::default();
        assert!(!pace.is_quick(0), "nothing is known yet");
        pace.learn(Duration::from_micros(20));
        assert!(pace.is_quick(0) && pace.is_quick(SERVED_INPUT_BYTES_MAX));
        assert!(!pace.is_quick(SERVED_INPUT_BYTES_MAX + 1));
        pace.learn(Duration::from_secs(1));
        assert!(!pace.is_quick(0), "the next ones may be long as well");
        for _ in 0..3 {
            pace.learn(Duration::from_micros(20));
        }
        assert!(pace.is_quick(0), "it was one of many");
    }

    #[test]
    fn a_large_tensor_is_not_copied_on_a_thread_that_serves() {
        for (thread, bytes, expected) in [
            (Thread::Serves, SERVED_INPUT_BYTES_MAX, None),
            (Thread::Serves, SERVED_INPUT_BYTES_MAX + 1, Some(End::Time)),
            (Thread::Serves, SMALL_MEMORY_BYTES_MAX + 1, Some(End::Size)),
            (Thread::RunsSmall, SMALL_MEMORY_BYTES_MAX, None),
            (Thread::RunsSmall, SMALL_MEMORY_BYTES_MAX + 1, Some(End::Size)),
            (Thread::RunsLarge, usize::MAX, None),
        ] {
            let ((), end, _) = run(thread, || {
                assert_eq!(is_too_much_here(bytes), expected.is_some(), "{thread:?}, {bytes}");
            });
            assert_eq!(end, expected, "{thread:?}, {bytes}");
        }
    }

    #[test]
    fn a_guest_that_has_only_begun_is_not_moved_and_a_large_one_is() {
        let ((), end, _) = run(Thread::Serves, || assert!(!is_over()));
        assert_eq!(end, None);
        let ((), end, _) = run(Thread::Serves, || {
            std::thread::sleep(SLICE_MIN);
            assert!(is_over());
        });
        assert_eq!(end, Some(End::Time));
        for (thread, expected) in [
            (Thread::Serves, Some(End::Size)),
            (Thread::RunsSmall, Some(End::Size)),
            (Thread::RunsLarge, None),
        ] {
            let ((), end, _) = run(thread, || {
                assert!(!is_too_large_here(SMALL_MEMORY_BYTES_MAX));
                assert_eq!(is_too_large_here(SMALL_MEMORY_BYTES_MAX + 1), expected.is_some());
            });
            assert_eq!(end, expected);
        }
    }
}
