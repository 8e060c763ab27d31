//! Removes what a graph computes for nothing, and orders products as ONNX Runtime fuses them. Answers stay as they are, up to the
//! rounding of floats.

use std::collections::HashMap;

use hospes_onnx::Model;
use hospes_onnx::model::walk::{Origin, Scope};
use hospes_onnx::model::{ElementType, Graph, Node, Tensor, Value};

use super::build::Readers;
use super::gelu::gelus;
use super::layers::int;
use super::{Change, Changed};
use crate::array::Array;

/// A step, for models of an opset. It says how many nodes it changed.
type Step = fn(&mut Graph, i64) -> usize;

/// `Constant` nodes become initialisers, `Identity` and `Dropout` are removed, `BatchNormalization` is folded into the convolution before
/// it, transposed constants are stored transposed, the products of a GELU are put in the order that ONNX Runtime fuses, and what no
/// output needs is removed.
///
/// # Errors
/// [`super::PassError`] if the model cannot be changed.
pub fn graph(model: &Model) -> Changed {
    let mut model = model.clone();
    let mut notes = Vec::new();
    let opset = model.opset("").unwrap_or_default();
    // Folding one makes room for the next.
    let steps: [(&str, Step); 5] = [
        ("constants became initialisers", constants),
        ("nodes without effect were removed", idle),
        ("transposed constants are stored transposed", transposes),
        ("batch normalisations were folded into convolutions", norms),
        ("GELUs were put in the order that ONNX Runtime fuses", gelus),
    ];
    for (what, step) in steps {
        let count = step(&mut model.graph, opset);
        if count > 0 {
            notes.push(format!("{count} {what}"));
        }
    }
    let before = model.graph.nodes.len() + model.graph.initialisers.len();
    model.remove_unused()?;
    let unused = before - (model.graph.nodes.len() + model.graph.initialisers.len());
    // What the steps left behind is not worth a note of its own.
    if notes.is_empty() && unused == 0 {
        return Ok(None);
    }
    if notes.is_empty() {
        notes.push(format!("{unused} nodes and constants that no output needs were removed"));
    }
    model.graph.check_order()?;
    model.ir_version = model.ir_version.max(4);
    Ok(Some(Change { model, notes }))
}

/// `Constant` nodes of tensors.
fn constants(graph: &mut Graph, _opset: i64) -> usize {
    let mut found = Vec::new();
    graph.nodes.retain_mut(|node| {
        let ([output], true) = (&node.outputs[..], node.is("", "Constant")) else { return true };
        let output = output.clone();
        let tensor = node.attributes.iter_mut().find(|attribute| attribute.name == "value");
        let Some(Value::Tensor(tensor)) = tensor.map(|attribute| &mut attribute.value) else {
            return true;
        };
        let mut tensor = std::mem::take(tensor);
        tensor.name = output;
        found.push(tensor);
        false
    });
    let count = found.len();
    graph.initialisers.extend(found);
    count
}

/// `Identity`, and `Dropout`, which does nothing but in training.
fn idle(graph: &mut Graph, opset: i64) -> usize {
    let mut count = 0;
    let mut index = 0;
    while index < graph.nodes.len() {
        if let Some((from, to)) = bridged(graph, index, opset) {
            graph.nodes.remove(index);
            graph.replace_uses(&to, &from);
            count += 1;
        } else {
            index += 1;
        }
    }
    count
}

/// The value that a node only passes on, and the name under which it does. `None` if it does more, or callers ask for that name.
fn bridged(graph: &Graph, index: usize, opset: i64) -> Option<(String, String)> {
    let node = &graph.nodes[index];
    let is_idle = node.is("", "Identity") || node.is("", "Dropout") && !trains(graph, node, opset);
    if !is_idle || node.inputs.first().is_none_or(String::is_empty) {
        return None;
    }
    let mask = node.outputs.get(1).filter(|name| !name.is_empty());
    let readers = Readers::of(graph);
    if mask.is_some_and(|mask| readers.is_output(mask) || !readers.all(mask).is_empty()) {
        return None;
    }
    let (from, to) = (node.inputs[0].clone(), node.outputs.first()?.clone());
    // A graph within may have a value of its own of this name.
    let mut within = graph.nodes.iter().flat_map(Node::graphs);
    let is_hidden = within.any(|within| defines(within, &from));
    (!readers.is_output(&to) && !is_hidden).then_some((from, to))
}

fn defines(graph: &Graph, name: &str) -> bool {
    let mut within = graph.nodes.iter().flat_map(Node::graphs);
    graph.origins().contains_key(name) || within.any(|graph| defines(graph, name))
}

/// Whether a `Dropout` may drop values.
fn trains(graph: &Graph, node: &Node, opset: i64) -> bool {
    // Until version 6 an attribute said so, since version 12 an operand.
    if opset < 7 {
        return int(node, "is_test") == 0;
    }
    let Some(mode) = node.inputs.get(2).filter(|name| !name.is_empty()) else { return false };
    let scope = Scope::of_graph(graph, None);
    let mode = scope.constant(mode).and_then(|tensor| tensor.bytes().ok());
    mode.is_none_or(|bytes| bytes.iter().any(|byte| *byte != 0))
}

