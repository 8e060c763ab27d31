//! Ten templates for offers, each a list of clauses with placeholders.
//!
//! A placeholder is `{name=default}`.

use jiff::Timestamp;

use super::phrase::{PhraseError, operand_of};
use crate::document::Clauses;

/// A list of clauses with placeholders.
#[derive(Debug)]
pub struct Template {
    pub name: &'static str,
    pub summary: &'static str,
    /// In the syntax of [`Clauses::add_line`].
    pub lines: &'static [&'static str],
}

/// Why a template could not be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("template `{template}` has no placeholder `{hole}`; its placeholders are {known}")]
    NoHole { template: &'static str, hole: String, known: String },
    #[error(transparent)]
    Phrase(#[from] PhraseError),
}

/// The templates, in display order.
pub static TEMPLATES: [Template; 10] = [
    Template {
        name: "open-attribution",
        summary: "free to use with attribution",
        lines: &[
            "oblige consumer attribute",
            "prohibit ai-training inputs",
            "prohibit archive inputs where retention gt P0D",
        ],
    },
    Template {
        name: "research-only",
        summary: "only calls that declare research as their purpose",
        lines: &[
            "purpose isAnyOf {purpose=https://w3id.org/dpv#AcademicResearch,https://w3id.org/dpv#NonCommercialResearch,https://w3id.org/dpv#ResearchAndDevelopment}",
            "oblige consumer attribute",
            "prohibit ai-training inputs",
        ],
    },
    Template {
        name: "open-rail",
        summary: "free to use, except for the uses that responsible-AI licences prohibit",
        lines: &[
            "prohibit execute where purpose isAnyOf {prohibited=urn:hospes:rail:discrimination,urn:hospes:rail:disinformation,urn:hospes:rail:exploiting-minors,urn:hospes:rail:harassment,urn:hospes:rail:law-enforcement-profiling,urn:hospes:rail:medical-advice-without-review,urn:hospes:rail:unlawful-surveillance}",
            "prohibit derive outputs",
            "oblige consumer inform",
        ],
    },
    Template {
        name: "trial",
        summary: "a limited number of free calls for a few days",
        lines: &[
            "count lteq {calls=100} call",
            "dateTime lt {until=+P14D}",
            "callRate lteq {rate=5} {per=PT1S}",
            "prohibit ai-training outputs",
        ],
    },
    Template {
        name: "metered-prepaid",
        summary: "a price per unit, paid from prepaid credit",
        lines: &[
            "price {price=0.001} {currency=EUR} per {unit=call}",
            "credit lteq {credit=10} {currency=EUR}",
        ],
    },
    Template {
        name: "metered-postpaid",
        summary: "a price per unit, billed afterwards",
        lines: &[
            "price {price=0.001} {currency=EUR} per {unit=call}",
            "callRate lteq {rate=100} {per=PT1S}",
            "notice {notice=P30D}",
        ],
    },
    Template {
        name: "subscription",
        summary: "a fixed number of calls per period",
        lines: &[
            "callsPerInterval lteq {calls=10000} {period=P30D}",
            "concurrency lteq {concurrency=8}",
            "dateTime lt {until=+P365D}",
            "notice {notice=P30D}",
        ],
    },
    Template {
        name: "internal",
        summary: "for parties in your own organisation: name them with `--to`",
        lines: &[
            "concurrency lteq {concurrency=16}",
            "prohibit distribute outputs",
            "on-suspend abort",
        ],
    },
    Template {
        name: "evaluation-private-data",
        summary: "evaluation on private data: no retention, no host capabilities, labels only",
        lines: &[
            "count lteq {calls=1000} call",
            "labelOnly eq true",
            "outputFields isAnyOf {fields=label}",
            "hostCapability isNoneOf clock,env,network,random,stdout,storage",
            "prohibit archive inputs where retention gt P0D",
            "prohibit ai-training inputs",
            "prohibit distribute inputs",
            "on-suspend abort",
        ],
    },
    Template {
        name: "reseller",
        summary: "may be resold in narrower agreements that share one limit",
        lines: &[
            "grant-use {depth=3}",
            "count lteq {calls=100000} call",
            "price {price=0.0005} {currency=EUR} per {unit=call}",
            "prohibit ai-training outputs",
            "notice {notice=P30D}",
        ],
    },
];

impl Template {
    /// The template of this name.
    pub fn named(name: &str) -> Option<&'static Template> {
        TEMPLATES.iter().find(|template| template.name == name)
    }

    /// The placeholders with their defaults, without duplicates, in order.
    pub fn holes(&self) -> Vec<(&'static str, &'static str)> {
        let mut holes: Vec<(&str, &str)> = Vec::new();
        for part in self.lines.iter().flat_map(|line| line.split('{').skip(1)) {
            let hole = part.split_once('}').and_then(|(hole, _)| hole.split_once('='));
            if let Some((name, default)) = hole
                && holes.iter().all(|(known, _)| *known != name)
            {
                holes.push((name, default));
            }
        }
        holes
    }

    /// Adds the template's clauses, with the placeholders replaced from `filled`. An existing constraint of the same kind overrides the
    /// template's.
    ///
    /// # Errors
    /// [`TemplateError`].
    pub fn apply(
        &'static self,
        clauses: &mut Clauses,
        filled: &[(String, String)],
        now: Timestamp,
    ) -> Result<(), TemplateError> {
        let holes = self.holes();
        if let Some((hole, _)) =
            filled.iter().find(|(name, _)| holes.iter().all(|(hole, _)| hole != name))
        {
            let known: Vec<_> = holes.iter().map(|(name, _)| format!("`{name}`")).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(TemplateError::NoHole { template: self.name, hole: hole.clone(), known });
        }
        for line in self.lines {
            let said = operand_of(line).is_some_and(|operand| {
                clauses
                    .permissions
                    .iter()
                    .any(|permission| permission.constraint(operand).is_some())
            });
            if !said {
                clauses.add_line(&fill(line, filled), now)?;
            }
        }
        Ok(())
    }
}

fn fill(line: &str, filled: &[(String, String)]) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, hole)) = rest.split_once('{') {
        text.push_str(before);
        let (hole, after) = hole.split_once('}').unwrap_or((hole, ""));
        let (name, default) = hole.split_once('=').unwrap_or((hole, ""));
        let given = filled.iter().rev().find(|(known, _)| known == name);
        text.push_str(given.map_or(default, |(_, value)| value));
        rest = after;
    }
    text + rest
}
