//! Writes a model as protobuf: fields in the order of their numbers, each value in one way, so that a model has one file.

use bytes::Bytes;

use super::attribute::{Attribute, Value};
use super::tensor::{Data, ElementType, SparseTensor, Tensor};
use super::types::{Dimension, Size, Type, TypeKind, ValueInfo};
use super::{Annotation, Entry, Function, Graph, Model, Node, Opset, Training, Verbatim};
use crate::check::check;
use crate::limits::{DEPTH_MAX, MODEL_BYTES_MAX};
use crate::refused::{ModelRefused, Problem};
use crate::wire::put_varint;

/// Data from so many bytes on is not copied from one message to the one around it.
const SHARED_BYTES_MIN: usize = 4096;

impl Model {
    /// The model as a file. The same model gives the same bytes.
    ///
    /// # Errors
    /// [`ModelRefused`] if hosts would refuse it: it exceeds a limit, refers to something outside itself, or a tensor has fewer elements
    /// than its shape asks for.
    pub fn write(&self) -> Result<Vec<u8>, ModelRefused> {
        let mut out = Out::default();
        self.fields(&mut out);
        if out.is_too_deep {
            return Err(Problem::Depth.into());
        }
        if out.length() > MODEL_BYTES_MAX {
            return Err(Problem::TooLarge { bytes: out.length() }.into());
        }
        let bytes = out.into_bytes();
        check(&bytes)?;
        Ok(bytes)
    }
}

impl Model {
    /// The model as a file, without any check: for graphs that the host writes itself and whose weights are elsewhere.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Out::default();
        self.fields(&mut out);
        out.into_bytes()
    }
}

/// A message that is being written.
#[derive(Default)]
struct Out {
    /// What precedes `tail`, in order.
    parts: Vec<Bytes>,
    parts_bytes: usize,
    tail: Vec<u8>,
    depth: usize,
    is_too_deep: bool,
}

impl Out {
    fn length(&self) -> usize {
        self.parts_bytes + self.tail.len()
    }

    fn tag(&mut self, field: u32, kind: u32) {
        put_varint(&mut self.tail, u64::from(field << 3 | kind));
    }

    /// A number, also if it is zero.
    fn always(&mut self, field: u32, number: i64) {
        self.tag(field, 0);
        put_varint(&mut self.tail, number.cast_unsigned());
    }

    fn number(&mut self, field: u32, number: i64) {
        if number != 0 {
            self.always(field, number);
        }
    }

    /// Bytes, also if there are none.
    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.tag(field, 2);
        put_varint(&mut self.tail, bytes.len() as u64);
        self.tail.extend_from_slice(bytes);
    }

    /// As [`Out::bytes`], without copying many of them.
    fn shared(&mut self, field: u32, bytes: &Bytes) {
        if bytes.len() < SHARED_BYTES_MIN {
            return self.bytes(field, bytes);
        }
        self.tag(field, 2);
        put_varint(&mut self.tail, bytes.len() as u64);
        self.part(bytes.clone());
    }

    fn part(&mut self, part: Bytes) {
        if !self.tail.is_empty() {
            let tail = Bytes::from(std::mem::take(&mut self.tail));
            self.parts_bytes += tail.len();
            self.parts.push(tail);
        }
        self.parts_bytes += part.len();
        self.parts.push(part);
    }

    fn text(&mut self, field: u32, text: &str) {
        if !text.is_empty() {
            self.bytes(field, text.as_bytes());
        }
    }

    /// Names, of which some may be empty.
    fn texts(&mut self, field: u32, texts: &[String]) {
        texts.iter().for_each(|text| self.bytes(field, text.as_bytes()));
    }

    fn numbers(&mut self, field: u32, numbers: &[i64]) {
        if !numbers.is_empty() {
            let mut packed = Vec::new();
            numbers.iter().for_each(|number| put_varint(&mut packed, number.cast_unsigned()));
            self.bytes(field, &packed);
        }
    }

    fn message<T: Message>(&mut self, field: u32, message: &T) {
        let depth = self.depth + 1;
        if depth >= DEPTH_MAX || self.is_too_deep {
            self.is_too_deep = true;
            return;
        }
        let mut inner = Out { depth, ..Out::default() };
        message.fields(&mut inner);
        self.is_too_deep |= inner.is_too_deep;
        self.tag(field, 2);
        put_varint(&mut self.tail, inner.length() as u64);
        inner.parts.into_iter().for_each(|part| self.small_or_part(part));
        self.tail.extend_from_slice(&inner.tail);
    }

    fn small_or_part(&mut self, part: Bytes) {
        if part.len() < SHARED_BYTES_MIN {
            self.tail.extend_from_slice(&part);
        } else {
            self.part(part);
        }
    }

    fn messages<'t, T: Message + 't>(
        &mut self,
        field: u32,
        messages: impl IntoIterator<Item = &'t T>,
    ) {
        messages.into_iter().for_each(|message| self.message(field, message));
    }

    fn verbatim(&mut self, messages: &Verbatim) {
        messages.iter().for_each(|(field, bytes)| self.bytes(*field, bytes));
    }

    fn into_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.length());
        self.parts.iter().for_each(|part| bytes.extend_from_slice(part));
        bytes.extend_from_slice(&self.tail);
        bytes
    }
}

