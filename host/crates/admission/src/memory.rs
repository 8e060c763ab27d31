//! Memory of guests and their tensors. It is limited in total, and no account can take all of it.

use std::sync::{Arc, Mutex, MutexGuard};

use super::share::may_take_more;
use hospes_core::id::{AccountName, ById};

/// Maximum bytes that are reserved for each call in advance, so that small calls never lack memory.
const OWN_BYTES_MAX: usize = 1 << 20;

/// These reserves together use at most one part in this many of all memory.
const OWN_PART: usize = 4;

/// There is not enough memory left for this call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "all calls together have {max} bytes of memory (`admission.memory_bytes_max`), and less than {wanted} are left for this account; try again shortly"
)]
pub struct MemoryExhausted {
    pub wanted: usize,
    pub max: usize,
}

/// The memory of all calls together.
#[derive(Debug, Clone)]
pub struct Memory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    max: usize,
    own: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    held: ById<AccountName, usize>,
}

/// A call's memory. Dropping it releases everything.
#[derive(Debug)]
pub struct Allotment {
    memory: Memory,
    account: AccountName,
    bytes: usize,
    /// The part taken from the shared memory.
    shared: usize,
}

impl Memory {
    /// Creates `max` bytes of memory for at most `calls` concurrent calls.
    pub fn new(max: usize, calls: usize) -> Self {
        let own = (max / OWN_PART / calls.max(1)).min(OWN_BYTES_MAX);
        let state = State { free: max - own * calls, held: ById::default() };
        Self(Arc::new(Shared { max, own, state: Mutex::new(state) }))
    }

    /// The memory of a new call of `account`, initially empty.
    pub fn open(&self, account: &AccountName) -> Allotment {
        Allotment { memory: self.clone(), account: account.clone(), bytes: 0, shared: 0 }
    }

    /// Free bytes, without the calls' reserves.
    pub fn free(&self) -> usize {
        self.lock().free
    }

    /// Nothing panics while holding this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Allotment {
    /// Takes `bytes` more, or nothing.
    ///
    /// # Errors
    /// [`MemoryExhausted`] if not enough is left, or not enough for this account.
    pub fn take(&mut self, bytes: usize) -> Result<(), MemoryExhausted> {
        let Shared { max, own, .. } = *self.memory.0;
        let wanted = self.bytes.saturating_add(bytes);
        let more = wanted.saturating_sub(own).saturating_sub(self.shared);
        if more > 0 {
            let mut state = self.memory.lock();
            let held = state.held.get(&self.account).copied().unwrap_or(0);
            let left = state.free.checked_sub(more);
            // The rule for sandboxes, but applied after taking: a single request may be large.
            let left = left.filter(|left| may_take_more(held.saturating_add(more) - 1, *left));
            state.free = left.ok_or(MemoryExhausted { wanted: bytes, max })?;
            state.held.insert(self.account.clone(), held + more);
            self.shared += more;
        }
        self.bytes = wanted;
        Ok(())
    }

    /// Releases `bytes`.
    pub fn give_back(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        let less = self.shared - self.bytes.saturating_sub(self.memory.0.own).min(self.shared);
        if less > 0 {
            self.shared -= less;
            let mut state = self.memory.lock();
            state.free += less;
            if let Some(held) = state.held.get_mut(&self.account) {
                *held -= less;
                if *held == 0 {
                    state.held.remove(&self.account);
                }
            }
        }
    }
}

impl Drop for Allotment {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> AccountName {
        text.parse().expect("a name")
    }

    #[test]
    fn one_account_gets_three_quarters_and_another_finds_room() {
        let memory = Memory::new(1 << 30, 64);
        let (own, all) = (1 << 20, (1 << 30) - (64 << 20));
        let mut first = memory.open(&name("mallory"));
        assert_eq!(first.take(own + all), Err(MemoryExhausted { wanted: own + all, max: 1 << 30 }));
        assert!(first.take(own + all / 4 * 3 + 1).is_err());
        first.take(own + all / 4 * 3).expect("three quarters");
        let mut again = memory.open(&name("mallory"));
        again.take(own).expect("a small call always has room");
        assert!(again.take(1).is_err(), "one account, however many calls");
        let mut second = memory.open(&name("zoe"));
        second.take(own + all / 16 * 3).expect("three quarters of the rest");
        drop((first, again, second));
        assert_eq!(memory.free(), all);
    }

    proptest! {
        /// Used and free bytes always add up to the total, whatever the calls do.
        #[test]
        fn bytes_are_counted_exactly(
            steps in proptest::collection::vec((0..6_usize, any::<bool>(), 0..300_usize), 1..200),
        ) {
            let memory = Memory::new(2000, 10);
            let all = 2000 - 10 * 50;
            let mut calls: Vec<_> =
                (0..6).map(|call| (memory.open(&name(["a", "b", "c"][call % 3])), 0_usize)).collect();
            for (call, takes, bytes) in steps {
                let (allotment, has) = &mut calls[call];
                if takes {
                    if allotment.take(bytes).is_ok() {
                        *has += bytes;
                    }
                } else {
                    let bytes = bytes.min(*has);
                    allotment.give_back(bytes);
                    *has -= bytes;
                }
                let held = |index: usize| calls[index].1.saturating_sub(50);
                let total: usize = (0..6).map(held).sum();
                prop_assert_eq!(memory.free(), all - total);
                for account in 0..3 {
                    prop_assert!(held(account) + held(account + 3) <= all / 4 * 3);
                }
            }
            drop(calls);
            prop_assert_eq!(memory.free(), all);
            prop_assert!(memory.lock().held.is_empty());
        }
    }
}
