//! The operator's stop: ends an agreement on this host for good. It stands beside the chain of events, not in it, so that no party
//! can keep it out, by filling the chain or by any event.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Reason, check_note};
use crate::agreement::statement::{Signed, Statement};
use crate::id::{Digest, Party};

/// The word of a host's operator that an agreement permits nothing more on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorStop {
    pub agreement: Digest,
    /// The host, which signs.
    pub by: Party,
    pub reason: Reason,
    /// From when on: when it was made.
    pub issued: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<Box<str>>,
}

/// A stop, signed by the host.
pub type SignedStop = Signed<OperatorStop>;

impl Statement for OperatorStop {
    const TYPE: &'static str = "application/vnd.hospes.stop.v1+json";
    const BYTES_MAX: usize = 4096;

    fn signers(&self) -> Vec<Party> {
        vec![self.by]
    }

    fn check(&self) -> Result<(), String> {
        check_note(self.note.as_deref())
    }
}
