//! Versions of the registry, each with a digest by which documents name it.
//!
//! A digest covers what binds: names, places, operators, datatypes, units, classes, the normative rules and their symbols. It does not
//! cover sentences, so those can be corrected. Terms and actions are only added, at the end: a later version contains all earlier ones, and
//! a document is parsed with the terms of the version that it names.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::{
    ACTIONS, Action, Datatype, Operand, RuleKind, SYMBOLS, TERMS, Term, TermPlace, Text, Units,
    Verb,
};
use crate::{INTEGER_MAX, PROFILE};
use hospes_core::id::Digest;

/// Number of terms and actions in each version, from version 1 on.
const SIZES: [(usize, usize); 1] = [(34, 10)];

/// Digests from before versions existed, which also covered version 1's sentences, with the version that each stands for.
const FORMER: [(&str, u32); 1] =
    [("sha256:c9159fcfe292d2a815f7273347f761cad8e792f2b6047ee64deda91753a0b8e5", 1)];

/// A known version of the registry, as named by a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegistryVersion {
    digest: Digest,
    number: u32,
    terms: usize,
    actions: usize,
}

static KNOWN: LazyLock<Vec<RegistryVersion>> = LazyLock::new(|| {
    // A test's terms are an extra version.
    let is_later = super::terms().len() > TERMS.len();
    let later = is_later.then(|| (super::terms().len(), ACTIONS.len()));
    let versions = (1..).zip(SIZES.into_iter().chain(later)).map(|(number, (terms, actions))| {
        let text = text(number, &super::terms()[..terms], &ACTIONS[..actions]);
        RegistryVersion { digest: Digest::of(text.as_bytes()), number, terms, actions }
    });
    let former = FORMER.iter().map(|(digest, number)| {
        let digest = digest.parse().expect("invariant: a constant, and a test reads it");
        let (terms, actions) = SIZES[*number as usize - 1];
        RegistryVersion { digest, number: *number, terms, actions }
    });
    former.chain(versions).collect()
});

impl RegistryVersion {
    /// The newest version, used by new offers.
    pub fn newest() -> Self {
        *KNOWN.last().expect("invariant: there is a version")
    }

    /// The version with this digest, if this host knows it.
    pub fn named(digest: &Digest) -> Option<Self> {
        KNOWN.iter().find(|known| known.digest == *digest).copied()
    }

    /// Its name in documents.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Its number; the first is 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Whether it has this term.
    pub fn has_term(&self, operand: Operand) -> bool {
        (operand as usize) < self.terms
    }

    /// Whether it has this action.
    pub fn has_action(&self, verb: Verb) -> bool {
        (verb as usize) < self.actions
    }

    /// Its canonical text, whose SHA-256 is its digest. A former digest has the text of its version.
    pub fn text(&self) -> String {
        text(self.number, &super::terms()[..self.terms], &ACTIONS[..self.actions])
    }
}

/// The binding content, in canonical form (RFC 8785).
fn text(number: u32, terms: &[Term], actions: &[Action]) -> String {
    let registry = json!({
        "profile": PROFILE,
        "registry": number,
        "terms": terms.iter().map(term).collect::<Vec<_>>(),
        "actions": actions.iter().map(action).collect::<Vec<_>>(),
        "symbols": SYMBOLS.map(|(symbol, meaning)| json!({"symbol": symbol, "means": meaning})),
    });
    serde_json_canonicalizer::to_string(&registry).expect("invariant: texts and whole numbers")
}

fn term(term: &Term) -> Value {
    json!({
        "name": term.name,
        "place": place(term.place),
        "operators": term.forms.iter().map(|(operator, _)| operator.name()).collect::<Vec<_>>(),
        "datatype": datatype(term.datatype),
        "unit": unit(term.units),
        "class": term.class.name(),
        "norm": term.norm,
    })
}

fn action(action: &Action) -> Value {
    json!({"name": action.name, "place": rule(action.rule), "norm": action.norm})
}

