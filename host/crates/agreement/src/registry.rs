//! The registry of terms: every left operand of the profile, what it takes, and what the host does about it.
//!
//! One table. The codec reads documents by it, the page that people sign is phrased by it, and the profile's specification,
//! its JSON Schema and the registry for machines (`host/profile/`) are written from it, so that none of them can say what
//! another does not. A term that is not here is unknown, and a document that uses it is unreadable on this host.
//!
//! Parties sign what the terms mean, not how that is worded: see [`versions`].

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
pub use versions::Registry;

static OTHER_TERMS: OnceLock<&'static [Term]> = OnceLock::new();

/// The terms that this process reads documents by: [`TERMS`], unless a test has put others in their place.
fn terms() -> &'static [Term] {
    OTHER_TERMS.get().copied().unwrap_or(&TERMS)
}

/// Reads documents by other terms from now on, as a host of another version would. For tests that put such a host on the data of this
/// one; no host calls it. To be called before any document is read.
///
/// # Errors
/// The terms, if there are others already.
#[doc(hidden)]
pub fn read_by(terms: &'static [Term]) -> Result<(), &'static [Term]> {
    OTHER_TERMS.set(terms)
}

/// What the host does about a clause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// It cannot happen.
    Prevent,
    /// It rests on what the caller or the operator states; a mismatch is refused, or shows afterwards.
    Detect,
    /// It is a promise, written down.
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

/// How a left operand is compared (ODRL Vocabulary 2.2, section 4.6; those that this profile adopts).
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

/// What stands on the right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datatype {
    /// A whole number between the two.
    Integer(u64, u64),
    /// `xsd:decimal` with at most six digits after the point.
    Decimal,
    /// `xsd:dateTime` in UTC.
    DateTime,
    /// `xsd:duration` of days, hours, minutes and seconds.
    Duration,
    Text(Text),
    /// A list without repetition, in ascending order.
    Texts(Text),
    /// A list of whole numbers.
    Integers,
    /// `true`.
    True,
}

/// Which texts are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    /// The name of an exported function.
    Function,
    /// A name of a record's member or of an output tensor.
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
    /// What is counted.
    Unit,
}

/// Which unit a constraint names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Units {
    None,
    OneOf(&'static [&'static str]),
    /// A period, as `xsd:duration` in plain text.
    Period,
    /// A currency of the EU's authority table, ISO 4217.
    Currency,
}

/// Where in a document a term may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A refinement of the action `odrl:execute`: it narrows what is done, and the host does it in the narrower way.
    Action,
    /// A constraint of a permission: without it the call does not begin, or ends.
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
    pub place: Place,
    /// The operators it takes, each with the sentence that it makes; `{}` is the value.
    pub forms: &'static [(Operator, &'static str)],
    pub datatype: Datatype,
    pub units: Units,
    pub class: Class,
    /// The rule that parties sign, in terms of [`SYMBOLS`]. It never changes: a term that
    /// is to mean something else is another term.
    pub norm: &'static str,
    /// What it means, in words.
    pub meaning: &'static str,
    /// How the host does it.
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
    /// The sentence for one of its operators.
    pub fn phrase(&self, operator: Operator) -> Option<&'static str> {
        self.forms.iter().find(|(known, _)| *known == operator).map(|(_, phrase)| *phrase)
    }
}

impl Place {
    /// Where, for people.
    pub const fn name(self) -> &'static str {
        match self {
            Place::Action => "refinement of `odrl:execute`",
            Place::Permission => "constraint of a permission",
            Place::Rule => "constraint of a permission or prohibition",
            Place::Target => "refinement of the target",
            Place::Price => "refinement of `odrl:compensate`",
            Place::Data => "constraint of a prohibition on data",
        }
    }
}

pub const UNIT_CALL: &str = "hospes:call";
pub const UNIT_ROW: &str = "hospes:row";
pub const UNIT_BYTE: &str = "hospes:byte";
pub const UNIT_TOKEN: &str = "hospes:token";

/// What can be counted.
pub const UNITS: [&str; 4] = [UNIT_CALL, UNIT_ROW, UNIT_BYTE, UNIT_TOKEN];

/// Countries of execution: `country/DEU` and so on, by ISO 3166-1 alpha-3.
pub const COUNTRY_PREFIX: &str = "http://publications.europa.eu/resource/authority/country/";

/// Currencies: `currency/EUR` and so on, by ISO 4217.
pub const CURRENCY_PREFIX: &str = "http://publications.europa.eu/resource/authority/currency/";

/// What an action does in a rule, and in which kind of rule it may stand.
#[derive(Debug)]
pub struct Action {
    pub action: Verb,
    /// The name in documents.
    pub name: &'static str,
    pub rule: RuleKind,
    /// What parties sign, as [`Term::norm`].
    pub norm: &'static str,
    /// The sentence; `{}` is what it is done to.
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

/// Where an action may stand.
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

    /// The action of this name, if it may stand in such a rule.
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
