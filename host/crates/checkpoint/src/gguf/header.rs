//! A GGUF file's header: keys, and where tensors lie. Sizes are checked against the file before anything is reserved.

use std::collections::BTreeMap;

use hospes_decoder::TENSORS_MAX;

use crate::element::Element;
use crate::error::CheckpointError;
use crate::source::Source;

/// Maximum size of the header in bytes: the tokens of large vocabularies, and as many merges.
pub(crate) const HEADER_BYTES_MAX: u64 = 64 << 20;
/// Maximum keys.
pub(crate) const KEYS_MAX: u64 = 4096;
/// Longest name of a key or a tensor, in bytes.
const NAME_BYTES_MAX: u64 = 256;
/// Largest alignment of tensors, in bytes.
const ALIGNMENT_MAX: u64 = 1 << 16;
/// Alignment without a key that says otherwise.
const ALIGNMENT: u64 = 32;
/// Bytes that are read at once.
const CHUNK_BYTES: u64 = 64 << 10;

/// A key's value. Whole numbers below 0 are floats: no known key has one.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Integer(u64),
    Float(f64),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    Numbers(Vec<f64>),
}

/// A tensor whose place is inside the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor {
    pub(super) name: String,
    /// The outermost size first.
    pub(super) shape: Vec<u64>,
    pub(super) element: Element,
    /// From the beginning of the file.
    pub(super) offset: u64,
}

pub(super) struct Header {
    pub(super) keys: BTreeMap<String, Value>,
    pub(super) tensors: Vec<Tensor>,
}

pub(super) fn read(source: &dyn Source) -> Result<Header, CheckpointError> {
    let total = source.size().map_err(CheckpointError::Read)?;
    let mut cursor = Cursor { source, total, at: 0, buffer: Vec::new(), start: 0 };
    if cursor.array::<4>("magic")? != crate::GGUF_MAGIC {
        return Err(CheckpointError::NotGguf);
    }
    match cursor.u32("version")? {
        2 | 3 => {}
        version if matches!(version.swap_bytes(), 1..=3) => return Err(CheckpointError::BigEndian),
        version => return Err(CheckpointError::Version { version }),
    }
    let tensors = cursor.u64("count of tensors")?;
    if tensors > TENSORS_MAX as u64 {
        return Err(CheckpointError::TooManyTensors { count: tensors });
    }
    let count = cursor.u64("count of keys")?;
    if count > KEYS_MAX {
        return Err(CheckpointError::TooManyKeys { count });
    }
    let mut keys = BTreeMap::new();
    for _ in 0..count {
        let key = cursor.name("name of a key")?;
        let value = value(&mut cursor, &key)?;
        if keys.insert(key.clone(), value).is_some() {
            return Err(CheckpointError::Twice { key });
        }
    }
    let listed = (0..tensors).map(|_| listed(&mut cursor)).collect::<Result<Vec<_>, _>>()?;
    let tensors = place(listed, alignment(&keys)?, cursor.at, total)?;
    Ok(Header { keys, tensors })
}

fn alignment(keys: &BTreeMap<String, Value>) -> Result<u64, CheckpointError> {
    let key = "general.alignment";
    match keys.get(key) {
        None => Ok(ALIGNMENT),
        Some(Value::Integer(value)) if value.is_power_of_two() && *value <= ALIGNMENT_MAX => {
            Ok(*value)
        }
        Some(_) => {
            let wanted = "a power of two up to 65536";
            Err(CheckpointError::Wrong { key: key.to_owned(), wanted })
        }
    }
}

/// A tensor as the header lists it; its offset is from the beginning of the data.
fn listed(cursor: &mut Cursor<'_>) -> Result<Tensor, CheckpointError> {
    let name = cursor.name("name of a tensor")?;
    let rank = cursor.u32(&name)?;
    if rank > 4 {
        return Err(CheckpointError::Rank { name, found: rank.into() });
    }
    let mut shape = (0..rank).map(|_| cursor.u64(&name)).collect::<Result<Vec<_>, _>>()?;
    // GGUF has the innermost size first, and may write sizes of 1 outside.
    shape.reverse();
    while shape.len() > 1 && shape.first() == Some(&1) {
        shape.remove(0);
    }
    let number = cursor.u32(&name)?;
    let unknown = || CheckpointError::ElementType { name: name.clone(), found: number.to_string() };
    let element = Element::of_gguf(number).ok_or_else(unknown)?;
    let offset = cursor.u64(&name)?;
    Ok(Tensor { name, shape, element, offset })
}

/// Gives tensors their places in the file, and checks that each has its own.
fn place(
    mut tensors: Vec<Tensor>,
    alignment: u64,
    header: u64,
    total: u64,
) -> Result<Vec<Tensor>, CheckpointError> {
    // The header's size is bounded.
    let data = header.next_multiple_of(alignment);
    tensors.sort_by(|one, other| (one.offset, &one.name).cmp(&(other.offset, &other.name)));
    let mut before: Option<(String, u64)> = None;
    for tensor in &mut tensors {
        let name = || tensor.name.clone();
        if !tensor.offset.is_multiple_of(alignment) {
            return Err(CheckpointError::Alignment {
                name: name(),
                offset: tensor.offset,
                alignment,
            });
        }
        let columns = tensor.shape.last().copied().unwrap_or(1);
        let rows =
            tensor.shape.iter().rev().skip(1).try_fold(1_u64, |all, one| all.checked_mul(*one));
        let size = tensor.element.row_bytes(columns).zip(rows);
        let Some(bytes) = size.and_then(|(row, rows)| row.checked_mul(rows)) else {
            let (found, element) = (tensor.shape.clone(), tensor.element.name());
            return Err(CheckpointError::Rows { name: name(), found, element });
        };
        let end = data.checked_add(tensor.offset).and_then(|from| from.checked_add(bytes));
        let Some(end) = end.filter(|end| *end <= total) else {
            return Err(CheckpointError::Outside {
                name: name(),
                from: tensor.offset,
                bytes,
                total,
            });
        };
        tensor.offset += data;
        if let Some((other, end)) = &before
            && tensor.offset < *end
        {
            return Err(CheckpointError::Overlap { name: name(), other: other.clone() });
        }
        before = Some((name(), end));
    }
    let mut names = std::collections::BTreeSet::new();
    match tensors.iter().find(|tensor| !names.insert(tensor.name.as_str())) {
        Some(twice) => Err(CheckpointError::Twice { key: twice.name.clone() }),
        None => Ok(tensors),
    }
}

