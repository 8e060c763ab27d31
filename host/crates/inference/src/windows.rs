//! The windows of a worker's shared memory. Each job needs one. If all are taken, callers wait and are scheduled fairly.
//!
//! Callers share computing time ([`Turns`]), so a caller with many calls delays mainly itself. The surprise: the last window is for a
//! caller that has nothing in the worker. Its job goes to a thread of its own, past those that other callers have queued there, because a
//! computation cannot be interrupted, and fair turns alone would let it wait for two of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::batch::{Class, JOINED_BYTES_MAX, Meets, ROWS_MAX};
use super::figures::Figures;
use super::protocol::Layout;
use super::remote::RemoteError;
use super::strikes::Culprit;
use super::{COMPUTE_NANOS, Caller};
use hospes_admission::{Cost, Late, Ticket, Turn, Turns, Wish};
use hospes_core::tensor::Tensor;

/// The windows of one worker.
pub(super) struct Windows {
    /// Jobs that the worker runs at the same time, without those in the windows for newcomers.
    threads: usize,
    figures: Arc<Figures>,
    state: Mutex<State>,
}

struct State {
    /// While there are free windows, nobody waits.
    free: Vec<u32>,
    /// The free windows for newcomers. While there are some, nobody waits who has nothing in the worker.
    free_first: Vec<u32>,
    /// The number of the first window for newcomers.
    first: u32,
    /// The owner of each window.
    taken: Vec<Option<Taken>>,
    turns: Turns<Caller, Waiter>,
    closed: bool,
}

#[derive(Clone)]
struct Taken {
    caller: Caller,
    since: Instant,
    /// The cost that the caller was charged in advance.
    estimate: u64,
}

/// Who waits for a window.
struct Waiter {
    turn: oneshot::Sender<Place>,
    ride: Option<Ride>,
}

/// What a waiter gets.
pub(super) enum Place {
    Window(u32),
    /// A place in another's batch: its outputs come here.
    Aboard(oneshot::Receiver<Fare>),
}

/// What a computation in a batch gets: its outputs, and its part of the computing time in nanoseconds.
pub(super) type Fare = Result<(Vec<Tensor>, u64), RemoteError>;

/// A computation that may be part of a batch.
pub(super) struct Ride {
    /// The model's number in the worker.
    pub(super) model: u32,
    pub(super) class: Class,
    pub(super) rows: usize,
    pub(super) bytes: usize,
    pub(super) meets: Meets,
    pub(super) culprit: Culprit,
    pub(super) deadline: Instant,
    pub(super) inputs: Vec<Option<Tensor>>,
}

/// One who is taken along in a batch.
pub(super) struct Passenger {
    pub(super) caller: Caller,
    /// The cost that the caller was charged in advance.
    pub(super) estimate: u64,
    pub(super) ride: Ride,
    pub(super) fare: oneshot::Sender<Fare>,
}

/// Why a computation gets no window.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoWindow {
    /// The worker has ended.
    Closed,
    Late(Late),
}

impl Windows {
    /// Creates the windows of this layout, all free, for a worker with so many threads.
    pub(super) fn new(layout: Layout, threads: usize, figures: Arc<Figures>) -> Self {
        let first = layout.first();
        let state = Mutex::new(State {
            free: (0..first).rev().collect(),
            free_first: (first..layout.windows).rev().collect(),
            first,
            taken: vec![None; layout.windows as usize],
            turns: Turns::weighed_by(|caller: &Caller| caller.weight),
            closed: false,
        });
        Self { threads, figures, state }
    }

