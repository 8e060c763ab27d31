//! A model as values that can be read, changed, built and written.
//!
//! [`Model::read`] takes what [`crate::check()`] takes, within the same limits, and weights in other files as well. [`Model::write`] gives
//! the same bytes for the same model, and only a model that a host accepts. Weights are shared with what was read, not copied.
//!
//! What would surprise: the numbers of a tensor are little-endian bytes here, however a file has them, and are written as `raw_data`. An
//! empty text is the same as none. A name is unique only within its scope, see [`walk`].

pub mod attribute;
pub mod edit;
pub mod external;
mod read;
pub mod tensor;
#[cfg(test)]
mod tests;
pub mod types;
pub mod walk;
mod write;

use bytes::Bytes;

pub use attribute::{Attribute, AttributeKind, Value};
pub use edit::{EditError, Names};
pub use external::{Beside, EmbedError};
pub use tensor::{Data, Element, ElementType, SparseTensor, Tensor, TensorError};
pub use types::{Dimension, Size, Type, TypeKind, ValueInfo};
pub use walk::{Origin, Scope};

/// Most bytes of metadata that are read as a list of names.
const NAMES_BYTES_MAX: usize = 4 << 20;

/// A whole model (`ModelProto`).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Model {
    /// The version of ONNX's format.
    pub ir_version: i64,
    /// Which version of each domain's operators it uses.
    pub opsets: Vec<Opset>,
    pub producer_name: String,
    pub producer_version: String,
    pub domain: String,
    pub version: i64,
    pub doc: String,
    pub graph: Graph,
    pub metadata: Vec<Entry>,
    pub training: Vec<Training>,
    pub functions: Vec<Function>,
    /// How it may be spread over devices, as it was read.
    pub(crate) devices: Verbatim,
}

/// A version of a domain's operators (`OperatorSetIdProto`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opset {
    /// Empty for ONNX's own, which are also written as `ai.onnx`.
    pub domain: String,
    pub version: i64,
}

/// A key and a value (`StringStringEntryProto`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub value: String,
}

/// A graph (`GraphProto`): the model's own, or one in an attribute.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Graph {
    pub name: String,
    /// In the order in which they are computed.
    pub nodes: Vec<Node>,
    pub initialisers: Vec<Tensor>,
    pub sparse_initialisers: Vec<SparseTensor>,
    pub inputs: Vec<ValueInfo>,
    pub outputs: Vec<ValueInfo>,
    /// Types of values between inputs and outputs.
    pub value_infos: Vec<ValueInfo>,
    pub annotations: Vec<Annotation>,
    pub doc: String,
    pub metadata: Vec<Entry>,
}

/// A node (`NodeProto`).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Node {
    pub name: String,
    pub operator: String,
    /// Empty for ONNX's own.
    pub domain: String,
    /// Which of several functions of the same name.
    pub overload: String,
    /// Names of values; an empty one is an operand that was left out.
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub attributes: Vec<Attribute>,
    pub doc: String,
    pub metadata: Vec<Entry>,
    /// Where it may be computed, as it was read.
    pub(crate) devices: Verbatim,
}

/// A function that a model defines (`FunctionProto`).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Function {
    pub name: String,
    pub domain: String,
    pub overload: String,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    /// Attributes that a call must give.
    pub attributes: Vec<String>,
    /// Attributes that a call may give, and what they are otherwise.
    pub defaults: Vec<Attribute>,
    pub nodes: Vec<Node>,
    pub opsets: Vec<Opset>,
    pub value_infos: Vec<ValueInfo>,
    pub doc: String,
    pub metadata: Vec<Entry>,
}

/// How a value was quantised (`TensorAnnotation`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Annotation {
    /// The value's name.
    pub value: String,
    /// What each tensor is for, and its name.
    pub tensors: Vec<Entry>,
}

/// How a model was trained (`TrainingInfoProto`). Hosts do not compute it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Training {
    pub initialisation: Option<Graph>,
    pub step: Option<Graph>,
    pub initialised: Vec<Entry>,
    pub updated: Vec<Entry>,
}

