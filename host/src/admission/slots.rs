//! Sandboxes: how many calls run at once, who waits for one, and whose turn it is.
//!
//! Accounts have fair turns ([`Turns`]), by the time that their calls hold sandboxes. No account takes all of what there is: see
//! [`may_take_more`].

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::AdmissionError;
use super::turns::{Ticket, Turn, Turns};
use crate::id::{AccountName, ById};

/// How many times what is free one account may hold.
const SHARE: usize = 3;

/// What holding a sandbox is expected to cost, in nanoseconds. It is corrected when the sandbox is given back.
const HOLD_NANOS: u64 = 1_000_000;

/// Whether an account that holds so much of something may take more of it: while it has less than three times what is free. So one
/// account alone gets three quarters, two get three sevenths each, and from four on there is always one left for somebody else.
/// (Switches share buffers among ports by this rule of dynamic thresholds, for it needs no plan of who will come.)
pub fn may_take_more(held: usize, free: usize) -> bool {
    held < free.saturating_mul(SHARE)
}

/// The sandboxes of this host.
#[derive(Debug)]
pub struct Slots(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    slots: usize,
    queue_length_max: usize,
    queue_wait_max: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    held: ById<AccountName, usize>,
    /// As long as sandboxes are free, nobody waits here who may take one.
    turns: Turns<AccountName, oneshot::Sender<Slot>>,
}

/// A sandbox that one call has. Dropping it lets the next call in.
#[derive(Debug)]
pub struct Slot {
    shared: Arc<Shared>,
    account: AccountName,
    since: Instant,
}

/// How many sandboxes there are, and how calls wait for one.
#[derive(Debug, Clone)]
pub struct Line {
    pub slots: NonZeroUsize,
    /// Calls that wait.
    pub queue_length_max: usize,
    /// How long each of them waits.
    pub queue_wait_max: Duration,
    /// Shares of accounts, where they are not 1.
    pub weights: ById<AccountName, NonZeroU32>,
}

impl Slots {
    /// All sandboxes, free.
    pub fn new(line: Line) -> Self {
        let Line { slots, queue_length_max, queue_wait_max, weights } = line;
        let slots = slots.get();
        let state = State { free: slots, held: ById::default(), turns: Turns::new(weights) };
        let state = Mutex::new(state);
        Self(Arc::new(Shared { slots, queue_length_max, queue_wait_max, state }))
    }

    /// Sandboxes that no call has.
    pub fn free(&self) -> usize {
        self.0.lock().free
    }

    /// Takes a sandbox for a call of `account`, waiting for one if none is free for it. An account's own calls are served in the order
    /// they came.
    ///
    /// # Errors
    /// [`AdmissionError::QueueFull`] and [`AdmissionError::QueueShareFull`] at once, [`AdmissionError::QueueTimeout`] after the wait.
    pub async fn acquire(&self, account: &AccountName) -> Result<Slot, AdmissionError> {
        let mut place = match self.take_or_queue(account)? {
            Ok(slot) => return Ok(slot),
            Err(place) => place,
        };
        let waited = self.0.queue_wait_max;
        if let Ok(Ok(slot)) = tokio::time::timeout(waited, &mut place.turn).await {
            return Ok(slot);
        }
        // It may have come at the last moment.
        place.give_up();
        place.turn.try_recv().map_err(|_| AdmissionError::QueueTimeout { waited })
    }

    /// A sandbox, or a place in the queue.
    fn take_or_queue(
        &self,
        account: &AccountName,
    ) -> Result<Result<Slot, Place<'_>>, AdmissionError> {
        let mut state = self.0.lock();
        if state.may_take(account) {
            state.turns.pass(account, HOLD_NANOS);
            state.take(account);
            drop(state);
            return Ok(Ok(self.0.slot(account.clone())));
        }
        let queue_length_max = self.0.queue_length_max;
        let (waiting, own) = (state.turns.len(), state.turns.len_of(account));
        if waiting >= queue_length_max {
            return Err(AdmissionError::QueueFull { slots: self.0.slots, queue_length_max });
        }
        if !may_take_more(own, queue_length_max - waiting) {
            return Err(AdmissionError::QueueShareFull { own, queue_length_max });
        }
        let (sender, turn) = oneshot::channel();
        let ticket = state.turns.push(account.clone(), HOLD_NANOS, sender);
        drop(state);
        Ok(Err(Place { shared: &self.0, account: account.clone(), ticket, turn }))
    }
}

impl State {
    fn may_take(&self, account: &AccountName) -> bool {
        may_take_more(self.held.get(account).copied().unwrap_or(0), self.free)
    }

    fn take(&mut self, account: &AccountName) {
        self.free -= 1;
        match self.held.get_mut(account) {
            Some(held) => *held += 1,
            None => {
                self.held.insert(account.clone(), 1);
            }
        }
    }

    /// Takes back a sandbox that was held for so long. It is remembered that the account has held one, for most come back at once.
    fn take_back(&mut self, account: &AccountName, nanos: u64) {
        self.free += 1;
        if let Some(held) = self.held.get_mut(account) {
            *held -= 1;
        }
        self.turns.settle(account, HOLD_NANOS, nanos);
    }

    /// Who may go next.
    fn next(&mut self) -> Option<Turn<AccountName, oneshot::Sender<Slot>>> {
        let Self { free, held, turns } = self;
        turns.next_turn_of(|key| may_take_more(held.get(key).copied().unwrap_or(0), *free))
    }
}

impl Shared {
    fn slot(self: &Arc<Self>, account: AccountName) -> Slot {
        Slot { shared: Arc::clone(self), account, since: Instant::now() }
    }

    /// Nothing panics while this is held.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let nanos = u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut state = self.shared.lock();
        state.take_back(&self.account, nanos);
        while !state.turns.is_empty() {
            let Some(Turn { key, waiter, .. }) = state.next() else { return };
            state.take(&key);
            drop(state);
            // Who has left in this moment gives it back by dropping it.
            let _ = waiter.send(self.shared.slot(key));
            state = self.shared.lock();
        }
    }
}

/// A place in the queue, given up when dropped: also when the caller stops waiting.
struct Place<'a> {
    shared: &'a Shared,
    account: AccountName,
    ticket: Ticket,
    turn: oneshot::Receiver<Slot>,
}

impl Place<'_> {
    fn give_up(&self) {
        let left = self.shared.lock().turns.remove(&self.account, self.ticket);
        drop(left);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.give_up();
    }
}

#[cfg(test)]
mod tests;
