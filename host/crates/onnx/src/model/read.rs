//! Reads a model from protobuf, after it was walked: what is malformed or too much has been refused by then.

use bytes::Bytes;

use super::attribute::{Attribute, AttributeKind, Value};
use super::tensor::{Data, ElementType, SparseTensor, Tensor};
use super::types::{Dimension, Size, Type, TypeKind, ValueInfo};
use super::{Annotation, Entry, Function, Graph, Model, Node, Opset, Training};
use crate::check::{Weights, walk};
use crate::field::{self, Fields};
use crate::refused::{ModelRefused, Problem, quoted};
use crate::schema::Kind;

/// The numbers of `AttributeProto`'s fields that hold a value.
mod slot {
    pub(super) const FLOAT: u32 = 2;
    pub(super) const INT: u32 = 3;
    pub(super) const TEXT: u32 = 4;
    pub(super) const TENSOR: u32 = 5;
    pub(super) const GRAPH: u32 = 6;
    pub(super) const FLOATS: u32 = 7;
    pub(super) const INTS: u32 = 8;
    pub(super) const TEXTS: u32 = 9;
    pub(super) const TENSORS: u32 = 10;
    pub(super) const GRAPHS: u32 = 11;
    pub(super) const TYPE: u32 = 14;
    pub(super) const TYPES: u32 = 15;
    pub(super) const SPARSE: u32 = 22;
    pub(super) const SPARSES: u32 = 23;
}

type Read<T> = Result<T, ModelRefused>;

impl Model {
    /// Reads a model that [`crate::check()`] takes. Its weights may also be in other files ([`Data::Outside`]).
    ///
    /// # Errors
    /// [`ModelRefused`] as for [`crate::check()`], or if an attribute or a tensor has its value twice.
    pub fn read(model: impl Into<Bytes>) -> Result<Self, ModelRefused> {
        let whole = model.into();
        walk(&whole, Weights::Anywhere)?;
        Reader { whole: &whole }.model()
    }
}

struct Reader<'m> {
    whole: &'m Bytes,
}

/// A field, as text that was checked.
fn text(value: field::FieldValue<'_>) -> String {
    match value {
        field::FieldValue::Name(text) | field::FieldValue::Text(text) => text.to_owned(),
        _ => String::new(),
    }
}

fn number(value: field::FieldValue<'_>) -> i64 {
    value.numbers().next().unwrap_or_default().cast_signed()
}

/// The message in a field.
fn inner(value: field::FieldValue<'_>) -> &[u8] {
    match value {
        field::FieldValue::Message(_, bytes) => bytes,
        _ => &[],
    }
}

/// As protobuf's parsers do, an enum's number is cut off at 32 bits.
fn element(value: field::FieldValue<'_>) -> ElementType {
    ElementType(number(value) as i32)
}

fn floats(value: field::FieldValue<'_>) -> impl Iterator<Item = f32> {
    let bytes = match value {
        field::FieldValue::Fixed(bytes, 4) => bytes,
        _ => &[],
    };
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes))
}

fn each<'m>(
    kind: Kind,
    message: &'m [u8],
    mut take: impl FnMut(u32, field::FieldValue<'m>) -> Read<()>,
) -> Read<()> {
    for field in Fields::new(kind, message) {
        let field = field?;
        take(field.number, field.value)?;
    }
    Ok(())
}

impl<'m> Reader<'m> {
    fn share(&self, bytes: &[u8]) -> Bytes {
        self.whole.slice_ref(bytes)
    }

    fn model(&self) -> Read<Model> {
        let mut model = Model::default();
        each(Kind::Model, self.whole, |field, value| {
            match field {
                1 => model.ir_version = number(value),
                2 => model.producer_name = text(value),
                3 => model.producer_version = text(value),
                4 => model.domain = text(value),
                5 => model.version = number(value),
                6 => model.doc = text(value),
                7 => model.graph = self.graph(inner(value))?,
                8 => model.opsets.push(opset(inner(value))?),
                14 => model.metadata.push(entry(inner(value))?),
                20 => model.training.push(self.training(inner(value))?),
                25 => model.functions.push(self.function(inner(value))?),
                _ => model.devices.push((field, self.share(inner(value)))),
            }
            Ok(())
        })?;
        Ok(model)
    }

