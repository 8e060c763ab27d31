//! Limits the concurrency and the rate of an account's heavy work, such as uploading a bundle or loading a model.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use hospes_core::id::AccountName;

/// Why an account gets no turn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TurnError {
    #[error("no turn came within {} s: {turns} others are at work; try again shortly", waited.as_secs())]
    Timeout { waited: Duration, turns: usize },
    #[error("{waiting_max} others are already waiting, the most allowed; try again shortly")]
    Full { waiting_max: usize },
    #[error(
        "{own} of your requests are already waiting, your share of the {waiting_max} places; try again when they have ended"
    )]
    ShareFull { own: usize, waiting_max: usize },
    #[error("your account has {max} of these in progress, the most allowed at once (`{setting}`)")]
    TooMany { max: usize, setting: &'static str },
    #[error(
        "your account cannot have {wanted} more of the {max} bytes for incoming bundles (`{setting}`); try again when other uploads have ended"
    )]
    NoRoom { wanted: u64, max: u64, setting: &'static str },
    #[error("your account may do this {burst} times at once and then every {} ms", every.as_millis())]
    TooOften { burst: u32, every: Duration, after: Duration },
}

/// The number of inactive accounts that are remembered.
const ACCOUNTS_KEPT: usize = 1024;

/// State per account. It is created on first use and dropped when unused.
#[derive(Debug)]
struct ByAccount<T>(Mutex<HashMap<AccountName, Arc<T>>>);

impl<T> Default for ByAccount<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> ByAccount<T> {
    fn of(
        &self,
        name: &AccountName,
        make: impl FnOnce() -> T,
        idle: impl Fn(&T) -> bool,
    ) -> Arc<T> {
        let mut all = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(known) = all.get(name) {
            return Arc::clone(known);
        }
        if all.len() >= ACCOUNTS_KEPT {
            all.retain(|_, one| Arc::strong_count(one) > 1 || !idle(one));
        }
        let made = Arc::new(make());
        all.insert(name.clone(), Arc::clone(&made));
        made
    }
}

/// Limits concurrent work per account.
#[derive(Debug)]
pub struct PerAccount {
    max: usize,
    setting: &'static str,
    accounts: ByAccount<Arc<Semaphore>>,
}

/// A running piece of work. Dropping it ends it.
#[must_use]
#[derive(Debug)]
pub struct UnderWay(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl PerAccount {
    /// Permits `max` pieces of work at the same time. `setting` is the name of that limit.
    pub fn new(max: usize, setting: &'static str) -> Self {
        Self { max, setting, accounts: ByAccount::default() }
    }

    /// Begins another piece of work of `account`.
    ///
    /// # Errors
    /// [`TurnError::TooMany`].
    pub fn begin(&self, account: &AccountName) -> Result<UnderWay, TurnError> {
        let own = self.accounts.of(
            account,
            || Arc::new(Semaphore::new(self.max)),
            |own| own.available_permits() == self.max,
        );
        let permit = Semaphore::try_acquire_owned(Arc::clone(&*own));
        let too_many = TurnError::TooMany { max: self.max, setting: self.setting };
        permit.map(UnderWay).map_err(|_| too_many)
    }
}

/// Limits the rate per account: a burst, and then one per interval.
#[derive(Debug)]
pub struct Rate {
    burst: u32,
    every: Duration,
    accounts: ByAccount<Mutex<Instant>>,
}

impl Rate {
    pub fn new(burst: u32, every: Duration) -> Self {
        Self { burst, every, accounts: ByAccount::default() }
    }

    /// Counts one more use by `account`.
    ///
    /// # Errors
    /// [`TurnError::TooOften`] says when to retry.
    pub fn count(&self, account: &AccountName) -> Result<(), TurnError> {
        let now = Instant::now();
        let idle = |paid: &Mutex<Instant>| *lock(paid) <= now;
        let paid = self.accounts.of(account, || Mutex::new(now), idle);
        let mut paid = lock(&paid);
        // The time at which all uses are paid for. It may be ahead of now by the burst.
        let next = (*paid).max(now) + self.every;
        let ahead = (next - now).saturating_sub(self.every * self.burst);
        if !ahead.is_zero() {
            return Err(TurnError::TooOften { burst: self.burst, every: self.every, after: ahead });
        }
        *paid = next;
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> AccountName {
        text.parse().expect("a name")
    }

    #[test]
    fn an_account_has_so_many_under_way() {
        let uploads = PerAccount::new(2, "x");
        let held = [uploads.begin(&name("acme")), uploads.begin(&name("acme"))];
        assert!(held.iter().all(Result::is_ok));
        assert!(matches!(uploads.begin(&name("acme")), Err(TurnError::TooMany { max: 2, .. })));
        assert!(uploads.begin(&name("zoe")).is_ok());
        drop(held);
        assert!(uploads.begin(&name("acme")).is_ok());
    }

    #[test]
    fn a_rate_allows_a_burst_and_then_one_at_a_time() {
        let rate = Rate::new(3, Duration::from_millis(40));
        let acme = name("acme");
        assert!((0..3).all(|_| rate.count(&acme).is_ok()));
        let Err(TurnError::TooOften { after, .. }) = rate.count(&acme) else {
            panic!("three were all");
        };
        assert!(after <= Duration::from_millis(40), "{after:?}");
        assert!(rate.count(&name("zoe")).is_ok());
        std::thread::sleep(Duration::from_millis(45));
        assert!(rate.count(&acme).is_ok() && rate.count(&acme).is_err());
    }
}
