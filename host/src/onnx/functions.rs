//! Functions that a model defines: what a few lines become when every call is written out, as backends do when they load it.

use std::collections::HashMap;

use super::limits::{FUNCTION_DEPTH_MAX, NODES_MAX};
use super::operators::Operator;
use super::refused::{ModelRefused, Problem};

/// The nodes of a function, or of all the model's graphs, with those in graphs within them.
#[derive(Debug, Default)]
pub(super) struct Body<'m> {
    /// Which function it is; none for the model's graphs.
    pub(super) function: Option<Operator<'m>>,
    pub(super) uses: HashMap<Operator<'m>, u64>,
}

/// Finds the functions' bodies, and refuses those that call themselves or become too large.
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
    /// None while a function's calls are counted.
    known: HashMap<Operator<'m>, Option<Size>>,
}

/// What a body is with its calls written out.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    nodes: u64,
    /// How many functions call each other in a row in it.
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
