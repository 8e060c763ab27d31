//! The JSON members, exactly as written.

use jiff::Timestamp;
use serde::de::{MapAccess, SeqAccess};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::rules::{malformed, shown};
use crate::AgreementError;
use crate::document::value::{Micros, Span, TEXTS_MAX};
use hospes_core::id::{Digest, Party};

const DATE_TIME: &str = "xsd:dateTime";
const DURATION: &str = "xsd:duration";
const DECIMAL: &str = "xsd:decimal";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyWire {
    #[serde(rename = "@context")]
    pub context: Vec<String>,
    #[serde(rename = "@type")]
    pub kind: String,
    pub uid: String,
    pub profile: String,
    #[serde(rename = "hospes:registry")]
    pub registry: Digest,
    pub conflict: String,
    pub assigner: Party,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assignee: Option<Party>,
    pub target: TargetWire,
    pub permission: Vec<PermissionWire>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prohibition: Vec<ProhibitionWire>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub obligation: Vec<ObligationWire>,
    #[serde(rename = "hospes:noticePeriod", skip_serializing_if = "Option::is_none")]
    pub notice: Option<TypedWire>,
    #[serde(rename = "hospes:maxStale", skip_serializing_if = "Option::is_none")]
    pub max_stale: Option<TypedWire>,
    #[serde(rename = "hospes:onSuspend")]
    pub on_suspend: String,
    #[serde(rename = "inheritFrom", skip_serializing_if = "Option::is_none")]
    pub parent: Option<Digest>,
    #[serde(rename = "hospes:supersedes", skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<Digest>,
    #[serde(rename = "hospes:audience", default, skip_serializing_if = "Vec::is_empty")]
    pub audience: Vec<Party>,
    #[serde(rename = "hospes:offer", skip_serializing_if = "Option::is_none")]
    pub offer: Option<Digest>,
    #[serde(rename = "hospes:issued", skip_serializing_if = "Option::is_none")]
    pub issued: Option<TypedWire>,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum TargetWire {
    Asset(String),
    Collection {
        #[serde(rename = "@type")]
        kind: String,
        source: String,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        refinement: Vec<ConstraintWire>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CollectionWire {
    #[serde(rename = "@type")]
    kind: String,
    source: String,
    #[serde(default)]
    refinement: Vec<ConstraintWire>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PermissionWire {
    pub action: [ActionWire; 1],
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraint: Vec<ConstraintWire>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub duty: Vec<DutyWire>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DutyWire {
    pub action: [ActionWire; 1],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProhibitionWire {
    pub assignee: String,
    pub action: [ActionWire; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraint: Vec<ConstraintWire>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ObligationWire {
    pub assignee: String,
    pub action: [ActionWire; 1],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ActionWire {
    #[serde(rename = "rdf:value")]
    pub value: IriWire,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refinement: Vec<ConstraintWire>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IriWire {
    #[serde(rename = "@id")]
    pub id: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConstraintWire {
    #[serde(rename = "leftOperand")]
    pub left: String,
    pub operator: String,
    #[serde(rename = "rightOperand")]
    pub right: Literal,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// A right operand as written. The left operand determines its type.
pub(super) enum Literal {
    Integer(u64),
    Text(String),
    Texts(Vec<String>),
    Integers(Vec<u64>),
    True,
    DateTime(Timestamp),
    Duration(Span),
    Decimal(Micros),
    /// Typed but not parsed.
    Typed(TypedWire),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TypedWire {
    #[serde(rename = "@type")]
    kind: String,
    #[serde(rename = "@value")]
    value: String,
}

impl TypedWire {
    pub fn date_time(at: Timestamp) -> Self {
        Self { kind: DATE_TIME.to_owned(), value: at.to_string() }
    }

    pub fn duration(span: Span) -> Self {
        Self { kind: DURATION.to_owned(), value: span.to_string() }
    }

    fn decimal(amount: Micros) -> Self {
        Self { kind: DECIMAL.to_owned(), value: amount.to_string() }
    }

    pub fn read(&self, pointer: &str) -> Result<Literal, AgreementError> {
        let wrong = |wanted| malformed(&format!("{pointer}/@value"), wanted);
        match self.kind.as_str() {
            // Only one form: the one that is written. That also settles `Z` against offsets, and leap seconds.
            DATE_TIME => self
                .value
                .parse::<Timestamp>()
                .ok()
                .filter(|read| read.to_string() == self.value)
                .map(Literal::DateTime)
                .ok_or_else(|| wrong("write it as `2026-12-31T23:59:59Z`")),
            DURATION => self.value.parse().map(Literal::Duration).map_err(wrong),
            DECIMAL => self.value.parse().map(Literal::Decimal).map_err(wrong),
            seen => Err(AgreementError::Unknown {
                pointer: format!("{pointer}/@type"),
                seen: shown(seen),
                known: "`xsd:dateTime`, `xsd:duration` and `xsd:decimal`".to_owned(),
            }),
        }
    }
}

impl Serialize for Literal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Literal::Integer(value) => serializer.serialize_u64(*value),
            Literal::Text(text) => serializer.serialize_str(text),
            Literal::Texts(texts) => texts.serialize(serializer),
            Literal::Integers(integers) => integers.serialize(serializer),
            Literal::True => serializer.serialize_bool(true),
            Literal::DateTime(at) => TypedWire::date_time(*at).serialize(serializer),
            Literal::Duration(span) => TypedWire::duration(*span).serialize(serializer),
            Literal::Decimal(amount) => TypedWire::decimal(*amount).serialize(serializer),
            Literal::Typed(typed) => typed.serialize(serializer),
        }
    }
}

// Implemented by hand: serde's derive would copy foreign data and lose the position of an error.
impl<'de> Deserialize<'de> for Literal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Literal;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a whole number, a text, a list of either, `true` or a typed value")
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Literal, E> {
                Ok(Literal::Integer(value))
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Literal, E> {
                if value { Ok(Literal::True) } else { Err(E::custom("`false` says nothing here")) }
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Literal, E> {
                Ok(Literal::Text(value.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Literal, A::Error> {
                let (mut texts, mut integers) = (Vec::new(), Vec::new());
                while let Some(item) = list.next_element::<Literal>()? {
                    match item {
                        Literal::Text(text) => texts.push(text),
                        Literal::Integer(integer) => integers.push(integer),
                        _ => return Err(de::Error::custom("a list holds texts or whole numbers")),
                    }
                    if texts.len() + integers.len() > TEXTS_MAX {
                        return Err(de::Error::custom(format!(
                            "a list has at most {TEXTS_MAX} items"
                        )));
                    }
                }
                match (texts.is_empty(), integers.is_empty()) {
                    (false, true) => Ok(Literal::Texts(texts)),
                    (true, false) => Ok(Literal::Integers(integers)),
                    (true, true) => Err(de::Error::custom("the list is empty")),
                    (false, false) => Err(de::Error::custom("a list holds items of one kind")),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Literal, A::Error> {
                TypedWire::deserialize(de::value::MapAccessDeserializer::new(map))
                    .map(Literal::Typed)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for TargetWire {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = TargetWire;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the name of an asset, or an asset collection")
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<TargetWire, E> {
                Ok(TargetWire::Asset(value.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TargetWire, A::Error> {
                let CollectionWire { kind, source, refinement } =
                    CollectionWire::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(TargetWire::Collection { kind, source, refinement })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
