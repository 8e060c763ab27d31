//! The JSON of offers and agreements: ODRL 2.2 with fixed members, pinned by one profile.
//!
//! It is valid JSON-LD, but nothing here expands or fetches a context: the contexts are compared with constants. Reading is
//! exact. What is read is written again, and the two must be the same bytes, so no member, space or order can be dropped.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::document::{Agreement, Constraint, Offer, Permission, Policy};
use super::{AgreementError, PAYLOAD_BYTES_MAX, PROFILE};
use crate::dsse::first_difference;
use crate::id::{Digest, FunctionName, ModelName, Party};

const CONTEXTS: [&str; 2] = ["http://www.w3.org/ns/odrl.jsonld", "urn:hospes:context:1"];
const CONFLICT: &str = "prohibit";
const EXECUTE: &str = "odrl:execute";
const TARGET_PREFIX: &str = "urn:hospes:model:";
const UID_PREFIX: &str = "urn:uuid:";
const OPERANDS: &str = "`count`, `dateTime`, `hospes:inputBytes` and `hospes:outputBytes`";
const DATE_TIME: &str = "xsd:dateTime";
const UNIT_CALL: &str = "hospes:call";
const UNIT_BYTE: &str = "hospes:byte";

/// The canonical JSON of an offer.
pub(super) fn write_offer(offer: &Offer) -> Result<Vec<u8>, AgreementError> {
    write(&offer_wire(offer))
}

/// The canonical JSON of an agreement.
pub(super) fn write_agreement(agreement: &Agreement) -> Result<Vec<u8>, AgreementError> {
    write(&agreement_wire(agreement))
}

/// Reads an offer.
pub(super) fn read_offer(json: &[u8]) -> Result<Offer, AgreementError> {
    let wire = read(json)?;
    known("/@type", &wire.kind, "Offer", "`Offer` here")?;
    for (pointer, present) in [
        ("/assignee", wire.assignee.is_some()),
        ("/hospes:offer", wire.offer.is_some()),
        ("/hospes:issued", wire.issued.is_some()),
    ] {
        if present {
            return Err(malformed(pointer, "an offer has no such member"));
        }
    }
    let offer = Offer { policy: policy(&wire)? };
    offer.policy.check()?;
    same(json, &write_offer(&offer)?)?;
    Ok(offer)
}

/// Reads an agreement.
pub(super) fn read_agreement(json: &[u8]) -> Result<Agreement, AgreementError> {
    let wire = read(json)?;
    known("/@type", &wire.kind, "Agreement", "`Agreement` here")?;
    let missing = |pointer| malformed(pointer, "an agreement needs this member");
    let assignee = wire.assignee.ok_or_else(|| missing("/assignee"))?;
    let offer = wire.offer.ok_or_else(|| missing("/hospes:offer"))?;
    let issued =
        wire.issued.as_ref().ok_or_else(|| missing("/hospes:issued"))?.read("/hospes:issued")?;
    let agreement = Agreement { policy: policy(&wire)?, offer, assignee, issued };
    agreement.check()?;
    same(json, &write_agreement(&agreement)?)?;
    Ok(agreement)
}

impl Serialize for Offer {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        offer_wire(self).serialize(serializer)
    }
}

