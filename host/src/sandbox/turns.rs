//! Whose turn it is to compile: accounts take turns, and each has one at a time.
//!
//! A publisher that hands in ten components waits for its own nine; another one's first is next.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::oneshot;

use crate::id::AccountName;

/// Gives turns to accounts, in turn.
pub(super) struct Turns {
    state: Mutex<State>,
}

struct State {
    free: usize,
    /// Who has a turn. At most as many as there are turns.
    at_work: Vec<AccountName>,
    /// Who waits, by account; the account at the front is next. As long as there are requests that wait.
    waiting: VecDeque<(AccountName, VecDeque<oneshot::Sender<Turn>>)>,
}

/// Held while compiling. Whoever is next gets it when it is dropped.
pub(super) struct Turn {
    account: AccountName,
    turns: Arc<Turns>,
}

impl Turns {
    pub(super) fn new(count: usize) -> Arc<Self> {
        let (at_work, waiting) = (Vec::new(), VecDeque::new());
        Arc::new(Self { state: Mutex::new(State { free: count, at_work, waiting }) })
    }

    /// Waits for a turn of `account`.
    pub(super) async fn take(self: &Arc<Self>, account: &AccountName) -> Turn {
        let (give, given) = oneshot::channel();
        {
            let mut state = self.lock();
            match state.waiting.iter_mut().find(|(name, _)| name == account) {
                Some((_, queue)) => queue.push_back(give),
                None => state.waiting.push_back((account.clone(), VecDeque::from([give]))),
            }
        }
        self.hand_out();
        given.await.expect("invariant: who waits is kept until it gets its turn")
    }

    /// Gives what is free to those who are next.
    fn hand_out(self: &Arc<Self>) {
        loop {
            let Some((account, give)) = self.lock().next() else { return };
            let turn = Turn { account, turns: Arc::clone(self) };
            // Whoever has just stopped waiting gives it back by this.
            drop(give.send(turn));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl State {
    fn next(&mut self) -> Option<(AccountName, oneshot::Sender<Turn>)> {
        if self.free == 0 {
            return None;
        }
        // Those that no longer wait are not in the way, and there is no end of them otherwise.
        for (_, queue) in &mut self.waiting {
            queue.retain(|give| !give.is_closed());
        }
        self.waiting.retain(|(_, queue)| !queue.is_empty());
        let at_work = &self.at_work;
        let place = self.waiting.iter().position(|(name, _)| !at_work.contains(name))?;
        let (account, mut queue) = self.waiting.remove(place)?;
        let give = queue.pop_front()?;
        if !queue.is_empty() {
            self.waiting.push_back((account.clone(), queue));
        }
        self.free -= 1;
        self.at_work.push(account.clone());
        Some((account, give))
    }

    fn end(&mut self, account: &AccountName) {
        self.free += 1;
        if let Some(place) = self.at_work.iter().position(|name| name == account) {
            self.at_work.swap_remove(place);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.lock().end(&self.account);
        self.turns.hand_out();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn account(name: &str) -> AccountName {
        name.parse().expect("a name")
    }

    #[tokio::test]
    async fn accounts_take_turns_however_many_requests_one_has() {
        let turns = Turns::new(1);
        let first = turns.take(&account("acme")).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for name in ["acme", "acme", "acme", "zoe", "bob"] {
            let (waiting, order) = (Arc::clone(&turns), Arc::clone(&order));
            tasks.push(tokio::spawn(async move {
                let _turn = waiting.take(&account(name)).await;
                order.lock().expect("whole").push(name);
            }));
            tokio::task::yield_now().await;
        }
        drop(first);
        for task in tasks {
            task.await.expect("ends");
        }
        assert_eq!(*order.lock().expect("whole"), ["acme", "zoe", "bob", "acme", "acme"]);
    }

    #[tokio::test]
    async fn an_account_has_one_turn_though_others_are_free() {
        let turns = Turns::new(3);
        let held = turns.take(&account("acme")).await;
        let (acme, zoe) = (account("acme"), account("zoe"));
        let second = tokio::time::timeout(Duration::from_millis(20), turns.take(&acme));
        assert!(second.await.is_err(), "it waits for its own first");
        let other = tokio::time::timeout(Duration::from_millis(20), turns.take(&zoe));
        let other = other.await.expect("it does not wait for acme");
        drop(held);
        // The request that gave up has not kept the turn.
        turns.take(&account("acme")).await;
        drop(other);
        let state = turns.lock();
        assert_eq!((state.free, state.at_work.len(), state.waiting.len()), (3, 0, 0));
    }
}