/// A message, in the order of its fields' numbers.
trait Message {
    fn fields(&self, out: &mut Out);
}

impl Message for Model {
    fn fields(&self, out: &mut Out) {
        out.number(1, self.ir_version);
        out.text(2, &self.producer_name);
        out.text(3, &self.producer_version);
        out.text(4, &self.domain);
        out.number(5, self.version);
        out.text(6, &self.doc);
        out.message(7, &self.graph);
        out.messages(8, &self.opsets);
        out.messages(14, &self.metadata);
        out.messages(20, &self.training);
        out.messages(25, &self.functions);
        out.verbatim(&self.devices);
    }
}

impl Message for Opset {
    fn fields(&self, out: &mut Out) {
        out.text(1, &self.domain);
        out.always(2, self.version);
    }
}

impl Message for Entry {
    fn fields(&self, out: &mut Out) {
        out.text(1, &self.key);
        out.text(2, &self.value);
    }
}

impl Message for Training {
    fn fields(&self, out: &mut Out) {
        out.messages(1, &self.initialisation);
        out.messages(2, &self.step);
        out.messages(3, &self.initialised);
        out.messages(4, &self.updated);
    }
}

impl Message for Function {
    fn fields(&self, out: &mut Out) {
        out.text(1, &self.name);
        out.texts(4, &self.inputs);
        out.texts(5, &self.outputs);
        out.texts(6, &self.attributes);
        out.messages(7, &self.nodes);
        out.text(8, &self.doc);
        out.messages(9, &self.opsets);
        out.text(10, &self.domain);
        out.messages(11, &self.defaults);
        out.messages(12, &self.value_infos);
        out.text(13, &self.overload);
        out.messages(14, &self.metadata);
    }
}

impl Message for Graph {
    fn fields(&self, out: &mut Out) {
        out.messages(1, &self.nodes);
        out.text(2, &self.name);
        out.messages(5, &self.initialisers);
        out.text(10, &self.doc);
        out.messages(11, &self.inputs);
        out.messages(12, &self.outputs);
        out.messages(13, &self.value_infos);
        out.messages(14, &self.annotations);
        out.messages(15, &self.sparse_initialisers);
        out.messages(16, &self.metadata);
    }
}

impl Message for Node {
    fn fields(&self, out: &mut Out) {
        out.texts(1, &self.inputs);
        out.texts(2, &self.outputs);
        out.text(3, &self.name);
        out.text(4, &self.operator);
        out.messages(5, &self.attributes);
        out.text(6, &self.doc);
        out.text(7, &self.domain);
        out.text(8, &self.overload);
        out.messages(9, &self.metadata);
        out.verbatim(&self.devices);
    }
}

impl Message for Annotation {
    fn fields(&self, out: &mut Out) {
        out.text(1, &self.value);
        out.messages(2, &self.tensors);
    }
}

