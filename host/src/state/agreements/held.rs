//! Agreements that the operator has stopped or frozen, and those of parties whose accounts are stopped: they permit nothing, and their
//! running calls end. No event is involved that a party could reject, wait for or exhaust.

use std::sync::Arc;

use jiff::SignedDuration;

use super::{Active, Agreements, AgreementsError, Outline, Standing};
use crate::agreement::Agreement;
use crate::agreement::events::EVENT_SKEW_SECONDS;
use crate::id::{ById, Digest, Party};
use crate::state::accounts::Cause;

/// What is held.
#[derive(Debug, Default, Clone)]
pub(super) struct Held {
    parties: ById<Party, ()>,
    agreements: ById<Digest, Cause>,
    frozen: Frozen,
}

/// What may be used more than the host knows, because receipts were lost. Identified by its document, not by presence: an agreement lost
/// with its receipts may be submitted again.
#[derive(Debug, Default, Clone)]
struct Frozen {
    agreements: ById<Digest, Cause>,
    /// All agreements with limits made before this.
    all: Option<Cause>,
    /// Released exceptions from it.
    released: ById<Digest, ()>,
}

impl Frozen {
    fn is_empty(&self) -> bool {
        self.agreements.is_empty() && self.all.is_none()
    }

    /// Why an agreement permits nothing: it or a parent is frozen.
    fn why_any(&self, active: &Active) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        with_those_above(active).find_map(|active| self.why(active))
    }

    fn why(&self, active: &Active) -> Option<String> {
        let Outline { id, issued, .. } = active.outline();
        let of_all = || {
            let all = self.all.as_ref().filter(|all| *issued < all.at);
            all.filter(|_| !self.released.contains_key(id) && active.terms().remember_calls())
        };
        let Cause { at, reason } = self.agreements.get(id).or_else(of_all)?;
        Some(format!(
            "it was frozen at {at}, because it may have been used more than this host knows: {reason}; the host's operator can release it"
        ))
    }
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
    /// Makes the agreements of exactly these parties permit nothing. Their running calls end, including the parties' calls of their own
    /// models.
    pub fn hold(&self, parties: &[Party]) {
        self.change_held(|held| {
            held.parties = parties.iter().map(|party| (*party, ())).collect();
        });
        self.own.halt(parties.iter());
    }

    pub(super) fn is_party_held(&self, party: &Party) -> bool {
        self.held.load().parties.contains_key(party)
    }

    /// Stops an agreement for good, even one that the host has lost, because it may be submitted again. Running calls under it or its parts
    /// end.
    pub fn stop(&self, id: &Digest, cause: Cause) {
        self.change_held(|held| {
            held.agreements.entry(*id).or_insert(cause);
        });
    }

    /// Freezes an agreement, which the host may not have, until it is released. Its running calls end.
    pub fn freeze(&self, id: &Digest, cause: Cause) {
        self.change_held(|held| drop(held.frozen.agreements.insert(*id, cause)));
    }

    /// Freezes all agreements with limits made before this.
    pub fn freeze_all(&self, cause: Cause) {
        self.change_held(|held| {
            held.frozen.all = Some(cause);
            held.frozen.released.clear();
        });
    }

    /// Releases a frozen agreement, with the usage that the host knows.
    pub fn release(&self, id: &Digest) {
        self.change_held(|held| {
            held.frozen.agreements.remove(id);
            held.frozen.released.insert(*id, ());
        });
    }

    /// Releases all of them.
    pub fn release_all(&self) {
        self.change_held(|held| held.frozen = Frozen::default());
    }

    /// What is frozen: agreements by number, and whether all with limits made before a time are.
    pub fn frozen(&self) -> (Vec<(Digest, Cause)>, Option<Cause>) {
        let frozen = &self.held.load().frozen;
        let named = frozen.agreements.iter().map(|(id, cause)| (*id, cause.clone()));
        let mut named: Vec<_> = named.collect();
        named.sort_by_key(|(id, _)| *id);
        (named, frozen.all.clone())
    }

    /// Whether the host may have lost agreements together with their receipts.
    pub(super) fn has_lost_agreements(&self) -> bool {
        self.held.load().frozen.all.is_some()
    }

    /// Whether an agreement can be released.
    pub fn is_frozen(&self, id: &Digest) -> bool {
        let held = self.held.load();
        let directory = self.directory.load();
        let is_of_all =
            || directory.active(id).is_some_and(|active| held.frozen.why(active).is_some());
        held.frozen.agreements.contains_key(id) || is_of_all()
    }

    /// The agreements with limits that a call under this one is counted against: itself and its parents. `None` if unknown, because the
    /// host lacks the agreement or another has superseded it and continues its counts.
    pub fn counted_by(&self, id: &Digest) -> Option<Vec<Digest>> {
        let directory = self.directory.load();
        let mut above = Some(directory.active(id)?);
        above.filter(|active| active.in_force(self.now(), self.as_of()).is_ok())?;
        let mut counted = Vec::new();
        while let Some(active) = above {
            if active.terms().remember_calls() {
                counted.push(*active.id());
            }
            above = active.parent();
        }
        Some(counted)
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

    /// Why an agreement permits nothing, if it or a parent is held.
    pub(super) fn held(&self, active: &Active) -> Option<String> {
        let held = self.held.load();
        self.stopped(&held, active).or_else(|| held.frozen.why_any(active))
    }

    fn stopped(&self, held: &Held, active: &Active) -> Option<String> {
        if held.parties.is_empty() && held.agreements.is_empty() && !self.auth.lacks_accounts() {
            return None;
        }
        with_those_above(active).find_map(|active| {
            let Outline { id, publisher, consumer, .. } = active.outline();
            let why = held.why(id, [publisher, consumer]);
            why.or_else(|| self.unknown([publisher, consumer]))
        })
    }

    /// Whether a frozen agreement would permit nothing even when released.
    pub fn waits_for_release(&self, standing: &Standing) -> bool {
        let Standing::Active(active) = standing else { return false };
        let held = self.held.load();
        self.stopped(&held, active).is_none() && held.frozen.why_any(active).is_some()
    }

    /// While an account's record cannot be read, its stopped and replaced keys are unknown. So a party without a readable account is
    /// treated as one of them.
    fn unknown(&self, parties: [&Party; 2]) -> Option<String> {
        if !self.auth.lacks_accounts() {
            return None;
        }
        let party = parties.into_iter().find(|party| !self.auth.knows(party))?;
        Some(format!("the account of `{party}` cannot be read by this host; ask its operator"))
    }

    /// The same for an agreement that may not be in force yet, for its parties.
    pub fn held_because(&self, standing: &Standing) -> Option<String> {
        match standing {
            Standing::Active(active) => self.held(active),
            Standing::Proposed(_) => {
                let Outline { id, publisher, consumer, .. } = standing.outline();
                self.held.load().why(id, [publisher, consumer])
            }
        }
    }

    /// Rejects an agreement dated in the future: freezing all agreements before a loss depends on the issue date.
    pub(super) fn check_not_ahead(&self, agreement: &Agreement) -> Result<(), AgreementsError> {
        let (issued, now) = (agreement.issued(), self.now());
        if issued.duration_since(now) > SignedDuration::from_secs(EVENT_SKEW_SECONDS) {
            return Err(AgreementsError::Ahead { issued, now });
        }
        Ok(())
    }

    /// Rejects a stopped agreement, or one with a held party.
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

/// An agreement and all its parents.
fn with_those_above(active: &Active) -> impl Iterator<Item = &Active> {
    std::iter::successors(Some(active), |active| active.parent().map(Arc::as_ref))
}
