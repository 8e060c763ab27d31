//! Which models crash worker processes, and how long each must wait before its next try.
//!
//! A model that crashes its process is backed off exponentially for the calling party, so that one consumer cannot block an honest model
//! for others. If it crashes for several parties or during loading, it is backed off for everybody. If several models were running in the
//! process, all are suspects. Suspects need not wait, but after the second crash they run alone, which shows the culprit.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use hospes_core::id::{AccountName, Digest};

/// Wait after the first crash. Each further crash doubles it.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);

/// Maximum wait.
const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// One crash is forgiven after each such time without another crash, counted from the end of the wait. A successful computation forgives
/// nothing, because an attacker could send one for that purpose.
const FORGIVEN_EACH: Duration = Duration::from_secs(60);

/// Number of parties that a model must crash for before it is backed off for everybody.
const PARTIES_MIN: usize = 3;

/// Number of crashes as a suspect after which a model runs alone.
const SUSPECTED_MIN: u32 = 2;

/// Maximum entries per model, and in total. The entries whose wait ends first are dropped first.
const ACTS_MAX: usize = 64;
const STRIKES_MAX: usize = 1024;

/// What a worker does with a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    /// Loading, for anybody.
    Load,
    /// Running it for a caller, who is an opaque number.
    Compute { caller: u64 },
}

/// A publisher's model. The same weights of another publisher are another model, so a copy cannot harm the original.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owned {
    pub publisher: AccountName,
    /// The digest of its weights.
    pub model: Digest,
}

/// A possible cause of a crash.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Culprit {
    pub owned: Owned,
    pub act: Act,
}

impl Culprit {
    /// Loading a model.
    pub(super) fn loading(owned: Owned) -> Self {
        Self { owned, act: Act::Load }
    }

    /// Running a model for a caller.
    pub(super) fn computing(owned: Owned, caller: u64) -> Self {
        Self { owned, act: Act::Compute { caller } }
    }
}

/// Who is to blame for the end of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// The cancelled jobs that had not stopped at this time.
    Overdue(Instant),
    /// The models that were running or loading.
    Running,
    /// The worker was killed from outside.
    Nobody,
}

/// Conditions for the next computation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// How long it must wait, if at all.
    pub(super) wait: Option<Duration>,
    /// Whether it must run alone in its worker.
    pub(super) alone: bool,
}

/// A worker crash, as shown to operators and publishers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Incident {
    pub publisher: AccountName,
    /// The digest of the model's weights.
    pub model: Digest,
    /// How the process ended.
    pub how: String,
    /// The number of crashes, minus one for each minute without a crash.
    pub times: u32,
    /// Milliseconds until the same caller can use the model again. Zero if it can now.
    pub wait_ms: u64,
}

#[derive(Debug)]
struct Strike {
    /// The number of workers that it has crashed.
    times: u32,
    /// The number of workers that crashed while it was a suspect or ran alone.
    suspected: u32,
    /// Whether the model is to blame for one of the crashes, and not only an impatient caller.
    says_of_model: bool,
    /// The end of its wait. Forgiveness counts from this time.
    until: Instant,
    how: String,
}

impl Strike {
    fn new(now: Instant) -> Self {
        Self { times: 0, suspected: 0, says_of_model: false, until: now, how: String::new() }
    }

    /// Applies forgiveness up to now.
    fn forgive(&mut self, now: Instant) {
        let minutes = forgiven(now.saturating_duration_since(self.until));
        self.times = self.times.saturating_sub(minutes);
        self.suspected = self.suspected.saturating_sub(minutes);
        self.until += FORGIVEN_EACH.saturating_mul(minutes);
    }

    fn is_forgotten(&self) -> bool {
        self.times == 0 && self.suspected == 0
    }

    fn is_waiting(&self, now: Instant) -> bool {
        self.times > 0 && self.until > now
    }
}

/// All entries by model. Forgiven ones are removed on access.
#[derive(Debug, Default)]
pub struct Strikes(Mutex<HashMap<Owned, Acts>>);

/// The entries of one model.
type Acts = HashMap<Act, Strike>;