impl Message for Attribute {
    fn fields(&self, out: &mut Out) {
        out.text(1, &self.name);
        // A value is written also if it is zero: a checker counts those that are there.
        match &self.value {
            Value::Float(number) => {
                out.tag(2, 5);
                out.tail.extend_from_slice(&number.to_le_bytes());
            }
            Value::Int(number) => out.always(3, *number),
            Value::Text(text) => out.shared(4, text),
            Value::Tensor(tensor) => out.message(5, tensor),
            Value::Graph(graph) => out.message(6, &**graph),
            Value::Floats(numbers) if !numbers.is_empty() => {
                let packed: Vec<u8> =
                    numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
                out.shared(7, &packed.into());
            }
            Value::Ints(numbers) => out.numbers(8, numbers),
            Value::Texts(texts) => texts.iter().for_each(|text| out.bytes(9, text)),
            Value::Tensors(tensors) => out.messages(10, tensors),
            Value::Graphs(graphs) => out.messages(11, graphs),
            _ => {}
        }
        out.text(13, &self.doc);
        match &self.value {
            Value::Type(ty) => out.message(14, &**ty),
            Value::Types(types) => out.messages(15, types),
            _ => {}
        }
        out.number(20, self.value.kind() as i64);
        match &self.value {
            Value::Of(name, _) => out.text(21, name),
            Value::SparseTensor(sparse) => out.message(22, &**sparse),
            Value::SparseTensors(sparse) => out.messages(23, sparse),
            _ => {}
        }
    }
}

impl Message for Tensor {
    fn fields(&self, out: &mut Out) {
        out.numbers(1, &self.dims);
        out.always(2, self.element.0.into());
        out.verbatim(&self.segment);
        if let Data::Texts(texts) = &self.data {
            texts.iter().for_each(|text| out.bytes(6, text));
        }
        out.text(8, &self.name);
        match &self.data {
            Data::Bytes(bytes) if !bytes.is_empty() => out.shared(9, bytes),
            _ => {}
        }
        out.text(12, &self.doc);
        if let Data::Outside(place) = &self.data {
            out.messages(13, place);
            out.always(14, 1);
        }
        out.messages(16, &self.metadata);
    }
}

impl Message for SparseTensor {
    fn fields(&self, out: &mut Out) {
        out.message(1, &self.values);
        out.message(2, &self.indices);
        out.numbers(3, &self.dims);
    }
}

impl Message for ValueInfo {
    fn fields(&self, out: &mut Out) {
        out.text(1, &self.name);
        out.messages(2, &self.ty);
        out.text(3, &self.doc);
        out.messages(4, &self.metadata);
    }
}

impl Message for Type {
    fn fields(&self, out: &mut Out) {
        match &self.kind {
            TypeKind::Unstated => {}
            TypeKind::Tensor(element, shape) => out.message(1, &TensorType(*element, shape)),
            TypeKind::Sequence(of) => out.message(4, &Nested(of)),
            TypeKind::Map(key, of) => out.message(5, &MapType(*key, of)),
            _ => {}
        }
        out.text(6, &self.denotation);
        match &self.kind {
            TypeKind::Opaque(domain, name) => out.message(7, &Opaque(domain, name)),
            TypeKind::SparseTensor(element, shape) => out.message(8, &TensorType(*element, shape)),
            TypeKind::Optional(of) => out.message(9, &Nested(of)),
            _ => {}
        }
    }
}

/// `TypeProto.Tensor` or `TypeProto.SparseTensor`.
struct TensorType<'t>(ElementType, &'t Option<Vec<Dimension>>);

impl Message for TensorType<'_> {
    fn fields(&self, out: &mut Out) {
        out.always(1, self.0.0.into());
        out.messages(2, self.1.as_ref().map(Shape).as_ref());
    }
}

struct Shape<'t>(&'t Vec<Dimension>);

impl Message for Shape<'_> {
    fn fields(&self, out: &mut Out) {
        out.messages(1, self.0);
    }
}

impl Message for Dimension {
    fn fields(&self, out: &mut Out) {
        match &self.size {
            Size::Open => {}
            Size::Fixed(size) => out.always(1, *size),
            Size::Named(name) => out.bytes(2, name.as_bytes()),
        }
        out.text(3, &self.denotation);
    }
}

/// `TypeProto.Sequence` or `TypeProto.Optional`.
struct Nested<'t>(&'t Option<Box<Type>>);

impl Message for Nested<'_> {
    fn fields(&self, out: &mut Out) {
        out.messages(1, self.0.as_deref());
    }
}

struct MapType<'t>(ElementType, &'t Option<Box<Type>>);

impl Message for MapType<'_> {
    fn fields(&self, out: &mut Out) {
        out.always(1, self.0.0.into());
        out.messages(2, self.1.as_deref());
    }
}

struct Opaque<'t>(&'t str, &'t str);

impl Message for Opaque<'_> {
    fn fields(&self, out: &mut Out) {
        out.text(1, self.0);
        out.text(2, self.1);
    }
}
