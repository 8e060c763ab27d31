//! Reads the fields of one message according to ONNX's schema.

use super::refused::Problem;
use super::schema::{Holds, Kind, Times};
use super::wire::{Raw, Wire, WireError, count_packed, packed};

/// Maximum length of any name, in bytes.
pub const NAME_BYTES_MAX: usize = 4096;

/// A field and its content.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'m> {
    pub(super) number: u32,
    pub(super) value: FieldValue<'m>,
}

/// The content of a field.
#[derive(Debug, Clone, Copy)]
pub(super) enum FieldValue<'m> {
    Name(&'m str),
    Text(&'m str),
    Bytes(&'m [u8]),
    Number(u64),
    /// Packed numbers. A single unpacked number is [`FieldValue::Number`].
    Numbers(&'m [u8]),
    /// Numbers of so many bytes each, little-endian.
    Fixed(&'m [u8], usize),
    Message(Kind, &'m [u8]),
}

/// The fields of a message of this kind. Ends after the first error.
pub(super) struct Fields<'m> {
    kind: Kind,
    wire: Wire<'m>,
    /// A bit for each non-repeated field already seen.
    seen: u32,
    ended: bool,
}

impl<'m> Fields<'m> {
    pub(super) fn new(kind: Kind, message: &'m [u8]) -> Self {
        Self { kind, wire: Wire::new(message), seen: 0, ended: false }
    }

    fn read(&mut self, number: u32, raw: Raw<'m>) -> Result<Field<'m>, Problem> {
        let kind = self.kind;
        let Some((holds, times)) = kind.field(number) else {
            return Err(Problem::UnknownField { message: kind, number });
        };
        if times == Times::Once {
            // All field numbers in the schema are below 32.
            let bit = 1_u32.checked_shl(number).unwrap_or(0);
            if self.seen & bit != 0 {
                return Err(Problem::Doubled { message: kind, number });
            }
            self.seen |= bit;
        }
        let value = match (holds, raw) {
            (Holds::Name, Raw::Bytes(bytes)) => FieldValue::Name(name(bytes)?),
            (Holds::Text, Raw::Bytes(bytes)) => {
                FieldValue::Text(str::from_utf8(bytes).map_err(|_| Problem::NotText)?)
            }
            (Holds::Bytes, Raw::Bytes(bytes)) => FieldValue::Bytes(bytes),
            (Holds::Number | Holds::Numbers, Raw::Varint(number)) => FieldValue::Number(number),
            (Holds::Numbers, Raw::Bytes(bytes)) => {
                count_packed(bytes)?;
                FieldValue::Numbers(bytes)
            }
            (Holds::Float | Holds::Floats, Raw::Fixed32(bytes)) => FieldValue::Fixed(bytes, 4),
            (Holds::Floats, Raw::Bytes(bytes)) => fixed(bytes, 4)?,
            (Holds::Doubles, Raw::Fixed64(bytes)) => FieldValue::Fixed(bytes, 8),
            (Holds::Doubles, Raw::Bytes(bytes)) => fixed(bytes, 8)?,
            (Holds::Message(kind), Raw::Bytes(bytes)) => FieldValue::Message(kind, bytes),
            _ => return Err(Problem::WrongKind { message: kind, number }),
        };
        Ok(Field { number, value })
    }
}

impl<'m> Iterator for Fields<'m> {
    type Item = Result<Field<'m>, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let field = match self.wire.next()? {
            Ok((number, raw)) => self.read(number, raw),
            Err(error) => Err(error.into()),
        };
        self.ended = field.is_err();
        Some(field)
    }
}

/// Rejects zero bytes, because backends read names as C strings, which end at a zero.
fn name(bytes: &[u8]) -> Result<&str, Problem> {
    if bytes.len() > NAME_BYTES_MAX {
        return Err(Problem::Name { bytes: bytes.len() });
    }
    let name = str::from_utf8(bytes).map_err(|_| Problem::NotText)?;
    if name.contains('\0') { Err(Problem::NotText) } else { Ok(name) }
}

fn fixed(bytes: &[u8], width: usize) -> Result<FieldValue<'_>, Problem> {
    if bytes.len().is_multiple_of(width) {
        Ok(FieldValue::Fixed(bytes, width))
    } else {
        Err(WireError::Cut.into())
    }
}

impl<'m> FieldValue<'m> {
    /// The numbers of a field, one by one.
    pub(super) fn numbers(self) -> impl Iterator<Item = u64> + 'm {
        let (alone, bytes) = match self {
            FieldValue::Number(number) => (Some(number), &[][..]),
            FieldValue::Numbers(bytes) => (None, bytes),
            _ => (None, &[][..]),
        };
        alone.into_iter().chain(packed(bytes).map_while(Result::ok))
    }

    /// The number of numbers or byte strings in it.
    pub(super) fn count(self) -> u64 {
        match self {
            FieldValue::Numbers(bytes) => count_packed(bytes).unwrap_or(0),
            FieldValue::Fixed(bytes, width) => (bytes.len() / width) as u64,
            _ => 1,
        }
    }
}

/// The first name in this field of a message, even if the rest of the message is malformed.
pub(super) fn peek(kind: Kind, message: &[u8], number: u32) -> Option<&str> {
    let mut fields = Fields::new(kind, message).map_while(Result::ok);
    fields.find_map(|field| match field.value {
        FieldValue::Name(name) if field.number == number => Some(name),
        _ => None,
    })
}
