//! Fair queueing: decides who is next when several accounts wait for the same resource and the cost of a turn is only known afterwards.
//!
//! It has the guarantees of deficit round robin: the resource is never idle while somebody waits, and shares are proportional to weights. They
//! differ by at most one quantum, which here is the most expensive single turn. Virtual time replaces rounds, so estimates may be wrong and
//! accounts may come and go. Each account has a time, which its costs advance. The waiting account with the earliest time is next.

use std::collections::{BTreeSet, VecDeque};
use std::hash::Hash;
use std::num::NonZeroU32;

use hospes_core::id::ById;

/// How far a cost of one advances the time of an account with weight one. Costs are divided by weights, and this factor keeps the fractions.
const SCALE: u128 = 1 << 20;

/// The number of remembered accounts above which those without debt are dropped.
const REMEMBERED_MIN: usize = 64;

/// The queue of one resource. `K` is an account. `W` is a waiter: a channel to wake, a job, a task.
///
/// Costs may have any unit, such as nanoseconds, but all must have the same.
#[derive(Debug)]
pub struct Turns<K, W> {
    accounts: ById<K, QueuedAccount<W>>,
    /// The waiting accounts in order of time. Accounts with equal times are in the order in which they began to wait.
    order: BTreeSet<(u128, u64, K)>,
    weights: Weights<K>,
    /// The virtual time at which the last turn began. An account that begins to wait starts at this time or later, so that it cannot save up
    /// turns while it is absent.
    now: u128,
    waiting: usize,
    /// The number of arrivals so far.
    came: u64,
    remembered_max: usize,
}

/// What says an account's weight. It is asked whenever the account is entered, so that a forgotten account has it again.
#[derive(Debug)]
enum Weights<K> {
    /// Those of some accounts. Others weigh one.
    Table(ById<K, NonZeroU32>),
    /// Each key has its own.
    OfKey(fn(&K) -> NonZeroU32),
}

impl<K: Eq + Hash> Weights<K> {
    fn of(&self, key: &K) -> NonZeroU32 {
        match self {
            Self::Table(table) => table.get(key).copied().unwrap_or(NonZeroU32::MIN),
            Self::OfKey(weight) => weight(key),
        }
    }
}

#[derive(Debug)]
struct QueuedAccount<W> {
    time: u128,
    weight: NonZeroU32,
    /// The number of the arrival with which it began to wait.
    since: u64,
    line: VecDeque<(Ticket, u64, W)>,
}

/// Identifies a place in the queue, so that it can be given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// A turn. Its cost is settled when it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Turn<K, W> {
    pub key: K,
    /// The cost that the account was charged in advance. Pass it to [`Turns::settle`].
    pub estimate: u64,
    pub waiter: W,
}

impl<K: Clone + Eq + Hash + Ord, W> Default for Turns<K, W> {
    fn default() -> Self {
        Self::new(ById::default())
    }
}

impl<K: Clone + Eq + Hash + Ord, W> Turns<K, W> {
    /// A queue with shares in proportion to `weights`. The default weight is one.
    pub fn new(weights: ById<K, NonZeroU32>) -> Self {
        Self::weighed(Weights::Table(weights))
    }

    /// A queue with shares in proportion to the weights that the keys have. Keys with different weights are different accounts.
    pub fn weighed_by(weight: fn(&K) -> NonZeroU32) -> Self {
        Self::weighed(Weights::OfKey(weight))
    }

    fn weighed(weights: Weights<K>) -> Self {
        Self {
            accounts: ById::default(),
            order: BTreeSet::new(),
            weights,
            now: 0,
            waiting: 0,
            came: 0,
            remembered_max: REMEMBERED_MIN,
        }
    }

