//! Puts a changed graph together: nodes in order, with new names and constants.

use std::collections::HashMap;

use hospes_onnx::Model;
use hospes_onnx::model::{Element, Graph, Names, Node, Tensor};

use super::PassError;

/// Constants need no input from this version of the format on.
const IR_VERSION_MIN: i64 = 4;

/// A graph that replaces that of a model.
pub(super) struct Build {
    names: Names,
    nodes: Vec<Node>,
    constants: Vec<Tensor>,
}

impl Build {
    pub(super) fn of(model: &Model) -> Self {
        Self { names: Names::of(model), nodes: Vec::new(), constants: Vec::new() }
    }

    /// Adds a constant. Returns its name.
    pub(super) fn constant<T: Element>(
        &mut self,
        hint: &str,
        dims: &[usize],
        elements: &[T],
    ) -> String {
        let name = self.names.fresh(hint);
        let dims: Vec<i64> = dims.iter().map(|size| *size as i64).collect();
        self.constants.push(Tensor::new(name.clone(), &dims, elements));
        name
    }

    /// Adds a node with one new output. Returns the output's name.
    pub(super) fn compute(&mut self, node: Node, hint: &str) -> String {
        let output = self.names.fresh(hint);
        self.output(node, output.clone());
        output
    }

    /// Adds a node whose output has this name.
    pub(super) fn output(&mut self, mut node: Node, output: String) {
        let name = self.names.fresh(&format!("node/{}", node.operator));
        node.outputs.push(output);
        self.nodes.push(node.named(name));
    }

    /// Adds a node with several new outputs. Returns their names.
    pub(super) fn several<const N: usize>(
        &mut self,
        mut node: Node,
        hints: [&str; N],
    ) -> [String; N] {
        let outputs = hints.map(|hint| self.names.fresh(hint));
        let name = self.names.fresh(&format!("node/{}", node.operator));
        node.outputs.extend(outputs.clone());
        self.nodes.push(node.named(name));
        outputs
    }

    /// Adds a node as it is.
    pub(super) fn keep(&mut self, node: Node) {
        self.nodes.push(node);
    }

    /// The model with this graph, without what is not needed any more.
    pub(super) fn finish(self, model: &Model) -> Result<Model, PassError> {
        let mut model = model.clone();
        model.graph.nodes = self.nodes;
        model.graph.initialisers.extend(self.constants);
        model.ir_version = model.ir_version.max(IR_VERSION_MIN);
        model.remove_unused()?;
        model.graph.check_order()?;
        Ok(model)
    }
}

/// Who reads the values of a graph.
pub(super) struct Readers<'g> {
    by_value: HashMap<&'g str, Vec<usize>>,
    outputs: Vec<&'g str>,
}

impl<'g> Readers<'g> {
    pub(super) fn of(graph: &'g Graph) -> Self {
        let mut by_value: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, node) in graph.nodes.iter().enumerate() {
            let within = node.graphs().flat_map(Graph::free);
            for name in node.inputs.iter().map(String::as_str).chain(within) {
                by_value.entry(name).or_default().push(index);
            }
        }
        let outputs = graph.outputs.iter().map(|output| output.name.as_str()).collect();
        Self { by_value, outputs }
    }

    /// Whether callers get the value.
    pub(super) fn is_output(&self, name: &str) -> bool {
        self.outputs.contains(&name)
    }

    /// The only node that reads a value, which callers do not get. A node that reads it twice is none.
    pub(super) fn only(&self, name: &str) -> Option<usize> {
        match self.by_value.get(name).map(Vec::as_slice) {
            Some([index]) if !self.is_output(name) => Some(*index),
            _ => None,
        }
    }

    /// The nodes that read a value.
    pub(super) fn all(&self, name: &str) -> &[usize] {
        self.by_value.get(name).map_or(&[], Vec::as_slice)
    }
}
