//! The registry of terms: every left operand of the profile, its values, and what the host does about it.
//!
//! One table. The codec parses documents by it; the page that people sign is phrased by it; and the profile's specification, JSON Schema
//! and machine-readable registry (`host/profile/`) are generated from it, so they cannot disagree. A term that is missing here is unknown
//! and makes a document unreadable.
//!
//! Parties sign the meaning of terms, not their wording: see [`versions`].

mod actions;
pub mod profile;
mod symbols;
mod terms;
mod versions;

use std::fmt;
use std::sync::OnceLock;

use serde::Serialize;

pub use actions::ACTIONS;
pub use symbols::SYMBOLS;
pub use terms::TERMS;
pub use versions::RegistryVersion;

static OTHER_TERMS: OnceLock<&'static [Term]> = OnceLock::new();

/// This process's terms: [`TERMS`], unless a test replaces them.
fn terms() -> &'static [Term] {
    OTHER_TERMS.get().copied().unwrap_or(&TERMS)
}

/// Replaces the terms, as in a host of another version. For tests that open this host's data with such a host. Call before any document is
/// parsed.
///
/// # Errors
/// The terms, if they were replaced before.
#[doc(hidden)]
pub fn read_by(terms: &'static [Term]) -> Result<(), &'static [Term]> {
    OTHER_TERMS.set(terms)
}

/// What the host does about a clause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// It prevents violations.
    Prevent,
    /// It relies on statements of the caller or operator; a mismatch is refused or becomes visible later.
    Detect,
    /// It records a promise.
    Record,
}

impl Class {
    pub const fn name(self) -> &'static str {
        match self {
            Class::Prevent => "prevent",
            Class::Detect => "detect",
            Class::Record => "record",
        }
    }
}

/// How a left operand is compared (ODRL Vocabulary 2.2, section 4.6, as far as this profile adopts it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    Eq,
    Lt,
    Lteq,
    Gt,
    Gteq,
    IsAnyOf,
    IsNoneOf,
}

impl Operator {
    pub const ALL: [Operator; 7] = [
        Operator::Eq,
        Operator::Lt,
        Operator::Lteq,
        Operator::Gt,
        Operator::Gteq,
        Operator::IsAnyOf,
        Operator::IsNoneOf,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Operator::Eq => "eq",
            Operator::Lt => "lt",
            Operator::Lteq => "lteq",
            Operator::Gt => "gt",
            Operator::Gteq => "gteq",
            Operator::IsAnyOf => "isAnyOf",
            Operator::IsNoneOf => "isNoneOf",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operator| operator.name() == name)
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The type of the right operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datatype {
    /// An integer between the two.
    Integer(u64, u64),
    /// `xsd:decimal` with at most six digits after the point.
    Decimal,
    /// `xsd:dateTime` in UTC.
    DateTime,
    /// `xsd:duration` of days, hours, minutes and seconds.
    Duration,
    Text(Text),
    /// A list without duplicates, in ascending order.
    Texts(Text),
    /// A list of whole numbers.
    Integers,
    /// `true`.
    True,
}

/// The permitted texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    /// The name of an exported function.
    Function,
    /// The name of a record's member or of an output tensor.
    Field,
    /// An IRI.
    Iri,
    /// A country of the EU's authority table, ISO 3166-1 alpha-3.
    Country,
    /// A version (Semantic Versioning 2.0.0).
    Version,
    /// `09:00-17:00 Europe/Paris`.
    DailyWindow,
    /// A data type of the Open Inference Protocol.
    DataType,
    /// A host capability.
    Capability,
    /// A countable unit.
    Unit,
}

/// The unit that a constraint names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Units {
    None,
    OneOf(&'static [&'static str]),
    /// A period, as `xsd:duration` in plain text.
    Period,
    /// A currency of the EU's authority table, ISO 4217.
    Currency,
}

/// Where a term may occur in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TermPlace {
    /// A refinement of the action `odrl:execute`: the host narrows the execution.
    Action,
    /// A constraint of a permission: if it fails, the call does not begin, or ends.
    Permission,
    /// A constraint of a permission or of a prohibition.
    Rule,
    /// A refinement of the target: which versions.
    Target,
    /// A refinement of `odrl:compensate`.
    Price,
    /// A constraint of a prohibition on data.
    Data,
}

/// A left operand of the profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operand {
    Function,
    TopK,
    OutputDecimals,
    OutputFields,
    LabelOnly,
    DateTime,
    DailyWindow,
    Purpose,
    Spatial,
    TimeInterval,
    ElapsedTime,
    MeteredTime,
    Count,
    CallsPerInterval,
    CallRate,
    Concurrency,
    InputBytes,
    OutputBytes,
    BatchRows,
    InputShape,
    InputDtype,
    CpuTime,
    WallTime,
    MemoryBytes,
    HostCapability,
    Credit,
    Recipient,
    Product,
    Industry,
    Version,
    PayAmount,
    UnitOfCount,
    FreeUnits,
    Retention,
}

