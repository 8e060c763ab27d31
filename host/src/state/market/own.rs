//! A publisher's own offers: listing and withdrawing them.
//!
//! A withdrawn offer is no longer listed and cannot be accepted; existing agreements stay. It is kept, so that its publisher can list it
//! again and the parties can see its state, until its room is needed.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Listing, Market, MarketError, check};
use crate::agreement::SignedOffer;
use crate::id::{Digest, Party};
use crate::state::accounts::{Caller, Cause};
use crate::state::agreements::Agreements;
use crate::state::deployments::Deployments;
use crate::store::Table;

/// An offer's state.
#[derive(Debug, Clone)]
pub enum Stand {
    Listed,
    /// Withdrawn by its publisher.
    TakenBack(Timestamp),
    /// Withdrawn by the operator.
    Withdrawn(Cause),
}

/// One of the caller's offers.
#[derive(Clone)]
pub struct Own {
    pub offer: Arc<SignedOffer>,
    pub stand: Stand,
}

/// A replacement of an offer.
#[derive(Debug, Clone, Copy)]
pub struct Replacement<'a> {
    pub old: Digest,
    /// The new offer, signed.
    pub envelope: &'a [u8],
    pub at: Timestamp,
}

impl Market {
    /// The caller's offers with their states, ordered by identifier.
    pub fn of(&self, publisher: &Caller) -> Vec<Own> {
        let listing = self.listing.load();
        let ids = publisher.parties().flat_map(|party| listing.ids_of(party));
        let mut own: Vec<_> = ids.filter_map(|id| listing.stand(id)).collect();
        own.sort_by_key(|own| *own.offer.id());
        own
    }

    /// Withdraws one of the caller's offers. Repeating it changes nothing. Returns the time of the withdrawal.
    ///
    /// # Errors
    /// [`MarketError::NotYourOffer`], also for other publishers' offers; [`MarketError::Store`].
    pub fn take_back(
        &self,
        publisher: &Caller,
        id: &Digest,
        at: Timestamp,
    ) -> Result<(Arc<SignedOffer>, Timestamp), MarketError> {
        let _changing = self.changing.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let now = self.listing.load();
        if let Some((offer, since)) = now.own(publisher, id)? {
            return Ok((offer, since));
        }
        let mut listing = Listing::clone(&now);
        let offer = listing.take_back(id, at).ok_or(MarketError::NotYourOffer(*id))?;
        let (key, record) = (id.to_string(), record(&offer, at));
        self.store.change(&[(Table::Offers, &key)], &[(Table::WithdrawnOffers, &key, &record)])?;
        self.put(listing);
        Ok((offer, at))
    }

    /// Lists an offer and withdraws an earlier one of the same model, both or neither.
    ///
    /// # Errors
    /// As [`Market::list`] and [`Market::take_back`]; nothing was changed.
    pub fn replace(
        &self,
        publisher: &Caller,
        replacement: Replacement<'_>,
        deployments: &Deployments,
        agreements: &Agreements,
    ) -> Result<Arc<SignedOffer>, MarketError> {
        let Replacement { old, envelope, at } = replacement;
        let offer = Arc::new(SignedOffer::parse(envelope)?);
        if *offer.id() == old {
            return Err(MarketError::Itself(old));
        }
        check(publisher, &offer, deployments, agreements)?;
        let _changing = self.changing.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let now = self.listing.load();
        let before = now.own(publisher, &old)?;
        let earlier = now.find(&old).map(Arc::clone);
        let earlier = earlier.ok_or(MarketError::NotYourOffer(old))?;
        let (was, is) = (earlier.offer().model(), offer.offer().model());
        if was != is {
            let models = Box::new([was.clone(), is.clone()]);
            return Err(MarketError::OtherModel { id: old, models });
        }
        let mut listing = Listing::clone(&now);
        if before.is_none() {
            listing.take_back(&old, at);
        }
        let forgotten = match listing.offers.contains_key(offer.id()) {
            true => Vec::new(),
            false => listing.enter(&offer, &self.limits)?,
        };
        let gone = before.is_none() && !forgotten.contains(&old);
        let records = gone.then(|| (old, record(&earlier, at)));
        self.keep(&offer, envelope, (&forgotten, records.as_slice()))?;
        self.put(listing);
        Ok(offer)
    }

    /// Writes down that an offer is listed, and which others are not any more: forgotten, or taken back as these records say.
    pub(super) fn keep(
        &self,
        offer: &SignedOffer,
        envelope: &[u8],
        (forgotten, taken_back): (&[Digest], &[(Digest, Vec<u8>)]),
    ) -> Result<(), MarketError> {
        let listed = offer.id().to_string();
        let forgotten: Vec<String> = forgotten.iter().map(Digest::to_string).collect();
        let taken_back: Vec<_> =
            taken_back.iter().map(|(id, record)| (id.to_string(), record)).collect();
        let mut out = vec![(Table::WithdrawnOffers, &*listed)];
        for key in forgotten.iter().chain(taken_back.iter().map(|(key, _)| key)) {
            out.push((Table::Offers, key));
            out.push((Table::WithdrawnOffers, key));
        }
        let mut records = vec![(Table::Offers, &*listed, envelope)];
        let taken_back = taken_back.iter();
        records
            .extend(taken_back.map(|(key, record)| (Table::WithdrawnOffers, &**key, &record[..])));
        Ok(self.store.change(&out, &records)?)
    }
}

