//! Changes to a graph that keep it whole: names stay unique, and every node comes after what it reads.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::tensor::Tensor;
use super::walk::reads;
use super::{Graph, Model, Node};
use crate::refused::quoted;

/// Where names begin that are made here: no exporter writes such.
const MADE: &str = "hospes/";

/// Why a graph cannot be changed, or is not whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    #[error(
        "the graph has no value `{name}`: name one of its inputs, initialisers or outputs of nodes"
    )]
    Unknown { name: String },
    #[error(
        "`{name}` already names a value of the graph or of a graph within: choose another name"
    )]
    Taken { name: String },
    #[error("{node} reads `{name}`, which nothing in the graph defines: export the model again")]
    Undefined { node: String, name: String },
    #[error("{node} reads `{name}` before it is computed: put its nodes in order with `sort`")]
    Order { node: String, name: String },
    #[error("{node} needs its own output `{name}`, directly or through others: break the circle")]
    Circle { node: String, name: String },
    #[error("{node} and another define `{name}`: give each value a name of its own")]
    Twice { node: String, name: String },
    #[error(
        "{node} says on which devices its values are: export the model without device configurations"
    )]
    Devices { node: String },
    #[error(
        "the model has training information, which refers to its values: export it for inference only"
    )]
    Training,
}

/// Names that a model has, so that new ones differ from them.
#[derive(Debug, Default)]
pub struct Names {
    taken: HashSet<String>,
}

impl Names {
    /// Those of a model: of values and nodes, in its graphs and functions.
    pub fn of(model: &Model) -> Self {
        let mut taken = HashSet::new();
        model.graph.value_names(&mut |name| taken.extend([name.to_owned()]));
        let bodies = model.functions.iter().map(|function| &function.nodes);
        for node in bodies.chain([&model.graph.nodes]).flat_map(|nodes| all_nodes(nodes)) {
            taken.insert(node.name.clone());
            taken.extend(node.inputs.iter().chain(&node.outputs).cloned());
        }
        for function in &model.functions {
            taken.extend(function.inputs.iter().chain(&function.outputs).cloned());
        }
        Self { taken }
    }

    /// A name that nothing has yet. The same hints in the same order give the same names.
    pub fn fresh(&mut self, hint: &str) -> String {
        let mut name = format!("{MADE}{hint}");
        let mut number = 1_u64;
        while !self.taken.insert(name.clone()) {
            name = format!("{MADE}{hint}_{number}");
            number += 1;
        }
        name
    }
}

impl Model {
    /// Renames values of the model's graph, wherever they are named. Names may be swapped.
    ///
    /// # Errors
    /// [`EditError`] if a name is unknown, or a new one is taken. The model is then unchanged.
    pub fn rename(&mut self, names: &BTreeMap<String, String>) -> Result<(), EditError> {
        if !self.training.is_empty() {
            return Err(EditError::Training);
        }
        self.graph.rename(names)
    }

    /// Removes what no output of the model needs: nodes, initialisers, types of values, and functions that nothing calls. Returns how many
    /// nodes and initialisers.
    ///
    /// # Errors
    /// [`EditError::Training`] if the model has training information, which may need them.
    pub fn remove_unused(&mut self) -> Result<usize, EditError> {
        if !self.training.is_empty() {
            return Err(EditError::Training);
        }
        let removed = self.graph.remove_unused();
        let mut called = HashSet::new();
        let mut waiting: Vec<&Node> = all_nodes(&self.graph.nodes);
        while let Some(node) = waiting.pop() {
            let domain = crate::operators::domain(&node.domain);
            if called.insert((domain.to_owned(), node.operator.clone())) {
                let functions = self.functions.iter().filter(|function| {
                    function.name == node.operator
                        && crate::operators::domain(&function.domain) == domain
                });
                waiting.extend(functions.flat_map(|function| all_nodes(&function.nodes)));
            }
        }
        self.functions.retain(|function| {
            let domain = crate::operators::domain(&function.domain).to_owned();
            called.contains(&(domain, function.name.clone()))
        });
        Ok(removed)
    }
}

