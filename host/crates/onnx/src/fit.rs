//! Whether hosts can serve a model, as far as its file shows: what a backend would refuse, found when it is packed, with the fix. And what
//! callers give it and get.

use std::collections::HashSet;
use std::fmt;

use super::limits::{IR_VERSION_MAX, ML_OPSET_MAX, OPSET_MAX};
use super::model::types::{Size, Type, TypeKind, ValueInfo};
use super::model::{ElementType, Graph, Model, Node, Opset};
use super::operators::{Operator, domain};
use super::refused::{ModelRefused, Problem, quoted};
use super::released;

/// What callers give a model and get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Those without a value in the model first.
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    /// Domains and versions of operators; ONNX's own is `ai.onnx`.
    pub opsets: Vec<Opset>,
}

/// An input or an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub name: String,
    /// `None` if only a backend finds out.
    pub element: Option<ElementType>,
    /// `None` if the number of dimensions is open.
    pub shape: Option<Vec<Size>>,
    /// Whether the model has a value for it, which callers may override.
    pub has_default: bool,
}

/// As people read it: `x: FLOAT[batch, 4]`, with `?` for an open dimension without a name.
impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let element = self
            .element
            .map_or("of a type that is known only when it is computed", |element| element.name());
        write!(f, "{}: {element}", quoted(&self.name))?;
        match &self.shape {
            Some(sizes) => {
                let sizes: Vec<String> = sizes.iter().map(Size::to_string).collect();
                write!(f, "[{}]", sizes.join(", "))?;
            }
            None if self.element.is_some() => f.write_str(" of any shape")?,
            None => {}
        }
        if self.has_default { f.write_str(" (has a default)") } else { Ok(()) }
    }
}

impl Port {
    /// Whether callers choose a size.
    pub fn is_dynamic(&self) -> bool {
        let is_open = |size: &Size| !matches!(size, Size::Fixed(0..));
        self.shape.as_ref().is_none_or(|sizes| sizes.iter().any(is_open))
    }
}

/// Checks a model against what hosts compute and pass on.
///
/// # Errors
/// [`ModelRefused`] names the node, input or output that a host would refuse, and the fix.
pub fn fit(model: &Model) -> Result<Interface, ModelRefused> {
    versions(model)?;
    operators(model)?;
    let defaults: HashSet<&str> =
        model.graph.initialisers.iter().map(|tensor| tensor.name.as_str()).collect();
    let port = |side: &str, value: &ValueInfo| -> Result<Port, ModelRefused> {
        let port = port(value, defaults.contains(value.name.as_str()));
        port.map_err(|problem| {
            ModelRefused::from(problem).within(|| Some(format!("{side} `{}`", quoted(&value.name))))
        })
    };
    let inputs = model.graph.inputs.iter().map(|value| port("input", value));
    let mut inputs = inputs.collect::<Result<Vec<_>, _>>()?;
    inputs.sort_by_key(|input| input.has_default);
    let outputs = model.graph.outputs.iter().map(|value| port("output", value));
    let outputs = outputs.collect::<Result<Vec<_>, _>>()?;
    let opsets = model.opsets.iter().map(|opset| {
        let domain = if opset.domain.is_empty() { "ai.onnx" } else { &opset.domain };
        Opset::new(domain, opset.version)
    });
    Ok(Interface { inputs, outputs, opsets: opsets.collect() })
}

fn versions(model: &Model) -> Result<(), Problem> {
    let version = model.ir_version;
    // Version 3 of the format brought opsets.
    if version >= 3 && model.opsets.is_empty() && !model.graph.nodes.is_empty() {
        return Err(Problem::NoOpset);
    }
    if version > IR_VERSION_MAX {
        return Err(Problem::IrVersion { version });
    }
    for (domain, max) in [("", OPSET_MAX), ("ai.onnx.ml", ML_OPSET_MAX)] {
        let version = model.opset(domain).unwrap_or_default();
        if version > max {
            let domain = if domain.is_empty() { "ai.onnx" } else { domain };
            return Err(Problem::Opset { domain, version, max });
        }
    }
    Ok(())
}

fn operators(model: &Model) -> Result<(), ModelRefused> {
    let functions: HashSet<(&str, &str)> = model
        .functions
        .iter()
        .map(|function| (domain(&function.domain), function.name.as_str()))
        .collect();
    let is_defined =
        |node: &Node| functions.contains(&(domain(&node.domain), node.operator.as_str()));
    let check = |opsets: &[Opset], nodes: &[Node]| {
        each_node(nodes, &mut |node| match operator(node, opsets) {
            Err(problem) if !is_defined(node) => {
                Err(ModelRefused::from(problem).within(|| Some(node.place())))
            }
            _ => Ok(()),
        })
    };
    check(&model.opsets, &model.graph.nodes)?;
    for function in &model.functions {
        let checked = check(&function.opsets, &function.nodes);
        checked.map_err(|refused| {
            refused.within(|| Some(format!("function `{}`", quoted(&function.name))))
        })?;
    }
    Ok(())
}

