//! Convolutions and matrix products in 8 bits, with ranges of values that calibration saw: values without sign, weights with sign and a
//! scale for each channel.
//!
//! Values are stored in 8 bits and expanded again (`QuantizeLinear`, `DequantizeLinear`) around each node. onnxruntime recognises that and
//! computes in 8 bits; other backends compute the same in floats. So a value that is stored once stays in 8 bits from one layer to the
//! next, through additions and pools.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hospes_onnx::Model;
use hospes_onnx::model::walk::Scope;
use hospes_onnx::model::{ElementType, Graph, Node, Type, TypeKind, ValueInfo};

use super::build::{Build, Readers};
use super::layers::{Kind, Layer, factor};
use super::{Change, Changed, PassError};
use crate::array::constant;
use crate::quantise::{FULL, Range, weights8};

/// `DequantizeLinear` has scales for each channel from it on.
const OPSET_MIN: i64 = 13;

/// What calibration saw of each value.
pub type Ranges = BTreeMap<String, Range>;

/// What is computed in 8 bits.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Layers that stay in floats, by their output's name (see [`super::layers()`]).
    pub keep: BTreeSet<String>,
    /// The only layers in 8 bits; `None` for all others.
    pub only: Option<BTreeSet<String>>,
    /// The largest stored weight: [`FULL`] or [`crate::quantise::SAFE`].
    pub max: i8,
}

impl Default for Plan {
    fn default() -> Self {
        Self { keep: BTreeSet::new(), only: None, max: FULL }
    }
}

impl Plan {
    fn has(&self, output: &str) -> bool {
        !self.keep.contains(output) && self.only.as_ref().is_none_or(|only| only.contains(output))
    }
}

/// The model with all values that [`static8()`] stores in 8 bits as further outputs, and their names. `None` if there are none.
pub fn observe(model: &Model) -> Option<(Model, Vec<String>)> {
    let scope = Scope::of_graph(&model.graph, None);
    let readers = Readers::of(&model.graph);
    let stored = Stored::find(&model.graph, &scope, &readers, &Plan::default());
    // With fewer layers in 8 bits, a value may need a range of its own that otherwise has another's.
    let values: BTreeSet<String> =
        stored.values.into_iter().flat_map(|(value, range)| [value, range]).collect();
    let mut model = model.clone();
    for value in &values {
        let mut known = model.graph.outputs.iter().chain(&model.graph.inputs);
        if known.any(|known| known.name == *value) {
            continue;
        }
        let ty: Option<Type> = Some(TypeKind::Tensor(ElementType::FLOAT, None).into());
        model.graph.outputs.push(ValueInfo { name: value.clone(), ty, ..ValueInfo::default() });
    }
    (!values.is_empty()).then(|| (model, values.into_iter().collect()))
}

/// Which nodes compute in 8 bits, and which values are stored so.
struct Stored {
    layers: HashMap<usize, Layer>,
    /// Each value with the one whose range it has: often itself.
    values: HashMap<String, String>,
}

impl Stored {
    fn find(graph: &Graph, scope: &Scope<'_>, readers: &Readers<'_>, plan: &Plan) -> Self {
        let mut found = Stored { layers: HashMap::new(), values: HashMap::new() };
        for (index, node) in graph.nodes.iter().enumerate() {
            let Some(output) = node.outputs.first() else { continue };
            match Layer::of(scope, index, node) {
                Some(layer) if plan.has(output) && !is_done(scope, node) => {
                    found.store(&node.inputs[0]);
                    // Without a range for what it gives, a product turns its sums into floats itself, which is more exact.
                    if layer.kind == Kind::Conv {
                        found.store_result(graph, readers, output);
                    }
                    found.layers.insert(index, layer);
                }
                Some(_) => {}
                None => found.follow(graph, readers, node),
            }
        }
        found
    }

    fn store(&mut self, value: &str) {
        self.values.entry(value.to_owned()).or_insert_with(|| value.to_owned());
    }

