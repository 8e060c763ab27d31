//! The smallest ONNX models, written by hand so that tests need no model files, and how to run one
//! without a host.

use std::time::{Duration, Instant};

use hospes::inference::backend::{Call, Context, Model, Stop};
use hospes::tensor::{DataType, Tensor};

use crate::model::{message, number, text};

/// `TensorProto.DataType` (onnx.proto3).
fn element(ty: DataType) -> u64 {
    match ty {
        DataType::F32 => 1,
        DataType::U8 => 2,
        DataType::I8 => 3,
        DataType::U16 => 4,
        DataType::I16 => 5,
        DataType::I32 => 6,
        DataType::I64 => 7,
        DataType::Bytes => 8,
        DataType::Bool => 9,
        DataType::F16 => 10,
        DataType::F64 => 11,
        DataType::U32 => 12,
        DataType::U64 => 13,
        DataType::Bf16 => 16,
    }
}

/// A model that copies its input `x` to its output `y`, with this type and this many dimensions of
/// unknown size.
pub fn identity(ty: DataType, rank: usize) -> Vec<u8> {
    let node = [text(1, "x"), text(2, "y"), text(4, "Identity")].concat();
    let graph = [
        message(1, &node),
        text(2, "identity"),
        message(11, &value("x", ty, rank)),
        message(12, &value("y", ty, rank)),
    ]
    .concat();
    [number(1, 8), message(7, &graph), message(8, &number(2, 16))].concat()
}

/// Selects rows of `x` (FP32) by their indices `i` (INT64). Libraries name the node if an index is
/// out of bounds.
pub fn gather(node_name: &str) -> Vec<u8> {
    let node = [text(1, "x"), text(1, "i"), text(2, "y"), text(3, node_name), text(4, "Gather")];
    let graph = [
        message(1, &node.concat()),
        text(2, "gather"),
        message(11, &value("x", DataType::F32, 1)),
        message(11, &value("i", DataType::I64, 1)),
        message(12, &value("y", DataType::F32, 1)),
    ]
    .concat();
    [number(1, 8), message(7, &graph), message(8, &number(2, 16))].concat()
}

/// Triton's example model `simple`: INPUT0 and INPUT1 are INT32 with rows of 16; OUTPUT0 is their
/// sum, OUTPUT1 their difference.
pub fn simple() -> Vec<u8> {
    let node = |kind: &str, output: &str| {
        message(1, &[text(1, "INPUT0"), text(1, "INPUT1"), text(2, output), text(4, kind)].concat())
    };
    let rows = message(1, &text(2, "rows"));
    let columns = message(1, &number(1, 16));
    let tensor =
        [number(1, element(DataType::I32)), message(2, &[rows, columns].concat())].concat();
    let value = |name: &str| [text(1, name), message(2, &message(1, &tensor))].concat();
    let graph = [
        node("Add", "OUTPUT0"),
        node("Sub", "OUTPUT1"),
        text(2, "simple"),
        message(11, &value("INPUT0")),
        message(11, &value("INPUT1")),
        message(12, &value("OUTPUT0")),
        message(12, &value("OUTPUT1")),
    ]
    .concat();
    [number(1, 8), message(7, &graph), message(8, &number(2, 16))].concat()
}

/// The same model with documentation (`ModelProto.doc_string`).
pub fn documented(model: &[u8], documentation: &str) -> Vec<u8> {
    [model.to_vec(), text(6, documentation)].concat()
}

fn value(name: &str, ty: DataType, rank: usize) -> Vec<u8> {
    let dimensions: Vec<u8> =
        (0..rank).flat_map(|index| message(1, &text(2, &format!("d{index}")))).collect();
    let tensor = [number(1, element(ty)), message(2, &dimensions)].concat();
    [text(1, name), message(2, &message(1, &tensor))].concat()
}

/// What a backend computes from a model, without a host.
pub fn computed(model: &dyn Model, inputs: &[Option<Tensor>]) -> Vec<Tensor> {
    let call = Call::of_nobody(Instant::now() + Duration::from_secs(60));
    model.run(inputs, &Context { call, stop: &Stop::default() }).expect("it computes")
}
