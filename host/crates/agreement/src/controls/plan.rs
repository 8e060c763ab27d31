//! How values of a type are projected: planned once per type, then applied.

use std::sync::Arc;

use bytes::Bytes;

use super::number::{best, best_first};
use super::{ControlError, Controls};
use hospes_core::value::{Case, Field, Type, Value, write};

/// What to do with a value.
#[derive(Debug)]
pub(super) enum Plan {
    /// Release unchanged.
    Pass,
    /// Round a number.
    Number,
    /// Round each number of a list.
    Numbers(Type),
    /// Scores by position: keep the largest.
    Masked(Type, usize),
    /// Scores by position: return the positions of the largest.
    Positions(Type, usize),
    /// Members or items, by their old positions.
    Members(Vec<(usize, Plan)>),
    List(Box<Plan>, Option<Cut>),
    Option(Box<Plan>),
    /// One per case; `None` for a case without payload.
    Cases(Vec<Option<Plan>>),
    Result(Option<Box<Plan>>, Option<Box<Plan>>),
}

/// How to shorten a list.
#[derive(Debug)]
pub(super) struct Cut {
    most: usize,
    /// The score's position in an entry, and the type of released entries; `None` if the list is not ranked.
    rank: Option<(usize, Type)>,
}

/// The plan for responses of a type, and their resulting type.
pub(super) fn of(controls: &Controls, ty: &Type) -> Result<(Plan, Type), ControlError> {
    let maker = Maker { controls };
    maker.plan(ty, false)?.ok_or_else(|| refused("the result", ty))
}

fn refused(place: &str, ty: &Type) -> ControlError {
    match ty {
        Type::Record(_) | Type::Tuple(_) => ControlError::Nothing,
        other => ControlError::CarriesAnything { place: format!("{place}, a `{other}`,") },
    }
}

struct Maker<'a> {
    controls: &'a Controls,
}

type Planned = Result<Option<(Plan, Type)>, ControlError>;

