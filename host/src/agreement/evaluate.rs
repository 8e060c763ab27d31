//! Whether compiled terms allow one call, and if not, which clause refuses it.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::terms::{End, Rule, Terms};
use crate::id::FunctionName;

/// What is known of a call before it runs.
#[derive(Debug, Clone, Copy)]
pub struct CallFacts<'a> {
    pub function: &'a FunctionName,
    pub now: Timestamp,
    /// Bytes of the arguments as they came.
    pub input_bytes: u64,
}

/// A rule that allows the call, as long as its count does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit {
    /// The place of the permission in the agreement, from 0.
    pub rule: u16,
    /// Longest answer that may be released, in bytes.
    pub output_bytes_max: Option<u64>,
    /// When the rule ends.
    pub ends: Option<Timestamp>,
}

/// Why no rule allows the call. For the parties of the agreement only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Denial {
    pub clauses: Vec<Unmet>,
}

/// A clause that the call does not meet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unmet {
    /// The place of the permission in the agreement, from 0.
    pub rule: u16,
    pub clause: Clause,
    /// What the call has.
    pub seen: String,
    /// What would meet the clause.
    pub wanted: String,
}

/// A kind of clause, named as in the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Clause {
    #[serde(rename = "hospes:function")]
    Function,
    #[serde(rename = "dateTime")]
    DateTime,
    #[serde(rename = "hospes:inputBytes")]
    InputBytes,
}

impl Terms {
    /// Every permission that allows the call apart from its count, in the order of the agreement. None: the call is denied.
    pub fn permits<'a>(&'a self, facts: &CallFacts<'a>) -> impl Iterator<Item = Permit> + use<'a> {
        let facts = *facts;
        (0..).zip(&self.rules).filter(move |(_, rule)| rule.allows(&facts)).map(|(number, rule)| {
            Permit {
                rule: number,
                output_bytes_max: rule.output_bytes_max,
                ends: rule.end.map(End::at),
            }
        })
    }

    /// Every clause that stands in the way: of the rules for this function, or of all rules if none is.
    pub fn denial(&self, facts: &CallFacts<'_>) -> Denial {
        let named = self.rules.iter().any(|rule| rule.function == *facts.function);
        let clauses = (0..)
            .zip(&self.rules)
            .filter(|(_, rule)| !named || rule.function == *facts.function)
            .flat_map(|(number, rule)| rule.unmet(number, facts))
            .collect();
        Denial { clauses }
    }
}

impl Rule {
    fn allows(&self, facts: &CallFacts<'_>) -> bool {
        self.function == *facts.function
            && self.from.is_none_or(|from| facts.now >= from)
            && self.end.is_none_or(|end| !end.is_past(facts.now))
            && self.input_bytes_max.is_none_or(|max| facts.input_bytes <= max)
    }

    fn unmet(&self, rule: u16, facts: &CallFacts<'_>) -> Vec<Unmet> {
        let unmet = |clause, seen: String, wanted| Unmet { rule, clause, seen, wanted };
        let mut clauses = Vec::new();
        if self.function != *facts.function {
            let (seen, wanted) = (facts.function.to_string(), self.function.to_string());
            clauses.push(unmet(Clause::Function, seen, wanted));
        }
        if let Some(from) = self.from.filter(|from| facts.now < *from) {
            let wanted = format!("{from} or later");
            clauses.push(unmet(Clause::DateTime, facts.now.to_string(), wanted));
        }
        if let Some(end) = self.end.filter(|end| end.is_past(facts.now)) {
            let wanted = match end {
                End::Before(at) => format!("before {at}"),
                End::Until(at) => format!("{at} or earlier"),
            };
            clauses.push(unmet(Clause::DateTime, facts.now.to_string(), wanted));
        }
        if let Some(max) = self.input_bytes_max.filter(|max| facts.input_bytes > *max) {
            let wanted = format!("at most {max}");
            clauses.push(unmet(Clause::InputBytes, facts.input_bytes.to_string(), wanted));
        }
        clauses
    }
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Clause::Function => "hospes:function",
            Clause::DateTime => "dateTime",
            Clause::InputBytes => "hospes:inputBytes",
        })
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_MAX: usize = 4;
        f.write_str("no permission of the agreement allows this call")?;
        for (index, unmet) in self.clauses.iter().take(SHOWN_MAX).enumerate() {
            let Unmet { rule, clause, seen, wanted } = unmet;
            let before = if index == 0 { ": " } else { "; " };
            write!(f, "{before}permission {rule} wants `{clause}` {wanted}, and it is {seen}")?;
        }
        match self.clauses.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}
