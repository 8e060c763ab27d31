//! Converts rules between JSON and their checked form.

use super::wire::{
    ActionWire, ConstraintWire, DutyWire, IriWire, Literal, ObligationWire, PermissionWire,
    ProhibitionWire,
};
use crate::document::Clauses;
use crate::document::clause::{
    Asset, Ban, Constraint, Obligation, Permission, Price, Prohibition, Unit,
};
use crate::document::value::{RightOperand, role_iri};
use crate::registry::{ACTIONS, Operand, Operator, RuleKind, Verb};
use crate::{AgreementError, Role};
use hospes_core::id::FunctionName;

/// Levels of sub-agreements: a refinement of `odrl:grantUse` only.
const DEPTH: &str = "hospes:depth";

pub(super) fn permissions_wire(clauses: &Clauses) -> Vec<PermissionWire> {
    let execute = clauses.permissions.iter().map(permission_wire);
    let grant_use = clauses.depth.map(|depth| {
        let depth = plain(DEPTH, Operator::Lteq, Literal::Integer(depth.into()));
        let action = [action_wire(Verb::GrantUse, vec![depth])];
        PermissionWire { action, constraint: Vec::new(), duty: Vec::new() }
    });
    execute.chain(grant_use).collect()
}

fn permission_wire(permission: &Permission) -> PermissionWire {
    let function = function_wire(&permission.function);
    let refinements = permission.refinements.iter().map(constraint_wire);
    PermissionWire {
        action: [action_wire(
            Verb::Execute,
            std::iter::once(function).chain(refinements).collect(),
        )],
        constraint: permission.constraints.iter().map(constraint_wire).collect(),
        duty: permission.price.iter().map(price_wire).collect(),
    }
}

fn price_wire(price: &Price) -> DutyWire {
    let amount = ConstraintWire {
        unit: Some(price.currency.to_string()),
        ..plain(Operand::PayAmount.name(), Operator::Eq, Literal::Decimal(price.amount))
    };
    let unit = Literal::Text(price.unit.iri().to_owned());
    let unit = plain(Operand::UnitOfCount.name(), Operator::Eq, unit);
    let free = price
        .free
        .map(|free| plain(Operand::FreeUnits.name(), Operator::Lteq, Literal::Integer(free)));
    let terms = [Some(amount), Some(unit), free].into_iter().flatten().collect();
    DutyWire { action: [action_wire(Verb::Compensate, terms)] }
}

pub(super) fn prohibition_wire(prohibition: &Prohibition) -> ProhibitionWire {
    let (action, target) = match &prohibition.ban {
        Ban::Execute(function) => {
            let refinement = function.iter().map(function_wire).collect();
            (action_wire(Verb::Execute, refinement), None)
        }
        Ban::Data { verb, asset } => (action_wire(*verb, Vec::new()), Some(asset.iri().to_owned())),
    };
    ProhibitionWire {
        assignee: role_iri(prohibition.bound).to_owned(),
        action: [action],
        target,
        constraint: prohibition.constraints.iter().map(constraint_wire).collect(),
    }
}

pub(super) fn obligation_wire(obligation: &Obligation) -> ObligationWire {
    ObligationWire {
        assignee: role_iri(obligation.bound).to_owned(),
        action: [action_wire(obligation.verb, Vec::new())],
    }
}

fn action_wire(verb: Verb, refinement: Vec<ConstraintWire>) -> ActionWire {
    ActionWire { value: IriWire { id: verb.name().to_owned() }, refinement }
}

fn function_wire(function: &FunctionName) -> ConstraintWire {
    plain(Operand::Function.name(), Operator::Eq, Literal::Text(function.to_string()))
}

fn plain(left: &str, operator: Operator, right: Literal) -> ConstraintWire {
    ConstraintWire {
        left: left.to_owned(),
        operator: operator.name().to_owned(),
        right,
        unit: None,
    }
}

