//! The agreements that this host enforces, and the permission that a call gets from one of them.
//!
//! An agreement is in force once both parties have signed it and the host has kept it. Calls are checked against its
//! compiled form only: no signature, no JSON and no database is on their path.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use jiff::Timestamp;

use crate::admission::{Allowance, Counter};
use crate::agreement::{
    AgreementError, CallFacts, Denial, Permit, Proposal, Role, SignedAgreement, Terms,
};
use crate::auth::Caller;
use crate::clock::Clock;
use crate::deployments::Function;
use crate::id::{Digest, ModelName, Party};
use crate::invoke::Call;
use crate::market::Market;
use crate::outcome::OutputLimit;
use crate::receipts::Counts;
use crate::store::{Store, StoreError, Table};

/// Why no agreement permits a call.
#[derive(Debug, thiserror::Error)]
pub enum PermitError {
    #[error("you have no agreement for `{model}`; its offers are in the market")]
    NoAgreement { model: ModelName },
    #[error("you have no agreement `{0}` in force for this model")]
    NotYours(Digest),
    #[error("your agreements for `{model}` are for other versions; this one has digest `{bundle}`")]
    OtherVersion { model: ModelName, bundle: Digest },
    #[error("agreement `{agreement}` does not permit this call: {denial}")]
    Denied { agreement: Digest, denial: Denial },
}

/// Why an agreement was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AgreementsError {
    #[error(transparent)]
    Agreement(#[from] AgreementError),
    #[error("you are neither of the agreement's parties")]
    NotParty,
    #[error("the agreement accepts offer `{0}`, which is not in this host's market")]
    UnknownOffer(Digest),
    #[error("you have {max} agreements, as many as `market.agreements_per_party_max` allows")]
    TooMany { max: usize },
    #[error("there is no agreement `{0}` of yours")]
    NotFound(Digest),
    #[error("the agreement could not be kept")]
    Store(#[from] StoreError),
    #[error("the stored agreement `{key}` is damaged")]
    Damaged {
        key: String,
        #[source]
        source: AgreementError,
    },
}

/// An agreement in force, compiled.
pub struct Active {
    signed: SignedAgreement,
    terms: Terms,
    /// One for each rule, in the order of the rules.
    counters: Vec<Arc<Counter>>,
}

/// What the host has of an agreement.
#[derive(Clone)]
pub enum Standing {
    /// One of the parties has yet to sign.
    Proposed(Arc<Proposal>),
    Active(Arc<Active>),
}

/// How far one rule of an agreement is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleUse {
    pub rule: u16,
    pub function: crate::id::FunctionName,
    pub used: u64,
    pub max: Option<u64>,
    pub ends: Option<Timestamp>,
}

impl Standing {
    /// The document, signed by one party or by both.
    pub fn agreement(&self) -> &crate::agreement::Agreement {
        match self {
            Standing::Proposed(proposal) => proposal.agreement(),
            Standing::Active(active) => active.signed.agreement(),
        }
    }

    /// The envelope as it was submitted, with all signatures so far.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Standing::Proposed(proposal) => proposal.to_bytes(),
            Standing::Active(active) => active.signed.to_bytes(),
        }
    }

    /// SHA-256 of the document.
    pub fn id(&self) -> &Digest {
        match self {
            Standing::Proposed(proposal) => proposal.id(),
            Standing::Active(active) => active.signed.id(),
        }
    }

    /// Who has yet to sign.
    pub fn missing(&self) -> Vec<Role> {
        match self {
            Standing::Proposed(proposal) => proposal.missing(),
            Standing::Active(_) => Vec::new(),
        }
    }

    /// The rules and their counts; none before the agreement is in force.
    pub fn rules(&self) -> Vec<RuleUse> {
        match self {
            Standing::Proposed(_) => Vec::new(),
            Standing::Active(active) => active.rules(),
        }
    }

    /// Whether the agreement was in force and has ended by `now`.
    pub fn has_ended(&self, now: Timestamp) -> bool {
        match self {
            Standing::Proposed(_) => false,
            Standing::Active(active) => active.terms.is_ended(now),
        }
    }
}

impl Active {
    fn new(signed: SignedAgreement, counts: &Counts) -> Arc<Self> {
        let terms = Terms::compile(&signed);
        let counters = terms
            .rules()
            .map(|rule| Counter::new(rule.count_max, counts.of(signed.id(), rule.rule)))
            .collect();
        Arc::new(Self { signed, terms, counters })
    }

