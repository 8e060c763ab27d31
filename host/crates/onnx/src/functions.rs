//! The functions that a model defines, and their size after all calls are inlined, as backends do when they load the model.

use std::collections::{HashMap, HashSet};

use super::limits::{FUNCTION_DEPTH_MAX, NODES_MAX};
use super::operators::Operator;
use super::refused::{ModelRefused, Problem};

/// The nodes of a function or of all the model's graphs, with nested graphs.
#[derive(Debug, Default)]
pub(super) struct Body<'m> {
    /// The function; `None` for the model's graphs.
    pub(super) function: Option<Operator<'m>>,
    pub(super) uses: HashMap<Operator<'m>, u64>,
    /// Operands whose values determine the size of a result, each with its operator.
    operands: Vec<(&'m str, Operator<'m>)>,
    /// Values that are constant: initialisers, and the outputs of `Constant`.
    constants: HashSet<&'m str>,
    /// Values that are not constant: callers' inputs, and the outputs of all other nodes. A name in both sets is not constant.
    computed: HashSet<&'m str>,
    /// Operators with such operands in nested graphs of the body, where names are not resolved.
    nested: HashSet<Operator<'m>>,
}

impl<'m> Body<'m> {
    /// Adds a node: its operator and operands, and whether it is in a nested graph.
    pub(super) fn add(
        &mut self,
        operator: Operator<'m>,
        inputs: &[&'m str],
        outputs: &[&'m str],
        is_nested: bool,
    ) {
        *self.uses.entry(operator).or_default() += 1;
        let by_value = operator.operands_by_value();
        let operands = inputs.iter().skip(by_value.start).take(by_value.len());
        // An omitted operand has an empty name.
        let mut operands = operands.filter(|name| !name.is_empty());
        if is_nested {
            if operands.next().is_some() {
                self.nested.insert(operator);
            }
            return;
        }
        self.operands.extend(operands.map(|name| (*name, operator)));
        let known = if operator.is_constant() { &mut self.constants } else { &mut self.computed };
        known.extend(outputs);
    }

    /// Adds the names of the graph itself: its initialisers and its inputs, which may override initialisers.
    pub(super) fn name(&mut self, initialisers: Vec<&'m str>, inputs: Vec<&'m str>) {
        self.constants.extend(initialisers);
        self.computed.extend(inputs);
    }

    /// The operators in this body whose result size depends on a value that is not constant. `defines_constant` says whether the model
    /// defines its own `Constant`.
    pub(super) fn sized_by_value(
        &self,
        defines_constant: bool,
    ) -> impl Iterator<Item = Operator<'m>> {
        let is_constant = move |name: &str| {
            !defines_constant && self.constants.contains(name) && !self.computed.contains(name)
        };
        let operands = self.operands.iter().filter(move |(name, _)| !is_constant(name));
        operands.map(|(_, operator)| *operator).chain(self.nested.iter().copied())
    }
}

/// Finds the bodies of functions, and rejects recursive or oversized functions.
pub(super) fn check<'b, 'm>(
    bodies: &'b [Body<'m>],
) -> Result<HashMap<Operator<'m>, &'b Body<'m>>, ModelRefused> {
    let mut functions = HashMap::new();
    for body in bodies {
        let Some(function) = body.function else { continue };
        if functions.insert(function, body).is_some() {
            return Err(Problem::FunctionTwice { function: function.title() }.into());
        }
    }
    let mut expand = Expand { functions: &functions, known: HashMap::new() };
    for body in bodies {
        if expand.written_out(body, 0)?.nodes > NODES_MAX {
            return Err(Problem::Expanded.into());
        }
    }
    Ok(functions)
}

struct Expand<'f, 'b, 'm> {
    functions: &'f HashMap<Operator<'m>, &'b Body<'m>>,
    /// The size of each function; `None` while its calls are being counted.
    known: HashMap<Operator<'m>, Option<Size>>,
}

/// The size of a body with its calls inlined.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    nodes: u64,
    /// The depth of its function calls.
    calls: usize,
}

impl<'m> Expand<'_, '_, 'm> {
    fn written_out(&mut self, body: &Body<'m>, depth: usize) -> Result<Size, ModelRefused> {
        if depth > FUNCTION_DEPTH_MAX {
            return Err(Problem::FunctionDepth.into());
        }
        if let Some(function) = body.function {
            match self.known.get(&function) {
                Some(Some(size)) => return Ok(*size),
                Some(None) => return Err(Problem::Recursion { function: function.title() }.into()),
                None => self.known.insert(function, None),
            };
        }
        let mut size = Size::default();
        for (operator, count) in &body.uses {
            let mut nodes = 1_u64;
            if let Some(function) = self.functions.get(operator) {
                let called = self.written_out(function, depth + 1)?;
                nodes = nodes.saturating_add(called.nodes);
                size.calls = size.calls.max(called.calls + 1);
            }
            size.nodes = size.nodes.saturating_add(nodes.saturating_mul(*count));
        }
        if size.calls > FUNCTION_DEPTH_MAX {
            return Err(Problem::FunctionDepth.into());
        }
        if let Some(function) = body.function {
            self.known.insert(function, Some(size));
        }
        Ok(size)
    }
}
