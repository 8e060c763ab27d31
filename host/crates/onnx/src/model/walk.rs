//! Goes through a model's graphs, with what each name means where it stands.
//!
//! A graph sees the names of the graphs around it. A function sees only its own. A graph in an attribute may use a name again for
//! something else, which hides the outer one.

use std::collections::{HashMap, HashSet};

use super::attribute::Value;
use super::tensor::Tensor;
use super::{Function, Graph, Model, Node};

/// What defines a value in a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// An input of the graph or function; it may have an initialiser too, which callers may override.
    Input,
    /// An initialiser, by its index.
    Initialiser(usize),
    SparseInitialiser(usize),
    /// A node, by its index.
    Node(usize),
}

/// A graph or a function's body, and those around it.
pub struct Scope<'m> {
    nodes: &'m [Node],
    initialisers: &'m [Tensor],
    origins: HashMap<&'m str, Origin>,
    around: Option<&'m Scope<'m>>,
}

impl<'m> Scope<'m> {
    /// A graph within `around`.
    pub fn of_graph(graph: &'m Graph, around: Option<&'m Scope<'m>>) -> Self {
        Self {
            nodes: &graph.nodes,
            initialisers: &graph.initialisers,
            origins: graph.origins(),
            around,
        }
    }

    /// A function's body.
    pub fn of_function(function: &'m Function) -> Self {
        let mut origins = HashMap::new();
        outputs(&function.nodes, &mut origins);
        origins.extend(function.inputs.iter().map(|name| (name.as_str(), Origin::Input)));
        Self { nodes: &function.nodes, initialisers: &[], origins, around: None }
    }

    /// What a name means here: the scope that defines it, and what there.
    pub fn find(&self, name: &str) -> Option<(&Scope<'m>, Origin)> {
        let mut scope = self;
        loop {
            match (scope.origins.get(name), scope.around) {
                (Some(origin), _) => return Some((scope, *origin)),
                (None, Some(around)) => scope = around,
                (None, None) => return None,
            }
        }
    }

    /// The node that computes a value.
    pub fn source(&self, name: &str) -> Option<&'m Node> {
        match self.find(name)? {
            (scope, Origin::Node(index)) => scope.nodes.get(index),
            _ => None,
        }
    }

    /// The tensor that a value always is: an initialiser that callers cannot override, or the output of a `Constant`.
    pub fn constant(&self, name: &str) -> Option<&'m Tensor> {
        match self.find(name)? {
            (scope, Origin::Initialiser(index)) => scope.initialisers.get(index),
            (scope, Origin::Node(index)) => {
                let node = scope.nodes.get(index).filter(|node| node.is("", "Constant"))?;
                node.attribute("value").and_then(Value::as_tensor)
            }
            _ => None,
        }
    }

    /// Whether it is the model's own graph, or a function's body.
    pub fn is_outermost(&self) -> bool {
        self.around.is_none()
    }

    fn visit<E>(
        &self,
        visit: &mut impl FnMut(&Scope<'_>, &Node) -> Result<(), E>,
    ) -> Result<(), E> {
        for node in self.nodes {
            visit(self, node)?;
            for graph in node.graphs() {
                Scope::of_graph(graph, Some(self)).visit(visit)?;
            }
        }
        Ok(())
    }
}

impl Model {
    /// Visits each node once, with its scope: those of the model's graph, of its functions, and of the graphs within. Stops at the first
    /// error.
    ///
    /// # Errors
    /// That of `visit`.
    pub fn walk<E>(
        &self,
        mut visit: impl FnMut(&Scope<'_>, &Node) -> Result<(), E>,
    ) -> Result<(), E> {
        Scope::of_graph(&self.graph, None).visit(&mut visit)?;
        for function in &self.functions {
            Scope::of_function(function).visit(&mut visit)?;
        }
        Ok(())
    }

    /// Every tensor of the model: initialisers and attributes, also of functions, training, and the graphs within.
    ///
    /// # Errors
    /// That of `visit`.
    pub fn tensors_mut<E>(
        &mut self,
        visit: &mut impl FnMut(&mut Tensor) -> Result<(), E>,
    ) -> Result<(), E> {
        self.graph.tensors_mut(visit)?;
        for training in &mut self.training {
            for graph in training.initialisation.iter_mut().chain(&mut training.step) {
                graph.tensors_mut(visit)?;
            }
        }
        for function in &mut self.functions {
            for attribute in &mut function.defaults {
                value_tensors(&mut attribute.value, visit)?;
            }
            node_tensors(&mut function.nodes, visit)?;
        }
        Ok(())
    }
}

impl Graph {
    /// What defines each name of the graph itself.
    pub fn origins(&self) -> HashMap<&str, Origin> {
        let mut origins = HashMap::new();
        outputs(&self.nodes, &mut origins);
        let sparse = self.sparse_initialisers.iter().enumerate();
        origins.extend(
            sparse.map(|(at, one)| (one.values.name.as_str(), Origin::SparseInitialiser(at))),
        );
        let initialisers = self.initialisers.iter().enumerate();
        origins.extend(initialisers.map(|(at, one)| (one.name.as_str(), Origin::Initialiser(at))));
        origins.extend(self.inputs.iter().map(|input| (input.name.as_str(), Origin::Input)));
        // An empty name means an operand that was left out.
        origins.remove("");
        origins
    }

    /// The names that the graph takes from the graphs around it.
    pub fn free(&self) -> HashSet<&str> {
        let origins = self.origins();
        let mut free: HashSet<&str> = self.nodes.iter().flat_map(reads).collect();
        free.extend(self.outputs.iter().map(|output| output.name.as_str()));
        free.retain(|name| !name.is_empty() && !origins.contains_key(name));
        free
    }

    fn tensors_mut<E>(
        &mut self,
        visit: &mut impl FnMut(&mut Tensor) -> Result<(), E>,
    ) -> Result<(), E> {
        self.initialisers.iter_mut().try_for_each(&mut *visit)?;
        for sparse in &mut self.sparse_initialisers {
            sparse.tensors_mut().into_iter().try_for_each(&mut *visit)?;
        }
        node_tensors(&mut self.nodes, visit)
    }
}

/// The names that a node reads: its operands, and what its graphs take from around them.
pub(super) fn reads(node: &Node) -> HashSet<&str> {
    let mut names: HashSet<&str> = node.graphs().flat_map(Graph::free).collect();
    names.extend(node.inputs.iter().map(String::as_str).filter(|name| !name.is_empty()));
    names
}

fn outputs<'m>(nodes: &'m [Node], origins: &mut HashMap<&'m str, Origin>) {
    for (index, node) in nodes.iter().enumerate() {
        let outputs = node.outputs.iter().filter(|name| !name.is_empty());
        origins.extend(outputs.map(|name| (name.as_str(), Origin::Node(index))));
    }
}

fn node_tensors<E>(
    nodes: &mut [Node],
    visit: &mut impl FnMut(&mut Tensor) -> Result<(), E>,
) -> Result<(), E> {
    for attribute in nodes.iter_mut().flat_map(|node| &mut node.attributes) {
        value_tensors(&mut attribute.value, visit)?;
    }
    Ok(())
}

fn value_tensors<E>(
    value: &mut Value,
    visit: &mut impl FnMut(&mut Tensor) -> Result<(), E>,
) -> Result<(), E> {
    value.tensors_mut().into_iter().try_for_each(&mut *visit)?;
    value.graphs_mut().iter_mut().try_for_each(|graph| graph.tensors_mut(visit))
}
