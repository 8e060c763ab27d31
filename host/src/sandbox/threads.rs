//! The guests' own threads: they do nothing but run slices of guests, and give accounts fair turns.
//!
//! They have a lower priority than the threads that serve, so that requests, health and control come first whatever guests do.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_task::{FallibleTask, Runnable};
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use super::slice;
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

/// The guests that are ready, by whose turn it is.
pub(super) struct Shared {
    state: Mutex<State>,
    ready: Condvar,
}

struct State {
    turns: Turns<AccountName, Runnable<AccountName>>,
    idle: usize,
    closed: bool,
}

impl Threads {
    /// Starts `count` threads, on which guests find the `runtime` that they wait with.
    pub(super) fn start(
        count: NonZeroUsize,
        weights: ById<AccountName, NonZeroU32>,
        runtime: &Handle,
    ) -> std::io::Result<Self> {
        let state = State { turns: Turns::new(weights), idle: 0, closed: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), ready: Condvar::new() });
        let mut started = Self { shared, threads: Vec::new() };
        for number in 0..count.get() {
            let (shared, runtime) = (Arc::clone(&started.shared), runtime.clone());
            let thread = std::thread::Builder::new().name(format!("guest-{number}"));
            started.threads.push(thread.spawn(move || {
                let _entered = runtime.enter();
                lower_priority();
                shared.work();
            })?);
        }
        Ok(started)
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        let left = std::iter::from_fn(|| state.turns.next_turn()).collect::<Vec<_>>();
        drop(state);
        self.shared.ready.notify_all();
        drop(left);
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
    ) -> FallibleTask<(T, Duration), AccountName> {
        let measured = std::future::poll_fn(move |context| {
            let (polled, _, took) = slice::run(false, || work.as_mut().poll(context));
            spent += took;
            match polled {
                Poll::Ready(done) => Poll::Ready((done, spent)),
                Poll::Pending => Poll::Pending,
            }
        });
        let shared = Arc::clone(self);
        let (runnable, task) = async_task::Builder::new()
            .propagate_panic(true)
            .metadata(account)
            .spawn(|_| measured, move |runnable| shared.push(runnable));
        runnable.schedule();
        task.fallible()
    }

    fn push(&self, runnable: Runnable<AccountName>) {
        let mut state = self.lock();
        if state.closed {
            drop(state); // dropping a guest takes time, and may wake another
            drop(runnable);
            return;
        }
        let account = runnable.metadata().clone();
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