impl Strikes {
    fn lock(&self) -> MutexGuard<'_, HashMap<Owned, Acts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it must wait or run alone.
    pub(super) fn standing(&self, culprit: &Culprit) -> Standing {
        self.standing_at(culprit, Instant::now())
    }

    fn standing_at(&self, culprit: &Culprit, now: Instant) -> Standing {
        let mut models = self.lock();
        let Some(acts) = models.get_mut(&culprit.owned) else { return Standing::default() };
        forget(acts, now);
        if acts.is_empty() {
            models.remove(&culprit.owned);
            return Standing::default();
        }
        let own = acts.get(&culprit.act);
        let waiting = |act: Act| acts.get(&act).filter(|strike| strike.is_waiting(now));
        let callers = || {
            let waiting = acts.iter().filter(|(_, strike)| strike.is_waiting(now));
            let of_model = waiting.filter(|(_, strike)| strike.says_of_model);
            of_model.filter(|(act, _)| **act != Act::Load).map(|(_, strike)| strike.until)
        };
        let shared = if callers().count() >= PARTIES_MIN { callers().min() } else { None };
        let loading = waiting(Act::Load).map(|strike| strike.until);
        let until = waiting(culprit.act).map(|strike| strike.until).max(loading).max(shared);
        Standing {
            wait: until.and_then(|until| until.checked_duration_since(now)),
            alone: own.is_some_and(|strike| strike.suspected >= SUSPECTED_MIN),
        }
    }

    /// Records the crash of a worker during these activities. A single one is guilty, several are suspects.
    pub(super) fn blame(&self, culprits: &HashSet<Culprit>, how: &str) {
        let now = Instant::now();
        let mut culprits = culprits.iter();
        match (culprits.next(), culprits.next()) {
            (Some(alone), None) => {
                self.note(alone, now, |strike| strike.suspected = SUSPECTED_MIN);
                self.strike_at(alone, how, (true, now));
            }
            (one, other) => {
                for suspect in one.into_iter().chain(other).chain(culprits) {
                    self.note(suspect, now, |strike| {
                        strike.suspected = strike.suspected.saturating_add(1).min(SUSPECTED_MIN);
                        strike.until = strike.until.max(now);
                    });
                }
            }
        }
    }

    /// Records that it crashed a worker, or made the host kill one.
    pub(super) fn strike(&self, culprit: &Culprit, how: &str) {
        self.strike_at(culprit, how, (true, Instant::now()));
    }

    /// Records that it did not stop, so that the host killed its worker. If the caller was impatient, only that caller must wait.
    pub(super) fn strike_overdue(&self, culprit: &Culprit, how: &str, patient: bool) {
        self.strike_at(culprit, how, (patient, Instant::now()));
    }

    fn strike_at(&self, culprit: &Culprit, how: &str, (says_of_model, now): (bool, Instant)) {
        let (mut times, mut wait) = (0, Duration::ZERO);
        self.note(culprit, now, |strike| {
            wait = BACKOFF_FIRST
                .saturating_mul(1_u32.checked_shl(strike.times).unwrap_or(u32::MAX))
                .min(BACKOFF_MAX);
            strike.times = strike.times.saturating_add(1).min(31);
            strike.says_of_model |= says_of_model;
            strike.until = now + wait;
            how.clone_into(&mut strike.how);
            times = strike.times;
        });
        let Culprit { owned: Owned { publisher, model }, act } = culprit;
        tracing::warn!(%publisher, %model, ?act, times, ?wait, %how, "a worker was ended: the model is backed off");
    }

    /// Changes one entry.
    fn note(&self, culprit: &Culprit, now: Instant, change: impl FnOnce(&mut Strike)) {
        let mut models = self.lock();
        if models.values().map(HashMap::len).sum::<usize>() >= STRIKES_MAX {
            make_room(&mut models, now);
        }
        let acts = models.entry(culprit.owned.clone()).or_default();
        if acts.len() >= ACTS_MAX && !acts.contains_key(&culprit.act) {
            let first = acts.iter().min_by_key(|(_, strike)| strike.until).map(|(act, _)| *act);
            first.and_then(|first| acts.remove(&first));
        }
        let strike = acts.entry(culprit.act).or_insert_with(|| Strike::new(now));
        strike.forgive(now);
        change(strike);
    }

