//! Parses numbers from their own text: going through a double could change them.

use std::str::FromStr;

use serde::de::Error;

use super::context::{Context, kind, unquote};
use crate::value::error::excerpt;
use crate::value::text::brief;
use crate::value::{Type, Value, ValueError};

/// Parses `json`, one JSON value, as a number of type `ty`.
pub(super) fn read<E: Error>(cx: &mut Context<'_>, ty: &Type, json: &str) -> Result<Value, E> {
    let fault = match number(ty, json) {
        Ok(value) => return Ok(value),
        Err(fault) => fault,
    };
    let at = cx.place(brief(ty));
    let seen = excerpt(json.trim_matches('"'));
    Err(cx.fail(match fault {
        Fault::Kind => ValueError::Kind { at, seen: kind(json.as_bytes()) },
        Fault::Range => ValueError::Range { at, seen },
        Fault::NotInteger => ValueError::NotInteger { at, seen },
        Fault::NotFloat => ValueError::NotFloat { at, seen },
    }))
}

enum Fault {
    Kind,
    Range,
    NotInteger,
    NotFloat,
}

fn number(ty: &Type, json: &str) -> Result<Value, Fault> {
    Ok(match ty {
        Type::S8 => Value::S8(narrow(bare(json)?)?),
        Type::U8 => Value::U8(narrow(bare(json)?)?),
        Type::S16 => Value::S16(narrow(bare(json)?)?),
        Type::U16 => Value::U16(narrow(bare(json)?)?),
        Type::S32 => Value::S32(narrow(bare(json)?)?),
        Type::U32 => Value::U32(narrow(bare(json)?)?),
        Type::S64 => Value::S64(narrow(bare_or_quoted(json)?)?),
        Type::U64 => Value::U64(narrow(bare_or_quoted(json)?)?),
        Type::F32 => match special(json)? {
            Some(special) => Value::F32(special),
            None => finite(json, f32::is_finite).map(Value::F32)?,
        },
        Type::F64 => match special(json)? {
            Some(special) => Value::F64(special.into()),
            None => finite(json, f64::is_finite).map(Value::F64)?,
        },
        _ => return Err(Fault::Kind),
    })
}

fn is_number(json: &str) -> bool {
    json.starts_with(|c: char| c == '-' || c.is_ascii_digit())
}

fn bare(json: &str) -> Result<i128, Fault> {
    if is_number(json) { integer(json) } else { Err(Fault::Kind) }
}

/// Clients whose numbers are doubles send wide integers as strings.
fn bare_or_quoted(json: &str) -> Result<i128, Fault> {
    if json.starts_with('"') {
        return integer(&unquote(json).ok_or(Fault::NotInteger)?);
    }
    bare(json)
}

/// An integer as JSON writes it: no plus, no leading zero, no fraction, no exponent.
fn integer(text: &str) -> Result<i128, Fault> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_plain = !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits.len() == 1 || !digits.starts_with('0'));
    if !is_plain {
        return Err(Fault::NotInteger);
    }
    text.parse().map_err(|_| Fault::Range)
}

fn narrow<T: TryFrom<i128>>(wide: i128) -> Result<T, Fault> {
    T::try_from(wide).map_err(|_| Fault::Range)
}

/// A number without a JSON form, if `json` is a string.
fn special(json: &str) -> Result<Option<f32>, Fault> {
    if !json.starts_with('"') {
        return Ok(None);
    }
    match unquote(json).as_deref() {
        Some("NaN") => Ok(Some(f32::NAN)),
        Some("Infinity") => Ok(Some(f32::INFINITY)),
        Some("-Infinity") => Ok(Some(f32::NEG_INFINITY)),
        _ => Err(Fault::NotFloat),
    }
}

/// Rounds to the nearest float of the given width. A number that would become infinite is rejected.
fn finite<T: FromStr + Copy>(json: &str, is_finite: fn(T) -> bool) -> Result<T, Fault> {
    if !is_number(json) {
        return Err(Fault::Kind);
    }
    let float = json.parse().map_err(|_| Fault::NotFloat)?;
    if is_finite(float) { Ok(float) } else { Err(Fault::Range) }
}