/// Messages that nothing here reads, by their field's number.
pub(crate) type Verbatim = Vec<(u32, Bytes)>;

impl Opset {
    /// This version of a domain's operators.
    pub fn new(domain: impl Into<String>, version: i64) -> Self {
        Self { domain: domain.into(), version }
    }
}

impl Entry {
    /// This key and value.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

impl Model {
    /// A model of this graph, with ONNX's operators of this version. `ir_version` 8 is the oldest that has all that is written here.
    pub fn new(graph: Graph, opset: i64) -> Self {
        Self { ir_version: 8, opsets: vec![Opset::new("", opset)], graph, ..Self::default() }
    }

    /// The version of a domain's operators; `None` if the model does not import them. ONNX's own domain has two spellings.
    pub fn opset(&self, domain: &str) -> Option<i64> {
        let wanted = crate::operators::domain(domain);
        let mut opsets = self.opsets.iter();
        let opset = opsets.find(|opset| crate::operators::domain(&opset.domain) == wanted);
        opset.map(|opset| opset.version)
    }

    /// Imports a domain's operators, unless the model does already.
    pub fn import(&mut self, domain: &str, version: i64) {
        if self.opset(domain).is_none() {
            self.opsets.push(Opset::new(domain, version));
        }
    }

    /// The metadata of this key that is small enough to be read as a list of names.
    pub fn names(&self, key: &str) -> Option<&str> {
        self.metadata(key).filter(|text| text.len() <= NAMES_BYTES_MAX)
    }

    /// The metadata of this key.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        let entry = self.metadata.iter().find(|entry| entry.key == key);
        entry.map(|entry| entry.value.as_str())
    }

    /// Sets a key's metadata.
    pub fn set_metadata(&mut self, key: &str, value: impl Into<String>) {
        match self.metadata.iter_mut().find(|entry| entry.key == key) {
            Some(entry) => entry.value = value.into(),
            None => self.metadata.push(Entry::new(key, value)),
        }
    }
}

impl Graph {
    /// An empty graph. ONNX's checker asks for a name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// The initialiser of this name.
    pub fn initialiser(&self, name: &str) -> Option<&Tensor> {
        self.initialisers.iter().find(|tensor| tensor.name == name)
    }

    /// The type that the graph states for a value: of an input, an output, a value between them or an initialiser.
    pub fn stated_type(&self, name: &str) -> Option<Type> {
        let stated = self.inputs.iter().chain(&self.outputs).chain(&self.value_infos);
        let stated = stated.filter(|value| value.name == name).find_map(|value| value.ty.clone());
        stated.or_else(|| self.initialiser(name).map(Tensor::ty))
    }
}

impl Node {
    /// A node of ONNX's own domain.
    pub fn new(operator: impl Into<String>, inputs: &[&str], outputs: &[&str]) -> Self {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            operator: operator.into(),
            inputs: names(inputs),
            outputs: names(outputs),
            ..Self::default()
        }
    }

    /// The node with this name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The node in this domain.
    #[must_use]
    pub fn of(mut self, domain: impl Into<String>) -> Self {
        self.domain = domain.into();
        self
    }

    /// The node with this attribute.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.attributes.push(Attribute::new(name, value));
        self
    }

    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&Value> {
        let attribute = self.attributes.iter().find(|attribute| attribute.name == name);
        attribute.map(|attribute| &attribute.value)
    }

    /// Whether it is this operator.
    pub fn is(&self, domain: &str, operator: &str) -> bool {
        let same = crate::operators::domain(&self.domain) == crate::operators::domain(domain);
        same && self.operator == operator
    }

    /// The graphs in its attributes.
    pub fn graphs(&self) -> impl Iterator<Item = &Graph> {
        self.attributes.iter().flat_map(|attribute| attribute.value.graphs())
    }

    /// The graphs in its attributes.
    pub fn graphs_mut(&mut self) -> impl Iterator<Item = &mut Graph> {
        self.attributes.iter_mut().flat_map(|attribute| attribute.value.graphs_mut())
    }
}
