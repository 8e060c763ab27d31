//! Values as JSON: the inverse of [`parse`](super::parse). The table is in [`value`](super).
//!
//! Floats are written with the fewest digits that parse to the same number at their width.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::{Case, Field, Type, Value, unpack};
use crate::tensor::json as tensor;

/// Appends `value` of type `ty` to `out`. A part that does not fit its type, which does not occur, is written as `null`.
pub fn json(value: &Value, ty: &Type, out: &mut Vec<u8>) {
    match (value, ty) {
        (Value::Bool(v), Type::Bool) => scalar(v, out),
        (Value::S8(v), Type::S8) => scalar(v, out),
        (Value::U8(v), Type::U8) => scalar(v, out),
        (Value::S16(v), Type::S16) => scalar(v, out),
        (Value::U16(v), Type::U16) => scalar(v, out),
        (Value::S32(v), Type::S32) => scalar(v, out),
        (Value::U32(v), Type::U32) => scalar(v, out),
        (Value::S64(v), Type::S64) => scalar(v, out),
        (Value::U64(v), Type::U64) => scalar(v, out),
        (Value::F32(v), Type::F32) if v.is_finite() => scalar(v, out),
        (Value::F32(v), Type::F32) => scalar(not_finite(f64::from(*v)), out),
        (Value::F64(v), Type::F64) if v.is_finite() => scalar(v, out),
        (Value::F64(v), Type::F64) => scalar(not_finite(*v), out),
        (Value::Char(v), Type::Char) => scalar(v, out),
        (Value::String(v), Type::String) => scalar(v, out),
        (Value::Packed(bytes), Type::List(element)) => packed(bytes, element, out),
        (Value::List(values), Type::List(element)) => {
            array(values, out, |value, out| json(value, element, out));
        }
        (Value::Record(values), Type::Record(fields)) if values.len() == fields.len() => {
            record(values, fields, out);
        }
        (Value::Unmade(_, values), Type::Resource(made)) if values.len() == made.params.len() => {
            record(values, &made.params, out);
        }
        (Value::Tuple(values), Type::Tuple(types)) if values.len() == types.len() => {
            array(values.iter().zip(types.iter()), out, |(value, ty), out| json(value, ty, out));
        }
        (Value::Variant(tag, payload), Type::Variant(cases)) => {
            variant(cases.get(*tag as usize), payload.as_deref(), out);
        }
        (Value::Enum(tag), Type::Enum(names)) => match names.get(*tag as usize) {
            Some(name) => scalar(&**name, out),
            None => null(out),
        },
        (Value::Option(None), Type::Option(_)) => null(out),
        (Value::Option(Some(value)), Type::Option(ty)) => match **ty {
            Type::Option(_) => tagged("some", Some(value), Some(ty), out),
            _ => json(value, ty, out),
        },
        (Value::Result(Ok(value)), Type::Result { ok, .. }) => {
            tagged("ok", value.as_deref(), ok.as_deref(), out);
        }
        (Value::Result(Err(value)), Type::Result { err, .. }) => {
            tagged("err", value.as_deref(), err.as_deref(), out);
        }
        (Value::Flags(words), Type::Flags(names)) => {
            let set = names.iter().enumerate().filter(|(index, _)| is_set(words, *index));
            array(set, out, |(_, name), out| scalar(&**name, out));
        }
        (Value::Tensor(tensor), Type::Tensor) => {
            if tensor::write_one(tensor, out).is_err() {
                null(out);
            }
        }
        _ => null(out),
    }
}

fn packed(bytes: &[u8], element: &Type, out: &mut Vec<u8>) {
    match (element, element.packed_width()) {
        (Type::U8, _) => {
            out.reserve(bytes.len() / 3 * 4 + 6);
            scalar(STANDARD.encode(bytes), out);
        }
        (_, Some(width)) => {
            let number = |bytes: &[u8], out: &mut Vec<u8>| match unpack(element, bytes) {
                Some(number) => json(&number, element, out),
                None => null(out),
            };
            array(bytes.chunks_exact(width), out, number);
        }
        (_, None) => null(out),
    }
}

fn record(values: &[Value], fields: &[Field], out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (value, field)) in values.iter().zip(fields).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        scalar(&*field.name, out);
        out.push(b':');
        json(value, &field.ty, out);
    }
    out.push(b'}');
}

fn variant(case: Option<&Case>, payload: Option<&Value>, out: &mut Vec<u8>) {
    match (case, payload) {
        (Some(Case { name, ty: None }), None) => scalar(&**name, out),
        (Some(Case { name, ty: Some(ty) }), Some(_)) => tagged(name, payload, Some(ty), out),
        _ => null(out),
    }
}

fn tagged(name: &str, payload: Option<&Value>, ty: Option<&Type>, out: &mut Vec<u8>) {
    out.push(b'{');
    scalar(name, out);
    out.push(b':');
    match (payload, ty) {
        (Some(payload), Some(ty)) => json(payload, ty, out),
        (None, _) | (_, None) => null(out),
    }
    out.push(b'}');
}

/// A lower bound on what [`json`] writes for a value in bytes: its numeric lists and its texts.
pub fn json_bytes_min(value: &Value, ty: &Type) -> u64 {
    let many = |values: &[Value], types: &mut dyn Iterator<Item = &Type>| {
        let sizes = values.iter().zip(types).map(|(value, ty)| json_bytes_min(value, ty));
        sizes.fold(0, u64::saturating_add)
    };
    match (value, ty) {
        // As base64.
        (Value::Packed(bytes), ty) if ty.is_bytes() => bytes.len() as u64,
        // At least a digit and a comma each.
        (Value::Packed(bytes), Type::List(element)) => {
            let width = element.packed_width().unwrap_or(1);
            (bytes.len() / width).saturating_mul(2) as u64
        }
        (Value::String(text), _) => text.len() as u64,
        (Value::List(values), Type::List(element)) => {
            many(values, &mut std::iter::repeat(&**element))
        }
        (Value::Record(values), Type::Record(fields)) => {
            many(values, &mut fields.iter().map(|field| &field.ty))
        }
        (Value::Tuple(values), Type::Tuple(types)) => many(values, &mut types.iter()),
        (Value::Option(Some(value)), Type::Option(ty)) => json_bytes_min(value, ty),
        _ => 1,
    }
}

fn array<T>(items: impl IntoIterator<Item = T>, out: &mut Vec<u8>, item: impl Fn(T, &mut Vec<u8>)) {
    out.push(b'[');
    for (index, part) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        item(part, out);
    }
    out.push(b']');
}

fn is_set(words: &[u32], flag: usize) -> bool {
    words.get(flag / 32).is_some_and(|word| word >> (flag % 32) & 1 == 1)
}

/// JSON has no numbers for these.
pub fn not_finite(v: f64) -> &'static str {
    match v {
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ => "NaN",
    }
}

fn scalar(value: impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(out, &value)
        .expect("invariant: a number or a string can be written to memory");
}

fn null(out: &mut Vec<u8>) {
    out.extend_from_slice(b"null");
}
