//! The rules of a policy and their constraints, checked against the registry of terms.

use jiff::Timestamp;

use super::value::{Micros, RightOperand, Span};
use crate::registry::{Operand, Operator, RuleKind, TermPlace, UNITS, Units, Verb};
use crate::{AgreementError, CONSTRAINTS_MAX, INTEGER_MAX, Role};
use hospes_core::id::FunctionName;

/// Permission to execute one function while every constraint holds, as narrowed by the refinements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    pub function: FunctionName,
    /// Output controls, in document order; at most one of each kind.
    pub refinements: Vec<Constraint>,
    /// In document order; at most one of each kind.
    pub constraints: Vec<Constraint>,
    pub price: Option<Price>,
}

/// The price per unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    pub amount: Micros,
    /// The IRI of the currency.
    pub currency: Box<str>,
    pub unit: Unit,
    /// Free units.
    pub free: Option<u64>,
}

/// A countable unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    Call,
    Row,
    Byte,
    Token,
}

/// What must not be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prohibition {
    /// The prohibited party.
    pub bound: Role,
    pub ban: Ban,
    pub constraints: Vec<Constraint>,
}

/// The action of a prohibition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ban {
    /// Executing a function, or any.
    Execute(Option<FunctionName>),
    /// Doing something with data.
    Data { verb: Verb, asset: Asset },
}

/// Data that an agreement mentions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asset {
    /// The calls' arguments: the consumer's, so the publisher is bound.
    Inputs,
    /// The calls' results: the publisher's, so the consumer is bound.
    Outputs,
}

/// An obligation, which is a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Obligation {
    /// The obliged party.
    pub bound: Role,
    pub verb: Verb,
}

/// One comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    pub operand: Operand,
    pub operator: Operator,
    pub value: RightOperand,
    /// As in the document: a unit, a period or a currency.
    pub unit: Option<Box<str>>,
}

impl Unit {
    pub const ALL: [Unit; 4] = [Unit::Call, Unit::Row, Unit::Byte, Unit::Token];

    /// The name in documents.
    pub const fn iri(self) -> &'static str {
        UNITS[self as usize]
    }

    /// The unit of this name.
    pub fn named(iri: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|unit| unit.iri() == iri)
    }

    /// Its singular.
    pub const fn word(self) -> &'static str {
        match self {
            Unit::Call => "call",
            Unit::Row => "row",
            Unit::Byte => "byte",
            Unit::Token => "token",
        }
    }
}

impl Asset {
    pub const ALL: [Asset; 2] = [Asset::Inputs, Asset::Outputs];

    pub const fn iri(self) -> &'static str {
        match self {
            Asset::Inputs => "urn:hospes:inputs",
            Asset::Outputs => "urn:hospes:outputs",
        }
    }

    /// Whom prohibitions on it bind.
    pub const fn bound(self) -> Role {
        match self {
            Asset::Inputs => Role::Publisher,
            Asset::Outputs => Role::Consumer,
        }
    }
}

impl Permission {
    /// Permission to execute a function without limits.
    pub fn new(function: FunctionName) -> Self {
        Self { function, refinements: Vec::new(), constraints: Vec::new(), price: None }
    }

    /// Adds a constraint or refinement, as the registry defines for its operand.
    #[must_use]
    pub fn with(mut self, constraint: Constraint) -> Self {
        match constraint.operand.term().place {
            TermPlace::Action => self.refinements.push(constraint),
            TermPlace::Permission
            | TermPlace::Rule
            | TermPlace::Target
            | TermPlace::Price
            | TermPlace::Data => {
                self.constraints.push(constraint);
            }
        }
        self
    }

    /// Removes constraints that a later one replaces.
    pub(crate) fn keep_last(&mut self) {
        for constraints in [&mut self.refinements, &mut self.constraints] {
            let all = std::mem::take(constraints);
            let replaced = |index: usize| {
                all[index + 1..].iter().any(|later| later.limits() == all[index].limits())
            };
            *constraints = (0..all.len())
                .filter(|index| !replaced(*index))
                .map(|index| all[index].clone())
                .collect();
        }
    }

    /// The constraint of a kind, if any.
    pub fn constraint(&self, operand: Operand) -> Option<&Constraint> {
        let mut all = self.refinements.iter().chain(&self.constraints);
        all.find(|constraint| constraint.operand == operand)
    }

