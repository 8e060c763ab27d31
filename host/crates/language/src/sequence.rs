//! A sequence's state in the engine, and that of what it generates.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use super::cache::Saved;
use super::grammar::Matching;
use super::outlet::{Outlet, Shown};
use super::sampling::Sampler;
use super::text::Text;
use hospes_core::language::{Failure, Finish, Refusal, TextPiece, Until};

/// Where a sequence's keys and values are.
#[derive(Debug)]
pub(super) enum Kept {
    Nothing,
    Row(usize),
    Saved(Saved),
}

/// What the model says after the last token.
#[derive(Debug)]
pub(super) struct Ahead {
    pub(super) logits: Box<[f32]>,
    pub(super) hidden: Box<[f32]>,
}

/// What a sequence is doing.
#[derive(Debug)]
pub(super) enum Work {
    Idle,
    Prompt { job: u64, then: Then },
    Generate(Box<Generation>),
}

/// What is answered when a prompt is computed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Then {
    Computed,
    Likely(u8),
    Hidden,
}

/// What a sequence needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Idle,
    Prefill,
    Decode,
    Sample,
    /// It has no tokens granted.
    Stalled,
}

/// A sequence.
#[derive(Debug)]
pub(super) struct Sequence {
    pub(super) caller: u64,
    pub(super) weight: NonZeroU32,
    pub(super) scope: Option<[u8; 32]>,
    pub(super) deadline: Instant,
    pub(super) tokens: Vec<u32>,
    /// Tokens that were appended and not committed.
    pub(super) appended: Vec<u32>,
    /// Of its tokens, those with keys and values.
    pub(super) computed: usize,
    /// Of them, those at the beginning that were computed several at a time. One at a time gives slightly other numbers.
    pub(super) prefilled: usize,
    /// Tokens found in the cache since the last answer.
    pub(super) cached: usize,
    /// Whether its beginning was looked up since tokens were added.
    pub(super) looked: bool,
    pub(super) kept: Kept,
    pub(super) ahead: Option<Arc<Ahead>>,
    pub(super) work: Work,
    /// Whether its caller is counted as wanting something because of it.
    pub(super) counted: bool,
    /// Its last step, to find the longest idle.
    pub(super) used: u64,
}

impl Sequence {
    pub(super) fn new(
        (caller, weight): (u64, NonZeroU32),
        scope: Option<[u8; 32]>,
        deadline: Instant,
    ) -> Self {
        Self {
            caller,
            weight,
            scope,
            deadline,
            tokens: Vec::new(),
            appended: Vec::new(),
            computed: 0,
            prefilled: 0,
            cached: 0,
            looked: false,
            kept: Kept::Nothing,
            ahead: None,
            work: Work::Idle,
            counted: false,
            used: 0,
        }
    }

    pub(super) fn stage(&self) -> Stage {
        match &self.work {
            Work::Idle => Stage::Idle,
            Work::Prompt { .. } => Stage::Prefill,
            Work::Generate(generation) if self.ahead.is_some() => match generation.credit {
                0 => Stage::Stalled,
                _ => Stage::Sample,
            },
            Work::Generate(generation) => {
                let is_next = generation.made > 0 && self.computed + 1 == self.tokens.len();
                if is_next { Stage::Decode } else { Stage::Prefill }
            }
        }
    }

    pub(super) fn row(&self) -> Option<usize> {
        match self.kept {
            Kept::Row(row) => Some(row),
            Kept::Nothing | Kept::Saved(_) => None,
        }
    }

    /// Makes sure that computing what is left says what follows. The last tokens are computed again as they were before: a prompt's
    /// several at a time, so that the numbers are the same.
    pub(super) fn step_back(&mut self) {
        if self.ahead.is_none() && self.computed == self.tokens.len() {
            let by = if self.computed <= self.prefilled { 2 } else { 1 };
            self.computed = self.computed.saturating_sub(by);
            self.prefilled = self.prefilled.min(self.computed);
        }
    }

    /// How many tokens to compute in the next step, of at most `chunk`. Never leaves a single one, which would be computed differently.
    pub(super) fn chunk(&self, chunk: usize) -> usize {
        let left = self.tokens.len() - self.computed;
        match left.min(chunk) {
            count if left - count == 1 && count > 2 => count - 1,
            count => count,
        }
    }

    /// Forgets all but the first tokens.
    pub(super) fn truncate(&mut self, tokens: usize) {
        if tokens < self.tokens.len() {
            self.ahead = None;
        }
        self.tokens.truncate(tokens);
        self.computed = self.computed.min(tokens);
        self.prefilled = self.prefilled.min(tokens);
    }
}

