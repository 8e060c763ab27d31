//! Agreements with one signature: whose room they use, and when they are forgotten.
//!
//! Anybody can name anybody in a document. So an agreement costs only its signer, and is forgotten if the other side never signs.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard};

use jiff::Timestamp;

use super::directory::Room;
use super::{Agreements, AgreementsError, Directory, Outline, Standing};
use crate::id::{Digest, Party};
use crate::store::{StoreError, Table};

impl Agreements {
    pub(super) fn room(&self) -> MutexGuard<'_, Room> {
        self.changing.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Agreements to an offer that wait for a signature. They can get it only while the offer is in the market.
    pub fn open_proposals(&self, offer: &Digest) -> usize {
        self.room().waiting(offer)
    }

    /// Only the signer's room is used. `known` is the same agreement with fewer signatures.
    pub(super) fn check_room(
        &self,
        room: &Room,
        outline: &Outline,
        known: Option<&Outline>,
    ) -> Result<(), AgreementsError> {
        let before: Vec<Party> = known.into_iter().flat_map(Outline::signers).collect();
        let max = self.limits.agreements_per_party_max;
        for party in outline.signers().filter(|party| !before.contains(party)) {
            if self.is_full(room, &party) {
                return Err(AgreementsError::TooMany { party, max });
            }
        }
        let Some((by, with)) = outline.proposed_by().filter(|_| known.is_none()) else {
            return Ok(());
        };
        let max = self.limits.proposals_per_pair_max;
        if room.proposed(&self.auth.parties_of(&by), &self.auth.parties_of(&with)) >= max {
            return Err(AgreementsError::TooManyProposed { by, with, max });
        }
        Ok(())
    }

    /// Whether a party, under any of its keys, has signed as many agreements as it may.
    pub(super) fn is_full(&self, room: &Room, party: &Party) -> bool {
        room.signed(&self.auth.parties_of(party)) >= self.limits.agreements_per_party_max
    }

    pub(super) fn keep_proposal(
        &self,
        id: &Digest,
        envelope: &[u8],
        since: Timestamp,
    ) -> Result<(), StoreError> {
        let (key, since) = (id.to_string(), since.as_microsecond().to_le_bytes());
        self.store.put_all(&[(Table::Agreements, &key, envelope), (Table::Proposals, &key, &since)])
    }

    /// When agreements were first submitted. For those stored by older hosts the time counts from now.
    pub(super) fn proposed_since(&self) -> Result<HashMap<Digest, Timestamp>, AgreementsError> {
        let read = |(key, record): (String, Vec<u8>)| {
            let time = |record: Vec<u8>| {
                let micros = i64::from_le_bytes(record.try_into().ok()?);
                Some((key.parse().ok()?, Timestamp::from_microsecond(micros).ok()?))
            };
            let read = time(record);
            if read.is_none() {
                self.store.set_aside_as(Table::Proposals, &key, "it is not an agreement's time");
            }
            read
        };
        Ok(self.store.all(Table::Proposals)?.into_iter().filter_map(read).collect())
    }

    /// Stores the start time for agreements of older hosts, so that a restart does not reset it.
    pub(super) fn keep_since(&self, directory: &Directory) -> Result<(), AgreementsError> {
        let known = self.proposed_since()?;
        let missing = directory.values().filter_map(|standing| match standing {
            Standing::Proposed(proposed) if !known.contains_key(standing.id()) => {
                let key = standing.id().to_string();
                self.store.why_aside(Table::Proposals, &key).is_none().then_some(())?;
                Some((key, proposed.since().as_microsecond().to_le_bytes()))
            }
            Standing::Proposed(_) | Standing::Active(_) => None,
        });
        let missing: Vec<_> = missing.collect();
        if missing.is_empty() {
            return Ok(());
        }
        let records = missing.iter().map(|(key, since)| (Table::Proposals, &**key, &since[..]));
        Ok(self.store.put_all(&records.collect::<Vec<_>>())?)
    }

    /// Forgets agreements that the other side has not signed within `market.proposal_lifetime`.
    pub(super) fn drop_expired(&self) -> Result<(), StoreError> {
        let lifetime = self.limits.proposal_lifetime;
        let before = self.now().checked_sub(lifetime).unwrap_or(Timestamp::MIN);
        let mut room = self.room();
        let mut expired = room.proposed_before(before);
        // The other side has just signed it.
        expired.retain(|(_, id)| !room.on_its_way.contains(id));
        if expired.is_empty() {
            return Ok(());
        }
        let mut directory = Directory::clone(&self.directory.load());
        for (since, id) in &expired {
            if let Some(standing) = directory.get(id) {
                room.leave(&standing.outline().clone(), *since);
            }
            directory.remove(id);
        }
        // Removed from memory before the disk, so that nobody looks for a missing document.
        self.directory.store(Arc::new(directory));
        let keys: Vec<String> = expired.iter().map(|(_, id)| id.to_string()).collect();
        let records =
            keys.iter().flat_map(|key| [(Table::Agreements, &**key), (Table::Proposals, &**key)]);
        self.store.remove_all(&records.collect::<Vec<_>>())?;
        tracing::info!(count = expired.len(), "deleted agreements that one party never signed");
        Ok(())
    }
}
