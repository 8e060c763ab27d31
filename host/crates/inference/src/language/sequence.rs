//! The host's handle of a sequence, and of the text that it generates.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::mpsc;

use super::running::{News, Running, invalid, payload};
use super::{PrefixScope, Tokens};
use crate::Call;
use hospes_core::language::{
    Failure, Finish, Likely, Part, Piece, Refusal, Sampling, Totals, Until,
};
use hospes_language::{Answer, Ask, Payload};

/// Tokens that are granted at a time.
const GRANT: u32 = 16;
/// A generation gets more tokens when it has at most so many left, so that it need not wait.
const GRANT_AT: u32 = 8;

/// A sequence of tokens in the model's process. Dropping it frees its place.
pub struct Sequence {
    running: Arc<Running>,
    number: u32,
    call: Call,
    totals: Shared,
}

/// What a sequence has taken: its generation counts too.
#[derive(Clone)]
struct Shared(Arc<Mutex<Totals>>);

impl Default for Shared {
    fn default() -> Self {
        let totals = Totals { prompt: 0, cached: 0, completion: 0, finish: Finish::Stop };
        Self(Arc::new(Mutex::new(totals)))
    }
}

impl Shared {
    /// Nothing panics while holding this lock.
    fn lock(&self) -> MutexGuard<'_, Totals> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A generation has ended, with so many tokens more.
    fn end(&self, tokens: u32, finish: Finish) -> Totals {
        let mut totals = self.lock();
        totals.completion += tokens;
        totals.finish = finish;
        *totals
    }
}

impl Sequence {
    pub(super) async fn open(
        running: Arc<Running>,
        call: Call,
        scope: Option<PrefixScope>,
    ) -> Result<Self, Failure> {
        let (job, number) = (running.job(), running.sequence());
        let left = call.deadline.saturating_duration_since(Instant::now());
        let sequence = Self { running, number, call, totals: Shared::default() };
        let ask = Ask::Open {
            job,
            sequence: number,
            caller: call.caller.number,
            weight: call.caller.weight,
            scope: scope.map(|scope| scope.0),
            left_nanos: u64::try_from(left.as_nanos()).unwrap_or(u64::MAX),
        };
        sequence.ask(job, ask).await?;
        Ok(sequence)
    }

    async fn ask(&self, job: u64, ask: Ask) -> Result<Answer, Failure> {
        self.running.ask(self.call.caller.number, job, ask).await
    }

    /// Adds to the prompt and computes it. Returns how many tokens the sequence has now. Takes the added tokens from `tokens`.
    ///
    /// # Errors
    /// [`Failure`]; nothing was added.
    pub async fn append(
        &mut self,
        parts: Vec<Part>,
        tokens: &Arc<dyn Tokens>,
    ) -> Result<u32, Failure> {
        let (job, sequence) = (self.running.job(), self.number);
        payload(&self.running, job, &Payload::Parts(parts))?;
        let Answer::Count(added) = self.ask(job, Ask::Append { job, sequence }).await? else {
            return Err(wrong());
        };
        if added > 0 && !tokens.take(added.into()) {
            self.running.tell(Ask::Undo { sequence });
            let text = format!("the agreement does not permit {added} more tokens");
            return Err(Failure { why: Refusal::TokensSpent, text });
        }
        self.totals.lock().prompt += added;
        let job = self.running.job();
        match self.ask(job, Ask::Commit { job, sequence }).await {
            Ok(Answer::Computed { tokens, cached }) => {
                self.totals.lock().cached += cached.min(tokens);
                Ok(tokens)
            }
            Ok(_) => Err(wrong()),
            Err(failure) => {
                self.totals.lock().prompt -= added;
                tokens.give_back(added.into());
                Err(failure)
            }
        }
    }

    /// Another sequence with the same beginning.
    ///
    /// # Errors
    /// [`Failure`], as for opening one.
    pub async fn fork(&mut self) -> Result<Sequence, Failure> {
        let (job, child) = (self.running.job(), self.running.sequence());
        let (running, call) = (Arc::clone(&self.running), self.call);
        let forked = Sequence { running, number: child, call, totals: Shared::default() };
        self.ask(job, Ask::Fork { job, sequence: self.number, child }).await?;
        Ok(forked)
    }

    /// Forgets all but the first tokens.
    ///
    /// # Errors
    /// [`Failure`] if it has fewer.
    pub async fn truncate(&mut self, tokens: u32) -> Result<(), Failure> {
        let job = self.running.job();
        self.ask(job, Ask::Truncate { job, sequence: self.number, tokens }).await.map(drop)
    }