    fn training(&self, bytes: &'m [u8]) -> Read<Training> {
        let mut training = Training::default();
        each(Kind::TrainingInfo, bytes, |field, value| {
            match field {
                1 => training.initialisation = Some(self.graph(inner(value))?),
                2 => training.step = Some(self.graph(inner(value))?),
                3 => training.initialised.push(entry(inner(value))?),
                _ => training.updated.push(entry(inner(value))?),
            }
            Ok(())
        })?;
        Ok(training)
    }

    fn function(&self, bytes: &'m [u8]) -> Read<Function> {
        let mut function = Function::default();
        each(Kind::Function, bytes, |field, value| {
            match field {
                1 => function.name = text(value),
                4 => function.inputs.push(text(value)),
                5 => function.outputs.push(text(value)),
                6 => function.attributes.push(text(value)),
                7 => function.nodes.push(self.node(inner(value))?),
                8 => function.doc = text(value),
                9 => function.opsets.push(opset(inner(value))?),
                10 => function.domain = text(value),
                11 => function.defaults.push(self.attribute(inner(value))?),
                12 => function.value_infos.push(value_info(inner(value))?),
                13 => function.overload = text(value),
                _ => function.metadata.push(entry(inner(value))?),
            }
            Ok(())
        })?;
        Ok(function)
    }

    fn graph(&self, bytes: &'m [u8]) -> Read<Graph> {
        let mut graph = Graph::default();
        each(Kind::Graph, bytes, |field, value| {
            match field {
                1 => graph.nodes.push(self.node(inner(value))?),
                2 => graph.name = text(value),
                5 => graph.initialisers.push(self.tensor(inner(value))?),
                10 => graph.doc = text(value),
                11 => graph.inputs.push(value_info(inner(value))?),
                12 => graph.outputs.push(value_info(inner(value))?),
                13 => graph.value_infos.push(value_info(inner(value))?),
                14 => graph.annotations.push(annotation(inner(value))?),
                15 => graph.sparse_initialisers.push(self.sparse(inner(value))?),
                _ => graph.metadata.push(entry(inner(value))?),
            }
            Ok(())
        })?;
        Ok(graph)
    }

    fn node(&self, bytes: &'m [u8]) -> Read<Node> {
        let mut node = Node::default();
        let read = each(Kind::Node, bytes, |field, value| {
            match field {
                1 => node.inputs.push(text(value)),
                2 => node.outputs.push(text(value)),
                3 => node.name = text(value),
                4 => node.operator = text(value),
                5 => node.attributes.push(self.attribute(inner(value))?),
                6 => node.doc = text(value),
                7 => node.domain = text(value),
                8 => node.overload = text(value),
                9 => node.metadata.push(entry(inner(value))?),
                _ => node.devices.push((field, self.share(inner(value)))),
            }
            Ok(())
        });
        match read {
            Ok(()) => Ok(node),
            Err(refused) => Err(refused.within(|| Some(node.place()))),
        }
    }

    fn attribute(&self, bytes: &'m [u8]) -> Read<Attribute> {
        let mut attribute = Attribute::new("", Value::Int(0));
        let (mut kind, mut source) = (AttributeKind::Unstated, String::new());
        let mut slots = Slots::default();
        each(Kind::Attribute, bytes, |field, value| {
            match field {
                1 => attribute.name = text(value),
                13 => attribute.doc = text(value),
                20 => {
                    let number = number(value).cast_unsigned();
                    kind = AttributeKind::of(number).unwrap_or(AttributeKind::Unstated);
                }
                21 => source = text(value),
                _ => self.slot(&mut slots, field, value)?,
            }
            Ok(())
        })?;
        let value = if source.is_empty() {
            slots.value(kind)
        } else if slots.0.is_empty() {
            Ok(Value::Of(source, kind))
        } else {
            Err("a value and the name of another attribute")
        };
        attribute.value = value.map_err(|found| {
            let name = quoted(&attribute.name);
            ModelRefused::from(Problem::Attribute { name, found })
        })?;
        Ok(attribute)
    }

