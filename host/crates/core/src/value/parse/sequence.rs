//! Types written as arrays: lists, tuples, flags. They grow as they are parsed: no length is trusted.

use std::sync::Arc;

use serde::de::SeqAccess;
use serde_json::value::RawValue;

use super::context::{Context, Step, kind, unquote};
use super::{Seed, number};
use crate::value::error::excerpt;
use crate::value::text::brief;
use crate::value::{Type, Value, ValueError, pack};

pub(super) fn packed<'de, A: SeqAccess<'de>>(
    cx: &mut Context<'_>,
    element: &Type,
    mut seq: A,
) -> Result<Value, A::Error> {
    let mut bytes = Vec::new();
    let mut index = 0;
    while let Some(text) = seq.next_element::<&RawValue>()? {
        cx.path.push(Step::Index(index));
        pack(&number::read(cx, element, text.get())?, &mut bytes);
        cx.path.pop();
        index += 1;
    }
    Ok(Value::Packed(bytes.into()))
}

pub(super) fn list<'t, 'de, A: SeqAccess<'de>>(
    cx: &mut Context<'t>,
    ty: &'t Type,
    mut seq: A,
) -> Result<Value, A::Error> {
    let mut values = Vec::new();
    loop {
        cx.path.push(Step::Index(values.len()));
        let value = seq.next_element_seed(Seed { cx: &mut *cx, ty })?;
        cx.path.pop();
        match value {
            Some(value) => values.push(value),
            None => return Ok(Value::List(values)),
        }
    }
}

pub(super) fn tuple<'t, 'de, A: SeqAccess<'de>>(
    seed: Seed<'_, 't>,
    types: &'t [Type],
    mut seq: A,
) -> Result<Value, A::Error> {
    let Seed { cx, ty: whole } = seed;
    let mut values = Vec::new();
    for (index, ty) in types.iter().enumerate() {
        cx.path.push(Step::Index(index));
        let value = seq.next_element_seed(Seed { cx: &mut *cx, ty })?;
        cx.path.pop();
        let Some(value) = value else {
            let at = cx.place(brief(whole));
            let wanted = types.len();
            return Err(cx.fail(ValueError::TooShort { at, seen: index, wanted }));
        };
        values.push(value);
    }
    if seq.next_element::<&RawValue>()?.is_some() {
        let at = cx.place(brief(whole));
        return Err(cx.fail(ValueError::TooLong { at, wanted: types.len() }));
    }
    Ok(Value::Tuple(values))
}

pub(super) fn flags<'t, 'de, A: SeqAccess<'de>>(
    seed: Seed<'_, 't>,
    names: &'t [Arc<str>],
    mut seq: A,
) -> Result<Value, A::Error> {
    let Seed { cx, ty } = seed;
    let mut words = vec![0_u32; names.len().div_ceil(32).max(1)];
    let mut index = 0;
    while let Some(text) = seq.next_element::<&RawValue>()?.map(RawValue::get) {
        cx.path.push(Step::Index(index));
        let Some(name) = unquote(text) else {
            return Seed { cx, ty }.wrong(kind(text.as_bytes()));
        };
        let Some(flag) = cx.find(names, &name) else { return Err(cx.unknown_name(ty, &name)) };
        let (word, bit) = (&mut words[flag / 32], 1 << (flag % 32));
        if *word & bit != 0 {
            let at = cx.place(brief(ty));
            return Err(cx.fail(ValueError::DuplicateFlag { at, seen: excerpt(&name) }));
        }
        *word |= bit;
        cx.path.pop();
        index += 1;
    }
    Ok(Value::Flags(words))
}
