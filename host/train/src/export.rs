//! The trained network as an ONNX file.

use hospes_onnx::model::{ElementType, Graph, Model, Node, Size, Tensor, ValueInfo};
use hospes_onnx::{ModelRefused, Told, ToldColumn};

use crate::data::{Column, Inputs, Rows, Wanted};
use crate::net::Net;
use crate::prepare::Preparation;

/// What every backend of hosts computes, with operators that have not changed since.
const OPSET: i64 = 17;

/// The name of the model's output.
pub fn output(rows: &Rows) -> &'static str {
    match rows.wanted {
        Wanted::Classes { .. } => "logits",
        Wanted::Numbers(_) => "value",
    }
}

/// The bytes of the model: preparation, network, and for numbers the way back to the units of the data.
///
/// # Errors
/// [`ModelRefused`] if a host would not take it.
pub fn onnx(
    rows: &Rows,
    preparation: &Preparation,
    net: &Net,
    weights: &[Vec<f32>],
    answer: (f32, f32),
) -> Result<Vec<u8>, ModelRefused> {
    let mut graph = Graph::new("trained");
    let output = output(rows);
    preparation.write(&mut graph);
    match rows.wanted {
        Wanted::Classes { .. } => net.write(&mut graph, weights, output),
        Wanted::Numbers(_) => {
            net.write(&mut graph, weights, "scaled");
            graph.initialisers.push(Tensor::new("unit", &[1, 1], &[answer.0]));
            graph.initialisers.push(Tensor::new("zero", &[1, 1], &[answer.1]));
            graph.nodes.push(Node::new("Mul", &["scaled", "unit"], &["multiplied"]));
            graph.nodes.push(Node::new("Add", &["multiplied", "zero"], &[output]));
        }
    }
    let shape = [Size::Named("batch".into()), Size::Fixed(rows.outputs() as i64)];
    graph.outputs.push(ValueInfo::tensor(output, ElementType::FLOAT, &shape));
    let mut model = Model::new(graph, OPSET);
    model.producer_name = "hospes-train".into();
    model.producer_version = env!("CARGO_PKG_VERSION").into();
    let mut told = Told::default();
    if let Wanted::Classes { names, .. } = &rows.wanted {
        told.classes.clone_from(names);
    }
    if let Inputs::Cells { columns, .. } = &rows.inputs {
        let column = |Column { name, categories }: &Column| ToldColumn {
            name: name.clone(),
            categories: categories.clone(),
        };
        told.columns = columns.iter().map(column).collect();
    }
    told.write(&mut model);
    model.write()
}
