//! Who ends worker processes, and how long it waits before its next try.
//!
//! A model that ends its process is backed off exponentially, first for the party that called it, so that one consumer cannot take an
//! honest model from others; and for everybody when several parties have had it happen.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::id::{AccountName, Digest};

/// Wait after the first time; each further time doubles it.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);

/// Longest wait.
const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// Time without another one after its wait, for which one is forgiven. A computation that goes well in between forgives nothing: it
/// may have been sent for that.
const FORGIVEN_EACH: Duration = Duration::from_secs(60);

/// Parties that a model must fail for before it is backed off for everybody.
const PARTIES_MIN: usize = 3;

/// A publisher's model and who called it, as a number that only tells callers apart. The same weights of another publisher are another
/// model: what is done to a copy of them harms nobody else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Culprit {
    pub publisher: AccountName,
    pub model: Digest,
    pub caller: u64,
}

/// A worker that ended because of a computation, as operators and publishers are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Incident {
    pub publisher: AccountName,
    /// The digest of the model's weights.
    pub model: Digest,
    /// How the process ended.
    pub how: String,
    /// How often it has happened, less one for each minute without.
    pub times: u32,
    /// Milliseconds until the model can be computed again by the same caller; zero if it can be now.
    pub wait_ms: u64,
}

impl Culprit {
    fn is_same_model(&self, other: &Self) -> bool {
        self.model == other.model && self.publisher == other.publisher
    }
}

#[derive(Debug)]
struct Strike {
    times: u32,
    until: Instant,
    how: String,
}

/// All of them. Those whose wait has long passed are forgotten.
#[derive(Debug, Default)]
pub struct Strikes(Mutex<HashMap<Culprit, Strike>>);

/// Most that are remembered; the oldest are forgotten first.
const STRIKES_MAX: usize = 4096;

impl Strikes {
    fn lock(&self) -> MutexGuard<'_, HashMap<Culprit, Strike>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a computation has to wait, if it has to.
    pub(super) fn wait(&self, culprit: &Culprit) -> Option<Duration> {
        let strikes = self.lock();
        if strikes.is_empty() {
            return None;
        }
        let now = Instant::now();
        let own = strikes.get(culprit).map(|strike| strike.until);
        let of_model = || {
            strikes
                .iter()
                .filter(|(other, strike)| other.is_same_model(culprit) && strike.until > now)
        };
        let shared = if of_model().count() >= PARTIES_MIN {
            of_model().map(|(_, strike)| strike.until).min()
        } else {
            None
        };
        let until = own.max(shared)?;
        until.checked_duration_since(now).filter(|wait| !wait.is_zero())
    }

    /// A worker ended while it computed this.
    pub(super) fn record(&self, culprit: &Culprit, how: &str) {
        let mut strikes = self.lock();
        if strikes.len() >= STRIKES_MAX
            && let Some(oldest) =
                strikes.iter().min_by_key(|(_, strike)| strike.until).map(|(who, _)| who.clone())
        {
            strikes.remove(&oldest);
        }
        let now = Instant::now();
        let strike = strikes.entry(culprit.clone());
        let strike = strike.or_insert(Strike { times: 0, until: now, how: String::new() });
        strike.times =
            strike.times.saturating_sub(forgiven(now.saturating_duration_since(strike.until)));
        let doubled =
            BACKOFF_FIRST.saturating_mul(1_u32.checked_shl(strike.times).unwrap_or(u32::MAX));
        strike.times = strike.times.saturating_add(1).min(31);
        strike.until = now + doubled.min(BACKOFF_MAX);
        how.clone_into(&mut strike.how);
        let (times, wait) = (strike.times, doubled.min(BACKOFF_MAX));
        tracing::warn!(publisher = %culprit.publisher, model = %culprit.model, times, ?wait, %how, "a computation ended its worker: the model is backed off");
    }

    /// What is remembered, the longest wait first.
    pub(super) fn incidents(&self) -> Vec<Incident> {
        self.incidents_if(|_| true)
    }

    /// What is remembered of one publisher's models, the longest wait first. It does not say who the callers were.
    pub(super) fn incidents_of(&self, publisher: &AccountName) -> Vec<Incident> {
        self.incidents_if(|culprit| culprit.publisher == *publisher)
    }

    fn incidents_if(&self, wanted: impl Fn(&Culprit) -> bool) -> Vec<Incident> {
        let now = Instant::now();
        let strikes = self.lock();
        let wanted = strikes.iter().filter(|(culprit, _)| wanted(culprit));
        let incident = |(culprit, strike): (&Culprit, &Strike)| Incident {
            publisher: culprit.publisher.clone(),
            model: culprit.model,
            how: strike.how.clone(),
            times: strike.times,
            wait_ms: u64::try_from(strike.until.saturating_duration_since(now).as_millis())
                .unwrap_or(u64::MAX),
        };
        let mut incidents: Vec<Incident> = wanted.map(incident).collect();
        incidents.sort_by_key(|incident| std::cmp::Reverse(incident.wait_ms));
        incidents
    }
}

fn forgiven(since: Duration) -> u32 {
    u32::try_from(since.as_secs() / FORGIVEN_EACH.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_waits_longer_each_time_and_others_do_not() {
        let strikes = Strikes::default();
        let of = |publisher: &str, caller| Culprit {
            publisher: publisher.parse().expect("a name"),
            model: Digest::of(b"model"),
            caller,
        };
        let culprit = |caller| of("acme", caller);
        assert_eq!(strikes.wait(&culprit(1)), None);
        strikes.record(&culprit(1), "SIGFPE");
        let first = strikes.wait(&culprit(1)).expect("it waits");
        assert!(first <= BACKOFF_FIRST && first > BACKOFF_FIRST / 2, "{first:?}");
        for _ in 0..40 {
            strikes.record(&culprit(1), "SIGFPE");
        }
        let last = strikes.wait(&culprit(1)).expect("it waits");
        assert!(last <= BACKOFF_MAX && last > BACKOFF_MAX / 2, "{last:?}");
        assert_eq!(strikes.wait(&culprit(2)), None, "the model is honest, for all that is known");
        strikes.record(&culprit(2), "SIGFPE");
        strikes.record(&culprit(3), "SIGFPE");
        assert!(strikes.wait(&culprit(4)).is_some(), "three parties had it happen");
        assert_eq!(strikes.wait(&of("umbrella", 4)), None, "of the same weights another's copy");
        assert_eq!(strikes.incidents().len(), 3);
        assert_eq!(strikes.incidents_of(&of("acme", 0).publisher).len(), 3);
        assert_eq!(strikes.incidents_of(&of("umbrella", 0).publisher), []);
        assert_eq!(forgiven(Duration::from_secs(59)), 0);
        assert_eq!(forgiven(Duration::from_secs(125)), 2);
    }
}
