//! Whether compiled terms permit a call. Only the quick answer; `report` explains it.

use jiff::Timestamp;

use super::compiled::{Gates, Rule, Terms};
use hospes_core::capability::Capabilities;
use hospes_core::id::FunctionName;
use hospes_core::tensor::Tensor;

/// What is known of a call before its arguments are parsed.
#[derive(Debug, Clone, Copy)]
pub struct CallFacts<'a> {
    pub function: &'a FunctionName,
    pub now: Timestamp,
    /// Size of the arguments, in bytes.
    pub input_bytes: u64,
    /// The purpose that the caller declares, as an IRI.
    pub purpose: Option<&'a str>,
    /// The country that the operator states, as an IRI.
    pub country: Option<&'a str>,
    /// What the bundle's component imports.
    pub imports: Capabilities,
}

/// What is known of a call once its arguments are parsed.
#[derive(Debug, Clone, Copy)]
pub struct InputFacts<'a> {
    pub rows: u64,
    /// The call's input tensors.
    pub tensors: &'a [(String, Tensor)],
}

/// Permissions that permit a call, apart from limits over all calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleSet(u64);

impl RuleSet {
    /// Only the first.
    pub const FIRST: RuleSet = RuleSet(1);

    /// Whether no permission permits the call.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Their numbers, in document order.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        (0..64).filter(move |number| self.0 & (1 << number) != 0)
    }
}

impl Terms {
    /// The permissions that permit the call, as far as is known without its arguments. Neither allocates nor waits.
    ///
    /// Deny by default: a call that no permission names is in no set. A prohibition wins if all its constraints hold.
    pub fn permits(&self, facts: &CallFacts<'_>) -> RuleSet {
        let banned = self.bans.iter().any(|ban| {
            ban.function.as_ref().is_none_or(|function| function == facts.function)
                && ban.gates.hold(facts, In::Prohibition)
        });
        if banned {
            return RuleSet(0);
        }
        self.set(|rule| rule.allows(facts))
    }

    /// Those of `set` that also permit the arguments.
    pub fn narrow(&self, set: RuleSet, input: &InputFacts<'_>) -> RuleSet {
        RuleSet(set.0 & self.set(|rule| rule.allows_input(input)).0)
    }

    fn set(&self, allows: impl Fn(&Rule) -> bool) -> RuleSet {
        let mut set = 0;
        for (number, rule) in self.rules.iter().enumerate() {
            if allows(rule) {
                set |= 1 << number;
            }
        }
        RuleSet(set)
    }
}

impl Rule {
    fn allows(&self, facts: &CallFacts<'_>) -> bool {
        self.function == *facts.function
            && self.input_bytes_max.is_none_or(|max| facts.input_bytes <= max)
            && self.withheld.and(facts.imports).is_empty()
            && self.gates.hold(facts, In::Permission)
    }

    fn allows_input(&self, input: &InputFacts<'_>) -> bool {
        self.rows_max.is_none_or(|max| input.rows <= max)
            && input.tensors.iter().all(|(_, tensor)| self.tensors.allow(tensor))
    }
}

/// The kind of rule that gates belong to, which decides comparisons with an unknown left side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum In {
    /// Unknown permits nothing.
    Permission,
    /// Unknown prohibits.
    Prohibition,
}

impl Gates {
    /// Whether all of them hold.
    pub(super) fn hold(&self, facts: &CallFacts<'_>, rule: In) -> bool {
        let unknown = rule == In::Prohibition;
        let among = |list: &[Box<str>], seen: &str| list.iter().any(|one| **one == *seen);
        self.begin.is_none_or(|begin| !begin.is_ahead(facts.now))
            && self.end.is_none_or(|end| !end.is_past(facts.now))
            && self.window.as_ref().is_none_or(|window| window.contains(facts.now))
            // A call without a declared purpose matches no purpose.
            && self.purpose_any.as_ref().is_none_or(|list| facts.purpose.is_some_and(|seen| among(list, seen)))
            && self.purpose_none.as_ref().is_none_or(|list| facts.purpose.map_or(unknown, |seen| !among(list, seen)))
            && self.country_any.as_ref().is_none_or(|list| facts.country.map_or(unknown, |seen| among(list, seen)))
            && self.country_none.as_ref().is_none_or(|list| facts.country.map_or(unknown, |seen| !among(list, seen)))
    }
}
