//! The engine: takes what hosts ask, and computes in turns.
//!
//! A turn chooses a token for every sequence whose logits are there, gives rows to those that need one, computes one step of all rows that
//! generate, and one chunk of one prompt. Whose turn it is, the counters of [`Fair`] say.

mod asks;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::cache::Cache;
use super::fair::{Fair, GENERATED_COST, PROMPT_COST};
use super::prefix::Prefixes;
use super::prepare::Prepared;
use super::protocol::{Answer, Ask, Tell};
use super::sampling;
use super::sequence::{Ahead, Kept, Sequence, Stage, Then, Work};
use super::text::Text;
use hospes_core::language::{Failure, Finish, Refusal};

/// Computes a model.
pub trait Forward {
    /// The sequences' keys and values.
    fn cache(&mut self) -> &mut Cache;

    /// Computes `width` tokens of each of the rows from `first` on. `tokens` has those of the first row, then those of the next;
    /// `before` says how many tokens each row has already.
    ///
    /// # Errors
    /// What went wrong. The rows are useless then.
    fn run(
        &mut self,
        first: usize,
        tokens: &[u32],
        before: &[usize],
        answers: &mut Answers,
    ) -> Result<(), String>;
}

/// What the model says after the last token of each row.
#[derive(Debug, Default)]
pub struct Answers {
    pub logits: Vec<f32>,
    pub hidden: Vec<f32>,
}

/// The limits of an engine.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Tokens of a prompt that are computed in a turn.
    pub chunk: usize,
    /// Memory of beginnings that are remembered.
    pub prefix_bytes_max: usize,
    /// Memory of sequences that have no row. Beyond it, they are computed again.
    pub saved_bytes_max: usize,
    /// Maximum sequences.
    pub sequences_max: usize,
}

/// News for the engine.
#[derive(Debug)]
pub enum Event {
    Ask(Ask),
    /// A job that needs text is being prepared.
    Preparing {
        job: u64,
        sequence: u32,
    },
    Prepared(Prepared),
}

/// The engine of a model.
pub struct Engine<F> {
    forward: F,
    settings: Settings,
    text: Arc<Text>,
    sequences: BTreeMap<u32, Sequence>,
    /// Which sequence has each row.
    rows: Vec<Option<u32>>,
    fair: Fair,
    prefixes: Prefixes,
    /// Jobs that are being prepared, with their sequences.
    preparing: HashMap<u64, u32>,
    /// Bytes of keys and values outside of rows.
    saved_bytes: usize,
    answers: Answers,
    tell: Box<dyn FnMut(Tell) + Send>,
    /// Counts turns.
    turn: u64,
}

impl<F: Forward> Engine<F> {
    pub fn new(
        mut forward: F,
        text: Arc<Text>,
        settings: Settings,
        tell: impl FnMut(Tell) + Send + 'static,
    ) -> Self {
        let rows = forward.cache().shape().rows;
        Self {
            forward,
            settings,
            text,
            sequences: BTreeMap::new(),
            rows: vec![None; rows],
            fair: Fair::default(),
            prefixes: Prefixes::new(settings.prefix_bytes_max),
            preparing: HashMap::new(),
            saved_bytes: 0,
            answers: Answers::default(),
            tell: Box::new(tell),
            turn: 0,
        }
    }

    /// Whether a turn would compute something.
    pub fn has_work(&self) -> bool {
        let waits = |stage| matches!(stage, Stage::Idle | Stage::Stalled);
        self.sequences.values().any(|sequence| !waits(sequence.stage()))
    }

    /// Whether something waits that a deadline ends.
    pub fn has_deadlines(&self) -> bool {
        self.sequences.values().any(|sequence| sequence.stage() != Stage::Idle)
    }

    /// Computes a turn.
    pub fn turn(&mut self, now: Instant) {
        self.turn += 1;
        self.expire(now);
        self.sample();
        self.count();
        self.admit();
        self.decode();
        self.prefill();
    }