    /// Takes a window; waits if none is free. The caller must return the window with [`Windows::give_back`]. With a `ride` it may get a
    /// place in another's batch instead.
    ///
    /// # Errors
    /// [`NoWindow`].
    pub(super) async fn take(
        &self,
        caller: Caller,
        wish: &Wish,
        ride: Option<Ride>,
    ) -> Result<Place, NoWindow> {
        let mut waiting = {
            let mut state = self.lock();
            if state.closed {
                return Err(NoWindow::Closed);
            }
            let now = Instant::now();
            if let Some(late) = state.turns.comes_too_late(&caller, wish, self.threads, now) {
                self.figures.count_late();
                return Err(NoWindow::Late(late));
            }
            let cost = cost(wish);
            if let Some(window) = state.pop(caller, self.threads) {
                state.turns.pass(&caller, cost.estimate);
                state.hand(window, caller, cost.estimate);
                return Ok(Place::Window(window));
            }
            let (sender, turn) = oneshot::channel();
            let waiter = Waiter { turn: sender, ride };
            let ticket = state.turns.push(caller, wish.priority, cost, waiter);
            Waiting { windows: self, caller, ticket, turn, until: wish.until, has_come: false }
        };
        let place = (&mut waiting.turn).await;
        waiting.has_come = true;
        let place = place.map_err(|_closed| NoWindow::Closed)?;
        // It may have waited too long by now.
        if let Place::Window(window) = place
            && let Some(late) = wish.comes_too_late(0, 1, Instant::now())
        {
            self.figures.count_late();
            self.give_back(window, Some(0));
            return Err(NoWindow::Late(late));
        }
        Ok(place)
    }

    /// Whether a computation that came now would come too late.
    pub(super) fn comes_too_late(&self, caller: Caller, wish: &Wish) -> Option<Late> {
        let late = self.lock().turns.comes_too_late(&caller, wish, self.threads, Instant::now());
        late.inspect(|_| self.figures.count_late())
    }

    /// Those who wait now and can be computed together with `leader`, in the order of their turns.
    pub(super) fn company(&self, leader: Caller, ride: &Ride) -> Vec<Passenger> {
        let mut company: Vec<Passenger> = Vec::new();
        let (mut rows, mut bytes) = (ride.rows, ride.bytes);
        let mut woken = Vec::new();
        let mut state = self.lock();
        while rows < ROWS_MAX {
            let fits = |caller: &Caller, waiter: &Waiter| {
                waiter.ride.as_ref().is_some_and(|other| {
                    let is_welcome = |one: u64, meets: Meets| {
                        Meets::together((one, meets), (caller.number, other.meets))
                    };
                    !waiter.turn.is_closed()
                        && (other.model, &other.class) == (ride.model, &ride.class)
                        && rows + other.rows <= ROWS_MAX
                        && bytes + other.bytes <= JOINED_BYTES_MAX
                        && is_welcome(leader.number, ride.meets)
                        && company.iter().all(|one| is_welcome(one.caller.number, one.ride.meets))
                })
            };
            let Some(Turn { key: caller, estimate, waiter }) = state.turns.next_turn_that(fits)
            else {
                break;
            };
            let Waiter { turn, ride: Some(ride) } = waiter else { continue };
            let (fare, paid) = oneshot::channel();
            (rows, bytes) = (rows + ride.rows, bytes + ride.bytes);
            woken.push((turn, paid));
            company.push(Passenger { caller, estimate, ride, fare });
        }
        drop(state);
        for (turn, paid) in woken {
            // Who has just left has closed its end of the fare too.
            let _ = turn.send(Place::Aboard(paid));
        }
        company
    }

    /// Counts a batch of so many rows.
    pub(super) fn count_batch(&self, rows: usize) {
        self.figures.count_batch(rows);
    }

    /// Charges one who was taken along for its part of the batch.
    pub(super) fn settle(&self, caller: Caller, estimate: u64, nanos: u64) {
        self.lock().turns.settle(&caller, estimate, nanos);
    }

