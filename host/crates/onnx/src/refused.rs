//! Errors for rejected models. They say what is wrong, where, and how to fix it.

use std::fmt;

use super::field::NAME_BYTES_MAX;
use super::limits::{
    DENSE_BYTES_MAX, DEPTH_MAX, FUNCTION_DEPTH_MAX, IR_VERSION_MAX, Limit, MODEL_BYTES_MAX,
    NODES_MAX, RANK_MAX,
};
use super::schema::Kind;
use super::wire::WireError;

/// Maximum characters of a model's own text in an error.
const QUOTED_CHARS_MAX: usize = 80;

/// Maximum places that an error names. It names the innermost ones.
const PLACES_MAX: usize = 6;

/// Why a model is rejected, and the place in the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRefused {
    problem: Box<Problem>,
    /// Innermost first.
    places: Vec<String>,
}

/// What is wrong with a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    #[error("it has {bytes} bytes, more than the {MODEL_BYTES_MAX} that an ONNX file may have")]
    TooLarge { bytes: usize },
    #[error("it is not an ONNX model: {0}")]
    Wire(#[from] WireError),
    #[error("it is not an ONNX model: it has no graph")]
    NoGraph,
    #[error(
        "it is in ONNX Runtime's own format, which cannot be checked: publish the `.onnx` file that it was made from"
    )]
    OrtFormat,
    #[error("it is not an ONNX model but {what}: {fix}")]
    Foreign { what: &'static str, fix: &'static str },
    #[error(
        "`{message:?}` has a field {number}, which ONNX 1.23 does not have: export the model without it"
    )]
    UnknownField { message: Kind, number: u32 },
    #[error(
        "`{message:?}` has its field {number} twice, which parsers read differently: export the model again"
    )]
    Doubled { message: Kind, number: u32 },
    #[error("field {number} of `{message:?}` has the wrong content")]
    WrongKind { message: Kind, number: u32 },
    #[error("a name or text is not UTF-8, or a name holds a zero")]
    NotText,
    #[error(
        "a name has {bytes} bytes, more than the {NAME_BYTES_MAX} allowed: give it a shorter one"
    )]
    Name { bytes: usize },
    #[error("messages are nested more than {DEPTH_MAX} deep: flatten the graphs within graphs")]
    Depth,
    #[error("it has more than the {max} {limit} allowed", max = .0.max(), limit = .0.name())]
    TooMany(Limit),
    #[error(
        "it refers to `{location}` outside the model: save the weights inside it, with `onnx.save_model(model, path, save_as_external_data=False)`"
    )]
    External { location: String },
    #[error(
        "`{operator}` refers to a file or a library outside the model: export the model without it"
    )]
    Outside { operator: String },
    #[error(
        "operator `{operator}` needs a custom library, which hosts do not load: do that step in a plugin's code"
    )]
    Library { operator: String },
    #[error(
        "attribute `{name}` is the name `{value}` of a file outside the model: export the model without it"
    )]
    Path { name: &'static str, value: String },
    #[error("metadata `{key}` configures the program that computes the model: remove it")]
    Setting { key: String },
    #[error(
        "shape {dims:?} has more elements than can be counted, or a size below zero: give it sizes that fit"
    )]
    Shape { dims: Vec<i64> },
    #[error("a shape has more than the {RANK_MAX} dimensions allowed")]
    Rank,
    #[error("a tensor claims {claimed} elements and holds {held}: export the model again")]
    Claim { claimed: u64, held: u64 },
    #[error("a tensor has elements of type {0}, which ONNX 1.23 does not have")]
    ElementType(u64),
    #[error(
        "tensor `{name}` has its elements in two ways, or in a way that its type does not have: export the model again"
    )]
    Elements { name: String },
    #[error("node `{name}` is {found}: export the model again")]
    Node { name: String, found: &'static str },
    #[error("attribute `{name}` has {found}, where ONNX has one value: export the model again")]
    Attribute { name: String, found: &'static str },
    #[error(
        "its sparse tensors have more than {DENSE_BYTES_MAX} bytes when they are made dense: make them smaller"
    )]
    Dense,
    #[error(
        "its format is ONNX IR version {version}, newer than {IR_VERSION_MAX}, the newest that hosts read: export it with `ir_version={IR_VERSION_MAX}`"
    )]
    IrVersion { version: i64 },
    #[error(
        "it is of opset {version} of domain `{domain}`, newer than {max}, the newest that hosts compute: export it with opset {max} or an earlier one"
    )]
    Opset { domain: &'static str, version: i64, max: i64 },
    #[error(
        "it does not say of which opset its operators are: export it again, or add `onnx.helper.make_opsetid('', 13)` to its `opset_import`, with the version that was meant"
    )]
    NoOpset,
    #[error(
        "operator `{operator}` is not one of ONNX's: export the model with operators of ONNX, define it as a function of the model, or do that step in a plugin's code"
    )]
    UnknownOperator { operator: String },
    #[error(
        "operator `{operator}` came with opset {since}, and the model is of opset {version}: export it with opset {since} or a later one"
    )]
    NewerOperator { operator: String, since: i64, version: i64 },
    #[error(
        "operator `{operator}` went with opset {gone}, and the model is of opset {version}: export it again, which writes `{instead}`"
    )]
    OlderOperator { operator: String, gone: i64, version: i64, instead: &'static str },
    #[error("it is {found}, and hosts pass on tensors only: {fix}")]
    NotTensor { found: &'static str, fix: &'static str },
    #[error(
        "it has elements of type {found}, which callers cannot send or read: convert it with a `Cast` in the model, e.g. to FLOAT"
    )]
    NotCarried { found: &'static str },
    #[error(
        "its maps (`ZipMap`) are read by {reader}: end the model with them, or export it with `options={{'zipmap': False}}`"
    )]
    MapsRead { reader: String },
    #[error("function `{function}` is defined twice")]
    FunctionTwice { function: String },
    #[error("function `{function}` calls itself")]
    Recursion { function: String },
    #[error("functions call each other more than {FUNCTION_DEPTH_MAX} deep")]
    FunctionDepth,
    #[error(
        "with its functions inlined it has more than the {NODES_MAX} nodes allowed: call them less often"
    )]
    Expanded,
}

impl ModelRefused {
    /// Adds a place. Places are added from the inside out.
    pub(super) fn within(mut self, place: impl FnOnce() -> Option<String>) -> Self {
        if self.places.len() < PLACES_MAX {
            self.places.extend(place());
        }
        self
    }

    /// What is wrong.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }
}

impl<E: Into<Problem>> From<E> for ModelRefused {
    fn from(problem: E) -> Self {
        Self { problem: Box::new(problem.into()), places: Vec::new() }
    }
}

impl fmt::Display for ModelRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in self.places.iter().rev() {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}", self.problem)
    }
}

impl std::error::Error for ModelRefused {}

/// A model's own text, escaped and truncated.
pub(super) fn quoted(text: &str) -> String {
    let mut escaped = text.escape_debug();
    let mut short: String = escaped.by_ref().take(QUOTED_CHARS_MAX).collect();
    if escaped.next().is_some() {
        short.push('…');
    }
    short
}
