//! The profile as files: the registry that documents name, its wording, the JSON Schema, and the specification's tables.
//!
//! Generated from the table in [`registry`](super) into `host/profile/`; a test compares them.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{ACTIONS, Class, Datatype, Operator, RuleKind, TERMS, Term, Text, UNITS, Units};
use crate::{INTEGER_MAX, PROFILE};

/// `wording.json`: every term and action in sentences, with what the host does about it. It is not binding: see
/// [`RegistryVersion`](crate::RegistryVersion).
pub fn wording() -> String {
    let terms: Vec<_> = TERMS.iter().map(term).collect();
    let actions = ACTIONS.iter().map(|action| {
        json!({"name": action.name, "rule": action.rule.name(), "phrase": action.phrase, "meaning": action.meaning})
    });
    pretty(&json!({
        "profile": PROFILE,
        "classes": {
            "prevent": "the host makes it impossible",
            "detect": "it rests on what the caller or the operator states, or shows afterwards",
            "record": "it is a promise, written down",
        },
        "terms": terms,
        "actions": actions.collect::<Vec<_>>(),
    }))
}

fn term(term: &Term) -> Value {
    let forms = term
        .forms
        .iter()
        .map(|(operator, phrase)| json!({"operator": operator.name(), "phrase": phrase}));
    json!({
        "name": term.name,
        "place": term.place.name(),
        "operators": forms.collect::<Vec<_>>(),
        "datatype": datatype(term.datatype),
        "unit": unit(term.units),
        "enforcement": term.class.name(),
        "meaning": term.meaning,
        "mechanism": term.mechanism,
    })
}

fn datatype(datatype: Datatype) -> String {
    match datatype {
        Datatype::Integer(min, INTEGER_MAX) => format!("whole number of at least {min}"),
        Datatype::Integer(min, max) => format!("whole number of {min} to {max}"),
        Datatype::Decimal => "xsd:decimal, at most six digits after the point".to_owned(),
        Datatype::DateTime => "xsd:dateTime in UTC".to_owned(),
        Datatype::Duration => "xsd:duration of days, hours, minutes, seconds".to_owned(),
        Datatype::Text(kind) => text(kind).to_owned(),
        Datatype::Texts(kind) => format!("ascending list of: {}", text(kind)),
        Datatype::Integers => "list of 1 to 8 whole numbers".to_owned(),
        Datatype::True => "`true`".to_owned(),
    }
}

const fn text(kind: Text) -> &'static str {
    match kind {
        Text::Function => "name of an exported function",
        Text::Field => "name of a record's member or an output",
        Text::Iri => "IRI",
        Text::Country => "IRI of a country (EU authority table, ISO 3166-1 alpha-3)",
        Text::Version => "version (SemVer 2.0.0)",
        Text::DailyWindow => "`HH:MM-HH:MM Area/City`",
        Text::DataType => "data type (Open Inference Protocol)",
        Text::Capability => "host capability",
        Text::Unit => "unit",
    }
}

fn unit(units: Units) -> Value {
    match units {
        Units::None => Value::Null,
        Units::OneOf(units) => json!(units),
        Units::Period => json!("a period, xsd:duration as text"),
        Units::Currency => json!("IRI of a currency (EU authority table, ISO 4217)"),
    }
}