    /// Returns a window, which goes to the next caller. The caller is charged `nanos`, the computing time that the worker reports, but at
    /// most the time for which it held the window. If `nanos` is unknown, it is charged for that whole time.
    pub(super) fn give_back(&self, window: u32, nanos: Option<u64>) {
        let mut back = vec![(window, nanos)];
        while let Some((window, nanos)) = back.pop() {
            let mut state = self.lock();
            let taken = state.taken.get_mut(window as usize).and_then(Option::take);
            let Some(Taken { caller, since, estimate }) = taken else { continue };
            let held = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let cost = nanos.map_or(held, |nanos| nanos.min(held));
            state.turns.settle(&caller, estimate, cost);
            if window < state.first {
                state.free.push(window);
            } else {
                state.free_first.push(window);
            }
            let handed = state.hand_out(self.threads);
            // Not while holding the lock: waking a waiter may drop another one, which then returns its window.
            drop(state);
            for (window, waiter) in handed {
                if waiter.turn.send(Place::Window(window)).is_err() {
                    // A waiter that has just left is not charged.
                    back.push((window, Some(0)));
                }
            }
        }
    }

    /// Called when the worker has ended. Releases all waiters.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let left: Vec<_> = std::iter::from_fn(|| state.turns.next_turn()).collect();
        drop(state);
        drop(left);
    }

    /// The number of free windows.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        let state = self.lock();
        state.free.len() + state.free_first.len()
    }

    /// Nothing panics while holding this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A free window that the caller may have.
    fn pop(&mut self, caller: Caller, threads: usize) -> Option<u32> {
        if self.is_crowded(threads) && !self.free_first.is_empty() && self.has_none(&caller) {
            return self.free_first.pop();
        }
        self.free.pop()
    }

    /// Whether every thread has a job, so that the next would wait in the worker.
    fn is_crowded(&self, threads: usize) -> bool {
        (self.first as usize).saturating_sub(self.free.len()) >= threads
    }

    fn has_none(&self, caller: &Caller) -> bool {
        !self.taken.iter().flatten().any(|taken| taken.caller == *caller)
    }

    fn hand(&mut self, window: u32, caller: Caller, estimate: u64) {
        if let Some(taken) = self.taken.get_mut(window as usize) {
            *taken = Some(Taken { caller, since: Instant::now(), estimate });
        }
    }

    /// Gives the free windows to those who wait.
    fn hand_out(&mut self, threads: usize) -> Vec<(u32, Waiter)> {
        let mut handed = Vec::new();
        while !self.turns.is_empty() {
            let mut turn = None;
            if self.is_crowded(threads) && !self.free_first.is_empty() {
                let Self { taken, turns, .. } = self;
                let has_none =
                    |caller: &Caller| !taken.iter().flatten().any(|taken| taken.caller == *caller);
                turn = turns
                    .next_turn_of(has_none)
                    .and_then(|turn| Some((self.free_first.pop()?, turn)));
            }
            if turn.is_none() && !self.free.is_empty() {
                turn = self.turns.next_turn().and_then(|turn| Some((self.free.pop()?, turn)));
            }
            let Some((window, Turn { key, estimate, waiter })) = turn else { break };
            self.hand(window, key, estimate);
            handed.push((window, waiter));
        }
        handed
    }
}

/// The expected cost of a computation for its caller's share. It is replaced by the actual cost at the end.
pub(super) fn cost(wish: &Wish) -> Cost {
    match wish.takes {
        Some(takes) => Cost { estimate: takes.mean_nanos, is_known: true },
        None => Cost::guess(COMPUTE_NANOS),
    }
}

/// A place in the queue. It is given up when dropped, for example because the caller has left.
struct Waiting<'a> {
    windows: &'a Windows,
    caller: Caller,
    ticket: Ticket,
    turn: oneshot::Receiver<Place>,
    until: Option<Instant>,
    has_come: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.has_come {
            return;
        }
        let left = self.windows.lock().turns.remove(&self.caller, self.ticket);
        if left.is_some() {
            // Whose deadline ends the wait has not left.
            let is_late = self.until.is_some_and(|until| until <= Instant::now() + TIMER);
            let figures = &self.windows.figures;
            if is_late { figures.count_late() } else { figures.count_abandoned() }
        }
        drop(left);
        // A window may have arrived at the last moment. None can arrive after `close`.
        self.turn.close();
        if let Ok(Place::Window(window)) = self.turn.try_recv() {
            self.windows.give_back(window, Some(0));
        }
    }
}

/// A timer may end a wait by so much too early.
const TIMER: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests;
