//! The training itself: epochs of steps, each with its figures, a checkpoint after each.

use std::collections::BTreeMap;
use std::path::Path;

use burn_tensor::{Device, Tensor, TensorData, activation};
use hospes_core::id::Digest;
use hospes_evidence::r2;
use hospes_training::native::EarlyStop;
use hospes_training::{Event, Native};

use crate::checkpoint::{Checkpoint, CheckpointError, Head};
use crate::data::{Rows, Wanted};
use crate::net::Net;
use crate::prepare::Preparation;
use crate::random::{Random, Use};
use crate::teacher::Soft;
use crate::update::{self, Memory};

/// Rows that are evaluated at once.
const EVALUATED_ROWS: usize = 256;
/// Steps between two events that say how far an epoch is.
const STEPS_TOLD: usize = 100;

/// What a training works on.
#[derive(Clone)]
pub struct Training<'t> {
    pub part: Part,
    pub native: &'t Native,
    pub net: &'t Net,
    pub preparation: &'t Preparation,
    /// For numbers: what the network's answer is multiplied by and moved by.
    pub answer: (f32, f32),
    pub rows: &'t Rows,
    /// Rows of `rows` that are learnt from, and those that decide when to stop.
    pub learnt: Vec<usize>,
    pub held: Vec<usize>,
    pub test: Option<&'t Rows>,
    pub teacher: Option<&'t Soft>,
    pub device: Device,
}

/// Which part of the whole this is: see [`crate::parts`].
#[derive(Clone)]
pub struct Part {
    /// Before the names of its metrics. Empty only for the last part.
    pub prefix: &'static str,
    pub epochs: u32,
    /// Epochs of earlier parts.
    pub before: u32,
    /// The weights that it begins with; otherwise those of the seed.
    pub first: Option<Vec<Vec<f32>>>,
}

impl Part {
    /// The only part, with the weights of the seed.
    pub fn whole(epochs: u32) -> Self {
        Self { prefix: "", epochs, before: 0, first: None }
    }

    /// Whether no other part comes after it.
    fn is_last(&self) -> bool {
        self.prefix.is_empty()
    }
}

/// Why a training failed.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("the loss is no longer a number in epoch {epoch}: lower the learning rate, as with `--set lr={}`", rate / 10.0)]
    Diverged { epoch: u32, rate: f64 },
    #[error("the device could not be read: {0}")]
    Device(String),
}

/// The state between steps.
struct State {
    weights: Vec<Tensor<1>>,
    memory: Memory,
    best: Option<Vec<Vec<f32>>>,
    head: Head,
}

/// How good answers are.
#[derive(Debug, Clone, Copy)]
struct Figures {
    loss: f64,
    /// The part of the right answers, or R².
    score: f64,
}

