//! Usage of agreements' rules. It never exceeds the limits, even under concurrency.
//!
//! The maximum that a call may use is reserved before it starts, all or nothing; actual usage is counted when its receipt is written. The
//! receipt is the charge. After a crash the receipts restore the ledgers, so a call without a receipt, and hence without a response, was
//! free. A sub-agreement's ledger also draws on its parents'.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;

mod exhausted;
pub mod limits;
mod reservation;
mod tokens;

pub use exhausted::{Exhausted, Limit};
use limits::{Amounts, Limits, Metered, PerInterval};
use reservation::Hold;
pub use reservation::{Charged, Reservation};
pub use tokens::TokenTab;

/// The usage of one rule of one agreement.
#[derive(Debug)]
pub struct Ledger {
    limits: Limits,
    /// Shared by rules that count together: an agreement's and those of the superseded one.
    tally: Arc<Mutex<Tally>>,
    /// The parent's ledger, for a sub-agreement.
    above: Option<Arc<Ledger>>,
}

/// Usage, independent of the limits.
#[derive(Debug, Default, Clone)]
struct Tally {
    /// Of calls with a receipt.
    used: Amounts,
    used_time: Duration,
    /// Reserved by running calls.
    reserved: Amounts,
    reserved_time: Duration,
    running: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    period: Period,
    /// When the rate's bucket will be full again (the theoretical arrival time, in microseconds).
    full_at: i64,
}

/// The last counted period, and its calls.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Period {
    /// Start of the first period: agreements that count together may differ.
    from: Option<Timestamp>,
    index: i64,
    calls: u64,
}

/// What a call requests before it starts.
#[derive(Debug, Clone, Copy)]
pub struct Want {
    pub now: Timestamp,
    pub rows: u64,
    /// Size of the arguments in bytes.
    pub input_bytes: u64,
    /// Maximum size of the response in bytes.
    pub output_bytes_max: u64,
    /// Maximum duration.
    pub wall_max: Duration,
}

/// What a call used, besides what was reserved exactly.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    pub bytes: u64,
    pub wall: Duration,
}

/// A rule's usage, for people and reports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub used: Amounts,
    /// Reserved by running calls.
    pub reserved: Amounts,
    /// Time used, plus time reserved by running calls.
    pub time: Duration,
    pub running: u64,
    pub first: Option<Timestamp>,
    pub last: Option<Timestamp>,
    /// Calls in the present period.
    pub in_period: u64,
    /// When the rate permits the next call.
    pub rate_ready: Option<Timestamp>,
}

impl Usage {
    /// Whether a limit that never grows again is used up. Reservations do not count as used, because calls may return them.
    pub fn is_used_up(&self, limits: &Limits, now: Timestamp) -> bool {
        let mut units = limits.most.iter().zip(self.used);
        let is_late = limits
            .elapsed_time
            .zip(self.first)
            .is_some_and(|(most, first)| first.checked_add(most).is_ok_and(|end| end < now));
        let has_run = |most: Duration| self.running == 0 && self.time >= most;
        is_late
            || limits.metered_time.is_some_and(has_run)
            || units.any(|(most, used)| most.is_some_and(|most| used >= most))
    }
}

/// The charge, as in the receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge {
    /// Calls under the rule, including this one.
    pub calls: u64,
    pub rows: u64,
    pub tokens: u64,
    /// Millionths of the price's currency.
    pub price: Option<u64>,
}

impl Ledger {
    /// An unused ledger.
    pub fn new(limits: Limits, above: Option<Arc<Ledger>>) -> Arc<Self> {
        Arc::new(Self { limits, tally: Arc::default(), above })
    }

