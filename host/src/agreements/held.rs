//! Agreements that the operator has stopped, and those of parties whose accounts it has: they permit nothing, and the calls under
//! them end. No event does that, so there is none that a party could refuse, wait for or run out of.

use std::sync::Arc;

use super::{Active, Agreements, AgreementsError, Outline, Standing};
use crate::agreement::Agreement;
use crate::auth::Cause;
use crate::id::{ById, Digest, Party};

/// What is held.
#[derive(Debug, Default, Clone)]
pub(super) struct Held {
    parties: ById<Party, ()>,
    agreements: ById<Digest, Cause>,
}

impl Held {
    /// Why an agreement permits nothing.
    fn why(&self, id: &Digest, [publisher, consumer]: [&Party; 2]) -> Option<String> {
        if let Some(Cause { at, reason }) = self.agreements.get(id) {
            return Some(format!("it was stopped by this host's operator at {at}: {reason}"));
        }
        let of = |role: &str| {
            Some(format!(
                "the account of its {role} was suspended or closed by this host's operator"
            ))
        };
        match () {
            () if self.parties.contains_key(publisher) => of("publisher"),
            () if self.parties.contains_key(consumer) => of("consumer"),
            () => None,
        }
    }
}

impl Agreements {
    /// Lets agreements of these parties, and of no others, permit nothing. Calls that run under them end.
    pub fn hold(&self, parties: Vec<Party>) {
        self.change_held(|held| {
            held.parties = parties.into_iter().map(|party| (party, ())).collect();
        });
    }

    /// Stops an agreement for good. Calls that run under it, or under a part of it, end.
    ///
    /// # Errors
    /// [`AgreementsError::NotFound`].
    pub fn stop(&self, id: &Digest, cause: Cause) -> Result<(), AgreementsError> {
        self.exists(id)?;
        self.change_held(|held| {
            held.agreements.entry(*id).or_insert(cause);
        });
        Ok(())
    }

    /// Whether there is an agreement of this party, in force or proposed.
    pub fn has_any_of(&self, party: &Party) -> bool {
        let directory = self.directory.load();
        let mut outlines = directory.values().map(Standing::outline);
        outlines.any(|outline| [&outline.publisher, &outline.consumer].contains(&party))
    }

    /// Whether there is such an agreement, in force or proposed.
    ///
    /// # Errors
    /// [`AgreementsError::NotFound`].
    pub fn exists(&self, id: &Digest) -> Result<(), AgreementsError> {
        let known = self.directory.load().get(id).is_some();
        known.then_some(()).ok_or(AgreementsError::NotFound(*id))
    }

    fn change_held(&self, change: impl FnOnce(&mut Held)) {
        let mut held = Held::clone(&self.held.load());
        change(&mut held);
        self.held.store(Arc::new(held));
        let directory = self.directory.load();
        for standing in directory.values() {
            if let Standing::Active(active) = standing
                && self.held(active).is_some()
            {
                active.life().halt();
            }
        }
    }

    /// Why an agreement permits nothing, if it or one above it is held.
    pub(super) fn held(&self, active: &Active) -> Option<String> {
        let held = self.held.load();
        if held.parties.is_empty() && held.agreements.is_empty() && !self.auth.lacks_accounts() {
            return None;
        }
        let mut above = Some(active);
        while let Some(active) = above {
            let Outline { id, publisher, consumer, .. } = active.outline();
            let why = held.why(id, [publisher, consumer]);
            if let Some(why) = why.or_else(|| self.unknown([publisher, consumer])) {
                return Some(why);
            }
            above = active.parent().map(Arc::as_ref);
        }
        None
    }

    /// While the record of an account cannot be read, it is not known whose keys were stopped or followed by others: a party of no account
    /// that can be read is taken for one of them.
    fn unknown(&self, parties: [&Party; 2]) -> Option<String> {
        let party = parties.into_iter().find(|party| !self.auth.knows(party))?;
        self.auth.lacks_accounts().then(|| {
            format!("the account of `{party}` cannot be read by this host; ask its operator")
        })
    }

    /// The same of an agreement that may not be in force yet, for its parties.
    pub fn held_because(&self, standing: &Standing) -> Option<String> {
        match standing {
            Standing::Active(active) => self.held(active),
            Standing::Proposed(_) => {
                let Outline { id, publisher, consumer, .. } = standing.outline();
                self.held.load().why(id, [publisher, consumer])
            }
        }
    }

    /// Refuses an agreement that is stopped, or one with a party that is held.
    pub(super) fn check_held(
        &self,
        id: &Digest,
        agreement: &Agreement,
    ) -> Result<(), AgreementsError> {
        match self.held.load().why(id, [agreement.assigner(), agreement.assignee()]) {
            Some(why) => Err(AgreementsError::Held(why)),
            None => Ok(()),
        }
    }
}