/// `schema.json`: JSON Schema (2020-12) of the payloads of offers, requests and agreements.
///
/// It covers form. The specification states the rest (one encoding, ascending order, no duplicate limits, parties that can sign), which the
/// host checks.
pub fn schema() -> String {
    let duration =
        typed("xsd:duration", "^P([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+(\\.[0-9]{1,6})?S)?)?$");
    let digest = json!({"$ref": "#/$defs/digest"});
    let party = json!({"$ref": "#/$defs/party"});
    let target = json!({"anyOf": [
        {"type": "string", "pattern": "^urn:hospes:model:[^@]+@sha256:[0-9a-f]{64}$"},
        object(&["@type", "source"], &json!({
            "@type": {"const": "AssetCollection"},
            "source": {"type": "string", "pattern": "^urn:hospes:model:[^@]+$"},
            "refinement": list("constraint", 2),
        })),
    ]});
    let required = [
        "@context",
        "@type",
        "uid",
        "profile",
        "hospes:registry",
        "conflict",
        "assigner",
        "target",
        "permission",
        "hospes:onSuspend",
    ];
    let properties = json!({
        "@context": {"const": ["http://www.w3.org/ns/odrl.jsonld", "urn:hospes:context:1"]},
        "@type": {"enum": ["Offer", "Request", "Agreement"]},
        "uid": {"type": "string", "pattern": "^urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"},
        "profile": {"const": PROFILE},
        "hospes:registry": digest,
        "conflict": {"const": "prohibit"},
        "assigner": party,
        "assignee": party,
        "target": target,
        "permission": list("permission", crate::PERMISSIONS_MAX + 1),
        "prohibition": list("prohibition", crate::PROHIBITIONS_MAX),
        "obligation": list("obligation", crate::OBLIGATIONS_MAX),
        "hospes:noticePeriod": duration,
        "hospes:maxStale": duration,
        "hospes:onSuspend": {"enum": ["finish", "abort"]},
        "inheritFrom": digest,
        "hospes:supersedes": digest,
        "hospes:audience": list("party", crate::AUDIENCE_MAX),
        "hospes:offer": digest,
        "hospes:issued": date_time(),
    });
    let mut schema = object(&required, &properties);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["$id"] = json!("urn:hospes:profile:1:schema");
    schema["title"] = json!("Offers, requests and agreements of the Hospes profile of ODRL 2.2");
    schema["$defs"] = definitions();
    pretty(&schema)
}