fn constraint_wire(constraint: &Constraint) -> ConstraintWire {
    let right = match &constraint.value {
        RightOperand::Integer(value) => Literal::Integer(*value),
        RightOperand::Decimal(amount) => Literal::Decimal(*amount),
        RightOperand::DateTime(at) => Literal::DateTime(*at),
        RightOperand::Duration(span) => Literal::Duration(*span),
        RightOperand::Text(text) => Literal::Text(text.to_string()),
        RightOperand::Texts(texts) => {
            Literal::Texts(texts.iter().map(ToString::to_string).collect())
        }
        RightOperand::Integers(integers) => Literal::Integers(integers.to_vec()),
        RightOperand::True => Literal::True,
    };
    let unit = constraint.unit.as_deref().map(str::to_owned);
    ConstraintWire { unit, ..plain(constraint.operand.name(), constraint.operator, right) }
}

/// Reads each rule of a list.
pub(super) fn each<W, R>(
    wires: &[W],
    pointer: &str,
    read: impl Fn(&W, &str) -> Result<R, AgreementError>,
) -> Result<Vec<R>, AgreementError> {
    let numbered = wires.iter().enumerate();
    numbered.map(|(index, wire)| read(wire, &format!("{pointer}/{index}"))).collect()
}

/// The execute permissions, followed by the grant-use permission.
pub(super) fn permissions(
    wires: &[PermissionWire],
) -> Result<(Vec<Permission>, Option<u8>), AgreementError> {
    let (execute, depth) = match wires.split_last() {
        Some((last, before)) if last.action[0].value.id == Verb::GrantUse.name() => {
            (before, Some(grant_use(last, &format!("/permission/{}", before.len()))?))
        }
        Some(_) | None => (wires, None),
    };
    Ok((each(execute, "/permission", permission)?, depth))
}

fn grant_use(wire: &PermissionWire, pointer: &str) -> Result<u8, AgreementError> {
    if !wire.constraint.is_empty() || !wire.duty.is_empty() {
        return Err(malformed(pointer, "leave to grant use has neither constraints nor duties"));
    }
    let pointer = format!("{pointer}/action/0/refinement");
    let [ConstraintWire { left, operator, right: Literal::Integer(depth), unit: None }] =
        wire.action[0].refinement.as_slice()
    else {
        return Err(malformed(
            &pointer,
            "expected one refinement, `hospes:depth` `lteq` a whole number",
        ));
    };
    known(&format!("{pointer}/0/leftOperand"), left, DEPTH, "`hospes:depth` here")?;
    known(&format!("{pointer}/0/operator"), operator, Operator::Lteq.name(), "`lteq` here")?;
    u8::try_from(*depth)
        .map_err(|_| malformed(&format!("{pointer}/0/rightOperand"), "expected 1 to 8"))
}

fn permission(wire: &PermissionWire, pointer: &str) -> Result<Permission, AgreementError> {
    let [action] = &wire.action;
    let at = format!("{pointer}/action/0");
    verb(action, RuleKind::Model, &at)?;
    let Some((first, refinements)) = action.refinement.split_first() else {
        return Err(malformed(&format!("{at}/refinement"), "`hospes:function` is wanted first"));
    };
    let refinement_at = |index: usize| format!("{at}/refinement/{index}");
    let function = function(first, &refinement_at(0))?;
    let numbered = refinements.iter().enumerate();
    let refinements = numbered
        .map(|(index, wire)| constraint(wire, &refinement_at(index + 1)))
        .collect::<Result<_, _>>()?;
    let constraints = each(&wire.constraint, &format!("{pointer}/constraint"), constraint)?;
    let price = match wire.duty.as_slice() {
        [] => None,
        [duty] => Some(price(&duty.action[0], &format!("{pointer}/duty/0/action/0"))?),
        [_, _, ..] => {
            return Err(AgreementError::Repeated { pointer: format!("{pointer}/duty/1") });
        }
    };
    Ok(Permission { function, refinements, constraints, price })
}

