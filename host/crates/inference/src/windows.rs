//! The windows of a worker's shared memory. Each computation needs one. If all are taken, callers wait and are scheduled fairly.
//!
//! Callers share computing time ([`Turns`]), so a caller with many calls delays mainly itself.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use super::{COMPUTE_NANOS, Caller};
use hospes_admission::{Ticket, Turn, Turns};

/// The windows of one worker.
pub(super) struct Windows(Mutex<State>);

struct State {
    /// While there are free windows, nobody waits.
    free: Vec<u32>,
    /// The owner of each window, and the time at which it got the window.
    taken: Vec<Option<(Caller, Instant)>>,
    /// The waiters, with the channel for their window.
    turns: Turns<Caller, oneshot::Sender<u32>>,
    closed: bool,
}

impl Windows {
    /// Creates this many windows, all free.
    pub(super) fn new(count: u32) -> Self {
        Self(Mutex::new(State {
            free: (0..count).rev().collect(),
            taken: vec![None; count as usize],
            turns: Turns::weighed_by(|caller: &Caller| caller.weight),
            closed: false,
        }))
    }

    /// Takes a window; waits if none is free. `None` if the worker has ended. The caller must return the window with
    /// [`Windows::give_back`].
    pub(super) async fn take(&self, caller: Caller) -> Option<u32> {
        let mut place = {
            let mut state = self.lock();
            if state.closed {
                return None;
            }
            if let Some(window) = state.free.pop() {
                state.turns.pass(&caller, COMPUTE_NANOS);
                state.hand(window, caller);
                return Some(window);
            }
            let (sender, turn) = oneshot::channel();
            let ticket = state.turns.push(caller, COMPUTE_NANOS, sender);
            Place { windows: self, caller, ticket, turn }
        };
        (&mut place.turn).await.ok()
    }