impl Maker<'_> {
    /// The plan for a type; `None` if it is dropped. `named`: inside something that `fields` names.
    fn plan(&self, ty: &Type, named: bool) -> Planned {
        let controls = self.controls;
        let pass = || Ok(Some((Plan::Pass, ty.clone())));
        match ty {
            Type::Bool | Type::Enum(_) | Type::Flags(_) => pass(),
            Type::F32 | Type::F64 if controls.label_only => Ok(None),
            Type::F32 | Type::F64 if controls.restricts() => Ok(Some((Plan::Number, ty.clone()))),
            Type::F32 | Type::F64 => pass(),
            Type::S8
            | Type::U8
            | Type::S16
            | Type::U16
            | Type::S32
            | Type::U32
            | Type::S64
            | Type::U64
            | Type::Char
            | Type::String => {
                if named || !controls.restricts() {
                    pass()
                } else {
                    Ok(None)
                }
            }
            // Under restrictions, tensors of typed functions are not released: offer `hospes:plugin/inference` for that.
            Type::Tensor if controls.restricts() => Ok(None),
            Type::Tensor => pass(),
            // Never in a response.
            Type::Resource(_) => Ok(None),
            Type::List(item) => self.list(ty, item, named),
            Type::Record(fields) => self.record(fields, named, None),
            Type::Tuple(items) => self.tuple(items, named, None),
            Type::Option(inner) => Ok(self
                .plan(inner, named)?
                .map(|(plan, ty)| (Plan::Option(Box::new(plan)), Type::Option(Arc::new(ty))))),
            Type::Variant(cases) => self.variant(cases, named),
            Type::Result { ok, err } => self.result(ok.as_deref(), err.as_deref(), named),
        }
    }

    fn list(&self, ty: &Type, item: &Type, named: bool) -> Planned {
        let controls = self.controls;
        let ranked = controls.ranked();
        match (item, ranked) {
            (Type::F32 | Type::F64, Some(most)) if controls.label_only => {
                let positions = Type::List(Arc::new(Type::U32));
                return Ok(Some((Plan::Positions(item.clone(), most), positions)));
            }
            (Type::F32 | Type::F64, Some(most)) => {
                return Ok(Some((Plan::Masked(item.clone(), most), ty.clone())));
            }
            (Type::F32 | Type::F64, None) if controls.restricts() => {
                return Ok(Some((Plan::Numbers(item.clone()), ty.clone())));
            }
            _ => {}
        }
        let score = ranked.and_then(|_| score(item));
        let entry = match (item, score) {
            (Type::Record(fields), Some(_)) => self.record(fields, named, score)?,
            (Type::Tuple(items), Some(_)) => self.tuple(items, named, score)?,
            _ => self.plan(item, named)?,
        };
        let Some((plan, entry)) = entry else { return Ok(None) };
        // Lists of lists are batches, and numeric lists have no ranking.
        let whole = matches!(item, Type::List(_)) || is_packed(item);
        let cut = ranked
            .filter(|_| !whole)
            .map(|most| Cut { most, rank: score.map(|score| (score, entry.clone())) });
        let list = Type::List(Arc::new(entry));
        let plan = if is_packed(item) { Plan::Pass } else { Plan::List(Box::new(plan), cut) };
        Ok(Some((plan, list)))
    }

    /// `score` is the score's position, if the record is an entry of a ranked list.
    fn record(&self, fields: &[Field], named: bool, score: Option<usize>) -> Planned {
        let controls = self.controls;
        let mut kept = Vec::new();
        let mut narrowed = Vec::new();
        for (index, field) in fields.iter().enumerate() {
            let own = controls.names(&field.name);
            let lost = controls.fields.is_some() && !own && !named;
            let second = is_number(&field.ty) && score.is_some_and(|score| score != index) && !own;
            if lost || second {
                continue;
            }
            if let Some((plan, ty)) = self.plan(&field.ty, named || own)? {
                kept.push((index, plan));
                narrowed.push(Field { name: field.name.clone(), ty });
            }
        }
        let empty = kept.is_empty() && !fields.is_empty();
        Ok((!empty).then_some((Plan::Members(kept), Type::Record(narrowed.into()))))
    }

    fn tuple(&self, items: &[Type], named: bool, score: Option<usize>) -> Planned {
        let mut kept = Vec::new();
        let mut narrowed = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let second = is_number(item) && score.is_some_and(|score| score != index);
            if second {
                continue;
            }
            if let Some((plan, ty)) = self.plan(item, named)? {
                kept.push((index, plan));
                narrowed.push(ty);
            }
        }
        let empty = kept.is_empty() && !items.is_empty();
        Ok((!empty).then_some((Plan::Members(kept), Type::Tuple(narrowed.into()))))
    }

    fn variant(&self, cases: &[Case], named: bool) -> Planned {
        let mut plans = Vec::with_capacity(cases.len());
        let mut narrowed = Vec::with_capacity(cases.len());
        for case in cases {
            let planned = match &case.ty {
                Some(ty) => self.plan(ty, named)?,
                None => None,
            };
            let (plan, ty) = planned.unzip();
            plans.push(plan);
            narrowed.push(Case { name: case.name.clone(), ty });
        }
        Ok(Some((Plan::Cases(plans), Type::Variant(narrowed.into()))))
    }

    fn result(&self, ok: Option<&Type>, err: Option<&Type>, named: bool) -> Planned {
        let branch = |ty: Option<&Type>| match ty {
            Some(ty) => self.plan(ty, named),
            None => Ok(None),
        };
        let (ok_plan, ok) = branch(ok)?.unzip();
        let (err_plan, err) = branch(err)?.unzip();
        let plan = Plan::Result(ok_plan.map(Box::new), err_plan.map(Box::new));
        Ok(Some((plan, Type::Result { ok: ok.map(Arc::new), err: err.map(Arc::new) })))
    }
}

fn is_number(ty: &Type) -> bool {
    matches!(ty, Type::F32 | Type::F64)
}

/// Whether lists of it are packed: see [`Value::Packed`].
fn is_packed(item: &Type) -> bool {
    item.packed_width().is_some()
}

/// The position of an entry's first number.
fn score(item: &Type) -> Option<usize> {
    match item {
        Type::Record(fields) => fields.iter().position(|field| is_number(&field.ty)),
        Type::Tuple(items) => items.iter().position(is_number),
        _ => None,
    }
}

