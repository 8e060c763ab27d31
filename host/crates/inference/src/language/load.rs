//! Decoders are loaded once per publisher and file, in room that the host has taken for them, and computed once before they go live.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use super::{Inner, Speaker, Tokens, plan, refused};
use crate::backend::{BackendError, Placement};
use crate::graph::ComputeError;
use crate::load::SESSION_MAPPINGS;
use crate::trial::{Joined, NO_TIME, Trial, TrialError, TrialTime};
use crate::{Call, Inference, LoadError, ModelSource};
use hospes_admission::{Footprint, Taken};
use hospes_core::backend::BackendKind;
use hospes_core::id::{AccountName, Digest};
use hospes_core::language::{Failure, Part, Refusal};
use hospes_decoder::{Config, Decoder};

/// The only backend that computes decoders.
pub(super) const BACKEND: BackendKind = BackendKind::Onnxruntime;

/// A loaded or loading decoder. It is locked while it loads, so that it loads once and only its users wait.
type Slot = Arc<tokio::sync::Mutex<Weak<Inner>>>;

/// The decoders that are loaded. Publishers do not share them.
#[derive(Default)]
pub(crate) struct Slots(Mutex<HashMap<(AccountName, Digest), Slot>>);

impl Slots {
    fn of(&self, source: &ModelSource) -> Slot {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // If nobody else holds the decoder, it is not loading.
        slots.retain(|_, slot| {
            Arc::get_mut(slot).is_none_or(|free| free.get_mut().strong_count() > 0)
        });
        Arc::clone(slots.entry((source.publisher.clone(), source.digest)).or_default())
    }
}

impl Inference {
    /// Loads a decoder model into a process of its own, or returns the loaded one. Its process ends when nobody uses it any more.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn load_decoder(&self, source: ModelSource) -> Result<Speaker, LoadError> {
        self.load_decoder_into(source, Placement::default(), None).await
    }

    /// The same where its publisher wants it, in room that the caller has taken for [`Inference::estimate_decoder`].
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn load_decoder_into(
        &self,
        source: ModelSource,
        placement: Placement,
        room: Option<Taken>,
    ) -> Result<Speaker, LoadError> {
        self.choose_for_decoder(placement)?;
        let slot = self.decoders.of(&source);
        let mut loaded = slot.lock().await;
        if let Some(inner) = loaded.upgrade() {
            return Ok(Speaker(inner));
        }
        let speaker = Speaker::load(Arc::clone(&self.pool), source, room).await?;
        *loaded = Arc::downgrade(&speaker.0);
        Ok(speaker)
    }

    /// A decoder that is loaded. Waits for it if it is being loaded.
    ///
    /// # Errors
    /// [`LoadError`] if it cannot be loaded here at all.
    pub async fn loaded_decoder(
        &self,
        source: &ModelSource,
        placement: Placement,
    ) -> Result<Option<Speaker>, LoadError> {
        self.choose_for_decoder(placement)?;
        let slot = self.decoders.of(source);
        let loaded = slot.lock().await.upgrade();
        Ok(loaded.map(Speaker))
    }

    /// What a decoder takes when it is loaded: its weights, and the keys and values of all sequences that it computes at once.
    ///
    /// # Errors
    /// [`LoadError::Decoder`] for what is none.
    pub fn estimate_decoder(&self, source: &ModelSource) -> Result<Footprint, LoadError> {
        let decoder = Decoder::open(&source.bytes).map_err(refused)?;
        Ok(estimate(decoder.config(), source.bytes.len() as u64))
    }

    /// Computes the likeliest token after one token: a decoder that would fail every call does not go live.
    ///
    /// # Errors
    /// [`TrialError`].
    pub async fn try_out_decoder(
        &self,
        speaker: &Speaker,
        time: TrialTime,
    ) -> Result<Trial, TrialError> {
        let (began, until) = (Instant::now(), time.of_one().until);
        match tokio::time::timeout_at(until.into(), compute(speaker, until)).await {
            Ok(Ok(())) => {
                let took = began.elapsed();
                Ok(Trial::Computed { took, joined: Joined::Undeclared })
            }
            Ok(Err(Failure { why: Refusal::Busy, text })) => match speaker.process().await {
                Some(_) => Ok(Trial::Inconclusive(text)),
                None => Err(TrialError::Ends { how: text }),
            },
            Ok(Err(failure)) => {
                let defect = BackendError::Defect(failure.to_string());
                Err(TrialError::Fails(ComputeError::Backend(defect)))
            }
            Err(_elapsed) => Ok(Trial::Inconclusive(NO_TIME.into())),
        }
    }

    /// Checks that the backend of decoders may be used and is usable here.
    fn choose_for_decoder(&self, placement: Placement) -> Result<(), LoadError> {
        if let Some(wanted) = placement.backend.filter(|wanted| *wanted != BACKEND) {
            return Err(LoadError::Decoder(format!(
                "only `{BACKEND}` computes decoders, and the bundle wants `{wanted}`"
            )));
        }
        self.choose(Placement { backend: Some(BACKEND), ..placement }).map(drop)
    }
}

async fn compute(speaker: &Speaker, until: Instant) -> Result<(), Failure> {
    let mut sequence = speaker.open(Call::of_nobody(until), None).await?;
    let tokens: Arc<dyn Tokens> = Arc::new(Uncounted);
    // Every vocabulary has it.
    sequence.append(vec![Part::Tokens(vec![0])], &tokens).await?;
    sequence.next(1).await.map(drop)
}

/// Tokens of nobody's agreement.
struct Uncounted;

impl Tokens for Uncounted {
    fn take(&self, _tokens: u64) -> bool {
        true
    }

    fn give_back(&self, _tokens: u64) {}
}

/// What a decoder of so many bytes takes when all its sequences are full.
pub(super) fn estimate(config: &Config, bytes: u64) -> Footprint {
    let bytes = bytes.saturating_add(plan::rows_bytes(config));
    Footprint { bytes, mappings: SESSION_MAPPINGS }
}