fn price(action: &ActionWire, pointer: &str) -> Result<Price, AgreementError> {
    verb(action, RuleKind::Duty, pointer)?;
    let pointer = format!("{pointer}/refinement");
    let terms = each(&action.refinement, &pointer, constraint)?;
    let (amount, unit, free) = match terms.as_slice() {
        [amount, unit] => (amount, unit, None),
        [amount, unit, free] => (amount, unit, Some(free)),
        _ => {
            return Err(malformed(
                &pointer,
                "expected `payAmount`, `unitOfCount` and perhaps `hospes:freeUnits`",
            ));
        }
    };
    let operands = (amount.operand, unit.operand, free.map(|free| free.operand));
    let (Operand::PayAmount, Operand::UnitOfCount, None | Some(Operand::FreeUnits)) = operands
    else {
        return Err(malformed(
            &pointer,
            "expected `payAmount`, `unitOfCount` and perhaps `hospes:freeUnits`, in this order",
        ));
    };
    let (RightOperand::Decimal(amount_value), RightOperand::Text(unit)) =
        (&amount.value, &unit.value)
    else {
        return Err(malformed(&pointer, "expected an amount and a unit"));
    };
    Ok(Price {
        amount: *amount_value,
        currency: amount.unit.clone().unwrap_or_default(),
        unit: Unit::named(unit).ok_or_else(|| malformed(&pointer, "expected a unit"))?,
        free: free.and_then(Constraint::integer),
    })
}

pub(super) fn prohibition(
    wire: &ProhibitionWire,
    pointer: &str,
) -> Result<Prohibition, AgreementError> {
    let [action] = &wire.action;
    let at = format!("{pointer}/action/0");
    let bound = role(&wire.assignee, &format!("{pointer}/assignee"))?;
    let ban = match &wire.target {
        None => {
            verb(action, RuleKind::Model, &at)?;
            match action.refinement.as_slice() {
                [] => Ban::Execute(None),
                [only] => Ban::Execute(Some(function(only, &format!("{at}/refinement/0"))?)),
                [_, _, ..] => {
                    return Err(malformed(
                        &format!("{at}/refinement"),
                        "expected one function at most",
                    ));
                }
            }
        }
        Some(target) => {
            let verb = verb(action, RuleKind::Data, &at)?;
            let asset = Asset::ALL.into_iter().find(|asset| asset.iri() == target);
            let asset = asset.ok_or_else(|| AgreementError::Unknown {
                pointer: format!("{pointer}/target"),
                seen: shown(target),
                known: "`urn:hospes:inputs` and `urn:hospes:outputs` here".to_owned(),
            })?;
            unrefined(action, &at)?;
            Ban::Data { verb, asset }
        }
    };
    let constraints = each(&wire.constraint, &format!("{pointer}/constraint"), constraint)?;
    Ok(Prohibition { bound, ban, constraints })
}

pub(super) fn obligation(
    wire: &ObligationWire,
    pointer: &str,
) -> Result<Obligation, AgreementError> {
    let [action] = &wire.action;
    let at = format!("{pointer}/action/0");
    let bound = role(&wire.assignee, &format!("{pointer}/assignee"))?;
    let verb = verb(action, RuleKind::Obligation, &at)?;
    unrefined(action, &at)?;
    Ok(Obligation { bound, verb })
}

fn unrefined(action: &ActionWire, pointer: &str) -> Result<(), AgreementError> {
    if action.refinement.is_empty() {
        return Ok(());
    }
    Err(malformed(&format!("{pointer}/refinement"), "this action has no refinements here"))
}

