//! The state of parsing a body: its position, the remaining budget, and the error.
//!
//! `serde` errors are text, so the real error is kept here and the text only stops the parser.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, Error, Visitor};

use crate::value::error::excerpt;
use crate::value::text::brief;
use crate::value::{BodyPlace, Case, Field, Type, ValueError};

/// Maximum names searched linearly. With thousands of names that would be slow.
const SEARCHED_NAMES_MAX: usize = 16;

/// One step from a value to a part of it.
pub(super) enum Step<'t> {
    Name(&'t str),
    Index(usize),
}

pub(super) struct Context<'t> {
    /// The path from the body to the current value. Kept when parsing fails.
    pub(super) path: Vec<Step<'t>>,
    /// Why parsing failed, unless the body is not JSON.
    pub(super) fault: Option<ValueError>,
    values_max: usize,
    values: usize,
    /// Index of names, for types with many. Keyed by the names' address, which is stable for `'t`.
    names: HashMap<usize, HashMap<&'t str, usize>>,
}

impl<'t> Context<'t> {
    pub(super) fn new(values_max: usize) -> Self {
        Self { path: Vec::new(), fault: None, values_max, values: 0, names: HashMap::new() }
    }

    /// Stores `fault`, and returns the error that stops the parser.
    pub(super) fn fail<E: Error>(&mut self, fault: ValueError) -> E {
        self.fault = Some(fault);
        E::custom("does not fit")
    }

    /// Counts a value of type `ty` before it is built.
    pub(super) fn count<E: Error>(&mut self, ty: &Type) -> Result<(), E> {
        self.values += 1;
        if self.values <= self.values_max {
            return Ok(());
        }
        let fault = ValueError::TooMany { at: self.place(brief(ty)), max: self.values_max };
        Err(self.fail(fault))
    }

    pub(super) fn unknown_name<E: Error>(&mut self, ty: &Type, name: &str) -> E {
        let at = self.place(brief(ty));
        self.fail(ValueError::UnknownName { at, seen: excerpt(name) })
    }

    /// Where `name` is among `names`.
    pub(super) fn find<N: Named>(&mut self, names: &'t [N], name: &str) -> Option<usize> {
        if names.len() <= SEARCHED_NAMES_MAX {
            return names.iter().position(|named| named.name() == name);
        }
        let index = self.names.entry(names.as_ptr().addr()).or_insert_with(|| {
            names.iter().enumerate().map(|(index, named)| (named.name(), index)).collect()
        });
        index.get(name).copied()
    }

    /// The value that is being read.
    pub(super) fn place(&self, expected: String) -> BodyPlace {
        let mut pointer = String::new();
        for step in &self.path {
            match step {
                Step::Name(name) => append(&mut pointer, name),
                Step::Index(index) => append(&mut pointer, &index.to_string()),
            }
        }
        BodyPlace { pointer, expected }
    }

    /// The member `name` of the value that is being read.
    pub(super) fn place_of(&self, name: &str, expected: String) -> BodyPlace {
        let mut place = self.place(expected);
        append(&mut place.pointer, name);
        place
    }
}

/// Appends a reference token to a JSON pointer (RFC 6901, section 3).
fn append(pointer: &mut String, name: &str) {
    pointer.push('/');
    pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
}

/// Something that callers refer to by name.
pub(super) trait Named {
    fn name(&self) -> &str;
}

impl Named for Field {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for Case {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for Arc<str> {
    fn name(&self) -> &str {
        self
    }
}

/// A member's key, compared in place.
pub(super) struct Key<F>(pub(super) F);

impl<'de, T, F: FnOnce(&str) -> T> DeserializeSeed<'de> for Key<F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<T, F: FnOnce(&str) -> T> Visitor<'_> for Key<F> {
    type Value = T;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<T, E> {
        Ok((self.0)(name))
    }
}

/// The kind of the JSON value that starts with `text`.
pub(super) fn kind(text: &[u8]) -> &'static str {
    match text.first() {
        Some(b'"') => "a string",
        Some(b'[') => "an array",
        Some(b'{') => "an object",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// The content of a JSON string, if `json` is one. Half a surrogate pair is rejected.
pub(super) fn unquote(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str(json).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}
