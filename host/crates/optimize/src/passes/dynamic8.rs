//! Matrix products in 8 bits. The scale of what callers give is found in each call, so no calibration is needed.
//!
//! onnxruntime fuses exactly this sequence: `DynamicQuantizeLinear`, `MatMulInteger`, `Cast`, then one `Mul` with the product of both
//! scales.

use std::collections::HashMap;

use hospes_onnx::Model;
use hospes_onnx::model::walk::Scope;
use hospes_onnx::model::{ElementType, Node};

use super::build::Build;
use super::layers::{Kind, Layer, factor};
use super::{Change, Changed, PassError};
use crate::array::{Array, constant};
use crate::quantise::{FULL, weights8};

/// `DynamicQuantizeLinear` came with it.
const OPSET_MIN: i64 = 11;

/// What is computed in 8 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dynamic {
    /// Convolutions too, as others do by default. It makes most models slower and worse: it is here to be measured.
    pub convolutions: bool,
    /// A scale for each channel of the weights, not one for all.
    pub per_channel: bool,
    /// The largest stored weight: [`FULL`] or [`crate::quantise::SAFE`].
    pub max: i8,
}

impl Default for Dynamic {
    fn default() -> Self {
        Self { convolutions: false, per_channel: true, max: FULL }
    }
}

/// A value in 8 bits: its numbers, scale and zero.
type Stored = [String; 3];

/// Computes matrix products in 8 bits.
///
/// # Errors
/// [`PassError::Opset`] if the model's operators are too old.
pub fn dynamic8(model: &Model, how: Dynamic) -> Changed {
    let graph = &model.graph;
    let scope = Scope::of_graph(graph, None);
    let layers = Layer::all(graph, &scope);
    let wanted = |layer: &Layer| how.convolutions || layer.kind != Kind::Conv;
    let layers: HashMap<usize, Layer> =
        layers.into_iter().filter(wanted).map(|layer| (layer.index, layer)).collect();
    if layers.is_empty() {
        return Ok(None);
    }
    let found = model.opset("").unwrap_or_default();
    if found < OPSET_MIN {
        return Err(PassError::Opset { pass: "dynamic8", found, needed: OPSET_MIN });
    }
    let mut build = Build::of(model);
    let mut stored: HashMap<String, Stored> = HashMap::new();
    let mut count = 0;
    for (index, node) in graph.nodes.iter().enumerate() {
        let done = match layers.get(&index) {
            Some(layer) if layer.kind == Kind::Conv => {
                convolution(&mut build, &mut stored, &scope, node, how)
            }
            Some(layer) => product(&mut build, &mut stored, &scope, (layer, node), how),
            None => None,
        };
        match done {
            Some(()) => count += 1,
            None => build.keep(node.clone()),
        }
    }
    if count == 0 {
        return Ok(None);
    }
    let notes = vec![format!("{count} layers compute in 8 bits, with scales found in each call")];
    Ok(Some(Change { model: build.finish(model)?, notes }))
}

/// The value in 8 bits. Several layers may read it.
fn quantised(build: &mut Build, stored: &mut HashMap<String, Stored>, value: &str) -> Stored {
    if let Some(stored) = stored.get(value) {
        return stored.clone();
    }
    let made = build.several(
        Node::new("DynamicQuantizeLinear", &[value], &[]),
        [value, &format!("{value}/scale"), &format!("{value}/zero")],
    );
    stored.insert(value.to_owned(), made.clone());
    made
}

/// The weights in 8 bits, with the scales that their channels have.
fn weights(array: &Array, axis: usize, how: Dynamic) -> (Vec<i8>, Vec<f32>) {
    let channels = array.dims[axis];
    if how.per_channel {
        let weights = weights8(array, axis, how.max, |_| 0.0);
        return (weights.values, weights.scales);
    }
    let flat = Array { dims: vec![1, array.values.len()], values: array.values.clone() };
    let weights = weights8(&flat, 0, how.max, |_| 0.0);
    (weights.values, vec![weights.scales[0]; channels])
}

