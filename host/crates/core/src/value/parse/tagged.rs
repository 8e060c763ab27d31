//! Types written as an object with one member that names the case: `variant`, `result`, `option<option<T>>`.

use serde::de::{Error, MapAccess};
use serde_json::value::RawValue;

use super::Seed;
use super::context::{Context, Key, Step, kind};
use crate::value::error::excerpt;
use crate::value::text::brief;
use crate::value::{Case, Type, Value, ValueError};

/// The cases of a type.
#[derive(Clone, Copy)]
pub(super) enum Tags<'t> {
    Variant(&'t [Case]),
    Result {
        ok: Option<&'t Type>,
        err: Option<&'t Type>,
    },
    /// An `option` directly inside this `option`.
    Some(&'t Type),
}

impl<'t> Tags<'t> {
    pub(super) fn of(ty: &'t Type) -> Option<Self> {
        match ty {
            Type::Variant(cases) => Some(Tags::Variant(cases)),
            Type::Result { ok, err } => {
                Some(Tags::Result { ok: ok.as_deref(), err: err.as_deref() })
            }
            Type::Option(ty) if matches!(**ty, Type::Option(_)) => Some(Tags::Some(ty)),
            _ => None,
        }
    }

    /// The case `name`.
    fn find(self, cx: &mut Context<'t>, name: &str) -> Option<Tag<'t>> {
        let (index, name, ty) = match (self, name) {
            (Tags::Variant(cases), _) => {
                let index = cx.find(cases, name)?;
                (index, &*cases[index].name, cases[index].ty.as_ref())
            }
            (Tags::Result { ok, .. }, "ok") => (0, "ok", ok),
            (Tags::Result { err, .. }, "err") => (1, "err", err),
            (Tags::Some(ty), "some") => (1, "some", Some(ty)),
            (Tags::Result { .. } | Tags::Some(_), _) => return None,
        };
        Some(Tag { index, name, ty })
    }
}

/// One case.
struct Tag<'t> {
    index: usize,
    name: &'t str,
    ty: Option<&'t Type>,
}

/// Parses a one-member object as a value of type `ty`, with the cases `tags`.
pub(super) fn read<'t, 'de, A: MapAccess<'de>>(
    cx: &mut Context<'t>,
    ty: &'t Type,
    tags: Tags<'t>,
    mut map: A,
) -> Result<Value, A::Error> {
    let key = Key(|name: &str| tags.find(cx, name).ok_or_else(|| excerpt(name)));
    let tag = match map.next_key_seed(key)? {
        Some(Ok(tag)) => tag,
        Some(Err(name)) => return Err(cx.unknown_name(ty, &name)),
        None => return Err(not_one_member(cx, ty)),
    };
    cx.path.push(Step::Name(tag.name));
    let payload = match (tag.ty, tags) {
        (Some(ty), _) => Some(Box::new(map.next_value_seed(Seed { cx: &mut *cx, ty })?)),
        (None, Tags::Variant(_)) => {
            cx.path.pop();
            let at = cx.place(brief(ty));
            return Err(cx.fail(ValueError::Payload { at, case: excerpt(tag.name) }));
        }
        (None, Tags::Result { .. } | Tags::Some(_)) => {
            nothing(cx, map.next_value::<&RawValue>()?)?;
            None
        }
    };
    cx.path.pop();
    if map.next_key_seed(Key(|_: &str| ()))?.is_some() {
        return Err(not_one_member(cx, ty));
    }
    Ok(match tags {
        Tags::Variant(_) => Value::Variant(position(tag.index), payload),
        Tags::Result { .. } if tag.index == 0 => Value::Result(Ok(payload)),
        Tags::Result { .. } => Value::Result(Err(payload)),
        Tags::Some(_) => Value::Option(payload),
    })
}

/// Parses a case of the variant `ty` without payload.
pub(super) fn bare<'t, E: Error>(
    cx: &mut Context<'t>,
    ty: &Type,
    cases: &'t [Case],
    name: &str,
) -> Result<Value, E> {
    let Some(index) = cx.find(cases, name) else { return Err(cx.unknown_name(ty, name)) };
    if cases[index].ty.is_some() {
        let at = cx.place(brief(ty));
        return Err(cx.fail(ValueError::NoPayload { at, case: excerpt(name) }));
    }
    Ok(Value::Variant(position(index), None))
}

fn nothing<E: Error>(cx: &mut Context<'_>, json: &RawValue) -> Result<(), E> {
    if json.get() == "null" {
        return Ok(());
    }
    let at = cx.place("null".to_owned());
    Err(cx.fail(ValueError::Kind { at, seen: kind(json.get().as_bytes()) }))
}

fn not_one_member<E: Error>(cx: &mut Context<'_>, ty: &Type) -> E {
    let at = cx.place(brief(ty));
    cx.fail(ValueError::NotOneMember { at })
}

/// The position of a case, as values store it.
pub(super) fn position(index: usize) -> u32 {
    u32::try_from(index).expect("invariant: a type has far fewer than 2^32 cases")
}
