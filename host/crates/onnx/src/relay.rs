//! Lays out anew the weights that ONNX Runtime has written beside an optimised model.
//!
//! The library maps such weights, also those that it has packed for the processor, and its kernels read them aligned. But it writes them one
//! after the other, wherever the last one ended, and then crashes. Here each part gets a place at a multiple of [`ALIGNMENT`].

use std::collections::HashMap;

use crate::check::{Weights, walk};
use crate::limits::DEPTH_MAX;
use crate::refused::ModelRefused;
use crate::schema::{Kind, element_bits};
use crate::wire::{Raw, Wire, WireError, packed, put_varint};

/// Alignment of each part in bytes: a page, so that a mapping of one part holds no other. Kernels need 64.
pub const ALIGNMENT: u64 = 4096;

/// Maximum parts of a weights file.
const PARTS_MAX: usize = 100_000;

/// A part of the weights, and its new place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub from: u64,
    pub bytes: u64,
    pub to: u64,
}

/// A model whose weights have other places.
#[derive(Debug)]
pub struct Relaid {
    pub model: Vec<u8>,
    /// In the order of their new places.
    pub parts: Vec<Part>,
    /// Size of the new file of weights: a multiple of [`ALIGNMENT`].
    pub weights_bytes: u64,
    /// How often a tensor refers to a part. A session maps each once.
    pub references: u64,
}

/// Why a model and its weights do not belong together.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error(transparent)]
    Model(#[from] ModelRefused),
    #[error("it is not an ONNX model: {0}")]
    Wire(#[from] WireError),
    #[error("a tensor refers to something other than the file of weights")]
    Location,
    #[error("a tensor's place in the file of weights is not understood: `{0}`")]
    Place(String),
    #[error("a tensor has {claimed} bytes, but its place in the file has {bytes}")]
    Size { claimed: u64, bytes: u64 },
    #[error("{bytes} bytes from {from} on are not within the {all} bytes of weights")]
    Outside { from: u64, bytes: u64, all: u64 },
    #[error("the parts overlap: together they have more than the {all} bytes of weights")]
    Overlap { all: u64 },
    #[error("the weights have more than {PARTS_MAX} parts")]
    TooMany,
    #[error("its messages are nested too deep")]
    Depth,
}

/// Gives each part of the weights of an optimised model a new place. `location` is the name by which the model knows the file of weights,
/// which has `weights_bytes`.
///
/// # Errors
/// [`RelayError`] if the model refers to anything that is not within that file.
pub fn relay(model: &[u8], location: &str, weights_bytes: u64) -> Result<Relaid, RelayError> {
    walk(model, Weights::Anywhere)?;
    let mut relay = Relay {
        location,
        all: weights_bytes,
        places: HashMap::new(),
        parts: Vec::new(),
        end: 0,
        held: 0,
        references: 0,
    };
    let model = relay.message(Kind::Model, model, 0)?;
    let Relay { parts, end, references, .. } = relay;
    Ok(Relaid { model, parts, weights_bytes: end, references })
}

struct Relay<'l> {
    location: &'l str,
    all: u64,
    /// The new place of each part, which has an old one and a size.
    places: HashMap<(u64, u64), u64>,
    parts: Vec<Part>,
    end: u64,
    /// Bytes of all parts.
    held: u64,
    references: u64,
}

/// Fields of `TensorProto`.
const DIMENSIONS: u32 = 1;
const DATA_TYPE: u32 = 2;
const EXTERNAL_DATA: u32 = 13;
const DATA_LOCATION: u32 = 14;

/// `TensorProto.DataLocation.EXTERNAL`.
const EXTERNAL: u64 = 1;

