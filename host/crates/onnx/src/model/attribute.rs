//! Attributes of nodes: a name and one value.

use bytes::Bytes;

use super::Graph;
use super::tensor::{SparseTensor, Tensor};
use super::types::Type;

/// An attribute (`AttributeProto`).
#[derive(Debug, Clone, PartialEq)]
pub struct Attribute {
    pub name: String,
    pub value: Value,
    pub doc: String,
}

/// What an attribute has.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Float(f32),
    Int(i64),
    /// Usually UTF-8.
    Text(Bytes),
    Tensor(Tensor),
    Graph(Box<Graph>),
    SparseTensor(Box<SparseTensor>),
    Type(Box<Type>),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    Texts(Vec<Bytes>),
    Tensors(Vec<Tensor>),
    Graphs(Vec<Graph>),
    SparseTensors(Vec<SparseTensor>),
    Types(Vec<Type>),
    /// In a function's node: the attribute of this name that the call gives.
    Of(String, AttributeKind),
}

/// What an attribute may have (`AttributeProto.AttributeType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttributeKind {
    Unstated,
    Float,
    Int,
    Text,
    Tensor,
    Graph,
    Floats,
    Ints,
    Texts,
    Tensors,
    Graphs,
    SparseTensor,
    SparseTensors,
    Type,
    Types,
}

impl AttributeKind {
    /// In the order of their numbers.
    pub(super) const ALL: [AttributeKind; 15] = [
        AttributeKind::Unstated,
        AttributeKind::Float,
        AttributeKind::Int,
        AttributeKind::Text,
        AttributeKind::Tensor,
        AttributeKind::Graph,
        AttributeKind::Floats,
        AttributeKind::Ints,
        AttributeKind::Texts,
        AttributeKind::Tensors,
        AttributeKind::Graphs,
        AttributeKind::SparseTensor,
        AttributeKind::SparseTensors,
        AttributeKind::Type,
        AttributeKind::Types,
    ];

    pub(super) fn of(number: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

impl Attribute {
    /// This attribute, without documentation.
    pub fn new(name: impl Into<String>, value: impl Into<Value>) -> Self {
        Self { name: name.into(), value: value.into(), doc: String::new() }
    }
}

impl Value {
    /// Which kind it is.
    pub fn kind(&self) -> AttributeKind {
        match self {
            Value::Float(_) => AttributeKind::Float,
            Value::Int(_) => AttributeKind::Int,
            Value::Text(_) => AttributeKind::Text,
            Value::Tensor(_) => AttributeKind::Tensor,
            Value::Graph(_) => AttributeKind::Graph,
            Value::SparseTensor(_) => AttributeKind::SparseTensor,
            Value::Type(_) => AttributeKind::Type,
            Value::Floats(_) => AttributeKind::Floats,
            Value::Ints(_) => AttributeKind::Ints,
            Value::Texts(_) => AttributeKind::Texts,
            Value::Tensors(_) => AttributeKind::Tensors,
            Value::Graphs(_) => AttributeKind::Graphs,
            Value::SparseTensors(_) => AttributeKind::SparseTensors,
            Value::Types(_) => AttributeKind::Types,
            Value::Of(_, kind) => *kind,
        }
    }

    /// The graphs in it.
    pub fn graphs(&self) -> &[Graph] {
        match self {
            Value::Graph(graph) => std::slice::from_ref(graph),
            Value::Graphs(graphs) => graphs,
            _ => &[],
        }
    }

    /// The graphs in it.
    pub fn graphs_mut(&mut self) -> &mut [Graph] {
        match self {
            Value::Graph(graph) => std::slice::from_mut(graph),
            Value::Graphs(graphs) => graphs,
            _ => &mut [],
        }
    }

    /// The tensors in it, with those of sparse tensors, without those of its graphs.
    pub fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
        match self {
            Value::Tensor(tensor) => vec![tensor],
            Value::Tensors(tensors) => tensors.iter_mut().collect(),
            Value::SparseTensor(sparse) => sparse.tensors_mut().into(),
            Value::SparseTensors(sparse) => {
                sparse.iter_mut().flat_map(SparseTensor::tensors_mut).collect()
            }
            _ => Vec::new(),
        }
    }

    /// A whole number.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// A number.
    pub fn as_float(&self) -> Option<f32> {
        match self {
            Value::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// A text, if it is UTF-8.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => str::from_utf8(text).ok(),
            _ => None,
        }
    }

    /// Whole numbers.
    pub fn as_ints(&self) -> Option<&[i64]> {
        match self {
            Value::Ints(numbers) => Some(numbers),
            _ => None,
        }
    }

    /// A tensor.
    pub fn as_tensor(&self) -> Option<&Tensor> {
        match self {
            Value::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }
}

impl From<f32> for Value {
    fn from(number: f32) -> Self {
        Value::Float(number)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Int(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<Tensor> for Value {
    fn from(tensor: Tensor) -> Self {
        Value::Tensor(tensor)
    }
}

impl From<Graph> for Value {
    fn from(graph: Graph) -> Self {
        Value::Graph(Box::new(graph))
    }
}

impl From<Vec<f32>> for Value {
    fn from(numbers: Vec<f32>) -> Self {
        Value::Floats(numbers)
    }
}

impl From<Vec<i64>> for Value {
    fn from(numbers: Vec<i64>) -> Self {
        Value::Ints(numbers)
    }
}

impl From<&[&str]> for Value {
    fn from(texts: &[&str]) -> Self {
        let texts = texts.iter().map(|text| Bytes::copy_from_slice(text.as_bytes()));
        Value::Texts(texts.collect())
    }
}