    /// Takes a field that holds a value, or a part of one.
    fn slot(&self, slots: &mut Slots, field: u32, value: field::FieldValue<'m>) -> Read<()> {
        let bytes = |value| match value {
            field::FieldValue::Bytes(bytes) => self.share(bytes),
            _ => Bytes::new(),
        };
        let read = match field {
            slot::FLOAT => Value::Float(floats(value).next().unwrap_or_default()),
            slot::INT => Value::Int(number(value)),
            slot::TEXT => Value::Text(bytes(value)),
            slot::TENSOR => Value::Tensor(self.tensor(inner(value))?),
            slot::GRAPH => Value::Graph(Box::new(self.graph(inner(value))?)),
            slot::TYPE => Value::Type(Box::new(ty(inner(value))?)),
            slot::SPARSE => Value::SparseTensor(Box::new(self.sparse(inner(value))?)),
            _ => return self.slots(slots, field, value),
        };
        slots.0.push((field, read));
        Ok(())
    }

    fn slots(&self, slots: &mut Slots, field: u32, value: field::FieldValue<'m>) -> Read<()> {
        let place = slots.list(field);
        match (place, value) {
            (Value::Floats(list), value) => list.extend(floats(value)),
            (Value::Ints(list), value) => list.extend(value.numbers().map(u64::cast_signed)),
            (Value::Texts(list), field::FieldValue::Bytes(bytes)) => list.push(self.share(bytes)),
            (Value::Tensors(list), value) => list.push(self.tensor(inner(value))?),
            (Value::Graphs(list), value) => list.push(self.graph(inner(value))?),
            (Value::SparseTensors(list), value) => list.push(self.sparse(inner(value))?),
            (Value::Types(list), value) => list.push(ty(inner(value))?),
            _ => {}
        }
        Ok(())
    }

    fn sparse(&self, bytes: &'m [u8]) -> Read<SparseTensor> {
        let mut sparse = SparseTensor::default();
        each(Kind::SparseTensor, bytes, |field, value| {
            match field {
                1 => sparse.values = self.tensor(inner(value))?,
                2 => sparse.indices = self.tensor(inner(value))?,
                _ => sparse.dims.extend(value.numbers().map(u64::cast_signed)),
            }
            Ok(())
        })?;
        Ok(sparse)
    }

    fn tensor(&self, bytes: &'m [u8]) -> Read<Tensor> {
        let mut tensor = Tensor::default();
        let (mut raw, mut is_outside) = (None, false);
        let (mut texts, mut place, mut words) = (Vec::new(), Vec::new(), Vec::new());
        each(Kind::Tensor, bytes, |field, value| {
            match field {
                1 => tensor.dims.extend(value.numbers().map(u64::cast_signed)),
                2 => tensor.element = element(value),
                3 => tensor.segment.push((field, self.share(inner(value)))),
                8 => tensor.name = text(value),
                12 => tensor.doc = text(value),
                13 => place.push(entry(inner(value))?),
                14 => is_outside = number(value) == 1,
                16 => tensor.metadata.push(entry(inner(value))?),
                _ => match value {
                    field::FieldValue::Bytes(bytes) if field == 9 => raw = Some(self.share(bytes)),
                    field::FieldValue::Bytes(bytes) => texts.push(self.share(bytes)),
                    other => words.push(other),
                },
            }
            Ok(())
        })?;
        let has_raw = raw.as_ref().is_some_and(|raw| !raw.is_empty());
        let representations = [has_raw, !words.is_empty(), !texts.is_empty(), is_outside];
        let is_text = tensor.element.is_text();
        let is_of_another = if is_text { has_raw || !words.is_empty() } else { !texts.is_empty() };
        if is_of_another || representations.iter().filter(|has| **has).count() > 1 {
            let name = quoted(&tensor.name);
            return Err(Problem::Elements { name }.into());
        }
        tensor.data = if is_outside {
            Data::Outside(place)
        } else if is_text {
            Data::Texts(texts)
        } else if words.is_empty() {
            Data::Bytes(raw.unwrap_or_default())
        } else {
            Data::Bytes(packed(&words, tensor.element).into())
        };
        Ok(tensor)
    }
}

