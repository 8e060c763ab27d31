//! Decoder models that speak: what the host holds of a model and of its sequences.
//!
//! A loaded decoder has a worker process of its own, where one thread computes all of its sequences together. The host sends what is asked
//! and gives out tokens; it computes nothing itself. If the process ends, its sequences fail, and the next one starts a new process.

mod forward;
mod graph;
mod load;
mod mapped;
mod plan;
mod running;
mod sequence;
pub mod worker;

use std::fmt;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use super::pool::Pool;
use super::strikes::{Culprit, Owned};
use super::{Call, LOAD_TIMEOUT, LoadError, ModelSource};
use hospes_admission::{Footprint, Taken};
use hospes_core::backend::BackendKind;
use hospes_core::language::{About, Failure, Part, Refusal};
use hospes_decoder::Decoder;
use hospes_language::{Answer, Ask, added_names};
use running::{Running, invalid, payload};

pub(super) use load::Slots;
pub use sequence::{Pieces, Sequence};

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
    footprint: Footprint,
    /// The room that it takes, if somebody counts.
    _room: Option<Taken>,
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
    pub(super) async fn load(
        pool: Arc<Pool>,
        source: ModelSource,
        mut room: Option<Taken>,
    ) -> Result<Self, LoadError> {
        let read = source.clone();
        let read = tokio::task::spawn_blocking(move || Read::of(&read)).await;
        let read = read.unwrap_or_else(|panic| Err(LoadError::Decoder(panic.to_string())));
        let Read { about, bytes, footprint } = read?;
        if let Some(room) = &mut room {
            room.set(footprint);
        }
        let speaker = Self(Arc::new(Inner {
            about,
            source: source.without_bytes(),
            bytes,
            footprint,
            _room: room,
            pool,
            running: tokio::sync::Mutex::default(),
        }));
        if let Some(wait) = speaker.backed_off() {
            return Err(LoadError::BackedOff { wait });
        }
        speaker.running().await?;
        Ok(speaker)
    }

    /// How long it may not be loaded again, because it ended its process.
    fn backed_off(&self) -> Option<Duration> {
        self.0.pool.strikes.standing(&Culprit::loading(self.owned())).wait
    }

    /// Whether it can be computed now, as far as is known without starting its process.
    pub fn is_ready(&self) -> bool {
        self.backed_off().is_none()
    }

    /// The backend that computes it.
    pub fn backend(&self) -> BackendKind {
        load::BACKEND
    }

    /// What it takes of the room for loaded models.
    pub fn footprint(&self) -> Footprint {
        self.0.footprint
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

/// What is known of a decoder's file.
struct Read {
    about: About,
    bytes: u64,
    footprint: Footprint,
}

impl Read {
    /// Reads a file. All of it is checked if its bytes are there; otherwise it was before.
    fn of(source: &ModelSource) -> Result<Self, LoadError> {
        if !source.bytes.is_empty() {
            let decoder = Decoder::read(&source.bytes).map_err(refused)?;
            return Self::from(&decoder, source.bytes.len() as u64);
        }
        let file = File::from((source.reopen)().map_err(refused)?);
        let bytes = file.metadata().map_err(refused)?.len();
        let mapped = mapped::map(&file, bytes).map_err(refused)?;
        Self::from(&Decoder::open(mapped.bytes()).map_err(refused)?, bytes)
    }

    fn from(decoder: &Decoder<'_>, bytes: u64) -> Result<Self, LoadError> {
        let footprint = load::estimate(decoder.config(), bytes);
        Ok(Self { about: about(decoder)?, bytes, footprint })
    }
}

fn refused(error: impl fmt::Display) -> LoadError {
    LoadError::Decoder(error.to_string())
}

fn about(decoder: &Decoder<'_>) -> Result<About, LoadError> {
    let config = decoder.config();
    let specials = added_names(decoder.tokenizer());
    let specials = specials.map_err(refused)?;
    Ok(About {
        context: plan::rows(config).length as u32,
        vocabulary: config.vocabulary,
        template: decoder.template().map(str::to_owned),
        end: config.eos.clone(),
        specials,
    })
}
