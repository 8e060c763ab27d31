//! The layers of a model: nodes that multiply what callers give with weights.

use hospes_onnx::Model;
use hospes_onnx::model::walk::Scope;
use hospes_onnx::model::{Graph, Node, Value};

use crate::array::{Array, constant, shape};

/// What a layer computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Conv,
    MatMul,
    Gemm,
}

/// A node with weights in it.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    /// Its place among the graph's nodes.
    pub(super) index: usize,
    pub(super) kind: Kind,
    /// The axis of the weights that is an axis of the output.
    pub(super) axis: usize,
}

impl Layer {
    /// The layer that a node is; `None` if it has no weights of its own.
    pub(super) fn of(scope: &Scope<'_>, index: usize, node: &Node) -> Option<Self> {
        let kind = match node.operator.as_str() {
            _ if !node.is("", &node.operator) => return None,
            "Conv" => Kind::Conv,
            "MatMul" => Kind::MatMul,
            "Gemm" => Kind::Gemm,
            _ => return None,
        };
        let [data, weights, ..] = &node.inputs[..] else { return None };
        let rank = shape(scope, weights)?.len();
        let is_data = shape(scope, data).is_none();
        let is_plain = match kind {
            Kind::Conv => rank >= 3,
            Kind::MatMul => rank == 2,
            Kind::Gemm => rank == 2 && int(node, "transA") == 0,
        };
        let axis = match kind {
            Kind::Conv => 0,
            Kind::MatMul => 1,
            Kind::Gemm => usize::from(int(node, "transB") == 0),
        };
        (is_data && is_plain).then_some(Self { index, kind, axis })
    }

    /// All layers of a graph, in its order.
    pub(super) fn all(graph: &Graph, scope: &Scope<'_>) -> Vec<Self> {
        let nodes = graph.nodes.iter().enumerate();
        nodes.filter_map(|(index, node)| Self::of(scope, index, node)).collect()
    }

    /// The weights as a matrix of inputs by outputs; `None` for a convolution.
    pub(super) fn matrix(&self, scope: &Scope<'_>, node: &Node) -> Option<Array> {
        let weights = constant(scope, node.inputs.get(1)?)?;
        match (self.kind, self.axis) {
            (Kind::Conv, _) => None,
            (_, 0) => weights.transposed(),
            _ => Some(weights),
        }
    }
}

/// A whole number of a node, 0 if it has none.
pub(super) fn int(node: &Node, attribute: &str) -> i64 {
    node.attribute(attribute).and_then(Value::as_int).unwrap_or(0)
}

/// A number of a node, 1 if it has none.
pub(super) fn factor(node: &Node, attribute: &str) -> f32 {
    node.attribute(attribute).and_then(Value::as_float).unwrap_or(1.0)
}

/// The names of the outputs of a model's layers: what [`super::Plan`] may leave as they are.
pub fn layers(model: &Model) -> Vec<String> {
    let scope = Scope::of_graph(&model.graph, None);
    let layers = Layer::all(&model.graph, &scope);
    let outputs = layers.iter().filter_map(|layer| model.graph.nodes[layer.index].outputs.first());
    outputs.cloned().collect()
}
