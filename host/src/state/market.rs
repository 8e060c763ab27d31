//! The market: the signed offers that consumers can accept on this host.
//!
//! An offer is listed only if its publisher signed it and every function it names is live, so that nobody signs for something that does not
//! exist.

mod own;
mod pages;

use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rpds::RedBlackTreeSetSync;

pub use own::{Own, Replacement, Stand};
pub use pages::{Pages, Stamp};

use crate::agreement::{
    AgreementError, Clauses, Permission, SignedOffer, Wider, controls_of, parent_rules,
};
use crate::controls::ControlError;
use crate::id::{AccountName, Digest, FunctionName, ModelName, Party};
use crate::sandbox::FunctionType;
use crate::state::Shared;
use crate::state::accounts::{Caller, Cause};
use crate::state::agreements::{Agreements, AgreementsError};
use crate::state::deployments::{Deployment, Deployments, Release};
use crate::store::{Store, StoreError, Table};

/// Why an offer was not listed.
#[derive(Debug, thiserror::Error)]
pub enum MarketError {
    #[error(transparent)]
    Offer(#[from] AgreementError),
    #[error("the offer is not signed by your account's party: sign it with the account's key")]
    NotYours,
    #[error("`{model}` is not a model of account `{account}`")]
    NotYourModel { model: ModelName, account: AccountName },
    #[error("no live version of `{model}` is among {versions}: publish the bundle first")]
    NotLive { model: ModelName, versions: String },
    #[error("`{model}` has no function `{function}`")]
    NoFunction { model: ModelName, function: FunctionName },
    #[error("`{model}` function `{function}`: {source}")]
    Uncontrolled {
        model: ModelName,
        function: FunctionName,
        #[source]
        source: ControlError,
    },
    #[error(
        "you cannot offer `{model}`: you have no agreement `{parent}` in force that allows it (`odrl:grantUse`)"
    )]
    NoResale { model: ModelName, parent: Digest },
    #[error(transparent)]
    Wider(#[from] Wider),
    #[error("you have {max} offers, as many as `market.offers_per_publisher_max` allows")]
    TooMany { max: usize },
    #[error(
        "your offers would have {bytes} bytes, more than the {max} that `market.offer_bytes_per_publisher_max` allows"
    )]
    TooLarge { bytes: u64, max: u64 },
    #[error("there is no offer `{0}`")]
    NotFound(Digest),
    #[error("you have no offer `{0}`")]
    NotYourOffer(Digest),
    #[error("offer `{id}` was withdrawn by its publisher at {at}")]
    TakenBack { id: Digest, at: Timestamp },
    #[error(
        "offer `{id}` is for `{}` and the new one for `{}`: publish that one and withdraw this one", models[0], models[1]
    )]
    OtherModel { id: Digest, models: Box<[ModelName; 2]> },
    #[error("offer `{0}` cannot replace itself: sign a new one")]
    Itself(Digest),
    #[error("offer `{id}` was withdrawn by this host's operator at {} ({})", .cause.at, .cause.reason)]
    Withdrawn { id: Digest, cause: Cause },
    #[error("the agreement that it would be a part of could not be read")]
    Parent(#[from] AgreementsError),
    #[error("the offer could not be stored")]
    Store(#[from] StoreError),
}

#[derive(Default, Clone)]
struct Listing {
    offers: Shared<Digest, Arc<SignedOffer>>,
    by_model: Shared<ModelName, RedBlackTreeSetSync<Digest>>,
    /// Withdrawn by the operator.
    withdrawn: Shared<Digest, (Arc<SignedOffer>, Cause)>,
    /// Withdrawn by its publisher, and when. The operator may have withdrawn it as well.
    taken_back: Shared<Digest, (Arc<SignedOffer>, Timestamp)>,
    /// In display order.
    ordered: RedBlackTreeSetSync<(ModelName, Digest)>,
    /// Usage of each publisher.
    by_publisher: Shared<Party, OfPublisher>,
}

/// A publisher's offers, including withdrawn ones, and the size of their envelopes in bytes.
#[derive(Default, Clone)]
struct OfPublisher {
    offers: RedBlackTreeSetSync<Digest>,
    bytes: u64,
}

impl Listing {
    fn insert(&mut self, offer: Arc<SignedOffer>) {
        let model = offer.offer().model().clone();
        self.take_room(&offer);
        self.ordered.insert_mut((model.clone(), *offer.id()));
        let mut of_model = self.by_model.get(&model).cloned().unwrap_or_default();
        of_model.insert_mut(*offer.id());
        self.by_model.insert_mut(model, of_model);
        self.offers.insert_mut(*offer.id(), offer);
    }

    /// Counts a new offer. A withdrawn one is counted already.
    fn take_room(&mut self, offer: &SignedOffer) {
        let publisher = offer.offer().assigner();
        let mut own = self.by_publisher.get(publisher).cloned().unwrap_or_default();
        if !own.offers.contains(offer.id()) {
            own.offers.insert_mut(*offer.id());
            own.bytes = own.bytes.saturating_add(offer.to_bytes().len() as u64);
            self.by_publisher.insert_mut(*publisher, own);
        }
    }

    /// An offer, withdrawn or not.
    fn find(&self, id: &Digest) -> Option<&Arc<SignedOffer>> {
        let offer = self.offers.get(id);
        let offer = offer.or_else(|| self.withdrawn.get(id).map(|(offer, _)| offer));
        offer.or_else(|| self.taken_back.get(id).map(|(offer, _)| offer))
    }

    /// Rejects what the operator has withdrawn.
    fn check_not_withdrawn(&self, id: &Digest) -> Result<(), MarketError> {
        self.withdrawn.get(id).map_or(Ok(()), |(_, cause)| {
            Err(MarketError::Withdrawn { id: *id, cause: cause.clone() })
        })
    }

    fn is_known(&self, id: &Digest) -> bool {
        self.find(id).is_some()
    }

    fn remove(&mut self, id: &Digest) -> Option<Arc<SignedOffer>> {
        let offer = self.offers.get(id).map(Arc::clone)?;
        self.offers.remove_mut(id);
        let model = offer.offer().model();
        self.ordered.remove_mut(&(model.clone(), *id));
        if let Some(of_model) = self.by_model.get_mut(model) {
            of_model.remove_mut(id);
            if of_model.is_empty() {
                self.by_model.remove_mut(model);
            }
        }
        Some(offer)
    }
}

/// Offers to named parties are visible to those parties and to the offer's author.
fn is_visible(offer: &SignedOffer, viewer: Option<&Caller>) -> bool {
    let offer = offer.offer();
    match viewer {
        Some(viewer) => {
            viewer.parties().any(|party| offer.is_for(party)) || viewer.is(offer.assigner())
        }
        None => offer.audience().is_empty(),
    }
}

/// The offers of this host.
pub struct Market {
    store: Arc<Store>,
    limits: crate::config::Market,
    listing: ArcSwap<Listing>,
    /// Number of changes to the listing.
    changes: AtomicU64,
    pages: Pages,
    /// Held while the listing changes, so that concurrent changes are not lost.
    changing: Mutex<()>,
}

impl Market {
    /// Reads the offers from the store.
    ///
    /// # Errors
    /// [`MarketError::Store`]. Offers that cannot be read are set aside.
    pub fn open(store: Arc<Store>, limits: crate::config::Market) -> Result<Self, MarketError> {
        let mut listing = Listing::default();
        for (key, record) in store.all(Table::Offers)? {
            match SignedOffer::parse(&record) {
                Ok(offer) => listing.insert(Arc::new(offer)),
                Err(error) => store.set_aside(Table::Offers, &key, &error),
            }
        }
        for (key, record) in store.all(Table::WithdrawnOffers)? {
            match own::parse(&record) {
                Ok((offer, at)) => listing.keep_taken_back(Arc::new(offer), at),
                Err(error) => store.set_aside_as(Table::WithdrawnOffers, &key, &error),
            }
        }
        let (listing, changing) = (ArcSwap::from_pointee(listing), Mutex::new(()));
        let (changes, pages) = (AtomicU64::new(0), Pages::default());
        Ok(Self { store, limits, listing, changes, pages, changing })
    }

    /// Lists an offer for one of the caller's live models. Listing it twice changes nothing, and a withdrawn offer is listed again. If
    /// there is no room, the caller's oldest withdrawn offers are forgotten.
    ///
    /// # Errors
    /// [`MarketError`]; nothing was changed.
    pub fn list(
        &self,
        publisher: &Caller,
        envelope: &[u8],
        deployments: &Deployments,
        agreements: &Agreements,
    ) -> Result<Arc<SignedOffer>, MarketError> {
        let offer = SignedOffer::parse(envelope)?;
        check(publisher, &offer, deployments, agreements)?;
        let _changing = self.changing.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let now = self.listing.load();
        if let Some(known) = now.offers.get(offer.id()) {
            return Ok(Arc::clone(known));
        }
        let mut listing = Listing::clone(&now);
        let offer = Arc::new(offer);
        let forgotten = listing.enter(&offer, &self.limits)?;
        self.keep(&offer, envelope, (&forgotten, &[]))?;
        self.put(listing);
        Ok(offer)
    }

    /// Checks that a publisher may make an offer, without listing it. Rejects offers that the operator has withdrawn.
    ///
    /// # Errors
    /// [`MarketError`].
    pub fn check(
        &self,
        publisher: &Caller,
        offer: &SignedOffer,
        deployments: &Deployments,
        agreements: &Agreements,
    ) -> Result<(), MarketError> {
        check(publisher, offer, deployments, agreements)?;
        self.listing.load().check_not_withdrawn(offer.id())
    }

    /// Checks that a publisher may agree to these clauses.
    ///
    /// # Errors
    /// [`MarketError`].
    pub fn check_clauses(
        publisher: &Caller,
        clauses: &Clauses,
        deployments: &Deployments,
        agreements: &Agreements,
    ) -> Result<(), MarketError> {
        check_clauses(publisher, clauses, deployments, agreements)
    }

    /// The offer with this identifier, if `viewer` may see it.
    pub fn offer_for(&self, id: &Digest, viewer: Option<&Caller>) -> Option<Arc<SignedOffer>> {
        self.offer(id).filter(|offer| is_visible(offer, viewer))
    }

    /// The same, or why it is not available.
    ///
    /// # Errors
    /// [`MarketError::NotFound`]; [`MarketError::Withdrawn`] and [`MarketError::TakenBack`] to those who could see it.
    pub fn show(
        &self,
        id: &Digest,
        viewer: Option<&Caller>,
    ) -> Result<Arc<SignedOffer>, MarketError> {
        if let Some(offer) = self.offer_for(id, viewer) {
            return Ok(offer);
        }
        let listing = self.listing.load();
        if let Some((_, cause)) =
            listing.withdrawn.get(id).filter(|(offer, _)| is_visible(offer, viewer))
        {
            return Err(MarketError::Withdrawn { id: *id, cause: cause.clone() });
        }
        match listing.taken_back.get(id) {
            // Its publisher may list it again.
            Some((offer, _))
                if viewer.is_some_and(|viewer| viewer.is(offer.offer().assigner())) =>
            {
                Ok(Arc::clone(offer))
            }
            Some((offer, at)) if is_visible(offer, viewer) => {
                Err(MarketError::TakenBack { id: *id, at: *at })
            }
            Some(_) | None => Err(MarketError::NotFound(*id)),
        }
    }

    /// Whether there is an offer with this identifier, withdrawn or not.
    pub fn is_known(&self, id: &Digest) -> bool {
        self.listing.load().is_known(id)
    }

    /// Whether `viewer` can see this offer, or could before it was withdrawn.
    pub fn was_visible(&self, id: &Digest, viewer: Option<&Caller>) -> bool {
        self.listing.load().find(id).is_some_and(|offer| is_visible(offer, viewer))
    }

    /// Whether an offer is the caller's own, withdrawn or not.
    pub fn is_by(&self, id: &Digest, caller: &Caller) -> bool {
        let listing = self.listing.load();
        listing.find(id).is_some_and(|offer| caller.is(offer.offer().assigner()))
    }

    /// The offers that the operator has withdrawn, and why, ordered by identifier.
    pub fn withdrawn(&self) -> Vec<(Digest, Cause)> {
        let listing = self.listing.load();
        let withdrawn = listing.withdrawn.iter().map(|(id, (_, cause))| (*id, cause.clone()));
        let mut withdrawn: Vec<_> = withdrawn.collect();
        withdrawn.sort_by_key(|(id, _)| *id);
        withdrawn
    }

    /// Withdraws an offer from the market. Agreements made from it stay.
    ///
    /// # Errors
    /// [`MarketError::NotFound`].
    pub fn withdraw(&self, id: &Digest, cause: Cause) -> Result<(), MarketError> {
        self.change(|listing| {
            let offer = listing.find(id).map(Arc::clone).ok_or(MarketError::NotFound(*id))?;
            listing.remove(id);
            listing.withdrawn.insert_mut(*id, (offer, cause));
            Ok(())
        })
    }

    /// Lists an offer again, unless its publisher has withdrawn it too.
    ///
    /// # Errors
    /// [`MarketError::NotFound`] if it is not withdrawn.
    pub fn reinstate(&self, id: &Digest) -> Result<(), MarketError> {
        self.change(|listing| {
            let (offer, _) = listing.withdrawn.get(id).ok_or(MarketError::NotFound(*id))?;
            let offer = Arc::clone(offer);
            if !listing.taken_back.contains_key(id) {
                listing.insert(offer);
            }
            listing.withdrawn.remove_mut(id);
            Ok(())
        })
    }

    fn change(
        &self,
        change: impl FnOnce(&mut Listing) -> Result<(), MarketError>,
    ) -> Result<(), MarketError> {
        let _changing = self.changing.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut listing = Listing::clone(&self.listing.load());
        change(&mut listing)?;
        self.put(listing);
        Ok(())
    }

    fn put(&self, listing: Listing) {
        self.listing.store(Arc::new(listing));
        // Count after the change: a page of the old listing is never taken for one of the new listing.
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Cached pages of the market.
    pub fn pages(&self) -> &Pages {
        &self.pages
    }

    /// The state that pages are made from. Read it before making one.
    pub fn stamp(&self, deployments: &Deployments) -> Stamp {
        let [changed, settled] = deployments.changes();
        [self.changes.load(Ordering::Acquire), changed, settled]
    }

    /// The offer with this identifier.
    pub fn offer(&self, id: &Digest) -> Option<Arc<SignedOffer>> {
        self.listing.load().offers.get(id).cloned()
    }

    /// Whether `viewer` may see an offer for the version, and so may know of it.
    pub fn lists(&self, release: Release<'_>, viewer: Option<&Caller>) -> bool {
        let listing = self.listing.load();
        let of_model = listing.by_model.get(release.model);
        of_model.is_some_and(|offers| {
            let mut offers = offers.iter().filter_map(|id| listing.offers.get(id));
            offers.any(|offer| {
                let versions = &offer.offer().clauses().target.versions;
                release.is_covered(|digest, version| versions.cover(digest, version))
                    && is_visible(offer, viewer)
            })
        })
    }

    /// The offers that `viewer` may see, of one model or of all, ordered by model and identifier, after offer `after` if given. `after` may
    /// have been withdrawn since, so that paging continues.
    ///
    /// # Errors
    /// [`MarketError::NotFound`] if the viewer may not see `after`.
    pub fn after(
        &self,
        after: Option<&Digest>,
        viewer: Option<&Caller>,
        model: Option<&ModelName>,
    ) -> Result<impl Iterator<Item = Arc<SignedOffer>>, MarketError> {
        let listing = self.listing.load_full();
        let mut place = match (after, model) {
            (None, None) => Bound::Unbounded,
            (None, Some(model)) => Bound::Included((model.clone(), Digest::FIRST)),
            (Some(id), _) => {
                let offer = listing.find(id).filter(|offer| is_visible(offer, viewer));
                let offer = offer.ok_or(MarketError::NotFound(*id))?;
                Bound::Excluded((offer.offer().model().clone(), *id))
            }
        };
        Ok(std::iter::from_fn(move || {
            loop {
                let next = listing.ordered.range((place.clone(), Bound::Unbounded)).next()?;
                if model.is_some_and(|model| next.0 != *model) {
                    return None;
                }
                place = Bound::Excluded(next.clone());
                match listing.offers.get(&next.1) {
                    Some(offer) if is_visible(offer, viewer) => return Some(Arc::clone(offer)),
                    Some(_) | None => {}
                }
            }
        }))
    }
}

fn check(
    publisher: &Caller,
    offer: &SignedOffer,
    deployments: &Deployments,
    agreements: &Agreements,
) -> Result<(), MarketError> {
    if *offer.offer().assigner() != *publisher.party() {
        return Err(MarketError::NotYours);
    }
    check_clauses(publisher, offer.offer().clauses(), deployments, agreements)
}

/// Whether a party may license what these clauses name.
fn check_clauses(
    publisher: &Caller,
    clauses: &Clauses,
    deployments: &Deployments,
    agreements: &Agreements,
) -> Result<(), MarketError> {
    let (account, model) = (publisher.account(), &clauses.target.model);
    match clauses.parent {
        None if model.publisher != account.name => {
            return Err(MarketError::NotYourModel {
                model: model.clone(),
                account: account.name.clone(),
            });
        }
        None => {}
        Some(parent) => {
            let consumed = agreements.consumed(publisher, model);
            let above = consumed.iter().find(|active| *active.id() == parent);
            let above =
                above.ok_or_else(|| MarketError::NoResale { model: model.clone(), parent })?;
            parent_rules(clauses, above.document()?.clauses())?;
        }
    }
    let live = deployments.of(model);
    let covered =
        |live: &&Arc<Deployment>| clauses.target.versions.cover(live.digest(), live.version());
    let newest = live.iter().rfind(covered).ok_or_else(|| MarketError::NotLive {
        model: model.clone(),
        versions: clauses.target.versions.to_string(),
    })?;
    clauses.permissions.iter().try_for_each(|permission| check_function(newest, permission))
}

fn check_function(live: &Deployment, permission: &Permission) -> Result<(), MarketError> {
    let (model, function) = (live.model().clone(), permission.function.clone());
    let Some(found) = live.functions().iter().find(|live| *live.name() == function) else {
        return Err(MarketError::NoFunction { model, function });
    };
    let controls = controls_of(permission);
    let answer = match found.signature() {
        FunctionType::Stream { element, .. } => Some(element),
        FunctionType::Http(_) if !controls.is_open() => {
            let place = "the response of an HTTP handler".to_owned();
            let source = ControlError::CarriesAnything { place };
            return Err(MarketError::Uncontrolled { model, function, source });
        }
        signature @ (FunctionType::Tensors
        | FunctionType::Values { .. }
        | FunctionType::Http(_)) => signature.answer(),
    };
    match answer {
        Some(answer) if !controls.is_open() => controls
            .check_type(answer)
            .map_err(|source| MarketError::Uncontrolled { model, function, source }),
        Some(_) | None => Ok(()),
    }
}
