//! The fields of ONNX's messages (`onnx.proto`, release 1.23): their numbers and contents.
//!
//! Unknown fields are rejected: a backend may know them, and they may refer to something outside the model.

/// A message of ONNX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Model,
    OperatorSet,
    Entry,
    TrainingInfo,
    Function,
    Graph,
    Node,
    Attribute,
    Tensor,
    Segment,
    SparseTensor,
    Value,
    Annotation,
    Type,
    TensorType,
    SequenceType,
    MapType,
    OptionalType,
    OpaqueType,
    TensorShape,
    Dimension,
    DeviceConfiguration,
    NodeDevices,
    Sharding,
    DeviceGroup,
    ShardedDimension,
    SimpleSharding,
}

/// A field's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// A name or a reference.
    Name,
    /// Text for people, and metadata values.
    Text,
    Bytes,
    Number,
    Float,
    Floats,
    Doubles,
    Numbers,
    Message(Kind),
}

/// Whether a field may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Times {
    Once,
    Many,
}

impl Kind {
    /// The content of the field with this number; `None` if unknown.
    pub(super) fn field(self, number: u32) -> Option<(Holds, Times)> {
        use Holds::{Bytes, Message, Name, Number, Numbers, Text};
        use Times::{Many, Once};
        Some(match (self, number) {
            (Kind::Model, 1 | 5) => (Number, Once),
            (Kind::Model, 2..=4) => (Name, Once),
            (Kind::Model, 6) => (Text, Once),
            (Kind::Model, 7) => (Message(Kind::Graph), Once),
            (Kind::Model, 8) => (Message(Kind::OperatorSet), Many),
            (Kind::Model, 14) => (Message(Kind::Entry), Many),
            (Kind::Model, 20) => (Message(Kind::TrainingInfo), Many),
            (Kind::Model, 25) => (Message(Kind::Function), Many),
            (Kind::Model, 26) => (Message(Kind::DeviceConfiguration), Many),
            (Kind::OperatorSet, 1) => (Name, Once),
            (Kind::OperatorSet, 2) => (Number, Once),
            (Kind::Entry, 1) => (Name, Once),
            (Kind::Entry, 2) => (Text, Once),
            (Kind::TrainingInfo, 1 | 2) => (Message(Kind::Graph), Once),
            (Kind::TrainingInfo, 3 | 4) => (Message(Kind::Entry), Many),
            (Kind::Function, 1 | 10 | 13) => (Name, Once),
            (Kind::Function, 4..=6) => (Name, Many),
            (Kind::Function, 7) => (Message(Kind::Node), Many),
            (Kind::Function, 8) => (Text, Once),
            (Kind::Function, 9) => (Message(Kind::OperatorSet), Many),
            (Kind::Function, 11) => (Message(Kind::Attribute), Many),
            (Kind::Function, 12) => (Message(Kind::Value), Many),
            (Kind::Function, 14) => (Message(Kind::Entry), Many),
            (Kind::Graph, 1) => (Message(Kind::Node), Many),
            (Kind::Graph, 2) => (Name, Once),
            (Kind::Graph, 5) => (Message(Kind::Tensor), Many),
            (Kind::Graph, 10) => (Text, Once),
            (Kind::Graph, 11..=13) => (Message(Kind::Value), Many),
            (Kind::Graph, 14) => (Message(Kind::Annotation), Many),
            (Kind::Graph, 15) => (Message(Kind::SparseTensor), Many),
            (Kind::Graph, 16) => (Message(Kind::Entry), Many),
            (Kind::Node, 1 | 2) => (Name, Many),
            (Kind::Node, 3 | 4 | 7 | 8) => (Name, Once),
            (Kind::Node, 5) => (Message(Kind::Attribute), Many),
            (Kind::Node, 6) => (Text, Once),
            (Kind::Node, 9) => (Message(Kind::Entry), Many),
            (Kind::Node, 10) => (Message(Kind::NodeDevices), Many),
            (Kind::Value, 1) => (Name, Once),
            (Kind::Value, 2) => (Message(Kind::Type), Once),
            (Kind::Value, 3) => (Text, Once),
            (Kind::Value, 4) => (Message(Kind::Entry), Many),
            (Kind::Annotation, 1) => (Name, Once),
            (Kind::Annotation, 2) => (Message(Kind::Entry), Many),
            (Kind::Segment, 1 | 2) => (Number, Once),
            (Kind::SparseTensor, 1 | 2) => (Message(Kind::Tensor), Once),
            (Kind::SparseTensor, 3) => (Numbers, Many),
            (Kind::DeviceConfiguration, 1) => (Name, Once),
            (Kind::DeviceConfiguration, 2) => (Number, Once),
            (Kind::DeviceConfiguration, 3) => (Name, Many),
            (Kind::Tensor, 8) => (Name, Once),
            (Kind::Tensor, 9) => (Bytes, Once),
            _ => return self.rarer(number),
        })
    }

