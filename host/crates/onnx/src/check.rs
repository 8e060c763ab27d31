//! Walks every message of a model once, before a backend parses the model.

use std::collections::{HashMap, HashSet};

use super::facts::{ModelFacts, OperatorCount};
use super::field::{Field, FieldValue, Fields, peek};
use super::functions::{self, Body};
use super::limits::{
    DENSE_BYTES_MAX, DEPTH_MAX, ELEMENTS_MAX, INITIALISED_INPUTS_MAX, Limit, MODEL_BYTES_MAX,
    RANK_MAX,
};
use super::operators::{Operator, domain};
use super::refused::{ModelRefused, Problem, quoted};
use super::schema::{Kind, STRING, element_bits};

/// Bytes 4 to 8 of a file in ONNX Runtime's own format, which the library checks first.
const ORT_MARK: &[u8] = b"ORTM";

/// Metadata that can configure ONNX Runtime.
const SETTINGS: [&str; 1] = ["ort_config"];

/// Attributes that name a file in any operator.
const PATHS: [&str; 2] = ["ep_cache_context", "onnx_model_filename"];

/// Messages around the model's graph, including the graph.
const MAIN_GRAPH_DEPTH: usize = 2;

/// Maximum length of a locale's name.
const LOCALE_BYTES_MAX: usize = 64;

const CONVERT: &str = "make an ONNX model of it with `hospes convert`";

/// What a file is by its first bytes, if it is of another kind for which models are often mistaken, and what to do with it.
pub fn foreign(file: &[u8]) -> Option<(&'static str, &'static str)> {
    Some(match file {
        [b'P', b'K', 3, 4, ..] => {
            ("a zip archive, as PyTorch, Keras and skops save models", CONVERT)
        }
        [0x80, 2..=5, ..] => ("a pickle, as scikit-learn and PyTorch save models", CONVERT),
        [0x89, b'H', b'D', b'F', ..] => ("HDF5, as Keras saves models", CONVERT),
        [0, b'a', b's', b'm', ..] => (
            "WebAssembly, as a bundle that is already packed",
            "give the `.onnx` file that it was made from",
        ),
        _ => return None,
    })
}

/// Walks an ONNX model before a backend parses it. Allocates only in proportion to its names.
///
/// # Errors
/// [`ModelRefused`] if it is not an ONNX model, exceeds a limit, or refers to anything outside itself.
pub fn check(model: &[u8]) -> Result<ModelFacts, ModelRefused> {
    walk(model, Weights::Inside)
}

/// Where a model's weights may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weights {
    Inside,
    /// In files too, as an exporter may leave them beside the model.
    Anywhere,
}

/// As [`check`], with weights where they may be.
pub(super) fn walk(model: &[u8], weights: Weights) -> Result<ModelFacts, ModelRefused> {
    if model.len() > MODEL_BYTES_MAX {
        return Err(Problem::TooLarge { bytes: model.len() }.into());
    }
    if model.get(4..8) == Some(ORT_MARK) {
        return Err(Problem::OrtFormat.into());
    }
    if let Some((what, fix)) = foreign(model) {
        return Err(Problem::Foreign { what, fix }.into());
    }
    let mut walk = Walk { weights, ..Walk::default() };
    walk.message(Kind::Model, model)?;
    if !walk.has_graph {
        return Err(Problem::NoGraph.into());
    }
    let functions = functions::check(&walk.bodies)?;
    let mut operators: HashMap<Operator<'_>, u64> = HashMap::new();
    for (operator, count) in walk.bodies.iter().flat_map(|body| &body.uses) {
        if !functions.contains_key(operator) {
            *operators.entry(Operator { overload: "", ..*operator }).or_default() += count;
        }
    }
    let defines_constant = functions.keys().any(|function| function.is_constant());
    let sized: HashSet<Operator<'_>> = walk
        .bodies
        .iter()
        .flat_map(|body| body.sized_by_value(defines_constant))
        .map(|operator| Operator { overload: "", ..operator })
        .collect();
    let operators = operators.into_iter().map(|(operator, count)| OperatorCount {
        domain: operator.domain.to_owned(),
        name: operator.name.to_owned(),
        count,
        bounded: operator.is_bounded() && !sized.contains(&operator),
    });
    let unranked = walk.unranked.into_iter().map(str::to_owned);
    let initialised = walk.initialised.into_iter().map(str::to_owned);
    Ok(ModelFacts::new(operators, unranked, initialised))
}

struct Walk<'m> {
    weights: Weights,
    depth: usize,
    counts: [u64; Limit::COUNT],
    has_graph: bool,
    /// The model's graphs, then one body per function.
    bodies: Vec<Body<'m>>,
    /// The model's inputs and outputs without a shape.
    unranked: Vec<&'m str>,
    /// The model's inputs with default values, unless there are many.
    initialised: Vec<&'m str>,
    /// Expanded size of the sparse tensors so far, in bytes.
    dense_bytes: u64,
}

