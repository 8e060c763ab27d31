//! An index of agreements for look-ups, and the room that each party uses.
//!
//! A change copies what it touches and shares the rest, so that many agreements slow down neither look-ups nor changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::{Active, Outline, Standing};
use crate::id::{ById, Digest, ModelName, Party};
use crate::state::Shared;

/// The agreements of the host.
#[derive(Default, Clone)]
pub(super) struct Directory {
    all: Shared<Digest, Standing>,
    /// By consumer, then by model: a party with many models copies none of the others.
    in_force: Shared<Party, ByModel>,
}

/// One party's agreements in force.
type ByModel = Shared<ModelName, Arc<Vec<Arc<Active>>>>;

impl Directory {
    /// The agreements in force under which a party may use a model.
    pub fn of(&self, party: &Party, model: &ModelName) -> &[Arc<Active>] {
        let of_party = self.in_force.get(party);
        of_party.and_then(|of_party| of_party.get(model)).map_or(&[], |all| all.as_slice())
    }

    pub fn get(&self, id: &Digest) -> Option<&Standing> {
        self.all.get(id)
    }

    pub fn active(&self, id: &Digest) -> Option<&Arc<Active>> {
        match self.get(id)? {
            Standing::Active(active) => Some(active),
            Standing::Proposed(_) => None,
        }
    }

    pub fn len(&self) -> usize {
        self.all.size()
    }

    pub fn values(&self) -> impl Iterator<Item = &Standing> {
        self.all.values()
    }

    /// Inserts an agreement, replacing its previous state.
    pub fn insert(&mut self, standing: Standing) {
        if let Standing::Active(active) = &standing {
            self.enter(active);
        }
        self.all.insert_mut(*standing.id(), standing);
    }

    fn enter(&mut self, active: &Arc<Active>) {
        let Outline { consumer, model, .. } = active.outline();
        let mut of_party = self.in_force.get(consumer).cloned().unwrap_or_default();
        match of_party.get_mut(model) {
            Some(of_model) => Arc::make_mut(of_model).push(Arc::clone(active)),
            None => of_party.insert_mut(model.clone(), Arc::new(vec![Arc::clone(active)])),
        }
        self.in_force.insert_mut(*consumer, of_party);
    }

    /// Removes an agreement that never came into force.
    pub fn remove(&mut self, id: &Digest) {
        self.all.remove_mut(id);
    }
}

/// Room used per party: agreements count only for those who have signed.
#[derive(Default)]
pub(super) struct Room {
    signed: ById<Party, usize>,
    /// Agreements that only the first of the two has signed.
    proposed: ById<(Party, Party), usize>,
    /// The number of agreements with one signature, by offer.
    waiting: ById<Digest, usize>,
    /// When agreements with one signature were first submitted.
    proposed_at: BTreeSet<(Timestamp, Digest)>,
    /// Agreements that the host signed for a publisher, by offer.
    by_agent: ById<Digest, Made>,
    /// Agreements being written, whose room is reserved.
    pub on_its_way: BTreeSet<Digest>,
}

/// What the host has signed under one offer: in total, and with each consumer.
#[derive(Default)]
struct Made {
    all: u32,
    with: ById<Party, u32>,
}

impl Room {
    /// Counts an agreement. `since` is when it was first submitted.
    pub fn enter(&mut self, outline: &Outline, since: Timestamp) {
        self.change(outline, since, true);
    }

    /// Removes an agreement, as it was counted.
    pub fn leave(&mut self, outline: &Outline, since: Timestamp) {
        self.change(outline, since, false);
    }

    fn change(&mut self, outline: &Outline, since: Timestamp, enters: bool) {
        let count = |room: &mut usize| {
            *room = if enters { *room + 1 } else { room.saturating_sub(1) };
        };
        for signer in outline.signers() {
            count(self.signed.entry(signer).or_default());
        }
        if let Some(pair) = outline.proposed_by() {
            count(self.proposed.entry(pair).or_default());
            let waiting = self.waiting.entry(outline.offer).or_default();
            count(waiting);
            if *waiting == 0 {
                self.waiting.remove(&outline.offer);
            }
            if enters {
                self.proposed_at.insert((since, outline.id));
            } else {
                self.proposed_at.remove(&(since, outline.id));
            }
        }
        if outline.is_by_agent {
            let of_offer = self.by_agent.entry(outline.offer).or_default();
            let with = of_offer.with.entry(outline.consumer).or_default();
            for made in [&mut of_offer.all, with] {
                *made = if enters { made.saturating_add(1) } else { made.saturating_sub(1) };
            }
        }
    }

    /// Agreements signed by any of these keys.
    pub fn signed(&self, keys: &[Party]) -> usize {
        keys.iter().filter_map(|party| self.signed.get(party)).sum()
    }

    /// Agreements signed by any of `signers` that wait for a signature of one of `others`.
    pub fn proposed(&self, signers: &[Party], others: &[Party]) -> usize {
        let pairs = signers.iter().flat_map(|signer| others.iter().map(|other| (*signer, *other)));
        pairs.filter_map(|pair| self.proposed.get(&pair)).sum()
    }

    /// Agreements to an offer with one signature.
    pub fn waiting(&self, offer: &Digest) -> usize {
        self.waiting.get(offer).copied().unwrap_or_default()
    }

    /// Agreements that the host signed under an offer, and how many of them with any of these keys.
    pub fn by_agent(&self, offer: &Digest, consumer: &[Party]) -> (u32, u32) {
        let Some(of_offer) = self.by_agent.get(offer) else { return (0, 0) };
        let theirs = consumer.iter().filter_map(|party| of_offer.with.get(party));
        (of_offer.all, theirs.fold(0, |sum, made| sum.saturating_add(*made)))
    }

    /// Agreements with one signature that were submitted before `at`.
    pub fn proposed_before(&self, at: Timestamp) -> Vec<(Timestamp, Digest)> {
        self.proposed_at.iter().take_while(|(since, _)| *since < at).copied().collect()
    }
}
