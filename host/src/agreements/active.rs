//! One agreement in force: its compiled terms, what is used of them, and whether it is running.

use std::sync::Arc;

use jiff::Timestamp;

use super::life::Life;
use crate::admission::{Ledger, Usage};
use crate::agreement::{
    Agreement, CallFacts, Facts, InputFacts, Proposal, Report, Role, SignedAgreement, Terms,
};
use crate::deployments::Statistics;
use crate::id::{Digest, FunctionName};

/// An agreement in force, compiled.
pub struct Active {
    signed: SignedAgreement,
    terms: Terms,
    /// One for each rule, in the order of the rules.
    ledgers: Vec<Arc<Ledger>>,
    /// The agreement that this one is a part of.
    parent: Option<Arc<Active>>,
    life: Life,
    statistics: Statistics,
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
    pub function: FunctionName,
    pub usage: Usage,
    /// Most calls.
    pub max: Option<u64>,
    pub ends: Option<Timestamp>,
    /// What was charged so far, in millionths of the currency.
    pub price: Option<u64>,
}

impl Active {
    pub(super) fn new(
        signed: SignedAgreement,
        terms: Terms,
        ledgers: Vec<Arc<Ledger>>,
        parent: Option<Arc<Active>>,
        life: Life,
    ) -> Arc<Self> {
        let statistics = Statistics::default();
        Arc::new(Self { signed, terms, ledgers, parent, life, statistics })
    }

    pub fn id(&self) -> &Digest {
        self.signed.id()
    }

    pub fn agreement(&self) -> &Agreement {
        self.signed.agreement()
    }

    /// The envelope with both signatures.
    pub fn signed(&self) -> &SignedAgreement {
        &self.signed
    }

    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// What is used, a ledger for each rule.
    pub fn ledgers(&self) -> &[Arc<Ledger>] {
        &self.ledgers
    }

    /// What the calls under it came to, since the host started.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// The agreement that this one is a part of.
    pub fn parent(&self) -> Option<&Arc<Active>> {
        self.parent.as_ref()
    }

    /// Its events and what they came to.
    pub(super) fn life(&self) -> &Life {
        &self.life
    }

    /// Whether it runs, and everything above it. `as_of` is when the host last knew the state of its agreements.
    ///
    /// # Errors
    /// Why not, for its parties.
    pub fn in_force(&self, now: Timestamp, as_of: Timestamp) -> Result<(), String> {
        if let Some(max) = self.terms.max_stale()
            && now > as_of.checked_add(max).unwrap_or(Timestamp::MAX)
        {
            let max = max.as_secs_f64();
            return Err(format!(
                "its state was last known at {as_of}, more than the {max} s that it allows ago"
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

    /// Why a call is allowed or not.
    pub fn report(&self, call: &CallFacts<'_>, input: Option<InputFacts<'_>>) -> Report {
        let usage: Vec<_> = self.ledgers.iter().map(|ledger| ledger.usage(call.now)).collect();
        let facts = Facts { call: *call, input };
        Report::new(self.agreement().clauses(), &self.terms, &facts, &usage)
    }

    fn rules(&self, now: Timestamp) -> Vec<RuleUse> {
        let rules = (0..).zip(self.terms.rules()).zip(&self.ledgers);
        rules
            .map(|((number, rule), ledger)| {
                let usage = ledger.usage(now);
                let limits = rule.limits();
                RuleUse {
                    rule: number,
                    function: rule.function().clone(),
                    usage,
                    max: limits.most[0],
                    ends: rule.ends(),
                    price: limits.price.map(|price| price.of(usage.used[price.unit as usize])),
                }
            })
            .collect()
    }
}

impl Standing {
    /// The document, signed by one party or by both.
    pub fn agreement(&self) -> &Agreement {
        match self {
            Standing::Proposed(proposal) => proposal.agreement(),
            Standing::Active(active) => active.agreement(),
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
            Standing::Active(active) => active.id(),
        }
    }

    /// Whether the host has signed it for the publisher.
    pub(super) fn is_by_agent(&self) -> bool {
        match self {
            Standing::Proposed(proposal) => proposal.is_by_agent(),
            Standing::Active(active) => active.signed.is_by_agent(),
        }
    }

    /// Who has yet to sign.
    pub fn missing(&self) -> Vec<Role> {
        match self {
            Standing::Proposed(proposal) => proposal.missing(),
            Standing::Active(_) => Vec::new(),
        }
    }

    /// The rules and what is used of them; none before the agreement is in force.
    pub fn rules(&self, now: Timestamp) -> Vec<RuleUse> {
        match self {
            Standing::Proposed(_) => Vec::new(),
            Standing::Active(active) => active.rules(now),
        }
    }

    /// Whether the agreement was in force and its dates are over by `now`.
    pub fn has_ended(&self, now: Timestamp) -> bool {
        match self {
            Standing::Proposed(_) => false,
            Standing::Active(active) => active.terms.is_ended(now),
        }
    }
}
