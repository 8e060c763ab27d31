//! The agreements that this host enforces, and the permissions that calls get from them.
//!
//! An agreement is in force once both parties have signed it and the host has stored it. Calls are checked against its compiled form: no
//! signatures, JSON or database on their path.

mod active;
mod conclude;
mod directory;
mod documents;
mod explain;
mod grant;
mod held;
mod life;
mod mandates;
mod own;
mod proposals;
mod refusals;

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use arc_swap::ArcSwap;
use jiff::Timestamp;

use crate::admission::{Charge, Spent};
use crate::agreement::events::{EVENT_SKEW_SECONDS, EventError};
use crate::agreement::{
    AgreementError, CallFacts, Proposal, Report, SignedMandate, SignedOffer, StatementError, Wider,
};
use crate::call::Call;
use crate::clock::Clock;
use crate::id::{Digest, ModelName, Party};
use crate::key::PartyKey;
use crate::receipt::Receipt;
use crate::state::Shared;
use crate::state::accounts::{Auth, Caller};
use crate::state::deployments::{Function, Release};
use crate::store::{Store, StoreError, Table};

pub use active::{Active, LimitUse, Outline, Proposed, RuleUse, Standing};
pub use explain::{Simulated, SimulationError};
pub use grant::Grant;
pub use life::LifeError;
pub use refusals::Refusals;

use directory::{Directory, Room};
use documents::Documents;

/// Why no agreement permits a call.
#[derive(Debug, thiserror::Error)]
pub enum PermitError {
    #[error("you have no agreement for `{model}`; its offers are in the market")]
    NoAgreement { model: ModelName },
    #[error("you have no agreement `{0}` in force for this model")]
    NotYours(Digest),
    #[error("your agreements for `{model}` are for other versions; this one has digest `{bundle}`")]
    OtherVersion { model: ModelName, bundle: Digest },
    #[error("agreement `{agreement}` is not in force: {reason}")]
    NotInForce { agreement: Digest, reason: String },
    #[error("agreement `{}` does not permit this call: {report}", report.agreement())]
    Denied { report: Box<Report> },
    #[error(
        "too many of your account's calls were refused: this one is refused too, without a reason"
    )]
    TooManyRefused,
}

/// Why an agreement was rejected.
#[derive(Debug, thiserror::Error)]
pub enum AgreementsError {
    #[error(transparent)]
    Agreement(#[from] AgreementError),
    #[error(transparent)]
    Statement(#[from] StatementError),
    #[error("you are neither of the agreement's parties")]
    NotParty,
    #[error(
        "offer `{0}` is not in this host's market, so nobody can sign for it now: its publisher has to publish the offer again (`hospes offer publish FILE` with the same file)"
    )]
    UnknownOffer(Digest),
    #[error(
        "`{party}` has signed {max} agreements, as many as `market.agreements_per_party_max` allows"
    )]
    TooMany { party: Party, max: usize },
    #[error(
        "`{by}` has signed {max} agreements that `{with}` has not signed yet, as many as `market.proposals_per_pair_max` allows"
    )]
    TooManyProposed { by: Party, with: Party, max: usize },
    #[error(
        "it would replace agreement `{0}`, which is not in force between the same parties for the same model"
    )]
    NotSuperseding(Digest),
    #[error(
        "it would be a part of agreement `{0}`, which is not in force, or whose consumer is not its publisher"
    )]
    NoParent(Digest),
    #[error(transparent)]
    Wider(#[from] Wider),
    #[error("the mandate is for another offer or publisher, or not for this host, `{agent}`")]
    MandateElsewhere { agent: Party },
    #[error(
        "key `{0}` has been replaced, so it can sign nothing new: use the new key, and make the offer again"
    )]
    Retired(Party),
    #[error("nobody can agree to it: {0}")]
    Held(String),
    #[error(
        "it was issued at {issued}, and the host's clock says {now}: more than {EVENT_SKEW_SECONDS} s ahead"
    )]
    Ahead { issued: Timestamp, now: Timestamp },
    #[error("you have no agreement `{0}`")]
    NotFound(Digest),
    #[error("it depends on agreement `{0}`, which is not in force on this host")]
    NotHere(Digest),
    #[error(
        "agreement `{id}` was set aside and is not in force: {reason}; ask the host's operator"
    )]
    Aside { id: Digest, reason: String },
    #[error(transparent)]
    Event(EventError),
    #[error("the stored event `{key}` is damaged")]
    DamagedEvent {
        key: String,
        #[source]
        source: EventError,
    },
    #[error("the agreement could not be stored")]
    Store(#[from] StoreError),
    #[error("the stored agreement `{key}` is damaged")]
    Damaged {
        key: String,
        #[source]
        source: Box<AgreementsError>,
    },
}

