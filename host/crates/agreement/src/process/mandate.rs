//! Mandates: a publisher lets another key, the host's, sign for it under one offer, with a maximum number and an expiry date.
//!
//! A mandate names one offer and one agent, is limited in total and per consumer, and expires. The agent signs an ordinary agreement;
//! verifying it also needs the mandate.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::statement::{Signed, Statement};
use hospes_core::id::{Digest, Party};

/// A publisher's permission for another key to sign for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mandate {
    pub publisher: Party,
    /// The key whose signature counts as the publisher's: the host's.
    pub agent: Party,
    /// The only offer that it covers.
    pub offer: Digest,
    /// Maximum agreements.
    pub max: u32,
    /// When it expires.
    pub expires: Timestamp,
    pub issued: Timestamp,
    /// Maximum agreements with one consumer; [`PER_CONSUMER`] by default.
    #[serde(rename = "maxPerConsumer", skip_serializing_if = "Option::is_none")]
    pub max_per_consumer: Option<u32>,
}

/// Default maximum of agreements with one consumer: enough to call, and one consumer cannot use up the mandate.
pub const PER_CONSUMER: u32 = 1;

impl Mandate {
    /// Maximum agreements with one consumer.
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