    /// Stores what a node gives, or what the activation after it gives: then the node itself never gives floats.
    fn store_result(&mut self, graph: &Graph, readers: &Readers<'_>, output: &str) {
        let only = readers.only(output).map(|index| &graph.nodes[index]);
        let after = only.filter(|node| node.is("", "Relu") || node.is("", "Clip"));
        let result = after.and_then(|node| node.outputs.first()).map_or(output, String::as_str);
        if !readers.is_output(result) {
            self.store(result);
        }
    }

    /// Nodes that compute in 8 bits if what they read is so.
    fn follow(&mut self, graph: &Graph, readers: &Readers<'_>, node: &Node) {
        let is_own = node.is("", &node.operator);
        let ([first, ..], [output]) = (&node.inputs[..], &node.outputs[..]) else { return };
        let is_stored = |name: &String| self.values.contains_key(name);
        match node.operator.as_str() {
            "Add" if is_own && node.inputs.iter().all(is_stored) => {
                self.store_result(graph, readers, output);
            }
            "GlobalAveragePool" | "AveragePool" if is_own && is_stored(first) => {
                self.store_result(graph, readers, output);
            }
            // These give numbers that they were given.
            "MaxPool" | "Flatten" | "Reshape" | "Transpose" | "Squeeze" | "Unsqueeze"
                if is_own && !readers.is_output(output) =>
            {
                if let Some(range) = self.values.get(first).cloned() {
                    self.values.insert(output.clone(), range);
                }
            }
            _ => {}
        }
    }
}

/// Whether a layer computes in 8 bits already.
fn is_done(scope: &Scope<'_>, node: &Node) -> bool {
    let source = scope.source(&node.inputs[0]);
    source.is_some_and(|source| source.is("", "DequantizeLinear"))
}

/// Computes layers in 8 bits, with these ranges of values.
///
/// # Errors
/// [`PassError::Opset`] if the model's operators are too old, [`PassError::NoRange`] if a range is missing.
pub fn static8(model: &Model, ranges: &Ranges, plan: &Plan) -> Changed {
    let graph = &model.graph;
    let scope = Scope::of_graph(graph, None);
    let readers = Readers::of(graph);
    let stored = Stored::find(graph, &scope, &readers, plan);
    if stored.layers.is_empty() {
        return Ok(None);
    }
    let found = model.opset("").unwrap_or_default();
    if found < OPSET_MIN {
        return Err(PassError::Opset { pass: "static8", found, needed: OPSET_MIN });
    }
    let mut writer = Writer {
        scope: &scope,
        plan,
        ranges,
        stored: &stored,
        build: Build::of(model),
        expanded: HashMap::new(),
    };
    for input in &graph.inputs {
        writer.expand(&input.name)?;
    }
    for (index, node) in graph.nodes.iter().enumerate() {
        writer.node(index, node)?;
        node.outputs.iter().try_for_each(|output| writer.expand(output))?;
    }
    let mut notes = vec![format!("{} layers compute in 8 bits", stored.layers.len())];
    if !plan.keep.is_empty() {
        let keep: Vec<String> = plan.keep.iter().map(|name| format!("`{name}`")).collect();
        notes.push(format!("{} stay in floats: {}", keep.len(), keep.join(", ")));
    }
    Ok(Some(Change { model: writer.build.finish(model)?, notes }))
}

struct Writer<'w> {
    scope: &'w Scope<'w>,
    plan: &'w Plan,
    ranges: &'w Ranges,
    stored: &'w Stored,
    build: Build,
    /// Values that were stored and expanded again.
    expanded: HashMap<String, Expanded>,
}

/// A value after it was in 8 bits.
#[derive(Clone)]
struct Expanded {
    name: String,
    scale: f32,
}

