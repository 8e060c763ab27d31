//! Agreeing by a click: a publisher lets another key, the host's, sign for it under one offer, so often and until then.
//!
//! A mandate names one offer and one agent, is capped, as a whole and for each consumer, and expires. What the agent signs is an agreement like any other; whoever
//! checks it needs the mandate beside it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::statement::{Signed, Statement};
use hospes_core::id::{Digest, Party};

/// A publisher's word that another key may agree for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mandate {
    pub publisher: Party,
    /// Whose signature counts as the publisher's: the host's.
    pub agent: Party,
    /// Under which offer, and no other.
    pub offer: Digest,
    /// Most agreements.
    pub max: u32,
    /// From when on the agent may sign no more.
    pub expires: Timestamp,
    pub issued: Timestamp,
    /// Most agreements with one consumer; [`PER_CONSUMER`] where it does not say.
    #[serde(rename = "maxPerConsumer", skip_serializing_if = "Option::is_none")]
    pub max_per_consumer: Option<u32>,
}

/// Most agreements with one consumer under a mandate that says nothing of it: enough for whoever wants to call, and one consumer
/// cannot use the mandate up.
pub const PER_CONSUMER: u32 = 1;

impl Mandate {
    /// Most agreements with one consumer.
    pub fn max_per_consumer(&self) -> u32 {
        self.max_per_consumer.unwrap_or(PER_CONSUMER)
    }
}

/// A mandate, signed by its publisher.
pub type SignedMandate = Signed<Mandate>;

impl Statement for Mandate {
    const TYPE: &'static str = "application/vnd.hospes.auto-agree.v1+json";
    const BYTES_MAX: usize = 2048;

    fn signers(&self) -> Vec<Party> {
        vec![self.publisher]
    }

    fn check(&self) -> Result<(), String> {
        if self.max_per_consumer == Some(0) {
            return Err("`maxPerConsumer` of 0 permits nothing".to_owned());
        }
        Ok(())
    }
}