/// A `MatMul` or `Gemm`. `None` if it is of a form that is left as it is.
fn product(
    build: &mut Build,
    stored: &mut HashMap<String, Stored>,
    scope: &Scope<'_>,
    (layer, node): (&Layer, &Node),
    how: Dynamic,
) -> Option<()> {
    let matrix = layer.matrix(scope, node)?;
    let bias = match node.inputs.get(2).filter(|name| !name.is_empty()) {
        Some(name) if layer.kind == Kind::Gemm => Some(bias(build, scope, node, name)?),
        _ => None,
    };
    let output = node.outputs.first()?.clone();
    let [data, scale, zero] = quantised(build, stored, &node.inputs[0]);
    let (values, mut scales) = weights(&matrix, 1, how);
    if layer.kind == Kind::Gemm {
        let alpha = factor(node, "alpha");
        scales.iter_mut().for_each(|scale| *scale *= alpha);
    }
    let hint = &node.inputs[1];
    let weights = build.constant(hint, &matrix.dims, &values);
    let scales = build.constant(&format!("{hint}/scale"), &[scales.len()], &scales);
    let zeros = build.constant(&format!("{hint}/zero"), &[], &[0_i8]);
    let sum = Node::new("MatMulInteger", &[&data, &weights, &zero, &zeros], &[]);
    let sum = build.compute(sum, &format!("{output}/sum"));
    wide(build, (sum, scale, scales), bias, output);
    Some(())
}

/// A `Conv`.
fn convolution(
    build: &mut Build,
    stored: &mut HashMap<String, Stored>,
    scope: &Scope<'_>,
    node: &Node,
    how: Dynamic,
) -> Option<()> {
    let array = constant(scope, node.inputs.get(1)?)?;
    let bias = match node.inputs.get(2).filter(|name| !name.is_empty()) {
        Some(name) => Some(constant(scope, name)?),
        None => None,
    };
    let output = node.outputs.first()?.clone();
    let [data, scale, zero] = quantised(build, stored, &node.inputs[0]);
    let (values, scales) = weights(&array, 0, how);
    // Channels are followed by the dimensions of space.
    let mut sizes = vec![1; array.dims.len() - 1];
    sizes[0] = scales.len();
    let hint = &node.inputs[1];
    let weights = build.constant(hint, &array.dims, &values);
    let scales = build.constant(&format!("{hint}/scale"), &sizes, &scales);
    let zeros = build.constant(&format!("{hint}/zero"), &[], &[0_i8]);
    let mut sum = Node::new("ConvInteger", &[&data, &weights, &zero, &zeros], &[]);
    sum.attributes.clone_from(&node.attributes);
    let sum = build.compute(sum, &format!("{output}/sum"));
    let bias = bias.map(|bias| build.constant(&format!("{hint}/bias"), &sizes, &bias.values));
    wide(build, (sum, scale, scales), bias, output);
    Some(())
}

/// Turns sums of 8 bit products into numbers: `sum * (scale * scales) + bias`.
fn wide(
    build: &mut Build,
    (sum, scale, scales): (String, String, String),
    bias: Option<String>,
    output: String,
) {
    let sum = Node::new("Cast", &[&sum], &[]).with("to", i64::from(ElementType::FLOAT.0));
    let sum = build.compute(sum, &format!("{output}/wide"));
    let both = build.compute(Node::new("Mul", &[&scale, &scales], &[]), &format!("{output}/scale"));
    let scaled = Node::new("Mul", &[&sum, &both], &[]);
    match bias {
        Some(bias) => {
            let scaled = build.compute(scaled, &format!("{output}/scaled"));
            build.output(Node::new("Add", &[&scaled, &bias], &[]), output);
        }
        None => build.output(scaled, output),
    }
}

/// What a `Gemm` adds: its third operand times `beta`. `None` if that is not known here.
fn bias(build: &mut Build, scope: &Scope<'_>, node: &Node, name: &str) -> Option<String> {
    let beta = factor(node, "beta");
    if (beta - 1.0).abs() == 0.0 {
        return Some(name.to_owned());
    }
    let mut bias = constant(scope, name)?;
    bias.values.iter_mut().for_each(|value| *value *= beta);
    Some(build.constant(name, &bias.dims, &bias.values))
}
