//! Language models of the bundle, for plugins that prompt them themselves. [`chat`](crate::chat) does all of it for a conversation.
//!
//! A prompt is a list of [`Part`]s. Text is never searched for control tokens, so what users say cannot become one.
//!
//! ```no_run
//! use hospes_sdk::language::{self, Part};
//!
//! fn embedding(text: String) -> Result<Vec<f32>, String> {
//!     let sequence = language::open("encoder").map_err(|failure| failure.text)?;
//!     sequence.append(&[Part::Text(text)]).map_err(|failure| failure.text)?;
//!     sequence.hidden().map_err(|failure| failure.text)
//! }
//! ```

#![allow(missing_docs, reason = "generated; the documentation is in the WIT")]

pub use crate::chat::bindings::hospes::plugin0_2_0::language::*;

impl Default for Sampling {
    /// The likeliest token, always.
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat: 1.0,
            frequency: 0.0,
            presence: 0.0,
            seed: None,
            bias: Vec::new(),
            grammar: None,
            logprobs: None,
        }
    }
}
