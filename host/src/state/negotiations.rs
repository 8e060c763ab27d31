//! The negotiations of this host: each message is stored before it is answered. The agreement is in force when both have signed.
//!
//! Messages are on disk and are read for each move and look; memory holds only what lists show. Idle negotiations are forgotten after a
//! while: the signed messages remain as proof.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::Timestamp;
use uuid::Uuid;

use crate::agreement::negotiation::{Message, Negotiation, NegotiationError, State};
use crate::clock::Clock;
use crate::id::{Digest, ModelName, Party};
use crate::state::accounts::Caller;
use crate::state::agreements::{Agreements, AgreementsError};
use crate::state::deployments::Deployments;
use crate::state::market::{Market, MarketError};
use crate::store::{Store, StoreError, Table, Write};

/// Why a message was rejected.
#[derive(Debug, thiserror::Error)]
pub enum NegotiationsError {
    #[error(transparent)]
    Negotiation(#[from] NegotiationError),
    #[error("the message is not signed by your account's party")]
    NotYou,
    #[error("it requests offer `{0}`, which is not in this host's market, or is for another model")]
    UnknownOffer(Digest),
    #[error(
        "you have begun {max} negotiations, as many as `market.negotiations_per_party_max` allows"
    )]
    TooMany { max: usize },
    #[error("you have no negotiation `{0}`")]
    NotFound(String),
    #[error("the publisher may not offer this")]
    Market(#[from] MarketError),
    #[error("the agreement cannot come into force")]
    Agreement(#[from] AgreementsError),
    #[error("the message could not be stored")]
    Store(#[from] StoreError),
    #[error("the stored message `{key}` is damaged: {reason}")]
    Damaged { key: String, reason: String },
}

/// Maximum negotiations forgotten at once; the rest follows next time.
const EXPIRED_AT_ONCE_MAX: usize = 100;

/// What a message is checked against.
pub struct Surroundings<'a> {
    pub market: &'a Market,
    pub deployments: &'a Deployments,
    pub agreements: &'a Agreements,
}

/// A negotiation without its messages.
#[derive(Debug, Clone)]
pub struct Outline {
    pub id: Uuid,
    pub publisher: Party,
    pub consumer: Party,
    pub model: ModelName,
    pub state: State,
    /// Set once the publisher has signed it.
    pub agreement: Option<Digest>,
    first: Digest,
    begun_by: Party,
    moved: Timestamp,
}

impl Outline {
    /// `None` without messages, which does not occur.
    pub fn of(negotiation: &Negotiation) -> Option<Self> {
        let messages = negotiation.messages();
        let (first, last) = (messages.first()?, messages.last()?);
        Some(Self {
            id: *negotiation.id(),
            publisher: *negotiation.publisher(),
            consumer: *negotiation.consumer(),
            model: negotiation.model().clone(),
            state: negotiation.state(),
            agreement: negotiation.agreement().map(|agreement| *agreement.id()),
            first: *first.message.id(),
            begun_by: first.by,
            moved: last.at,
        })
    }

    /// Its name: `urn:uuid:…`.
    pub fn urn(&self) -> String {
        format!("urn:uuid:{}", self.id.hyphenated())
    }
}

#[derive(Default)]
struct Open {
    all: HashMap<Uuid, Arc<Outline>>,
    /// By the first message, so that resending it does not begin a second negotiation.
    begun: HashMap<Digest, Uuid>,
    /// Number that each party has begun.
    per_party: HashMap<Party, usize>,
    /// Ordered by last move, oldest first.
    by_age: BTreeSet<(Timestamp, Uuid)>,
    /// By party, as publisher and as consumer, oldest first.
    by_party: HashMap<Party, BTreeSet<Uuid>>,
}

impl Open {
    fn enter(&mut self, negotiation: &Negotiation) {
        let Some(outline) = Outline::of(negotiation) else { return };
        self.remove(&outline.id);
        self.begun.insert(outline.first, outline.id);
        *self.per_party.entry(outline.begun_by).or_default() += 1;
        self.by_age.insert((outline.moved, outline.id));
        for party in [outline.publisher, outline.consumer] {
            self.by_party.entry(party).or_default().insert(outline.id);
        }
        self.all.insert(outline.id, Arc::new(outline));
    }

    fn remove(&mut self, id: &Uuid) {
        let Some(outline) = self.all.remove(id) else { return };
        self.begun.remove(&outline.first);
        self.by_age.remove(&(outline.moved, outline.id));
        for party in [outline.publisher, outline.consumer] {
            if let Some(own) = self.by_party.get_mut(&party) {
                own.remove(id);
                if own.is_empty() {
                    self.by_party.remove(&party);
                }
            }
        }
        if let Some(count) = self.per_party.get_mut(&outline.begun_by) {
            *count = count.saturating_sub(1);
        }
    }
}

/// The negotiations of this host.
pub struct Negotiations {
    store: Arc<Store>,
    clock: Clock,
    limits: crate::config::Market,
    /// Held briefly.
    open: Mutex<Open>,
    /// Held while a negotiation moves, so that concurrent moves are not lost.
    moving: Mutex<()>,
}

impl Negotiations {
    /// Reads the negotiations from the store. Agreements that both had signed come into force.
    ///
    /// # Errors
    /// [`NegotiationsError::Store`]. Negotiations that cannot be read are set aside.
    pub fn open(
        store: Arc<Store>,
        clock: Clock,
        limits: crate::config::Market,
        agreements: &Agreements,
    ) -> Result<Self, NegotiationsError> {
        let (open, moving) = (Mutex::default(), Mutex::default());
        let negotiations = Self { store, clock, limits, open, moving };
        let mut last = None;
        for key in negotiations.store.keys(Table::Negotiations)? {
            let id = key.split_once('/').and_then(|(id, _)| Uuid::try_parse(id).ok());
            let Some(id) = id else {
                negotiations.store.set_aside_as(Table::Negotiations, &key, "it has no number");
                continue;
            };
            if last.replace(id) == Some(id) {
                continue;
            }
            let mut negotiation = match negotiations.load(&id, agreements) {
                Ok(negotiation) => negotiation,
                Err(NegotiationsError::Store(error)) => return Err(error.into()),
                Err(error) => {
                    let damaged = match &error {
                        NegotiationsError::Damaged { key, .. } => key,
                        _ => &key,
                    };
                    negotiations.store.set_aside(Table::Negotiations, damaged, &error);
                    continue;
                }
            };
            if let Err(error) = conclude(&mut negotiation, agreements) {
                let negotiation = negotiation.urn();
                tracing::warn!(negotiation, %error, "an agreement that both have signed cannot come into force");
            }
            negotiations.lock().enter(&negotiation);
        }
        Ok(negotiations)
    }

    /// Reads a negotiation with all its messages.
    fn load(&self, id: &Uuid, agreements: &Agreements) -> Result<Negotiation, NegotiationsError> {
        let mut negotiation: Option<Negotiation> = None;
        let prefix = format!("{}/", id.hyphenated());
        for (key, record) in self.store.below(Table::Negotiations, &prefix)? {
            let damaged = |reason: &str| NegotiationsError::Damaged {
                key: key.clone(),
                reason: reason.to_owned(),
            };
            let (at, envelope) =
                record.split_first_chunk::<8>().ok_or_else(|| damaged("its time is missing"))?;
            let at = Timestamp::from_microsecond(i64::from_le_bytes(*at));
            let at = at.map_err(|error| damaged(&error.to_string()))?;
            let message = Message::parse(envelope).map_err(|error| damaged(&error.to_string()))?;
            match &mut negotiation {
                Some(negotiation) => {
                    negotiation.apply(message, at).map_err(|error| damaged(&error.to_string()))?;
                }
                None if key[prefix.len()..].parse() == Ok(1_u32) => {
                    let begun = Negotiation::begin(*id, message, at);
                    negotiation = Some(begun.map_err(|error| damaged(&error.to_string()))?);
                }
                None => return Err(damaged("the messages before it are missing")),
            }
        }
        let mut negotiation =
            negotiation.ok_or_else(|| NegotiationsError::NotFound(id.to_string()))?;
        if negotiation.agreement().is_some_and(|agreed| agreements.is_in_force(agreed.id())) {
            negotiation.finalize();
        }
        Ok(negotiation)
    }

    /// Begins a negotiation with a request, or with an offer to one party. The same message again does not begin a second one.
    ///
    /// # Errors
    /// [`NegotiationsError`]; nothing was changed.
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
        let _moving = self.moving();
        let known = self.lock().begun.get(message.id()).copied();
        if let Some(known) = known {
            return self.load(&known, around.agreements);
        }
        let max = self.limits.negotiations_per_party_max;
        let mine: usize = {
            let open = self.lock();
            caller.parties().filter_map(|party| open.per_party.get(party)).sum()
        };
        if mine >= max {
            return Err(NegotiationsError::TooMany { max });
        }
        let now = self.now();
        let negotiation = Negotiation::begin(Uuid::now_v7(), message, now)?;
        self.keep(&negotiation, envelope, now)?;
        self.lock().enter(&negotiation);
        Ok(negotiation)
    }

    /// Takes the next message of a negotiation. When both have signed the agreement, it is in force.
    ///
    /// # Errors
    /// [`NegotiationsError`]; nothing was changed. After [`NegotiationsError::Agreement`], both have signed and the negotiation stays
    /// VERIFIED.
    pub fn step(
        &self,
        caller: &Caller,
        id: &str,
        envelope: &[u8],
        around: &Surroundings<'_>,
    ) -> Result<Negotiation, NegotiationsError> {
        let _moving = self.moving();
        let id = find(&self.lock(), caller, id)?.id;
        let message = Message::parse(envelope)?;
        check(caller, &message, around)?;
        let mut negotiation = self.load(&id, around.agreements)?;
        let (before, now) = (negotiation.messages().len(), self.now());
        negotiation.apply(message, now)?;
        if negotiation.messages().len() > before {
            self.keep(&negotiation, envelope, now)?;
            self.lock().enter(&negotiation);
        }
        conclude(&mut negotiation, around.agreements)?;
        self.lock().enter(&negotiation);
        Ok(negotiation)
    }

    /// One of the caller's negotiations, with all its messages.
    ///
    /// # Errors
    /// [`NegotiationsError::NotFound`], also for other parties' negotiations.
    pub fn find(
        &self,
        caller: &Caller,
        id: &str,
        agreements: &Agreements,
    ) -> Result<Negotiation, NegotiationsError> {
        let id = find(&self.lock(), caller, id)?.id;
        self.load(&id, agreements)
    }

    /// The caller's negotiations, oldest first, at most `limit`, after `after` if given.
    pub fn of(&self, caller: &Caller, after: Option<Uuid>, limit: usize) -> Vec<Arc<Outline>> {
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let open = self.lock();
        let parties = caller.parties().filter_map(|party| open.by_party.get(party));
        // Take the first few of each: the first few of all are among them.
        let mine: BTreeSet<Uuid> = parties
            .flat_map(|own| own.range((begin, Bound::Unbounded)).take(limit).copied())
            .collect();
        mine.iter().take(limit).filter_map(|id| open.all.get(id).cloned()).collect()
    }

    /// Forgets negotiations that have been idle for `market.negotiation_lifetime`.
    ///
    /// # Errors
    /// [`StoreError`]; the next run tries again.
    pub fn drop_expired(&self) -> Result<(), StoreError> {
        let lifetime = self.limits.negotiation_lifetime;
        let before = self.now().checked_sub(lifetime).unwrap_or(Timestamp::MIN);
        let _moving = self.moving();
        let expired: Vec<Uuid> = {
            let open = self.lock();
            let old = open.by_age.iter().take_while(|(moved, _)| *moved < before);
            old.take(EXPIRED_AT_ONCE_MAX).map(|(_, id)| *id).collect()
        };
        for id in &expired {
            let prefix = format!("{}/", id.hyphenated());
            let records = self.store.below(Table::Negotiations, &prefix)?;
            let keys: Vec<_> =
                records.iter().map(|(key, _)| (Table::Negotiations, &**key)).collect();
            self.store.remove_all(&keys)?;
            self.lock().remove(id);
        }
        Ok(())
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
        // Each message gets the next number, so the key is free: two writers cannot both have it.
        let write = Write::default().expect(Table::Negotiations, &key, None);
        self.store.write(write.put(Table::Negotiations, &key, &record)).map(drop)
    }

    /// To the microsecond, as stored.
    fn now(&self) -> Timestamp {
        let now = self.clock.now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn moving(&self) -> MutexGuard<'_, ()> {
        self.moving.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn find(open: &Open, caller: &Caller, id: &str) -> Result<Arc<Outline>, NegotiationsError> {
    let shown = || NegotiationsError::NotFound(id.chars().take(60).collect());
    let uuid = Uuid::try_parse(id.strip_prefix("urn:uuid:").unwrap_or(id)).map_err(|_| shown())?;
    let found = open.all.get(&uuid).filter(|one| is_of(one, caller));
    found.cloned().ok_or_else(shown)
}

fn is_of(negotiation: &Outline, caller: &Caller) -> bool {
    caller.is(&negotiation.publisher) || caller.is(&negotiation.consumer)
}

/// Whether the caller is the signer, and whether a publisher may promise this.
fn check(
    caller: &Caller,
    message: &Message,
    around: &Surroundings<'_>,
) -> Result<(), NegotiationsError> {
    let party = caller.party();
    let Surroundings { market, deployments, agreements } = around;
    let is_caller = match message {
        Message::Request(signed) => signed.request().assignee() == party,
        Message::Move(signed) => signed.content().by == *party,
        Message::Offer(signed) => {
            market.check(caller, signed, deployments, agreements)?;
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

/// Puts a fully signed agreement in force.
fn conclude(negotiation: &mut Negotiation, agreements: &Agreements) -> Result<(), AgreementsError> {
    if negotiation.state() == State::Verified
        && let Some(agreed) = negotiation.agreement()
    {
        agreements.take(agreed.clone())?;
        negotiation.finalize();
    }
    Ok(())
}
