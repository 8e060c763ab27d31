//! Orders the products of a GELU as ONNX Runtime fuses them.

use hospes_onnx::model::walk::Scope;
use hospes_onnx::model::{ElementType, Graph, Node};

use super::build::Readers;

/// `x * (0.5 * (1 + erf(x / √2)))` becomes `(x * (1 + erf(x / √2))) * 0.5`. ONNX Runtime makes one operator only of the latter.
///
/// Answers stay, because a product by 0.5 is exact, except for numbers at either end of the range of floats.
pub(super) fn gelus(graph: &mut Graph, _opset: i64) -> usize {
    let found = {
        let (scope, readers) = (Scope::of_graph(graph, None), Readers::of(graph));
        let nodes = 0..graph.nodes.len();
        nodes.filter_map(|index| Gelu::of(graph, &scope, &readers, index)).collect::<Vec<_>>()
    };
    for Gelu { inner, outer, x, sum, half } in &found {
        let product = graph.nodes[*inner].outputs[0].clone();
        graph.nodes[*inner].inputs = vec![x.clone(), sum.clone()];
        graph.nodes[*outer].inputs = vec![product, half.clone()];
    }
    found.len()
}

/// The two products of a GELU that is computed in the other order.
struct Gelu {
    /// The node that computes `0.5 * sum`.
    inner: usize,
    /// The node that multiplies that by `x`.
    outer: usize,
    x: String,
    sum: String,
    half: String,
}

impl Gelu {
    /// The one whose inner product is this node.
    fn of(graph: &Graph, scope: &Scope<'_>, readers: &Readers<'_>, inner: usize) -> Option<Self> {
        let node = &graph.nodes[inner];
        let (half, sum) = operands(node, "Mul", |name| is_half(scope, name))?;
        let source =
            |name: &str, operator| scope.source(name).filter(|node: &&Node| node.is("", operator));
        let (erf, _) = operands(scope.source(sum)?, "Add", |name| source(name, "Erf").is_some())?;
        let argument = scope.source(source(erf, "Erf")?.inputs.first()?)?;
        let product = node.outputs.first()?;
        let outer = readers.only(product)?;
        let (_, x) = operands(&graph.nodes[outer], "Mul", |name| name == product)?;
        let is_scaled = argument.is("", "Div") || argument.is("", "Mul");
        let is_gelu = is_scaled && argument.inputs.iter().any(|input| input == x);
        let [x, sum, half] = [x, sum, half].map(str::to_owned);
        is_gelu.then_some(Self { inner, outer, x, sum, half })
    }
}

/// The operand of which this holds, and the other one.
fn operands<'n>(
    node: &'n Node,
    operator: &str,
    holds: impl Fn(&str) -> bool,
) -> Option<(&'n str, &'n str)> {
    let [one, other] = &node.inputs[..] else { return None };
    match node.is("", operator) {
        true if holds(one) => Some((one, other)),
        true if holds(other) => Some((other, one)),
        _ => None,
    }
}

/// Whether it is the one float 0.5.
fn is_half(scope: &Scope<'_>, name: &str) -> bool {
    let tensor = scope.constant(name).filter(|tensor| tensor.element == ElementType::FLOAT);
    let elements = tensor.and_then(|tensor| tensor.elements::<f32>().ok());
    elements.is_some_and(|elements| *elements == [0.5])
}