/// The agreements of this host.
pub struct Agreements {
    store: Arc<Store>,
    clock: Clock,
    /// Signs the host's own actions on agreements.
    key: PartyKey,
    /// Knows which key replaced which.
    auth: Arc<Auth>,
    limits: crate::config::Market,
    documents: Arc<Documents>,
    refusals: Arc<Refusals>,
    response_bytes_max: u64,
    body_bytes_max: u64,
    wall_max: std::time::Duration,
    /// Where the host runs according to the operator, as an IRI.
    country: Option<Arc<str>>,
    directory: ArcSwap<Directory>,
    /// By offer.
    mandates: ArcSwap<Shared<Digest, SignedMandate>>,
    /// When the store last confirmed that it holds what is in memory, in microseconds.
    as_of: AtomicI64,
    /// Events in the store.
    events_kept: AtomicUsize,
    /// Agreements stopped by the operator: they permit nothing.
    held: ArcSwap<held::Held>,
    own: own::OwnCalls,
    /// Held while the directory changes, so that concurrent changes are not lost.
    changing: Mutex<Room>,
    /// Notified when the write of an agreement has succeeded or failed.
    arrived: Condvar,
}

impl Agreements {
    /// Reads the agreements from the store. [`Agreements::replay`] restores their usage afterwards.
    ///
    /// # Errors
    /// [`AgreementsError::Store`]. Records that cannot be read are set aside.
    pub fn open(
        store: Arc<Store>,
        clock: Clock,
        config: &crate::config::Config,
        key: &PartyKey,
        auth: &Arc<Auth>,
    ) -> Result<Self, AgreementsError> {
        let country = &config.api.country;
        let country = (!country.is_empty())
            .then(|| format!("{}{country}", crate::agreement::registry::COUNTRY_PREFIX).into());
        let agreements = Self {
            clock,
            key: key.clone(),
            auth: Arc::clone(auth),
            limits: config.market.clone(),
            documents: Documents::new(Arc::clone(&store)),
            refusals: Arc::default(),
            response_bytes_max: config.api.response_bytes_max,
            body_bytes_max: config.api.body_bytes_max,
            wall_max: config.sandbox.deadline,
            country,
            directory: ArcSwap::default(),
            mandates: ArcSwap::default(),
            as_of: AtomicI64::new(i64::MIN),
            events_kept: AtomicUsize::new(0),
            held: ArcSwap::default(),
            own: own::OwnCalls::default(),
            changing: Mutex::default(),
            arrived: Condvar::new(),
            store,
        };
        agreements.restore_mandates()?;
        agreements.restore()?;
        agreements.confirm()?;
        Ok(agreements)
    }

    /// Counts a call that was charged before the host started.
    pub fn replay(&self, receipt: &Receipt) {
        let (Some(agreement), Some(rule), Some(calls)) =
            (receipt.agreement, receipt.rule, receipt.used)
        else {
            return;
        };
        let directory = self.directory.load();
        let Some(active) = directory.active(&agreement) else { return };
        let charge = Charge {
            calls,
            rows: receipt.rows.unwrap_or(1),
            tokens: receipt.tokens.unwrap_or(0),
            price: receipt.price,
        };
        let bytes = receipt.input_bytes.saturating_add(receipt.output_bytes);
        let wall = std::time::Duration::from_micros(receipt.wall_micros);
        let began = receipt.call.began().unwrap_or(receipt.at);
        if let Some(ledger) = active.ledgers().get(usize::from(rule)) {
            ledger.replay(began, receipt.at, &charge, Spent { bytes, wall });
        }
    }

