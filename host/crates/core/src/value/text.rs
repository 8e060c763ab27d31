//! Types as text, in the style of WIT: `list<u8>`, `record { name: string }`.
//!
//! Bounded, because publishers choose the number and length of names, and the text appears in messages and pages.

use std::fmt::{self, Write};

use super::{Field, Type};

/// Maximum length of a type's text, in bytes.
const TEXT_BYTES_MAX: usize = 1000;

/// Maximum length of a type's text in a message, in bytes.
const BRIEF_BYTES_MAX: usize = 120;

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bounded(f, TEXT_BYTES_MAX, |out| write(self, out))
    }
}

/// The text of `ty`, short enough for a message.
pub(super) fn brief(ty: &Type) -> String {
    brief_of(|out| write(ty, out))
}

/// The text of a record of `fields`, short enough for a message.
pub(super) fn brief_record(fields: &[Field]) -> String {
    brief_of(|out| record("record", fields, out))
}

fn brief_of(text: impl FnOnce(&mut dyn Write) -> fmt::Result) -> String {
    let mut out = String::new();
    bounded(&mut out, BRIEF_BYTES_MAX, text).expect("invariant: writing to a string cannot fail");
    out
}

/// Writes whole pieces while they fit, then fails, which also ends the recursion over the type.
struct Bounded<'a> {
    out: &'a mut dyn Write,
    left: usize,
    full: bool,
}

impl Write for Bounded<'_> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        match self.left.checked_sub(piece.len()) {
            Some(left) => {
                self.left = left;
                self.out.write_str(piece)
            }
            None => {
                self.full = true;
                Err(fmt::Error)
            }
        }
    }
}

fn bounded(
    out: &mut dyn Write,
    max: usize,
    text: impl FnOnce(&mut dyn Write) -> fmt::Result,
) -> fmt::Result {
    let mut bounded = Bounded { out, left: max, full: false };
    let result = text(&mut bounded);
    if bounded.full { bounded.out.write_str("…") } else { result }
}

fn write(ty: &Type, out: &mut dyn Write) -> fmt::Result {
    let name = match ty {
        Type::Bool => "bool",
        Type::S8 => "s8",
        Type::U8 => "u8",
        Type::S16 => "s16",
        Type::U16 => "u16",
        Type::S32 => "s32",
        Type::U32 => "u32",
        Type::S64 => "s64",
        Type::U64 => "u64",
        Type::F32 => "f32",
        Type::F64 => "f64",
        Type::Char => "char",
        Type::Tensor => "tensor",
        Type::String => "string",
        Type::List(element) => return within("list<", element, out),
        Type::Option(some) => return within("option<", some, out),
        Type::Record(fields) => return record("record", fields, out),
        Type::Resource(constructor) => {
            return record(&constructor.resource, &constructor.params, out);
        }
        Type::Tuple(types) => {
            return items("tuple<", types, ">", out, |ty, out| write(ty, out));
        }
        Type::Variant(cases) => {
            return items("variant { ", cases, " }", out, |case, out| {
                out.write_str(&case.name)?;
                let Some(ty) = &case.ty else { return Ok(()) };
                out.write_str("(")?;
                write(ty, out)?;
                out.write_str(")")
            });
        }
        Type::Enum(names) => {
            return items("enum { ", names, " }", out, |name, out| out.write_str(name));
        }
        Type::Flags(names) => {
            return items("flags { ", names, " }", out, |name, out| out.write_str(name));
        }
        Type::Result { ok: None, err: None } => "result",
        Type::Result { ok: Some(ok), err: None } => return within("result<", ok, out),
        Type::Result { ok, err: Some(err) } => {
            out.write_str("result<")?;
            match ok {
                Some(ok) => write(ok, out)?,
                None => out.write_str("_")?,
            }
            return within(", ", err, out);
        }
    };
    out.write_str(name)
}

fn within(open: &str, ty: &Type, out: &mut dyn Write) -> fmt::Result {
    out.write_str(open)?;
    write(ty, out)?;
    out.write_str(">")
}

fn record(what: &str, fields: &[Field], out: &mut dyn Write) -> fmt::Result {
    out.write_str(what)?;
    items(" { ", fields, " }", out, |field, out| {
        out.write_str(&field.name)?;
        out.write_str(": ")?;
        write(&field.ty, out)
    })
}

fn items<T>(
    open: &str,
    items: &[T],
    close: &str,
    out: &mut dyn Write,
    item: impl Fn(&T, &mut dyn Write) -> fmt::Result,
) -> fmt::Result {
    if items.is_empty() {
        // `record {}`, not `record {  }`.
        out.write_str(open.trim_end())?;
        return out.write_str(close.trim_start());
    }
    out.write_str(open)?;
    for (index, part) in items.iter().enumerate() {
        if index > 0 {
            out.write_str(", ")?;
        }
        item(part, out)?;
    }
    out.write_str(close)
}
