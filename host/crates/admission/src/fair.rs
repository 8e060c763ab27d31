//! Fair scheduling of scarce resources, such as threads that write to the disk. Accounts share the time of a resource in proportion to their
//! weights. The number of waiters and the waiting time are limited.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::heavy::TurnError;
use super::share::may_take_more;
use super::turns::{Cost, Ticket, Turn, Turns};
use super::wish::{Late, Wish};
use hospes_core::id::{AccountName, ById};

/// Who asks for a turn. All unauthenticated clients together count as one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Asker {
    Stranger,
    Account(AccountName),
    /// Never waits. The operator must get through when nothing else works.
    Operator,
}

impl Asker {
    /// The accounts' shares.
    pub fn weights<'a>(
        accounts: impl IntoIterator<Item = (&'a AccountName, &'a NonZeroU32)>,
    ) -> ById<Self, NonZeroU32> {
        let accounts = accounts.into_iter();
        accounts.map(|(name, weight)| (Self::Account(name.clone()), *weight)).collect()
    }
}

/// The number of turns, and the limits on waiting for them.
#[derive(Debug, Clone)]
pub struct FairLine<K: Key = Asker> {
    /// Concurrent turns.
    pub turns: usize,
    /// Concurrent turns of one account. If there are at least four turns, [`may_take_more`] also leaves some to others.
    pub each_max: usize,
    /// Maximum waiters.
    pub waiting_max: usize,
    /// Maximum wait.
    pub wait_max: Duration,
    /// Expected duration of a turn, corrected by the actual one.
    pub expected: Duration,
    /// Weights, where they are not 1.
    pub weights: ById<K, NonZeroU32>,
}

/// What distinguishes the parties that share turns, such as accounts.
pub trait Key: Clone + Eq + Hash + Ord {}

impl<K: Clone + Eq + Hash + Ord> Key for K {}

/// Why nobody gets a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoTurn {
    Full {
        waiting_max: usize,
    },
    ShareFull {
        own: usize,
        waiting_max: usize,
    },
    Timeout {
        waited: Duration,
        turns: usize,
    },
    /// The turn would end after the waiter's deadline. It has not waited.
    Late(Late),
    /// The waiter's deadline came before its turn.
    Overdue {
        waited: Duration,
    },
}

impl From<NoTurn> for TurnError {
    fn from(none: NoTurn) -> Self {
        match none {
            NoTurn::Full { waiting_max } => TurnError::Full { waiting_max },
            NoTurn::ShareFull { own, waiting_max } => TurnError::ShareFull { own, waiting_max },
            NoTurn::Timeout { waited, turns } => TurnError::Timeout { waited, turns },
            // Only a waiter with a deadline gets these.
            NoTurn::Late(Late { wait: waited, .. }) | NoTurn::Overdue { waited } => {
                TurnError::Timeout { waited, turns: 0 }
            }
        }
    }
}

/// The turns of one kind of work.
#[derive(Debug)]
pub struct FairTurns<K: Key = Asker>(Arc<Shared<K>>);

#[derive(Debug)]
struct Shared<K: Key> {
    turns: usize,
    each_max: usize,
    waiting_max: usize,
    wait_max: Duration,
    expected_nanos: u64,
    state: Mutex<State<K>>,
}

#[derive(Debug)]
struct State<K: Key> {
    free: usize,
    /// The turns that each account holds. Accounts stay here after their turn, because most come back soon.
    held: ById<K, usize>,
    /// The waiters. While turns are free, only accounts that may not take one wait.
    line: Turns<K, oneshot::Sender<FairTurn<K>>>,
}

/// A turn. Dropping it gives it to the next waiter.
#[must_use]
#[derive(Debug)]
pub struct FairTurn<K: Key = Asker>(
    #[allow(dead_code, reason = "held for its drop; the compiler sees that of one key only")]
    Option<Held<K>>,
);

#[derive(Debug)]
struct Held<K: Key> {
    shared: Arc<Shared<K>>,
    key: K,
    since: Instant,
    /// The cost that the account was charged in advance.
    estimate: u64,
}

impl FairTurns {
    /// Waits for a turn.
    ///
    /// # Errors
    /// [`TurnError::Full`] and [`TurnError::ShareFull`] at once, [`TurnError::Timeout`] after the wait.
    pub async fn take(&self, asker: &Asker) -> Result<FairTurn, TurnError> {
        match asker {
            Asker::Operator => Ok(FairTurn(None)),
            asker => Ok(self.wait(asker, &Wish::default()).await?),
        }
    }
}

impl<K: Key> FairTurns<K> {
    /// Creates the turns, all free.
    pub fn new(line: FairLine<K>) -> Self {
        let FairLine { turns, each_max, waiting_max, wait_max, expected, weights } = line;
        let line = Turns::new(weights);
        let state = Mutex::new(State { free: turns, held: ById::default(), line });
        let expected_nanos = nanos(expected);
        Self(Arc::new(Shared { turns, each_max, waiting_max, wait_max, expected_nanos, state }))
    }

