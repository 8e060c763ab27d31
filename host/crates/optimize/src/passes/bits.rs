//! Weights of matrix products in 4 or 8 bits, in blocks with a scale each (`MatMulNBits` of `com.microsoft`).
//!
//! They stay so small in memory too. Not every backend has the operator: tract has it for 4 bits only.

use hospes_onnx::Model;
use hospes_onnx::model::Node;
use hospes_onnx::model::walk::Scope;

use super::build::Build;
use super::layers::{Kind, Layer};
use super::{Change, Changed};
use crate::quantise::blocks;

/// Weights that share a scale.
const BLOCK: usize = 32;

/// What is computed in 8 bits, by the operator's own definition.
const ACCURACY_LEVEL: i64 = 4;

/// Stores the weights of `MatMul` in so many bits: 4 or 8.
///
/// # Errors
/// [`super::PassError`] if the model cannot be changed.
///
/// # Panics
/// If `bits` is neither 4 nor 8.
pub fn bits(model: &Model, bits: u32) -> Changed {
    assert!(matches!(bits, 4 | 8), "{bits} is neither 4 nor 8");
    let scope = Scope::of_graph(&model.graph, None);
    let mut build = Build::of(model);
    let mut count = 0;
    for (index, node) in model.graph.nodes.iter().enumerate() {
        let layer = Layer::of(&scope, index, node).filter(|layer| layer.kind == Kind::MatMul);
        match layer.and_then(|layer| product(&mut build, &scope, &layer, node, bits)) {
            Some(()) => count += 1,
            None => build.keep(node.clone()),
        }
    }
    if count == 0 {
        return Ok(None);
    }
    let mut model = build.finish(model)?;
    model.import("com.microsoft", 1);
    let notes = vec![format!("{count} layers have weights of {bits} bits")];
    Ok(Some(Change { model, notes }))
}

fn product(
    build: &mut Build,
    scope: &Scope<'_>,
    layer: &Layer,
    node: &Node,
    bits: u32,
) -> Option<()> {
    let matrix = layer.matrix(scope, node)?;
    let (rows, columns) = (matrix.dims[0], matrix.dims[1]);
    if rows < BLOCK {
        return None;
    }
    let stored = blocks(&matrix, bits, BLOCK)?;
    let per_column = rows.div_ceil(BLOCK);
    let hint = &node.inputs[1];
    let dims = [columns, per_column, BLOCK * bits as usize / 8];
    let weights = build.constant(hint, &dims, &stored.bytes);
    let scales = build.constant(&format!("{hint}/scale"), &[stored.scales.len()], &stored.scales);
    let product = Node::new("MatMulNBits", &[&node.inputs[0], &weights, &scales], &[])
        .of("com.microsoft")
        .with("K", i64::try_from(rows).ok()?)
        .with("N", i64::try_from(columns).ok()?)
        .with("accuracy_level", ACCURACY_LEVEL)
        .with("bits", i64::from(bits))
        .with("block_size", BLOCK as i64);
    build.output(product, node.outputs.first()?.clone());
    Some(())
}
