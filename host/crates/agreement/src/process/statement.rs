//! Small signed statements: canonical JSON, signed by exactly the required parties.

use serde::Serialize;
use serde::de::DeserializeOwned;

use hospes_core::dsse::{DsseError, Envelope, first_difference};
use hospes_core::id::{Digest, Party};
use hospes_core::key::PartyKey;

/// A kind of statement. Parsing is exact: the parsed statement is written again, and the bytes must be equal.
pub trait Statement: Serialize + DeserializeOwned {
    /// The payload type.
    const TYPE: &'static str;
    /// Maximum payload, in bytes.
    const BYTES_MAX: usize;

    /// The required signers: all of them, and nobody else.
    fn signers(&self) -> Vec<Party>;

    /// Checks the content, beyond its form.
    ///
    /// # Errors
    /// The reason.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// A statement with valid signatures of all its signers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed<T> {
    id: Digest,
    content: T,
    envelope: Envelope,
}

/// Why a statement was rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    #[error(transparent)]
    Envelope(#[from] DsseError),
    #[error("the payload is of type `{seen}`; it must be `{wanted}`")]
    PayloadType { seen: String, wanted: &'static str },
    #[error("the payload is {bytes} bytes, more than the {max} allowed")]
    TooLarge { bytes: usize, max: usize },
    #[error("the payload cannot be read: {reason}")]
    Malformed { reason: String },
    #[error(
        "the payload is not in its canonical form (RFC 8785): it differs from byte {offset} on"
    )]
    NotCanonical { offset: usize },
    #[error("`{party}` has to sign it, but has not")]
    Unsigned { party: Party },
    #[error("`{signer}` signed it, but is not a party to it")]
    NotAParty { signer: Party },
}

impl<T: Statement> Signed<T> {
    /// Signs a statement with all its signers' keys.
    ///
    /// # Errors
    /// [`StatementError`], also with any other keys.
    pub fn sign(content: T, keys: &[&PartyKey]) -> Result<Self, StatementError> {
        let payload = write(&content)?;
        let signers = content.signers();
        if let Some(key) = keys.iter().find(|key| !signers.contains(&key.party())) {
            return Err(StatementError::NotAParty { signer: key.party() });
        }
        let Some((first, rest)) = keys.split_first() else {
            return Err(DsseError::SignatureCount { count: 0 }.into());
        };
        let id = Digest::of(&payload);
        let mut envelope = Envelope::sign(T::TYPE, payload, first)?;
        rest.iter().try_for_each(|key| envelope.add_signature(key))?;
        let signed = Self { id, content, envelope };
        signed.all_signed()?;
        Ok(signed)
    }

    /// Reads a statement and checks its signatures.
    ///
    /// # Errors
    /// [`StatementError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, StatementError> {
        let envelope = Envelope::parse(bytes)?;
        if envelope.payload_type() != T::TYPE {
            let seen = envelope.payload_type().to_owned();
            return Err(StatementError::PayloadType { seen, wanted: T::TYPE });
        }
        let payload = envelope.payload();
        within_size::<T>(payload)?;
        let content: T = serde_json::from_slice(payload)
            .map_err(|error| StatementError::Malformed { reason: error.to_string() })?;
        let written = write(&content)?;
        if written != payload {
            let offset = first_difference(payload, &written);
            return Err(StatementError::NotCanonical { offset });
        }
        envelope.signers_are(&content.signers())?;
        let signed = Self { id: Digest::of(payload), content, envelope };
        signed.all_signed()?;
        Ok(signed)
    }

    /// Parses a stored statement, whose signatures were verified before.
    ///
    /// # Errors
    /// [`StatementError`].
    pub fn read_kept(bytes: &[u8]) -> Result<Self, StatementError> {
        let envelope = Envelope::parse(bytes)?;
        let payload = envelope.payload();
        within_size::<T>(payload)?;
        let content: T = serde_json::from_slice(payload)
            .map_err(|error| StatementError::Malformed { reason: error.to_string() })?;
        Ok(Self { id: Digest::of(payload), content, envelope })
    }

    fn all_signed(&self) -> Result<(), StatementError> {
        let signers: Vec<_> = self.envelope.signers().collect();
        let missing = self.content.signers().into_iter().find(|party| !signers.contains(party));
        missing.map_or(Ok(()), |party| Err(StatementError::Unsigned { party }))
    }

    /// SHA-256 of the payload.
    pub fn id(&self) -> &Digest {
        &self.id
    }

    /// The content.
    pub fn content(&self) -> &T {
        &self.content
    }

    /// The envelope, as it is kept and sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.envelope.to_bytes()
    }
}

fn write<T: Statement>(content: &T) -> Result<Vec<u8>, StatementError> {
    content.check().map_err(|reason| StatementError::Malformed { reason })?;
    let payload = serde_json_canonicalizer::to_vec(content)
        .map_err(|error| StatementError::Malformed { reason: error.to_string() })?;
    within_size::<T>(&payload)?;
    Ok(payload)
}

fn within_size<T: Statement>(payload: &[u8]) -> Result<(), StatementError> {
    let (bytes, max) = (payload.len(), T::BYTES_MAX);
    if bytes > max { Err(StatementError::TooLarge { bytes, max }) } else { Ok(()) }
}
