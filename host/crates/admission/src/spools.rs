//! Disk space of running bundle uploads. It is limited in total, and no account can take all of it.

use std::sync::{Arc, Mutex, MutexGuard};

use super::heavy::TurnError;
use super::share::may_hold;
use hospes_core::id::{AccountName, ById};

/// The disk space for all uploads.
#[derive(Debug, Clone)]
pub struct Spools(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    max: u64,
    setting: &'static str,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: u64,
    held: ById<AccountName, u64>,
}

/// An upload's space. Dropping it releases the space.
#[must_use]
#[derive(Debug)]
pub struct Spooling {
    spools: Spools,
    account: AccountName,
    bytes: u64,
}

impl Spools {
    /// Creates `max` bytes of space. `setting` is the name of that limit.
    pub fn new(max: u64, setting: &'static str) -> Self {
        let state = Mutex::new(State { free: max, held: ById::default() });
        Self(Arc::new(Shared { max, setting, state }))
    }

    /// The space of a new upload by `account`, initially empty.
    pub fn open(&self, account: &AccountName) -> Spooling {
        Spooling { spools: self.clone(), account: account.clone(), bytes: 0 }
    }

    /// Nothing panics while holding this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Spooling {
    /// Grows the space to `bytes` in total.
    ///
    /// # Errors
    /// [`TurnError::NoRoom`] if not enough is left, or not enough for this account, which gets at most three times what is then left.
    pub fn reach(&mut self, bytes: u64) -> Result<(), TurnError> {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        let Shared { max, setting, .. } = *self.spools.0;
        let mut state = self.spools.lock();
        let held = state.held.get(&self.account).copied().unwrap_or(0).saturating_add(more);
        let left = state.free.checked_sub(more).filter(|left| may_hold(held, *left));
        let Some(left) = left else {
            return Err(TurnError::NoRoom { wanted: more, max, setting });
        };
        state.free = left;
        state.held.insert(self.account.clone(), held);
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Spooling {
    fn drop(&mut self) {
        let mut state = self.spools.lock();
        state.free += self.bytes;
        if let Some(held) = state.held.get_mut(&self.account) {
            *held -= self.bytes;
            if *held == 0 {
                state.held.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_account_leaves_some_to_others_and_gives_back_what_it_had() {
        let (acme, zoe) = ("acme".parse().expect("a name"), "zoe".parse().expect("a name"));
        let spools = Spools::new(100, "x");
        let mut first = spools.open(&acme);
        first.reach(75).expect("three quarters");
        first.reach(70).expect("it has more already");
        let refused = first.reach(76).expect_err("more than three times what is left");
        assert_eq!(refused, TurnError::NoRoom { wanted: 1, max: 100, setting: "x" });
        let mut other = spools.open(&zoe);
        other.reach(18).expect("there is room for others");
        assert!(other.reach(u64::MAX).is_err());
        drop((first, other));
        let state = spools.lock();
        assert_eq!((state.free, state.held.len()), (100, 0));
    }
}
