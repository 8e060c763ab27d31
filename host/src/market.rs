//! The market: the signed offers that consumers can accept on this host.
//!
//! An offer is listed only if its publisher signed it and every function it speaks of is live, so that nobody signs for
//! something that is not there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

use crate::agreement::{AgreementError, SignedOffer};
use crate::auth::Caller;
use crate::deployments::{Deployment, Deployments};
use crate::id::{AccountName, Digest, FunctionName, ModelName};
use crate::store::{Store, StoreError, Table};

/// Why an offer was not listed.
#[derive(Debug, thiserror::Error)]
pub enum MarketError {
    #[error(transparent)]
    Offer(#[from] AgreementError),
    #[error(
        "the offer is signed by another party than your account's: sign it with the account's key"
    )]
    NotYours,
    #[error("`{model}` is not a model of account `{account}`")]
    NotYourModel { model: ModelName, account: AccountName },
    #[error("no live version of `{model}` has digest `{bundle}`: publish the bundle first")]
    NotLive { model: ModelName, bundle: Digest },
    #[error("`{model}` has no function `{function}`")]
    NoFunction { model: ModelName, function: FunctionName },
    #[error("you have {max} offers, as many as `market.offers_per_publisher_max` allows")]
    TooMany { max: usize },
    #[error("there is no offer `{0}`")]
    NotFound(Digest),
    #[error("the offer could not be kept")]
    Store(#[from] StoreError),
    #[error("the stored offer `{key}` is damaged")]
    Damaged {
        key: String,
        #[source]
        source: AgreementError,
    },
}

#[derive(Default, Clone)]
struct Listing {
    offers: HashMap<Digest, Arc<SignedOffer>>,
    by_model: HashMap<ModelName, Vec<Digest>>,
}

impl Listing {
    fn insert(&mut self, offer: Arc<SignedOffer>) {
        let model = offer.offer().model().clone();
        self.by_model.entry(model).or_default().push(*offer.id());
        self.offers.insert(*offer.id(), offer);
    }
}

/// The offers of this host.
pub struct Market {
    store: Arc<Store>,
    offers_per_publisher_max: usize,
    listing: ArcSwap<Listing>,
    /// Held while the listing changes, so that two changes cannot lose one another.
    changing: Mutex<()>,
}

impl Market {
    /// Reads the offers from the store.
    ///
    /// # Errors
    /// [`MarketError::Store`], [`MarketError::Damaged`].
    pub fn open(store: Arc<Store>, offers_per_publisher_max: usize) -> Result<Self, MarketError> {
        let mut listing = Listing::default();
        for (key, record) in store.all(Table::Offers)? {
            let offer = SignedOffer::parse(&record);
            let offer = offer.map_err(|source| MarketError::Damaged { key, source })?;
            listing.insert(Arc::new(offer));
        }
        let (listing, changing) = (ArcSwap::from_pointee(listing), Mutex::new(()));
        Ok(Self { store, offers_per_publisher_max, listing, changing })
    }

    /// Lists an offer of one of the caller's live models. The same offer twice is one offer.
    ///
    /// # Errors
    /// [`MarketError`]; nothing was changed then.
    pub fn list(
        &self,
        publisher: &Caller,
        envelope: &[u8],
        deployments: &Deployments,
    ) -> Result<Arc<SignedOffer>, MarketError> {
        let offer = SignedOffer::parse(envelope)?;
        check(publisher, &offer, deployments)?;
        let _changing = self.changing.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut listing = Listing::clone(&self.listing.load());
        if let Some(known) = listing.offers.get(offer.id()) {
            return Ok(Arc::clone(known));
        }
        let max = self.offers_per_publisher_max;
        let theirs = |offer: &&Arc<SignedOffer>| offer.offer().assigner() == publisher.party();
        if listing.offers.values().filter(theirs).count() >= max {
            return Err(MarketError::TooMany { max });
        }
        self.store.put(Table::Offers, &offer.id().to_string(), envelope)?;
        let offer = Arc::new(offer);
        listing.insert(Arc::clone(&offer));
        self.listing.store(Arc::new(listing));
        Ok(offer)
    }

    /// The offer with this identifier.
    pub fn offer(&self, id: &Digest) -> Option<Arc<SignedOffer>> {
        self.listing.load().offers.get(id).cloned()
    }

    /// Whether the model has an offer: whether everybody may know of it.
    pub fn lists(&self, model: &ModelName) -> bool {
        self.listing.load().by_model.contains_key(model)
    }

    /// Every offer, in the order of models and identifiers.
    pub fn all(&self) -> Vec<Arc<SignedOffer>> {
        let mut all: Vec<_> = self.listing.load().offers.values().cloned().collect();
        all.sort_by(|a, b| (a.offer().model(), a.id()).cmp(&(b.offer().model(), b.id())));
        all
    }
}

fn check(
    publisher: &Caller,
    offer: &SignedOffer,
    deployments: &Deployments,
) -> Result<(), MarketError> {
    let (account, offer) = (publisher.account(), offer.offer());
    if *offer.assigner() != account.party {
        return Err(MarketError::NotYours);
    }
    let model = offer.model();
    if model.publisher != account.name {
        return Err(MarketError::NotYourModel {
            model: model.clone(),
            account: account.name.clone(),
        });
    }
    let live = deployments.by_digest(model, offer.bundle());
    let live =
        live.ok_or_else(|| MarketError::NotLive { model: model.clone(), bundle: *offer.bundle() })?;
    match offer.permissions().iter().find(|permission| !has(&live, &permission.function)) {
        None => Ok(()),
        Some(permission) => Err(MarketError::NoFunction {
            model: model.clone(),
            function: permission.function.clone(),
        }),
    }
}

fn has(deployment: &Deployment, function: &FunctionName) -> bool {
    deployment.functions().iter().any(|live| live.name() == function)
}
