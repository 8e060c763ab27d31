//! Expands weights that are stored in fewer bits, as the model itself does when it is loaded: the opposite of [`super::store8()`].

use hospes_onnx::Model;
use hospes_onnx::model::walk::Scope;

use super::{Change, Changed};
use crate::array::constant;

/// Puts the numbers of stored weights into the model, as it would compute them.
///
/// # Errors
/// [`super::PassError`] if the model cannot be changed.
pub fn restore(model: &Model) -> Changed {
    let scope = Scope::of_graph(&model.graph, None);
    let (mut arrays, mut gone) = (Vec::new(), Vec::new());
    for (index, node) in model.graph.nodes.iter().enumerate() {
        let [output] = &node.outputs[..] else { continue };
        let is_last = node.is("", "Mul") || node.is("", "DequantizeLinear");
        if let Some(array) = is_last.then(|| constant(&scope, output)).flatten() {
            arrays.push(array.tensor(output.clone()));
            gone.push(index);
        }
    }
    if gone.is_empty() {
        return Ok(None);
    }
    let notes = vec![format!("{} tensors of weights were expanded", gone.len())];
    let mut model = model.clone();
    let mut gone = gone.into_iter().peekable();
    let mut index = 0..;
    model.graph.nodes.retain(|_| gone.next_if_eq(&index.next().unwrap_or(usize::MAX)).is_none());
    model.graph.initialisers.extend(arrays);
    model.remove_unused()?;
    model.graph.check_order()?;
    Ok(Some(Change { model, notes }))
}
