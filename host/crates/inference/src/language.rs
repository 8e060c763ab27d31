//! Decoder models that speak: what the host holds of a model and of its sequences.
//!
//! A loaded decoder has a worker process of its own, where one thread computes all of its sequences together. The host sends what is asked
//! and gives out tokens; it computes nothing itself. If the process ends, its sequences fail, and the next one starts a new process.

mod forward;
mod graph;
mod mapped;
mod plan;
mod running;
mod sequence;
pub mod worker;

use std::fmt;
use std::fs::File;
use std::sync::Arc;

use super::pool::Pool;
use super::strikes::{Culprit, Owned};
use super::{Call, Inference, LOAD_TIMEOUT, LoadError, ModelSource};
use hospes_core::language::{About, Failure, Part, Refusal};
use hospes_decoder::Decoder;
use hospes_language::{Answer, Ask, added_names};
use running::{Running, invalid, payload};

pub use sequence::{Pieces, Sequence};

impl Inference {
    /// Loads a decoder model into a process of its own.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn load_decoder(&self, source: ModelSource) -> Result<Speaker, LoadError> {
        Speaker::load(Arc::clone(&self.pool), source).await
    }
}

/// The tokens that an agreement permits. Taken before they are computed, so that no call gets more.
pub trait Tokens: Send + Sync {
    /// Takes so many tokens, or none if there are fewer.
    fn take(&self, tokens: u64) -> bool;

    /// Gives back tokens that were taken and not used.
    fn give_back(&self, tokens: u64);
}

/// Who may share a beginning that was computed before: an opaque key of the account, the agreement and the model.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PrefixScope(pub [u8; 32]);

impl fmt::Debug for PrefixScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrefixScope")
    }
}

/// A loaded decoder model.
#[derive(Clone)]
pub struct Speaker(Arc<Inner>);

struct Inner {
    about: About,
    source: ModelSource,
    bytes: u64,
    pool: Arc<Pool>,
    /// The process, while it runs. Locked while one starts.
    running: tokio::sync::Mutex<Option<Arc<Running>>>,
}

impl fmt::Debug for Speaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Speaker({})", self.0.source.digest)
    }
}

impl Speaker {
    /// Reads a decoder and loads it into a process of its own.
    pub(super) async fn load(pool: Arc<Pool>, source: ModelSource) -> Result<Self, LoadError> {
        let read = source.clone();
        let read = tokio::task::spawn_blocking(move || read_about(&read)).await;
        let (about, bytes) =
            read.unwrap_or_else(|panic| Err(LoadError::Decoder(panic.to_string())))?;
        let source = source.without_bytes();
        let inner = Inner { about, source, bytes, pool, running: tokio::sync::Mutex::default() };
        let speaker = Self(Arc::new(inner));
        let culprit = Culprit::loading(speaker.owned());
        if let Some(wait) = speaker.0.pool.strikes.standing(&culprit).wait {
            return Err(LoadError::BackedOff { wait });
        }
        speaker.running().await?;
        Ok(speaker)
    }

    /// What a guest may know of the model.
    pub fn about(&self) -> &About {
        &self.0.about
    }

    /// The process's ID, while it runs.
    pub async fn process(&self) -> Option<u32> {
        let running = self.0.running.lock().await;
        running.as_ref().filter(|running| running.is_alive()).map(|running| running.process())
    }

    /// An empty sequence. `scope` is who may share its beginning; `None` shares nothing.
    ///
    /// # Errors
    /// [`Refusal::Busy`] if the model has too many sequences or its process does not start.
    pub async fn open(&self, call: Call, scope: Option<PrefixScope>) -> Result<Sequence, Failure> {
        let running = self.for_call(&call).await?;
        Sequence::open(running, call, scope).await
    }

    /// How many tokens a prompt has.
    ///
    /// # Errors
    /// [`Refusal::TooLong`], [`Refusal::Invalid`] for a control token that the model does not have.
    pub async fn count(&self, call: Call, parts: Vec<Part>) -> Result<u32, Failure> {
        let running = self.for_call(&call).await?;
        let job = running.job();
        payload(&running, job, &hospes_language::Payload::Parts(parts))?;
        match running.ask(call.caller.number, job, Ask::Count { job }).await? {
            Answer::Count(count) => Ok(count),
            _ => Err(invalid("the model's process gave a wrong answer")),
        }
    }

    /// The process for a caller.
    async fn for_call(&self, call: &Call) -> Result<Arc<Running>, Failure> {
        let culprit = Culprit::computing(self.owned(), call.caller.number);
        let busy = |text: String| Failure { why: Refusal::Busy, text };
        if let Some(wait) = self.0.pool.strikes.standing(&culprit).wait {
            let wait = wait.as_millis();
            let text = format!(
                "the model is backed off for another {wait} ms, because it ended its process"
            );
            return Err(busy(text));
        }
        self.running().await.map_err(|error| busy(format!("the model is not loaded: {error}")))
    }

    async fn running(&self) -> Result<Arc<Running>, LoadError> {
        let inner = &self.0;
        let mut running = inner.running.lock().await;
        if let Some(running) = running.as_ref().filter(|running| running.is_alive()) {
            return Ok(Arc::clone(running));
        }
        *running = None;
        let reopen = Arc::clone(&inner.source.reopen);
        let file = tokio::task::spawn_blocking(move || reopen()).await;
        let file = file.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
        let file = file.map_err(|error| LoadError::Decoder(error.to_string()))?;
        let starting = Running::start(&inner.pool, self.owned(), (file, inner.bytes));
        let started = match tokio::time::timeout(LOAD_TIMEOUT, starting).await {
            Ok(started) => started,
            Err(_elapsed) => Err(LoadError::Decoder("it did not load in time".into())),
        };
        if let Err(LoadError::Decoder(how)) = &started {
            inner.pool.strikes.strike(&Culprit::loading(self.owned()), how);
        }
        Ok(Arc::clone(running.insert(started?)))
    }

    fn owned(&self) -> Owned {
        let ModelSource { publisher, digest, .. } = &self.0.source;
        Owned { publisher: publisher.clone(), model: *digest }
    }
}

/// Reads what guests may know of a model, and its size. All of it is checked if its bytes are there; otherwise it was before.
fn read_about(source: &ModelSource) -> Result<(About, u64), LoadError> {
    if !source.bytes.is_empty() {
        let decoder = Decoder::read(&source.bytes);
        let decoder = decoder.map_err(|error| LoadError::Decoder(error.to_string()))?;
        return Ok((about(&decoder)?, source.bytes.len() as u64));
    }
    let failed = |error: std::io::Error| LoadError::Decoder(error.to_string());
    let file = File::from((source.reopen)().map_err(failed)?);
    let bytes = file.metadata().map_err(failed)?.len();
    let mapped = mapped::map(&file, bytes).map_err(failed)?;
    let decoder = Decoder::open(mapped.bytes());
    let decoder = decoder.map_err(|error| LoadError::Decoder(error.to_string()))?;
    Ok((about(&decoder)?, bytes))
}

fn about(decoder: &Decoder<'_>) -> Result<About, LoadError> {
    let config = decoder.config();
    let specials = added_names(decoder.tokenizer());
    let specials = specials.map_err(|error| LoadError::Decoder(error.to_string()))?;
    Ok(About {
        context: plan::rows(config).length as u32,
        vocabulary: config.vocabulary,
        template: decoder.template().map(str::to_owned),
        end: config.eos.clone(),
        specials,
    })
}
