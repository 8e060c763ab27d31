//! The maximum that a call may use, held until the call is charged or ends.

use std::sync::Arc;
use std::time::Duration;

use super::{Amounts, Charge, Ledger, Marks, Metered, Spent, TokenTab, Want};

/// A call's reservation in one ledger. Dropping it releases it.
#[derive(Debug)]
pub(super) struct Hold {
    ledger: Arc<Ledger>,
    units: Amounts,
    time: Duration,
    before: Marks,
    after: Marks,
    charged: bool,
}

impl Hold {
    pub(super) fn new(
        ledger: Arc<Ledger>,
        (units, time): (Amounts, Duration),
        (before, after): (Marks, Marks),
    ) -> Self {
        Self { ledger, units, time, before, after, charged: false }
    }

    /// The charged units: never more than reserved.
    fn to_charge(&self, spent: &Spent) -> (Amounts, Duration) {
        let mut units = self.units;
        units[Metered::Bytes as usize] = units[Metered::Bytes as usize].min(spent.bytes);
        let time = if self.ledger.limits.metered_time.is_some() {
            spent.wall.min(self.time)
        } else {
            spent.wall
        };
        (units, time)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut tally = self.ledger.lock();
        tally.release(&self.units, self.time);
        if self.charged {
            return;
        }
        tally.forget(&self.before, &self.after);
    }
}

/// A call's charges, while its receipt could still be lost.
#[must_use]
#[derive(Debug)]
pub struct Charged {
    own: Taken,
    above: Vec<Taken>,
}

/// A call's charge in one ledger.
#[derive(Debug)]
struct Taken {
    ledger: Arc<Ledger>,
    units: Amounts,
    time: Duration,
    before: Marks,
    after: Marks,
}

impl Charged {
    /// The receipt does not exist: undoes the charge.
    pub fn take_back(self) {
        for taken in std::iter::once(&self.own).chain(&self.above) {
            let mut tally = taken.ledger.lock();
            for (used, units) in tally.used.iter_mut().zip(&taken.units) {
                *used = used.saturating_sub(*units);
            }
            tally.used_time = tally.used_time.saturating_sub(taken.time);
            tally.forget(&taken.before, &taken.after);
        }
    }
}

/// The maximum that a call may use. Dropping it releases everything.
#[must_use]
#[derive(Debug)]
pub struct Reservation {
    own: Hold,
    above: Vec<Hold>,
    tokens: Option<Arc<TokenTab>>,
}

impl Reservation {
    pub(super) fn new(own: Hold) -> Self {
        Self { own, above: Vec::new(), tokens: None }
    }

    /// A parent's ledger reserves the same.
    pub(super) fn add(&mut self, above: Hold) {
        self.above.push(above);
    }

    /// The request, narrowed to what is reserved so far: a parent need not have more.
    pub(super) fn narrow(&self, want: &Want) -> Want {
        Want {
            output_bytes_max: self.output_bytes_max(want.input_bytes),
            wall_max: self.wall_max(),
            ..*want
        }
    }

    /// Maximum size of the response, in bytes.
    pub fn output_bytes_max(&self, input_bytes: u64) -> u64 {
        let bytes = self.holds().map(|hold| hold.units[Metered::Bytes as usize]).min();
        bytes.unwrap_or(0).saturating_sub(input_bytes)
    }

    /// Maximum duration.
    pub fn wall_max(&self) -> Duration {
        self.holds().map(|hold| hold.time).min().unwrap_or_default()
    }

    /// Where the call's tokens are reserved; `None` if nobody counts them.
    pub fn tokens(&self) -> Option<&Arc<TokenTab>> {
        self.tokens.as_ref()
    }

    /// The reservation is complete. A tab is kept if anybody counts tokens.
    pub(super) fn opened(mut self) -> Self {
        let counts = |hold: &Hold| {
            let limits = &hold.ledger.limits;
            limits.most[Metered::Tokens as usize].is_some()
                || limits.price.is_some_and(|price| price.unit == Metered::Tokens)
        };
        if self.holds().any(counts) {
            let ledgers = self.holds().map(|hold| Arc::clone(&hold.ledger)).collect();
            self.tokens = Some(Arc::new(TokenTab::new(ledgers)));
        }
        self
    }

    /// From here on the holds own the tokens, and no more are taken.
    fn close_tab(&mut self) {
        let Some(tab) = self.tokens.take() else { return };
        let taken = tab.close();
        self.own.units[Metered::Tokens as usize] = taken;
        for hold in &mut self.above {
            hold.units[Metered::Tokens as usize] = taken;
        }
    }

    /// Counts the call if `charge` succeeds. `charge` gets the charges; calls of one ledger are charged one at a time, so that the numbers
    /// match their order. The count can be undone.
    ///
    /// # Errors
    /// The errors of `charge`; everything is then released.
    pub fn commit<T, E>(
        mut self,
        spent: &Spent,
        charge: impl FnOnce(Charge) -> Result<T, E>,
    ) -> Result<(T, Charged), E> {
        self.close_tab();
        let (units, time) = self.own.to_charge(spent);
        let ledger = Arc::clone(&self.own.ledger);
        let mut tally = ledger.lock();
        let calls = tally.used[Metered::Calls as usize].saturating_add(1);
        let price = ledger.limits.price.map(|price| {
            let before = tally.used[price.unit as usize];
            price.of(before.saturating_add(units[price.unit as usize])) - price.of(before)
        });
        let [_, rows, _, tokens] = units;
        let done = charge(Charge { calls, rows, tokens, price })?;
        tally.use_up(&units, time);
        self.own.charged = true;
        drop(tally);
        let (before, after) = (self.own.before, self.own.after);
        let own = Taken { ledger, units, time, before, after };
        let above = self.above.iter_mut().map(|hold| {
            let (units, time) = hold.to_charge(spent);
            hold.ledger.lock().use_up(&units, time);
            hold.charged = true;
            let (before, after) = (hold.before, hold.after);
            Taken { ledger: Arc::clone(&hold.ledger), units, time, before, after }
        });
        Ok((done, Charged { own, above: above.collect() }))
    }

    /// Maximum calls under the rule, if limited.
    pub fn calls_max(&self) -> Option<u64> {
        self.own.ledger.limits.most[Metered::Calls as usize]
    }

    fn holds(&self) -> impl Iterator<Item = &Hold> {
        std::iter::once(&self.own).chain(&self.above)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.close_tab();
    }
}
