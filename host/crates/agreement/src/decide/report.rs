//! Explains why a call is permitted or refused: every rule, every constraint, the call's value and what would satisfy it.
//!
//! Uses the terms of the W3C community group's ODRL Formal Semantics (Evaluation Report): a rule's `activationState`, a constraint's
//! `satisfactionState`, a duty's `deonticState`. It interprets the document clause by clause, while calls use the compiled form; a test
//! compares the two over random agreements and calls. Only for the agreement's parties.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::compiled::{Rule, Terms, metered};
use super::evaluate::{CallFacts, In, InputFacts};
use crate::document::Clauses;
use crate::document::clause::{Ban, Constraint, Permission, Unit};
use crate::document::value::{DailyWindow, RightOperand, Span};
use crate::ledger::Usage;
use crate::registry::{Class, Operand, Operator};
use hospes_core::id::Digest;

/// Whether an agreement permits a call, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    #[serde(rename = "@type")]
    kind: &'static str,
    agreement: Digest,
    pub decision: Decision,
    /// Obstacles outside the rules: the agreement's state, or the version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<String>,
    #[serde(rename = "ruleReport")]
    pub rules: Vec<RuleReport>,
}

/// The end of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    Permitted,
    Denied,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleReport {
    #[serde(rename = "@type")]
    kind: &'static str,
    /// The rule's JSON pointer.
    pub rule: String,
    /// Whether the rule applies to this call and all its constraints are satisfied.
    #[serde(rename = "activationState")]
    pub activation: Activation,
    #[serde(rename = "premiseReport")]
    pub constraints: Vec<ConstraintReport>,
    /// Whether prepaid credit covers the price or it will be owed; `None` without a price.
    #[serde(rename = "deonticState", skip_serializing_if = "Option::is_none")]
    duty: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Activation {
    Active,
    Inactive,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Satisfaction {
    Satisfied,
    Unsatisfied,
}

/// One constraint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConstraintReport {
    /// Its JSON pointer.
    pub clause: String,
    #[serde(rename = "leftOperand")]
    pub operand: &'static str,
    #[serde(rename = "satisfactionState")]
    pub satisfaction: Satisfaction,
    pub enforcement: Class,
    /// The call's value.
    pub seen: String,
    /// What would satisfy it.
    pub wanted: String,
}

/// What is known of a call.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    pub call: CallFacts<'a>,
    /// `None` before the arguments are parsed, and in a simulation without them.
    pub input: Option<InputFacts<'a>>,
}

impl Report {
    /// Evaluates every rule of an agreement for one call. `usage` is each permission's usage so far.
    pub fn new(clauses: &Clauses, terms: &Terms, facts: &Facts<'_>, usage: &[Usage]) -> Self {
        let mut rules = Vec::new();
        for (index, prohibition) in clauses.prohibitions.iter().enumerate() {
            let Ban::Execute(function) = &prohibition.ban else { continue };
            let pointer = format!("/prohibition/{index}");
            let meant = function.as_ref().is_none_or(|function| function == facts.call.function);
            let look = Look { facts, usage: Usage::default(), rule: None, within: In::Prohibition };
            let constraints =
                look.all(&prohibition.constraints, &format!("{pointer}/constraint"), 0);
            rules.push(RuleReport::new("report:ProhibitionReport", pointer, meant, constraints));
        }
        let prohibited = rules.iter().any(|rule| rule.activation == Activation::Active);
        for (index, permission) in clauses.permissions.iter().enumerate() {
            let look = Look {
                facts,
                usage: usage.get(index).copied().unwrap_or_default(),
                rule: terms.rules().get(index),
                within: In::Permission,
            };
            rules.push(look.permission(permission, index));
        }
        let permitted = rules.iter().any(|rule| {
            rule.kind == "report:PermissionReport" && rule.activation == Activation::Active
        });
        let decision =
            if permitted && !prohibited { Decision::Permitted } else { Decision::Denied };
        let agreement = *terms.agreement();
        Self { kind: "report:PolicyReport", agreement, decision, obstacle: None, rules }
    }

