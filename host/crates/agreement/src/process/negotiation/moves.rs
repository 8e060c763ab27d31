//! Moves without terms of their own: acceptance and termination.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::process::statement::{Signed, Statement};
use hospes_core::id::{Digest, Party};

/// A move's effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MoveKind {
    /// The consumer accepts the offer on the table.
    Accept,
    /// Either ends the negotiation.
    Terminate,
}

impl MoveKind {
    pub const fn name(self) -> &'static str {
        match self {
            MoveKind::Accept => "acceptance",
            MoveKind::Terminate => "termination",
        }
    }
}

/// A signed move. It names the negotiation and the previous message, so it cannot be reused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Move {
    /// `urn:uuid:…`
    pub negotiation: String,
    pub kind: MoveKind,
    /// SHA-256 of the previous message; for an acceptance, of the accepted offer.
    pub previous: Digest,
    pub by: Party,
    pub issued: Timestamp,
    /// How long an acceptance is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// A move, signed by the party that it names.
pub type SignedMove = Signed<Move>;

impl Statement for Move {
    const TYPE: &'static str = "application/vnd.hospes.move.v1+json";
    const BYTES_MAX: usize = 2048;

    fn signers(&self) -> Vec<Party> {
        vec![self.by]
    }
}