    pub(crate) fn check(&self, pointer: &str) -> Result<(), AgreementError> {
        let refinements = format!("{pointer}/action/0/refinement");
        check_all(&self.refinements, &refinements, 1, |place| place == TermPlace::Action)?;
        if let Some(index) = self.refinements.iter().position(|c| c.operand == Operand::Function) {
            return Err(AgreementError::Repeated {
                pointer: format!("{refinements}/{}", index + 1),
            });
        }
        let constraints = format!("{pointer}/constraint");
        check_all(&self.constraints, &constraints, 0, |place| {
            matches!(place, TermPlace::Permission | TermPlace::Rule)
        })?;
        if window_is_empty(&self.constraints) {
            let reason = "it ends before it begins";
            return Err(AgreementError::NeverAllows { pointer: pointer.to_owned(), reason });
        }
        self.check_price(pointer)
    }

    fn check_price(&self, pointer: &str) -> Result<(), AgreementError> {
        let credit = self.constraint(Operand::Credit);
        let fails =
            |reason| Err(AgreementError::Malformed { pointer: format!("{pointer}/duty"), reason });
        match (&self.price, credit) {
            (None, Some(_)) => fails("`hospes:credit` needs a price to draw on it".to_owned()),
            (Some(price), Some(credit)) if credit.unit.as_deref() != Some(&*price.currency) => {
                fails("`hospes:credit` and the price are in different currencies".to_owned())
            }
            (Some(price), _) if price.amount == Micros(0) => {
                fails("a price of 0 is none: leave the duty out".to_owned())
            }
            (Some(price), _) if !is_currency(&price.currency) => {
                fails(format!("the price wants a currency, {CURRENCY}"))
            }
            (Some(price), _)
                if price.free.is_some_and(|free| !(1..=INTEGER_MAX).contains(&free)) =>
            {
                fails("the free units are a whole number of 1 to 9007199254740991".to_owned())
            }
            (Some(_) | None, _) => Ok(()),
        }
    }
}

impl Prohibition {
    pub(crate) fn check(&self, pointer: &str) -> Result<(), AgreementError> {
        let wanted = match &self.ban {
            Ban::Execute(_) => Role::Consumer,
            Ban::Data { asset, .. } => asset.bound(),
        };
        if self.bound != wanted {
            let reason = format!("this prohibition binds the {wanted}");
            return Err(AgreementError::Malformed {
                pointer: format!("{pointer}/assignee"),
                reason,
            });
        }
        if let Ban::Data { verb, .. } = &self.ban
            && verb.entry().rule != RuleKind::Data
        {
            return Err(wrong_verb(*verb, pointer));
        }
        check_all(&self.constraints, &format!("{pointer}/constraint"), 0, |place| match &self.ban {
            Ban::Execute(_) => place == TermPlace::Rule,
            Ban::Data { verb, .. } => *verb == Verb::Archive && place == TermPlace::Data,
        })
    }
}

impl Obligation {
    pub(crate) fn check(&self, pointer: &str) -> Result<(), AgreementError> {
        if self.verb.entry().rule == RuleKind::Obligation {
            Ok(())
        } else {
            Err(wrong_verb(self.verb, pointer))
        }
    }
}

fn wrong_verb(verb: Verb, pointer: &str) -> AgreementError {
    let known = format!("this action only in a {}", verb.entry().rule.name());
    let pointer = format!("{pointer}/action/0/rdf:value/@id");
    AgreementError::Unknown { pointer, seen: verb.name().to_owned(), known }
}

impl Constraint {
    /// A constraint, if the registry defines it.
    ///
    /// # Errors
    /// [`AgreementError::Malformed`] or [`AgreementError::Unknown`], with pointers below `pointer`.
    pub fn new(
        operand: Operand,
        operator: Operator,
        value: RightOperand,
        unit: Option<Box<str>>,
        pointer: &str,
    ) -> Result<Self, AgreementError> {
        let constraint = Self { operand, operator, value, unit };
        constraint.check(pointer)?;
        Ok(constraint)
    }

    fn check(&self, pointer: &str) -> Result<(), AgreementError> {
        let term = self.operand.term();
        if term.phrase(self.operator).is_none() {
            let known: Vec<_> = term.forms.iter().map(|(known, _)| format!("`{known}`")).collect();
            return Err(AgreementError::Unknown {
                pointer: format!("{pointer}/operator"),
                seen: self.operator.to_string(),
                known: format!("{} with `{}`", known.join(", "), term.name),
            });
        }
        self.value.check(term.datatype).map_err(|reason| AgreementError::Malformed {
            pointer: format!("{pointer}/rightOperand"),
            reason: reason.to_owned(),
        })?;
        self.check_unit(term.units, &format!("{pointer}/unit"))
    }

