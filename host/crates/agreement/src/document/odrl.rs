//! The JSON of offers, requests and agreements: ODRL 2.2 with fixed members, in one profile.
//!
//! It is valid JSON-LD, but nothing here expands or fetches a context: contexts are compared with constants. Parsing is exact: the parsed
//! document is written again, and the bytes must be equal, so no member, space or order can change.

mod rules;
mod wire;

use jiff::Timestamp;

use super::clause::Ban;
use super::value::Span;
use super::{Agreement, Clauses, Offer, OnSuspend, Policy, Request, Target, Versions};
use crate::registry::{Operand, Operator, RegistryVersion};
use crate::{AgreementError, PAYLOAD_BYTES_MAX, PROFILE};
use hospes_core::dsse::first_difference;
use hospes_core::id::{Digest, ModelName};

use rules::{known, malformed, shown};
use wire::{ConstraintWire, Literal, PolicyWire, TargetWire, TypedWire};

const CONTEXTS: [&str; 2] = ["http://www.w3.org/ns/odrl.jsonld", "urn:hospes:context:1"];
const CONFLICT: &str = "prohibit";
const TARGET_PREFIX: &str = "urn:hospes:model:";
const UID_PREFIX: &str = "urn:uuid:";
const ASSET_COLLECTION: &str = "AssetCollection";

/// The canonical JSON of an offer.
pub(crate) fn write_offer(offer: &Offer) -> Result<Vec<u8>, AgreementError> {
    write(&offer_wire(offer))
}

/// The canonical JSON of a request.
pub(crate) fn write_request(request: &Request) -> Result<Vec<u8>, AgreementError> {
    write(&request_wire(request))
}

/// The canonical JSON of an agreement.
pub(crate) fn write_agreement(agreement: &Agreement) -> Result<Vec<u8>, AgreementError> {
    write(&agreement_wire(agreement))
}

/// Reads an offer.
pub(crate) fn read_offer(json: &[u8]) -> Result<Offer, AgreementError> {
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
    let offer = Offer { policy: policy(&wire)?, audience: wire.audience };
    offer.check()?;
    same(json, &write_offer(&offer)?)?;
    Ok(offer)
}

/// Reads a request.
pub(crate) fn read_request(json: &[u8]) -> Result<Request, AgreementError> {
    let wire = read(json)?;
    known("/@type", &wire.kind, "Request", "`Request` here")?;
    let (offer, assignee, issued) = sides(&wire, "a request")?;
    let request = Request { policy: policy(&wire)?, offer, assignee, issued };
    request.check()?;
    same(json, &write_request(&request)?)?;
    Ok(request)
}

/// Reads an agreement.
pub(crate) fn read_agreement(json: &[u8]) -> Result<Agreement, AgreementError> {
    let wire = read(json)?;
    known("/@type", &wire.kind, "Agreement", "`Agreement` here")?;
    let (offer, assignee, issued) = sides(&wire, "an agreement")?;
    let agreement = Agreement { policy: policy(&wire)?, offer, assignee, issued };
    agreement.check()?;
    same(json, &write_agreement(&agreement)?)?;
    Ok(agreement)
}

fn sides(
    wire: &PolicyWire,
    kind: &str,
) -> Result<(Digest, hospes_core::id::Party, Timestamp), AgreementError> {
    if !wire.audience.is_empty() {
        return Err(malformed("/hospes:audience", &format!("{kind} has no such member")));
    }
    let missing = |pointer| malformed(pointer, &format!("{kind} needs this member"));
    let assignee = wire.assignee.ok_or_else(|| missing("/assignee"))?;
    let offer = wire.offer.ok_or_else(|| missing("/hospes:offer"))?;
    let issued = wire.issued.as_ref().ok_or_else(|| missing("/hospes:issued"))?;
    let Literal::DateTime(issued) = issued.read("/hospes:issued")? else {
        return Err(malformed("/hospes:issued", "expected a typed date"));
    };
    if issued.as_nanosecond() % 1000 != 0 {
        return Err(malformed("/hospes:issued", "six digits of a second at most"));
    }
    Ok((offer, assignee, issued))
}

macro_rules! serialize {
    ($($document:ty: $wire:ident),*) => {$(
        impl serde::Serialize for $document {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $wire(self).serialize(serializer)
            }
        }
    )*};
}
serialize!(Offer: offer_wire, Request: request_wire, Agreement: agreement_wire);

