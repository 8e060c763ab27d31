//! A publisher's calls of its own models: no document is needed, so none limits them, and they are free.
//!
//! Everything else applies: the host's and the bundle's limits, fair turns, receipts, and the operator's withdrawals and suspensions. A
//! publisher that names one of its agreements is bound by it.

use std::sync::{Arc, Mutex, MutexGuard};

use super::Agreements;
use crate::agreement::Rule;
use crate::id::{ById, Party};
use crate::ledger::Ledger;
use crate::state::accounts::Caller;
use crate::state::deployments::Function;
use crate::stop::Stop;

/// What permits one such call, instead of an agreement.
pub(super) struct Own {
    /// One that limits nothing.
    pub rule: Rule,
    /// For this call only: nothing is shared between calls.
    pub ledger: Arc<Ledger>,
    /// Ends the call when the account is suspended or closed.
    pub stop: Arc<Stop>,
}

/// Ends publishers' calls of their own models.
#[derive(Default)]
pub(super) struct OwnCalls(Mutex<ById<Party, Arc<Stop>>>);

impl OwnCalls {
    fn lock(&self) -> MutexGuard<'_, ById<Party, Arc<Stop>>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What ends a call of this party's that begins now: at once, if the party is held.
    fn stop_of(&self, party: &Party, is_held: impl FnOnce() -> bool) -> Arc<Stop> {
        let stop = Arc::clone(self.lock().entry(*party).or_default());
        // Asked afterwards: whoever is held meanwhile has its calls ended before, and this one at once.
        if is_held() {
            // It does not stay: it would end what the party calls when it is held no more.
            self.lock().retain(|_, kept| !Arc::ptr_eq(kept, &stop));
            stop.set();
        }
        stop
    }

    /// Ends the running calls of these parties.
    pub fn halt<'p>(&self, parties: impl Iterator<Item = &'p Party>) {
        let mut stops = self.lock();
        parties.filter_map(|party| stops.remove(party)).for_each(|stop| stop.set());
    }
}

impl Agreements {
    /// The permission of a publisher to call its own model: the account must have the model's name and the key that signed the version.
    pub(super) fn own_call(&self, caller: &Caller, function: &Function) -> Option<Own> {
        let deployment = function.deployment();
        let is_own = caller.account().name == deployment.model().publisher
            && caller.is(&deployment.publisher());
        if !is_own {
            return None;
        }
        let rule = Rule::unlimited(function.name().clone());
        let ledger = Ledger::new(rule.limits().clone(), None);
        let party = caller.party();
        let stop = self.own.stop_of(party, || self.is_party_held(party));
        Some(Own { rule, ledger, stop })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::PartyKey;

    #[test]
    fn a_call_that_begins_while_its_party_is_held_ends_and_later_ones_do_not() {
        let (calls, party) = (OwnCalls::default(), PartyKey::from_secret(&[7; 32]).party());
        let before = calls.stop_of(&party, || false);
        let meanwhile = calls.stop_of(&party, || true);
        assert!(before.is_set() && meanwhile.is_set());
        let after = calls.stop_of(&party, || false);
        assert!(!after.is_set(), "it is held no more");
        calls.halt(std::iter::once(&party));
        assert!(after.is_set());
        assert!(!calls.stop_of(&party, || false).is_set());
    }
}