fn verb(action: &ActionWire, rule: RuleKind, pointer: &str) -> Result<Verb, AgreementError> {
    let seen = &action.value.id;
    Verb::named(seen, rule).ok_or_else(|| {
        let names = ACTIONS.iter().filter(|action| action.rule == rule);
        let names: Vec<_> = names.map(|action| format!("`{}`", action.name)).collect();
        AgreementError::Unknown {
            pointer: format!("{pointer}/rdf:value/@id"),
            seen: shown(seen),
            known: format!("{} here", names.join(", ")),
        }
    })
}

fn role(iri: &str, pointer: &str) -> Result<Role, AgreementError> {
    let found = [Role::Publisher, Role::Consumer].into_iter().find(|role| role_iri(*role) == iri);
    found.ok_or_else(|| AgreementError::Unknown {
        pointer: pointer.to_owned(),
        seen: shown(iri),
        known: "`hospes:publisher` and `hospes:consumer` here".to_owned(),
    })
}

fn function(wire: &ConstraintWire, pointer: &str) -> Result<FunctionName, AgreementError> {
    let refinement = constraint(wire, pointer)?;
    known(
        &format!("{pointer}/leftOperand"),
        &wire.left,
        Operand::Function.name(),
        "`hospes:function` first here",
    )?;
    refinement.value.to_string().parse().map_err(|error: hospes_core::id::IdError| {
        malformed(&format!("{pointer}/rightOperand"), &error.to_string())
    })
}

/// Parses a comparison and checks it against the registry.
pub(super) fn constraint(
    wire: &ConstraintWire,
    pointer: &str,
) -> Result<Constraint, AgreementError> {
    let operand = Operand::named(&wire.left).ok_or_else(|| AgreementError::Unknown {
        pointer: format!("{pointer}/leftOperand"),
        seen: shown(&wire.left),
        known: "only the terms of its registry (`hospes profile terms`)".to_owned(),
    })?;
    let operator = Operator::named(&wire.operator).ok_or_else(|| AgreementError::Unknown {
        pointer: format!("{pointer}/operator"),
        seen: shown(&wire.operator),
        known: Operator::ALL.map(|operator| format!("`{operator}`")).join(", "),
    })?;
    let right = format!("{pointer}/rightOperand");
    let value = value(&wire.right, &right)?;
    let unit = wire.unit.as_deref().map(Box::from);
    Constraint::new(operand, operator, value, unit, pointer)
}

fn value(literal: &Literal, pointer: &str) -> Result<RightOperand, AgreementError> {
    Ok(match literal {
        Literal::Integer(value) => RightOperand::Integer(*value),
        Literal::Text(text) => RightOperand::Text(text.as_str().into()),
        Literal::Texts(texts) => {
            RightOperand::Texts(texts.iter().map(|text| text.as_str().into()).collect())
        }
        Literal::Integers(integers) => RightOperand::Integers(integers.as_slice().into()),
        Literal::True => RightOperand::True,
        Literal::DateTime(at) => RightOperand::DateTime(*at),
        Literal::Duration(span) => RightOperand::Duration(*span),
        Literal::Decimal(amount) => RightOperand::Decimal(*amount),
        Literal::Typed(typed) => value(&typed.read(pointer)?, pointer)?,
    })
}

pub(super) fn known(
    pointer: &str,
    seen: &str,
    wanted: &str,
    known: &str,
) -> Result<(), AgreementError> {
    if seen == wanted {
        return Ok(());
    }
    let known = known.to_owned();
    Err(AgreementError::Unknown { pointer: pointer.to_owned(), seen: shown(seen), known })
}

pub(super) fn malformed(pointer: &str, reason: &str) -> AgreementError {
    let pointer = if pointer.is_empty() { "/" } else { pointer };
    AgreementError::Malformed { pointer: pointer.to_owned(), reason: shown(reason) }
}

/// Truncates foreign text for an error message.
pub(super) fn shown(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 160;
    text.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS_MAX).collect()
}

/// Converts a JSON path to a pointer (RFC 6901).
pub(super) fn pointer_of(path: &serde_path_to_error::Path) -> String {
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
