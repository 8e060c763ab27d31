//! Limits the bytes of request bodies that are held at the same time: one budget per process, one per account, and one for all
//! unauthenticated clients together.
//!
//! A body is charged before it is stored, and released when its last byte is dropped. Nobody can use up a shared budget: an account or an
//! unauthenticated connection may take more only if it then has at most three times what is left.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use super::share::may_hold;
use hospes_core::id::AccountName;

/// The limits in bytes, by setting.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// `api.bodies_in_flight_bytes_max`: in total.
    pub all: u64,
    /// `api.account_bodies_bytes_max`: per account.
    pub account: u64,
    /// `api.strangers_bytes_max`: for all unauthenticated clients.
    pub strangers: u64,
}

/// Who is charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder<'a> {
    /// A request without a key on an authenticated connection. All such requests have one share of the unauthenticated budget.
    Stranger,
    /// One unauthenticated connection, with a share of the unauthenticated budget.
    Connection(&'a Own),
    Account(&'a AccountName),
    /// Never refused. The operator's requests are small, and must work when nothing else does.
    Operator,
}

/// No more bytes can be held now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{wanted} of the {max} bytes that {holder} may have in flight (`{setting}`) are not free{share}: try again when others have ended"
)]
pub struct BodiesError {
    pub setting: &'static str,
    pub max: u64,
    pub wanted: u64,
    /// Whether the account's own bodies are the reason.
    pub own: bool,
    holder: &'static str,
    share: &'static str,
}

/// Explains the limit of a share ([`may_hold`]) in the error.
const SHARE_SAID: &str = "; nobody gets more than three times what is left";

/// The budgets of this host.
#[derive(Debug)]
pub struct Bodies {
    all: Arc<Budget>,
    strangers: Arc<Budget>,
    /// Unauthenticated bytes without a connection.
    nameless: Own,
    account_max: u64,
    /// Accounts that hold, or recently held, something.
    accounts: Mutex<HashMap<AccountName, Arc<Budget>>>,
}

/// Accounts remembered beyond those that hold something.
const ACCOUNTS_KEPT: usize = 1024;

#[derive(Debug)]
struct Budget {
    setting: &'static str,
    holder: &'static str,
    max: u64,
    used: AtomicU64,
}

impl Budget {
    fn new(setting: &'static str, holder: &'static str, max: u64) -> Arc<Self> {
        Arc::new(Self { setting, holder, max, used: AtomicU64::new(0) })
    }

    /// Takes `wanted` more bytes for a holder that then has `own`. `own` is zero if the budget has no shares.
    fn take(&self, wanted: u64, own: u64) -> Result<(), BodiesError> {
        let grown = |used| self.grown(used, wanted, own);
        let taken = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, grown);
        taken.map(drop).map_err(|_| self.refused(wanted, own))
    }

    /// Whether [`Self::take`] would succeed now.
    fn fits(&self, wanted: u64, own: u64) -> Result<(), BodiesError> {
        let grown = self.grown(self.used(), wanted, own);
        grown.map(drop).ok_or_else(|| self.refused(wanted, own))
    }

    /// The use after taking `wanted` more bytes; `None` if that is not possible.
    fn grown(&self, used: u64, wanted: u64, own: u64) -> Option<u64> {
        let all = used.checked_add(wanted)?;
        let left = self.max.checked_sub(all)?;
        may_hold(own, left).then_some(all)
    }

    fn refused(&self, wanted: u64, own: u64) -> BodiesError {
        BodiesError {
            setting: self.setting,
            max: self.max,
            wanted,
            own: self.setting == ACCOUNT_SETTING,
            holder: self.holder,
            share: if own > 0 { SHARE_SAID } else { "" },
        }
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
    }

    fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }
}

const ACCOUNT_SETTING: &str = "api.account_bodies_bytes_max";

const STRANGERS_SETTING: &str = "api.strangers_bytes_max";

/// The use of one unauthenticated connection.
#[derive(Debug, Clone)]
pub struct Own(Arc<Budget>);

impl Default for Own {
    fn default() -> Self {
        // There is no limit per connection, only for all of them together.
        Self(Budget::new(STRANGERS_SETTING, "a caller without a key", u64::MAX))
    }
}