    /// All entries, longest wait first.
    pub(super) fn incidents(&self) -> Vec<Incident> {
        self.incidents_at(Instant::now(), |_| true)
    }

    /// One publisher's entries, longest wait first, without the callers.
    pub(super) fn incidents_of(&self, publisher: &AccountName) -> Vec<Incident> {
        self.incidents_at(Instant::now(), |owned| owned.publisher == *publisher)
    }

    fn incidents_at(&self, now: Instant, is_wanted: impl Fn(&Owned) -> bool) -> Vec<Incident> {
        let mut models = self.lock();
        models.retain(|_, acts| {
            forget(acts, now);
            !acts.is_empty()
        });
        let wanted = models.iter().filter(|(owned, _)| is_wanted(owned));
        let strikes = wanted.flat_map(|(owned, acts)| acts.values().map(move |one| (owned, one)));
        let struck = strikes.filter(|(_, strike)| strike.times > 0);
        let incident = |(owned, strike): (&Owned, &Strike)| Incident {
            publisher: owned.publisher.clone(),
            model: owned.model,
            how: strike.how.clone(),
            times: strike.times,
            wait_ms: u64::try_from(strike.until.saturating_duration_since(now).as_millis())
                .unwrap_or(u64::MAX),
        };
        let mut incidents: Vec<Incident> = struck.map(incident).collect();
        drop(models);
        incidents.sort_by_key(|incident| std::cmp::Reverse(incident.wait_ms));
        incidents
    }
}

fn forget(acts: &mut Acts, now: Instant) {
    acts.retain(|_, strike| {
        strike.forgive(now);
        !strike.is_forgotten()
    });
}

/// Drops forgiven entries. If there are none, drops the model whose wait ends first.
fn make_room(models: &mut HashMap<Owned, Acts>, now: Instant) {
    models.retain(|_, acts| {
        forget(acts, now);
        !acts.is_empty()
    });
    if models.values().map(HashMap::len).sum::<usize>() >= STRIKES_MAX {
        let last = |acts: &Acts| acts.values().map(|strike| strike.until).max();
        let first =
            models.iter().min_by_key(|(_, acts)| last(acts)).map(|(owned, _)| owned.clone());
        first.and_then(|first| models.remove(&first));
    }
}