/// Visits nodes and those of the graphs within.
fn each_node(
    nodes: &[Node],
    visit: &mut impl FnMut(&Node) -> Result<(), ModelRefused>,
) -> Result<(), ModelRefused> {
    for node in nodes {
        visit(node)?;
        for Graph { nodes, .. } in node.graphs() {
            each_node(nodes, visit)?;
        }
    }
    Ok(())
}

/// Whether ONNX has the operator in the version that is imported. Of other domains hosts know more than is listed here.
fn operator(node: &Node, opsets: &[Opset]) -> Result<(), Problem> {
    let of = domain(&node.domain);
    let operator = || Operator { domain: of, name: &node.operator, overload: "" }.title();
    let Some(known) = released::of_domain(of) else {
        // Backends have more operators than ONNX, in domains that begin like this.
        let may_be_known = ["ai.onnx.", "com.microsoft", "com.ms."];
        let may_be_known = may_be_known.iter().any(|prefix| of.starts_with(prefix));
        let unknown = || Problem::UnknownOperator { operator: operator() };
        return if may_be_known { Ok(()) } else { Err(unknown()) };
    };
    let at = known.binary_search_by_key(&node.operator.as_str(), |(name, _)| name);
    let Some((_, since)) = at.ok().and_then(|at| known.get(at)) else {
        return Err(Problem::UnknownOperator { operator: operator() });
    };
    // Backends import their own domains by themselves.
    let opset = opsets.iter().find(|opset| domain(&opset.domain) == of);
    let Some(Opset { version, .. }) = opset.cloned() else { return Ok(()) };
    if version < *since {
        return Err(Problem::NewerOperator { operator: operator(), since: *since, version });
    }
    let gone = released::GONE
        .iter()
        .find(|(name, gone, _)| of.is_empty() && *name == node.operator && version >= *gone);
    match gone {
        Some((_, gone, instead)) => {
            Err(Problem::OlderOperator { operator: operator(), gone: *gone, version, instead })
        }
        None => Ok(()),
    }
}

fn port(value: &ValueInfo, has_default: bool) -> Result<Port, Problem> {
    let kind = value.ty.as_ref().map_or(&TypeKind::Unstated, |ty| &ty.kind);
    let not_tensor = |found, fix| Err(Problem::NotTensor { found, fix });
    let (element, shape) = match kind {
        TypeKind::Unstated => (None, None),
        TypeKind::Tensor(element, shape) => (Some(*element), shape.as_ref()),
        TypeKind::SparseTensor(..) => return not_tensor("a sparse tensor", DENSE),
        TypeKind::Sequence(Some(of)) if is_map(of) => return not_tensor("a list of maps", MAPS),
        TypeKind::Sequence(_) => return not_tensor("a sequence", SEQUENCE),
        TypeKind::Map(..) => return not_tensor("a map", MAPS),
        TypeKind::Optional(_) => return not_tensor("an optional value", OPTIONAL),
        TypeKind::Opaque(..) => return not_tensor("an opaque value", OPAQUE),
    };
    let element = element.filter(|element| *element != ElementType::UNDEFINED);
    if let Some(found) = element.filter(|element| !CARRIED.contains(element)) {
        return Err(Problem::NotCarried { found: found.name() });
    }
    let shape = shape.map(|dims| dims.iter().map(|dim| dim.size.clone()).collect());
    Ok(Port { name: value.name.clone(), element, shape, has_default })
}

fn is_map(ty: &Type) -> bool {
    matches!(ty.kind, TypeKind::Map(..))
}

const DENSE: &str = "make it dense in the model, e.g. with `ScatterND`";
const MAPS: &str = "export the model with `options={'zipmap': False}`, or give and take keys and values as two tensors";
const SEQUENCE: &str =
    "give each part an input or output of its own, or join the parts with `ConcatFromSequence`";
const OPTIONAL: &str = "export the model with a tensor in its place (`OptionalGetElement`)";
const OPAQUE: &str = "export the model with a tensor in its place";

/// The types of elements that hosts carry: those of the Open Inference Protocol.
const CARRIED: [ElementType; 14] = [
    ElementType::FLOAT,
    ElementType::UINT8,
    ElementType::INT8,
    ElementType::UINT16,
    ElementType::INT16,
    ElementType::INT32,
    ElementType::INT64,
    ElementType::STRING,
    ElementType::BOOL,
    ElementType::FLOAT16,
    ElementType::DOUBLE,
    ElementType::UINT32,
    ElementType::UINT64,
    ElementType::BFLOAT16,
];

#[cfg(test)]
mod tests;