    fn rules(&self) -> Vec<RuleUse> {
        let rules = self.terms.rules().zip(&self.counters);
        rules
            .map(|(rule, counter)| RuleUse {
                rule: rule.rule,
                function: rule.function.clone(),
                used: counter.used(),
                max: rule.count_max,
                ends: rule.ends,
            })
            .collect()
    }
}

/// Permission to make one call, before its count and its turn. Only [`Agreements::permit`] makes one.
pub struct Grant {
    caller: Caller,
    agreement: Arc<Active>,
    permits: Vec<Permit>,
    response_bytes_max: u64,
}

impl Grant {
    /// Who calls.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The agreement that permits the call.
    pub fn agreement(&self) -> &Digest {
        self.agreement.signed.id()
    }

    /// Who published what is called.
    pub fn publisher(&self) -> Party {
        *self.agreement.signed.agreement().assigner()
    }

    /// The rules that the call may be counted under.
    pub fn allowances(&self) -> impl Iterator<Item = Allowance> + '_ {
        self.permits.iter().map(|permit| Allowance {
            rule: permit.rule,
            counter: Arc::clone(&self.agreement.counters[usize::from(permit.rule)]),
            ends: permit.ends,
        })
    }

    /// Most bytes that the answer may have under `rule`, and who says so.
    pub fn output_limit(&self, rule: u16) -> (u64, OutputLimit) {
        let permit = self.permits.iter().find(|permit| permit.rule == rule);
        match permit.and_then(|permit| permit.output_bytes_max) {
            Some(max) if max < self.response_bytes_max => (max, OutputLimit::Agreement),
            Some(_) | None => (self.response_bytes_max, OutputLimit::Host),
        }
    }

    fn has_calls_left(&self) -> bool {
        self.allowances().any(|allowance| allowance.counter.remaining() != Some(0))
    }
}

#[derive(Default, Clone)]
struct Directory {
    all: HashMap<Digest, Standing>,
    in_force: HashMap<ModelName, HashMap<Party, Vec<Arc<Active>>>>,
}

impl Directory {
    /// The agreements in force under which a party may use a model.
    fn of(&self, party: &Party, model: &ModelName) -> &[Arc<Active>] {
        let of_model = self.in_force.get(model);
        of_model.and_then(|of_model| of_model.get(party)).map_or(&[], Vec::as_slice)
    }

    fn insert(&mut self, standing: Standing) {
        if let Standing::Active(active) = &standing {
            let agreement = active.signed.agreement();
            let of_model = self.in_force.entry(agreement.model().clone()).or_default();
            of_model.entry(*agreement.assignee()).or_default().push(Arc::clone(active));
        }
        self.all.insert(*standing.id(), standing);
    }
}

/// The agreements of this host.
pub struct Agreements {
    store: Arc<Store>,
    clock: Clock,
    per_party_max: usize,
    response_bytes_max: u64,
    directory: ArcSwap<Directory>,
    /// Held while the directory changes, so that two changes cannot lose one another.
    changing: Mutex<()>,
}

impl Agreements {
    /// Reads the agreements from the store; `counts` are what their receipts say was used.
    ///
    /// # Errors
    /// [`AgreementsError::Store`], [`AgreementsError::Damaged`].
    pub fn open(
        store: Arc<Store>,
        clock: Clock,
        config: &crate::config::Config,
        counts: &Counts,
    ) -> Result<Self, AgreementsError> {
        let mut directory = Directory::default();
        for (key, record) in store.all(Table::Agreements)? {
            let read = Proposal::parse(&record);
            let proposal = read.map_err(|source| AgreementsError::Damaged { key, source })?;
            directory.insert(standing(proposal, counts));
        }
        Ok(Self {
            store,
            clock,
            per_party_max: config.market.agreements_per_party_max,
            response_bytes_max: config.api.response_bytes_max,
            directory: ArcSwap::from_pointee(directory),
            changing: Mutex::new(()),
        })
    }