impl Listing {
    /// The offers of a publisher, withdrawn or not, in the order of their identifiers.
    fn ids_of(&self, publisher: &Party) -> impl Iterator<Item = &Digest> {
        self.by_publisher.get(publisher).into_iter().flat_map(|own| own.offers.iter())
    }

    /// Where an offer stands. What both have withdrawn is the operator's to give back first.
    fn stand(&self, id: &Digest) -> Option<Own> {
        let offer = Arc::clone(self.find(id)?);
        let stand = if let Some((_, cause)) = self.withdrawn.get(id) {
            Stand::Withdrawn(cause.clone())
        } else if let Some((_, at)) = self.taken_back.get(id) {
            Stand::TakenBack(*at)
        } else {
            Stand::Listed
        };
        Some(Own { offer, stand })
    }

    /// One of the publisher's own offers: what it was, and since when, if the publisher has withdrawn it already.
    fn own(
        &self,
        publisher: &Caller,
        id: &Digest,
    ) -> Result<Option<(Arc<SignedOffer>, Timestamp)>, MarketError> {
        let offer = self.find(id).filter(|offer| publisher.is(offer.offer().assigner()));
        offer.ok_or(MarketError::NotYourOffer(*id))?;
        Ok(self.taken_back.get(id).cloned())
    }

    fn take_back(&mut self, id: &Digest, at: Timestamp) -> Option<Arc<SignedOffer>> {
        let offer = self.find(id).map(Arc::clone)?;
        self.remove(id);
        self.taken_back.insert_mut(*id, (Arc::clone(&offer), at));
        Some(offer)
    }

    /// Enters an offer that was withdrawn before the host was started. One that is listed as well was listed again.
    pub(super) fn keep_taken_back(&mut self, offer: Arc<SignedOffer>, at: Timestamp) {
        if !self.offers.contains_key(offer.id()) {
            self.take_room(&offer);
            self.taken_back.insert_mut(*offer.id(), (offer, at));
        }
    }

    /// Enters an offer that is not listed. Returns what had to be forgotten for it.
    pub(super) fn enter(
        &mut self,
        offer: &Arc<SignedOffer>,
        limits: &crate::config::Market,
    ) -> Result<Vec<Digest>, MarketError> {
        let id = offer.id();
        self.check_not_withdrawn(id)?;
        let mut forgotten = Vec::new();
        if !self.is_known(id) {
            let mut oldest = self.oldest_of(offer);
            while let Err(full) = self.has_room(offer, limits) {
                let (_, id) = oldest.pop().ok_or(full)?;
                self.forget(&id);
                forgotten.push(id);
            }
        }
        self.insert(Arc::clone(offer));
        self.taken_back.remove_mut(id);
        Ok(forgotten)
    }

    fn has_room(
        &self,
        offer: &SignedOffer,
        limits: &crate::config::Market,
    ) -> Result<(), MarketError> {
        let own = self.by_publisher.get(offer.offer().assigner());
        let (count, bytes) = own.map_or((0, 0), |own| (own.offers.size(), own.bytes));
        let max = limits.offers_per_publisher_max;
        if count >= max {
            return Err(MarketError::TooMany { max });
        }
        let bytes = bytes.saturating_add(offer.to_bytes().len() as u64);
        let max = limits.offer_bytes_per_publisher_max;
        if bytes > max { Err(MarketError::TooLarge { bytes, max }) } else { Ok(()) }
    }

    /// What the publisher of an offer has withdrawn, the oldest last. What the operator has withdrawn, too, is not forgotten: it could
    /// come back.
    fn oldest_of(&self, offer: &SignedOffer) -> Vec<(Timestamp, Digest)> {
        let ids = self.ids_of(offer.offer().assigner());
        let free = ids.filter(|id| !self.withdrawn.contains_key(*id));
        let mut own: Vec<_> =
            free.filter_map(|id| Some((self.taken_back.get(id)?.1, *id))).collect();
        own.sort_unstable();
        own.reverse();
        own
    }

    fn forget(&mut self, id: &Digest) {
        let Some((offer, _)) = self.taken_back.get(id).cloned() else { return };
        self.taken_back.remove_mut(id);
        if let Some(own) = self.by_publisher.get_mut(offer.offer().assigner()) {
            own.offers.remove_mut(id);
            own.bytes = own.bytes.saturating_sub(offer.to_bytes().len() as u64);
        }
    }
}

/// An offer with the time at which it was withdrawn in a line before it.
fn record(offer: &SignedOffer, at: Timestamp) -> Vec<u8> {
    [format!("{at}\n").into_bytes(), offer.to_bytes()].concat()
}

/// Reads such a record.
pub(super) fn parse(record: &[u8]) -> Result<(SignedOffer, Timestamp), String> {
    let line = record.iter().position(|byte| *byte == b'\n');
    let (at, envelope) = record.split_at(line.ok_or("it does not say when it was withdrawn")?);
    let at = std::str::from_utf8(at).ok().and_then(|at| at.parse().ok());
    let at = at.ok_or("it does not say when it was withdrawn")?;
    let offer =
        SignedOffer::parse(envelope.trim_ascii_start()).map_err(|error| error.to_string())?;
    Ok((offer, at))
}
