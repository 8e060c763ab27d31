//! Types of values, as a model states them.

use std::fmt;

use super::Entry;
use super::tensor::ElementType;

/// A value and its type (`ValueInfoProto`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ValueInfo {
    pub name: String,
    /// `None` if it is not stated.
    pub ty: Option<Type>,
    pub doc: String,
    pub metadata: Vec<Entry>,
}

/// A type (`TypeProto`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Type {
    pub kind: TypeKind,
    /// What it means, e.g. `IMAGE`.
    pub denotation: String,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypeKind {
    Unstated,
    /// Elements, and the dimensions; `None` if even their number is open.
    Tensor(ElementType, Option<Vec<Dimension>>),
    SparseTensor(ElementType, Option<Vec<Dimension>>),
    Sequence(Option<Box<Type>>),
    /// The type of its keys, and of its values.
    Map(ElementType, Option<Box<Type>>),
    Optional(Option<Box<Type>>),
    /// A domain and a name.
    Opaque(String, String),
}

/// A dimension of a shape.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dimension {
    pub size: Size,
    /// What it means, e.g. `DATA_BATCH`.
    pub denotation: String,
}

/// How large a dimension is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Size {
    #[default]
    Open,
    /// Open, with a name: dimensions of the same name have the same size.
    Named(String),
    /// Some exporters write an open one as a negative size.
    Fixed(i64),
}

impl ValueInfo {
    /// A tensor of this type and shape.
    pub fn tensor(name: impl Into<String>, element: ElementType, shape: &[Size]) -> Self {
        let ty = Some(Type::tensor(element, shape));
        Self { name: name.into(), ty, ..Self::default() }
    }
}

impl Type {
    /// A tensor of this type and shape.
    pub fn tensor(element: ElementType, shape: &[Size]) -> Self {
        let shape =
            shape.iter().map(|size| Dimension { size: size.clone(), ..Dimension::default() });
        TypeKind::Tensor(element, Some(shape.collect())).into()
    }

    /// The dimensions of a tensor; `None` if their number is open, or it is something else.
    pub fn shape(&self) -> Option<&[Dimension]> {
        match &self.kind {
            TypeKind::Tensor(_, shape) => shape.as_deref(),
            _ => None,
        }
    }
}

impl From<TypeKind> for Type {
    fn from(kind: TypeKind) -> Self {
        Self { kind, denotation: String::new() }
    }
}

impl From<i64> for Size {
    fn from(size: i64) -> Self {
        Size::Fixed(size)
    }
}

/// As people read it: a number, a name, or `?`.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Size::Fixed(size) if *size >= 0 => write!(f, "{size}"),
            Size::Named(name) if !name.is_empty() => f.write_str(&crate::refused::quoted(name)),
            _ => f.write_str("?"),
        }
    }
}
