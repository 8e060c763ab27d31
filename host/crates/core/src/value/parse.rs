//! Parses a call's body by its function's parameter types: an object with one member per parameter.
//!
//! Strict: unknown, missing, duplicate or mistyped members are rejected, and the error says where. No JSON tree is built; numeric lists are
//! parsed straight into the guest's bytes. The mapping of types to JSON is in [`value`](super).
//!
//! Memory is bounded by the body's length and by `VALUES_MAX`: absent members also make values, so the length alone is no bound. The types'
//! depth bounds recursion.

mod context;
mod number;
mod sequence;
mod tagged;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize as _;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use self::context::{Context, Key, Step, kind};
use self::tagged::Tags;
use super::error::excerpt;
use super::text::{brief, brief_record};
use super::{Field, Type, Value, ValueError};
use crate::tensor::json;

/// Maximum values in a body. Elements of numeric lists do not count.
pub const VALUES_MAX: usize = 1 << 20;

/// The byte order mark that Windows programs put before UTF-8. RFC 8259 section 8.1 permits ignoring it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// JSON without a leading byte order mark.
pub fn without_bom(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// Parses `text` as the arguments of a function with `params`, in order. Without parameters an empty body is accepted.
///
/// # Errors
/// [`ValueError`] points at what does not fit.
pub fn arguments(params: &[Field], text: &[u8]) -> Result<Vec<Value>, ValueError> {
    let text = without_bom(text);
    if params.is_empty() && text.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let mut cx = Context::new(VALUES_MAX);
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let read = deserializer.deserialize_any(Body { cx: &mut cx, params });
    match (read, cx.fault.take()) {
        (_, Some(fault)) => Err(fault),
        (Ok(values), None) => {
            deserializer.end()?;
            Ok(values)
        }
        // `Body` does not describe anything but an object.
        (Err(error), None) if error.is_data() => {
            let seen = kind(text.trim_ascii_start());
            Err(ValueError::Kind { at: cx.place(brief_record(params)), seen })
        }
        (Err(error), None) => Err(error.into()),
    }
}

/// The whole body.
struct Body<'a, 't> {
    cx: &'a mut Context<'t>,
    params: &'t [Field],
}

impl<'de> Visitor<'de> for Body<'_, '_> {
    type Value = Vec<Value>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object with one member for each parameter")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        record(self.cx, self.params, &|| brief_record(self.params), map)
    }
}

/// One value of type `ty`.
pub(super) struct Seed<'a, 't> {
    cx: &'a mut Context<'t>,
    ty: &'t Type,
}

