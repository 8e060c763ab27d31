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

    fn stop_of(&self, party: &Party) -> Arc<Stop> {
        Arc::clone(self.lock().entry(*party).or_default())
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
        let stop = self.own.stop_of(caller.party());
        // Check afterwards: if a party is held meanwhile, its earlier calls have been ended, and this one ends at once.
        if self.is_party_held(caller.party()) {
            stop.set();
        }
        Some(Own { rule, ledger, stop })
    }
}