    /// Number of waiters.
    pub fn len(&self) -> usize {
        self.waiting
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Number of one account's waiters.
    pub fn len_of(&self, key: &K) -> usize {
        self.accounts.get(key).map_or(0, |account| account.line.len())
    }

    /// Takes a place in the queue. `estimate` is the expected cost. A wrong estimate affects fairness until the turn is settled.
    pub fn push(&mut self, key: K, estimate: u64, waiter: W) -> Ticket {
        let ticket = Ticket(self.came);
        self.came += 1;
        self.forget();
        let now = self.now;
        let account = Self::account(&mut self.accounts, &self.weights, now, &key);
        account.line.push_back((ticket, estimate, waiter));
        if account.line.len() == 1 {
            account.time = account.time.max(now);
            account.since = ticket.0;
            self.order.insert((account.time, account.since, key));
        }
        self.waiting += 1;
        ticket
    }

    /// The next turn.
    pub fn next_turn(&mut self) -> Option<Turn<K, W>> {
        self.next_turn_of(|_| true)
    }

    /// The next turn among the accounts for which `may` is true. Others keep their places.
    pub fn next_turn_of(&mut self, mut may: impl FnMut(&K) -> bool) -> Option<Turn<K, W>> {
        let entry = self.order.iter().find(|(_, _, key)| may(key))?.clone();
        self.order.remove(&entry);
        let (time, since, key) = entry;
        let account = self.accounts.get_mut(&key).expect("invariant: who waits has an account");
        let (_, estimate, waiter) =
            account.line.pop_front().expect("invariant: who is in the order has somebody waiting");
        self.waiting -= 1;
        self.now = self.now.max(time);
        account.time = time.saturating_add(span(estimate, account.weight));
        if !account.line.is_empty() {
            self.order.insert((account.time, since, key.clone()));
        }
        Some(Turn { key, estimate, waiter })
    }

    /// Charges for a turn that needed no waiting, as [`Turns::push`] and [`Turns::next_turn`] would.
    pub fn pass(&mut self, key: &K, estimate: u64) {
        self.forget();
        let now = self.now;
        let account = Self::account(&mut self.accounts, &self.weights, now, key);
        let span = span(estimate, account.weight);
        if account.line.is_empty() {
            self.now = account.time.max(now);
            account.time = self.now.saturating_add(span);
        } else {
            self.charge(key, |time| time.saturating_add(span));
        }
    }

    /// Corrects the charge of a turn when its cost is known.
    pub fn settle(&mut self, key: &K, estimate: u64, actual: u64) {
        let now = self.now;
        let account = Self::account(&mut self.accounts, &self.weights, now, key);
        let weight = account.weight;
        if actual >= estimate {
            self.charge(key, |time| time.saturating_add(span(actual - estimate, weight)));
        } else {
            self.charge(key, |time| time.saturating_sub(span(estimate - actual, weight)));
        }
    }

    /// Gives up a place, if it still exists, and returns its waiter.
    pub fn remove(&mut self, key: &K, ticket: Ticket) -> Option<W> {
        let account = self.accounts.get_mut(key)?;
        let place = account.line.binary_search_by_key(&ticket, |(ticket, _, _)| *ticket).ok()?;
        let (_, _, waiter) = account.line.remove(place)?;
        self.waiting -= 1;
        if account.line.is_empty() {
            self.order.remove(&(account.time, account.since, key.clone()));
        }
        Some(waiter)
    }

    /// Changes an account's time, and its position in the order if it waits.
    fn charge(&mut self, key: &K, change: impl FnOnce(u128) -> u128) {
        let account = self.accounts.get_mut(key).expect("invariant: callers have made it");
        let before = account.time;
        account.time = change(before);
        if !account.line.is_empty() && account.time != before {
            self.order.remove(&(before, account.since, key.clone()));
            self.order.insert((account.time, account.since, key.clone()));
        }
    }

    fn account<'a>(
        accounts: &'a mut ById<K, QueuedAccount<W>>,
        weights: &Weights<K>,
        now: u128,
        key: &K,
    ) -> &'a mut QueuedAccount<W> {
        if !accounts.contains_key(key) {
            let weight = weights.of(key);
            let account = QueuedAccount { time: now, weight, since: 0, line: VecDeque::new() };
            accounts.insert(key.clone(), account);
        }
        accounts.get_mut(key).expect("invariant: it has just been made")
    }

    /// Drops accounts without waiters or debt. They would start at `now` anyway.
    fn forget(&mut self) {
        if self.accounts.len() > self.remembered_max {
            let now = self.now;
            self.accounts.retain(|_, account| !account.line.is_empty() || account.time > now);
            self.remembered_max = (self.accounts.len() * 2).max(REMEMBERED_MIN);
        }
    }
}

/// How far a cost advances the time of an account with this weight.
fn span(cost: u64, weight: NonZeroU32) -> u128 {
    u128::from(cost) * SCALE / u128::from(weight.get())
}

#[cfg(test)]
mod tests;
