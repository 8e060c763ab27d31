//! A component by an author who knows wasi-nn but not this host. It uses plain `wit-bindgen` and tensors as bytes, takes the
//! first output whatever its name is, and prints to the console. It shows that such components run unchanged.

use wasi::nn::graph::load_by_name;
use wasi::nn::tensor::{Tensor, TensorType};

wit_bindgen::generate!({
    world: "example:foreign/foreign",
    path: ["../../wit/deps/wasi-nn-0.2.0-rc-2024-10-28", "wit"],
    generate_all,
});

/// The component.
struct Foreign;

impl Guest for Foreign {
    fn probe(flower: Vec<f32>) -> Result<Vec<f32>, String> {
        println!("probing {flower:?}");
        let text = |error: wasi::nn::errors::Error| error.data();
        let bytes: Vec<u8> = flower.iter().flat_map(|value| value.to_le_bytes()).collect();
        let x = Tensor::new(&[1, flower.len() as u32], TensorType::Fp32, &bytes);
        let graph = load_by_name("model").map_err(text)?;
        let context = graph.init_execution_context().map_err(text)?;
        let outputs = context.compute(vec![("X".to_owned(), x)]).map_err(text)?;
        let floats = outputs.iter().find(|(_, tensor)| tensor.ty() == TensorType::Fp32);
        let (name, tensor) = floats.ok_or("the model has no output of floats")?;
        eprintln!("read `{name}`, {:?}", tensor.dimensions());
        let data = tensor.data();
        Ok(data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }
}

export!(Foreign);