    /// The permission that one of the caller's agreements gives this call. Neither waits nor does any I/O, unless it explains a denial.
    ///
    /// If several agreements permit it, one with calls left is chosen. A publisher needs none for its own models, unless it names one.
    ///
    /// # Errors
    /// [`PermitError`] says what must change.
    pub fn permit(
        &self,
        caller: &Caller,
        function: &Function,
        call: &Call,
    ) -> Result<Grant, PermitError> {
        let deployment = function.deployment();
        let directory = self.directory.load();
        let candidates = caller.parties().flat_map(|party| directory.of(party, deployment.model()));
        let facts = self.facts(function, call);
        let input_bytes_most = call
            .payload
            .length()
            .unwrap_or_else(|| facts.input_bytes.saturating_add(self.body_bytes_max));
        if call.agreement.is_none()
            && let Some(own) = self.own_call(caller, function)
        {
            return Ok(Grant::own(self, caller, own, &facts, input_bytes_most));
        }
        let mut refused = None;
        let mut used_up = None;
        let explains = std::cell::LazyCell::new(|| self.refusals.explains(caller.party()));
        for active in candidates {
            if call.agreement.is_some_and(|id| id != *active.id()) {
                continue;
            }
            if !active.terms().covers(deployment.digest(), deployment.version()) {
                refused.get_or_insert_with(|| PermitError::OtherVersion {
                    model: deployment.model().clone(),
                    bundle: *deployment.digest(),
                });
                continue;
            }
            let ends = active.life().ends();
            if let Err(reason) = active.in_force(facts.now, self.as_of()) {
                // Prefer a reason from another agreement's terms: it says more than that an old agreement has ended.
                let agreement = *active.id();
                refused.get_or_insert(PermitError::NotInForce { agreement, reason });
                continue;
            }
            if let Some(reason) = self.held(active) {
                let agreement = *active.id();
                refused.get_or_insert(PermitError::NotInForce { agreement, reason });
                continue;
            }
            let rules = active.terms().permits(&facts);
            if rules.is_empty() {
                refused = Some(if *explains {
                    PermitError::Denied { report: Box::new(active.report(&facts, None)) }
                } else {
                    PermitError::TooManyRefused
                });
                continue;
            }
            let grant = Grant::new(self, caller, active, rules, (&facts, ends), input_bytes_most);
            if grant.has_calls_left() {
                return Ok(grant);
            }
            used_up.get_or_insert(grant);
        }
        used_up.ok_or_else(|| match refused {
            _ if !*explains => PermitError::TooManyRefused,
            Some(refused) => refused,
            None => self.none_for(caller, call, deployment.model()),
        })
    }

    /// The caller has no agreement for the model, or not the one it names.
    fn none_for(&self, caller: &Caller, call: &Call, model: &ModelName) -> PermitError {
        let Some(id) = call.agreement else {
            return PermitError::NoAgreement { model: model.clone() };
        };
        match self.why_not_here(caller, &id) {
            AgreementsError::Aside { id, reason } => {
                PermitError::NotInForce { agreement: id, reason }
            }
            _ => PermitError::NotYours(id),
        }
    }

    /// Counts refusals per account.
    pub fn refusals(&self) -> &Arc<Refusals> {
        &self.refusals
    }

