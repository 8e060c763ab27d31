//! The negotiations of this host: kept message by message before they are answered, and put in force when both have signed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::Timestamp;
use uuid::Uuid;

use crate::agreement::negotiation::{Message, Negotiation, NegotiationError, State};
use crate::agreements::{Agreements, AgreementsError};
use crate::auth::Caller;
use crate::clock::Clock;
use crate::deployments::Deployments;
use crate::id::Digest;
use crate::market::{Market, MarketError};
use crate::store::{Store, StoreError, Table};

/// Why a negotiation did not move.
#[derive(Debug, thiserror::Error)]
pub enum NegotiationsError {
    #[error(transparent)]
    Negotiation(#[from] NegotiationError),
    #[error("the message is signed by another party than your account's")]
    NotYou,
    #[error(
        "it asks about offer `{0}`, which is not in this host's market, or is for another model"
    )]
    UnknownOffer(Digest),
    #[error(
        "you have begun {max} negotiations, as many as `market.negotiations_per_party_max` allows"
    )]
    TooMany { max: usize },
    #[error("there is no negotiation `{0}` of yours")]
    NotFound(String),
    #[error("the publisher may not offer this")]
    Market(#[from] MarketError),
    #[error("the agreement cannot come into force")]
    Agreement(#[from] AgreementsError),
    #[error("the message could not be kept")]
    Store(#[from] StoreError),
    #[error("the stored message `{key}` is damaged: {reason}")]
    Damaged { key: String, reason: String },
}

/// What a message has to be held against.
pub struct Surroundings<'a> {
    pub market: &'a Market,
    pub deployments: &'a Deployments,
    pub agreements: &'a Agreements,
}

#[derive(Default)]
struct Open {
    all: HashMap<Uuid, Negotiation>,
    /// By the first message, so that sending it again begins nothing anew.
    begun: HashMap<Digest, Uuid>,
}

/// The negotiations of this host.
pub struct Negotiations {
    store: Arc<Store>,
    clock: Clock,
    per_party_max: usize,
    open: Mutex<Open>,
}

impl Negotiations {
    /// Reads the negotiations from the store. What both had signed when the host stopped is put in force.
    ///
    /// # Errors
    /// [`NegotiationsError::Store`], [`NegotiationsError::Damaged`].
    pub fn open(
        store: Arc<Store>,
        clock: Clock,
        per_party_max: usize,
        agreements: &Agreements,
    ) -> Result<Self, NegotiationsError> {
        let mut open = Open::default();
        for (key, record) in store.all(Table::Negotiations)? {
            let damaged = |reason: &str| NegotiationsError::Damaged {
                key: key.clone(),
                reason: reason.to_owned(),
            };
            let (id, number) = key.split_once('/').ok_or_else(|| damaged("it has no number"))?;
            let id = Uuid::try_parse(id).map_err(|error| damaged(&error.to_string()))?;
            let (at, envelope) =
                record.split_first_chunk::<8>().ok_or_else(|| damaged("its time is missing"))?;
            let at = Timestamp::from_microsecond(i64::from_le_bytes(*at));
            let at = at.map_err(|error| damaged(&error.to_string()))?;
            let message = Message::parse(envelope).map_err(|error| damaged(&error.to_string()))?;
            let first = *message.id();
            match open.all.get_mut(&id) {
                Some(negotiation) => {
                    negotiation.apply(message, at).map_err(|error| damaged(&error.to_string()))?;
                }
                None if number.parse() == Ok(1_u32) => {
                    let negotiation = Negotiation::begin(id, message, at);
                    let negotiation = negotiation.map_err(|error| damaged(&error.to_string()))?;
                    open.all.insert(id, negotiation);
                    open.begun.insert(first, id);
                }
                None => return Err(damaged("the messages before it are missing")),
            }
        }
        for negotiation in open.all.values_mut() {
            if let Err(error) = conclude(negotiation, agreements) {
                let negotiation = negotiation.urn();
                tracing::warn!(negotiation, %error, "what both have signed cannot come into force");
            }
        }
        Ok(Self { store, clock, per_party_max, open: Mutex::new(open) })
    }

    /// Begins a negotiation with a request, or with an offer to one party. The same message again begins nothing anew.
    ///
    /// # Errors
    /// [`NegotiationsError`]; nothing was changed then.
    pub fn begin(
        &self,
        caller: &Caller,
        envelope: &[u8],
        around: &Surroundings<'_>,
    ) -> Result<Negotiation, NegotiationsError> {
        let message = Message::parse(envelope)?;
        check(caller, &message, around)?;
        if let Message::Request(signed) = &message {
            let request = signed.request();
            let id = *request.offer_id();
            let offer = around.market.offer_for(&id, Some(caller));
            let fits = offer.is_some_and(|offer| {
                offer.offer().model() == request.model()
                    && offer.offer().assigner() == request.assigner()
            });
            if !fits {
                return Err(NegotiationsError::UnknownOffer(id));
            }
        }
        let mut open = self.lock();
        if let Some(known) = open.begun.get(message.id()).and_then(|id| open.all.get(id)) {
            return Ok(known.clone());
        }
        // Ended ones too: they are kept.
        let mine = open.all.values().filter(|negotiation| {
            let first = negotiation.messages().first();
            first.is_some_and(|first| caller.is(&first.by))
        });
        if mine.count() >= self.per_party_max {
            return Err(NegotiationsError::TooMany { max: self.per_party_max });
        }
        let (now, first) = (self.now(), *message.id());
        let negotiation = Negotiation::begin(Uuid::now_v7(), message, now)?;
        self.keep(&negotiation, envelope, now)?;
        open.begun.insert(first, *negotiation.id());
        open.all.insert(*negotiation.id(), negotiation.clone());
        Ok(negotiation)
    }

    /// Takes the next message of a negotiation. When both have signed the agreement, it is in force.
    ///
    /// # Errors
    /// [`NegotiationsError`]; nothing was changed then, but for [`NegotiationsError::Agreement`]: both have signed, and the
    /// negotiation stays VERIFIED.
    pub fn step(
        &self,
        caller: &Caller,
        id: &str,
        envelope: &[u8],
        around: &Surroundings<'_>,
    ) -> Result<Negotiation, NegotiationsError> {
        let mut open = self.lock();
        let negotiation = find(&open, caller, id)?;
        let message = Message::parse(envelope)?;
        check(caller, &message, around)?;
        let mut changed = negotiation.clone();
        let now = self.now();
        changed.apply(message, now)?;
        if changed.messages().len() > negotiation.messages().len() {
            self.keep(&changed, envelope, now)?;
            open.all.insert(*changed.id(), changed.clone());
        }
        conclude(&mut changed, around.agreements)?;
        open.all.insert(*changed.id(), changed.clone());
        Ok(changed)
    }

    /// One of the caller's negotiations.
    ///
    /// # Errors
    /// [`NegotiationsError::NotFound`], also for those of others.
    pub fn find(&self, caller: &Caller, id: &str) -> Result<Negotiation, NegotiationsError> {
        find(&self.lock(), caller, id).cloned()
    }

    /// Every negotiation of the caller, the oldest first.
    pub fn of(&self, caller: &Caller) -> Vec<Negotiation> {
        let open = self.lock();
        let mine = open.all.values().filter(|one| is_of(one, caller));
        let mut mine: Vec<_> = mine.cloned().collect();
        mine.sort_by_key(|negotiation| *negotiation.id());
        mine
    }

    fn keep(
        &self,
        negotiation: &Negotiation,
        envelope: &[u8],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let key = format!("{}/{:04}", negotiation.id().hyphenated(), negotiation.messages().len());
        let mut record = now.as_microsecond().to_le_bytes().to_vec();
        record.extend_from_slice(envelope);
        self.store.put(Table::Negotiations, &key, &record)
    }

    /// To the microsecond, as it is kept.
    fn now(&self) -> Timestamp {
        let now = self.clock.now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn find<'a>(
    open: &'a Open,
    caller: &Caller,
    id: &str,
) -> Result<&'a Negotiation, NegotiationsError> {
    let shown = || NegotiationsError::NotFound(id.chars().take(60).collect());
    let uuid = Uuid::try_parse(id.strip_prefix("urn:uuid:").unwrap_or(id)).map_err(|_| shown())?;
    let found = open.all.get(&uuid).filter(|one| is_of(one, caller));
    found.ok_or_else(shown)
}

fn is_of(negotiation: &Negotiation, caller: &Caller) -> bool {
    caller.is(negotiation.publisher()) || caller.is(negotiation.consumer())
}

/// Whether the caller is who signs, and whether a publisher may promise what it promises.
fn check(
    caller: &Caller,
    message: &Message,
    around: &Surroundings<'_>,
) -> Result<(), NegotiationsError> {
    let party = caller.party();
    let Surroundings { market: _, deployments, agreements } = around;
    let is_caller = match message {
        Message::Request(signed) => signed.request().assignee() == party,
        Message::Move(signed) => signed.content().by == *party,
        Message::Offer(signed) => {
            Market::check(caller, signed, deployments, agreements)?;
            signed.offer().assigner() == party
        }
        Message::Agreement(proposal) => {
            let agreement = proposal.agreement();
            if agreement.assigner() == party {
                Market::check_clauses(caller, agreement.clauses(), deployments, agreements)?;
            }
            agreement.assigner() == party || agreement.assignee() == party
        }
    };
    if is_caller { Ok(()) } else { Err(NegotiationsError::NotYou) }
}

/// Puts in force what both have signed.
fn conclude(negotiation: &mut Negotiation, agreements: &Agreements) -> Result<(), AgreementsError> {
    if negotiation.state() == State::Verified
        && let Some(agreed) = negotiation.agreement()
    {
        agreements.take(agreed.clone())?;
        negotiation.finalize();
    }
    Ok(())
}
