//! Distinguishes kinds of iris.

use wasi::nn::graph::load_by_name;
use wasi::nn::tensor::{Tensor, TensorType};

wit_bindgen::generate!({
    world: "example:herald/herald",
    path: ["../../wit/deps/wasi-nn-0.2.0-rc-2024-10-28", "wit"],
    generate_all,
});

const KINDS: [&str; 3] = ["setosa", "versicolor", "virginica"];

/// The kind of the flower with these measurements, separated by commas.
pub fn kind(measurements: &str) -> Result<&'static str, String> {
    let measured: Result<Vec<f32>, _> = measurements.split(',').map(str::parse).collect();
    let measured = measured.map_err(|error| format!("`{measurements}`: {error}"))?;
    let text = |error: wasi::nn::errors::Error| error.data();
    let bytes: Vec<u8> = measured.iter().flat_map(|value| value.to_le_bytes()).collect();
    let x = Tensor::new(&[1, measured.len() as u32], TensorType::Fp32, &bytes);
    let context = load_by_name("model").and_then(|graph| graph.init_execution_context());
    let outputs = context.and_then(|context| context.compute(vec![("X".to_owned(), x)]));
    let outputs = outputs.map_err(text)?;
    let floats = outputs.iter().find(|(_, tensor)| tensor.ty() == TensorType::Fp32);
    let data = floats.ok_or("the model has no output of floats")?.1.data();
    let chances = data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let best = chances.enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
    best.and_then(|(kind, _)| KINDS.get(kind).copied()).ok_or("no kind".to_owned())
}