    /// Ends what has come to its deadline.
    fn expire(&mut self, now: Instant) {
        let expired = |(id, sequence): (&u32, &Sequence)| {
            (sequence.stage() != Stage::Idle && sequence.deadline <= now).then_some(*id)
        };
        let expired: Vec<u32> = self.sequences.iter().filter_map(expired).collect();
        for id in expired {
            let text = "the call has come to its deadline".to_owned();
            self.end(id, Finish::Deadline, Failure { why: Refusal::Deadline, text });
        }
    }

    /// Ends what a sequence is doing: a generation with this finish, anything else with this failure.
    fn end(&mut self, id: u32, finish: Finish, failure: Failure) {
        let Some(sequence) = self.sequences.get_mut(&id) else { return };
        match std::mem::replace(&mut sequence.work, Work::Idle) {
            Work::Idle => {}
            Work::Prompt { job, .. } => (self.tell)(Tell::Done { job, result: Err(failure) }),
            Work::Generate(mut generation) => {
                let job = generation.job;
                if let Some(piece) = generation.last_piece() {
                    (self.tell)(Tell::Piece { job, piece });
                }
                (self.tell)(Tell::End { job, result: Ok((generation.made, finish)) });
            }
        }
    }

    /// Chooses a token for each sequence whose logits are there.
    fn sample(&mut self) {
        let length = self.forward.cache().shape().length;
        for sequence in self.sequences.values_mut() {
            if sequence.stage() != Stage::Sample {
                continue;
            }
            let Work::Generate(generation) = &mut sequence.work else { continue };
            let Some(ahead) = sequence.ahead.take() else { continue };
            let room = length.saturating_sub(sequence.tokens.len());
            if room == 0 {
                let job = generation.job;
                (self.tell)(Tell::End { job, result: Ok((generation.made, Finish::Length)) });
                sequence.work = Work::Idle;
                continue;
            }
            let step = generation.step(&self.text, &sequence.tokens, &ahead.logits, room);
            let (job, made) = (generation.job, generation.made);
            match step.token {
                Some(token) => sequence.tokens.push(token),
                // The sequence is as it was, so what follows is too.
                None => sequence.ahead = Some(ahead),
            }
            if let Some(piece) = step.piece {
                (self.tell)(Tell::Piece { job, piece });
            }
            if let Some(end) = step.end {
                (self.tell)(Tell::End { job, result: end.map(|finish| (made, finish)) });
                sequence.work = Work::Idle;
            }
        }
    }

    /// Tells the counters which callers want something.
    fn count(&mut self) {
        for sequence in self.sequences.values_mut() {
            let wants = matches!(sequence.stage(), Stage::Prefill | Stage::Decode | Stage::Sample);
            match (wants, sequence.counted) {
                (true, false) => self.fair.enter(sequence.caller),
                (false, true) => self.fair.leave(sequence.caller),
                _ => {}
            }
            sequence.counted = wants;
        }
    }

    /// Computes the next token of all rows that generate.
    fn decode(&mut self) {
        let ready = self.with_row(Stage::Decode);
        if ready.is_empty() {
            return;
        }
        self.gather(&ready);
        let ids: Vec<u32> = self.rows.iter().take(ready.len()).flatten().copied().collect();
        let sequences = || ids.iter().filter_map(|id| self.sequences.get(id));
        let tokens: Vec<u32> =
            sequences().filter_map(|sequence| sequence.tokens.last().copied()).collect();
        let before: Vec<usize> = sequences().map(|sequence| sequence.computed).collect();
        if let Err(why) = self.forward.run(0, &tokens, &before, &mut self.answers) {
            return self.fail(&ids, &why);
        }
        let rows = ids.len();
        for (at, id) in ids.iter().enumerate() {
            let ahead = self.answers.of(at, rows);
            let Some(sequence) = self.sequences.get_mut(id) else { continue };
            sequence.computed += 1;
            sequence.used = self.turn;
            sequence.ahead = Some(Arc::new(ahead));
            self.fair.charge(sequence.caller, sequence.weight, GENERATED_COST);
        }
    }