/// `Transpose` of a constant matrix of floats.
fn transposes(graph: &mut Graph, _opset: i64) -> usize {
    let mut turned = HashMap::new();
    let scope = Scope::of_graph(graph, None);
    for (index, node) in graph.nodes.iter().enumerate() {
        let ([input], [output]) = (&node.inputs[..], &node.outputs[..]) else { continue };
        let permutation = node.attribute("perm").and_then(Value::as_ints);
        if !node.is("", "Transpose") || permutation.is_some_and(|order| order != [1, 0]) {
            continue;
        }
        let tensor = scope.constant(input).filter(|tensor| tensor.element == ElementType::FLOAT);
        let matrix = tensor.and_then(Array::of).and_then(|array| array.transposed());
        if let Some(matrix) = matrix {
            turned.insert(index, matrix.tensor(output.clone()));
        }
    }
    let mut index = 0..;
    let is_turned = |index: Option<usize>| index.is_some_and(|at| turned.contains_key(&at));
    graph.nodes.retain(|_| !is_turned(index.next()));
    let count = turned.len();
    let mut turned: Vec<(usize, Tensor)> = turned.into_iter().collect();
    turned.sort_by_key(|(index, _)| *index);
    graph.initialisers.extend(turned.into_iter().map(|(_, tensor)| tensor));
    count
}

/// `BatchNormalization` of what only it reads from a `Conv`.
fn norms(graph: &mut Graph, _opset: i64) -> usize {
    let mut count = 0;
    let mut index = 0;
    while index < graph.nodes.len() {
        match folded(graph, index) {
            Some(fold) => {
                let norm = graph.nodes.remove(index);
                let conv = &mut graph.nodes[fold.conv];
                conv.inputs =
                    vec![conv.inputs[0].clone(), fold.weights.name.clone(), fold.bias.name.clone()];
                conv.outputs[0].clone_from(&norm.outputs[0]);
                graph.initialisers.extend([fold.weights, fold.bias]);
                count += 1;
            }
            None => index += 1,
        }
    }
    count
}

/// A convolution that normalises too.
struct Fold {
    conv: usize,
    weights: Tensor,
    bias: Tensor,
}

fn folded(graph: &Graph, index: usize) -> Option<Fold> {
    let norm = &graph.nodes[index];
    // Statistics of the batch are for training.
    let is_plain = norm.is("", "BatchNormalization")
        && int(norm, "training_mode") == 0
        && norm.outputs.iter().skip(1).all(String::is_empty)
        && norm.attribute("spatial").and_then(Value::as_int) != Some(0);
    if !is_plain {
        return None;
    }
    let [input, scale, shift, mean, variance] = &norm.inputs[..] else { return None };
    let (readers, origins) = (Readers::of(graph), graph.origins());
    let Some(Origin::Node(at)) = origins.get(input.as_str()) else { return None };
    let conv = &graph.nodes[*at];
    if *at > index || !conv.is("", "Conv") || readers.only(input) != Some(index) {
        return None;
    }
    let scope = Scope::of_graph(graph, None);
    let floats = |name: &String| {
        let tensor = scope.constant(name)?;
        if tensor.element == ElementType::FLOAT { Array::of(tensor) } else { None }
    };
    let (scale, shift) = (floats(scale)?, floats(shift)?);
    let (mean, variance) = (floats(mean)?, floats(variance)?);
    let epsilon = norm.attribute("epsilon").and_then(Value::as_float).unwrap_or(1e-5);
    let mut weights = floats(conv.inputs.get(1)?)?;
    let channels = *weights.dims.first()?;
    let bias = match conv.inputs.get(2).filter(|name| !name.is_empty()) {
        Some(name) => floats(name)?.values,
        None => vec![0.0; channels],
    };
    let all = [&scale.values, &shift.values, &mean.values, &variance.values, &bias];
    if all.iter().any(|values| values.len() != channels) {
        return None;
    }
    let factors: Vec<f64> = (0..channels)
        .map(|at| {
            let spread = f64::from(variance.values[at]) + f64::from(epsilon);
            f64::from(scale.values[at]) / spread.sqrt()
        })
        .collect();
    let inner = weights.inner(0).max(1);
    for (at, value) in weights.values.iter_mut().enumerate() {
        *value = (f64::from(*value) * factors[at / inner]) as f32;
    }
    let bias: Vec<f32> = (0..channels)
        .map(|at| {
            let centred = f64::from(bias[at]) - f64::from(mean.values[at]);
            (centred * factors[at] + f64::from(shift.values[at])) as f32
        })
        .collect();
    let is_finite = weights.values.iter().chain(&bias).all(|value| value.is_finite());
    let name = |what: &str| format!("hospes/folded/{}/{what}", norm.outputs[0]);
    let is_free = |name: &String| !origins.contains_key(name.as_str());
    let (first, second) = (name("weights"), name("bias"));
    (is_finite && is_free(&first) && is_free(&second)).then(|| Fold {
        conv: *at,
        weights: weights.tensor(first),
        bias: Tensor::new(second, &[channels as i64], &bias),
    })
}