    /// What is known of a call before its arguments are parsed.
    fn facts<'a>(&'a self, function: &'a Function, call: &'a Call) -> CallFacts<'a> {
        CallFacts {
            function: function.name(),
            now: self.clock.now(),
            input_bytes: call.payload.length().unwrap_or(call.payload.bytes().len() as u64),
            purpose: call.purpose.as_deref(),
            country: self.country.as_deref(),
            imports: function.deployment().imports(),
        }
    }

    /// Takes an agreement with its signatures. Signatures of several submissions add up; once both parties have signed, the agreement is in
    /// force. Submitting it again changes nothing. `listed` finds the offer that it accepts.
    ///
    /// # Errors
    /// [`AgreementsError`]; nothing was changed.
    pub fn submit(
        &self,
        caller: &Caller,
        envelope: &[u8],
        listed: impl FnOnce(&Digest) -> Option<Arc<SignedOffer>>,
    ) -> Result<Standing, AgreementsError> {
        let proposal =
            Proposal::parse(envelope).or_else(|error| self.parse_mandated(envelope, error))?;
        let agreement = proposal.agreement();
        if !caller.is(agreement.assigner()) && !caller.is(agreement.assignee()) {
            return Err(AgreementsError::NotParty);
        }
        let offer_id = *proposal.agreement().offer_id();
        let offer = listed(&offer_id).ok_or(AgreementsError::UnknownOffer(offer_id))?;
        proposal.agreement().matches(&offer)?;
        self.take(proposal)
    }

    /// Reads an agreement that the host may have signed for the publisher.
    fn parse_mandated(
        &self,
        envelope: &[u8],
        error: AgreementError,
    ) -> Result<Proposal, AgreementError> {
        let Ok(offer) = Proposal::offer_of(envelope) else { return Err(error) };
        match self.mandate_of(&offer) {
            Some(mandate) => Proposal::parse_with(envelope, Some(&mandate)),
            None => Err(error),
        }
    }

    /// One of the caller's agreements.
    ///
    /// # Errors
    /// [`AgreementsError::NotFound`], also for other parties' agreements; [`AgreementsError::Aside`].
    pub fn find(&self, caller: &Caller, id: &Digest) -> Result<Standing, AgreementsError> {
        let directory = self.directory.load();
        let found = directory.get(id).filter(|standing| is_of(caller, standing.outline()));
        found.cloned().ok_or_else(|| self.why_not_here(caller, id))
    }

    /// Why the caller has no such agreement. Its parties are told if it was set aside.
    fn why_not_here(&self, caller: &Caller, id: &Digest) -> AgreementsError {
        let key = id.to_string();
        let not_found = AgreementsError::NotFound(*id);
        let Some(reason) = self.store.why_aside(Table::Agreements, &key) else { return not_found };
        match self.store.get(Table::Agreements, &key).map(|record| record.unwrap_or_default()) {
            Err(error) => error.into(),
            Ok(record) => match Proposal::parties_of(&record) {
                Some(parties) if parties.iter().any(|party| caller.is(party)) => {
                    AgreementsError::Aside { id: *id, reason }
                }
                Some(_) | None => not_found,
            },
        }
    }

    /// The caller's agreements, ordered by identifier.
    pub fn of(&self, caller: &Caller) -> Vec<Standing> {
        let directory = self.directory.load();
        let mine = directory.values().filter(|standing| is_of(caller, standing.outline()));
        let mut mine: Vec<_> = mine.cloned().collect();
        mine.sort_by_key(|standing| *standing.id());
        mine
    }

    /// Runs something while no agreement can come into force.
    pub fn while_none_comes<T>(&self, work: impl FnOnce() -> T) -> T {
        let _nothing_changes = self.room();
        work()
    }

    /// Whether both parties have signed the agreement.
    pub fn is_in_force(&self, id: &Digest) -> bool {
        self.directory.load().active(id).is_some()
    }

    /// Whether the caller has an agreement for the version, and so may know of it.
    pub fn knows(&self, caller: &Caller, release: Release<'_>) -> bool {
        let directory = self.directory.load();
        let mut own = caller.parties().flat_map(|party| directory.of(party, release.model));
        own.any(|active| {
            release.is_covered(|digest, version| active.terms().covers(digest, version))
        })
    }

    /// Agreements in force under which the caller is the consumer of `model`.
    pub fn consumed(&self, caller: &Caller, model: &ModelName) -> Vec<Arc<Active>> {
        let directory = self.directory.load();
        caller.parties().flat_map(|party| directory.of(party, model)).cloned().collect()
    }

    /// Confirms that the store still holds what is in memory. Until the next confirmation, agreements that limit the age of the host's
    /// knowledge permit nothing once that age is reached.
    ///
    /// # Errors
    /// [`StoreError`]: nothing is confirmed.
    pub fn confirm(&self) -> Result<(), StoreError> {
        self.interrupt_due();
        self.drop_expired()?;
        let now = self.clock.now();
        let directory = self.directory.load();
        let known = self.events_kept.load(Ordering::Relaxed);
        if self.store.count(Table::Events)? >= known
            && self.store.count(Table::Agreements)? >= directory.len()
        {
            self.as_of.fetch_max(now.as_microsecond(), Ordering::Relaxed);
        }
        Ok(())
    }

    fn as_of(&self) -> Timestamp {
        let micros = self.as_of.load(Ordering::Relaxed);
        Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MIN)
    }

    /// The present time, by the host's clock.
    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

fn is_of(caller: &Caller, outline: &Outline) -> bool {
    caller.is(&outline.publisher) || caller.is(&outline.consumer)
}