impl PartialEq for Own {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Own {}

impl Bodies {
    pub fn new(limits: BodyLimits) -> Self {
        let BodyLimits { all, account, strangers } = limits;
        Self {
            all: Budget::new("api.bodies_in_flight_bytes_max", "all bodies together", all),
            strangers: Budget::new(STRANGERS_SETTING, "callers without a key", strangers),
            nameless: Own::default(),
            account_max: account,
            accounts: Mutex::default(),
        }
    }

    /// Bytes held in total and by unauthenticated clients.
    pub fn used(&self) -> (u64, u64) {
        (self.all.used(), self.strangers.used())
    }

    /// An empty reservation for `holder`, which can grow.
    pub fn open(&self, holder: Holder<'_>) -> Held {
        let budgets = match holder {
            Holder::Operator => [None, None],
            Holder::Stranger => self.of_connection(&self.nameless),
            Holder::Connection(own) => self.of_connection(own),
            Holder::Account(name) => [Some(self.account(name)), Some(Arc::clone(&self.all))],
        };
        Held { budgets, bytes: 0 }
    }

    /// Reserves `bytes` for `holder`.
    ///
    /// # Errors
    /// [`BodiesError`] names the exhausted budget.
    pub fn take(&self, holder: Holder<'_>, bytes: u64) -> Result<Held, BodiesError> {
        let mut held = self.open(holder);
        held.grow(bytes)?;
        Ok(held)
    }

    fn of_connection(&self, own: &Own) -> [Option<Arc<Budget>>; 2] {
        [Some(Arc::clone(&own.0)), Some(Arc::clone(&self.strangers))]
    }

    fn account(&self, name: &AccountName) -> Arc<Budget> {
        let mut accounts = self.accounts();
        if let Some(known) = accounts.get(name) {
            return Arc::clone(known);
        }
        if accounts.len() >= ACCOUNTS_KEPT {
            accounts.retain(|_, budget| Arc::strong_count(budget) > 1);
        }
        let budget = Budget::new(ACCOUNT_SETTING, "one account", self.account_max);
        accounts.insert(name.clone(), Arc::clone(&budget));
        budget
    }

