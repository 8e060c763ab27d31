//! Repairs models that hosts would reject, when a publisher packs them. Embeds weights from a file beside the model, and replaces maps of
//! probabilities (`ZipMap`) by the tensors that they were made from.

use std::fmt::Write as _;

use super::field::{FieldValue, Fields, peek};
use super::limits::{DEPTH_MAX, MODEL_BYTES_MAX};
use super::refused::quoted;
use super::schema::{Holds, Kind};
use super::wire::{Raw, Wire, WireError};

/// Maximum classes whose names a note lists.
const CLASSES_MAX: usize = 20;

/// Reads a whole file beside a model, by a name without folders. `None` if the file does not exist.
pub type Beside<'f> = dyn Fn(&str) -> std::io::Result<Option<Vec<u8>>> + 'f;

/// A repaired model, and a list of the changes, one line each.
#[derive(Debug)]
pub struct Cured {
    pub model: Vec<u8>,
    pub notes: Vec<String>,
}

/// Why a model could not be repaired.
#[derive(Debug, thiserror::Error)]
pub enum CureError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("its weights are in `{location}`, which is not a file beside it: {ADVICE}")]
    Place { location: String },
    #[error(
        "its weights are in `{location}`, and there is no such file beside it: put it there, or {ADVICE}"
    )]
    Missing { location: String },
    #[error("`{location}`, where its weights are, cannot be read")]
    Read {
        location: String,
        #[source]
        source: std::io::Error,
    },
    #[error("`{location}` is shorter than the model says: fetch it again")]
    Short { location: String },
    #[error(
        "with its weights it has more than the {MODEL_BYTES_MAX} bytes that an ONNX file may have"
    )]
    TooLarge,
    #[error("messages are nested more than {DEPTH_MAX} deep")]
    Depth,
}

const ADVICE: &str =
    "save the weights inside it, with `onnx.save_model(model, path, save_as_external_data=False)`";

/// Repairs a model if it needs that. Otherwise returns it unchanged.
///
/// # Errors
/// [`CureError`] if external weights cannot be found.
pub fn cure(model: &[u8], beside: &Beside<'_>) -> Result<Cured, CureError> {
    let mut cure = Cure { beside, files: Vec::new(), maps: Vec::new() };
    let whole = cure.message(Kind::Model, model, 0)?;
    let mut notes = Vec::new();
    for (name, _) in &cure.files {
        notes.push(format!("weights of `{}` were put into the model", quoted(name)));
    }
    let maps = std::mem::take(&mut cure.maps);
    let model = if maps.is_empty() { whole } else { unzip(&whole, &maps)? };
    notes.extend(maps.iter().map(Map::note));
    if model.len() > MODEL_BYTES_MAX {
        Err(CureError::TooLarge)
    } else {
        Ok(Cured { model, notes })
    }
}

struct Cure<'f> {
    beside: &'f Beside<'f>,
    /// The files read, by name.
    files: Vec<(String, Vec<u8>)>,
    maps: Vec<Map>,
}

/// A node that turns a tensor into maps.
struct Map {
    output: String,
    classes: Vec<String>,
}

impl Map {
    fn read(node: &[u8]) -> Option<Self> {
        let is_map = peek(Kind::Node, node, 4) == Some("ZipMap");
        if !is_map || peek(Kind::Node, node, 7) != Some("ai.onnx.ml") {
            return None;
        }
        let mut classes = Vec::new();
        for field in Fields::new(Kind::Node, node).map_while(Result::ok) {
            let FieldValue::Message(Kind::Attribute, attribute) = field.value else { continue };
            for field in Fields::new(Kind::Attribute, attribute).map_while(Result::ok) {
                match (field.number, field.value) {
                    (8, numbers) => classes
                        .extend(numbers.numbers().map(|number| number.cast_signed().to_string())),
                    (9, FieldValue::Bytes(text)) => {
                        classes.push(quoted(&String::from_utf8_lossy(text)))
                    }
                    _ => {}
                }
            }
        }
        Some(Self { output: peek(Kind::Node, node, 2)?.to_owned(), classes })
    }

