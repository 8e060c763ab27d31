//! How often a rule of an agreement has been used. Never more than it allows, whatever runs at the same time.
//!
//! A call is reserved before it starts and counted when its receipt is written: the receipt is the charge. After a crash
//! the counts are read back from the receipts, so a call that ended without a receipt, and so without an answer, was free.

use std::sync::{Arc, Mutex, MutexGuard};

/// Counts the calls under one rule of one agreement.
#[derive(Debug)]
pub struct Counter {
    max: Option<u64>,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    /// Calls that have a receipt.
    used: u64,
    /// Calls that run now.
    reserved: u64,
}

impl Counter {
    /// A counter that stands at `used` and never goes past `max`; without `max` it only counts.
    pub fn new(max: Option<u64>, used: u64) -> Arc<Self> {
        Arc::new(Self { max, counts: Mutex::new(Counts { used, reserved: 0 }) })
    }

    /// Most calls; [`u64::MAX`] if there is no limit.
    pub fn max(&self) -> u64 {
        self.max.unwrap_or(u64::MAX)
    }

    /// Calls counted so far.
    pub fn used(&self) -> u64 {
        self.lock().used
    }

    /// Calls that could still be reserved now; none if there is no limit.
    pub fn remaining(&self) -> Option<u64> {
        let counts = *self.lock();
        self.max.map(|max| max.saturating_sub(counts.used).saturating_sub(counts.reserved))
    }

    /// Reserves one call, if one is left.
    pub fn reserve(self: &Arc<Self>) -> Option<Reservation> {
        let mut counts = self.lock();
        let taken = counts.used.checked_add(counts.reserved)?;
        if taken >= self.max() {
            return None;
        }
        counts.reserved += 1;
        drop(counts);
        Some(Reservation { counter: Arc::clone(self) })
    }

    /// Nothing panics while this is held, and every change is a single step: a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// One reserved call. Dropping it gives the call back.
#[must_use]
#[derive(Debug)]
pub struct Reservation {
    counter: Arc<Counter>,
}

impl Reservation {
    /// Counts the call, if `charge` succeeds. `charge` is told how many calls are used with this one; calls of one counter
    /// are charged one after the other, so that these numbers and the order of the charges agree.
    ///
    /// # Errors
    /// Those of `charge`; the call is given back then.
    pub fn commit<T, E>(self, charge: impl FnOnce(u64) -> Result<T, E>) -> Result<T, E> {
        let mut counts = self.counter.lock();
        let used = counts.used + 1;
        let charged = charge(used)?;
        counts.used = used;
        Ok(charged)
    }

    /// Most calls that the rule allows, if it limits them.
    pub fn max(&self) -> Option<u64> {
        self.counter.max
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.counter.lock().reserved -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_reservation_or_a_failed_charge_gives_the_call_back() {
        let counter = Counter::new(Some(2), 1);
        drop(counter.reserve().expect("one left"));
        let failed = counter.reserve().expect("one left").commit(|_| Err::<(), _>("disk full"));
        assert_eq!(failed, Err("disk full"));
        assert_eq!((counter.used(), counter.remaining()), (1, Some(1)));
        let used = counter.reserve().expect("one left").commit(Ok::<_, ()>);
        assert_eq!(used, Ok(2));
        assert!(counter.reserve().is_none());
        assert_eq!((counter.used(), counter.remaining()), (2, Some(0)));
    }

    #[test]
    fn threads_that_race_never_count_past_the_limit_and_charge_in_order() {
        const MAX: u64 = 1000;
        let counter = Counter::new(Some(MAX), 0);
        let charged = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for thread in 0..8_u64 {
                let (counter, charged) = (&counter, &charged);
                scope.spawn(move || {
                    for turn in 0..400 {
                        let Some(reservation) = counter.reserve() else { continue };
                        let outcome = reservation.commit(|used| {
                            if (turn + thread) % 7 == 0 {
                                return Err(());
                            }
                            charged.lock().expect("no panic").push(used);
                            Ok(())
                        });
                        let _ = outcome;
                    }
                });
            }
        });
        let charged = charged.into_inner().expect("no panic");
        assert_eq!(charged, (1..=MAX).collect::<Vec<_>>());
        assert_eq!(counter.used(), MAX);
    }
}