    /// A denial whose agreement cannot be read for an explanation.
    pub fn unexplained(agreement: Digest) -> Self {
        Self {
            kind: "report:PolicyReport",
            agreement,
            decision: Decision::Denied,
            obstacle: Some(
                "the agreement does not permit this call, and the host cannot read it now to say why"
                    .to_owned(),
            ),
            rules: Vec::new(),
        }
    }

    /// The evaluated agreement.
    pub fn agreement(&self) -> &Digest {
        &self.agreement
    }

    /// The same, denied for a reason outside the rules.
    #[must_use]
    pub fn obstructed(mut self, obstacle: String) -> Self {
        self.decision = Decision::Denied;
        self.obstacle = Some(obstacle);
        self
    }

    /// The clauses that deny the call: of the permissions for this function, or of all if there are none; and the prohibitions that apply.
    pub fn unmet(&self) -> Vec<&ConstraintReport> {
        let named = |rule: &&RuleReport| {
            rule.constraints.first().is_some_and(ConstraintReport::is_satisfied)
        };
        let permissions =
            || self.rules.iter().filter(|rule| rule.kind == "report:PermissionReport");
        let any_named = permissions().any(|rule| named(&rule));
        let prohibitions = self.rules.iter().filter(|rule| {
            rule.kind == "report:ProhibitionReport" && rule.activation == Activation::Active
        });
        let of_prohibitions = prohibitions.flat_map(|rule| &rule.constraints);
        let of_permissions = permissions()
            .filter(|rule| rule.activation == Activation::Inactive && (!any_named || named(rule)))
            .flat_map(|rule| rule.constraints.iter().filter(|one| !one.is_satisfied()));
        of_prohibitions.chain(of_permissions).collect()
    }
}

impl ConstraintReport {
    fn is_satisfied(&self) -> bool {
        self.satisfaction == Satisfaction::Satisfied
    }
}

impl RuleReport {
    fn new(
        kind: &'static str,
        rule: String,
        meant: bool,
        constraints: Vec<ConstraintReport>,
    ) -> Self {
        let active = meant && constraints.iter().all(ConstraintReport::is_satisfied);
        let activation = if active { Activation::Active } else { Activation::Inactive };
        Self { kind, rule, activation, constraints, duty: None }
    }
}

/// Evaluates one rule for one call.
struct Look<'a> {
    facts: &'a Facts<'a>,
    usage: Usage,
    rule: Option<&'a Rule>,
    within: In,
}