    /// The number of free turns.
    pub(super) fn free(&self) -> usize {
        self.0.lock().free
    }

    /// The number of waiters.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.0.lock().line.len()
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// [`NoTurn::Full`], [`NoTurn::ShareFull`] and [`NoTurn::Late`] at once, [`NoTurn::Timeout`] and [`NoTurn::Overdue`] after the wait.
    pub(super) async fn wait(&self, key: &K, wish: &Wish) -> Result<FairTurn<K>, NoTurn> {
        let came = Instant::now();
        let mut place = match self.take_or_wait(key, wish, came)? {
            Ok(turn) => return Ok(turn),
            Err(place) => place,
        };
        let left = wish.until.map(|until| until.saturating_duration_since(came));
        let waited = left.map_or(self.0.wait_max, |left| left.min(self.0.wait_max));
        if let Ok(Ok(turn)) = tokio::time::timeout(waited, &mut place.turn).await {
            return Ok(turn);
        }
        // The turn may have arrived at the last moment.
        place.give_up();
        let turns = self.0.turns;
        place.turn.try_recv().map_err(|_| {
            let is_overdue = left.is_some_and(|left| left <= self.0.wait_max);
            if is_overdue { NoTurn::Overdue { waited } } else { NoTurn::Timeout { waited, turns } }
        })
    }

    fn take_or_wait(
        &self,
        key: &K,
        wish: &Wish,
        now: Instant,
    ) -> Result<Result<FairTurn<K>, Place<'_, K>>, NoTurn> {
        let shared = &self.0;
        let cost = shared.cost(wish);
        let mut state = shared.lock();
        if may_have(shared.each_max, state.held.get(key), state.free) {
            if let Some(late) = wish.comes_too_late(0, 1, now) {
                return Err(NoTurn::Late(late));
            }
            state.line.pass(key, cost.estimate);
            state.take(key);
            drop(state);
            return Ok(Ok(shared.turn(key.clone(), cost.estimate)));
        }
        let waiting_max = shared.waiting_max;
        let (waiting, own) = (state.line.len(), state.line.len_of(key));
        if waiting >= waiting_max {
            return Err(NoTurn::Full { waiting_max });
        }
        if !may_take_more(own, waiting_max - waiting) {
            return Err(NoTurn::ShareFull { own, waiting_max });
        }
        if let Some(late) = state.line.comes_too_late(key, wish, shared.turns, now) {
            return Err(NoTurn::Late(late));
        }
        let (sender, turn) = oneshot::channel();
        let ticket = state.line.push(key.clone(), wish.priority, cost, sender);
        drop(state);
        Ok(Err(Place { shared, key: key.clone(), ticket, turn }))
    }
}

impl<K: Key> State<K> {
    fn take(&mut self, key: &K) {
        self.free -= 1;
        match self.held.get_mut(key) {
            Some(held) => *held += 1,
            None => {
                self.held.insert(key.clone(), 1);
            }
        }
    }

    fn give_back(&mut self, key: &K) {
        self.free += 1;
        if let Some(held) = self.held.get_mut(key) {
            *held -= 1;
        }
    }
}

impl<K: Key> Shared<K> {
    fn turn(self: &Arc<Self>, key: K, estimate: u64) -> FairTurn<K> {
        FairTurn(Some(Held { shared: Arc::clone(self), key, since: Instant::now(), estimate }))
    }

    fn cost(&self, wish: &Wish) -> Cost {
        match wish.takes {
            Some(takes) => Cost { estimate: takes.mean_nanos, is_known: true },
            None => Cost::guess(self.expected_nanos),
        }
    }

    /// Nothing panics while holding this lock.
    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn may_have(each_max: usize, held: Option<&usize>, free: usize) -> bool {
    let held = held.copied().unwrap_or(0);
    held < each_max && may_take_more(held, free)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl<K: Key> Drop for Held<K> {
    fn drop(&mut self) {
        let Self { shared, key, since, estimate } = self;
        let taken = nanos(since.elapsed());
        let mut state = shared.lock();
        state.give_back(key);
        state.line.settle(key, *estimate, taken);
        loop {
            let State { free, held, line } = &mut *state;
            let may = |key: &K| may_have(shared.each_max, held.get(key), *free);
            let Some(Turn { key, estimate, waiter }) = line.next_turn_of(may) else { return };
            state.take(&key);
            drop(state);
            // If the waiter has just left, the turn is dropped here and so returned.
            let _ = waiter.send(shared.turn(key, estimate));
            state = shared.lock();
        }
    }
}

/// A place in the queue. It is given up when dropped, for example because its owner has left.
struct Place<'a, K: Key> {
    shared: &'a Shared<K>,
    key: K,
    ticket: Ticket,
    turn: oneshot::Receiver<FairTurn<K>>,
}

impl<K: Key> Place<'_, K> {
    fn give_up(&self) {
        let left = self.shared.lock().line.remove(&self.key, self.ticket);
        drop(left);
    }
}