impl Relay<'_> {
    /// A message with new places. `walk` has bounded its depth, its fields and their contents.
    fn message(&mut self, kind: Kind, bytes: &[u8], depth: usize) -> Result<Vec<u8>, RelayError> {
        if depth > DEPTH_MAX {
            return Err(RelayError::Depth);
        }
        let entries = if kind == Kind::Tensor { self.tensor(bytes)? } else { None };
        let mut out = Vec::with_capacity(bytes.len());
        for field in Wire::new(bytes) {
            let (number, raw) = field?;
            match (raw, kind.holds_message(number)) {
                (Raw::Bytes(_), _) if kind == Kind::Tensor && number == EXTERNAL_DATA => {}
                (Raw::Bytes(inner), Some(inner_kind)) => {
                    let inner = self.message(inner_kind, inner, depth + 1)?;
                    put_bytes(&mut out, number, &inner);
                }
                (raw, _) => put(&mut out, number, raw),
            }
        }
        for (key, value) in entries.into_iter().flatten() {
            let mut entry = Vec::new();
            put_bytes(&mut entry, 1, key.as_bytes());
            put_bytes(&mut entry, 2, value.as_bytes());
            put_bytes(&mut out, EXTERNAL_DATA, &entry);
        }
        Ok(out)
    }

    /// The entries of a tensor that is in the file of weights, with new places; `None` if its elements are in the model.
    fn tensor(&mut self, bytes: &[u8]) -> Result<Option<Vec<(String, String)>>, RelayError> {
        let (mut is_outside, mut entries) = (false, Vec::new());
        let (mut elements, mut data_type) = (1_u64, 0);
        for field in Wire::new(bytes) {
            match field? {
                (DATA_LOCATION, Raw::Varint(place)) => is_outside = place == EXTERNAL,
                (DATA_TYPE, Raw::Varint(number)) => data_type = number,
                (DIMENSIONS, Raw::Varint(size)) => elements = elements.saturating_mul(size),
                (DIMENSIONS, Raw::Bytes(sizes)) => {
                    for size in packed(sizes) {
                        elements = elements.saturating_mul(size?);
                    }
                }
                (EXTERNAL_DATA, Raw::Bytes(entry)) => entries.push(entry_of(entry)?),
                _ => {}
            }
        }
        if !is_outside {
            return if entries.is_empty() { Ok(None) } else { Err(RelayError::Location) };
        }
        let value =
            |key: &str| entries.iter().find(|entry| entry.0 == key).map(|entry| entry.1.as_str());
        if value("location") != Some(self.location) {
            return Err(RelayError::Location);
        }
        let from = number(value("offset").unwrap_or("0"))?;
        let bytes = number(value("length").unwrap_or_default())?;
        let bits = element_bits(data_type).unwrap_or_default();
        let claimed = elements.saturating_mul(bits).div_ceil(8);
        if claimed != bytes {
            return Err(RelayError::Size { claimed, bytes });
        }
        let mut moved = Vec::with_capacity(entries.len());
        for (key, value) in &entries {
            let value = match key.as_str() {
                "location" | "length" => value.clone(),
                "offset" => self.place(from, bytes)?.to_string(),
                _ if key.starts_with("prepacked_") => self.packed(value)?,
                _ => return Err(RelayError::Place(key.chars().take(80).collect())),
            };
            moved.push((key.clone(), value));
        }
        if value("offset").is_none() {
            moved.push(("offset".into(), self.place(from, bytes)?.to_string()));
        }
        Ok(Some(moved))
    }

    /// Weights packed for one kernel: its name, and the offset, size and checksum of each buffer, as `name|1;2;3|4;5;6`.
    fn packed(&mut self, text: &str) -> Result<String, RelayError> {
        let wrong = || RelayError::Place(text.chars().take(80).collect());
        let (name, buffers) = text.split_once('|').ok_or_else(wrong)?;
        let mut moved = name.to_owned();
        for buffer in buffers.split('|').filter(|buffer| !buffer.is_empty()) {
            let mut numbers = buffer.split(';');
            let (Some(from), Some(bytes), Some(sum), None) =
                (numbers.next(), numbers.next(), numbers.next(), numbers.next())
            else {
                return Err(wrong());
            };
            let to = self.place(number(from)?, number(bytes)?)?;
            moved.push_str(&format!("|{to};{bytes};{sum}"));
        }
        Ok(moved)
    }

    /// The new place of a part.
    fn place(&mut self, from: u64, bytes: u64) -> Result<u64, RelayError> {
        let all = self.all;
        if from.checked_add(bytes).is_none_or(|end| end > all) {
            return Err(RelayError::Outside { from, bytes, all });
        }
        self.references += 1;
        if let Some(to) = self.places.get(&(from, bytes)) {
            return Ok(*to);
        }
        if self.parts.len() == PARTS_MAX {
            return Err(RelayError::TooMany);
        }
        self.held = self.held.saturating_add(bytes);
        if self.held > all {
            return Err(RelayError::Overlap { all });
        }
        let to = self.end;
        self.end = to.saturating_add(bytes.next_multiple_of(ALIGNMENT));
        self.places.insert((from, bytes), to);
        self.parts.push(Part { from, bytes, to });
        Ok(to)
    }
}

fn number(text: &str) -> Result<u64, RelayError> {
    text.parse().map_err(|_| RelayError::Place(text.chars().take(80).collect()))
}

/// A `StringStringEntryProto`.
fn entry_of(bytes: &[u8]) -> Result<(String, String), RelayError> {
    let mut entry = (String::new(), String::new());
    for field in Wire::new(bytes) {
        match field? {
            (1, Raw::Bytes(key)) => entry.0 = String::from_utf8_lossy(key).into_owned(),
            (2, Raw::Bytes(value)) => entry.1 = String::from_utf8_lossy(value).into_owned(),
            _ => {}
        }
    }
    Ok(entry)
}

fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_varint(out, u64::from(number << 3 | 2));
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put(out: &mut Vec<u8>, number: u32, raw: Raw<'_>) {
    let tag = |kind: u32| u64::from(number << 3 | kind);
    match raw {
        Raw::Varint(value) => {
            put_varint(out, tag(0));
            put_varint(out, value);
        }
        Raw::Fixed64(bytes) => {
            put_varint(out, tag(1));
            out.extend_from_slice(bytes);
        }
        Raw::Bytes(bytes) => put_bytes(out, number, bytes),
        Raw::Fixed32(bytes) => {
            put_varint(out, tag(5));
            out.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{bytes, number as put_number, text};

    /// A tensor of floats in the file, with these entries.
    fn outside(name: &str, floats: u64, entries: &[(&str, &str)]) -> Vec<u8> {
        let entry =
            |(key, value): &(&str, &str)| bytes(13, &[text(1, key), text(2, value)].concat());
        let entries: Vec<u8> = entries.iter().flat_map(entry).collect();
        [put_number(1, floats), put_number(2, 1), text(8, name), entries, put_number(14, 1)]
            .concat()
    }

    fn model(tensors: &[Vec<u8>]) -> Vec<u8> {
        let tensors: Vec<u8> = tensors.iter().flat_map(|tensor| bytes(5, tensor)).collect();
        [put_number(1, 8), bytes(7, &[text(2, "g"), tensors].concat())].concat()
    }

    fn refused(entries: &[(&str, &str)]) -> String {
        let model = model(&[outside("w", 8, entries)]);
        relay(&model, "weights", 100).expect_err("refused").to_string()
    }

    #[test]
    fn every_part_gets_a_page_of_its_own_and_the_model_says_where() {
        let place = [("location", "weights"), ("offset", "32"), ("length", "32")];
        let packed = ("prepacked_0", "Gemm+7|64;20;0|84;16;5");
        let with_packed = [&place[..], &[packed]].concat();
        let in_graph =
            bytes(5, &[text(1, "body"), bytes(6, &bytes(5, &outside("v", 8, &place)))].concat());
        let node = bytes(1, &[text(4, "If"), in_graph].concat());
        let graph = [text(2, "g"), node, bytes(5, &outside("w", 8, &with_packed))].concat();
        let model = [put_number(1, 8), bytes(7, &graph)].concat();
        let relaid = relay(&model, "weights", 100).expect("sound");
        let part = |from, bytes, to| Part { from, bytes, to };
        assert_eq!(relaid.parts, [part(32, 32, 0), part(64, 20, 4096), part(84, 16, 8192)]);
        assert_eq!((relaid.weights_bytes, relaid.references), (12288, 4));
        // The new one is laid out as it says.
        let again = relay(&relaid.model, "weights", 12288).expect("sound");
        assert_eq!(again.model, relaid.model);
        assert!(again.parts.iter().all(|part| part.from == part.to && part.from % 64 == 0));
    }

    #[test]
    fn a_model_without_outside_weights_is_left_as_it_is() {
        let tensor = [put_number(1, 4), put_number(2, 2), text(8, "w"), bytes(9, &[1; 4])].concat();
        let model = model(&[tensor]);
        let relaid = relay(&model, "weights", 0).expect("sound");
        assert_eq!((relaid.model, relaid.weights_bytes), (model, 0));
    }

    #[test]
    fn what_is_not_within_the_file_of_weights_is_refused() {
        let other = refused(&[("location", "/etc/passwd"), ("offset", "0"), ("length", "32")]);
        assert!(other.contains("other than the file"), "{other}");
        let beyond = refused(&[("location", "weights"), ("offset", "80"), ("length", "32")]);
        assert!(beyond.contains("not within the 100 bytes"), "{beyond}");
        let wraps = refused(&[
            ("location", "weights"),
            ("offset", "18446744073709551615"),
            ("length", "32"),
        ]);
        assert!(wraps.contains("not within"), "{wraps}");
        let short = refused(&[("location", "weights"), ("offset", "0"), ("length", "31")]);
        assert!(short.contains("has 32 bytes"), "{short}");
        for (key, value) in
            [("prepacked_0", "no places"), ("prepacked_0", "Gemm|1;2"), ("checksum", "1")]
        {
            let place = [("location", "weights"), ("offset", "0"), ("length", "32"), (key, value)];
            assert!(refused(&place).contains("is not understood"), "{key} {value}");
        }
        let packed = ("prepacked_0", "Gemm|0;101;0");
        let beyond = refused(&[("location", "weights"), ("offset", "0"), ("length", "32"), packed]);
        assert!(beyond.contains("101 bytes from 0"), "{beyond}");
    }

    #[test]
    fn parts_that_overlap_do_not_make_the_file_larger_than_it_was() {
        let tensors: Vec<_> = (0..5)
            .map(|n: u64| {
                let offset = n.to_string();
                outside("w", 8, &[("location", "weights"), ("offset", &offset), ("length", "32")])
            })
            .collect();
        let refused = relay(&model(&tensors), "weights", 100).expect_err("refused");
        assert!(matches!(refused, RelayError::Overlap { .. }), "{refused}");
    }
}