impl Look<'_> {
    fn permission(&self, permission: &Permission, index: usize) -> RuleReport {
        let pointer = format!("/permission/{index}");
        let seen = self.facts.call.function;
        let mut constraints = vec![ConstraintReport {
            clause: format!("{pointer}/action/0/refinement/0"),
            operand: Operand::Function.name(),
            satisfaction: state(permission.function == *seen),
            enforcement: Class::Prevent,
            seen: seen.to_string(),
            wanted: permission.function.to_string(),
        }];
        let refinements = format!("{pointer}/action/0/refinement");
        constraints.extend(self.all(&permission.refinements, &refinements, 1));
        constraints.extend(self.all(&permission.constraints, &format!("{pointer}/constraint"), 0));
        let mut report = RuleReport::new("report:PermissionReport", pointer, true, constraints);
        report.duty = permission.price.as_ref().map(|_| {
            let prepaid = permission.constraint(Operand::Credit).is_some();
            if prepaid { "report:Fulfilled" } else { "report:NonFulfilled" }
        });
        report
    }

    fn all(
        &self,
        constraints: &[Constraint],
        pointer: &str,
        first: usize,
    ) -> Vec<ConstraintReport> {
        let numbered = constraints.iter().enumerate();
        let report = |(index, constraint): (usize, &Constraint)| {
            let (satisfied, seen) = self.constraint(constraint);
            ConstraintReport {
                clause: format!("{pointer}/{}", first + index),
                operand: constraint.operand.name(),
                satisfaction: state(satisfied),
                enforcement: constraint.operand.term().class,
                seen,
                wanted: wanted(constraint),
            }
        };
        numbered.map(report).collect()
    }

    /// Whether it is satisfied, and the call's value.
    fn constraint(&self, constraint: &Constraint) -> (bool, String) {
        let call = &self.facts.call;
        let most = constraint.integer().unwrap_or(0);
        match constraint.operand {
            Operand::DateTime => {
                let now = call.now;
                let holds = match (&constraint.value, constraint.operator) {
                    (RightOperand::DateTime(at), Operator::Lt) => now < *at,
                    (RightOperand::DateTime(at), Operator::Lteq) => now <= *at,
                    (RightOperand::DateTime(at), Operator::Gt) => now > *at,
                    (RightOperand::DateTime(at), Operator::Gteq) => now >= *at,
                    _ => false,
                };
                (holds, now.to_string())
            }
            Operand::DailyWindow => {
                let window = constraint.value.to_string().parse::<DailyWindow>();
                (window.is_ok_and(|window| window.contains(call.now)), call.now.to_string())
            }
            Operand::Purpose => {
                let none =
                    constraint.operator == Operator::IsNoneOf && self.within == In::Prohibition;
                self.among(constraint, call.purpose, none, "no purpose declared")
            }
            Operand::Spatial => {
                let unknown = self.within == In::Prohibition;
                self.among(constraint, call.country, unknown, "the operator has stated no country")
            }
            Operand::InputBytes => (call.input_bytes <= most, call.input_bytes.to_string()),
            Operand::HostCapability => {
                let imports = call.imports;
                let reached = constraint.texts().iter().any(|name| {
                    hospes_core::capability::Capability::named(name)
                        .is_some_and(|one| imports.contains(one))
                });
                (!reached, format!("the plugin imports {imports}"))
            }
            Operand::BatchRows | Operand::InputShape | Operand::InputDtype => {
                self.input(constraint, most)
            }
            Operand::TimeInterval
            | Operand::ElapsedTime
            | Operand::MeteredTime
            | Operand::Count
            | Operand::CallsPerInterval
            | Operand::CallRate
            | Operand::Concurrency
            | Operand::Credit => self.limit(constraint, most),
            Operand::TopK
            | Operand::OutputDecimals
            | Operand::OutputFields
            | Operand::LabelOnly => (true, "the host rewrites the response".to_owned()),
            Operand::OutputBytes | Operand::CpuTime | Operand::WallTime | Operand::MemoryBytes => {
                (true, "held while the call runs".to_owned())
            }
            Operand::Recipient | Operand::Product | Operand::Industry | Operand::Retention => {
                (true, "a promise".to_owned())
            }
            Operand::Function
            | Operand::Version
            | Operand::PayAmount
            | Operand::UnitOfCount
            | Operand::FreeUnits => (false, "it does not stand here".to_owned()),
        }
    }

    fn among(
        &self,
        constraint: &Constraint,
        seen: Option<&str>,
        unknown: bool,
        nothing: &str,
    ) -> (bool, String) {
        let Some(seen) = seen else { return (unknown, nothing.to_owned()) };
        let found = constraint.texts().iter().any(|text| **text == *seen);
        (found == (constraint.operator == Operator::IsAnyOf), seen.to_owned())
    }

    fn input(&self, constraint: &Constraint, most: u64) -> (bool, String) {
        let Some(input) = self.facts.input else {
            return (true, "known once the arguments are read".to_owned());
        };
        if constraint.operand == Operand::BatchRows {
            return (input.rows <= most, input.rows.to_string());
        }
        let Some(rule) = self.rule else { return (false, "no rule".to_owned()) };
        let offending = input.tensors.iter().find(|(_, tensor)| {
            if constraint.operand == Operand::InputShape {
                !rule.tensors.allow_shape(tensor)
            } else {
                !rule.tensors.allow_type(tensor)
            }
        });
        match offending {
            Some((name, tensor)) => {
                (false, format!("`{name}`: {} {:?}", tensor.data_type(), tensor.shape()))
            }
            None => (true, format!("{} tensors", input.tensors.len())),
        }
    }

    /// The usage of all the rule's calls, and whether one more of this kind fits.
    fn limit(&self, constraint: &Constraint, most: u64) -> (bool, String) {
        let (usage, now) = (&self.usage, self.facts.call.now);
        let after = |from: Timestamp, span: Option<Span>| {
            from.checked_add(span.unwrap_or_default().as_duration()).unwrap_or(Timestamp::MAX)
        };
        match constraint.operand {
            Operand::TimeInterval => match usage.last {
                None => (true, "the first call".to_owned()),
                Some(last) => {
                    (now >= after(last, constraint.span()), format!("the last began at {last}"))
                }
            },
            Operand::ElapsedTime => match usage.first {
                None => (true, "the first call".to_owned()),
                Some(first) => {
                    (now <= after(first, constraint.span()), format!("the first began at {first}"))
                }
            },
            Operand::MeteredTime => {
                let most = constraint.span().unwrap_or_default().as_duration();
                let seen =
                    Span::from_micros(u64::try_from(usage.time.as_micros()).unwrap_or(u64::MAX));
                (usage.time < most, format!("{seen} used"))
            }
            Operand::Count => {
                let unit = constraint.unit.as_deref().and_then(Unit::named).unwrap_or(Unit::Call);
                self.units(unit, most)
            }
            Operand::Credit => {
                let price = self.rule.and_then(|rule| rule.limits.price);
                let unit = Unit::ALL
                    .into_iter()
                    .find(|unit| price.is_some_and(|price| price.unit == metered(*unit)));
                let units = price.and_then(|price| price.units_max()).unwrap_or(0);
                self.units(unit.unwrap_or(Unit::Call), units)
            }
            Operand::CallsPerInterval => {
                (usage.in_period < most, format!("{} in this period", usage.in_period))
            }
            Operand::CallRate => match usage.rate_ready {
                Some(ready) if now < ready => (false, format!("the next at {ready}")),
                Some(_) | None => (true, "within the rate".to_owned()),
            },
            _ => (usage.running < most, format!("{} running", usage.running)),
        }
    }

    fn units(&self, unit: Unit, most: u64) -> (bool, String) {
        let place = metered(unit) as usize;
        let taken = self.usage.used[place].saturating_add(self.usage.reserved[place]);
        let wants = match unit {
            Unit::Call | Unit::Token => 1,
            Unit::Row => self.facts.input.map_or(1, |input| input.rows),
            Unit::Byte => self.facts.call.input_bytes.max(1),
        };
        let fits = taken.saturating_add(wants) <= most;
        (fits, format!("{taken} {}s used, {wants} more wanted", unit.word()))
    }
}