/// Elements that a file has as numbers, as bytes.
fn packed(words: &[field::FieldValue<'_>], element: ElementType) -> Vec<u8> {
    // Numbers of less than four bytes, and bytes of smaller ones, are each in a number of 32 bits.
    let width = element.bits().unwrap_or_default().div_ceil(8).clamp(1, 8) as usize;
    let mut bytes = Vec::new();
    for word in words {
        match word {
            field::FieldValue::Fixed(fixed, _) => bytes.extend_from_slice(fixed),
            other => other.numbers().for_each(|number| {
                bytes.extend_from_slice(number.to_le_bytes().get(..width).unwrap_or_default());
            }),
        }
    }
    bytes
}

/// The values that an attribute holds, by their fields.
#[derive(Default)]
struct Slots(Vec<(u32, Value)>);

impl Slots {
    /// The list of this field.
    fn list(&mut self, field: u32) -> &mut Value {
        let at = self.0.iter().position(|(known, _)| *known == field).unwrap_or_else(|| {
            self.0.push((field, empty(field)));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }

    /// The one value. Some writers spell out other kinds' zeros.
    fn value(self, kind: AttributeKind) -> Result<Value, &'static str> {
        let is_zero = |value: &Value| match value {
            Value::Float(number) => number.to_bits() == 0,
            Value::Int(number) => *number == 0,
            Value::Text(text) => text.is_empty(),
            _ => false,
        };
        let unstated = kind == AttributeKind::Unstated;
        let (mut stated, others): (Vec<_>, Vec<_>) = self
            .0
            .into_iter()
            .map(|(_, value)| value)
            .partition(|value| if unstated { !is_zero(value) } else { value.kind() == kind });
        if stated.len() > 1 || !unstated && others.iter().any(|value| !is_zero(value)) {
            return Err("values of several kinds");
        }
        let only = stated.pop().or_else(|| if unstated { others.into_iter().next() } else { None });
        match (only, kind) {
            (Some(value), _) => Ok(value),
            (None, AttributeKind::Float) => Ok(Value::Float(0.0)),
            (None, AttributeKind::Int) => Ok(Value::Int(0)),
            (None, AttributeKind::Text) => Ok(Value::Text(Bytes::new())),
            (None, AttributeKind::Floats) => Ok(Value::Floats(Vec::new())),
            (None, AttributeKind::Ints) => Ok(Value::Ints(Vec::new())),
            (None, AttributeKind::Texts) => Ok(Value::Texts(Vec::new())),
            (None, AttributeKind::Tensors) => Ok(Value::Tensors(Vec::new())),
            (None, AttributeKind::Graphs) => Ok(Value::Graphs(Vec::new())),
            (None, AttributeKind::SparseTensors) => Ok(Value::SparseTensors(Vec::new())),
            (None, AttributeKind::Types) => Ok(Value::Types(Vec::new())),
            (None, _) => Err("no value"),
        }
    }
}

/// The empty list of a field.
fn empty(field: u32) -> Value {
    match field {
        slot::FLOATS => Value::Floats(Vec::new()),
        slot::INTS => Value::Ints(Vec::new()),
        slot::TEXTS => Value::Texts(Vec::new()),
        slot::TENSORS => Value::Tensors(Vec::new()),
        slot::GRAPHS => Value::Graphs(Vec::new()),
        slot::SPARSES => Value::SparseTensors(Vec::new()),
        slot::TYPES => Value::Types(Vec::new()),
        other => unreachable!("invariant: the walk refused an attribute's field {other}"),
    }
}

fn entry(bytes: &[u8]) -> Read<Entry> {
    let mut entry = Entry::new("", "");
    each(Kind::Entry, bytes, |field, value| {
        *(if field == 1 { &mut entry.key } else { &mut entry.value }) = text(value);
        Ok(())
    })?;
    Ok(entry)
}

fn opset(bytes: &[u8]) -> Read<Opset> {
    let mut opset = Opset::new("", 0);
    each(Kind::OperatorSet, bytes, |field, value| {
        match field {
            1 => opset.domain = text(value),
            _ => opset.version = number(value),
        }
        Ok(())
    })?;
    Ok(opset)
}

fn annotation(bytes: &[u8]) -> Read<Annotation> {
    let mut annotation = Annotation::default();
    each(Kind::Annotation, bytes, |field, value| {
        match field {
            1 => annotation.value = text(value),
            _ => annotation.tensors.push(entry(inner(value))?),
        }
        Ok(())
    })?;
    Ok(annotation)
}

fn value_info(bytes: &[u8]) -> Read<ValueInfo> {
    let mut info = ValueInfo::default();
    each(Kind::Value, bytes, |field, value| {
        match field {
            1 => info.name = text(value),
            2 => info.ty = Some(ty(inner(value))?),
            3 => info.doc = text(value),
            _ => info.metadata.push(entry(inner(value))?),
        }
        Ok(())
    })?;
    Ok(info)
}

fn ty(bytes: &[u8]) -> Read<Type> {
    let mut ty = Type::from(TypeKind::Unstated);
    each(Kind::Type, bytes, |field, value| {
        let message = inner(value);
        let kind = match field {
            6 => {
                ty.denotation = text(value);
                return Ok(());
            }
            1 => tensor_type(message).map(|(element, shape)| TypeKind::Tensor(element, shape))?,
            8 => tensor_type(message)
                .map(|(element, shape)| TypeKind::SparseTensor(element, shape))?,
            4 => TypeKind::Sequence(element_type(Kind::SequenceType, message)?),
            9 => TypeKind::Optional(element_type(Kind::OptionalType, message)?),
            5 => {
                let (mut key, mut of) = (ElementType::UNDEFINED, None);
                each(Kind::MapType, message, |field, value| {
                    match field {
                        1 => key = element(value),
                        _ => of = Some(Box::new(self::ty(inner(value))?)),
                    }
                    Ok(())
                })?;
                TypeKind::Map(key, of)
            }
            _ => {
                let (mut domain, mut name) = (String::new(), String::new());
                each(Kind::OpaqueType, message, |field, value| {
                    *(if field == 1 { &mut domain } else { &mut name }) = text(value);
                    Ok(())
                })?;
                TypeKind::Opaque(domain, name)
            }
        };
        // Protobuf has one of them: the last.
        ty.kind = kind;
        Ok(())
    })?;
    Ok(ty)
}

fn element_type(kind: Kind, bytes: &[u8]) -> Read<Option<Box<Type>>> {
    let mut of = None;
    each(kind, bytes, |_, value| {
        of = Some(Box::new(ty(inner(value))?));
        Ok(())
    })?;
    Ok(of)
}

fn tensor_type(bytes: &[u8]) -> Read<(ElementType, Option<Vec<Dimension>>)> {
    let (mut of, mut shape) = (ElementType::UNDEFINED, None);
    each(Kind::TensorType, bytes, |field, value| {
        match field {
            1 => of = element(value),
            _ => {
                let mut dimensions = Vec::new();
                each(Kind::TensorShape, inner(value), |_, value| {
                    dimensions.push(dimension(inner(value))?);
                    Ok(())
                })?;
                shape = Some(dimensions);
            }
        }
        Ok(())
    })?;
    Ok((of, shape))
}

fn dimension(bytes: &[u8]) -> Read<Dimension> {
    let mut dimension = Dimension::default();
    each(Kind::Dimension, bytes, |field, value| {
        match field {
            1 => dimension.size = Size::Fixed(number(value)),
            2 => dimension.size = Size::Named(text(value)),
            _ => dimension.denotation = text(value),
        }
        Ok(())
    })?;
    Ok(dimension)
}