    /// A ledger with new limits that continues `earlier` and counts for both.
    pub fn continuing(limits: Limits, earlier: &Ledger, above: Option<Arc<Ledger>>) -> Arc<Self> {
        Arc::new(Self { limits, tally: Arc::clone(&earlier.tally), above })
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Counts a call that was charged before the host started.
    pub fn replay(&self, began: Timestamp, ended: Timestamp, charge: &Charge, spent: Spent) {
        let mut tally = self.lock();
        let units = [1, charge.rows, spent.bytes, charge.tokens];
        tally.use_up(&units, spent.wall);
        tally.first = Some(tally.first.map_or(began, |first| first.min(began)));
        tally.last = Some(tally.last.map_or(ended, |last| last.max(ended)));
        self.limits.enter_period(&mut tally, began);
        self.limits.fill_rate(&mut tally, ended);
        drop(tally);
        if let Some(above) = &self.above {
            above.replay(began, ended, charge, spent);
        }
    }

    /// What has been used.
    pub fn usage(&self, now: Timestamp) -> Usage {
        let tally = self.lock();
        let in_period = self.limits.per_interval.map_or(0, |per| tally.period.calls(&per, now));
        Usage {
            used: tally.used,
            reserved: tally.reserved,
            time: tally.used_time + tally.reserved_time,
            running: tally.running,
            first: tally.first,
            last: tally.last,
            in_period,
            rate_ready: self.limits.rate_ready(&tally),
        }
    }

    /// Calls that could be reserved now under the call limit; `None` if unlimited.
    pub fn calls_left(&self) -> Option<u64> {
        let tally = self.lock();
        let left = self.limits.left(&tally, Metered::Calls).map(|(left, _, _)| left);
        drop(tally);
        let above = self.above.as_ref().and_then(|above| above.calls_left());
        left.into_iter().chain(above).min()
    }

    /// Reserves what a call requests, from this ledger and all its parents, or nothing.
    ///
    /// # Errors
    /// The first limit that is exhausted.
    pub fn reserve(self: &Arc<Self>, want: &Want) -> Result<Reservation, Exhausted> {
        let mut reservation = Reservation::new(self.hold(want)?);
        let mut next = self.above.as_ref();
        while let Some(ledger) = next {
            let held = ledger.hold(&reservation.narrow(want));
            let held = held.map_err(|exhausted| Exhausted { above: true, ..exhausted })?;
            reservation.add(held);
            next = ledger.above.as_ref();
        }
        Ok(reservation.opened())
    }

    fn hold(self: &Arc<Self>, want: &Want) -> Result<Hold, Exhausted> {
        let mut tally = self.lock();
        let before = tally.marks();
        let hold = self.limits.check(&tally, want)?;
        tally.running += 1;
        tally.reserve(&hold.units, hold.time);
        tally.first.get_or_insert(want.now);
        tally.last = Some(want.now);
        self.limits.enter_period(&mut tally, want.now);
        self.limits.fill_rate(&mut tally, want.now);
        let after = tally.marks();
        drop(tally);
        let Held { units, time } = hold;
        Ok(Hold::new(Arc::clone(self), (units, time), (before, after)))
    }

    /// Nothing panics while holding this lock, and every change is one step: a poisoned lock is fine.
    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// What starting a call changes besides sums, so that it can be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Marks {
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    period: Period,
    full_at: i64,
}

impl Period {
    /// Calls counted in the period of `at` or a later one: a clock that goes back does not start a period again.
    fn calls(&self, per: &PerInterval, at: Timestamp) -> u64 {
        if self.from == Some(per.from) && self.index >= per.index(at) { self.calls } else { 0 }
    }
}

impl Tally {
    fn marks(&self) -> Marks {
        Marks { first: self.first, last: self.last, period: self.period, full_at: self.full_at }
    }

    fn reserve(&mut self, units: &Amounts, time: Duration) {
        for (reserved, units) in self.reserved.iter_mut().zip(units) {
            *reserved = reserved.saturating_add(*units);
        }
        self.reserved_time = self.reserved_time.saturating_add(time);
    }

    fn give_back(&mut self, units: &Amounts) {
        for (reserved, units) in self.reserved.iter_mut().zip(units) {
            *reserved = reserved.saturating_sub(*units);
        }
    }

    fn release(&mut self, units: &Amounts, time: Duration) {
        self.give_back(units);
        self.reserved_time = self.reserved_time.saturating_sub(time);
        self.running = self.running.saturating_sub(1);
    }

    /// A call did not run: its place in a rate or period is free again, unless another call began since.
    fn forget(&mut self, before: &Marks, after: &Marks) {
        if self.marks() == *after {
            let Marks { first, last, period, full_at } = *before;
            (self.first, self.last) = (first, last);
            (self.period, self.full_at) = (period, full_at);
        } else if self.period.from == after.period.from && self.period.index == after.period.index {
            self.period.calls = self.period.calls.saturating_sub(1);
        }
    }

    fn use_up(&mut self, units: &Amounts, time: Duration) {
        for (used, units) in self.used.iter_mut().zip(units) {
            *used = used.saturating_add(*units);
        }
        self.used_time = self.used_time.saturating_add(time);
    }