impl Default for Walk<'_> {
    fn default() -> Self {
        Self {
            weights: Weights::Inside,
            depth: 0,
            counts: [0; Limit::COUNT],
            has_graph: false,
            bodies: vec![Body::default()],
            unranked: Vec::new(),
            initialised: Vec::new(),
            dense_bytes: 0,
        }
    }
}

impl<'m> Walk<'m> {
    fn message(&mut self, kind: Kind, bytes: &'m [u8]) -> Result<(), ModelRefused> {
        if self.depth == DEPTH_MAX {
            return Err(Problem::Depth.into());
        }
        self.depth += 1;
        let walked = match kind {
            Kind::Graph if self.depth == MAIN_GRAPH_DEPTH => self.main_graph(bytes),
            Kind::Node => self.node(bytes),
            Kind::Attribute => self.attribute(bytes),
            Kind::Tensor => self.tensor(bytes),
            Kind::SparseTensor => self.sparse_tensor(bytes),
            Kind::TensorShape => self.tensor_shape(bytes),
            Kind::Function => self.function(bytes),
            Kind::Model => self.model(bytes),
            Kind::Value => self.counted(Limit::Values, kind, bytes),
            Kind::Entry => self.counted(Limit::Entries, kind, bytes),
            _ => self.fields(kind, bytes, |_| Ok(())),
        };
        self.depth -= 1;
        walked.map_err(|refused| refused.within(|| place(kind, bytes)))
    }