    /// Computes a chunk of the prompt whose caller's counter is lowest.
    fn prefill(&mut self) {
        let ready = self.with_row(Stage::Prefill);
        let counter = |id: &u32| {
            let sequence = self.sequences.get(id);
            sequence.map(|sequence| (self.fair.counter(sequence.caller), *id))
        };
        let Some(id) = ready.into_iter().min_by_key(counter) else { return };
        self.look_up(id);
        let Some(sequence) = self.sequences.get_mut(&id) else { return };
        let Some(row) = sequence.row() else { return };
        let count = sequence.chunk(self.settings.chunk);
        let (from, to) = (sequence.computed, sequence.computed + count);
        let tokens = sequence.tokens.get(from..to).unwrap_or_default();
        if let Err(why) = self.forward.run(row, tokens, &[from], &mut self.answers) {
            return self.fail(&[id], &why);
        }
        self.fair.charge(sequence.caller, sequence.weight, count as u64 * PROMPT_COST);
        sequence.used = self.turn;
        if sequence.prefilled == from && count > 1 {
            sequence.prefilled = to;
        }
        sequence.computed = to;
        if to == sequence.tokens.len() {
            sequence.ahead = Some(Arc::new(self.answers.of(0, 1)));
            self.remember(id, row);
            self.computed(id);
        }
    }

    /// Answers whoever waits for a prompt.
    fn computed(&mut self, id: u32) {
        let Some(sequence) = self.sequences.get_mut(&id) else { return };
        let Work::Prompt { job, then } = sequence.work else { return };
        let Some(ahead) = &sequence.ahead else { return };
        let bytes = |token: u32| self.text.bytes(token).to_vec();
        let answer = match then {
            Then::Computed => {
                let tokens = sequence.tokens.len() as u32;
                Answer::Computed { tokens, cached: std::mem::take(&mut sequence.cached) as u32 }
            }
            Then::Likely(count) => Answer::Likely(sampling::likely(&ahead.logits, count, &bytes)),
            Then::Hidden => Answer::Hidden(ahead.hidden.to_vec()),
        };
        sequence.work = Work::Idle;
        (self.tell)(Tell::Done { job, result: Ok(answer) });
    }

    /// Fails sequences whose rows are useless.
    fn fail(&mut self, ids: &[u32], why: &str) {
        for id in ids {
            let Some(sequence) = self.sequences.get_mut(id) else { continue };
            let failure = Failure {
                why: Refusal::Busy,
                text: format!("the model could not be computed: {why}"),
            };
            match std::mem::replace(&mut sequence.work, Work::Idle) {
                Work::Idle => {}
                Work::Prompt { job, .. } => (self.tell)(Tell::Done { job, result: Err(failure) }),
                Work::Generate(generation) => {
                    (self.tell)(Tell::End { job: generation.job, result: Err(failure) });
                }
            }
            if let Kept::Row(row) = std::mem::replace(&mut sequence.kept, Kept::Nothing) {
                self.rows[row] = None;
            }
            (sequence.computed, sequence.prefilled, sequence.ahead) = (0, 0, None);
        }
    }

    /// The sequences in a row that need this.
    fn with_row(&self, stage: Stage) -> Vec<u32> {
        let ids = self.rows.iter().flatten().copied();
        let needs =
            |id: &u32| self.sequences.get(id).is_some_and(|sequence| sequence.stage() == stage);
        ids.filter(needs).collect()
    }
}

impl Answers {
    /// Those of one of so many rows.
    fn of(&self, row: usize, rows: usize) -> Ahead {
        let part = |all: &[f32]| {
            let size = all.len() / rows.max(1);
            all.get(row * size..(row + 1) * size).unwrap_or_default().into()
        };
        Ahead { logits: part(&self.logits), hidden: part(&self.hidden) }
    }
}
