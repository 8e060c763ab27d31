//! The parts of a training, one after another: without a teacher, for comparison; as the recipe asks; and what pruning leaves.
//!
//! Metrics of the last part have their own names. Those of earlier parts begin with what the network lacks: `alone_`, `unpruned_`.

use std::path::Path;

use hospes_core::id::Digest;
use hospes_training::native::{ALONE, Prune, UNPRUNED};
use hospes_training::{Event, Native};

use crate::fit::{FitError, Part, Training};
use crate::net::Net;

/// A network and its weights.
pub struct Learnt {
    pub net: Net,
    pub weights: Vec<Vec<f32>>,
}

/// Trains each part that the recipe asks for. A part that an earlier run has ended is not repeated.
///
/// # Errors
/// [`FitError`].
pub fn train(
    whole: &Training<'_>,
    checkpoints: &Path,
    of: Digest,
    tell: &mut dyn FnMut(&Event),
) -> Result<Learnt, FitError> {
    let Native { epochs, prune, .. } = *whole.native;
    let mut before = 0;
    if whole.teacher.is_some() {
        let part = Part { prefix: ALONE, epochs, before, first: None };
        let alone = Training { part, teacher: None, ..whole.clone() };
        alone.run(&checkpoints.join("alone"), of, tell)?;
        before += epochs;
    }
    let prefix = if prune.is_some() { UNPRUNED } else { "" };
    let part = Part { prefix, epochs, before, first: None };
    let asked = Training { part, ..whole.clone() };
    let weights = asked.run(&checkpoints.join("epoch"), of, tell)?;
    let net = whole.net.clone();
    let Some(Prune { share, epochs: after }) = prune else { return Ok(Learnt { net, weights }) };
    let (net, first) = net.narrowed(&weights, share);
    let before = before + epochs;
    let part = Part { prefix: "", epochs: after, before, first: Some(first) };
    let pruned = Training { part, net: &net, ..whole.clone() };
    let weights = pruned.run(&checkpoints.join("pruned"), of, tell)?;
    Ok(Learnt { net, weights })
}