    fn accounts(&self) -> MutexGuard<'_, HashMap<AccountName, Arc<Budget>>> {
        self.accounts.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Reserved bytes of a budget. They are released when dropped.
#[must_use]
pub struct Held {
    /// The holder's own budget, and the shared budget that it is part of, if any.
    budgets: [Option<Arc<Budget>>; 2],
    bytes: u64,
}

impl Held {
    /// Takes `bytes` more.
    ///
    /// # Errors
    /// [`BodiesError`]; the bytes that were held stay held.
    pub fn grow(&mut self, bytes: u64) -> Result<(), BodiesError> {
        if bytes == 0 {
            return Ok(());
        }
        let [first, second] = &self.budgets;
        if let Some(first) = first {
            first.take(bytes, 0)?;
        }
        if let Some(second) = second {
            let own = first.as_ref().map_or(0, |first| first.used());
            second.take(bytes, own).inspect_err(|_| {
                if let Some(first) = first {
                    first.give_back(bytes);
                }
            })?;
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Checks that `bytes` more could be taken now. Announced bytes are only checked and not charged, because they may never arrive.
    ///
    /// # Errors
    /// [`BodiesError`], as [`Self::grow`] would.
    pub fn fits(&self, bytes: u64) -> Result<(), BodiesError> {
        if bytes == 0 {
            return Ok(());
        }
        let [first, second] = &self.budgets;
        first.as_ref().map_or(Ok(()), |first| first.fits(bytes, 0))?;
        let own = first.as_ref().map_or(0, |first| first.used().saturating_add(bytes));
        second.as_ref().map_or(Ok(()), |second| second.fits(bytes, own))
    }

    /// Releases all but `bytes`.
    pub fn shrink(&mut self, bytes: u64) {
        let more = self.bytes.saturating_sub(bytes);
        for budget in self.budgets.iter().flatten() {
            budget.give_back(more);
        }
        self.bytes -= more;
    }

    /// Releases everything.
    pub fn release(&mut self) {
        self.shrink(0);
    }

    /// The number of bytes that are held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Ties the reservation to `bytes`. It is released when the last clone of them is dropped.
    pub fn keep(self, bytes: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        Bytes::from_owner(Kept { bytes, _held: self })
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}

struct Kept<T> {
    bytes: T,
    _held: Held,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Kept<T> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies() -> Bodies {
        Bodies::new(BodyLimits { all: 100, account: 60, strangers: 10 })
    }

    #[test]
    fn a_budget_is_never_exceeded_and_names_itself() {
        let bodies = bodies();
        let (acme, zoe) = ("acme".parse().expect("a name"), "zoe".parse().expect("a name"));
        let mut first = bodies.take(Holder::Account(&acme), 50).expect("free");
        let own = bodies.take(Holder::Account(&acme), 11).map(drop).expect_err("61 of 60");
        assert!(own.own && own.setting == "api.account_bodies_bytes_max" && own.max == 60);
        assert_eq!(bodies.used(), (50, 0), "what was refused is not held");
        let second = bodies.take(Holder::Account(&zoe), 33).expect("free");
        let all = first.grow(1).expect_err("51, with 16 left");
        assert!(!all.own && all.setting == "api.bodies_in_flight_bytes_max", "{all}");
        assert!(all.to_string().contains("three times what is left"), "{all}");
        assert!(first.grow(0).is_ok() && first.bytes() == 50);
        drop(second);
        first.grow(10).expect("there is room again");
        drop(first);
        assert_eq!(bodies.used(), (0, 0));
        assert!(bodies.take(Holder::Operator, u64::MAX).is_ok());
    }

    #[test]
    fn four_accounts_leave_some_to_a_fifth() {
        let bodies = Bodies::new(BodyLimits { all: 512, account: 128, strangers: 10 });
        let names = ["a1", "a2", "a3", "a4"].map(|name| name.parse().expect("a name"));
        let mut held: Vec<Held> =
            names.iter().map(|name| bodies.open(Holder::Account(name))).collect();
        // Each holder takes as much as it can, concurrently.
        for _ in 0..200 {
            held.iter_mut().for_each(|held| drop(held.grow(1)));
        }
        assert_eq!(bodies.used().0, 4 * 118);
        let zoe = "zoe".parse().expect("a name");
        let small = bodies.take(Holder::Account(&zoe), 20).expect("there is room");
        drop((small, held));
        assert_eq!(bodies.used(), (0, 0));
    }

    #[test]
    fn what_is_announced_is_not_held() {
        let bodies = bodies();
        let zoe = "zoe".parse().expect("a name");
        let held = bodies.take(Holder::Account(&zoe), 5).expect("free");
        held.fits(55).expect("60 of 60");
        held.fits(56).expect_err("61 of 60");
        assert_eq!((held.bytes(), bodies.used()), (5, (5, 0)));
    }

    #[test]
    fn strangers_have_one_budget_and_take_nothing_of_others() {
        let bodies = bodies();
        let held = bodies.take(Holder::Stranger, 7).expect("free");
        let more = bodies.take(Holder::Stranger, 1).map(drop).expect_err("8, with 2 left");
        assert_eq!((more.setting, more.own), ("api.strangers_bytes_max", false));
        assert_eq!(bodies.used(), (0, 7));
        let bytes = held.keep(vec![7; 7]);
        let share = bytes.slice(3..);
        drop(bytes);
        assert_eq!(bodies.used(), (0, 7), "a share is left");
        drop(share);
        assert_eq!(bodies.used(), (0, 0));
    }

    #[test]
    fn one_connection_of_a_stranger_leaves_some_to_the_next() {
        let bodies = bodies();
        let (one, other) = (Own::default(), Own::default());
        let mut most = bodies.open(Holder::Connection(&one));
        while most.grow(1).is_ok() {}
        assert_eq!(most.bytes(), 7, "at most three times the rest");
        let next = bodies.take(Holder::Connection(&other), 1).expect("there is room");
        drop((most, next));
        assert_eq!(bodies.used(), (0, 0));
    }
}
