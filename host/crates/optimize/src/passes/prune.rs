//! Sets weights to zero. The file and the speed stay as they are; only compressed, for transfer, the model is smaller.

use hospes_core::random::SplitMix64;
use hospes_onnx::Model;
use hospes_onnx::model::walk::{Origin, Scope};
use hospes_onnx::model::{ElementType, Tensor};

use super::layers::Layer;
use super::{Change, Changed, PassError};

/// Which weights become zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The smallest, of all layers together.
    Magnitude,
    /// Any, from this seed. It wrecks models: it is here to be measured.
    Random(u64),
}

/// Sets a share of the weights of all layers to zero, from 0 to 1.
///
/// # Errors
/// [`PassError::Amount`] if `amount` is not a share.
pub fn prune(model: &Model, amount: f64, choice: Choice) -> Changed {
    if !(0.0..=1.0).contains(&amount) {
        return Err(PassError::Amount { amount });
    }
    let weights = weights(model);
    let mut model = model.clone();
    let mut keys: Vec<f32> = Vec::new();
    let mut random = Random::of(choice);
    for index in &weights {
        let elements = model.graph.initialisers[*index].elements::<f32>()?;
        keys.extend(elements.iter().map(|value| random.key(*value)));
    }
    let count = (keys.len() as f64 * amount) as usize;
    if count == 0 {
        return Ok(None);
    }
    let mut sorted = keys.clone();
    let (_, limit, _) = sorted.select_nth_unstable_by(count - 1, f32::total_cmp);
    let limit = *limit;
    // Of equal ones only as many as are wanted.
    let below = keys.iter().filter(|key| **key < limit).count();
    let (mut at_limit, mut keys) = (count - below, keys.into_iter());
    let mut zeroed = 0_usize;
    for index in weights {
        let tensor = &mut model.graph.initialisers[index];
        let mut elements = tensor.elements::<f32>()?.into_owned();
        for (value, key) in elements.iter_mut().zip(&mut keys) {
            let is_at_limit = key.total_cmp(&limit).is_eq() && at_limit > 0;
            at_limit -= usize::from(is_at_limit);
            if (key < limit || is_at_limit) && *value != 0.0 {
                *value = 0.0;
                zeroed += 1;
            }
        }
        tensor.data = Tensor::new("", &tensor.dims.clone(), &elements).data;
    }
    let notes = vec![format!("{zeroed} weights were set to zero")];
    Ok((zeroed > 0).then_some(Change { model, notes }))
}

/// The initialisers that are weights of layers, each once, in their order.
fn weights(model: &Model) -> Vec<usize> {
    let graph = &model.graph;
    let scope = Scope::of_graph(graph, None);
    let origins = graph.origins();
    let layers = Layer::all(graph, &scope);
    let inputs = layers.iter().filter_map(|layer| graph.nodes[layer.index].inputs.get(1));
    let mut weights: Vec<usize> = inputs
        .filter_map(|name| match origins.get(name.as_str()) {
            Some(Origin::Initialiser(index)) => Some(*index),
            _ => None,
        })
        .filter(|index| graph.initialisers[*index].element == ElementType::FLOAT)
        .collect();
    weights.sort_unstable();
    weights.dedup();
    weights
}

/// Gives each weight a key; those with the smallest are set to zero.
enum Random {
    Magnitude,
    Random(SplitMix64),
}

impl Random {
    fn of(choice: Choice) -> Self {
        match choice {
            Choice::Magnitude => Random::Magnitude,
            Choice::Random(seed) => Random::Random(SplitMix64(seed)),
        }
    }

    fn key(&mut self, value: f32) -> f32 {
        match self {
            Random::Magnitude => value.abs(),
            Random::Random(random) => (random.draw() >> 40) as f32,
        }
    }
}
