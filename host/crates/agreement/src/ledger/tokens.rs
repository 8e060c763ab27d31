//! Tokens: a call's number is known only while it computes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Ledger, Metered};

/// One call's tokens, reserved per computation.
#[derive(Debug)]
pub struct TokenTab {
    ledgers: Vec<Arc<Ledger>>,
    tab: Mutex<Tab>,
}

#[derive(Debug, Default)]
struct Tab {
    taken: u64,
    /// After the end of the call no more are taken.
    closed: bool,
}

impl TokenTab {
    pub(super) fn new(ledgers: Vec<Arc<Ledger>>) -> Self {
        Self { ledgers, tab: Mutex::default() }
    }

    /// Reserves tokens for one computation from every ledger, or from none.
    pub fn take(&self, tokens: u64) -> bool {
        let mut tab = self.tab.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if tab.closed {
            return false;
        }
        let amounts = [0, 0, 0, tokens];
        for (index, ledger) in self.ledgers.iter().enumerate() {
            let mut tally = ledger.lock();
            let left = ledger.limits.left(&tally, Metered::Tokens);
            if left.is_none_or(|(left, _, _)| tokens <= left) {
                tally.reserve(&amounts, Duration::ZERO);
                continue;
            }
            drop(tally);
            for before in &self.ledgers[..index] {
                before.lock().give_back(&amounts);
            }
            return false;
        }
        tab.taken = tab.taken.saturating_add(tokens);
        true
    }

    /// Gives back tokens that were taken and not used, while the call runs.
    pub fn give_back(&self, tokens: u64) {
        let mut tab = self.tab.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let tokens = tokens.min(tab.taken);
        tab.taken -= tokens;
        for ledger in &self.ledgers {
            ledger.lock().give_back(&[0, 0, 0, tokens]);
        }
    }

    /// The number taken. No more are taken.
    pub(super) fn close(&self) -> u64 {
        let mut tab = self.tab.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        tab.closed = true;
        std::mem::take(&mut tab.taken)
    }
}
