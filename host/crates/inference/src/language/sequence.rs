//! The host's handle of a sequence, and of the text that it generates.

use std::sync::Arc;

use super::{Tokens, not_yet};
use hospes_core::language::{Failure, Finish, Likely, Part, Piece, Sampling, Totals, Until};

/// A sequence of tokens in the model's worker. Dropping it frees its place.
#[derive(Debug)]
pub struct Sequence {
    totals: Totals,
}

impl Sequence {
    /// Adds to the prompt and computes it. Returns how many tokens the sequence has now. Takes the added tokens from `tokens`.
    ///
    /// # Errors
    /// [`Failure`]; nothing was added.
    pub async fn append(
        &mut self,
        parts: Vec<Part>,
        tokens: &Arc<dyn Tokens>,
    ) -> Result<u32, Failure> {
        let _ = (parts, tokens);
        Err(not_yet())
    }

    /// Another sequence with the same beginning.
    ///
    /// # Errors
    /// [`Failure`], as for opening one.
    pub async fn fork(&mut self) -> Result<Sequence, Failure> {
        Err(not_yet())
    }

    /// Forgets all but the first tokens.
    ///
    /// # Errors
    /// [`Failure`] if it has fewer.
    pub async fn truncate(&mut self, tokens: u32) -> Result<(), Failure> {
        let _ = tokens;
        Err(not_yet())
    }

    /// Generates text. Tokens are taken from `tokens` a few at a time, ahead of computing them.
    ///
    /// # Errors
    /// [`Failure`] if it cannot begin.
    pub async fn generate(
        &mut self,
        how: Sampling,
        until: Until,
        tokens: Arc<dyn Tokens>,
    ) -> Result<Pieces, Failure> {
        let _ = (how, until, tokens);
        Err(not_yet())
    }

    /// The likeliest next tokens.
    ///
    /// # Errors
    /// [`Failure`] if the sequence is empty.
    pub async fn next(&mut self, count: u8) -> Result<Vec<Likely>, Failure> {
        let _ = count;
        Err(not_yet())
    }

    /// The model's last hidden state at the last token: an embedding of the sequence.
    ///
    /// # Errors
    /// [`Failure`] if the sequence is empty.
    pub async fn hidden(&mut self) -> Result<Vec<f32>, Failure> {
        Err(not_yet())
    }

    /// What it has taken so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }
}

/// The text of a generation. Dropping it ends the generation.
#[derive(Debug)]
pub struct Pieces {
    finish: Option<Finish>,
}

impl Pieces {
    /// The next piece; `None` after the last. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<Piece, Failure>> {
        let _ = self.finish;
        None
    }
}
