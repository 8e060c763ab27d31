//! The guest threads: they only run slices of guests, and give accounts fair turns.
//!
//! They have a lower priority than the serving threads, so that requests, health checks and control come first. Guests with much memory
//! have separate threads: some of their instructions take long and cannot be interrupted.

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
use crate::admission::{Cost, Priority, Turn, Turns};
use crate::id::{AccountName, ById};

/// How much lower the guests' priority is, as a `nice` value: where both want a core, they get a ninth of a serving thread's share.
const NICENESS: i32 = 10;

/// The lowest priority, as a `nice` value.
const NICENESS_MAX: i32 = 19;

/// Expected duration of a slice in nanoseconds, corrected by the actual one.
const SLICE_NANOS: u64 = 1_000_000;

/// The threads. Dropping it ends them after their present slices; waiting guests are dropped.
pub(super) struct Threads {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// The guests that are ready.
pub(super) struct Shared {
    small: Line,
    large: Line,
}

/// The ready guests of one group of threads, by turn.
struct Line {
    state: Mutex<State>,
    ready: Condvar,
}

/// A guest's data while it is on the guest threads.
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
    /// Starts `count` threads for small guests and as many for large ones. Guests wait on `runtime`.
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
            // The last owner of the host may be a guest itself.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

impl Shared {
    /// Takes over a guest's work, after `spent` of computing. A panic in it is passed on to its awaiter.
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

/// A guest's work on the threads, and its total computing time. `None` if the threads ended first.
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
        state.turns.push(account, Priority::DEFAULT, Cost::guess(SLICE_NANOS), runnable);
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

    /// Ends the threads after their present slices, and drops the waiting guests.
    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let left: Vec<_> = std::iter::from_fn(|| state.turns.next_turn()).collect();
        drop(state);
        self.ready.notify_all();
        drop(left);
    }

    /// Nothing panics while holding this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Lowers this thread's priority: on Linux each thread has its own.
fn lower_priority() {
    let lowered = rustix::process::getpriority_process(None).and_then(|own| {
        rustix::process::setpriority_process(None, (own + NICENESS).min(NICENESS_MAX))
    });
    if let Err(error) = lowered {
        tracing::warn!(%error, "guests run with the host's own priority");
    }
}
