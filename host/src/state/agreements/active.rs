//! One agreement in force: its compiled terms, its usage, and whether it is running.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::AgreementsError;
use super::documents::Documents;
use super::life::Life;
use crate::admission::{Ledger, Usage};
use crate::agreement::{
    Agreement, CallFacts, Facts, InputFacts, Proposal, Report, Role, Terms, Versions,
};
use crate::id::{Digest, FunctionName, ModelName, Party};
use crate::ledger::limits::{Limits, Metered};
use crate::state::deployments::Statistics;

/// An agreement without its document, which is on disk.
#[derive(Debug, Clone)]
pub struct Outline {
    /// SHA-256 of the document.
    pub id: Digest,
    pub publisher: Party,
    pub consumer: Party,
    pub model: ModelName,
    /// When it was made, according to its document.
    pub issued: Timestamp,
    /// The offer that it accepts, or the request that it grants.
    pub offer: Digest,
    pub versions: Versions,
    /// Its parent agreement.
    pub parent: Option<Digest>,
    /// Whether the host signed for the publisher.
    pub is_by_agent: bool,
    /// Whether publisher and consumer have signed.
    signed: [bool; 2],
}

impl Outline {
    pub(super) fn of(proposal: &Proposal) -> Self {
        let agreement = proposal.agreement();
        Self {
            id: *proposal.id(),
            publisher: *agreement.assigner(),
            consumer: *agreement.assignee(),
            model: agreement.model().clone(),
            issued: agreement.issued(),
            offer: *agreement.offer_id(),
            versions: agreement.clauses().target.versions.clone(),
            parent: agreement.clauses().parent,
            is_by_agent: proposal.is_by_agent(),
            signed: ROLES.map(|role| proposal.signed_by(role)),
        }
    }

    /// The party in `role`.
    pub fn party(&self, role: Role) -> &Party {
        match role {
            Role::Publisher => &self.publisher,
            Role::Consumer => &self.consumer,
        }
    }

    /// Who has not signed yet.
    pub fn missing(&self) -> Vec<Role> {
        let roles = ROLES.into_iter().zip(self.signed);
        roles.filter(|(_, signed)| !signed).map(|(role, _)| role).collect()
    }

    /// The parties that have signed; a publisher also through its agent.
    pub(super) fn signers(&self) -> impl Iterator<Item = Party> + '_ {
        let roles = ROLES.into_iter().zip(self.signed);
        roles.filter(|(_, signed)| *signed).map(|(role, _)| *self.party(role))
    }

    /// Signers and missing signers of an agreement with one signature.
    pub(super) fn proposed_by(&self) -> Option<(Party, Party)> {
        match self.signed {
            [true, false] => Some((self.publisher, self.consumer)),
            [false, true] => Some((self.consumer, self.publisher)),
            [true, true] | [false, false] => None,
        }
    }
}

const ROLES: [Role; 2] = [Role::Publisher, Role::Consumer];

/// An agreement in force, compiled.
pub struct Active {
    outline: Outline,
    documents: Arc<Documents>,
    terms: Terms,
    /// One per rule, in the order of the rules.
    ledgers: Vec<Arc<Ledger>>,
    /// Its parent agreement.
    parent: Option<Arc<Active>>,
    life: Life,
    statistics: Statistics,
}

/// An agreement's state.
#[derive(Clone)]
pub enum Standing {
    /// One party has not signed yet.
    Proposed(Arc<Proposed>),
    Active(Arc<Active>),
}

/// An agreement that only one of its parties has signed.
pub struct Proposed {
    outline: Outline,
    documents: Arc<Documents>,
    /// When it was first submitted.
    since: Timestamp,
}

impl Proposed {
    pub(super) fn new(outline: Outline, documents: &Arc<Documents>, since: Timestamp) -> Arc<Self> {
        Arc::new(Self { outline, documents: Arc::clone(documents), since })
    }

    /// When it was first submitted.
    pub fn since(&self) -> Timestamp {
        self.since
    }
}

/// One limit of a rule over all calls, and its usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitUse {
    /// The unit: calls, rows, bytes or tokens; calls of the present period; microseconds; millionths of the currency.
    pub limit: &'static str,
    pub used: u64,
    pub max: u64,
}

/// The usage of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleUse {
    pub rule: u16,
    pub function: FunctionName,
    pub usage: Usage,
    /// Maximum calls.
    pub max: Option<u64>,
    pub ends: Option<Timestamp>,
    /// Amount charged so far, in millionths of the currency.
    pub price: Option<u64>,
    /// Every limit that calls use up.
    pub limits: Vec<LimitUse>,
}

impl Active {
    pub(super) fn new(
        outline: Outline,
        documents: &Arc<Documents>,
        (terms, ledgers): (Terms, Vec<Arc<Ledger>>),
        parent: Option<Arc<Active>>,
        life: Life,
    ) -> Arc<Self> {
        let (documents, statistics) = (Arc::clone(documents), Statistics::default());
        Arc::new(Self { outline, documents, terms, ledgers, parent, life, statistics })
    }

    pub fn id(&self) -> &Digest {
        &self.outline.id
    }

    /// Whose it is, and for what.
    pub fn outline(&self) -> &Outline {
        &self.outline
    }

    /// The document, read from disk unless it was read recently.
    ///
    /// # Errors
    /// [`AgreementsError`].
    pub fn document(&self) -> Result<Arc<Agreement>, AgreementsError> {
        self.documents.agreement(&self.outline.id)
    }

    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The usage, one ledger per rule.
    pub fn ledgers(&self) -> &[Arc<Ledger>] {
        &self.ledgers
    }