    fn note(&self) -> String {
        let mut note = format!(
            "output `{}` was a list of maps (`ZipMap`) and is now the tensor that they were made of",
            quoted(&self.output)
        );
        let shown = self.classes.get(..CLASSES_MAX).unwrap_or(&self.classes).join(", ");
        let more = if self.classes.len() > CLASSES_MAX { ", …" } else { "" };
        if !shown.is_empty() {
            let _ = write!(note, "; its columns are {shown}{more}");
        }
        note
    }
}

impl Cure<'_> {
    /// The message with the weights of all its tensors embedded.
    fn message(&mut self, kind: Kind, bytes: &[u8], depth: usize) -> Result<Vec<u8>, CureError> {
        if depth == DEPTH_MAX {
            return Err(CureError::Depth);
        }
        if kind == Kind::Tensor {
            return self.tensor(bytes);
        }
        let is_model_s_node = kind == Kind::Node && depth == 2;
        if let Some(map) = is_model_s_node.then(|| Map::read(bytes)).flatten() {
            self.maps.push(map);
        }
        let mut out = Vec::with_capacity(bytes.len());
        for field in Wire::new(bytes) {
            let (number, raw) = field?;
            match (inner(kind, number), raw) {
                (Some(inner), Raw::Bytes(message)) => {
                    let message = self.message(inner, message, depth + 1)?;
                    put(&mut out, number, &message);
                }
                _ => copy(&mut out, number, raw),
            }
        }
        Ok(out)
    }

    fn tensor(&mut self, bytes: &[u8]) -> Result<Vec<u8>, CureError> {
        let entries = entries(bytes)?;
        let is_outside = Wire::new(bytes)
            .map_while(Result::ok)
            .any(|(number, raw)| number == 14 && raw == Raw::Varint(1));
        if !is_outside || entries.is_empty() {
            return Ok(bytes.to_vec());
        }
        let entry = |name: &str| {
            entries.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
        };
        let location = entry("location").unwrap_or_default().to_owned();
        let size = |name| entry(name).map(|text| text.trim().parse::<usize>()).transpose();
        let short = || CureError::Short { location: quoted(&location) };
        let from = size("offset").map_err(|_| short())?.unwrap_or(0);
        let length = size("length").map_err(|_| short())?;
        let file = self.file(&location)?;
        let rest = file.get(from..).ok_or_else(short)?;
        let raw = rest.get(..length.unwrap_or(rest.len())).ok_or_else(short)?;
        let mut out = Vec::with_capacity(bytes.len() + raw.len());
        for field in Wire::new(bytes) {
            let (number, raw) = field?;
            if !matches!(number, 9 | 13 | 14) {
                copy(&mut out, number, raw);
            }
        }
        put(&mut out, 9, raw);
        Ok(out)
    }

    fn file(&mut self, location: &str) -> Result<&[u8], CureError> {
        let name = location.strip_prefix("./").unwrap_or(location);
        if name.is_empty() || name.contains(['/', '\\', '\0']) || name == ".." || name == "." {
            return Err(CureError::Place { location: quoted(location) });
        }
        let at = match self.files.iter().position(|(known, _)| known == name) {
            Some(at) => at,
            None => {
                let read = (self.beside)(name);
                let read = read
                    .map_err(|source| CureError::Read { location: quoted(location), source })?
                    .ok_or_else(|| CureError::Missing { location: quoted(location) })?;
                self.files.push((name.to_owned(), read));
                self.files.len() - 1
            }
        };
        Ok(&self.files[at].1)
    }
}