impl Graph {
    /// Renames values that this graph defines, wherever they are named: also in graphs within. Names may be swapped.
    ///
    /// # Errors
    /// [`EditError`] if a name is unknown, or a new one is taken. The graph is then unchanged.
    pub fn rename(&mut self, names: &BTreeMap<String, String>) -> Result<(), EditError> {
        let origins = self.origins();
        let unknown = names.keys().find(|name| !origins.contains_key(name.as_str()));
        if let Some(name) = unknown {
            return Err(EditError::Unknown { name: quoted(name) });
        }
        let mut all = HashSet::new();
        self.value_names(&mut |name| all.extend([name]));
        let mut new = BTreeSet::new();
        for name in names.values() {
            let stays = all.contains(name.as_str()) && !names.contains_key(name);
            if name.is_empty() || stays || !new.insert(name) {
                return Err(EditError::Taken { name: quoted(name) });
            }
        }
        // A graph within may use an old name for something of its own, but a new one that is swapped in would then be hidden.
        for node in all_nodes(&self.nodes) {
            if !node.devices.is_empty() {
                return Err(EditError::Devices { node: node.place() });
            }
            for graph in node.graphs() {
                let own = graph.origins();
                let hidden = names.values().find(|name| own.contains_key(name.as_str()));
                if let Some(name) = hidden {
                    return Err(EditError::Taken { name: quoted(name) });
                }
            }
        }
        self.apply(&names.iter().map(|(old, new)| (old.as_str(), new.as_str())).collect(), true);
        Ok(())
    }

    /// Renames what `names` says. `is_own`: whether the names are of this graph, and not of one around it.
    fn apply(&mut self, names: &HashMap<&str, &str>, is_own: bool) {
        let visible: HashMap<&str, &str> = if is_own {
            names.clone()
        } else {
            let own: HashSet<String> = self.origins().into_keys().map(str::to_owned).collect();
            names.iter().filter(|(old, _)| !own.contains(**old)).map(|(a, b)| (*a, *b)).collect()
        };
        if visible.is_empty() {
            return;
        }
        let change = |name: &mut String| {
            if let Some(new) = visible.get(name.as_str()) {
                (*new).clone_into(name);
            }
        };
        for node in &mut self.nodes {
            node.inputs.iter_mut().chain(&mut node.outputs).for_each(change);
            node.graphs_mut().for_each(|graph| graph.apply(&visible, false));
        }
        let values = self.inputs.iter_mut().chain(&mut self.outputs).chain(&mut self.value_infos);
        values.for_each(|value| change(&mut value.name));
        self.initialisers.iter_mut().for_each(|tensor| change(&mut tensor.name));
        self.sparse_initialisers.iter_mut().for_each(|sparse| change(&mut sparse.values.name));
        for annotation in &mut self.annotations {
            change(&mut annotation.value);
            annotation.tensors.iter_mut().for_each(|entry| change(&mut entry.value));
        }
    }

    /// Lets all nodes that read `old` read `new` instead, also in graphs within. What defines them stays, and so do the graph's outputs.
    pub fn replace_uses(&mut self, old: &str, new: &str) {
        let change = |name: &mut String| {
            if name == old {
                new.clone_into(name);
            }
        };
        for node in &mut self.nodes {
            node.inputs.iter_mut().for_each(change);
            for graph in node.graphs_mut() {
                if !graph.origins().contains_key(old) {
                    graph.replace_uses(old, new);
                    graph.outputs.iter_mut().for_each(|output| change(&mut output.name));
                }
            }
        }
    }

    /// Puts `nodes` in the place of the node at this index, which is returned. With no nodes it is only removed.
    ///
    /// # Errors
    /// [`EditError::Twice`] if they define a value that the graph has, other than those of the old node. The graph is then unchanged.
    ///
    /// # Panics
    /// If there is no node at this index.
    pub fn replace(&mut self, index: usize, nodes: Vec<Node>) -> Result<Node, EditError> {
        let old = &self.nodes[index];
        let mut taken = self.origins();
        taken.retain(|name, _| !old.outputs.iter().any(|output| output == name));
        unique(&nodes, taken.into_keys().collect())?;
        let mut spliced = self.nodes.splice(index..=index, nodes);
        Ok(spliced.next().expect("invariant: the index was looked up"))
    }