const fn place(place: TermPlace) -> &'static str {
    match place {
        TermPlace::Action => "action",
        TermPlace::Permission => "permission",
        TermPlace::Rule => "permission or prohibition",
        TermPlace::Target => "target",
        TermPlace::Price => "price",
        TermPlace::Data => "prohibition on data",
    }
}

const fn rule(rule: RuleKind) -> &'static str {
    match rule {
        RuleKind::Model => "permission or prohibition",
        RuleKind::Permission => "permission",
        RuleKind::Data => "prohibition on data",
        RuleKind::Duty => "duty",
        RuleKind::Obligation => "obligation",
    }
}

fn datatype(datatype: Datatype) -> Value {
    match datatype {
        Datatype::Integer(min, INTEGER_MAX) => json!({"integer": {"min": min}}),
        Datatype::Integer(min, max) => json!({"integer": {"min": min, "max": max}}),
        Datatype::Decimal => json!("decimal"),
        Datatype::DateTime => json!("dateTime"),
        Datatype::Duration => json!("duration"),
        Datatype::Text(kind) => json!(word(kind)),
        Datatype::Texts(kind) => json!({"list": word(kind)}),
        Datatype::Integers => json!({"list": "integer"}),
        Datatype::True => json!(true),
    }
}

const fn word(text: Text) -> &'static str {
    match text {
        Text::Function => "function",
        Text::Field => "field",
        Text::Iri => "iri",
        Text::Country => "country",
        Text::Version => "version",
        Text::DailyWindow => "dailyWindow",
        Text::DataType => "dataType",
        Text::Capability => "capability",
        Text::Unit => "unit",
    }
}

fn unit(units: Units) -> Value {
    match units {
        Units::None => Value::Null,
        Units::OneOf(units) => json!(units),
        Units::Period => json!("period"),
        Units::Currency => json!("currency"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Class, Operator};

    /// What parties have signed. If this fails, documents would change their meaning: add a version instead.
    #[test]
    fn a_version_never_changes() {
        let digests: Vec<_> = KNOWN.iter().map(|known| known.digest.to_string()).collect();
        assert_eq!(
            digests,
            [
                "sha256:c9159fcfe292d2a815f7273347f761cad8e792f2b6047ee64deda91753a0b8e5",
                "sha256:6477c695f1d8d928598cb909e7aa722ad7436f9328117f33dfd3ca0cf8913749",
            ]
        );
        for (terms, actions) in SIZES {
            // Documents are not checked for these.
            let always =
                [Operand::Version, Operand::PayAmount, Operand::UnitOfCount, Operand::FreeUnits];
            assert!(always.iter().all(|operand| (*operand as usize) < terms));
            assert!((Verb::GrantUse as usize).max(Verb::Compensate as usize) < actions);
        }
        let (terms, actions) = SIZES[SIZES.len() - 1];
        assert_eq!(
            (terms, actions),
            (TERMS.len(), ACTIONS.len()),
            "the newest version has them all"
        );
    }

    /// Once, a corrected sentence ended every agreement, and the host did not start.
    #[test]
    fn corrected_sentences_change_no_digest() {
        let Term { operand, name, place, datatype, units, class, norm, .. } = TERMS[0];
        let forms = &[(Operator::Eq, "Only `{}` may be executed.")];
        let (meaning, mechanism) = ("Other words.", "other words");
        let corrected =
            Term { operand, name, place, forms, datatype, units, class, norm, meaning, mechanism };
        assert_eq!(term(&corrected), term(&TERMS[0]));
        let weaker = Term { class: Class::Record, ..corrected };
        assert_ne!(term(&weaker), term(&TERMS[0]));
    }

    #[test]
    fn a_term_more_is_a_version_more_and_leaves_the_earlier_ones() {
        let added = [&TERMS[..], &TERMS[..1]].concat();
        assert_ne!(text(2, &added, &ACTIONS), text(1, &TERMS, &ACTIONS));
        assert_eq!(text(1, &added[..TERMS.len()], &ACTIONS), RegistryVersion::newest().text());
        let older = RegistryVersion { terms: 33, ..RegistryVersion::newest() };
        assert!(older.has_term(Operand::FreeUnits) && !older.has_term(Operand::Retention));
    }
}