fn state(satisfied: bool) -> Satisfaction {
    if satisfied { Satisfaction::Satisfied } else { Satisfaction::Unsatisfied }
}

/// What would satisfy a constraint, in words.
fn wanted(constraint: &Constraint) -> String {
    let value = crate::words::render::amount(constraint);
    match constraint.operator {
        Operator::Eq => value,
        Operator::Lt => format!("before {value}"),
        Operator::Lteq if constraint.operand == Operand::DateTime => format!("{value} or earlier"),
        Operator::Lteq => format!("at most {value}"),
        Operator::Gt => format!("more than {value}"),
        Operator::Gteq => format!("{value} or later"),
        Operator::IsAnyOf => format!("one of {value}"),
        Operator::IsNoneOf => format!("none of {value}"),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_MAX: usize = 4;
        match (&self.obstacle, self.decision) {
            (Some(obstacle), _) => return f.write_str(obstacle),
            (None, Decision::Permitted) => return f.write_str("the agreement permits this call"),
            (None, Decision::Denied) => {}
        }
        let unmet = self.unmet();
        let prohibited = self.rules.iter().any(|rule| {
            rule.kind == "report:ProhibitionReport" && rule.activation == Activation::Active
        });
        f.write_str(if prohibited {
            "a prohibition of the agreement applies to this call"
        } else {
            "no permission of the agreement allows this call"
        })?;
        for (index, one) in unmet.iter().take(SHOWN_MAX).enumerate() {
            let before = if index == 0 { ": " } else { "; " };
            let ConstraintReport { clause, operand, seen, wanted, .. } = one;
            if prohibited {
                write!(f, "{before}`{clause}` concerns `{operand}` {wanted}, and it is {seen}")?;
            } else {
                write!(f, "{before}`{clause}` requires `{operand}` {wanted}, but it is {seen}")?;
            }
        }
        match unmet.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}