    /// Statistics of its calls since the host started.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Its parent agreement.
    pub fn parent(&self) -> Option<&Arc<Active>> {
        self.parent.as_ref()
    }

    /// Its events and their effect.
    pub(super) fn life(&self) -> &Life {
        &self.life
    }

    /// Whether it and all its parents run. `as_of` is when the host last confirmed its agreements.
    ///
    /// # Errors
    /// The reason why not, for its parties.
    pub fn in_force(&self, now: Timestamp, as_of: Timestamp) -> Result<(), String> {
        if let Some(max) = self.terms.max_stale()
            && now > as_of.checked_add(max).unwrap_or(Timestamp::MAX)
        {
            let max = max.as_secs_f64();
            return Err(format!(
                "its state was last known at {as_of}, longer ago than the {max} s that it allows"
            ));
        }
        self.life.in_force(now)?;
        match &self.parent {
            None => Ok(()),
            Some(parent) => parent
                .in_force(now, as_of)
                .map_err(|reason| format!("agreement `{}` above it: {reason}", parent.id())),
        }
    }

    /// Why a call is permitted or refused.
    pub fn report(&self, call: &CallFacts<'_>, input: Option<InputFacts<'_>>) -> Report {
        let usage: Vec<_> = self.ledgers.iter().map(|ledger| ledger.usage(call.now)).collect();
        let facts = Facts { call: *call, input };
        match self.document() {
            Ok(document) => Report::new(document.clauses(), &self.terms, &facts, &usage),
            Err(error) => {
                tracing::error!(agreement = %self.id(), %error, "a denial cannot be explained");
                Report::unexplained(*self.id())
            }
        }
    }

    fn rules(&self, now: Timestamp) -> Vec<RuleUse> {
        let rules = (0..).zip(self.terms.rules()).zip(&self.ledgers);
        rules
            .map(|((number, rule), ledger)| {
                let usage = ledger.usage(now);
                let limits = rule.limits();
                let used_up = limits_of(limits, &usage);
                RuleUse {
                    rule: number,
                    function: rule.function().clone(),
                    usage,
                    max: limits.most[0],
                    ends: rule.ends(),
                    price: limits.price.map(|price| price.of(usage.used[price.unit as usize])),
                    limits: used_up,
                }
            })
            .collect()
    }
}

/// The limits of a rule that calls use up.
fn limits_of(limits: &Limits, usage: &Usage) -> Vec<LimitUse> {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let units = Metered::ALL.into_iter().filter_map(|unit| {
        let (used, max) = (usage.used[unit as usize], limits.most[unit as usize]?);
        Some(LimitUse { limit: unit.name(), used, max })
    });
    let period = limits.per_interval.map(|per| (usage.in_period, per.most));
    let period = period.map(|(used, max)| LimitUse { limit: "callsInPeriod", used, max });
    let time = limits.metered_time.map(|max| (micros(usage.time), micros(max)));
    let time = time.map(|(used, max)| LimitUse { limit: "timeMicros", used, max });
    let credit = limits.price.and_then(|price| {
        let used = price.of(usage.used[price.unit as usize]);
        Some(LimitUse { limit: "priceMicros", used, max: price.credit? })
    });
    units.chain(period).chain(time).chain(credit).collect()
}

impl Standing {
    /// Whose it is, and for what.
    pub fn outline(&self) -> &Outline {
        match self {
            Standing::Proposed(proposed) => &proposed.outline,
            Standing::Active(active) => &active.outline,
        }
    }

    /// The document, signed by one party or by both.
    ///
    /// # Errors
    /// [`AgreementsError`].
    pub fn document(&self) -> Result<Arc<Agreement>, AgreementsError> {
        self.documents().agreement(self.id())
    }

    /// The envelope as it was submitted, with all signatures so far.
    ///
    /// # Errors
    /// [`AgreementsError`].
    pub fn envelope(&self) -> Result<Vec<u8>, AgreementsError> {
        self.documents().envelope(self.id())
    }

    fn documents(&self) -> &Documents {
        match self {
            Standing::Proposed(proposed) => &proposed.documents,
            Standing::Active(active) => &active.documents,
        }
    }

    /// SHA-256 of the document.
    pub fn id(&self) -> &Digest {
        &self.outline().id
    }

    /// Who has not signed yet.
    pub fn missing(&self) -> Vec<Role> {
        self.outline().missing()
    }

    /// The rules with their usage; `None` before the agreement is in force.
    pub fn rules(&self, now: Timestamp) -> Vec<RuleUse> {
        match self {
            Standing::Proposed(_) => Vec::new(),
            Standing::Active(active) => active.rules(now),
        }
    }

    /// Whether the agreement can never permit a call again: each rule has expired or is used up.
    pub fn is_over(&self, now: Timestamp) -> bool {
        let Standing::Active(active) = self else { return false };
        let mut rules = active.terms.rules().iter().zip(&active.ledgers);
        rules.all(|(rule, ledger)| {
            rule.is_ended(now) || ledger.usage(now).is_used_up(rule.limits(), now)
        })
    }

    /// Whether the agreement was in force and has expired by `now`.
    pub fn has_ended(&self, now: Timestamp) -> bool {
        match self {
            Standing::Proposed(_) => false,
            Standing::Active(active) => active.terms.is_ended(now),
        }
    }
}