    /// Puts nodes before the node at this index, or at the end.
    ///
    /// # Errors
    /// [`EditError::Twice`] if they define a value that the graph has. The graph is then unchanged.
    pub fn insert(&mut self, index: usize, nodes: Vec<Node>) -> Result<(), EditError> {
        unique(&nodes, self.origins().into_keys().collect())?;
        let index = index.min(self.nodes.len());
        self.nodes.splice(index..index, nodes);
        Ok(())
    }

    /// Adds an initialiser.
    ///
    /// # Errors
    /// [`EditError::Taken`] if the graph has a value of this name.
    pub fn add_initialiser(&mut self, tensor: Tensor) -> Result<(), EditError> {
        if self.origins().contains_key(tensor.name.as_str()) {
            return Err(EditError::Taken { name: quoted(&tensor.name) });
        }
        self.initialisers.push(tensor);
        Ok(())
    }

    /// Checks that each node comes after what it reads, also within its graphs, and that each value is defined once.
    ///
    /// # Errors
    /// [`EditError`] names the first node that does not.
    pub fn check_order(&self) -> Result<(), EditError> {
        self.ordered_within(&HashSet::new())
    }

    fn ordered_within(&self, around: &HashSet<&str>) -> Result<(), EditError> {
        let later: HashSet<&str> = self.nodes.iter().flat_map(outputs).collect();
        let mut known = around.clone();
        known.extend(self.inputs.iter().map(|input| input.name.as_str()));
        known.extend(self.initialisers.iter().map(|tensor| tensor.name.as_str()));
        known.extend(self.sparse_initialisers.iter().map(|sparse| sparse.values.name.as_str()));
        let mut own = HashSet::new();
        for node in &self.nodes {
            let mut names: Vec<&str> = reads(node).into_iter().collect();
            names.sort_unstable();
            if let Some(name) = names.into_iter().find(|name| !known.contains(name)) {
                let (node, is_later) = (node.place(), later.contains(name));
                let name = quoted(name);
                return Err(if is_later {
                    EditError::Order { node, name }
                } else {
                    EditError::Undefined { node, name }
                });
            }
            for graph in node.graphs() {
                graph.ordered_within(&known)?;
            }
            for name in outputs(node) {
                if !own.insert(name) {
                    return Err(EditError::Twice { node: node.place(), name: quoted(name) });
                }
                known.insert(name);
            }
        }
        let missing = self.outputs.iter().find(|output| !known.contains(output.name.as_str()));
        match missing {
            Some(output) => Err(EditError::Unknown { name: quoted(&output.name) }),
            None => Ok(()),
        }
    }

    /// Puts the nodes in an order in which each comes after what it reads. Those that need not move keep their order.
    ///
    /// # Errors
    /// [`EditError::Circle`] if there is no such order. The graph is then unchanged.
    pub fn sort(&mut self) -> Result<(), EditError> {
        let mut sources = HashMap::new();
        for (index, node) in self.nodes.iter().enumerate() {
            sources.extend(outputs(node).map(|name| (name, index)));
        }
        let (mut missing, mut readers) = (Vec::new(), vec![Vec::new(); self.nodes.len()]);
        for (index, node) in self.nodes.iter().enumerate() {
            let names = reads(node);
            let needs: HashSet<usize> =
                names.into_iter().filter_map(|name| sources.get(name).copied()).collect();
            missing.push(needs.len());
            needs.into_iter().for_each(|source| readers[source].push(index));
        }
        let free = missing.iter().enumerate().filter(|(_, count)| **count == 0);
        let mut ready: BTreeSet<usize> = free.map(|(index, _)| index).collect();
        let mut order = Vec::with_capacity(self.nodes.len());
        while let Some(index) = ready.pop_first() {
            order.push(index);
            for reader in &readers[index] {
                missing[*reader] -= 1;
                if missing[*reader] == 0 {
                    ready.insert(*reader);
                }
            }
        }
        if order.len() < self.nodes.len() {
            let stuck = missing.iter().position(|count| *count > 0).unwrap_or_default();
            let node = &self.nodes[stuck];
            let name = outputs(node).next().unwrap_or_default();
            return Err(EditError::Circle { node: node.place(), name: quoted(name) });
        }
        let mut nodes: Vec<Option<Node>> = self.nodes.drain(..).map(Some).collect();
        self.nodes = order.into_iter().filter_map(|index| nodes[index].take()).collect();
        Ok(())
    }