    /// Generates text. Tokens are taken from `tokens` a few at a time, ahead of computing them.
    ///
    /// # Errors
    /// [`Failure`] if it cannot begin. It has begun when there is a first piece, so that what is wrong with the settings is known by then.
    pub async fn generate(
        &mut self,
        how: Sampling,
        until: Until,
        tokens: Arc<dyn Tokens>,
    ) -> Result<Pieces, Failure> {
        let (job, sequence, max) = (self.running.job(), self.number, until.max_tokens);
        let granted = take(&*tokens, GRANT.min(max));
        let mut pieces = Pieces {
            running: Arc::clone(&self.running),
            job,
            news: None,
            first: None,
            tokens,
            totals: self.totals.clone(),
            max,
            granted,
            used: 0,
            is_spent: false,
            // Until it has begun, there is nothing to cancel.
            has_ended: false,
        };
        if granted == 0 && max > 0 {
            let text = "the agreement permits no more tokens".to_owned();
            return Err(Failure { why: Refusal::TokensSpent, text });
        }
        payload(&self.running, job, &Payload::Generate(how, until))?;
        let seed = rand_seed(job, self.call.deadline);
        let ask = Ask::Generate { job, sequence, tokens: granted, seed };
        let caller = self.call.caller.number;
        pieces.news = Some(self.running.generate(caller, job, ask)?);
        match pieces.hear().await {
            Some(News::End(Err(failure))) => {
                pieces.settle();
                Err(failure)
            }
            None => {
                pieces.settle();
                Err(self.running.lost())
            }
            first => {
                pieces.first = first;
                Ok(pieces)
            }
        }
    }

    /// The likeliest next tokens.
    ///
    /// # Errors
    /// [`Failure`] if the sequence is empty.
    pub async fn next(&mut self, count: u8) -> Result<Vec<Likely>, Failure> {
        let job = self.running.job();
        match self.ask(job, Ask::Likely { job, sequence: self.number, count }).await? {
            Answer::Likely(likely) => Ok(likely),
            _ => Err(wrong()),
        }
    }

    /// The model's last hidden state at the last token: an embedding of the sequence.
    ///
    /// # Errors
    /// [`Failure`] if the sequence is empty.
    pub async fn hidden(&mut self) -> Result<Vec<f32>, Failure> {
        let job = self.running.job();
        match self.ask(job, Ask::Hidden { job, sequence: self.number }).await? {
            Answer::Hidden(hidden) => Ok(hidden),
            _ => Err(wrong()),
        }
    }

    /// What it has taken so far.
    pub fn totals(&self) -> Totals {
        *self.totals.lock()
    }
}

impl Drop for Sequence {
    fn drop(&mut self) {
        self.running.tell(Ask::Close { sequence: self.number });
    }
}

fn wrong() -> Failure {
    invalid("the model's process gave a wrong answer")
}

/// Takes at most so many tokens: as many as there are, about.
fn take(tokens: &dyn Tokens, most: u32) -> u32 {
    let mut wanted = most;
    while wanted > 0 {
        if tokens.take(wanted.into()) {
            return wanted;
        }
        wanted /= 2;
    }
    0
}

/// A seed for who gave none. It need not be secret.
fn rand_seed(job: u64, deadline: Instant) -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    // Each state is keyed anew by the system's random numbers.
    RandomState::new().hash_one((job, deadline))
}

/// The text of a generation. Dropping it ends the generation.
pub struct Pieces {
    running: Arc<Running>,
    job: u64,
    news: Option<mpsc::Receiver<News>>,
    /// What came when it began.
    first: Option<News>,
    tokens: Arc<dyn Tokens>,
    totals: Shared,
    max: u32,
    granted: u32,
    /// Of those, the tokens of pieces that were read.
    used: u32,
    /// Whether the agreement permits no more.
    is_spent: bool,
    has_ended: bool,
}

impl Pieces {
    /// The next piece; `None` after the last. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<Piece, Failure>> {
        if self.has_ended {
            return None;
        }
        self.grant();
        match self.hear().await {
            Some(News::Piece(piece)) => {
                // More than was granted is not counted: the process cannot spend what is not its own.
                let tokens = piece.tokens.min(self.granted - self.used);
                self.used += tokens;
                self.totals.lock().completion += tokens;
                Some(Ok(Piece::Text(piece)))
            }
            Some(News::End(Ok((made, finish)))) => {
                // A token that only ended the text is in no piece.
                let rest = made.clamp(self.used, self.granted) - self.used;
                self.used += rest;
                let totals = self.totals.end(rest, finish);
                self.settle();
                Some(Ok(Piece::End(totals)))
            }
            Some(News::End(Err(failure))) => {
                self.settle();
                Some(Err(failure))
            }
            None => {
                self.settle();
                Some(Err(self.running.lost()))
            }
        }
    }

    /// The next news. Cancel-safe.
    async fn hear(&mut self) -> Option<News> {
        match (self.first.take(), &mut self.news) {
            (Some(first), _) => Some(first),
            (None, Some(news)) => news.recv().await,
            (None, None) => None,
        }
    }

    /// Takes more tokens when few are left.
    fn grant(&mut self) {
        let left = self.granted - self.used;
        if self.is_spent || left > GRANT_AT || self.granted >= self.max {
            return;
        }
        let tokens = take(&*self.tokens, GRANT.min(self.max - self.granted));
        // What is taken elsewhere may come back, so the last ones are used first.
        if tokens == 0 && left > 0 {
            return;
        }
        self.granted += tokens;
        self.is_spent = tokens == 0;
        self.running.tell(Ask::Grant { job: self.job, tokens, last: self.is_spent });
    }

    /// Gives back what was not used.
    fn settle(&mut self) {
        self.has_ended = true;
        let rest = self.granted - self.used;
        if rest > 0 {
            self.tokens.give_back(rest.into());
        }
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        if !self.has_ended {
            if self.news.is_some() {
                self.running.tell(Ask::Cancel { job: self.job });
            }
            self.settle();
        }
    }
}