fn offer_wire(offer: &Offer) -> PolicyWire {
    PolicyWire { audience: offer.audience.clone(), ..policy_wire("Offer", &offer.policy) }
}

fn request_wire(request: &Request) -> PolicyWire {
    PolicyWire {
        assignee: Some(request.assignee),
        offer: Some(request.offer),
        issued: Some(TypedWire::date_time(request.issued)),
        ..policy_wire("Request", &request.policy)
    }
}

fn agreement_wire(agreement: &Agreement) -> PolicyWire {
    PolicyWire {
        assignee: Some(agreement.assignee),
        offer: Some(agreement.offer),
        issued: Some(TypedWire::date_time(agreement.issued)),
        ..policy_wire("Agreement", &agreement.policy)
    }
}

fn policy_wire(kind: &str, policy: &Policy) -> PolicyWire {
    let clauses = &policy.clauses;
    let span = |span: Span| (span > Span::ZERO).then(|| TypedWire::duration(span));
    PolicyWire {
        context: CONTEXTS.map(str::to_owned).to_vec(),
        kind: kind.to_owned(),
        uid: format!("{UID_PREFIX}{}", policy.uid.hyphenated()),
        profile: PROFILE.to_owned(),
        registry: *policy.registry.digest(),
        conflict: CONFLICT.to_owned(),
        assigner: policy.assigner,
        assignee: None,
        target: target_wire(&clauses.target),
        permission: rules::permissions_wire(clauses),
        prohibition: clauses.prohibitions.iter().map(rules::prohibition_wire).collect(),
        obligation: clauses.obligations.iter().map(rules::obligation_wire).collect(),
        notice: span(clauses.notice),
        max_stale: clauses.max_stale.map(TypedWire::duration),
        on_suspend: clauses.on_suspend.name().to_owned(),
        parent: clauses.parent,
        supersedes: clauses.supersedes,
        audience: Vec::new(),
        offer: None,
        issued: None,
    }
}

fn target_wire(target: &Target) -> TargetWire {
    let model = format!("{TARGET_PREFIX}{}", target.model);
    match &target.versions {
        Versions::Bundle(digest) => TargetWire::Asset(format!("{model}@{digest}")),
        Versions::Range { from, before } => {
            let bound = |operator: Operator, version: &semver::Version| ConstraintWire {
                left: Operand::Version.name().to_owned(),
                operator: operator.name().to_owned(),
                right: Literal::Text(version.to_string()),
                unit: None,
            };
            let from = from.as_ref().map(|version| bound(Operator::Gteq, version));
            let before = before.as_ref().map(|version| bound(Operator::Lt, version));
            TargetWire::Collection {
                kind: ASSET_COLLECTION.to_owned(),
                source: model,
                refinement: from.into_iter().chain(before).collect(),
            }
        }
    }
}

fn policy(wire: &PolicyWire) -> Result<Policy, AgreementError> {
    if wire.context != CONTEXTS {
        let seen = shown(&wire.context.join(" "));
        let known = "ODRL's context and `urn:hospes:context:1`, in this order".to_owned();
        return Err(AgreementError::Unknown { pointer: "/@context".to_owned(), seen, known });
    }
    known("/profile", &wire.profile, PROFILE, "`urn:hospes:profile:1`")?;
    known("/conflict", &wire.conflict, CONFLICT, "`prohibit`")?;
    let registry = RegistryVersion::named(&wire.registry)
        .ok_or(AgreementError::UnknownRegistry { seen: wire.registry })?;
    let uid = wire.uid.strip_prefix(UID_PREFIX).and_then(|uid| uuid::Uuid::try_parse(uid).ok());
    let uid = uid.ok_or_else(|| malformed("/uid", "write it as `urn:uuid:…`"))?;
    let (permissions, depth) = rules::permissions(&wire.permission)?;
    let clauses = Clauses {
        target: target(&wire.target)?,
        permissions,
        depth,
        prohibitions: rules::each(&wire.prohibition, "/prohibition", rules::prohibition)?,
        obligations: rules::each(&wire.obligation, "/obligation", rules::obligation)?,
        notice: span(wire.notice.as_ref(), "/hospes:noticePeriod")?.unwrap_or(Span::ZERO),
        max_stale: span(wire.max_stale.as_ref(), "/hospes:maxStale")?,
        on_suspend: match wire.on_suspend.as_str() {
            "finish" => OnSuspend::Finish,
            "abort" => OnSuspend::Abort,
            seen => {
                return Err(AgreementError::Unknown {
                    pointer: "/hospes:onSuspend".to_owned(),
                    seen: shown(seen),
                    known: "`finish` and `abort`".to_owned(),
                });
            }
        },
        parent: wire.parent,
        supersedes: wire.supersedes,
    };
    within(&registry, &clauses)?;
    Ok(Policy { uid, assigner: wire.assigner, registry, clauses })
}