fn value(cursor: &mut Cursor<'_>, key: &str) -> Result<Value, CheckpointError> {
    let kind = cursor.u32(key)?;
    match kind {
        7 => Ok(Value::Bool(cursor.array::<1>(key)? != [0])),
        8 => Ok(Value::Text(cursor.text(key, HEADER_BYTES_MAX)?)),
        9 => list(cursor, key),
        _ => number(cursor, key, kind),
    }
}

/// A list. Nothing is reserved for what its length claims.
fn list(cursor: &mut Cursor<'_>, key: &str) -> Result<Value, CheckpointError> {
    let (kind, count) = (cursor.u32(key)?, cursor.u64(key)?);
    match kind {
        9 => Err(CheckpointError::Nested { place: key.to_owned() }),
        8 => {
            let mut all = Vec::new();
            for _ in 0..count {
                all.push(cursor.text(key, HEADER_BYTES_MAX)?);
            }
            Ok(Value::Texts(all))
        }
        _ => {
            let mut all = Vec::new();
            for _ in 0..count {
                all.push(match number(cursor, key, kind)? {
                    Value::Integer(value) => value as f64,
                    Value::Float(value) => value,
                    other => f64::from(other == Value::Bool(true)),
                });
            }
            Ok(Value::Numbers(all))
        }
    }
}

fn number(cursor: &mut Cursor<'_>, key: &str, kind: u32) -> Result<Value, CheckpointError> {
    let signed = |value: i64| match u64::try_from(value) {
        Ok(value) => Value::Integer(value),
        Err(_) => Value::Float(value as f64),
    };
    Ok(match kind {
        0 => Value::Integer(u8::from_le_bytes(cursor.array(key)?).into()),
        1 => signed(i8::from_le_bytes(cursor.array(key)?).into()),
        2 => Value::Integer(u16::from_le_bytes(cursor.array(key)?).into()),
        3 => signed(i16::from_le_bytes(cursor.array(key)?).into()),
        4 => Value::Integer(cursor.u32(key)?.into()),
        5 => signed(i32::from_le_bytes(cursor.array(key)?).into()),
        6 => Value::Float(f32::from_le_bytes(cursor.array(key)?).into()),
        7 => Value::Bool(cursor.array::<1>(key)? != [0]),
        10 => Value::Integer(cursor.u64(key)?),
        11 => signed(i64::from_le_bytes(cursor.array(key)?)),
        12 => Value::Float(f64::from_le_bytes(cursor.array(key)?)),
        found => return Err(CheckpointError::ValueType { place: key.to_owned(), found }),
    })
}

/// Reads forwards, up to the header's largest size.
struct Cursor<'s> {
    source: &'s dyn Source,
    total: u64,
    at: u64,
    /// Bytes of the file from `start`.
    buffer: Vec<u8>,
    start: u64,
}

impl Cursor<'_> {
    /// The next bytes.
    fn take(&mut self, place: &str, count: u64) -> Result<&[u8], CheckpointError> {
        let ends = || CheckpointError::Ends { place: place.to_owned() };
        let end = self.at.checked_add(count).filter(|end| *end <= self.total).ok_or_else(ends)?;
        if end > HEADER_BYTES_MAX {
            return Err(CheckpointError::HeaderTooLarge);
        }
        if end > self.start + self.buffer.len() as u64 {
            let size = count.max(CHUNK_BYTES).min(self.total - self.at);
            self.buffer.resize(size as usize, 0);
            self.start = self.at;
            self.source.fill(self.at, &mut self.buffer).map_err(CheckpointError::Read)?;
        }
        let from = (self.at - self.start) as usize;
        self.at = end;
        self.buffer.get(from..from + count as usize).ok_or_else(ends)
    }

    fn array<const N: usize>(&mut self, place: &str) -> Result<[u8; N], CheckpointError> {
        let bytes = self.take(place, N as u64)?;
        bytes
            .first_chunk()
            .copied()
            .ok_or_else(|| CheckpointError::Ends { place: place.to_owned() })
    }

    fn u32(&mut self, place: &str) -> Result<u32, CheckpointError> {
        self.array(place).map(u32::from_le_bytes)
    }

    fn u64(&mut self, place: &str) -> Result<u64, CheckpointError> {
        self.array(place).map(u64::from_le_bytes)
    }

    fn name(&mut self, place: &str) -> Result<String, CheckpointError> {
        self.text(place, NAME_BYTES_MAX)
    }

    fn text(&mut self, place: &str, bytes_max: u64) -> Result<String, CheckpointError> {
        let bytes = self.u64(place)?;
        if bytes > bytes_max {
            return Err(CheckpointError::NameTooLong { place: place.to_owned(), bytes, bytes_max });
        }
        let bytes = self.take(place, bytes)?.to_vec();
        String::from_utf8(bytes).map_err(|_| CheckpointError::NotText { place: place.to_owned() })
    }
}