/// One entry of the registry.
#[derive(Debug, Clone, Copy)]
pub struct Term {
    pub operand: Operand,
    /// The name in documents: plain for ODRL's own, `hospes:` for the profile's.
    pub name: &'static str,
    pub place: TermPlace,
    /// The permitted operators with their phrases; `{}` is the value.
    pub forms: &'static [(Operator, &'static str)],
    pub datatype: Datatype,
    pub units: Units,
    pub class: Class,
    /// The rule that parties sign, in terms of [`SYMBOLS`]. It never changes: a different meaning needs another term.
    pub norm: &'static str,
    /// What it means, in words.
    pub meaning: &'static str,
    /// How the host enforces it.
    pub mechanism: &'static str,
}

impl Operand {
    /// Its entry.
    pub fn term(self) -> &'static Term {
        &terms()[self as usize]
    }

    /// The name in documents.
    pub fn name(self) -> &'static str {
        self.term().name
    }

    /// The operand of this name.
    pub fn named(name: &str) -> Option<Self> {
        terms().iter().find(|term| term.name == name).map(|term| term.operand)
    }
}

impl Term {
    /// The phrase for one of its operators.
    pub fn phrase(&self, operator: Operator) -> Option<&'static str> {
        self.forms.iter().find(|(known, _)| *known == operator).map(|(_, phrase)| *phrase)
    }
}

impl TermPlace {
    /// Where, for people.
    pub const fn name(self) -> &'static str {
        match self {
            TermPlace::Action => "refinement of `odrl:execute`",
            TermPlace::Permission => "constraint of a permission",
            TermPlace::Rule => "constraint of a permission or prohibition",
            TermPlace::Target => "refinement of the target",
            TermPlace::Price => "refinement of `odrl:compensate`",
            TermPlace::Data => "constraint of a prohibition on data",
        }
    }
}

pub const UNIT_CALL: &str = "hospes:call";
pub const UNIT_ROW: &str = "hospes:row";
pub const UNIT_BYTE: &str = "hospes:byte";
pub const UNIT_TOKEN: &str = "hospes:token";

/// A countable unit.
pub const UNITS: [&str; 4] = [UNIT_CALL, UNIT_ROW, UNIT_BYTE, UNIT_TOKEN];

/// Countries of execution: `country/DEU` and so on, by ISO 3166-1 alpha-3.
pub const COUNTRY_PREFIX: &str = "http://publications.europa.eu/resource/authority/country/";

/// Currencies: `currency/EUR` and so on, by ISO 4217.
pub const CURRENCY_PREFIX: &str = "http://publications.europa.eu/resource/authority/currency/";

/// An action's effect in a rule, and the kinds of rules that may have it.
#[derive(Debug)]
pub struct Action {
    pub action: Verb,
    /// The name in documents.
    pub name: &'static str,
    pub rule: RuleKind,
    /// What parties sign, like [`Term::norm`].
    pub norm: &'static str,
    /// The phrase; `{}` is the object.
    pub phrase: &'static str,
    pub meaning: &'static str,
}

/// The actions of the profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    Execute,
    GrantUse,
    Train,
    Distribute,
    Derive,
    Archive,
    Compensate,
    Attribute,
    Inform,
    Delete,
}

/// Where an action may occur.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleKind {
    /// Permissions and prohibitions.
    Model,
    Permission,
    /// Prohibitions on inputs or outputs.
    Data,
    /// Duties of a permission.
    Duty,
    Obligation,
}

impl RuleKind {
    pub const fn name(self) -> &'static str {
        match self {
            RuleKind::Model => "permission, prohibition",
            RuleKind::Permission => "permission",
            RuleKind::Data => "prohibition on `urn:hospes:inputs` or `urn:hospes:outputs`",
            RuleKind::Duty => "duty of a permission",
            RuleKind::Obligation => "obligation",
        }
    }
}

impl Verb {
    /// Its entry.
    pub fn entry(self) -> &'static Action {
        &ACTIONS[self as usize]
    }

    /// The name in documents.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// The action of this name, if such a rule may have it.
    pub fn named(name: &str, rule: RuleKind) -> Option<Self> {
        let found = ACTIONS.iter().find(|action| action.name == name && action.rule == rule);
        found.map(|action| action.action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operand_and_action_stands_at_its_own_place() {
        for (index, term) in TERMS.iter().enumerate() {
            assert_eq!(term.operand as usize, index, "{}", term.name);
            assert_eq!(Operand::named(term.name), Some(term.operand), "{}", term.name);
            assert!(
                !term.forms.is_empty() && !term.meaning.is_empty() && !term.mechanism.is_empty()
            );
        }
        for (index, action) in ACTIONS.iter().enumerate() {
            assert_eq!(action.action as usize, index, "{}", action.name);
        }
    }
}