impl Training<'_> {
    /// Trains to the end and returns the weights. `tell` gets each event, also those of before a resumption.
    ///
    /// # Errors
    /// [`FitError`].
    pub fn run(
        &self,
        checkpoint: &Path,
        of: Digest,
        tell: &mut dyn FnMut(&Event),
    ) -> Result<Vec<Vec<f32>>, FitError> {
        let mut state = self.begin(checkpoint, of)?;
        state.head.events.iter().for_each(&mut *tell);
        // Of earlier parts only the one that was interrupted.
        if state.head.epochs > 0 && (self.part.is_last() || !self.has_ended(&state.head)) {
            let epoch = self.part.before + state.head.epochs;
            let message = Some(format!("resuming after epoch {epoch}"));
            tell(&Event { message, ..Event::default() });
        }
        while !self.has_ended(&state.head) {
            let epoch = state.head.epochs + 1;
            let loss = self.epoch(&mut state, epoch, tell)?;
            if !loss.is_finite() {
                return Err(FitError::Diverged { epoch, rate: self.native.optimizer.lr });
            }
            let event = self.figures(&mut state, epoch, loss)?;
            state.head.events.push(event.clone());
            state.head.epochs = epoch;
            self.save(&state)?.write(checkpoint)?;
            // Whoever hears that an epoch has ended may interrupt the training, and goes on after it.
            tell(&event);
        }
        match state.best {
            Some(best) => {
                tell(&self.kept(&state.head));
                Ok(best)
            }
            None => read_all(&state.weights),
        }
    }

    /// The figures of the weights that are kept, said last: those of later epochs are of weights that nobody gets.
    fn kept(&self, head: &Head) -> Event {
        let ago = head.best.map_or(0, |(_, ago)| ago);
        let kept = head.epochs.saturating_sub(ago);
        let event = (kept as usize).checked_sub(1).and_then(|at| head.events.get(at));
        let epoch = self.part.before + kept;
        Event {
            epoch: Some(u64::from(epoch)),
            metrics: event.map(|event| event.metrics.clone()).unwrap_or_default(),
            progress: Some(self.progress(f64::from(self.part.epochs))),
            message: Some(format!("kept epoch {epoch}")),
            ..Event::default()
        }
    }

    /// What the network answers for rows, in the units of the data.
    ///
    /// # Errors
    /// [`FitError::Device`].
    pub fn answers(
        &self,
        weights: &[Vec<f32>],
        rows: &Rows,
        chosen: &[usize],
    ) -> Result<Vec<f32>, FitError> {
        let weights = self.on_device(weights, &self.device);
        let raw = self.raw(&weights, rows, chosen)?;
        let (by, plus) = self.answer;
        Ok(raw.into_iter().map(|number| number * by + plus).collect())
    }

    fn begin(&self, checkpoint: &Path, of: Digest) -> Result<State, FitError> {
        let count = self.net.parameters().len();
        let each = update::remembered(&self.native.optimizer);
        let Some(Checkpoint { head, mut numbers }) = Checkpoint::read(checkpoint, of)? else {
            let first = || self.net.first_weights(self.native.seed);
            let weights = self.part.first.clone().unwrap_or_else(first);
            let zeros = self
                .net
                .parameters()
                .iter()
                .map(|parameter| vec![vec![0.0; parameter.count()]; each]);
            let memory = zeros.map(|zeros| self.on_device(&zeros, &self.device)).collect();
            let weights = self.on_device(&weights, &self.device);
            return Ok(State { weights, memory, best: None, head: Head::new(of) });
        };
        let best = numbers.split_off((count * (1 + each)).min(numbers.len()));
        let memory = numbers.split_off(count.min(numbers.len()));
        let memory = match each {
            0 => vec![Vec::new(); count],
            each => {
                memory.chunks(each).map(|memory| self.on_device(memory, &self.device)).collect()
            }
        };
        let best = (!best.is_empty()).then_some(best);
        Ok(State { weights: self.on_device(&numbers, &self.device), memory, best, head })
    }

    fn on_device(&self, numbers: &[Vec<f32>], device: &Device) -> Vec<Tensor<1>> {
        let tensor = |numbers: &Vec<f32>| {
            Tensor::from_data(TensorData::new(numbers.clone(), [numbers.len()]), device)
        };
        numbers.iter().map(tensor).collect()
    }

    fn save(&self, state: &State) -> Result<Checkpoint, FitError> {
        let mut numbers = read_all(&state.weights)?;
        for memory in &state.memory {
            numbers.extend(read_all(memory)?);
        }
        numbers.extend(state.best.iter().flatten().cloned());
        Ok(Checkpoint { head: state.head.clone(), numbers })
    }

    fn has_ended(&self, head: &Head) -> bool {
        let is_patient = match (self.native.early_stop, head.best) {
            (Some(EarlyStop { patience, .. }), Some((_, ago))) => ago < patience,
            (_, _) => true,
        };
        head.epochs >= self.part.epochs || !is_patient
    }

    /// One pass over the rows. Returns the mean loss.
    fn epoch(
        &self,
        state: &mut State,
        epoch: u32,
        tell: &mut dyn FnMut(&Event),
    ) -> Result<f64, FitError> {
        let Native { batch, seed, ref optimizer, augment, .. } = *self.native;
        let mut order = self.learnt.clone();
        Random::new(seed, Use::Order { epoch: u64::from(epoch) }).shuffle(&mut order);
        let steps = order.len().div_ceil(batch);
        let device = self.device.clone().autodiff();
        let mut total = 0.0;
        for (at, chosen) in order.chunks(batch).enumerate() {
            let step = (epoch as usize - 1) * steps + at;
            let inputs =
                self.preparation.apply(self.rows, chosen, Some((augment, seed, u64::from(epoch))));
            let weights: Vec<Tensor<1>> = std::mem::take(&mut state.weights)
                .into_iter()
                .map(|weight| weight.autodiff().require_grad())
                .collect();
            let answers = self.net.forward(&weights, inputs, &self.preparation.shape(), &device);
            let loss = self.loss(answers, chosen, &device);
            let mut gradients = loss.backward();
            total += f64::from(read(loss.inner())?[0]) * chosen.len() as f64;
            let rate = update::rate(optimizer, self.part.epochs, steps, step);
            state.weights = weights
                .into_iter()
                .zip(&mut state.memory)
                .map(|(weight, memory)| match weight.grad_remove(&mut gradients) {
                    Some(gradient) => update::update(
                        optimizer,
                        (rate, step + 1),
                        weight.inner(),
                        gradient,
                        memory,
                    ),
                    None => weight.inner(),
                })
                .collect();
            if at % STEPS_TOLD == STEPS_TOLD - 1 {
                let done = f64::from(epoch - 1) + (at + 1) as f64 / steps as f64;
                tell(&Event { progress: Some(self.progress(done)), ..Event::default() });
            }
        }
        Ok(total / order.len() as f64)
    }

    /// How far all parts are when this one has so many epochs.
    fn progress(&self, done: f64) -> f64 {
        (f64::from(self.part.before) + done) / f64::from(self.native.epochs_in_all())
    }

    /// Cross-entropy, with that of the teacher's answers if there is one; or the mean square.
    fn loss(&self, answers: Tensor<2>, chosen: &[usize], device: &Device) -> Tensor<1> {
        let (count, width) = (chosen.len(), self.rows.outputs());
        let mut wanted = vec![0.0_f32; count * width];
        match &self.rows.wanted {
            Wanted::Classes { of, .. } => {
                for (at, row) in chosen.iter().enumerate() {
                    wanted[at * width + of[*row] as usize] = -1.0 / count as f32;
                }
                let wanted =
                    Tensor::<2>::from_data(TensorData::new(wanted, [count, width]), device);
                let of_labels = (activation::log_softmax(answers.clone(), 1) * wanted).sum();
                let Some(teacher) = self.teacher else { return of_labels };
                let soft = teacher.negative_means(chosen, width);
                let soft = Tensor::<2>::from_data(TensorData::new(soft, [count, width]), device);
                let softened = activation::log_softmax(answers / teacher.temperature, 1);
                // Gradients of softened answers are smaller by the temperature's square.
                let of_teacher =
                    (softened * soft).sum() * (teacher.temperature * teacher.temperature);
                of_labels * (1.0 - teacher.weight) + of_teacher * teacher.weight
            }
            Wanted::Numbers(numbers) => {
                let (by, plus) = self.answer;
                for (wanted, row) in wanted.iter_mut().zip(chosen) {
                    *wanted = (numbers[*row] - plus) / by;
                }
                let wanted =
                    Tensor::<2>::from_data(TensorData::new(wanted, [count, width]), device);
                let difference = answers - wanted;
                (difference.clone() * difference).mean()
            }
        }
    }

    /// The event of an epoch, and whether its weights are the best so far.
    fn figures(&self, state: &mut State, epoch: u32, loss: f64) -> Result<Event, FitError> {
        let mut metrics = BTreeMap::from([("loss".to_owned(), loss)]);
        let score = match self.rows.wanted {
            Wanted::Classes { .. } => "accuracy",
            Wanted::Numbers(_) => "r2",
        };
        if !self.held.is_empty() {
            let figures = self.evaluate(&state.weights, self.rows, &self.held)?;
            metrics.insert("validation_loss".into(), figures.loss);
            metrics.insert(format!("validation_{score}"), figures.score);
            match &mut state.head.best {
                Some((best, ago)) if figures.loss >= *best => *ago += 1,
                best => {
                    *best = Some((figures.loss, 0));
                    state.best = Some(read_all(&state.weights)?);
                }
            }
        }
        if let Some(test) = self.test {
            let all: Vec<usize> = (0..test.count()).collect();
            let figures = self.evaluate(&state.weights, test, &all)?;
            metrics.insert("test_loss".into(), figures.loss);
            metrics.insert(score.into(), figures.score);
        }
        metrics.retain(|_, value| value.is_finite());
        let Part { prefix, before, .. } = self.part;
        let named = |(name, value)| (format!("{prefix}{name}"), value);
        Ok(Event {
            epoch: Some(u64::from(before + epoch)),
            metrics: metrics.into_iter().map(named).collect(),
            progress: Some(self.progress(f64::from(epoch))),
            ..Event::default()
        })
    }

    fn evaluate(
        &self,
        weights: &[Tensor<1>],
        rows: &Rows,
        chosen: &[usize],
    ) -> Result<Figures, FitError> {
        let raw = self.raw(weights, rows, chosen)?;
        let (count, width) = (chosen.len() as f64, rows.outputs());
        match &rows.wanted {
            Wanted::Classes { of, .. } => {
                let (mut loss, mut right) = (0.0, 0.0);
                for (answer, row) in raw.chunks(width).zip(chosen) {
                    let wanted = of[*row] as usize;
                    let most = answer.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    let sum: f64 = answer.iter().map(|logit| f64::from(logit - most).exp()).sum();
                    loss += sum.ln() - f64::from(answer[wanted] - most);
                    // The first of equals, as argmax has it.
                    right += f64::from(u8::from(
                        answer.iter().position(|logit| *logit == most) == Some(wanted),
                    ));
                }
                Ok(Figures { loss: loss / count, score: right / count })
            }
            Wanted::Numbers(numbers) => {
                let (by, plus) = (f64::from(self.answer.0), f64::from(self.answer.1));
                let wanted: Vec<f64> = chosen.iter().map(|row| f64::from(numbers[*row])).collect();
                let found: Vec<f64> = raw.iter().map(|raw| f64::from(*raw) * by + plus).collect();
                let pairs = found.iter().zip(&wanted);
                let error: f64 = pairs.map(|(found, wanted)| (found - wanted).powi(2)).sum();
                // Without variance there is none; figures that are no numbers are not reported.
                let score = r2(&wanted, &found).unwrap_or(f64::NAN);
                Ok(Figures { loss: error / count / (by * by), score })
            }
        }
    }

    /// The network's answers, before they are put into the units of the data.
    fn raw(
        &self,
        weights: &[Tensor<1>],
        rows: &Rows,
        chosen: &[usize],
    ) -> Result<Vec<f32>, FitError> {
        let mut answers = Vec::with_capacity(chosen.len() * rows.outputs());
        for chosen in chosen.chunks(EVALUATED_ROWS) {
            let inputs = self.preparation.apply(rows, chosen, None);
            answers.extend(read(self.net.forward(
                weights,
                inputs,
                &self.preparation.shape(),
                &self.device,
            ))?);
        }
        Ok(answers)
    }
}

fn read<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, FitError> {
    tensor.try_into_vec_as::<f32>().map_err(|error| FitError::Device(error.to_string()))
}

fn read_all(tensors: &[Tensor<1>]) -> Result<Vec<Vec<f32>>, FitError> {
    tensors.iter().cloned().map(read).collect()
}