/// The kind of a field that may contain tensors.
fn inner(kind: Kind, number: u32) -> Option<Kind> {
    match kind.field(number)?.0 {
        Holds::Message(
            inner @ (Kind::Graph
            | Kind::Node
            | Kind::Attribute
            | Kind::Tensor
            | Kind::SparseTensor
            | Kind::TrainingInfo
            | Kind::Function),
        ) => Some(inner),
        _ => None,
    }
}

/// The keys and values of a tensor's external data.
fn entries(tensor: &[u8]) -> Result<Vec<(String, String)>, WireError> {
    let mut entries = Vec::new();
    for field in Wire::new(tensor) {
        let (13, Raw::Bytes(entry)) = field? else { continue };
        let mut pair = (String::new(), String::new());
        for field in Wire::new(entry) {
            match field? {
                (1, Raw::Bytes(key)) => pair.0 = String::from_utf8_lossy(key).into_owned(),
                (2, Raw::Bytes(value)) => pair.1 = String::from_utf8_lossy(value).into_owned(),
                _ => {}
            }
        }
        entries.push(pair);
    }
    Ok(entries)
}

/// The model without maps. Nodes that made maps become `Identity`, and the outputs are tensors.
fn unzip(model: &[u8], maps: &[Map]) -> Result<Vec<u8>, CureError> {
    let mut out = Vec::with_capacity(model.len());
    let mut has_operators = false;
    for field in Wire::new(model) {
        let (number, raw) = field?;
        match (number, raw) {
            (7, Raw::Bytes(graph)) => put(&mut out, 7, &unzip_graph(graph, maps)?),
            (8, Raw::Bytes(set)) => {
                let domain = peek(Kind::OperatorSet, set, 1).unwrap_or_default();
                has_operators |= matches!(domain, "" | "ai.onnx");
                copy(&mut out, number, raw);
            }
            _ => copy(&mut out, number, raw),
        }
    }
    if !has_operators {
        // The first version of `Identity` that every backend supports.
        put(&mut out, 8, &[0x10, 13]);
    }
    Ok(out)
}

fn unzip_graph(graph: &[u8], maps: &[Map]) -> Result<Vec<u8>, CureError> {
    let mut out = Vec::with_capacity(graph.len());
    for field in Wire::new(graph) {
        let (number, raw) = field?;
        match (number, raw) {
            (1, Raw::Bytes(node)) if Map::read(node).is_some() => {
                let mut same = Vec::new();
                for field in Wire::new(node) {
                    let (number, raw) = field?;
                    if matches!(number, 1..=3) {
                        copy(&mut same, number, raw);
                    }
                }
                put(&mut same, 4, b"Identity");
                put(&mut out, 1, &same);
            }
            (12 | 13, Raw::Bytes(value)) => {
                let name = peek(Kind::Value, value, 1);
                match maps.iter().find(|map| Some(map.output.as_str()) == name) {
                    Some(map) => put(&mut out, number, &chances(map)),
                    None => copy(&mut out, number, raw),
                }
            }
            _ => copy(&mut out, number, raw),
        }
    }
    Ok(out)
}

/// The description of a value with this many probabilities per row.
fn chances(map: &Map) -> Vec<u8> {
    let mut shape = Vec::new();
    put(&mut shape, 1, &[]);
    let mut columns = Vec::new();
    if !map.classes.is_empty() {
        copy(&mut columns, 1, Raw::Varint(map.classes.len() as u64));
    }
    put(&mut shape, 1, &columns);
    let mut tensor = Vec::new();
    copy(&mut tensor, 1, Raw::Varint(1));
    put(&mut tensor, 2, &shape);
    let (mut ty, mut value) = (Vec::new(), Vec::new());
    put(&mut ty, 1, &tensor);
    put(&mut value, 1, map.output.as_bytes());
    put(&mut value, 2, &ty);
    value
}