    fn taken(&self, metered: Metered) -> u64 {
        let place = metered as usize;
        self.used[place].saturating_add(self.reserved[place])
    }
}

struct Held {
    units: Amounts,
    time: Duration,
}
impl Limits {
    /// The remainder of a unit, with the tightest limit and its value; `None` if unlimited.
    fn left(&self, tally: &Tally, metered: Metered) -> Option<(u64, Limit, u64)> {
        let count = self.most[metered as usize].map(|most| (most, Limit::Count(metered)));
        let price = self.price.filter(|price| price.unit == metered);
        let credit = price.and_then(|p| p.units_max()).map(|most| (most, Limit::Credit(metered)));
        let (most, limit) = count.into_iter().chain(credit).min_by_key(|(most, _)| *most)?;
        Some((most.saturating_sub(tally.taken(metered)), limit, most))
    }

    fn check(&self, tally: &Tally, want: &Want) -> Result<Held, Exhausted> {
        let refuse = |limit, max| Err(Exhausted { limit, max, retry_after: None, above: false });
        let mut units = [1, want.rows, want.input_bytes, 0];
        for metered in [Metered::Calls, Metered::Rows, Metered::Bytes] {
            // A byte limit needs one byte left even for an empty request, because the response has some.
            if let Some((left, limit, max)) = self.left(tally, metered)
                && units[metered as usize].max(1) > left
            {
                return refuse(limit, max);
            }
        }
        // Tokens are reserved per computation; one must be left to begin.
        if let Some((0, limit, max)) = self.left(tally, Metered::Tokens) {
            return refuse(limit, max);
        }
        let bytes = &mut units[Metered::Bytes as usize];
        *bytes = bytes.saturating_add(want.output_bytes_max);
        if let Some((left, _, _)) = self.left(tally, Metered::Bytes) {
            *bytes = (*bytes).min(left);
        }
        let mut time = want.wall_max;
        if let Some(most) = self.metered_time {
            let taken = tally.used_time.saturating_add(tally.reserved_time);
            time = time.min(most.saturating_sub(taken));
            if time.is_zero() {
                return refuse(Limit::MeteredTime, micros(most));
            }
        }
        self.check_clock(tally, want.now)?;
        Ok(Held { units, time })
    }

    fn check_clock(&self, tally: &Tally, now: Timestamp) -> Result<(), Exhausted> {
        let refuse = |limit, max, at: Option<Timestamp>| {
            let retry_after =
                at.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
            Err(Exhausted { limit, max, retry_after, above: false })
        };
        if let (Some(most), Some(first)) = (self.elapsed_time, tally.first)
            && now > later(first, most)
        {
            return refuse(Limit::ElapsedTime, micros(most), None);
        }
        if let (Some(least), Some(last)) = (self.interval, tally.last)
            && now < later(last, least)
        {
            return refuse(Limit::Interval, micros(least), Some(later(last, least)));
        }
        if let Some(per) = self.per_interval
            && tally.period.calls(&per, now) >= per.most
        {
            return refuse(Limit::PerInterval, per.most, Some(per.next(now)));
        }
        if let (Some(rate), Some(ready)) = (self.rate, self.rate_ready(tally))
            && now < ready
        {
            return refuse(Limit::Rate, rate.burst, Some(ready));
        }
        if let Some(most) = self.concurrency
            && tally.running >= most
        {
            return refuse(Limit::Concurrency, most, Some(now));
        }
        Ok(())
    }

    fn enter_period(&self, tally: &mut Tally, began: Timestamp) {
        if let Some(per) = self.per_interval {
            let calls = tally.period.calls(&per, began).saturating_add(1);
            let from = Some(per.from);
            let known = if tally.period.from == from { tally.period.index } else { i64::MIN };
            tally.period = Period { from, index: per.index(began).max(known), calls };
        }
    }

    fn fill_rate(&self, tally: &mut Tally, now: Timestamp) {
        if let Some(rate) = self.rate {
            tally.full_at = tally.full_at.max(now.as_microsecond()).saturating_add(rate.each());
        }
    }

    /// When the bucket permits a call again.
    fn rate_ready(&self, tally: &Tally) -> Option<Timestamp> {
        let rate = self.rate?;
        let saved = rate.each().saturating_mul(i64::try_from(rate.burst).unwrap_or(i64::MAX) - 1);
        Timestamp::from_microsecond(tally.full_at.saturating_sub(saved)).ok()
    }
}

fn later(at: Timestamp, span: Duration) -> Timestamp {
    at.checked_add(span).unwrap_or(Timestamp::MAX)
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
