//! A publisher's calls of its own models: no document permits them, so none limits them, and they cost nothing.
//!
//! All that holds for every call holds for them: the host's and the bundle's limits, fair turns, a receipt, and what the operator
//! withdraws, revokes and suspends. A publisher that names one of its agreements is held to that one.

use std::sync::{Arc, Mutex, MutexGuard};

use super::Agreements;
use crate::agreement::Rule;
use crate::id::{ById, Party};
use crate::ledger::Ledger;
use crate::state::accounts::Caller;
use crate::state::deployments::Function;
use crate::stop::Stop;

/// What permits one such call, in the place of an agreement.
pub(super) struct Own {
    /// One that limits nothing.
    pub rule: Rule,
    /// This call's alone: there is nothing that several could use up.
    pub ledger: Arc<Ledger>,
    /// Ends the call when the account is suspended or closed.
    pub stop: Arc<Stop>,
}

/// What ends the calls that publishers make of their own models.
#[derive(Default)]
pub(super) struct OwnCalls(Mutex<ById<Party, Arc<Stop>>>);

impl OwnCalls {
    fn lock(&self) -> MutexGuard<'_, ById<Party, Arc<Stop>>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn stop_of(&self, party: &Party) -> Arc<Stop> {
        Arc::clone(self.lock().entry(*party).or_default())
    }

    /// Ends those of these parties that run now.
    pub fn halt<'p>(&self, parties: impl Iterator<Item = &'p Party>) {
        let mut stops = self.lock();
        parties.filter_map(|party| stops.remove(party)).for_each(|stop| stop.set());
    }
}

impl Agreements {
    /// The permission of a publisher to call its own model: the account that the model is named after, if it is also the one whose key
    /// has signed the version.
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
        // Asked afterwards: whoever is held meanwhile has its calls ended before, and this one at once.
        if self.is_party_held(caller.party()) {
            stop.set();
        }
        Some(Own { rule, ledger, stop })
    }
}
