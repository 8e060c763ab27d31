//! Reads a JSON array of elements into a tensor's bytes.

use std::fmt;

use half::{bf16, f16};
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

use super::DataType;

/// Elements being parsed.
pub(super) struct Elements {
    data_type: DataType,
    /// The required number. Parsing stops one beyond it.
    expected: usize,
    seen: usize,
    data: Vec<u8>,
    form: Option<Form>,
    /// Where parsing has failed: the place in each array, the innermost first.
    path: Vec<usize>,
}

/// Why data does not fit, and where.
#[derive(Debug)]
pub(super) struct Misfit {
    /// The end of a JSON pointer, from the data on. Empty for the data as a whole.
    pub(super) at: String,
    pub(super) reason: String,
}

/// The error's message. Its line and column count from the beginning of the data, which says nothing about the body.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&position).unwrap_or(&text).to_owned()
}

/// The data's form, decided by its first element.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Flat,
    Nested,
}

impl Elements {
    /// Parses `text` as `expected` elements, flat or nested by `shape`.
    pub(super) fn read(
        data_type: DataType,
        shape: &[usize],
        expected: usize,
        text: &str,
    ) -> Result<Vec<u8>, Misfit> {
        let (data, path) = (Vec::new(), Vec::new());
        let mut elements = Self { data_type, expected, seen: 0, data, form: None, path };
        let mut reader = serde_json::Deserializer::from_str(text);
        let level = Level { elements: &mut elements, shape, top: true };
        if let Err(error) = level.deserialize(&mut reader) {
            let at = elements.path.iter().rev().map(|index| format!("/{index}")).collect();
            return Err(Misfit { at, reason: without_position(&error) });
        }
        if elements.seen != expected {
            let reason = format!("{} elements, the shape has {expected}", elements.seen);
            return Err(Misfit { at: String::new(), reason });
        }
        Ok(elements.data)
    }

    fn take<E: Error>(&mut self, element: Element<'_>) -> Result<(), E> {
        if self.seen == self.expected {
            return Err(E::custom(format!(
                "more elements than the {} of the shape",
                self.expected
            )));
        }
        self.seen += 1;
        self.push(element)
            .ok_or_else(|| E::custom(format!("{element} is not {}", with_article(self.data_type))))
    }

    /// Appends an element; `None` if it has the wrong type or is out of range.
    fn push(&mut self, element: Element<'_>) -> Option<()> {
        fn to<T: TryFrom<i128>>(element: Element<'_>) -> Option<T> {
            if let Element::Integer(integer) = element { T::try_from(integer).ok() } else { None }
        }
        let data = &mut self.data;
        match self.data_type {
            DataType::Bool => match element {
                Element::Bool(value) => data.push(u8::from(value)),
                _ => return None,
            },
            DataType::U8 => data.push(to(element)?),
            DataType::U16 => data.extend_from_slice(&to::<u16>(element)?.to_le_bytes()),
            DataType::U32 => data.extend_from_slice(&to::<u32>(element)?.to_le_bytes()),
            DataType::U64 => data.extend_from_slice(&to::<u64>(element)?.to_le_bytes()),
            DataType::I8 => data.extend_from_slice(&to::<i8>(element)?.to_le_bytes()),
            DataType::I16 => data.extend_from_slice(&to::<i16>(element)?.to_le_bytes()),
            DataType::I32 => data.extend_from_slice(&to::<i32>(element)?.to_le_bytes()),
            DataType::I64 => data.extend_from_slice(&to::<i64>(element)?.to_le_bytes()),
            DataType::F16 => {
                let value = element.float()?;
                let narrow = in_range(value, f16::from_f64(value), f16::is_infinite)?;
                data.extend_from_slice(&narrow.to_le_bytes());
            }
            DataType::Bf16 => {
                let value = element.float()?;
                let narrow = in_range(value, bf16::from_f64(value), bf16::is_infinite)?;
                data.extend_from_slice(&narrow.to_le_bytes());
            }
            DataType::F32 => {
                let value = element.float()?;
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "rounded; the range is checked"
                )]
                let narrow = in_range(value, value as f32, f32::is_infinite)?;
                data.extend_from_slice(&narrow.to_le_bytes());
            }
            DataType::F64 => data.extend_from_slice(&element.float()?.to_le_bytes()),
            DataType::Bytes => match element {
                Element::Text(text) => {
                    data.extend_from_slice(&u32::try_from(text.len()).ok()?.to_le_bytes());
                    data.extend_from_slice(text.as_bytes());
                }
                _ => return None,
            },
        }
        Some(())
    }
}