impl Serialize for Agreement {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        agreement_wire(self).serialize(serializer)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyWire {
    #[serde(rename = "@context")]
    context: Vec<String>,
    #[serde(rename = "@type")]
    kind: String,
    uid: String,
    profile: String,
    conflict: String,
    assigner: Party,
    #[serde(skip_serializing_if = "Option::is_none")]
    assignee: Option<Party>,
    target: String,
    permission: Vec<PermissionWire>,
    #[serde(rename = "hospes:offer", skip_serializing_if = "Option::is_none")]
    offer: Option<Digest>,
    #[serde(rename = "hospes:issued", skip_serializing_if = "Option::is_none")]
    issued: Option<DateTimeWire>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PermissionWire {
    action: [ActionWire; 1],
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    constraint: Vec<ConstraintWire>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ActionWire {
    #[serde(rename = "rdf:value")]
    value: IriWire,
    refinement: [ConstraintWire; 1],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IriWire {
    #[serde(rename = "@id")]
    id: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConstraintWire {
    #[serde(rename = "leftOperand")]
    left: String,
    operator: String,
    #[serde(rename = "rightOperand")]
    right: ValueWire,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
}

/// A right operand. Which of the three is wanted, the left operand says.
enum ValueWire {
    Integer(u64),
    Text(String),
    DateTime(DateTimeWire),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DateTimeWire {
    #[serde(rename = "@type")]
    kind: String,
    #[serde(rename = "@value")]
    value: String,
}

impl Serialize for ValueWire {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            ValueWire::Integer(value) => serializer.serialize_u64(*value),
            ValueWire::Text(text) => serializer.serialize_str(text),
            ValueWire::DateTime(date) => date.serialize(serializer),
        }
    }
}

// By hand, for serde's own way would keep a copy of foreign data and lose the place of a mistake in it.
impl<'de> Deserialize<'de> for ValueWire {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = ValueWire;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a whole number, a text or a typed date")
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<ValueWire, E> {
                Ok(ValueWire::Integer(value))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<ValueWire, E> {
                Ok(ValueWire::Text(value.to_owned()))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<ValueWire, A::Error> {
                DateTimeWire::deserialize(de::value::MapAccessDeserializer::new(map))
                    .map(ValueWire::DateTime)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl DateTimeWire {
    fn new(value: Timestamp) -> Self {
        Self { kind: DATE_TIME.to_owned(), value: value.to_string() }
    }

    fn read(&self, pointer: &str) -> Result<Timestamp, AgreementError> {
        known(&format!("{pointer}/@type"), &self.kind, DATE_TIME, "`xsd:dateTime` here")?;
        // One spelling only: the one that is written. That also settles `Z` against offsets, and leap seconds.
        self.value
            .parse::<Timestamp>()
            .ok()
            .filter(|read| read.to_string() == self.value)
            .ok_or_else(|| {
                malformed(&format!("{pointer}/@value"), "write it as `2026-12-31T23:59:59Z`")
            })
    }
}

fn offer_wire(offer: &Offer) -> PolicyWire {
    policy_wire("Offer", &offer.policy)
}

fn agreement_wire(agreement: &Agreement) -> PolicyWire {
    PolicyWire {
        assignee: Some(agreement.assignee),
        offer: Some(agreement.offer),
        issued: Some(DateTimeWire::new(agreement.issued)),
        ..policy_wire("Agreement", &agreement.policy)
    }
}

fn policy_wire(kind: &str, policy: &Policy) -> PolicyWire {
    PolicyWire {
        context: CONTEXTS.map(str::to_owned).to_vec(),
        kind: kind.to_owned(),
        uid: format!("{UID_PREFIX}{}", policy.uid.hyphenated()),
        profile: PROFILE.to_owned(),
        conflict: CONFLICT.to_owned(),
        assigner: policy.assigner,
        assignee: None,
        target: format!("{TARGET_PREFIX}{}@{}", policy.model, policy.bundle),
        permission: policy.permissions.iter().map(permission_wire).collect(),
        offer: None,
        issued: None,
    }
}

fn permission_wire(permission: &Permission) -> PermissionWire {
    let function = ConstraintWire {
        left: "hospes:function".to_owned(),
        operator: "eq".to_owned(),
        right: ValueWire::Text(permission.function.to_string()),
        unit: None,
    };
    let value = IriWire { id: EXECUTE.to_owned() };
    PermissionWire {
        action: [ActionWire { value, refinement: [function] }],
        constraint: permission.constraints.iter().map(constraint_wire).collect(),
    }
}

fn constraint_wire(constraint: &Constraint) -> ConstraintWire {
    let of = |left: &str, operator: &str, right, unit: Option<&str>| ConstraintWire {
        left: left.to_owned(),
        operator: operator.to_owned(),
        right,
        unit: unit.map(str::to_owned),
    };
    let date =
        |operator, at| of("dateTime", operator, ValueWire::DateTime(DateTimeWire::new(at)), None);
    let most = |left, max, unit| of(left, "lteq", ValueWire::Integer(max), Some(unit));
    match *constraint {
        Constraint::CountMax(max) => most("count", max, UNIT_CALL),
        Constraint::From(at) => date("gteq", at),
        Constraint::Before(at) => date("lt", at),
        Constraint::Until(at) => date("lteq", at),
        Constraint::InputBytesMax(max) => most("hospes:inputBytes", max, UNIT_BYTE),
        Constraint::OutputBytesMax(max) => most("hospes:outputBytes", max, UNIT_BYTE),
    }
}

fn write(wire: &PolicyWire) -> Result<Vec<u8>, AgreementError> {
    let json = serde_json_canonicalizer::to_vec(wire)
        .expect("invariant: texts, lists and exact integers always serialise");
    within_size(&json)?;
    Ok(json)
}

fn read(json: &[u8]) -> Result<PolicyWire, AgreementError> {
    within_size(json)?;
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let wire: PolicyWire = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| malformed(&pointer_of(error.path()), &error.inner().to_string()))?;
    deserializer.end().map_err(|error| malformed("", &error.to_string()))?;
    Ok(wire)
}

fn within_size(json: &[u8]) -> Result<(), AgreementError> {
    if json.len() > PAYLOAD_BYTES_MAX {
        return Err(AgreementError::TooLarge { bytes: json.len() });
    }
    Ok(())
}

fn same(read: &[u8], written: &[u8]) -> Result<(), AgreementError> {
    if read == written {
        return Ok(());
    }
    Err(AgreementError::NotCanonical { offset: first_difference(read, written) })
}

fn policy(wire: &PolicyWire) -> Result<Policy, AgreementError> {
    if wire.context != CONTEXTS {
        let seen = shown(&wire.context.join(" "));
        let known = "ODRL's context and `urn:hospes:context:1`, in this order";
        return Err(AgreementError::Unknown { pointer: "/@context".to_owned(), seen, known });
    }
    known("/profile", &wire.profile, PROFILE, "`urn:hospes:profile:1`")?;
    known("/conflict", &wire.conflict, CONFLICT, "`prohibit`")?;
    let (model, bundle) = target(&wire.target).ok_or_else(|| {
        malformed("/target", "write it as `urn:hospes:model:publisher/model@sha256:…`")
    })?;
    let uid = wire.uid.strip_prefix(UID_PREFIX).and_then(|uid| uuid::Uuid::try_parse(uid).ok());
    let uid = uid.ok_or_else(|| malformed("/uid", "write it as `urn:uuid:…`"))?;
    let permissions = wire
        .permission
        .iter()
        .enumerate()
        .map(|(index, wire)| permission(wire, &format!("/permission/{index}")))
        .collect::<Result<_, _>>()?;
    Ok(Policy { uid, assigner: wire.assigner, model, bundle, permissions })
}

fn target(text: &str) -> Option<(ModelName, Digest)> {
    let (model, bundle) = text.strip_prefix(TARGET_PREFIX)?.split_once('@')?;
    Some((model.parse().ok()?, bundle.parse().ok()?))
}

fn permission(wire: &PermissionWire, pointer: &str) -> Result<Permission, AgreementError> {
    let [action] = &wire.action;
    let at = format!("{pointer}/action/0");
    known(&format!("{at}/rdf:value/@id"), &action.value.id, EXECUTE, "`odrl:execute`")?;
    let [refinement] = &action.refinement;
    let function = function(refinement, &format!("{at}/refinement/0"))?;
    let constraints = wire
        .constraint
        .iter()
        .enumerate()
        .map(|(index, wire)| constraint(wire, &format!("{pointer}/constraint/{index}")))
        .collect::<Result<_, _>>()?;
    Ok(Permission { function, constraints })
}

fn function(wire: &ConstraintWire, pointer: &str) -> Result<FunctionName, AgreementError> {
    known(
        &format!("{pointer}/leftOperand"),
        &wire.left,
        "hospes:function",
        "`hospes:function` here",
    )?;
    known(&format!("{pointer}/operator"), &wire.operator, "eq", "`eq` here")?;
    unit(wire, None, pointer)?;
    match &wire.right {
        ValueWire::Text(name) => name.parse().map_err(|error: crate::id::IdError| {
            malformed(&format!("{pointer}/rightOperand"), &error.to_string())
        }),
        ValueWire::Integer(_) | ValueWire::DateTime(_) => {
            Err(malformed(&format!("{pointer}/rightOperand"), "a function's name is wanted"))
        }
    }
}

fn constraint(wire: &ConstraintWire, pointer: &str) -> Result<Constraint, AgreementError> {
    let most = |unit| integer_at_most(wire, unit, pointer);
    match wire.left.as_str() {
        "count" => most(UNIT_CALL).map(Constraint::CountMax),
        "hospes:inputBytes" => most(UNIT_BYTE).map(Constraint::InputBytesMax),
        "hospes:outputBytes" => most(UNIT_BYTE).map(Constraint::OutputBytesMax),
        "dateTime" => date(wire, pointer),
        seen => Err(AgreementError::Unknown {
            pointer: format!("{pointer}/leftOperand"),
            seen: shown(seen),
            known: OPERANDS,
        }),
    }
}

fn integer_at_most(
    wire: &ConstraintWire,
    wanted_unit: &'static str,
    pointer: &str,
) -> Result<u64, AgreementError> {
    known(&format!("{pointer}/operator"), &wire.operator, "lteq", "`lteq` with this operand")?;
    unit(wire, Some(wanted_unit), pointer)?;
    match wire.right {
        ValueWire::Integer(value) => Ok(value),
        ValueWire::Text(_) | ValueWire::DateTime(_) => {
            Err(malformed(&format!("{pointer}/rightOperand"), "a whole number is wanted"))
        }
    }
}

fn date(wire: &ConstraintWire, pointer: &str) -> Result<Constraint, AgreementError> {
    unit(wire, None, pointer)?;
    let at = match &wire.right {
        ValueWire::DateTime(date) => date.read(&format!("{pointer}/rightOperand"))?,
        ValueWire::Integer(_) | ValueWire::Text(_) => {
            return Err(malformed(&format!("{pointer}/rightOperand"), "a typed date is wanted"));
        }
    };
    match wire.operator.as_str() {
        "gteq" => Ok(Constraint::From(at)),
        "lt" => Ok(Constraint::Before(at)),
        "lteq" => Ok(Constraint::Until(at)),
        seen => Err(AgreementError::Unknown {
            pointer: format!("{pointer}/operator"),
            seen: shown(seen),
            known: "`gteq`, `lt` and `lteq` with this operand",
        }),
    }
}

fn unit(
    wire: &ConstraintWire,
    wanted: Option<&'static str>,
    pointer: &str,
) -> Result<(), AgreementError> {
    let pointer = || format!("{pointer}/unit");
    match (wire.unit.as_deref(), wanted) {
        (None, None) => Ok(()),
        (Some(seen), Some(wanted)) => known(&pointer(), seen, wanted, wanted),
        (Some(seen), None) => Err(AgreementError::Unknown {
            pointer: pointer(),
            seen: shown(seen),
            known: "no unit with this operand",
        }),
        (None, Some(wanted)) => {
            Err(malformed(&pointer(), &format!("the unit `{wanted}` is wanted")))
        }
    }
}

fn known(
    pointer: &str,
    seen: &str,
    wanted: &str,
    known: &'static str,
) -> Result<(), AgreementError> {
    if seen == wanted {
        return Ok(());
    }
    Err(AgreementError::Unknown { pointer: pointer.to_owned(), seen: shown(seen), known })
}

fn malformed(pointer: &str, reason: &str) -> AgreementError {
    let pointer = if pointer.is_empty() { "/" } else { pointer };
    AgreementError::Malformed { pointer: pointer.to_owned(), reason: shown(reason) }
}

/// Cuts foreign text for an error message.
fn shown(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 160;
    text.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS_MAX).collect()
}

/// A path into JSON as a pointer (RFC 6901).
fn pointer_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter().fold(String::new(), |pointer, segment| match segment {
        Segment::Seq { index } => format!("{pointer}/{index}"),
        Segment::Map { key } => {
            format!("{pointer}/{}", shown(key).replace('~', "~0").replace('/', "~1"))
        }
        Segment::Enum { variant } => format!("{pointer}/{variant}"),
        Segment::Unknown => pointer,
    })
}