/// Whether a document uses only terms and actions of the registry version that it names. All versions have those of prices, targets and
/// permissions, as a test of the versions checks.
fn within(registry: &RegistryVersion, clauses: &Clauses) -> Result<(), AgreementError> {
    let later = |seen: &str| AgreementError::Unknown {
        pointer: "/hospes:registry".to_owned(),
        seen: registry.number().to_string(),
        known: format!("`{seen}` only in a later version: name that one"),
    };
    if let Some(term) = clauses.constraints().find(|term| !registry.has_term(term.operand)) {
        return Err(later(term.operand.name()));
    }
    let banned = clauses.prohibitions.iter().filter_map(|prohibition| match prohibition.ban {
        Ban::Data { verb, .. } => Some(verb),
        Ban::Execute(_) => None,
    });
    let mut verbs = banned.chain(clauses.obligations.iter().map(|obligation| obligation.verb));
    match verbs.find(|verb| !registry.has_action(*verb)) {
        Some(verb) => Err(later(verb.name())),
        None => Ok(()),
    }
}

fn span(wire: Option<&TypedWire>, pointer: &str) -> Result<Option<Span>, AgreementError> {
    match wire.map(|wire| wire.read(pointer)).transpose()? {
        None => Ok(None),
        Some(Literal::Duration(span)) => Ok(Some(span)),
        Some(_) => Err(malformed(pointer, "expected a duration, typed `xsd:duration`")),
    }
}

fn target(wire: &TargetWire) -> Result<Target, AgreementError> {
    let wrong = || {
        malformed(
            "/target",
            "write it as `urn:hospes:model:publisher/model@sha256:…`, or as a collection",
        )
    };
    match wire {
        TargetWire::Asset(text) => {
            let (model, bundle) = text
                .strip_prefix(TARGET_PREFIX)
                .and_then(|text| text.split_once('@'))
                .ok_or_else(wrong)?;
            let model = model.parse().map_err(|_| wrong())?;
            let bundle = bundle.parse().map_err(|_| wrong())?;
            Ok(Target { model, versions: Versions::Bundle(bundle) })
        }
        TargetWire::Collection { kind, source, refinement } => {
            known("/target/@type", kind, ASSET_COLLECTION, "`AssetCollection` here")?;
            let model: Option<ModelName> =
                source.strip_prefix(TARGET_PREFIX).and_then(|model| model.parse().ok());
            let (mut from, mut before) = (None, None);
            for (index, bound) in refinement.iter().enumerate() {
                let pointer = format!("/target/refinement/{index}");
                let bound = rules::constraint(bound, &pointer)?;
                let version =
                    semver::Version::parse(&bound.value.to_string()).map_err(|_| wrong())?;
                let place = match (bound.operand, bound.operator) {
                    (Operand::Version, Operator::Gteq) => &mut from,
                    (Operand::Version, _) => &mut before,
                    (other, _) => {
                        return Err(AgreementError::Unknown {
                            pointer: format!("{pointer}/leftOperand"),
                            seen: other.name().to_owned(),
                            known: "`version` here".to_owned(),
                        });
                    }
                };
                if place.replace(version).is_some() {
                    return Err(AgreementError::Repeated { pointer });
                }
            }
            Ok(Target {
                model: model.ok_or_else(wrong)?,
                versions: Versions::Range { from, before },
            })
        }
    }
}

fn write(wire: &PolicyWire) -> Result<Vec<u8>, AgreementError> {
    let json = serde_json_canonicalizer::to_vec(wire)
        .expect("invariant: strings, lists and integers always serialise");
    within_size(&json)?;
    Ok(json)
}

fn read(json: &[u8]) -> Result<PolicyWire, AgreementError> {
    within_size(json)?;
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let wire: PolicyWire = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| malformed(&rules::pointer_of(error.path()), &error.inner().to_string()))?;
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