impl<'de> DeserializeSeed<'de> for Seed<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.cx.count(self.ty)?;
        match self.ty {
            Type::Option(_) => deserializer.deserialize_option(self),
            ty if ty.packed_width().is_some() => {
                let text = <&RawValue>::deserialize(deserializer)?.get();
                number::read(self.cx, ty, text)
            }
            Type::Tensor => {
                let text = <&RawValue>::deserialize(deserializer)?.get();
                tensor(self.cx, self.ty, text)
            }
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl Seed<'_, '_> {
    fn wrong<E: serde::de::Error>(self, seen: &'static str) -> Result<Value, E> {
        let at = self.cx.place(brief(self.ty));
        Err(self.cx.fail(ValueError::Kind { at, seen }))
    }
}

impl<'de> Visitor<'de> for Seed<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.ty)
    }

    fn visit_bool<E: serde::de::Error>(self, v: bool) -> Result<Value, E> {
        match self.ty {
            Type::Bool => Ok(Value::Bool(v)),
            _ => self.wrong("a boolean"),
        }
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Value, E> {
        self.wrong("a number")
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<Value, E> {
        self.wrong("a number")
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Value, E> {
        self.wrong("a number")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        self.wrong("null")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        string(self, text)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Value, E> {
        Ok(Value::Option(None))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.ty {
            // Only an object with `some` can hold a value that may itself be `null`.
            Type::Option(ty) if matches!(**ty, Type::Option(_)) => {
                deserializer.deserialize_any(self)
            }
            Type::Option(ty) => {
                let some = Seed { cx: self.cx, ty }.deserialize(deserializer)?;
                Ok(Value::Option(Some(Box::new(some))))
            }
            _ => self.wrong("a value"),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Value, A::Error> {
        match self.ty {
            Type::List(element) if element.packed_width().is_some() => {
                sequence::packed(self.cx, element, seq)
            }
            Type::List(element) => sequence::list(self.cx, element, seq),
            Type::Tuple(types) => sequence::tuple(self, types, seq),
            Type::Flags(names) => sequence::flags(self, names, seq),
            _ => self.wrong("an array"),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        match (self.ty, Tags::of(self.ty)) {
            (ty @ Type::Record(fields), _) => {
                record(self.cx, fields, &|| brief(ty), map).map(Value::Record)
            }
            (ty @ Type::Resource(made), _) => record(self.cx, &made.params, &|| brief(ty), map)
                .map(|arguments| Value::Unmade(made.position, arguments)),
            (ty, Some(tags)) => tagged::read(self.cx, ty, tags, map),
            (_, None) => self.wrong("an object"),
        }
    }
}

fn string<E: serde::de::Error>(seed: Seed<'_, '_>, text: &str) -> Result<Value, E> {
    let Seed { cx, ty } = seed;
    match ty {
        Type::String => Ok(Value::String(text.into())),
        Type::Char => {
            let mut chars = text.chars();
            match (chars.next(), chars.next()) {
                (Some(c), None) => Ok(Value::Char(c)),
                _ => {
                    let at = cx.place(brief(ty));
                    Err(cx.fail(ValueError::NotChar { at, seen: excerpt(text) }))
                }
            }
        }
        Type::List(element) if **element == Type::U8 => match STANDARD.decode(text) {
            Ok(bytes) => Ok(Value::Packed(bytes.into())),
            Err(_) => {
                let at = cx.place(brief(ty));
                Err(cx.fail(ValueError::Base64 { at }))
            }
        },
        Type::Enum(names) => match cx.find(names, text) {
            Some(index) => Ok(Value::Enum(tagged::position(index))),
            None => Err(cx.unknown_name(ty, text)),
        },
        Type::Variant(cases) => tagged::bare(cx, ty, cases, text),
        _ => Seed { cx, ty }.wrong("a string"),
    }
}

fn tensor<E: serde::de::Error>(cx: &mut Context<'_>, ty: &Type, text: &str) -> Result<Value, E> {
    json::read_one(text).map(Value::Tensor).map_err(|reason| {
        let at = cx.place(brief(ty));
        cx.fail(ValueError::Tensor { at, reason })
    })
}

/// The members of an object, in the order of `fields`. `text` is its JSON.
fn record<'t, 'de, A: MapAccess<'de>>(
    cx: &mut Context<'t>,
    fields: &'t [Field],
    text: &dyn Fn() -> String,
    mut map: A,
) -> Result<Vec<Value>, A::Error> {
    let mut members: Vec<Option<Value>> = fields.iter().map(|_| None).collect();
    while let Some(found) =
        map.next_key_seed(Key(|name: &str| cx.find(fields, name).ok_or_else(|| excerpt(name))))?
    {
        let index = match found {
            Ok(index) => index,
            Err(name) => {
                let at = cx.place_of(&name, text());
                return Err(cx.fail(ValueError::UnknownMember { at }));
            }
        };
        let Field { name, ty } = &fields[index];
        cx.path.push(Step::Name(name));
        if members[index].is_some() {
            let at = cx.place(brief(ty));
            return Err(cx.fail(ValueError::DuplicateMember { at }));
        }
        members[index] = Some(map.next_value_seed(Seed { cx: &mut *cx, ty })?);
        cx.path.pop();
    }
    let members = members.into_iter().zip(fields);
    members.map(|(member, field)| member.map_or_else(|| absent(cx, field), Ok)).collect()
}

/// The value of an absent member.
fn absent<E: serde::de::Error>(cx: &mut Context<'_>, field: &Field) -> Result<Value, E> {
    if let Type::Option(_) = field.ty {
        cx.count(&field.ty)?;
        return Ok(Value::Option(None));
    }
    let at = cx.place_of(&field.name, brief(&field.ty));
    Err(cx.fail(ValueError::MissingMember { at }))
}