/// The type's name as it is read aloud: a UINT8, an FP32.
fn with_article(data_type: DataType) -> String {
    let article = match data_type.name().as_bytes() {
        [b'F' | b'I', ..] => "an",
        _ => "a",
    };
    format!("{article} {data_type}")
}

/// The narrower float, unless narrowing made it infinite.
fn in_range<T: Copy>(wide: f64, narrow: T, is_infinite: fn(T) -> bool) -> Option<T> {
    (!is_infinite(narrow) || wide.is_infinite()).then_some(narrow)
}

/// One element as JSON has it.
#[derive(Clone, Copy)]
enum Element<'e> {
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(&'e str),
}

impl Element<'_> {
    fn float(self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "rounded, as JSON's numbers are")]
            Element::Integer(integer) => Some(integer as f64),
            Element::Float(float) => Some(float),
            Element::Text("NaN") => Some(f64::NAN),
            Element::Text("Infinity") => Some(f64::INFINITY),
            Element::Text("-Infinity") => Some(f64::NEG_INFINITY),
            Element::Text(_) | Element::Bool(_) => None,
        }
    }
}

impl fmt::Display for Element<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Element::Bool(value) => write!(f, "`{value}`"),
            Element::Integer(value) => write!(f, "`{value}`"),
            Element::Float(value) => write!(f, "`{value}`"),
            Element::Text(text) => write!(f, "`\"{}\"`", text.chars().take(20).collect::<String>()),
        }
    }
}

/// One level of arrays: `shape` is the nested data's remaining shape.
struct Level<'e> {
    elements: &'e mut Elements,
    shape: &'e [usize],
    top: bool,
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Level<'_> {
    /// An element in place of an array.
    fn element<E: Error>(self, element: Element<'_>) -> Result<(), E> {
        if self.top {
            return Err(E::custom("data is an array"));
        }
        let form = *self.elements.form.get_or_insert(Form::Flat);
        if form == Form::Nested && !self.shape.is_empty() {
            return Err(E::custom("data is nested less deeply than the shape"));
        }
        self.elements.take(element)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of {} elements", self.elements.data_type)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { elements, shape, top } = self;
        if !top {
            if *elements.form.get_or_insert(Form::Nested) == Form::Flat {
                return Err(A::Error::custom("data is partly flat and partly nested"));
            }
            if shape.is_empty() {
                return Err(A::Error::custom("data is nested more deeply than the shape"));
            }
        }
        let inner = shape.get(1..).unwrap_or_default();
        let mut length = 0_usize;
        loop {
            match seq.next_element_seed(Level { elements, shape: inner, top: false }) {
                Ok(Some(())) => length += 1,
                Ok(None) => break,
                Err(error) => {
                    elements.path.push(length);
                    return Err(error);
                }
            }
        }
        // Nested data's outer array has the first dimension; flat data has all elements, which are counted at the end.
        let nested = elements.form == Some(Form::Nested);
        match shape.first() {
            Some(size) if nested && *size != length => {
                Err(A::Error::custom(format!("an array of {length} where the shape has {size}")))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.element(Element::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.element(Element::Integer(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.element(Element::Integer(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.element(Element::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.element(Element::Text(value))
    }
}