    /// Walks a message's fields and nested messages. Calls `look` with each field first.
    fn fields(
        &mut self,
        kind: Kind,
        bytes: &'m [u8],
        mut look: impl FnMut(&Field<'m>) -> Result<(), ModelRefused>,
    ) -> Result<(), ModelRefused> {
        for field in Fields::new(kind, bytes) {
            let field = field?;
            look(&field)?;
            match field.value {
                FieldValue::Message(kind, bytes) => self.message(kind, bytes)?,
                FieldValue::Name(_) => self.count(Limit::Names, 1)?,
                FieldValue::Text(text) => self.count(Limit::TextBytes, text.len() as u64)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn counted(&mut self, limit: Limit, kind: Kind, bytes: &'m [u8]) -> Result<(), ModelRefused> {
        self.count(limit, 1)?;
        self.fields(kind, bytes, |_| Ok(()))
    }

    fn count(&mut self, limit: Limit, more: u64) -> Result<(), ModelRefused> {
        let count = &mut self.counts[limit as usize];
        *count = count.saturating_add(more);
        if *count > limit.max() { Err(Problem::TooMany(limit).into()) } else { Ok(()) }
    }

    fn model(&mut self, bytes: &'m [u8]) -> Result<(), ModelRefused> {
        let mut has_graph = false;
        self.fields(Kind::Model, bytes, |field| {
            match field.value {
                FieldValue::Message(Kind::Graph, _) => has_graph = true,
                FieldValue::Message(Kind::Entry, entry) => {
                    let key = peek(Kind::Entry, entry, 1).unwrap_or_default();
                    if SETTINGS.contains(&key) {
                        return Err(Problem::Setting { key: quoted(key) }.into());
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        self.has_graph = has_graph;
        Ok(())
    }

    fn main_graph(&mut self, bytes: &'m [u8]) -> Result<(), ModelRefused> {
        let (mut unranked, mut initialisers, mut inputs) = (Vec::new(), Vec::new(), Vec::new());
        self.fields(Kind::Graph, bytes, |field| {
            match (field.number, field.value) {
                (5, FieldValue::Message(_, tensor)) => {
                    initialisers.extend(peek(Kind::Tensor, tensor, 8));
                }
                (number @ (11 | 12), FieldValue::Message(_, value)) => {
                    let name = peek(Kind::Value, value, 1);
                    unranked.extend(name.filter(|_| !has_shape(value)));
                    inputs.extend(name.filter(|_| number == 11));
                }
                _ => {}
            }
            Ok(())
        })?;
        let given: HashSet<&str> = inputs.iter().copied().collect();
        let initialised = initialisers.iter().copied().filter(|name| given.contains(name));
        (self.unranked, self.initialised) = (unranked, initialised.collect());
        if self.initialised.len() > INITIALISED_INPUTS_MAX {
            self.initialised = Vec::new();
        }
        if let Some(body) = self.bodies.last_mut() {
            body.name(initialisers, inputs);
        }
        Ok(())
    }

    fn function(&mut self, bytes: &'m [u8]) -> Result<(), ModelRefused> {
        self.count(Limit::Functions, 1)?;
        self.bodies.push(Body::default());
        let mut function = Operator { domain: "", name: "", overload: "" };
        self.fields(Kind::Function, bytes, |field| {
            match (field.number, field.value) {
                (1, FieldValue::Name(name)) => function.name = name,
                (10, FieldValue::Name(name)) => function.domain = domain(name),
                (13, FieldValue::Name(name)) => function.overload = name,
                _ => {}
            }
            Ok(())
        })?;
        if let Some(body) = self.bodies.last_mut() {
            body.function = Some(function);
        }
        Ok(())
    }

    fn node(&mut self, bytes: &'m [u8]) -> Result<(), ModelRefused> {
        self.count(Limit::Nodes, 1)?;
        let mut operator = Operator { domain: "", name: "", overload: "" };
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        self.fields(Kind::Node, bytes, |field| {
            match (field.number, field.value) {
                (1, FieldValue::Name(name)) => inputs.push(name),
                (2, FieldValue::Name(name)) => outputs.push(name),
                (4, FieldValue::Name(name)) => operator.name = name,
                (7, FieldValue::Name(name)) => operator.domain = domain(name),
                (8, FieldValue::Name(name)) => operator.overload = name,
                _ => {}
            }
            Ok(())
        })?;
        if operator.leads_outside() {
            return Err(Problem::Outside { operator: operator.title() }.into());
        }
        if operator.needs_a_library() {
            return Err(Problem::Library { operator: operator.title() }.into());
        }
        let is_nested = self.depth > MAIN_GRAPH_DEPTH + 1;
        if let Some(body) = self.bodies.last_mut() {
            body.add(operator, &inputs, &outputs, is_nested);
        }
        Ok(())
    }

    fn attribute(&mut self, bytes: &'m [u8]) -> Result<(), ModelRefused> {
        self.count(Limit::Attributes, 1)?;
        let name = peek(Kind::Attribute, bytes, 1).unwrap_or_default();
        if let Some(name) = PATHS.iter().find(|path| **path == name) {
            return Err(Problem::Outside { operator: (*name).to_owned() }.into());
        }
        self.fields(Kind::Attribute, bytes, |field| match field.value {
            // The system opens a locale's files by its name.
            FieldValue::Bytes(value) if name == "locale" && !is_locale(value) => {
                let value = quoted(&String::from_utf8_lossy(value));
                Err(Problem::Path { name: "locale", value }.into())
            }
            _ => Ok(()),
        })
    }

    fn tensor(&mut self, bytes: &'m [u8]) -> Result<(), ModelRefused> {
        self.count(Limit::Tensors, 1)?;
        let (mut dims, mut data_type) = (Vec::new(), 0);
        let may_be_outside = self.weights == Weights::Anywhere;
        let mut is_outside = false;
        // The number of elements in each representation. For `raw_data`, the number of bytes.
        let (mut words, mut halves, mut raw_bytes) = (0_u64, 0_u64, 0_u64);
        self.fields(Kind::Tensor, bytes, |field| {
            match (field.number, field.value) {
                (1, value) => extend(&mut dims, value)?,
                (2, FieldValue::Number(number)) => data_type = number,
                (14, FieldValue::Number(1)) if may_be_outside => is_outside = true,
                (13, _) if may_be_outside => {}
                (14, FieldValue::Number(location)) if location != 0 => {
                    return Err(Problem::External { location: location_of(bytes) }.into());
                }
                (13, _) => {
                    return Err(Problem::External { location: location_of(bytes) }.into());
                }
                (9, FieldValue::Bytes(raw)) => raw_bytes = raw.len() as u64,
                (5, value) => halves += value.count(),
                (4 | 6 | 7 | 10 | 11, value) => words += value.count(),
                _ => {}
            }
            Ok(())
        })?;
        let claimed = elements(&dims)?;
        let held = match (data_type, element_bits(data_type)) {
            (0 | STRING, _) => words,
            (_, None) => return Err(Problem::ElementType(data_type).into()),
            (_, Some(bits)) => {
                let raw = raw_bytes.saturating_mul(8) / bits;
                // Elements smaller than a byte are packed into one number.
                raw.saturating_add(words)
                    .saturating_add(halves.saturating_mul(8 / bits.clamp(2, 8)))
            }
        };
        // An attribute may have a one-element tensor that is not written out.
        if claimed > held.max(1) && !is_outside {
            Err(Problem::Claim { claimed, held }.into())
        } else {
            Ok(())
        }
    }

    fn sparse_tensor(&mut self, bytes: &'m [u8]) -> Result<(), ModelRefused> {
        let mut dims = Vec::new();
        self.fields(Kind::SparseTensor, bytes, |field| {
            if field.number == 3 { extend(&mut dims, field.value) } else { Ok(()) }
        })?;
        // For any type: 16 bytes is the widest.
        let bytes = elements(&dims)?.saturating_mul(16);
        self.dense_bytes = self.dense_bytes.saturating_add(bytes);
        if self.dense_bytes > DENSE_BYTES_MAX { Err(Problem::Dense.into()) } else { Ok(()) }
    }

    fn tensor_shape(&mut self, bytes: &'m [u8]) -> Result<(), ModelRefused> {
        let mut dims = Vec::new();
        self.fields(Kind::TensorShape, bytes, |field| {
            if let FieldValue::Message(Kind::Dimension, dimension) = field.value {
                if dims.len() == RANK_MAX {
                    return Err(Problem::Rank.into());
                }
                dims.extend(fixed_size(dimension));
            }
            Ok(())
        })?;
        elements(&dims).map(drop)
    }
}

/// A dimension's size; `None` if it is open, which some exporters write as a negative size.
fn fixed_size(dimension: &[u8]) -> Option<i64> {
    let mut fields = Fields::new(Kind::Dimension, dimension).map_while(Result::ok);
    let size = fields.find_map(|field| match field.value {
        FieldValue::Number(number) => Some(number.cast_signed()),
        _ => None,
    });
    size.filter(|size| *size >= 0)
}

/// Whether a value is a tensor with a shape, at least a number of open dimensions.
fn has_shape(value: &[u8]) -> bool {
    let inner = |kind: Kind, message, number| {
        let mut fields = Fields::new(kind, message).map_while(Result::ok);
        fields.find_map(|field| match field.value {
            FieldValue::Message(kind, message) if field.number == number => Some((kind, message)),
            _ => None,
        })
    };
    let ty = inner(Kind::Value, value, 2);
    let tensor = ty.and_then(|(kind, ty)| inner(kind, ty, 1));
    tensor.and_then(|(kind, tensor)| inner(kind, tensor, 2)).is_some()
}

fn extend(dims: &mut Vec<i64>, value: FieldValue<'_>) -> Result<(), ModelRefused> {
    for size in value.numbers() {
        if dims.len() == RANK_MAX {
            return Err(Problem::Rank.into());
        }
        dims.push(size.cast_signed());
    }
    Ok(())
}

/// The number of elements of a shape. A zero counts as one for the limit, because a parser that multiplies in another order would overflow.
fn elements(dims: &[i64]) -> Result<u64, ModelRefused> {
    let mut product = 1_u64;
    for size in dims {
        let size = u64::try_from(*size).ok();
        let next = size.and_then(|size| product.checked_mul(size.max(1)));
        product = next
            .filter(|product| *product <= ELEMENTS_MAX)
            .ok_or_else(|| Problem::Shape { dims: dims.to_vec() })?;
    }
    Ok(if dims.contains(&0) { 0 } else { product })
}

fn is_locale(name: &[u8]) -> bool {
    let may = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-@".contains(byte);
    // A dot occurs only between language and encoding.
    let dots = name.iter().filter(|byte| **byte == b'.').count();
    name.len() <= LOCALE_BYTES_MAX
        && dots <= 1
        && !name.starts_with(b".")
        && name.iter().all(|byte| may(byte) || *byte == b'.')
}

/// The file that a tensor refers to.
fn location_of(tensor: &[u8]) -> String {
    let entries = Fields::new(Kind::Tensor, tensor).map_while(Result::ok);
    let location = entries.filter(|field| field.number == 13).find_map(|field| match field.value {
        FieldValue::Message(Kind::Entry, entry)
            if peek(Kind::Entry, entry, 1) == Some("location") =>
        {
            Fields::new(Kind::Entry, entry).map_while(Result::ok).find_map(|field| {
                match field.value {
                    FieldValue::Text(value) => Some(value),
                    _ => None,
                }
            })
        }
        _ => None,
    });
    quoted(location.unwrap_or("a file"))
}

/// A message's name for errors. A name may come after the content, so it is searched separately.
fn place(kind: Kind, bytes: &[u8]) -> Option<String> {
    let name = |number| quoted(peek(kind, bytes, number).unwrap_or_default());
    Some(match kind {
        Kind::Graph if name(2).is_empty() => return None,
        Kind::Graph => format!("graph `{}`", name(2)),
        Kind::Function => format!("function `{}`", name(1)),
        Kind::Node => format!("node `{}` ({})", name(3), name(4)),
        Kind::Attribute => format!("attribute `{}`", name(1)),
        Kind::Tensor => format!("tensor `{}`", name(8)),
        Kind::Value => format!("value `{}`", name(1)),
        Kind::TrainingInfo => "training information".to_owned(),
        _ => return None,
    })
}
