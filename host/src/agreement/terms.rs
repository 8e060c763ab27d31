//! An agreement compiled for the path of a call: a few integers a rule, no text to interpret.

use jiff::Timestamp;

use super::codec::SignedAgreement;
use super::document::{Constraint, Permission};
use crate::id::{Digest, FunctionName, ModelName, Party};

/// What a signed agreement allows, ready to be asked.
#[derive(Debug)]
pub struct Terms {
    pub(super) agreement: Digest,
    pub(super) assigner: Party,
    pub(super) assignee: Party,
    pub(super) model: ModelName,
    pub(super) bundle: Digest,
    pub(super) rules: Box<[Rule]>,
}

/// What a rule counts and when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleSummary<'a> {
    /// The place of the permission in the agreement, from 0.
    pub rule: u16,
    pub function: &'a FunctionName,
    pub count_max: Option<u64>,
    pub ends: Option<Timestamp>,
}

/// One permission. Its place in the document is its name.
#[derive(Debug)]
pub(super) struct Rule {
    pub function: FunctionName,
    pub count_max: Option<u64>,
    pub from: Option<Timestamp>,
    pub end: Option<End>,
    pub input_bytes_max: Option<u64>,
    pub output_bytes_max: Option<u64>,
}

/// When a rule ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    Before(Timestamp),
    Until(Timestamp),
}

impl End {
    pub(super) fn at(self) -> Timestamp {
        match self {
            End::Before(at) | End::Until(at) => at,
        }
    }

    pub(super) fn is_past(self, now: Timestamp) -> bool {
        match self {
            End::Before(at) => now >= at,
            End::Until(at) => now > at,
        }
    }
}

impl Terms {
    /// Compiles an agreement. Cannot fail: what this host could not enforce was refused when the agreement was read.
    pub fn compile(signed: &SignedAgreement) -> Self {
        let agreement = signed.agreement();
        Self {
            agreement: *signed.id(),
            assigner: *agreement.assigner(),
            assignee: *agreement.assignee(),
            model: agreement.model().clone(),
            bundle: *agreement.bundle(),
            rules: agreement.permissions().iter().map(Rule::compile).collect(),
        }
    }

    /// The digest of the agreement.
    pub fn agreement(&self) -> &Digest {
        &self.agreement
    }

    pub fn assigner(&self) -> &Party {
        &self.assigner
    }

    /// Who may call.
    pub fn assignee(&self) -> &Party {
        &self.assignee
    }

    pub fn model(&self) -> &ModelName {
        &self.model
    }

    /// The one version that may be called.
    pub fn bundle(&self) -> &Digest {
        &self.bundle
    }

    /// Every rule, in the order of the agreement.
    pub fn rules(&self) -> impl Iterator<Item = RuleSummary<'_>> {
        (0..).zip(&self.rules).map(|(number, rule)| RuleSummary {
            rule: number,
            function: &rule.function,
            count_max: rule.count_max,
            ends: rule.end.map(End::at),
        })
    }

    /// Whether no rule will allow a call again.
    pub fn is_ended(&self, now: Timestamp) -> bool {
        self.rules.iter().all(|rule| rule.end.is_some_and(|end| end.is_past(now)))
    }
}

impl Rule {
    fn compile(permission: &Permission) -> Self {
        let mut rule = Self {
            function: permission.function.clone(),
            count_max: None,
            from: None,
            end: None,
            input_bytes_max: None,
            output_bytes_max: None,
        };
        for constraint in &permission.constraints {
            match *constraint {
                Constraint::CountMax(max) => rule.count_max = Some(max),
                Constraint::From(at) => rule.from = Some(at),
                Constraint::Before(at) => rule.end = Some(End::Before(at)),
                Constraint::Until(at) => rule.end = Some(End::Until(at)),
                Constraint::InputBytesMax(max) => rule.input_bytes_max = Some(max),
                Constraint::OutputBytesMax(max) => rule.output_bytes_max = Some(max),
            }
        }
        rule
    }
}
