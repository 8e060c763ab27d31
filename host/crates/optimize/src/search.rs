//! Calibration, and the search for the layers that must stay in floats.
//!
//! Ranges and sensitivity come from calibration rows only. Held-out rows would prove nothing if they had been chosen by.

use std::collections::BTreeMap;

use bytes::Bytes;
use hospes_core::backend::BackendKind;
use hospes_onnx::Model;

use crate::OptimizeError;
use crate::compare::Compare;
use crate::execute::{Executor, Metric, Named, Rows, floats};
use crate::gate::{self, Limits};
use crate::passes::{self, Change, Plan, Ranges};
use crate::quantise::{Range, SAFE};

/// How many layers may stay in floats. With more, little of the speed is left.
const KEPT: [usize; 5] = [0, 1, 2, 4, 8];

/// With such a loss in all layers, no few layers are to blame.
const HOPELESS: f64 = 0.3;

/// Rows that show how sensitive a layer is.
const SENSITIVITY_ROWS: usize = 16;

/// Rows that show how well a whole plan does.
const PLAN_ROWS: usize = 128;

/// Models with more layers are not searched: each is tried by itself.
const LAYERS_MAX: usize = 400;

/// A model that calibration has seen.
pub struct Calibrated<'c, E: Executor> {
    executor: &'c E,
    backend: BackendKind,
    model: &'c Model,
    rows: &'c Rows,
    /// How answers are compared if somebody has said it.
    metric: Option<Metric>,
    ranges: Ranges,
    /// The answers of the model to the rows.
    answers: Vec<Named>,
    /// Layers, the most sensitive first.
    sensitive: Option<Vec<String>>,
}

impl<'c, E: Executor> Calibrated<'c, E> {
    /// Finds the ranges of values. `None` if the model has no layers for it.
    ///
    /// # Errors
    /// [`OptimizeError`] if the model does not compute the rows.
    pub fn new(
        executor: &'c E,
        backend: BackendKind,
        model: &'c Model,
        (rows, metric): (&'c Rows, Option<Metric>),
    ) -> Result<Option<Self>, OptimizeError> {
        let Some((observed, values)) = passes::observe(model) else { return Ok(None) };
        let failed = |error| OptimizeError::Calibration { error };
        let loaded = load(executor, &observed, backend).map_err(failed)?;
        let own = model.graph.outputs.len();
        let (mut ranges, mut answers) = (BTreeMap::new(), Vec::new());
        for inputs in &rows.inputs {
            let mut outputs: Named =
                inputs.iter().filter(|(name, _)| values.contains(name)).cloned().collect();
            let given = outputs.len();
            outputs.extend(executor.compute(&loaded, inputs.clone()).map_err(failed)?);
            for (name, tensor) in &outputs {
                let range = floats(tensor).and_then(|numbers| Range::of(&numbers));
                let Some(range) = range.filter(|_| values.contains(name)) else { continue };
                let known = ranges.entry(name.clone()).or_insert(range);
                *known = known.with(range);
            }
            outputs.drain(..given);
            outputs.truncate(own);
            answers.push(outputs);
        }
        let sensitive = None;
        Ok(Some(Self { executor, backend, model, rows, metric, ranges, answers, sensitive }))
    }

    /// The model in 8 bits with as few layers in floats as answer the calibration rows with at most this loss, or else with the number of
    /// layers that lost least.
    ///
    /// # Errors
    /// [`OptimizeError`] if the pass cannot be applied.
    pub fn best(
        &mut self,
        max: i8,
        loss_max: f64,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Option<Change>, OptimizeError> {
        let mut best: Option<(f64, Change)> = None;
        for keep in KEPT {
            let plan = if keep == 0 {
                Plan { max, ..Plan::default() }
            } else {
                let sensitive = self.sensitive(progress)?;
                // Half of the layers in floats is not what was asked for.
                if keep * 2 > sensitive.len() {
                    break;
                }
                Plan { keep: sensitive[..keep].iter().cloned().collect(), only: None, max }
            };
            let Some(change) = passes::static8(self.model, &self.ranges, &plan)? else {
                return Ok(None);
            };
            let loss = self.loss(&change.model, PLAN_ROWS, false)?;
            progress(&format!("{keep} layers in floats lose {loss:.3} on calibration rows"));
            if best.as_ref().is_none_or(|(least, _)| loss < *least) {
                best = Some((loss, change));
            }
            if loss <= loss_max || keep == 0 && loss > HOPELESS {
                break;
            }
        }
        Ok(best.map(|(_, change)| change))
    }

    /// The layers, by how much answers change if only that layer computes in 8 bits. Found once, with weights that every processor
    /// multiplies exactly.
    fn sensitive(&mut self, progress: &mut dyn FnMut(&str)) -> Result<Vec<String>, OptimizeError> {
        if let Some(sensitive) = &self.sensitive {
            return Ok(sensitive.clone());
        }
        let layers = passes::layers(self.model);
        let mut losses = Vec::new();
        if layers.len() <= LAYERS_MAX {
            progress(&format!("measuring how sensitive {} layers are", layers.len()));
            for layer in layers {
                let only = Some([layer.clone()].into());
                let plan = Plan { only, max: SAFE, ..Plan::default() };
                if let Some(change) = passes::static8(self.model, &self.ranges, &plan)? {
                    losses.push((self.loss(&change.model, SENSITIVITY_ROWS, true)?, layer));
                }
            }
        }
        losses.sort_by(|one, other| other.0.total_cmp(&one.0));
        let sensitive: Vec<String> = losses.into_iter().map(|(_, layer)| layer).collect();
        Ok(self.sensitive.insert(sensitive).clone())
    }

    /// How far the answers of a changed model are from those of the model. `is_fine`: by the numbers in them, otherwise by the class if they
    /// give one.
    fn loss(&self, model: &Model, rows: usize, is_fine: bool) -> Result<f64, OptimizeError> {
        let failed = |error| OptimizeError::Calibration { error };
        let loaded = load(self.executor, model, self.backend).map_err(failed)?;
        let inputs = self.rows.inputs.iter().take(rows);
        let found: Result<Vec<Named>, String> =
            inputs.map(|inputs| self.executor.compute(&loaded, inputs.clone())).collect();
        let found = found.map_err(failed)?;
        let answers = &self.answers[..found.len()];
        // What the model answers counts, not what is right.
        let (batch, classes) = (self.rows.batch, self.rows.classes.clone());
        let inputs = self.rows.inputs[..found.len()].to_vec();
        let rows = Rows { inputs, batch, classes, ..Rows::default() };
        let metric = match (self.metric, rows.metric(answers)) {
            (Some(pooled @ Metric::Pooled(_)), _) => pooled,
            (_, Metric::Classes) if is_fine => Metric::Cosine,
            (_, metric) => metric,
        };
        let compared = Compare::new(&rows, answers.to_vec(), metric);
        let compared = compared.and_then(|compare| compare.with(&found));
        // What cannot be compared, such as one number that is always the same, has lost all.
        let risk = Limits::default().risk;
        Ok(compared.map_or(1.0, |answers| gate::loss(&answers, risk).loss))
    }
}

/// Loads a model that is in memory as values.
pub(crate) fn load<E: Executor>(
    executor: &E,
    model: &Model,
    backend: BackendKind,
) -> Result<E::Loaded, String> {
    let bytes = model.write().map_err(|error| error.to_string())?;
    executor.load(Bytes::from(bytes), backend)
}
