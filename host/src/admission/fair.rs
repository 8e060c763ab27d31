//! Fair turns at things of which there are a few, such as threads that write to the disk: shared among those who ask by the time that
//! their turns take, and among accounts by their weights. Whoever waits does so a bounded time, in a bounded line.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::heavy::TurnError;
use super::slots::may_take_more;
use super::turns::{Ticket, Turn, Turns};
use crate::id::{AccountName, ById};

/// Who asks for a turn. All strangers together are one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Asker {
    Stranger,
    Account(AccountName),
    /// Never waits: what an operator does has to work when nothing else does.
    Operator,
}

/// How many turns there are, and how they are waited for.
#[derive(Debug, Clone)]
pub struct FairLine {
    /// At once.
    pub turns: usize,
    /// Of one account at once. It never has more than three times what is free, so that others find some.
    pub each_max: usize,
    /// Who may wait.
    pub waiting_max: usize,
    /// How long each of them waits.
    pub wait_max: Duration,
    /// What a turn is expected to take. It is corrected when the turn is over.
    pub expected: Duration,
    /// Shares of accounts, where they are not 1.
    pub weights: ById<AccountName, NonZeroU32>,
}

/// Turns at one kind of work.
#[derive(Debug)]
pub struct FairTurns(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    turns: usize,
    each_max: usize,
    waiting_max: usize,
    wait_max: Duration,
    expected_nanos: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    held: ById<Asker, usize>,
    /// As long as turns are free, nobody waits here who may take one.
    line: Turns<Asker, oneshot::Sender<FairTurn>>,
}

/// A turn. Dropping it gives it to the next.
#[must_use]
#[derive(Debug)]
pub struct FairTurn(#[expect(dead_code, reason = "held for its drop")] Option<Held>);

#[derive(Debug)]
struct Held {
    shared: Arc<Shared>,
    asker: Asker,
    since: Instant,
}

impl FairTurns {
    /// All turns, free.
    pub fn new(line: FairLine) -> Self {
        let FairLine { turns, each_max, waiting_max, wait_max, expected, weights } = line;
        let weights = weights.into_iter().map(|(name, weight)| (Asker::Account(name), weight));
        let line = Turns::new(weights.collect());
        let state = Mutex::new(State { free: turns, held: ById::default(), line });
        let expected_nanos = nanos(expected);
        Self(Arc::new(Shared { turns, each_max, waiting_max, wait_max, expected_nanos, state }))
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// [`TurnError::Full`] and [`TurnError::ShareFull`] at once, [`TurnError::Timeout`] after the wait.
    pub async fn take(&self, asker: &Asker) -> Result<FairTurn, TurnError> {
        let mut place = match self.take_or_wait(asker)? {
            Ok(turn) => return Ok(turn),
            Err(place) => place,
        };
        let waited = self.0.wait_max;
        if let Ok(Ok(turn)) = tokio::time::timeout(waited, &mut place.turn).await {
            return Ok(turn);
        }
        // It may have come at the last moment.
        place.give_up();
        let turns = self.0.turns;
        place.turn.try_recv().map_err(|_| TurnError::Timeout { waited, turns })
    }

    fn take_or_wait(&self, asker: &Asker) -> Result<Result<FairTurn, Place<'_>>, TurnError> {
        let shared = &self.0;
        if *asker == Asker::Operator {
            return Ok(Ok(FairTurn(None)));
        }
        let mut state = shared.lock();
        if shared.may_take(&state, asker) {
            state.line.pass(asker, shared.expected_nanos);
            state.take(asker);
            drop(state);
            return Ok(Ok(shared.turn(asker.clone())));
        }
        let waiting_max = shared.waiting_max;
        let (waiting, own) = (state.line.len(), state.line.len_of(asker));
        if waiting >= waiting_max {
            return Err(TurnError::Full { waiting_max });
        }
        if !may_take_more(own, waiting_max - waiting) {
            return Err(TurnError::ShareFull { own, waiting_max });
        }
        let (sender, turn) = oneshot::channel();
        let ticket = state.line.push(asker.clone(), shared.expected_nanos, sender);
        drop(state);
        Ok(Err(Place { shared, asker: asker.clone(), ticket, turn }))
    }
}

impl State {
    fn take(&mut self, asker: &Asker) {
        self.free -= 1;
        *self.held.entry(asker.clone()).or_default() += 1;
    }

    fn give_back(&mut self, asker: &Asker) {
        self.free += 1;
        if let Some(held) = self.held.get_mut(asker) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(asker);
            }
        }
    }
}

impl Shared {
    fn may_take(&self, state: &State, asker: &Asker) -> bool {
        may_have(self.each_max, state.held.get(asker), state.free)
    }

    fn turn(self: &Arc<Self>, asker: Asker) -> FairTurn {
        FairTurn(Some(Held { shared: Arc::clone(self), asker, since: Instant::now() }))
    }

    /// Nothing panics while this is held.
    fn lock(&self) -> MutexGuard<'_, State> {
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

impl Drop for Held {
    fn drop(&mut self) {
        let Self { shared, asker, since } = self;
        let mut state = shared.lock();
        state.give_back(asker);
        state.line.settle(asker, shared.expected_nanos, nanos(since.elapsed()));
        loop {
            let State { free, held, line } = &mut *state;
            let may = |key: &Asker| may_have(shared.each_max, held.get(key), *free);
            let Some(Turn { key, waiter, .. }) = line.next_turn_of(may) else { return };
            state.take(&key);
            drop(state);
            // Who has left in this moment gives it back by dropping it.
            let _ = waiter.send(shared.turn(key));
            state = shared.lock();
        }
    }
}

/// A place in the line, given up when dropped: also when its owner stops waiting.
struct Place<'a> {
    shared: &'a Shared,
    asker: Asker,
    ticket: Ticket,
    turn: oneshot::Receiver<FairTurn>,
}

impl Place<'_> {
    fn give_up(&self) {
        let left = self.shared.lock().line.remove(&self.asker, self.ticket);
        drop(left);
    }
}

impl Drop for Place<'_> {
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
        assert_eq!((state.free, state.held.len(), state.line.len()), (2, 0, 0));
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
