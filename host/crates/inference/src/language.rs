//! Decoder models that speak: what the host holds of a model and of its sequences.
//!
//! A loaded decoder has a worker process of its own, where one thread computes all of its sequences together. The host sends orders and
//! gives out tokens; it computes nothing itself. If the process ends, its sequences fail, and the next one starts a new process.

mod sequence;

use std::fmt;
use std::sync::Arc;

use super::Call;
use hospes_core::language::{About, Failure, Part, Refusal};

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
#[derive(Debug, Clone)]
pub struct Speaker {
    about: Arc<About>,
}

impl Speaker {
    /// What a guest may know of the model.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// An empty sequence. `scope` is who may share its beginning; `None` shares nothing.
    ///
    /// # Errors
    /// [`Refusal::Busy`] if the model has too many sequences or its process does not start.
    pub async fn open(&self, call: Call, scope: Option<PrefixScope>) -> Result<Sequence, Failure> {
        let _ = (call, scope);
        Err(not_yet())
    }

    /// How many tokens a prompt has.
    ///
    /// # Errors
    /// [`Refusal::TooLong`], [`Refusal::Invalid`] for a control token that the model does not have.
    pub async fn count(&self, call: Call, parts: Vec<Part>) -> Result<u32, Failure> {
        let _ = (call, parts);
        Err(not_yet())
    }
}

fn not_yet() -> Failure {
    Failure { why: Refusal::Busy, text: "the language engine is not there yet".into() }
}