impl Writer<'_> {
    /// Stores a value in 8 bits and expands it, if it is to be.
    fn expand(&mut self, value: &str) -> Result<(), PassError> {
        let Some(of) = self.stored.values.get(value) else { return Ok(()) };
        let missing = || PassError::NoRange { value: value.to_owned() };
        let (scale, zero) = self.ranges.get(of).copied().ok_or_else(missing)?.unsigned8();
        let build = &mut self.build;
        let scales = build.constant(&format!("{value}/scale"), &[], &[scale]);
        let zeros = build.constant(&format!("{value}/zero"), &[], &[zero]);
        let bits = Node::new("QuantizeLinear", &[value, &scales, &zeros], &[]);
        let bits = build.compute(bits, &format!("{value}/bits"));
        let wide = Node::new("DequantizeLinear", &[&bits, &scales, &zeros], &[]);
        let name = build.compute(wide, &format!("{value}/wide"));
        self.expanded.insert(value.to_owned(), Expanded { name, scale });
        Ok(())
    }

    /// A node that reads stored values.
    fn node(&mut self, index: usize, node: &Node) -> Result<(), PassError> {
        let mut changed = node.clone();
        if let Some(layer) = self.stored.layers.get(&index) {
            self.weights(layer, node, &mut changed);
        }
        for input in &mut changed.inputs {
            if let Some(expanded) = self.expanded.get(input) {
                input.clone_from(&expanded.name);
            }
        }
        self.build.keep(changed);
        Ok(())
    }

    /// Gives a layer weights of 8 bits, and a bias of 32 bits whose scale is that of its sums.
    fn weights(&mut self, layer: &Layer, node: &Node, changed: &mut Node) {
        let Some(expanded) = self.expanded.get(&node.inputs[0]).cloned() else { return };
        let Some(array) = constant(self.scope, &node.inputs[1]) else { return };
        let channels = array.dims[layer.axis];
        let bias = node.inputs.get(2).filter(|name| !name.is_empty());
        let bias = bias.and_then(|name| constant(self.scope, name));
        let is_unit =
            (factor(node, "alpha") - 1.0).abs() + (factor(node, "beta") - 1.0).abs() == 0.0;
        let bias =
            bias.filter(|bias| bias.values.len() == channels && bias.dims.len() == 1 && is_unit);
        // A bias must fit into 32 bits, also where the weights are tiny.
        let floor = |channel: usize| {
            let bias = bias.as_ref().map_or(0.0, |bias| bias.values[channel].abs());
            bias / expanded.scale / (1 << 30) as f32
        };
        let weights = weights8(&array, layer.axis, self.plan.max, floor);
        let axis = layer.axis as i64;
        let hint = &node.inputs[1];
        let build = &mut self.build;
        let scales = build.constant(&format!("{hint}/scale"), &[channels], &weights.scales);
        let zeros = build.constant(&format!("{hint}/zero"), &[channels], &vec![0_i8; channels]);
        let bits = build.constant(hint, &array.dims, &weights.values);
        let wide = Node::new("DequantizeLinear", &[&bits, &scales, &zeros], &[]).with("axis", axis);
        changed.inputs[1] = build.compute(wide, &format!("{hint}/wide"));
        let Some(bias) = bias else { return };
        let hint = &node.inputs[2];
        let scales: Vec<f32> = weights.scales.iter().map(|scale| scale * expanded.scale).collect();
        let bits: Vec<i32> = bias
            .values
            .iter()
            .zip(&scales)
            .map(|(value, scale)| (value / scale).round_ties_even() as i32)
            .collect();
        let bits = build.constant(hint, &[channels], &bits);
        let scales = build.constant(&format!("{hint}/scale"), &[channels], &scales);
        let zeros = build.constant(&format!("{hint}/zero"), &[channels], &vec![0_i32; channels]);
        let wide = Node::new("DequantizeLinear", &[&bits, &scales, &zeros], &[]).with("axis", 0);
        changed.inputs[2] = build.compute(wide, &format!("{hint}/wide"));
    }
}