    /// Removes nodes and initialisers that no output of the graph needs, and types of values that are gone. Returns how many nodes and
    /// initialisers. Inputs stay, with their default values.
    pub fn remove_unused(&mut self) -> usize {
        let before = self.nodes.len() + self.initialisers.len() + self.sparse_initialisers.len();
        let mut within = 0;
        for graph in self.nodes.iter_mut().flat_map(Node::graphs_mut) {
            within += graph.remove_unused();
        }
        let mut needed: HashSet<String> =
            self.outputs.iter().map(|output| output.name.clone()).collect();
        let mut kept = vec![false; self.nodes.len()];
        // The nodes may be in any order.
        loop {
            let mut found = false;
            for (node, kept) in self.nodes.iter().zip(&mut kept).rev() {
                if !*kept && outputs(node).any(|name| needed.contains(name)) {
                    (*kept, found) = (true, true);
                    needed.extend(reads(node).into_iter().map(str::to_owned));
                }
            }
            if !found {
                break;
            }
        }
        let mut kept = kept.into_iter();
        self.nodes.retain(|_| kept.next().unwrap_or_default());
        needed.extend(self.inputs.iter().map(|input| input.name.clone()));
        self.initialisers.retain(|tensor| needed.contains(&tensor.name));
        self.sparse_initialisers.retain(|sparse| needed.contains(&sparse.values.name));
        let known: HashSet<String> = self.origins().into_keys().map(str::to_owned).collect();
        self.value_infos.retain(|value| known.contains(&value.name));
        self.annotations.retain(|annotation| known.contains(&annotation.value));
        let after = self.nodes.len() + self.initialisers.len() + self.sparse_initialisers.len();
        before - after + within
    }

    /// Every name of a value, here and in the graphs within. Some come twice.
    fn value_names<'m>(&'m self, visit: &mut dyn FnMut(&'m str)) {
        for node in &self.nodes {
            node.inputs.iter().chain(&node.outputs).for_each(|name| visit(name));
            node.graphs().for_each(|graph| graph.value_names(visit));
        }
        let values = self.inputs.iter().chain(&self.outputs).chain(&self.value_infos);
        values.for_each(|value| visit(&value.name));
        self.initialisers.iter().for_each(|tensor| visit(&tensor.name));
        self.sparse_initialisers.iter().for_each(|sparse| visit(&sparse.values.name));
        for annotation in &self.annotations {
            visit(&annotation.value);
            annotation.tensors.iter().for_each(|entry| visit(&entry.value));
        }
    }
}

impl Node {
    /// The node in messages: its name and its operator.
    pub fn place(&self) -> String {
        format!("node `{}` ({})", quoted(&self.name), quoted(&self.operator))
    }
}

fn outputs(node: &Node) -> impl Iterator<Item = &str> {
    node.outputs.iter().map(String::as_str).filter(|name| !name.is_empty())
}

/// These nodes and those of the graphs within.
fn all_nodes(nodes: &[Node]) -> Vec<&Node> {
    let mut all = Vec::new();
    for node in nodes {
        all.push(node);
        node.graphs().for_each(|graph| all.extend(all_nodes(&graph.nodes)));
    }
    all
}

/// Checks that no value is defined twice.
fn unique(nodes: &[Node], taken: HashSet<&str>) -> Result<(), EditError> {
    let mut taken = taken;
    for node in nodes {
        if let Some(name) = outputs(node).find(|name| !taken.insert(name)) {
            return Err(EditError::Twice { node: node.place(), name: quoted(name) });
        }
    }
    Ok(())
}
