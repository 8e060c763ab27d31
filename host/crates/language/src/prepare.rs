//! What is done with text before the engine's turn, on a thread of its own: tokenising and compiling grammars.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use super::grammar::{Grammars, Matching};
use super::protocol::{Answer, Payload, Tell};
use super::sampling::{self, Sampler};
use super::sequence::Generation;
use super::text::Text;
use hospes_core::language::{Failure, Part, Refusal, Sampling, Until};

/// Maximum texts, and tokens, to stop at.
const STOPS_MAX: usize = 16;
/// Maximum bytes of a text to stop at.
const STOP_BYTES_MAX: usize = 256;

/// Something to prepare.
#[derive(Debug)]
pub enum Task {
    Count { job: u64, parts: Vec<Part> },
    Append { job: u64, sequence: u32, parts: Vec<Part> },
    Generate { job: u64, sequence: u32, tokens: u32, seed: u64, how: Sampling, until: Until },
}

/// What the engine needs.
#[derive(Debug)]
pub enum Prepared {
    Append { job: u64, sequence: u32, tokens: Result<Vec<u32>, Failure> },
    Generate { job: u64, sequence: u32, generation: Result<Box<Generation>, Failure> },
}

/// Prepares the texts of a model.
#[derive(Debug)]
pub struct Preparer {
    text: Arc<Text>,
    /// Made for the first grammar, which takes a quarter of a second.
    grammars: OnceLock<Result<Grammars, String>>,
    /// Most tokens of a sequence.
    length: usize,
}

impl Preparer {
    pub fn new(text: Arc<Text>, length: usize) -> Self {
        Self { text, grammars: OnceLock::new(), length }
    }

    /// Prepares a task. A count has its answer then.
    ///
    /// # Errors
    /// The answer of a task that the engine need not see.
    pub fn prepare(&self, task: Task) -> Result<Prepared, Tell> {
        let failed = task.failed();
        // A tokenizer is the publisher's, and may have patterns that its library cannot stand.
        let prepared = catch_unwind(AssertUnwindSafe(|| self.try_prepare(task)));
        prepared.unwrap_or(failed)
    }

    fn try_prepare(&self, task: Task) -> Result<Prepared, Tell> {
        match task {
            Task::Count { job, parts } => {
                // What does not fit can be counted too, up to a bound.
                let tokens = self.text.tokens(&parts, self.length.saturating_mul(4));
                let count = tokens.map(|tokens| Answer::Count(tokens.len() as u32));
                Err(Tell::Done { job, result: count })
            }
            Task::Append { job, sequence, parts } => {
                let tokens = self.text.tokens(&parts, self.length);
                Ok(Prepared::Append { job, sequence, tokens })
            }
            Task::Generate { job, sequence, tokens, seed, how, until } => {
                let generation = self.generation(job, (tokens, seed), how, until).map(Box::new);
                Ok(Prepared::Generate { job, sequence, generation })
            }
        }
    }

    fn generation(
        &self,
        job: u64,
        (tokens, seed): (u32, u64),
        how: Sampling,
        until: Until,
    ) -> Result<Generation, Failure> {
        sampling::check(&how, self.text.vocabulary())?;
        let is_long = |stop: &String| stop.len() > STOP_BYTES_MAX;
        if until.stop.len() > STOPS_MAX || until.stop.iter().any(is_long) {
            let text = format!("`stop` may have {STOPS_MAX} texts of {STOP_BYTES_MAX} bytes each");
            return Err(Failure { why: Refusal::Invalid, text });
        }
        if until.stop_tokens.len() > STOPS_MAX {
            let text = format!("`stop-tokens` may have {STOPS_MAX} tokens");
            return Err(Failure { why: Refusal::Invalid, text });
        }
        let matching = how.grammar.as_ref().map(|grammar| self.compile(grammar)).transpose()?;
        Ok(Generation::new(job, Sampler::new(how, seed), matching, until, tokens))
    }

    fn compile(&self, grammar: &hospes_core::language::Grammar) -> Result<Matching, Failure> {
        let grammars = self.grammars.get_or_init(|| Grammars::new(&self.text));
        match grammars {
            Ok(grammars) => grammars.compile(grammar),
            Err(why) => {
                let text = format!("the model's tokens allow no grammars: {why}");
                Err(Failure { why: Refusal::BadGrammar, text })
            }
        }
    }
}

impl Task {
    /// What comes of it if preparing it fails in a way that nobody foresaw.
    fn failed(&self) -> Result<Prepared, Tell> {
        let text = "the model's tokenizer failed for this text".to_owned();
        let failure = Failure { why: Refusal::Invalid, text };
        match *self {
            Task::Count { job, .. } => Err(Tell::Done { job, result: Err(failure) }),
            Task::Append { job, sequence, .. } => {
                Ok(Prepared::Append { job, sequence, tokens: Err(failure) })
            }
            Task::Generate { job, sequence, .. } => {
                Ok(Prepared::Generate { job, sequence, generation: Err(failure) })
            }
        }
    }

    /// The task of a message with its payload; `None` if they do not fit together.
    pub fn of(ask: super::Ask, payload: Payload) -> Option<Self> {
        use super::Ask;
        Some(match (ask, payload) {
            (Ask::Count { job }, Payload::Parts(parts)) => Task::Count { job, parts },
            (Ask::Append { job, sequence }, Payload::Parts(parts)) => {
                Task::Append { job, sequence, parts }
            }
            (Ask::Generate { job, sequence, tokens, seed }, Payload::Generate(how, until)) => {
                Task::Generate { job, sequence, tokens, seed, how, until }
            }
            _ => return None,
        })
    }
}