    fn check_unit(&self, units: Units, pointer: &str) -> Result<(), AgreementError> {
        let unknown = |seen: &str, known: String| {
            Err(AgreementError::Unknown {
                pointer: pointer.to_owned(),
                seen: seen.to_owned(),
                known,
            })
        };
        let missing = |what: String| {
            let reason = format!("{what} is wanted");
            Err(AgreementError::Malformed { pointer: pointer.to_owned(), reason })
        };
        match (units, self.unit.as_deref()) {
            (Units::None, None) => Ok(()),
            (Units::None, Some(seen)) => unknown(seen, "no unit with this operand".to_owned()),
            (Units::OneOf(units), Some(seen)) if units.contains(&seen) => Ok(()),
            (Units::OneOf(units), Some(seen)) => unknown(seen, list(units)),
            (Units::OneOf(units), None) => missing(format!("a unit, {}", list(units))),
            (Units::Period, Some(seen)) => match seen.parse::<Span>() {
                Ok(span) if span > Span::ZERO => Ok(()),
                Ok(_) | Err(_) => unknown(seen, "a period, such as `PT1S` or `P30D`".to_owned()),
            },
            (Units::Period, None) => missing("a period as the unit, such as `PT1S`,".to_owned()),
            (Units::Currency, Some(seen)) if is_currency(seen) => Ok(()),
            (Units::Currency, Some(seen)) => unknown(seen, CURRENCY.to_owned()),
            (Units::Currency, None) => missing(format!("a currency as the unit, {CURRENCY},")),
        }
    }

    /// The period that is its unit.
    pub(crate) fn period(&self) -> Option<Span> {
        self.unit.as_deref()?.parse().ok()
    }

    pub(crate) fn integer(&self) -> Option<u64> {
        match &self.value {
            RightOperand::Integer(value) => Some(*value),
            _ => None,
        }
    }

    pub(crate) fn span(&self) -> Option<Span> {
        match &self.value {
            RightOperand::Duration(span) => Some(*span),
            _ => None,
        }
    }

    pub(crate) fn texts(&self) -> &[Box<str>] {
        match &self.value {
            RightOperand::Texts(texts) => texts,
            _ => &[],
        }
    }

    fn date(&self) -> Option<Timestamp> {
        match &self.value {
            RightOperand::DateTime(at) => Some(*at),
            _ => None,
        }
    }

    /// What is limited. Two constraints of a rule must not limit the same thing.
    fn limits(&self) -> (Operand, Option<&str>, bool) {
        let unit = if self.operand == Operand::Count { self.unit.as_deref() } else { None };
        let begins = matches!(self.operator, Operator::Gt | Operator::Gteq | Operator::IsNoneOf);
        (self.operand, unit, begins)
    }
}

const CURRENCY: &str = "`http://publications.europa.eu/resource/authority/currency/EUR`";

fn is_currency(iri: &str) -> bool {
    iri.strip_prefix(crate::registry::CURRENCY_PREFIX)
        .is_some_and(|code| code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase()))
}

fn list(units: &[&str]) -> String {
    units.iter().map(|unit| format!("`{unit}`")).collect::<Vec<_>>().join(" or ")
}

/// Checks a rule's constraints. `first` is the document index of the first.
fn check_all(
    constraints: &[Constraint],
    pointer: &str,
    first: usize,
    may_stand: impl Fn(TermPlace) -> bool,
) -> Result<(), AgreementError> {
    if constraints.len() > CONSTRAINTS_MAX {
        let (count, max) = (constraints.len(), CONSTRAINTS_MAX);
        return Err(AgreementError::RuleCount {
            what: "constraints in a rule",
            count,
            min: 0,
            max,
        });
    }
    for (index, constraint) in constraints.iter().enumerate() {
        let pointer = format!("{pointer}/{}", first + index);
        constraint.check(&pointer)?;
        let term = constraint.operand.term();
        if !may_stand(term.place) {
            return Err(AgreementError::Unknown {
                pointer: format!("{pointer}/leftOperand"),
                seen: term.name.to_owned(),
                known: format!("this operand only as a {}", term.place.name()),
            });
        }
        if constraints[..index].iter().any(|earlier| earlier.limits() == constraint.limits()) {
            return Err(AgreementError::Repeated { pointer });
        }
    }
    Ok(())
}

fn window_is_empty(constraints: &[Constraint]) -> bool {
    let bounds = |wanted: [Operator; 2]| {
        constraints
            .iter()
            .filter(move |c| c.operand == Operand::DateTime && wanted.contains(&c.operator))
    };
    bounds([Operator::Gt, Operator::Gteq]).any(|from| {
        bounds([Operator::Lt, Operator::Lteq]).any(|end| {
            let both_in = from.operator == Operator::Gteq && end.operator == Operator::Lteq;
            if both_in { end.date() < from.date() } else { end.date() <= from.date() }
        })
    })
}