/// A generation.
#[derive(Debug)]
pub struct Generation {
    pub(super) job: u64,
    sampler: Sampler,
    matching: Option<Matching>,
    outlet: Outlet,
    until: Until,
    /// Tokens that it may still choose.
    pub(super) credit: u32,
    /// Whether it gets no more of them.
    pub(super) is_last: bool,
    /// Tokens that it has chosen.
    pub(super) made: u32,
    unsent: TextPiece,
}

/// What follows from a choice.
#[derive(Debug)]
pub(super) struct Step {
    /// The token, unless it only ends the text.
    pub(super) token: Option<u32>,
    pub(super) piece: Option<TextPiece>,
    pub(super) end: Option<Result<Finish, Failure>>,
}

impl Generation {
    pub(super) fn new(
        job: u64,
        sampler: Sampler,
        matching: Option<Matching>,
        until: Until,
        credit: u32,
    ) -> Self {
        let outlet = Outlet::new(until.stop.clone());
        Self {
            job,
            sampler,
            matching,
            outlet,
            until,
            credit,
            is_last: false,
            made: 0,
            unsent: TextPiece::default(),
        }
    }

    /// Whether it ends before it has begun.
    pub(super) fn is_empty(&self) -> bool {
        self.until.max_tokens == 0
    }

    /// Chooses the next token after these. `room` says how many more the sequence can have.
    pub(super) fn step(
        &mut self,
        text: &Text,
        before: &[u32],
        logits: &[f32],
        room: usize,
    ) -> Step {
        match self.choose(text, before, logits, room) {
            Ok(step) => step,
            Err(failure) => Step { token: None, piece: self.flush(), end: Some(Err(failure)) },
        }
    }

    fn choose(
        &mut self,
        text: &Text,
        before: &[u32],
        logits: &[f32],
        room: usize,
    ) -> Result<Step, Failure> {
        let allowed = self.matching.as_mut().map(Matching::allowed).transpose()?;
        let allowed = allowed.as_ref().map(|allowed| move |token: usize| allowed.has(token));
        let allowed = allowed.as_ref().map(|allowed| allowed as &dyn Fn(usize) -> bool);
        let token = self.sampler.choose(logits, before, allowed).ok_or_else(no_numbers)?;
        self.credit = self.credit.saturating_sub(1);
        self.made += 1;
        if text.end().contains(&token) || self.until.stop_tokens.contains(&token) {
            return Ok(self.end(None, Finish::Stop));
        }
        let bytes = |token: u32| text.bytes(token).to_vec();
        self.unsent.tokens += 1;
        self.unsent.logprobs.extend(self.sampler.report(logits, token, &bytes));
        match self.outlet.push(text.bytes(token)) {
            Shown::Text(text) => self.unsent.text.push_str(&text),
            Shown::Stopped(text) => {
                self.unsent.text.push_str(&text);
                return Ok(self.end(Some(token), Finish::Stop));
            }
        }
        let is_complete = match &mut self.matching {
            Some(matching) => matching.take(token)?,
            None => false,
        };
        if is_complete {
            return Ok(self.end(Some(token), Finish::Stop));
        }
        let is_spent = self.credit == 0 && self.is_last;
        if self.made >= self.until.max_tokens || room <= 1 || is_spent {
            return Ok(self.end(Some(token), Finish::Length));
        }
        // When it waits, the host must know of all tokens.
        let has_news = !self.unsent.text.is_empty() || self.credit == 0;
        let piece = if has_news { self.flush() } else { None };
        Ok(Step { token: Some(token), piece, end: None })
    }

    fn end(&mut self, token: Option<u32>, finish: Finish) -> Step {
        Step { token, piece: self.last_piece(), end: Some(Ok(finish)) }
    }

    /// What was not sent yet, when nothing more comes.
    pub(super) fn last_piece(&mut self) -> Option<TextPiece> {
        let rest = self.outlet.finish();
        self.unsent.text.push_str(&rest);
        self.flush()
    }

    fn flush(&mut self) -> Option<TextPiece> {
        let piece = std::mem::take(&mut self.unsent);
        (piece.tokens > 0 || !piece.text.is_empty()).then_some(piece)
    }
}

fn no_numbers() -> Failure {
    let text = "the model's answers are no numbers, or nothing may follow".to_owned();
    Failure { why: Refusal::Invalid, text }
}