fn forgiven(since: Duration) -> u32 {
    u32::try_from(since.as_secs() / FORGIVEN_EACH.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(publisher: &str, model: &[u8]) -> Owned {
        let publisher = publisher.parse().expect("a name");
        Owned { publisher, model: Digest::of(model) }
    }

    fn of(caller: u64) -> Culprit {
        Culprit::computing(owned("acme", b"model"), caller)
    }

    fn wait(strikes: &Strikes, culprit: &Culprit) -> Option<Duration> {
        strikes.standing(culprit).wait
    }

    #[test]
    fn one_caller_waits_longer_each_time_and_others_do_not() {
        let strikes = Strikes::default();
        assert_eq!(strikes.standing(&of(1)), Standing::default());
        strikes.strike(&of(1), "SIGFPE");
        let first = wait(&strikes, &of(1)).expect("it waits");
        assert!(first <= BACKOFF_FIRST && first > BACKOFF_FIRST / 2, "{first:?}");
        for _ in 0..40 {
            strikes.strike(&of(1), "SIGFPE");
        }
        let last = wait(&strikes, &of(1)).expect("it waits");
        assert!(last <= BACKOFF_MAX && last > BACKOFF_MAX / 2, "{last:?}");
        assert_eq!(wait(&strikes, &of(2)), None, "the model is honest, for all that is known");
        strikes.strike(&of(2), "SIGFPE");
        strikes.strike(&of(3), "SIGFPE");
        assert!(wait(&strikes, &of(4)).is_some(), "three parties had it happen");
        let copy = Culprit::computing(owned("umbrella", b"model"), 4);
        assert_eq!(wait(&strikes, &copy), None, "of the same weights another's copy");
        assert_eq!(strikes.incidents().len(), 3);
        assert_eq!(strikes.incidents_of(&of(1).owned.publisher).len(), 3);
        assert_eq!(strikes.incidents_of(&copy.owned.publisher), []);
        assert_eq!(forgiven(Duration::from_secs(59)), 0);
        assert_eq!(forgiven(Duration::from_secs(125)), 2);
    }

    /// Regression: three consumers with deadlines of 20 ms blocked an honest model for all others.
    #[test]
    fn impatient_callers_take_a_model_from_nobody_else() {
        let strikes = Strikes::default();
        (1..=5).for_each(|caller| strikes.strike_overdue(&of(caller), "being killed", false));
        assert!(wait(&strikes, &of(1)).is_some());
        assert_eq!(wait(&strikes, &of(6)), None);
    }

    #[test]
    fn whoever_was_one_of_several_waits_for_nothing_and_then_computes_alone() {
        let strikes = Strikes::default();
        let several = HashSet::from([of(1), of(2), Culprit::loading(owned("acme", b"other"))]);
        strikes.blame(&several, "SIGFPE");
        for suspect in &several {
            assert_eq!(strikes.standing(suspect), Standing::default(), "{suspect:?}");
        }
        strikes.blame(&several, "SIGFPE");
        for suspect in &several {
            assert_eq!(strikes.standing(suspect), Standing { wait: None, alone: true });
        }
        assert!(strikes.incidents().is_empty(), "nothing is known of anybody");
        strikes.blame(&HashSet::from([of(1)]), "SIGFPE");
        assert!(wait(&strikes, &of(1)).is_some(), "it was alone");
        assert_eq!(wait(&strikes, &of(2)), None);
        assert_eq!(strikes.incidents().len(), 1);
    }

    #[test]
    fn what_ends_workers_while_it_is_loaded_waits_whoever_calls() {
        let strikes = Strikes::default();
        strikes.blame(&HashSet::from([Culprit::loading(owned("acme", b"model"))]), "SIGSEGV");
        assert!(wait(&strikes, &of(7)).is_some());
        assert_eq!(wait(&strikes, &Culprit::computing(owned("acme", b"other"), 7)), None);
    }

    #[test]
    fn what_is_long_past_is_forgotten_when_somebody_looks() {
        let strikes = Strikes::default();
        for caller in 0..2 {
            strikes.strike(&of(caller), "SIGFPE");
            strikes.strike(&of(caller), "SIGFPE");
        }
        let shown = |after: u64| {
            let now = Instant::now() + Duration::from_secs(after);
            strikes
                .incidents_at(now, |_| true)
                .iter()
                .map(|incident| incident.times)
                .collect::<Vec<_>>()
        };
        assert_eq!(shown(0), [2, 2]);
        assert_eq!(shown(62), [1, 1], "one is forgiven a minute, for who only looks, too");
        assert_eq!(shown(63), [1, 1], "and is not forgiven twice");
        let later = Instant::now() + Duration::from_secs(122);
        assert_eq!(strikes.standing_at(&of(0), later), Standing::default());
        assert!(strikes.lock().is_empty(), "nothing is kept");
    }

    #[test]
    fn it_remembers_no_more_than_it_may() {
        let strikes = Strikes::default();
        for caller in 0..1000 {
            strikes.strike(&of(caller), "SIGFPE");
        }
        assert_eq!(strikes.incidents().len(), ACTS_MAX);
        let more = STRIKES_MAX as u64 + 200;
        let loading = |model: u64| Culprit::loading(owned("acme", &model.to_le_bytes()));
        for model in 0..=more {
            strikes.strike(&loading(model), "SIGFPE");
        }
        let kept = strikes.incidents().len();
        assert!(kept <= STRIKES_MAX && kept > STRIKES_MAX / 2, "{kept}");
        assert!(wait(&strikes, &loading(more)).is_some(), "the newest");
    }
}
