//! Fair queueing: decides who is next when several accounts wait for the same resource and the cost of a turn is only known afterwards.
//!
//! It has the guarantees of deficit round robin: the resource is never idle while somebody waits, and shares are proportional to weights. They
//! differ by at most one quantum, which here is the most expensive single turn. Virtual time replaces rounds, so estimates may be wrong and
//! accounts may come and go. Each account has a time, which its costs advance. The waiting account with the earliest time is next. Which of
//! its waiters has the account's turn is a matter of [`Priority`], then of arrival.

use std::collections::{BTreeSet, VecDeque};
use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Instant;

use super::wish::{Late, Priority, Wish};
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
    /// The sum of the known costs of all waiters.
    known: u64,
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
    /// In order of priority, then of arrival.
    line: VecDeque<(Ticket, Cost, W)>,
    /// The sum of the known costs in the line.
    known: u64,
}

/// Identifies a place in the queue, so that it can be given up. Of two places of one account the lesser is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    priority: Priority,
    number: u64,
}

/// The expected cost of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// What the account is charged in advance.
    pub estimate: u64,
    /// Whether that was measured. Only what was measured counts in [`Turns::ahead`].
    pub is_known: bool,
}

impl Cost {
    /// A guess.
    pub fn guess(estimate: u64) -> Self {
        Self { estimate, is_known: false }
    }

    fn known(self) -> u64 {
        if self.is_known { self.estimate } else { 0 }
    }
}

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
            known: 0,
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

    /// Takes a place in the queue. A wrong cost affects fairness until the turn is settled.
    pub fn push(&mut self, key: K, priority: Priority, cost: Cost, waiter: W) -> Ticket {
        let ticket = Ticket { priority, number: self.came };
        self.came += 1;
        self.forget();
        let now = self.now;
        let account = Self::account(&mut self.accounts, &self.weights, now, &key);
        let place = account.line.partition_point(|(other, _, _)| *other < ticket);
        account.line.insert(place, (ticket, cost, waiter));
        account.known = account.known.saturating_add(cost.known());
        if account.line.len() == 1 {
            account.time = account.time.max(now);
            account.since = ticket.number;
            self.order.insert((account.time, account.since, key));
        }
        self.waiting += 1;
        self.known = self.known.saturating_add(cost.known());
        ticket
    }

    /// The next turn.
    pub fn next_turn(&mut self) -> Option<Turn<K, W>> {
        self.next_turn_of(|_| true)
    }

    /// The next turn among the accounts for which `may` is true. Others keep their places.
    pub fn next_turn_of(&mut self, mut may: impl FnMut(&K) -> bool) -> Option<Turn<K, W>> {
        let entry = self.order.iter().find(|(_, _, key)| may(key))?.clone();
        self.now = self.now.max(entry.0);
        Some(self.take(entry, 0))
    }

    /// The next turn among the waiters for which `fits` is true. It is taken along with another turn, so that no time passes for others.
    pub fn next_turn_that(&mut self, fits: impl Fn(&K, &W) -> bool) -> Option<Turn<K, W>> {
        let (entry, place) = self.order.iter().find_map(|entry| {
            let account = self.accounts.get(&entry.2)?;
            let place = account.line.iter().position(|(_, _, waiter)| fits(&entry.2, waiter))?;
            Some((entry.clone(), place))
        })?;
        Some(self.take(entry, place))
    }

    /// Takes the waiter at this place of an account's line.
    fn take(&mut self, entry: (u128, u64, K), place: usize) -> Turn<K, W> {
        self.order.remove(&entry);
        let (time, since, key) = entry;
        let account = self.accounts.get_mut(&key).expect("invariant: who waits has an account");
        let (_, cost, waiter) =
            account.line.remove(place).expect("invariant: callers have seen who waits there");
        self.waiting -= 1;
        self.known = self.known.saturating_sub(cost.known());
        account.known = account.known.saturating_sub(cost.known());
        account.time = time.saturating_add(span(cost.estimate, account.weight));
        if !account.line.is_empty() {
            self.order.insert((account.time, since, key.clone()));
        }
        Turn { key, estimate: cost.estimate, waiter }
    }

    /// Whether a waiter who would come now could not end in time, if `at_once` turns run at the same time.
    pub fn comes_too_late(
        &self,
        key: &K,
        wish: &Wish,
        at_once: usize,
        now: Instant,
    ) -> Option<Late> {
        // Most have time enough for all that waits, which is quickly seen.
        wish.comes_too_late(self.known, at_once, now)?;
        wish.comes_too_late(self.ahead(key, wish.priority), at_once, now)
    }

    /// The known costs of the turns that come before that of a waiter who would come now: those of its own account that are not behind it,
    /// and of each other account what it may take until then. It is rather too little than too much: what runs, what is not known and the
    /// last turn of each other account do not count.
    pub fn ahead(&self, key: &K, priority: Priority) -> u64 {
        let (mut ahead, mut at) = (0_u64, self.now);
        if let Some(account) = self.accounts.get(key) {
            let before = account.line.iter().take_while(|(other, _, _)| other.priority <= priority);
            let costs = before.map(|(_, cost, _)| cost.known());
            ahead = costs.fold(0, u64::saturating_add);
            at = at.max(account.time).saturating_add(span(ahead, account.weight));
        }
        for (time, _, other) in self.order.iter().take_while(|(time, _, _)| *time < at) {
            if let Some(account) = self.accounts.get(other).filter(|_| other != key) {
                let until_then = (at - time).saturating_mul(account.weight.get().into()) / SCALE;
                let until_then = u64::try_from(until_then).unwrap_or(u64::MAX);
                ahead = ahead.saturating_add(until_then.min(account.known));
            }
        }
        ahead
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
        let (_, cost, waiter) = account.line.remove(place)?;
        account.known = account.known.saturating_sub(cost.known());
        self.known = self.known.saturating_sub(cost.known());
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
            let line = VecDeque::new();
            let account = QueuedAccount { time: now, weight, since: 0, line, known: 0 };
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
