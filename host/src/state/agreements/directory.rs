//! Which agreements there are, for those who look one up, and whose room they fill, for those who add one.
//!
//! A change copies what it touches and shares the rest, so that many agreements make neither look-ups nor changes slow.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::{Active, Outline, Standing};
use crate::id::{ById, Digest, ModelName, Party};

/// Parts that are copied one at a time. A power of two.
const SHARDS: usize = 256;

/// A map that shares with its copies what was not changed since.
struct Shards<K, V>(Vec<Arc<ById<K, V>>>);

impl<K, V> Clone for Shards<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Arc::default()).collect())
    }
}

impl<K: Eq + std::hash::Hash + Clone, V: Clone> Shards<K, V> {
    fn get(&self, shard: u8, key: &K) -> Option<&V> {
        self.0[usize::from(shard)].get(key)
    }

    fn of(&mut self, shard: u8) -> &mut ById<K, V> {
        Arc::make_mut(&mut self.0[usize::from(shard)])
    }

    fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().flat_map(|shard| shard.values())
    }
}

type OfParty = Arc<ById<ModelName, Vec<Arc<Active>>>>;

/// The agreements of the host.
#[derive(Default, Clone)]
pub(super) struct Directory {
    all: Shards<Digest, Standing>,
    in_force: Shards<Party, OfParty>,
    len: usize,
}

impl Directory {
    /// The agreements in force under which a party may use a model.
    pub fn of(&self, party: &Party, model: &ModelName) -> &[Arc<Active>] {
        let of_party = self.in_force.get(shard_of(party), party);
        of_party.and_then(|of_party| of_party.get(model)).map_or(&[], Vec::as_slice)
    }

    pub fn get(&self, id: &Digest) -> Option<&Standing> {
        self.all.get(id.as_bytes()[0], id)
    }

    pub fn active(&self, id: &Digest) -> Option<&Arc<Active>> {
        match self.get(id)? {
            Standing::Active(active) => Some(active),
            Standing::Proposed(_) => None,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn values(&self) -> impl Iterator<Item = &Standing> {
        self.all.values()
    }

    /// Enters an agreement in place of what was known of it.
    pub fn insert(&mut self, standing: Standing) {
        if let Standing::Active(active) = &standing {
            let Outline { consumer, model, .. } = active.outline();
            let of_party = self.in_force.of(shard_of(consumer)).entry(*consumer).or_default();
            let of_model = Arc::make_mut(of_party).entry(model.clone()).or_default();
            of_model.push(Arc::clone(active));
        }
        let id = *standing.id();
        if self.all.of(id.as_bytes()[0]).insert(id, standing).is_none() {
            self.len += 1;
        }
    }

    /// Takes out an agreement that was never in force.
    pub fn remove(&mut self, id: &Digest) {
        if self.all.of(id.as_bytes()[0]).remove(id).is_some() {
            self.len -= 1;
        }
    }
}

/// Bytes of a key are as good as random, but for those that its owner chose; then some shards are larger.
fn shard_of(party: &Party) -> u8 {
    party.public_key()[0]
}

/// Whose room the agreements fill: only that of those who have signed.
#[derive(Default)]
pub(super) struct Room {
    signed: ById<Party, usize>,
    /// Agreements that only the first of the two has signed.
    proposed: ById<(Party, Party), usize>,
    /// When those that only one has signed were first handed in.
    proposed_at: BTreeSet<(Timestamp, Digest)>,
    /// Agreements that the host has signed for a publisher: by offer, and of those each consumer's.
    by_agent: ById<Digest, ById<Party, u32>>,
}

impl Room {
    /// Enters an agreement. `since` is when it was first handed in.
    pub fn enter(&mut self, outline: &Outline, since: Timestamp) {
        self.change(outline, since, true);
    }

    /// Takes an agreement out, as it was entered.
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
            if enters {
                self.proposed_at.insert((since, outline.id));
            } else {
                self.proposed_at.remove(&(since, outline.id));
            }
        }
        if outline.is_by_agent {
            let of_offer = self.by_agent.entry(outline.offer).or_default();
            let made = of_offer.entry(outline.consumer).or_default();
            *made = if enters { made.saturating_add(1) } else { made.saturating_sub(1) };
        }
    }

    /// Agreements that any of these keys has signed.
    pub fn signed(&self, keys: &[Party]) -> usize {
        keys.iter().filter_map(|party| self.signed.get(party)).sum()
    }

    /// Agreements that any of `signers` has signed and wants one of `others` to sign.
    pub fn proposed(&self, signers: &[Party], others: &[Party]) -> usize {
        let pairs = signers.iter().flat_map(|signer| others.iter().map(|other| (*signer, *other)));
        pairs.filter_map(|pair| self.proposed.get(&pair)).sum()
    }

    /// Agreements that the host has signed under an offer, and how many of them with any of these keys.
    pub fn by_agent(&self, offer: &Digest, consumer: &[Party]) -> (u32, u32) {
        let Some(of_offer) = self.by_agent.get(offer) else { return (0, 0) };
        let all = of_offer.values().fold(0_u32, |sum, made| sum.saturating_add(*made));
        let theirs = consumer.iter().filter_map(|party| of_offer.get(party));
        (all, theirs.fold(0, |sum, made| sum.saturating_add(*made)))
    }

    /// Those that only one has signed and that were handed in before `at`.
    pub fn proposed_before(&self, at: Timestamp) -> Vec<(Timestamp, Digest)> {
        self.proposed_at.iter().take_while(|(since, _)| *since < at).copied().collect()
    }
}
