//! Weights in 8 bits, which are expanded when the model is loaded: a quarter of the size, and the speed that it had.
//!
//! `Cast` and `Mul` expand them, not `DequantizeLinear`: ONNX Runtime computes the former once, and the latter in each call. tract expands
//! MiniLM's in each call.

use std::collections::HashSet;

use hospes_onnx::Model;
use hospes_onnx::model::walk::{Origin, Scope};
use hospes_onnx::model::{ElementType, Graph, Node, Value};

use super::build::{Build, Readers};
use super::layers::int;
use super::{Change, Changed};
use crate::array::{Array, constant};
use crate::quantise::{FULL, weights8};

/// Smaller tensors gain nothing, and biases and norms are among them.
const ELEMENTS_MIN: usize = 1024;

/// Stores weights in 8 bits, with a scale for each channel.
///
/// # Errors
/// [`super::PassError`] if the model cannot be changed.
pub fn store8(model: &Model) -> Changed {
    let graph = &model.graph;
    let (origins, readers) = (graph.origins(), Readers::of(graph));
    let scope = Scope::of_graph(graph, None);
    let mut build = Build::of(model);
    let mut stored: HashSet<usize> = HashSet::new();
    for (index, tensor) in graph.initialisers.iter().enumerate() {
        let is_own = origins.get(tensor.name.as_str()) == Some(&Origin::Initialiser(index));
        let is_weights = tensor.element == ElementType::FLOAT && tensor.dims.len() >= 2;
        // What others expand is in fewer bits already, or is small.
        if !is_own || !is_weights || readers.is_output(&tensor.name) {
            continue;
        }
        let Some(array) = constant(&scope, &tensor.name) else { continue };
        if array.values.len() < ELEMENTS_MIN {
            continue;
        }
        let Some(axis) = axis(graph, &readers, &tensor.name, &array) else { continue };
        let weights = weights8(&array, axis, FULL, |_| 0.0);
        let mut sizes = vec![1; array.dims.len()];
        sizes[axis] = array.dims[axis];
        let bits = build.constant(&tensor.name, &array.dims, &weights.values);
        let scale = build.constant(&format!("{}/scale", tensor.name), &sizes, &weights.scales);
        let wide = Node::new("Cast", &[&bits], &[]).with("to", i64::from(ElementType::FLOAT.0));
        let wide = build.compute(wide, &format!("{}/wide", tensor.name));
        build.output(Node::new("Mul", &[&wide, &scale], &[]), tensor.name.clone());
        stored.insert(index);
    }
    if stored.is_empty() {
        return Ok(None);
    }
    graph.nodes.iter().for_each(|node| build.keep(node.clone()));
    let mut smaller = model.clone();
    let mut index = 0..;
    smaller.graph.initialisers.retain(|_| !index.next().is_some_and(|at| stored.contains(&at)));
    let notes = vec![format!("{} tensors of weights are stored in 8 bits", stored.len())];
    Ok(Some(Change { model: build.finish(&smaller)?, notes }))
}

/// The axis along which the scales of weights differ most usefully: that of a layer's outputs. `None` if a scale for each channel would
/// be as large as what it saves.
fn axis(graph: &Graph, readers: &Readers<'_>, name: &str, array: &Array) -> Option<usize> {
    let reader = readers.all(name).first().map(|index| &graph.nodes[*index]);
    let last = array.dims.len() - 1;
    let axis = match reader.map(|node| (node, node.operator.as_str())) {
        Some((_, "MatMul")) => last,
        Some((node, "Gemm")) => usize::from(int(node, "transB") == 0),
        Some((_, "ConvTranspose")) => 1,
        // One matrix for each direction.
        Some((_, "LSTM" | "GRU" | "RNN")) => 1,
        Some((node, "Gather")) => {
            let axis = node.attribute("axis").and_then(Value::as_int).unwrap_or(0);
            usize::try_from(axis).unwrap_or(0).min(last)
        }
        _ => 0,
    };
    (array.values.len() / array.dims[axis].max(1) >= 8).then_some(axis)
}
