//! Whether a sub-agreement is no wider than its parent.
//!
//! Compares syntax, rule by rule: what is not visibly narrower is rejected. Every constraint of the parent's permission must be repeated or
//! tightened; the parent's prohibitions and obligations must be repeated.

use crate::document::clause::{Constraint, Permission, Unit};
use crate::document::value::RightOperand;
use crate::document::{Clauses, OnSuspend, Versions};
use crate::registry::{Operand, Operator};

/// Where a document is wider than its parent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pointer}` is wider than the agreement that this is a part of: {reason}")]
pub struct Wider {
    pub pointer: String,
    pub reason: String,
}

/// For each permission of `below`, the number of the permission of `above` that it narrows.
///
/// # Errors
/// [`Wider`] says where `below` permits more.
pub fn parent_rules(below: &Clauses, above: &Clauses) -> Result<Vec<u16>, Wider> {
    check_whole(below, above)?;
    let numbered = below.permissions.iter().enumerate();
    numbered
        .map(|(index, permission)| {
            let mut why = "it has no permission for this function".to_owned();
            for (number, parent) in (0..).zip(&above.permissions) {
                if parent.function != permission.function {
                    continue;
                }
                match narrower(permission, parent) {
                    Ok(()) => return Ok(number),
                    Err(reason) => why = reason,
                }
            }
            Err(Wider { pointer: format!("/permission/{index}"), reason: why })
        })
        .collect()
}

fn check_whole(below: &Clauses, above: &Clauses) -> Result<(), Wider> {
    let wider = |pointer: &str, reason: &str| {
        Err(Wider { pointer: pointer.to_owned(), reason: reason.to_owned() })
    };
    let Some(depth) = above.depth else {
        return wider("/inheritFrom", "it does not allow sub-agreements (`odrl:grantUse`)");
    };
    if below.depth.is_some_and(|below| below >= depth) {
        return wider("/permission", "it allows fewer levels of sub-agreements below");
    }
    if below.target.model != above.target.model
        || !covers(&above.target.versions, &below.target.versions)
    {
        return wider("/target", "it is for another model or fewer versions");
    }
    if let Some(missing) = above.prohibitions.iter().find(|ban| !below.prohibitions.contains(ban)) {
        return wider("/prohibition", &format!("it has an additional prohibition: {missing:?}"));
    }
    if above.obligations.iter().any(|duty| !below.obligations.contains(duty)) {
        return wider("/obligation", "it has an additional obligation");
    }
    if above.on_suspend == OnSuspend::Abort && below.on_suspend == OnSuspend::Finish {
        return wider("/hospes:onSuspend", "it ends running calls when it is suspended");
    }
    if below.max_stale.is_none_or(|below| above.max_stale.is_some_and(|above| below > above))
        && above.max_stale.is_some()
    {
        return wider("/hospes:maxStale", "it requires a fresher state");
    }
    Ok(())
}

fn covers(above: &Versions, below: &Versions) -> bool {
    match (above, below) {
        (Versions::Bundle(above), Versions::Bundle(below)) => above == below,
        // The document does not say which version a digest is, so a range above requires a range below.
        (Versions::Bundle(_), Versions::Range { .. })
        | (Versions::Range { .. }, Versions::Bundle(_)) => false,
        (
            Versions::Range { from: above_from, before: above_before },
            Versions::Range { from, before },
        ) => {
            let begins = above_from.as_ref().is_none_or(|above| {
                from.as_ref().is_some_and(|from| from.cmp_precedence(above).is_ge())
            });
            let ends = above_before.as_ref().is_none_or(|above| {
                before.as_ref().is_some_and(|before| before.cmp_precedence(above).is_le())
            });
            begins && ends
        }
    }
}

fn narrower(below: &Permission, above: &Permission) -> Result<(), String> {
    let all = above.refinements.iter().chain(&above.constraints);
    for parent in all {
        // Counts of the same unit, bounds on the same side.
        let same = |child: &&Constraint| {
            child.operand == parent.operand
                && side(child) == side(parent)
                && (child.operand != Operand::Count || child.unit == parent.unit)
        };
        let mut children = below.refinements.iter().chain(&below.constraints);
        let child = children.find(same);
        let name = parent.operand.name();
        let child = child.ok_or_else(|| format!("it limits `{name}`, but this does not"))?;
        if !tighter(child, parent) {
            return Err(format!(
                "it requires `{name}` {} {}, but this has {} {}",
                parent.operator, parent.value, child.operator, child.value
            ));
        }
    }
    priced(below, above)
}

/// The parent's consumer pays the parent's price, whatever it charges; but its credit is drawn on below.
fn priced(below: &Permission, above: &Permission) -> Result<(), String> {
    let unit =
        |permission: &Permission| permission.price.as_ref().map_or(Unit::Call, |price| price.unit);
    if above.constraint(Operand::Credit).is_some()
        && below.price.is_some()
        && unit(below) != unit(above)
    {
        return Err("its credit is counted in another unit".to_owned());
    }
    Ok(())
}

/// Whether a constraint is a lower bound.
fn side(constraint: &Constraint) -> bool {
    matches!(constraint.operator, Operator::Gt | Operator::Gteq | Operator::IsNoneOf)
}

fn tighter(child: &Constraint, parent: &Constraint) -> bool {
    if child.operand == Operand::TimeInterval {
        return child.span() >= parent.span();
    }
    // Rates and numbers per period are compared for the same period only.
    if child.unit != parent.unit {
        return false;
    }
    match (&child.value, &parent.value) {
        (RightOperand::Integer(child), RightOperand::Integer(parent)) => child <= parent,
        (RightOperand::Decimal(child), RightOperand::Decimal(parent)) => child <= parent,
        (RightOperand::Duration(child), RightOperand::Duration(parent)) => child <= parent,
        (RightOperand::DateTime(at), RightOperand::DateTime(bound)) => {
            let stricter = child.operator == parent.operator
                || matches!(child.operator, Operator::Lt | Operator::Gt);
            match parent.operator {
                Operator::Gt | Operator::Gteq => at > bound || (at == bound && stricter),
                _ => at < bound || (at == bound && stricter),
            }
        }
        (RightOperand::Texts(texts), RightOperand::Texts(bound)) => match parent.operator {
            Operator::IsNoneOf => bound.iter().all(|text| texts.contains(text)),
            _ => texts.iter().all(|text| bound.contains(text)),
        },
        (RightOperand::Integers(sizes), RightOperand::Integers(bound)) => {
            sizes.len() == bound.len()
                && sizes
                    .iter()
                    .zip(bound)
                    .all(|(size, max)| *max == 0 || (*size != 0 && size <= max))
        }
        (RightOperand::Text(child), RightOperand::Text(parent)) => child == parent,
        (RightOperand::True, RightOperand::True) => true,
        _ => false,
    }
}