    /// The permission that one of the caller's agreements gives this call. Neither waits nor does any I/O.
    ///
    /// Of several agreements that permit it, one with calls left is chosen.
    ///
    /// # Errors
    /// [`PermitError`] says what would have to be different.
    pub fn permit(
        &self,
        caller: &Caller,
        function: &Function,
        call: &Call,
    ) -> Result<Grant, PermitError> {
        let deployment = function.deployment();
        let directory = self.directory.load();
        let candidates = directory.of(caller.party(), deployment.model());
        let facts = CallFacts {
            function: function.name(),
            now: self.clock.now(),
            input_bytes: call.payload.bytes().len() as u64,
        };
        let missing = || match call.agreement {
            Some(id) => PermitError::NotYours(id),
            None => PermitError::NoAgreement { model: deployment.model().clone() },
        };
        let mut refused = None;
        let mut used_up = None;
        for active in candidates {
            if call.agreement.is_some_and(|id| id != *active.signed.id()) {
                continue;
            }
            if active.signed.agreement().bundle() != deployment.digest() {
                refused.get_or_insert_with(|| PermitError::OtherVersion {
                    model: deployment.model().clone(),
                    bundle: *deployment.digest(),
                });
                continue;
            }
            let permits: Vec<_> = active.terms.permits(&facts).collect();
            if permits.is_empty() {
                let denial = active.terms.denial(&facts);
                refused = Some(PermitError::Denied { agreement: *active.signed.id(), denial });
                continue;
            }
            let grant = Grant {
                caller: caller.clone(),
                agreement: Arc::clone(active),
                permits,
                response_bytes_max: self.response_bytes_max,
            };
            if grant.has_calls_left() {
                return Ok(grant);
            }
            used_up = Some(grant);
        }
        used_up.ok_or_else(|| refused.unwrap_or_else(missing))
    }

    /// Takes an agreement with the signatures it carries. Signatures of several submissions add up; when both parties have
    /// signed, the agreement is in force. Submitting the same again changes nothing.
    ///
    /// # Errors
    /// [`AgreementsError`]; nothing was changed then.
    pub fn submit(
        &self,
        caller: &Caller,
        envelope: &[u8],
        market: &Market,
    ) -> Result<Standing, AgreementsError> {
        let mut proposal = Proposal::parse(envelope)?;
        check_party(caller, proposal.agreement())?;
        let offer_id = *proposal.agreement().offer_id();
        let offer = market.offer(&offer_id).ok_or(AgreementsError::UnknownOffer(offer_id))?;
        proposal.agreement().matches(&offer)?;

        let _changing = self.changing.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut directory = Directory::clone(&self.directory.load());
        match directory.all.get(proposal.id()) {
            Some(Standing::Active(active)) => {
                return Ok(Standing::Active(Arc::clone(active)));
            }
            Some(Standing::Proposed(known)) => proposal.merge(known)?,
            None => self.check_room(&directory, caller.party())?,
        }
        let (id, bytes) = (proposal.id().to_string(), proposal.to_bytes());
        let standing = standing(proposal, &Counts::default());
        self.store.put(Table::Agreements, &id, &bytes)?;
        directory.insert(standing.clone());
        self.directory.store(Arc::new(directory));
        Ok(standing)
    }

    /// One of the caller's agreements.
    ///
    /// # Errors
    /// [`AgreementsError::NotFound`], also for agreements of others.
    pub fn find(&self, caller: &Caller, id: &Digest) -> Result<Standing, AgreementsError> {
        let directory = self.directory.load();
        let found = directory.all.get(id).cloned().ok_or(AgreementsError::NotFound(*id))?;
        match check_party(caller, found.agreement()) {
            Ok(()) => Ok(found),
            Err(_) => Err(AgreementsError::NotFound(*id)),
        }
    }

    /// Every agreement that the caller is a party of, in the order of their identifiers.
    pub fn of(&self, caller: &Caller) -> Vec<Standing> {
        let directory = self.directory.load();
        let mut mine: Vec<_> = directory
            .all
            .values()
            .filter(|standing| check_party(caller, standing.agreement()).is_ok())
            .cloned()
            .collect();
        mine.sort_by_key(|standing| *standing.id());
        mine
    }

    /// Whether the party has an agreement in force for the model: whether it may know of it.
    pub fn knows(&self, party: &Party, model: &ModelName) -> bool {
        !self.directory.load().of(party, model).is_empty()
    }

    fn check_room(&self, directory: &Directory, party: &Party) -> Result<(), AgreementsError> {
        let max = self.per_party_max;
        let has = directory.all.values().filter(|standing| {
            let agreement = standing.agreement();
            agreement.assignee() == party || agreement.assigner() == party
        });
        if has.count() >= max { Err(AgreementsError::TooMany { max }) } else { Ok(()) }
    }
}

fn standing(proposal: Proposal, counts: &Counts) -> Standing {
    match proposal.complete() {
        Ok(signed) => Standing::Active(Active::new(signed, counts)),
        Err(proposal) => Standing::Proposed(Arc::new(proposal)),
    }
}

fn check_party(
    caller: &Caller,
    agreement: &crate::agreement::Agreement,
) -> Result<(), AgreementsError> {
    let party = caller.party();
    if agreement.assigner() == party || agreement.assignee() == party {
        Ok(())
    } else {
        Err(AgreementsError::NotParty)
    }
}
