//! The guests' own threads: they do nothing but run slices of guests, and give accounts fair turns.
//!
//! They have a lower priority than the threads that serve, so that requests, health and control come first whatever guests do.
//! Guests with much memory have threads apart: single instructions of theirs take long, and cannot be interrupted.

use std::num::{NonZeroU32, NonZeroUsize};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_task::{FallibleTask, Runnable};
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use super::slice::{self, End, Thread};
use crate::admission::{Turn, Turns};
use crate::id::{AccountName, ById};

/// How much lower than the host's own the priority of guests is, as `nice` counts: they get a ninth of what a thread that serves gets,
/// where both want a core.
const NICENESS: i32 = 10;

/// The lowest priority that there is, as `nice` counts.
const NICENESS_MAX: i32 = 19;

/// What a slice is expected to take, in nanoseconds. It is corrected by what it took.
const SLICE_NANOS: u64 = 1_000_000;

/// The threads. Dropping it ends them after the slices that they run; guests that wait are dropped.
pub(super) struct Threads {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// The guests that are ready.
pub(super) struct Shared {
    small: Line,
    large: Line,
}

/// Those for some of the threads, by whose turn it is.
struct Line {
    state: Mutex<State>,
    ready: Condvar,
}

/// What is known of a guest while it is among the threads.
struct Known {
    account: AccountName,
    is_large: Arc<AtomicBool>,
}

struct State {
    turns: Turns<AccountName, Runnable<Known>>,
    idle: usize,
    closed: bool,
}

impl Threads {
    /// Starts `count` threads for guests that are not large, and as many for those that are. Guests find the `runtime` there that they
    /// wait with.
    pub(super) fn start(
        count: NonZeroUsize,
        weights: &ById<AccountName, NonZeroU32>,
        runtime: &Handle,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { small: Line::new(weights), large: Line::new(weights) });
        let mut started = Self { shared, threads: Vec::new() };
        for number in 0..count.get() {
            for (name, thread) in [("guest", Thread::RunsSmall), ("large", Thread::RunsLarge)] {
                let (shared, runtime) = (Arc::clone(&started.shared), runtime.clone());
                let builder = std::thread::Builder::new().name(format!("{name}-{number}"));
                started.threads.push(builder.spawn(move || {
                    let _entered = runtime.enter();
                    lower_priority();
                    shared.line(thread == Thread::RunsLarge).work();
                })?);
            }
        }
        Ok(started)
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.small.close();
        self.shared.large.close();
        for thread in self.threads.drain(..) {
            // The last to hold the host may be a guest itself.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

impl Shared {
    /// Takes over the work of a guest, which has computed for `spent` already. A panic in it is handed on to who waits for it.
    pub(super) fn take<T: Send + 'static>(
        self: &Arc<Self>,
        account: AccountName,
        mut work: BoxFuture<'static, T>,
        mut spent: Duration,
        is_large: bool,
    ) -> Taken<T> {
        let is_large = Arc::new(AtomicBool::new(is_large));
        let known = Known { account, is_large: Arc::clone(&is_large) };
        let measured = std::future::poll_fn(move |context| {
            let thread = match is_large.load(Ordering::Relaxed) {
                true => Thread::RunsLarge,
                false => Thread::RunsSmall,
            };
            let (polled, end, took) = slice::run(thread, || work.as_mut().poll(context));
            spent += took;
            if end == Some(End::Size) {
                is_large.store(true, Ordering::Relaxed);
            }
            polled.map(|done| (done, spent))
        });
        let shared = Arc::clone(self);
        let schedule = move |runnable: Runnable<Known>| {
            shared.line(runnable.metadata().is_large.load(Ordering::Relaxed)).push(runnable);
        };
        let builder = async_task::Builder::new().propagate_panic(true).metadata(known);
        let (runnable, task) = builder.spawn(|_| measured, schedule);
        runnable.schedule();
        Taken(task.fallible())
    }

    fn line(&self, is_large: bool) -> &Line {
        if is_large { &self.large } else { &self.small }
    }
}

/// The work of a guest among the threads, and how long it computed in all. None if the threads ended before.
pub(super) struct Taken<T>(FallibleTask<(T, Duration), Known>);

impl<T> Future for Taken<T> {
    type Output = Option<(T, Duration)>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl Line {
    fn new(weights: &ById<AccountName, NonZeroU32>) -> Self {
        let state = State { turns: Turns::new(weights.clone()), idle: 0, closed: false };
        Self { state: Mutex::new(state), ready: Condvar::new() }
    }

    fn push(&self, runnable: Runnable<Known>) {
        let mut state = self.lock();
        if state.closed {
            drop(state); // dropping a guest takes time, and may wake another
            drop(runnable);
            return;
        }
        let account = runnable.metadata().account.clone();
        state.turns.push(account, SLICE_NANOS, runnable);
        let is_idle = state.idle > 0;
        drop(state);
        if is_idle {
            self.ready.notify_one();
        }
    }

    fn work(&self) {
        let mut state = self.lock();
        while !state.closed {
            if let Some(Turn { key, estimate, waiter: runnable }) = state.turns.next_turn() {
                drop(state);
                let began = Instant::now();
                runnable.run();
                let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
                state = self.lock();
                state.turns.settle(&key, estimate, nanos);
            } else {
                state.idle += 1;
                state = self.ready.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
                state.idle -= 1;
            }
        }
    }

    /// Ends the threads after the slices that they run, and drops who waits.
    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let left: Vec<_> = std::iter::from_fn(|| state.turns.next_turn()).collect();
        drop(state);
        self.ready.notify_all();
        drop(left);
    }

    /// Nothing panics while this is held.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Lowers the priority of this thread: on Linux every thread has its own.
fn lower_priority() {
    let lowered = rustix::process::getpriority_process(None).and_then(|own| {
        rustix::process::setpriority_process(None, (own + NICENESS).min(NICENESS_MAX))
    });
    if let Err(error) = lowered {
        tracing::warn!(%error, "guests run with the host's own priority");
    }
}