fn definitions() -> Value {
    let role = json!({"enum": ["hospes:publisher", "hospes:consumer"]});
    let depth = object(
        &["leftOperand", "operator", "rightOperand"],
        &json!({
            "leftOperand": {"const": "hospes:depth"},
            "operator": {"const": "lteq"},
            "rightOperand": {"type": "integer", "minimum": 1, "maximum": crate::DEPTH_MAX},
        }),
    );
    let grant_use = object(
        &["rdf:value", "refinement"],
        &json!({
            "rdf:value": object(&["@id"], &json!({"@id": {"const": "odrl:grantUse"}})),
            "refinement": one(&depth),
        }),
    );
    let model_or_data = json!({"anyOf": [verbs(RuleKind::Model), verbs(RuleKind::Data)]});
    let execute = object(
        &["action"],
        &json!({
            "action": one(&verbs(RuleKind::Model)),
            "constraint": list("constraint", crate::CONSTRAINTS_MAX),
            "duty": one(&object(&["action"], &json!({"action": one(&verbs(RuleKind::Duty))}))),
        }),
    );
    json!({
        "digest": {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"},
        "party": {"type": "string", "pattern": "^did:key:z6Mk[1-9A-HJ-NP-Za-km-z]+$"},
        "permission": {"anyOf": [execute, object(&["action"], &json!({"action": one(&grant_use)}))]},
        "prohibition": object(&["assignee", "action"], &json!({
            "assignee": role,
            "action": one(&model_or_data),
            "target": {"enum": ["urn:hospes:inputs", "urn:hospes:outputs"]},
            "constraint": list("constraint", crate::CONSTRAINTS_MAX),
        })),
        "obligation": object(&["assignee", "action"], &json!({
            "assignee": role,
            "action": one(&verbs(RuleKind::Obligation)),
        })),
        "constraint": {"oneOf": TERMS.iter().map(constraint).collect::<Vec<_>>()},
    })
}

/// An object with these members and no others.
fn object(required: &[&str], properties: &Value) -> Value {
    json!({"type": "object", "required": required, "additionalProperties": false, "properties": properties})
}

fn one(item: &Value) -> Value {
    json!({"type": "array", "minItems": 1, "maxItems": 1, "items": item})
}

fn list(item: &str, max: usize) -> Value {
    json!({"type": "array", "minItems": 1, "maxItems": max, "items": {"$ref": format!("#/$defs/{item}")}})
}

fn verbs(rule: RuleKind) -> Value {
    let names = ACTIONS.iter().filter(|action| action.rule == rule).map(|action| action.name);
    object(
        &["rdf:value"],
        &json!({
            "rdf:value": object(&["@id"], &json!({"@id": {"enum": names.collect::<Vec<_>>()}})),
            "refinement": list("constraint", crate::CONSTRAINTS_MAX + 1),
        }),
    )
}

fn constraint(term: &Term) -> Value {
    let operators: Vec<_> = term.forms.iter().map(|(operator, _)| operator.name()).collect();
    let mut properties = json!({
        "leftOperand": {"const": term.name},
        "operator": {"enum": operators},
        "rightOperand": right(term.datatype),
    });
    let mut required = vec!["leftOperand", "operator", "rightOperand"];
    let unit = match term.units {
        Units::None => None,
        Units::OneOf(units) => Some(json!({"enum": units})),
        Units::Period => Some(json!({"type": "string", "pattern": "^P"})),
        Units::Currency => Some(
            json!({"type": "string", "pattern": format!("^{}[A-Z]{{3}}$", super::CURRENCY_PREFIX)}),
        ),
    };
    if let Some(unit) = unit {
        properties["unit"] = unit;
        required.push("unit");
    }
    json!({"type": "object", "required": required, "additionalProperties": false, "properties": properties})
}

fn right(datatype: Datatype) -> Value {
    match datatype {
        Datatype::Integer(min, max) => json!({"type": "integer", "minimum": min, "maximum": max}),
        Datatype::Decimal => typed("xsd:decimal", "^(0|[1-9][0-9]*)(\\.[0-9]{1,6})?$"),
        Datatype::DateTime => date_time(),
        Datatype::Duration => typed("xsd:duration", "^P"),
        Datatype::Text(kind) => word(kind),
        Datatype::Texts(kind) => {
            json!({"type": "array", "minItems": 1, "maxItems": crate::document::value::TEXTS_MAX, "uniqueItems": true, "items": word(kind)})
        }
        Datatype::Integers => {
            json!({"type": "array", "minItems": 1, "maxItems": hospes_core::tensor::RANK_MAX, "items": {"type": "integer", "minimum": 0, "maximum": u32::MAX}})
        }
        Datatype::True => json!({"const": true}),
    }
}

fn word(kind: Text) -> Value {
    let max = crate::document::value::TEXT_BYTES_MAX;
    match kind {
        Text::Unit => json!({"enum": UNITS}),
        Text::Capability => {
            json!({"enum": hospes_core::capability::Capability::ALL.map(hospes_core::capability::Capability::name)})
        }
        Text::DataType => {
            json!({"enum": hospes_core::tensor::DataType::ALL.map(hospes_core::tensor::DataType::name)})
        }
        Text::Country => {
            json!({"type": "string", "pattern": format!("^{}[A-Z]{{3}}$", super::COUNTRY_PREFIX)})
        }
        Text::DailyWindow => {
            json!({"type": "string", "pattern": "^[0-2][0-9]:[0-5][0-9]-[0-2][0-9]:[0-5][0-9] [A-Za-z0-9_+/-]+$"})
        }
        Text::Function | Text::Field | Text::Iri | Text::Version => {
            json!({"type": "string", "minLength": 1, "maxLength": max})
        }
    }
}

fn typed(kind: &str, pattern: &str) -> Value {
    json!({"type": "object", "required": ["@type", "@value"], "additionalProperties": false, "properties": {
        "@type": {"const": kind}, "@value": {"type": "string", "pattern": pattern},
    }})
}

fn date_time() -> Value {
    typed(
        "xsd:dateTime",
        "^-?[0-9]{4,6}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,9})?Z$",
    )
}

/// The tables of the specification, in Markdown.
pub fn tables() -> String {
    let mut out = String::from(
        "| left operand | where | operators | value | unit | class | means | how the host does it |\n|---|---|---|---|---|---|---|---|\n",
    );
    for term in &TERMS {
        let operators: Vec<_> =
            term.forms.iter().map(|(operator, _): &(Operator, _)| operator.name()).collect();
        let unit = match term.units {
            Units::None => "none".to_owned(),
            Units::OneOf(units) => {
                units.iter().map(|unit| format!("`{unit}`")).collect::<Vec<_>>().join(", ")
            }
            Units::Period => "period".to_owned(),
            Units::Currency => "currency".to_owned(),
        };
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | {unit} | **{}** | {} | {} |",
            term.name,
            term.place.name(),
            operators.join(", "),
            datatype(term.datatype),
            class(term.class),
            term.meaning,
            term.mechanism
        );
    }
    out.push_str("\n| action | where | means |\n|---|---|---|\n");
    for action in &ACTIONS {
        let _ =
            writeln!(out, "| `{}` | {} | {} |", action.name, action.rule.name(), action.meaning);
    }
    out
}

const fn class(class: Class) -> &'static str {
    class.name()
}

fn pretty(value: &Value) -> String {
    // Another crate of the program may have JSON keep the order in which members were added.
    let mut value = value.clone();
    value.sort_all_objects();
    let mut text = format!("{value:#}");
    text.push('\n');
    text
}