    /// Returns a window, which goes to the next caller. The caller is charged `nanos`, the computing time that the worker reports, but at
    /// most the time for which it held the window. If `nanos` is unknown, it is charged for that whole time.
    pub(super) fn give_back(&self, window: u32, nanos: Option<u64>) {
        let mut nanos = nanos;
        loop {
            let mut state = self.lock();
            let taken = state.taken.get_mut(window as usize).and_then(Option::take);
            let Some((caller, since)) = taken else { return };
            let held = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let cost = nanos.map_or(held, |nanos| nanos.min(held));
            state.turns.settle(&caller, COMPUTE_NANOS, cost);
            let Some(Turn { key: next, waiter, .. }) = state.turns.next_turn() else {
                state.free.push(window);
                return;
            };
            state.hand(window, next);
            // Not while holding the lock: waking a waiter may drop another one, which then returns its window.
            drop(state);
            if waiter.send(window).is_ok() {
                return;
            }
            // A waiter that has just left is not charged.
            nanos = Some(0);
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

    /// Nothing panics while holding this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn hand(&mut self, window: u32, caller: Caller) {
        if let Some(taken) = self.taken.get_mut(window as usize) {
            *taken = Some((caller, Instant::now()));
        }
    }
}

/// A place in the queue. It is given up when dropped, for example because the caller has left.
struct Place<'a> {
    windows: &'a Windows,
    caller: Caller,
    ticket: Ticket,
    turn: oneshot::Receiver<u32>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let left = self.windows.lock().turns.remove(&self.caller, self.ticket);
        drop(left);
        // A window may have arrived at the last moment. None can arrive after `close`.
        self.turn.close();
        if let Ok(window) = self.turn.try_recv() {
            self.windows.give_back(window, Some(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    type Taking<'a> = Pin<Box<dyn Future<Output = Option<u32>> + 'a>>;

    fn poll(taking: &mut Taking<'_>) -> Poll<Option<u32>> {
        taking.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn who_has_many_calls_under_way_lets_others_go_first() {
        const MILLIS: u64 = 1_000_000;
        let windows = Windows::new(2);
        let mut crowd: Vec<Taking<'_>> =
            (0..64).map(|_| Box::pin(windows.take(Caller::new(1))) as _).collect();
        let first = crowd.iter_mut().filter_map(|taking| match poll(taking) {
            Poll::Ready(window) => window,
            Poll::Pending => None,
        });
        let first: Vec<u32> = first.collect();
        assert_eq!(first.len(), 2, "there are two");
        let mut others: Vec<Taking<'_>> =
            [2, 3].map(|caller| Box::pin(windows.take(Caller::new(caller))) as _).into();
        assert!(others.iter_mut().all(|taking| poll(taking).is_pending()));
        let mut more: Taking<'_> = Box::pin(windows.take(Caller::new(2)));
        assert!(poll(&mut more).is_pending());
        // A returned window goes to a caller with less computing time. A report of more than the elapsed time counts as that time.
        std::thread::sleep(Duration::from_millis(20));
        for window in first {
            windows.give_back(window, Some(u64::MAX));
        }
        let theirs: Vec<_> = others.iter_mut().map(poll).collect();
        let [Poll::Ready(Some(one)), Poll::Ready(Some(_))] = theirs[..] else {
            panic!("62 others were there first: {theirs:?}")
        };
        // The actual costs count: the second call of caller 2 comes before the third of caller 1.
        windows.give_back(one, Some(MILLIS));
        assert!(poll(&mut more).is_ready());
    }

    #[test]
    fn a_caller_of_weight_four_has_four_windows_for_one_of_another() {
        let windows = Windows::new(1);
        let callers =
            [Caller { number: 1, weight: NonZeroU32::new(4).expect("not zero") }, Caller::new(2)];
        let mut held = poll(&mut (Box::pin(windows.take(Caller::new(3))) as Taking<'_>));
        let mut waiting: Vec<(u64, Taking<'_>)> = Vec::new();
        for caller in callers.into_iter().cycle().take(80) {
            let mut taking: Taking<'_> = Box::pin(windows.take(caller));
            assert!(poll(&mut taking).is_pending());
            waiting.push((caller.number, taking));
        }
        let mut served = Vec::new();
        while let Poll::Ready(Some(window)) = held {
            // Longer than the time that is reported.
            std::thread::sleep(std::time::Duration::from_micros(200));
            windows.give_back(window, Some(100_000));
            held = Poll::Pending;
            waiting.retain_mut(|(caller, taking)| {
                let polled = poll(taking);
                if polled.is_ready() {
                    served.push(*caller);
                    held = polled;
                }
                polled.is_pending()
            });
        }
        let of_other = served[..50].iter().filter(|caller| **caller == 2).count();
        assert!((9..=11).contains(&of_other), "{served:?}");
    }

    #[test]
    fn a_worker_that_has_ended_has_no_windows() {
        let windows = Windows::new(1);
        let mut taking: Vec<Taking<'_>> =
            (0..3).map(|_| Box::pin(windows.take(Caller::new(1))) as _).collect();
        assert_eq!(poll(&mut taking[0]), Poll::Ready(Some(0)));
        assert!(poll(&mut taking[1]).is_pending() && poll(&mut taking[2]).is_pending());
        windows.close();
        assert_eq!(poll(&mut taking[1]), Poll::Ready(None));
        windows.give_back(0, None);
        assert_eq!(poll(&mut taking[2]), Poll::Ready(None));
        assert_eq!(
            poll(&mut (Box::pin(windows.take(Caller::new(2))) as Taking<'_>)),
            Poll::Ready(None)
        );
    }

    #[derive(Debug, Clone)]
    enum Step {
        Take(u64),
        Poll(usize),
        Leave(usize),
        GiveBack(usize, Option<u64>),
    }

    fn step() -> impl Strategy<Value = Step> {
        let number = 0..20_usize;
        prop_oneof![
            3 => (0..4_u64).prop_map(Step::Take),
            2 => number.clone().prop_map(Step::Poll),
            1 => number.clone().prop_map(Step::Leave),
            3 => (number, proptest::option::of(0..u64::MAX)).prop_map(|(n, c)| Step::GiveBack(n, c)),
        ]
    }

    proptest! {
        /// Whatever callers do, no window is lost or given twice, and none is free while somebody waits.
        #[test]
        fn windows_are_neither_lost_nor_given_twice(steps in vec(step(), 1..120)) {
            const COUNT: u32 = 3;
            let windows = Windows::new(COUNT);
            let (mut waiting, mut taken): (Vec<Taking<'_>>, Vec<u32>) = Default::default();
            for step in steps {
                match step {
                    Step::Take(caller) => {
                        let mut taking: Taking<'_> = Box::pin(windows.take(Caller::new(caller)));
                        match poll(&mut taking) {
                            Poll::Ready(window) => taken.extend(window),
                            Poll::Pending => waiting.push(taking),
                        }
                    }
                    Step::Poll(number) if number < waiting.len() => {
                        if let Poll::Ready(window) = poll(&mut waiting[number]) {
                            taken.extend(window);
                            drop(waiting.remove(number));
                        }
                    }
                    Step::Leave(number) if number < waiting.len() => {
                        drop(waiting.remove(number));
                    }
                    Step::GiveBack(number, nanos) if number < taken.len() => {
                        windows.give_back(taken.remove(number), nanos);
                    }
                    Step::Poll(_) | Step::Leave(_) | Step::GiveBack(..) => {}
                }
                let mut unique = taken.clone();
                unique.sort_unstable();
                unique.dedup();
                prop_assert_eq!(unique.len(), taken.len(), "{:?}", taken);
                let state = windows.lock();
                prop_assert!(state.free.is_empty() || state.turns.is_empty());
            }
            drop(waiting);
            taken.into_iter().for_each(|window| windows.give_back(window, None));
            let state = windows.lock();
            prop_assert_eq!(state.free.len(), COUNT as usize);
            prop_assert!(state.turns.is_empty() && state.taken.iter().all(Option::is_none));
        }
    }
}