fn copy(out: &mut Vec<u8>, number: u32, raw: Raw<'_>) {
    let tag = u64::from(number) << 3;
    match raw {
        Raw::Varint(value) => {
            varint(out, tag);
            varint(out, value);
        }
        Raw::Fixed64(bytes) => {
            varint(out, tag | 1);
            out.extend_from_slice(bytes);
        }
        Raw::Bytes(bytes) => put(out, number, bytes),
        Raw::Fixed32(bytes) => {
            varint(out, tag | 5);
            out.extend_from_slice(bytes);
        }
    }
}

fn put(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    varint(out, u64::from(number) << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Problem, check};

    fn message(number: u32, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, number, bytes);
        out
    }

    fn value(number: u32, value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        copy(&mut out, number, Raw::Varint(value));
        out
    }

    fn model(graph: &[u8]) -> Vec<u8> {
        [value(1, 8), message(7, graph)].concat()
    }

    /// Four bytes of a file.
    fn outside(location: &str, offset: &str) -> Vec<u8> {
        let entry = |key: &str, text: &str| {
            message(13, &[message(1, key.as_bytes()), message(2, text.as_bytes())].concat())
        };
        let place = [entry("location", location), entry("offset", offset), entry("length", "4")];
        [value(1, 4), value(2, 2), place.concat(), value(14, 1)].concat()
    }

    fn cured(model: &[u8]) -> Result<Cured, CureError> {
        cure(model, &|name| Ok((name == "w.bin").then(|| vec![0, 1, 2, 3, 4, 5])))
    }

    #[test]
    fn weights_beside_the_model_are_put_into_it_wherever_a_tensor_is() {
        let tensor = outside("w.bin", "2");
        let attribute = message(5, &message(5, &tensor));
        let graph = [message(5, &tensor), message(1, &attribute)].concat();
        assert!(matches!(
            check(&model(&graph)).expect_err("outside").problem(),
            Problem::External { .. }
        ));
        let Cured { model, notes } = cured(&model(&graph)).expect("beside it");
        check(&model).expect("whole");
        let raw = message(9, &[2, 3, 4, 5]);
        assert_eq!(model.windows(raw.len()).filter(|part| *part == raw).count(), 2);
        assert_eq!(notes, ["weights of `w.bin` were put into the model"]);
    }

    #[test]
    fn weights_elsewhere_are_not_looked_for() {
        let of = |location: &str, offset: &str| {
            cured(&model(&message(5, &outside(location, offset)))).expect_err(location)
        };
        for location in ["/etc/passwd", "../w.bin", "sub/w.bin", "..", "", "a\\b"] {
            assert!(matches!(of(location, "0"), CureError::Place { .. }), "{location}");
        }
        assert!(matches!(of("x.bin", "0"), CureError::Missing { .. }));
        for offset in ["3", "7", "99999999999999999999", "-1", "x"] {
            assert!(matches!(of("w.bin", offset), CureError::Short { .. }), "{offset}");
        }
    }

    #[test]
    fn maps_of_chances_become_the_tensor_that_they_were_made_of() {
        let labels = [message(1, b"classlabels_int64s"), value(8, 3), value(8, 5)].concat();
        let node = [
            message(1, b"p"),
            message(2, b"out"),
            message(4, b"ZipMap"),
            message(7, b"ai.onnx.ml"),
            message(5, &labels),
        ];
        let maps = message(2, &message(4, &message(1, &[])));
        let output = message(12, &[message(1, b"out"), maps].concat());
        let zipped = model(&[message(1, &node.concat()), output].concat());
        let Cured { model, notes } = cured(&zipped).expect("cured");
        let facts = check(&model).expect("sound");
        let names: Vec<_> = facts.operators().iter().map(|operator| &operator.name[..]).collect();
        assert_eq!(names, ["Identity"]);
        assert!(
            notes[0].contains("`out`") && notes[0].ends_with("its columns are 3, 5"),
            "{notes:?}"
        );
        assert_eq!(cured(&model).expect("nothing to do").model, model);
    }
}
