//! Moves that carry no terms of their own: accepting, and ending.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::NegotiationError;
use crate::agreement::AgreementError;
use crate::dsse::{Envelope, first_difference};
use crate::id::{Digest, Party};
use crate::key::PartyKey;

pub(super) const MOVE_TYPE: &str = "application/vnd.hospes.move.v1+json";

/// Longest move, in bytes of its payload.
const MOVE_BYTES_MAX: usize = 2048;

/// What a move does.
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

/// A move, as it is signed. It names the negotiation and the message before it, so it cannot be used anywhere else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Move {
    /// `urn:uuid:…`
    pub negotiation: String,
    pub kind: MoveKind,
    /// SHA-256 of the last message; of an acceptance, the offer that is accepted.
    pub previous: Digest,
    pub by: Party,
    pub issued: Timestamp,
    /// Until when an acceptance holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// A move, signed by the party that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedMove {
    id: Digest,
    content: Move,
    envelope: Envelope,
}

impl SignedMove {
    /// Signs a move with the key of the party that it names.
    ///
    /// # Errors
    /// [`AgreementError::NotAParty`] with any other key.
    pub fn sign(content: Move, key: &PartyKey) -> Result<Self, NegotiationError> {
        if key.party() != content.by {
            return Err(AgreementError::NotAParty { signer: key.party() }.into());
        }
        let payload = write(&content);
        let id = Digest::of(&payload);
        Ok(Self { id, content, envelope: Envelope::sign(MOVE_TYPE, payload, key)? })
    }

    /// Reads a move and checks its signature.
    ///
    /// # Errors
    /// [`NegotiationError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NegotiationError> {
        let envelope = Envelope::parse(bytes)?;
        if envelope.payload_type() != MOVE_TYPE {
            return Err(NegotiationError::Kind { seen: envelope.payload_type().to_owned() });
        }
        let payload = envelope.payload();
        if payload.len() > MOVE_BYTES_MAX {
            let reason = format!("it is longer than {MOVE_BYTES_MAX} bytes");
            return Err(NegotiationError::Malformed { reason });
        }
        let content: Move = serde_json::from_slice(payload)
            .map_err(|error| NegotiationError::Malformed { reason: error.to_string() })?;
        let written = write(&content);
        if written != payload {
            let offset = first_difference(payload, &written);
            return Err(AgreementError::NotCanonical { offset }.into());
        }
        envelope.signers_are(&[content.by])?;
        Ok(Self { id: Digest::of(payload), content, envelope })
    }

    /// SHA-256 of the payload.
    pub fn id(&self) -> &Digest {
        &self.id
    }

    pub fn content(&self) -> &Move {
        &self.content
    }

    /// The envelope, as it is kept and sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.envelope.to_bytes()
    }
}

fn write(content: &Move) -> Vec<u8> {
    serde_json_canonicalizer::to_vec(content).expect("invariant: texts always serialise")
}