impl Plan {
    /// The projection of a value.
    pub(super) fn apply(&self, controls: &Controls, value: Value) -> Result<Value, ControlError> {
        Ok(match (self, value) {
            (Plan::Pass, value) => value,
            (Plan::Number, Value::F32(number)) => Value::F32(controls.f32(number)),
            (Plan::Number, Value::F64(number)) => Value::F64(controls.f64(number)),
            (Plan::Numbers(ty), Value::Packed(bytes)) => packed(ty, &scores(controls, ty, &bytes)?),
            (Plan::Masked(ty, most), Value::Packed(bytes)) => {
                let scores = scores(controls, ty, &bytes)?;
                let mut masked = vec![f64::NEG_INFINITY; scores.len()];
                for place in best(&scores, *most) {
                    masked[place] = scores[place];
                }
                packed(ty, &masked)
            }
            (Plan::Positions(ty, most), Value::Packed(bytes)) => {
                let places = best(&scores(controls, ty, &bytes)?, *most);
                let places =
                    places.into_iter().map(|place| u32::try_from(place).unwrap_or(u32::MAX));
                Value::Packed(Bytes::from(places.flat_map(u32::to_le_bytes).collect::<Vec<_>>()))
            }
            (Plan::Members(kept), Value::Record(members)) => {
                Value::Record(pick(controls, kept, members)?)
            }
            (Plan::Members(kept), Value::Tuple(items)) => {
                Value::Tuple(pick(controls, kept, items)?)
            }
            (Plan::List(plan, cut), Value::List(items)) => {
                Value::List(list(controls, plan, cut.as_ref(), items)?)
            }
            (Plan::Option(plan), Value::Option(inner)) => {
                Value::Option(payload(controls, Some(plan), inner)?)
            }
            (Plan::Cases(plans), Value::Variant(case, inner)) => {
                let index = usize::try_from(case).map_err(|_| ControlError::Mismatch)?;
                let plan = plans.get(index).ok_or(ControlError::Mismatch)?;
                Value::Variant(case, payload(controls, plan.as_ref(), inner)?)
            }
            (Plan::Result(ok, _), Value::Result(Ok(inner))) => {
                Value::Result(Ok(payload(controls, ok.as_deref(), inner)?))
            }
            (Plan::Result(_, err), Value::Result(Err(inner))) => {
                Value::Result(Err(payload(controls, err.as_deref(), inner)?))
            }
            _ => return Err(ControlError::Mismatch),
        })
    }
}

/// A payload, dropped if it has no plan.
fn payload(
    controls: &Controls,
    plan: Option<&Plan>,
    inner: Option<Box<Value>>,
) -> Result<Option<Box<Value>>, ControlError> {
    match plan.zip(inner) {
        Some((plan, inner)) => Ok(Some(Box::new(plan.apply(controls, *inner)?))),
        None => Ok(None),
    }
}

fn pick(
    controls: &Controls,
    kept: &[(usize, Plan)],
    members: Vec<Value>,
) -> Result<Vec<Value>, ControlError> {
    let mut members: Vec<Option<Value>> = members.into_iter().map(Some).collect();
    kept.iter()
        .map(|(index, plan)| {
            let member = members.get_mut(*index).and_then(Option::take);
            plan.apply(controls, member.ok_or(ControlError::Mismatch)?)
        })
        .collect()
}

fn list(
    controls: &Controls,
    plan: &Plan,
    cut: Option<&Cut>,
    items: Vec<Value>,
) -> Result<Vec<Value>, ControlError> {
    let Some(Cut { most, rank }) = cut else {
        return items.into_iter().map(|item| plan.apply(controls, item)).collect();
    };
    let Some((place, entry)) = rank else {
        return items.into_iter().take(*most).map(|item| plan.apply(controls, item)).collect();
    };
    let mut entries = Vec::with_capacity(items.len());
    for item in items {
        let score = score_of(controls, &item, *place)?;
        let released = plan.apply(controls, item)?;
        let mut bytes = Vec::new();
        write::json(&released, entry, &mut bytes);
        entries.push((score, bytes, released));
    }
    entries.sort_by(|a, b| best_first(a.0, b.0).then_with(|| a.1.cmp(&b.1)));
    Ok(entries.into_iter().take(*most).map(|(_, _, released)| released).collect())
}

/// An entry's score, as released.
fn score_of(controls: &Controls, entry: &Value, place: usize) -> Result<f64, ControlError> {
    let (Value::Record(members) | Value::Tuple(members)) = entry else {
        return Err(ControlError::Mismatch);
    };
    match members.get(place) {
        Some(Value::F32(score)) => Ok(f64::from(controls.f32(*score))),
        Some(Value::F64(score)) => Ok(controls.f64(*score)),
        _ => Err(ControlError::Mismatch),
    }
}

/// A packed list of numbers, as released.
fn scores(controls: &Controls, ty: &Type, bytes: &[u8]) -> Result<Vec<f64>, ControlError> {
    match ty {
        Type::F32 => {
            let numbers = bytes.chunks_exact(4).filter_map(|four| four.try_into().ok());
            Ok(numbers.map(|four| f64::from(controls.f32(f32::from_le_bytes(four)))).collect())
        }
        Type::F64 => {
            let numbers = bytes.chunks_exact(8).filter_map(|eight| eight.try_into().ok());
            Ok(numbers.map(|eight| controls.f64(f64::from_le_bytes(eight))).collect())
        }
        _ => Err(ControlError::Mismatch),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "what came from an f32 goes back into one")]
fn packed(ty: &Type, numbers: &[f64]) -> Value {
    let bytes: Vec<u8> = match ty {
        Type::F32 => {
            numbers.iter().flat_map(|number| canonical(*number as f32).to_le_bytes()).collect()
        }
        _ => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
    };
    Value::Packed(Bytes::from(bytes))
}

/// A NaN from a conversion is made canonical again.
fn canonical(number: f32) -> f32 {
    if number.is_nan() { f32::NAN } else { number }
}