impl<K: Key> Drop for Place<'_, K> {
    fn drop(&mut self) {
        self.give_up();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn account(name: &str) -> Asker {
        Asker::Account(name.parse().expect("a name"))
    }

    fn line(turns: usize, each_max: usize) -> FairLine {
        FairLine {
            turns,
            each_max,
            waiting_max: 8,
            wait_max: Duration::from_millis(50),
            expected: Duration::from_millis(1),
            weights: ById::default(),
        }
    }

    #[tokio::test]
    async fn an_account_has_its_turns_and_does_not_take_those_of_others() {
        let turns = FairTurns::new(line(2, 1));
        let first = turns.take(&account("acme")).await.expect("free");
        let again = turns.take(&account("acme")).await.expect_err("it has one");
        assert!(matches!(again, TurnError::Timeout { turns: 2, .. }), "{again}");
        let second = turns.take(&account("zoe")).await.expect("free");
        assert!(turns.take(&account("ann")).await.is_err(), "two are at work");
        assert!(turns.take(&Asker::Operator).await.is_ok(), "the operator never waits");
        drop(first);
        let third = turns.take(&account("ann")).await.expect("free again");
        drop((second, third));
        assert!(turns.take(&account("acme")).await.is_ok());
        let state = turns.0.lock();
        let held: usize = state.held.values().sum();
        assert_eq!((state.free, held, state.line.len()), (2, 0, 0));
    }

    #[tokio::test]
    async fn who_comes_later_does_not_wait_for_all_that_another_has_asked_for() {
        let all = FairLine { wait_max: Duration::from_secs(30), ..line(1, 1) };
        let turns = Arc::new(FairTurns::new(all));
        let first = turns.take(&account("acme")).await.expect("free");
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for name in ["acme", "acme", "acme", "zoe", "bob"] {
            let (turns, order) = (Arc::clone(&turns), Arc::clone(&order));
            tasks.push(tokio::spawn(async move {
                let _turn = turns.take(&account(name)).await.expect("a turn");
                order.lock().expect("whole").push(name);
            }));
            tokio::task::yield_now().await;
        }
        std::thread::sleep(Duration::from_millis(20));
        drop(first);
        for task in tasks {
            task.await.expect("ends");
        }
        assert_eq!(*order.lock().expect("whole"), ["zoe", "bob", "acme", "acme", "acme"]);
    }

    #[tokio::test]
    async fn an_account_of_weight_four_has_four_turns_for_one_of_others() {
        let weights = [("acme".parse().expect("a name"), NonZeroU32::new(4).expect("not zero"))];
        let weights = Asker::weights(weights.iter().map(|(name, weight)| (name, weight)));
        let all =
            FairLine { waiting_max: 200, wait_max: Duration::from_secs(30), weights, ..line(1, 1) };
        let turns = Arc::new(FairTurns::new(all));
        let first = turns.take(&account("bob")).await.expect("free");
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for name in ["acme", "zoe"].into_iter().cycle().take(80) {
            let (turns, order) = (Arc::clone(&turns), Arc::clone(&order));
            tasks.push(tokio::spawn(async move {
                let turn = turns.take(&account(name)).await.expect("a turn");
                std::thread::sleep(Duration::from_millis(2));
                order.lock().expect("whole").push(name);
                drop(turn);
            }));
            tokio::task::yield_now().await;
        }
        drop(first);
        for task in tasks {
            task.await.expect("ends");
        }
        let order = order.lock().expect("whole");
        let of_zoe = order[..50].iter().filter(|name| **name == "zoe").count();
        // It would be exactly ten if all turns took the same time.
        assert!((5..=15).contains(&of_zoe), "{order:?}");
    }

    #[tokio::test]
    async fn the_line_has_an_end_and_nobody_fills_it_alone() {
        let turns = FairTurns::new(FairLine { wait_max: Duration::from_secs(30), ..line(1, 1) });
        let _held = turns.take(&account("acme")).await.expect("free");
        let (acme, zoe) = (account("acme"), account("zoe"));
        let mut waiting = Vec::new();
        let refused = loop {
            let mut turn = Box::pin(turns.take(&acme));
            match (&mut turn).now_or_never() {
                Some(ended) => break ended.expect_err("none is free"),
                None => waiting.push(turn),
            }
            assert!(waiting.len() < 8, "it has filled the line");
        };
        assert_eq!(refused, TurnError::ShareFull { own: 6, waiting_max: 8 });
        let mut others = [Box::pin(turns.take(&zoe)), Box::pin(turns.take(&zoe))];
        for other in &mut others {
            assert!(other.now_or_never().is_none(), "there is room for others");
        }
        let full = turns.take(&account("bob")).await.expect_err("eight wait");
        assert_eq!(full, TurnError::Full { waiting_max: 8 });
        drop((waiting, others));
        assert_eq!(turns.0.lock().line.len(), 0, "who leaves keeps no place");
    }
}