    /// The kind of message in the field with this number; `None` if it holds something else.
    pub(super) fn holds_message(self, number: u32) -> Option<Self> {
        match self.field(number) {
            Some((Holds::Message(kind), _)) => Some(kind),
            _ => None,
        }
    }

    fn rarer(self, number: u32) -> Option<(Holds, Times)> {
        use Holds::{Bytes, Doubles, Float, Floats, Message, Name, Number, Numbers, Text};
        use Times::{Many, Once};
        Some(match (self, number) {
            (Kind::Attribute, 1 | 21) => (Name, Once),
            (Kind::Attribute, 2) => (Float, Once),
            (Kind::Attribute, 3 | 20) => (Number, Once),
            (Kind::Attribute, 4) => (Bytes, Once),
            (Kind::Attribute, 5) => (Message(Kind::Tensor), Once),
            (Kind::Attribute, 6) => (Message(Kind::Graph), Once),
            (Kind::Attribute, 7) => (Floats, Many),
            (Kind::Attribute, 8) => (Numbers, Many),
            (Kind::Attribute, 9) => (Bytes, Many),
            (Kind::Attribute, 10) => (Message(Kind::Tensor), Many),
            (Kind::Attribute, 11) => (Message(Kind::Graph), Many),
            (Kind::Attribute, 13) => (Text, Once),
            (Kind::Attribute, 14) => (Message(Kind::Type), Once),
            (Kind::Attribute, 15) => (Message(Kind::Type), Many),
            (Kind::Attribute, 22) => (Message(Kind::SparseTensor), Once),
            (Kind::Attribute, 23) => (Message(Kind::SparseTensor), Many),
            (Kind::Tensor, 1 | 5 | 7 | 11) => (Numbers, Many),
            (Kind::Tensor, 2 | 14) => (Number, Once),
            (Kind::Tensor, 3) => (Message(Kind::Segment), Once),
            (Kind::Tensor, 4) => (Floats, Many),
            (Kind::Tensor, 6) => (Bytes, Many),
            (Kind::Tensor, 10) => (Doubles, Many),
            (Kind::Tensor, 12) => (Text, Once),
            (Kind::Tensor, 13 | 16) => (Message(Kind::Entry), Many),
            (Kind::Type, 1) => (Message(Kind::TensorType), Once),
            // The type of a sparse tensor has the same fields.
            (Kind::Type, 8) => (Message(Kind::TensorType), Once),
            (Kind::Type, 4) => (Message(Kind::SequenceType), Once),
            (Kind::Type, 5) => (Message(Kind::MapType), Once),
            (Kind::Type, 9) => (Message(Kind::OptionalType), Once),
            (Kind::Type, 7) => (Message(Kind::OpaqueType), Once),
            (Kind::Type, 6) => (Name, Once),
            (Kind::TensorType, 1) => (Number, Once),
            (Kind::TensorType, 2) => (Message(Kind::TensorShape), Once),
            (Kind::SequenceType | Kind::OptionalType, 1) => (Message(Kind::Type), Once),
            (Kind::MapType, 1) => (Number, Once),
            (Kind::MapType, 2) => (Message(Kind::Type), Once),
            (Kind::OpaqueType, 1 | 2) => (Name, Once),
            (Kind::TensorShape, 1) => (Message(Kind::Dimension), Many),
            (Kind::Dimension, 1) => (Number, Once),
            (Kind::Dimension, 2 | 3) => (Name, Once),
            (Kind::NodeDevices, 1) => (Name, Once),
            (Kind::NodeDevices, 2) => (Message(Kind::Sharding), Many),
            (Kind::NodeDevices, 3) => (Number, Once),
            (Kind::Sharding, 1) => (Name, Once),
            (Kind::Sharding, 2) => (Numbers, Many),
            (Kind::Sharding, 3) => (Message(Kind::DeviceGroup), Many),
            (Kind::Sharding, 4) => (Message(Kind::ShardedDimension), Many),
            (Kind::DeviceGroup, 1) => (Number, Once),
            (Kind::DeviceGroup, 2) => (Numbers, Many),
            (Kind::ShardedDimension, 1) => (Number, Once),
            (Kind::ShardedDimension, 2) => (Message(Kind::SimpleSharding), Many),
            (Kind::SimpleSharding, 1 | 3) => (Number, Once),
            (Kind::SimpleSharding, 2) => (Name, Once),
            _ => return None,
        })
    }
}

/// Bits per element of this type (`TensorProto.DataType`); `None` for text and unknown types.
pub(super) fn element_bits(data_type: u64) -> Option<u64> {
    Some(match data_type {
        25 | 26 => 2,
        21..=23 => 4,
        27 | 28 => 6,
        2 | 3 | 9 | 17..=20 | 24 => 8,
        4 | 5 | 10 | 16 => 16,
        1 | 6 | 12 => 32,
        7 | 11 | 13 | 14 => 64,
        15 => 128,
        _ => return None,
    })
}

/// `TensorProto.DataType.STRING`.
pub(super) const STRING: u64 = 8;
