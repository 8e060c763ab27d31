//! Signed envelopes for agreements and bundles: DSSE version 1 (Dead Simple Signing Envelope).
//!
//! An envelope has a payload, its type, and signatures over both. It has exactly one encoding: its text must equal its RFC 8785 form, and
//! its base64 must be canonical, so no byte of an accepted envelope can be changed. The payload says who *should* sign;
//! [`Envelope::signers_are`] compares. The surprise: `keyid` names the signer but proves nothing; the verifying key always comes from the
//! caller.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::id::Party;
use crate::key::{self, PartyKey, SIGNATURE_BYTES};

/// Maximum size of an envelope's text, in bytes.
pub const ENVELOPE_BYTES_MAX: usize = 256 * 1024;

/// Maximum payload in bytes: what fits an envelope in base64 with the maximum number of signatures.
pub const PAYLOAD_BYTES_MAX: usize = 180 * 1024;

/// Maximum signatures.
pub const SIGNATURES_MAX: usize = 8;

/// Maximum length of a payload type, in bytes.
const PAYLOAD_TYPE_BYTES_MAX: usize = 128;

/// A payload with its signatures. Parsing checks the form only; see [`Envelope::signers_are`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    payload_type: String,
    payload: Vec<u8>,
    signatures: Vec<Signature>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Signature {
    signer: Party,
    bytes: [u8; SIGNATURE_BYTES],
}

/// Why an envelope was rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DsseError {
    #[error("the envelope is {bytes} bytes, more than the {ENVELOPE_BYTES_MAX} allowed")]
    TooLarge { bytes: usize },
    #[error("the payload is {bytes} bytes, more than the {PAYLOAD_BYTES_MAX} allowed")]
    PayloadTooLarge { bytes: usize },
    #[error("the envelope is not a DSSE envelope in JSON: {reason}")]
    Malformed { reason: String },
    #[error(
        "the envelope is not in its canonical form (RFC 8785): it differs from byte {offset} on"
    )]
    NotCanonical { offset: usize },
    #[error("`{member}` is not canonical base64 with padding")]
    Base64 { member: String },
    #[error(
        "`/signatures/{index}/sig` is {bytes} bytes; an Ed25519 signature is {SIGNATURE_BYTES}"
    )]
    SignatureLength { index: usize, bytes: usize },
    #[error("`/signatures/{index}/keyid` is not a party: write it as `did:key:z6Mk…`")]
    KeyId { index: usize },
    #[error("the payload type is {bytes} bytes, more than the {PAYLOAD_TYPE_BYTES_MAX} allowed")]
    PayloadTypeTooLong { bytes: usize },
    #[error("the envelope has {count} signatures; it needs 1 to {SIGNATURES_MAX}")]
    SignatureCount { count: usize },
    #[error("`{signer}` signed the envelope twice")]
    SignedTwice { signer: Party },
    #[error("`{signer}` signed the envelope, but is not a party to it")]
    Stranger { signer: Party },
    #[error("the signature of `{signer}` does not match the payload")]
    Forged {
        signer: Party,
        #[source]
        source: key::SignatureError,
    },
    #[error("the two envelopes hold different payloads, so their signatures cannot be joined")]
    DifferentPayloads,
}

impl Envelope {
    /// Signs `payload` with type `payload_type`.
    ///
    /// # Errors
    /// [`DsseError::PayloadTooLarge`], [`DsseError::PayloadTypeTooLong`].
    pub fn sign(payload_type: &str, payload: Vec<u8>, key: &PartyKey) -> Result<Self, DsseError> {
        let mut envelope = Self::unsigned(payload_type.to_owned(), payload)?;
        envelope.signatures.push(envelope.signature_by(key));
        Ok(envelope)
    }

    /// Adds another party's signature over the same payload.
    ///
    /// # Errors
    /// [`DsseError::SignedTwice`], [`DsseError::SignatureCount`]; nothing is changed.
    pub fn add_signature(&mut self, key: &PartyKey) -> Result<(), DsseError> {
        self.push(self.signature_by(key))
    }

    /// Adds the signatures of `other`, over the same payload, by parties that have not signed here.
    ///
    /// # Errors
    /// [`DsseError::DifferentPayloads`], [`DsseError::SignatureCount`].
    pub fn merge(&mut self, other: &Envelope) -> Result<(), DsseError> {
        if self.payload_type != other.payload_type || self.payload != other.payload {
            return Err(DsseError::DifferentPayloads);
        }
        other
            .signatures
            .iter()
            .filter(|theirs| !self.signers().any(|signer| signer == theirs.signer))
            .cloned()
            .collect::<Vec<_>>()
            .into_iter()
            .try_for_each(|theirs| self.push(theirs))
    }

    /// Parses an envelope. Its signatures are not verified yet.
    ///
    /// # Errors
    /// Every [`DsseError`] about form.
    pub fn parse(text: &[u8]) -> Result<Self, DsseError> {
        if text.len() > ENVELOPE_BYTES_MAX {
            return Err(DsseError::TooLarge { bytes: text.len() });
        }
        let wire: EnvelopeWire =
            serde_json::from_slice(text).map_err(|error| malformed(&error.to_string()))?;
        let mut envelope = Self::unsigned(
            wire.payload_type.clone(),
            decode(&wire.payload, || "/payload".into())?,
        )?;
        if wire.signatures.is_empty() {
            return Err(DsseError::SignatureCount { count: 0 });
        }
        for (index, signature) in wire.signatures.iter().enumerate() {
            envelope.push(Signature::read(index, signature)?)?;
        }
        let canonical = envelope.to_bytes();
        if canonical != text {
            return Err(DsseError::NotCanonical { offset: first_difference(&canonical, text) });
        }
        Ok(envelope)
    }

    /// The envelope's only encoding.
    pub fn to_bytes(&self) -> Vec<u8> {
        let wire = EnvelopeWire {
            payload: STANDARD.encode(&self.payload),
            payload_type: self.payload_type.clone(),
            signatures: self.signatures.iter().map(Signature::wire).collect(),
        };
        serde_json_canonicalizer::to_vec(&wire)
            .expect("invariant: strings and lists always serialise")
    }

    /// The payload's type.
    pub fn payload_type(&self) -> &str {
        &self.payload_type
    }

    /// The signed bytes, unverified.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The claimed signers, in the order of the signatures. Unverified.
    pub fn signers(&self) -> impl Iterator<Item = Party> + '_ {
        self.signatures.iter().map(|signature| signature.signer)
    }

    /// Verifies that every signature is valid and by one of `allowed`. Signatures may be missing.
    ///
    /// # Errors
    /// [`DsseError::Stranger`], [`DsseError::Forged`].
    pub fn signers_are(&self, allowed: &[Party]) -> Result<(), DsseError> {
        let message = self.signed_bytes();
        self.signatures.iter().try_for_each(|signature| {
            let signer = allowed
                .iter()
                .find(|party| **party == signature.signer)
                .ok_or(DsseError::Stranger { signer: signature.signer })?;
            key::verify(signer, &message, &signature.bytes)
                .map_err(|source| DsseError::Forged { signer: *signer, source })
        })
    }

    fn unsigned(payload_type: String, payload: Vec<u8>) -> Result<Self, DsseError> {
        if payload_type.len() > PAYLOAD_TYPE_BYTES_MAX {
            return Err(DsseError::PayloadTypeTooLong { bytes: payload_type.len() });
        }
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(DsseError::PayloadTooLarge { bytes: payload.len() });
        }
        Ok(Self { payload_type, payload, signatures: Vec::new() })
    }

    fn push(&mut self, signature: Signature) -> Result<(), DsseError> {
        if self.signers().any(|signer| signer == signature.signer) {
            return Err(DsseError::SignedTwice { signer: signature.signer });
        }
        if self.signatures.len() == SIGNATURES_MAX {
            return Err(DsseError::SignatureCount { count: SIGNATURES_MAX + 1 });
        }
        self.signatures.push(signature);
        Ok(())
    }

    fn signature_by(&self, key: &PartyKey) -> Signature {
        Signature { signer: key.party(), bytes: key.sign(&self.signed_bytes()) }
    }

    /// The pre-authentication encoding (DSSE protocol, "PAE"): type and payload, each after its length.
    fn signed_bytes(&self) -> Vec<u8> {
        let (kind, body) = (&self.payload_type, &self.payload);
        let mut bytes = format!("DSSEv1 {} {kind} {} ", kind.len(), body.len()).into_bytes();
        bytes.extend_from_slice(body);
        bytes
    }
}

impl Signature {
    fn read(index: usize, wire: &SignatureWire) -> Result<Self, DsseError> {
        let signer = wire.keyid.parse().map_err(|_| DsseError::KeyId { index })?;
        let bytes = decode(&wire.sig, || format!("/signatures/{index}/sig"))?;
        let bytes = bytes
            .try_into()
            .map_err(|bytes: Vec<u8>| DsseError::SignatureLength { index, bytes: bytes.len() })?;
        Ok(Self { signer, bytes })
    }

    fn wire(&self) -> SignatureWire {
        SignatureWire { keyid: self.signer.to_string(), sig: STANDARD.encode(self.bytes) }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvelopeWire {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<SignatureWire>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureWire {
    keyid: String,
    sig: String,
}

/// The byte offset of the first difference between two texts.
pub fn first_difference(left: &[u8], right: &[u8]) -> usize {
    left.iter()
        .zip(right)
        .position(|(left, right)| left != right)
        .unwrap_or_else(|| left.len().min(right.len()))
}

fn decode(text: &str, member: impl FnOnce() -> String) -> Result<Vec<u8>, DsseError> {
    STANDARD.decode(text).map_err(|_| DsseError::Base64 { member: member() })
}

fn malformed(reason: &str) -> DsseError {
    const REASON_CHARS_MAX: usize = 200;
    let shown = reason.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX).collect();
    DsseError::Malformed { reason: shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> PartyKey {
        PartyKey::from_secret(&[seed; 32])
    }

    fn envelope() -> Envelope {
        Envelope::sign("application/x", b"hello".to_vec(), &key(1)).expect("small")
    }

    fn refused(text: &str) -> DsseError {
        Envelope::parse(text.as_bytes()).expect_err("must be refused")
    }

    #[test]
    fn the_signed_bytes_are_the_protocol_s_own_example() {
        let envelope =
            Envelope::unsigned("http://example.com/HelloWorld".into(), b"hello world".to_vec());
        assert_eq!(
            envelope.expect("small").signed_bytes(),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn reads_what_it_writes() {
        let mut envelope = envelope();
        envelope.add_signature(&key(2)).expect("a second party");
        assert_eq!(Envelope::parse(&envelope.to_bytes()), Ok(envelope.clone()));
        assert_eq!(envelope.signers_are(&[key(2).party(), key(1).party()]), Ok(()));
    }

    #[test]
    fn strangers_and_forgeries_are_named() {
        let (one, two) = (key(1).party(), key(2).party());
        assert_eq!(envelope().signers_are(&[two]), Err(DsseError::Stranger { signer: one }));
        let mut forged = envelope();
        forged.payload = b"hullo".to_vec();
        assert!(
            matches!(forged.signers_are(&[one]), Err(DsseError::Forged { signer, .. }) if signer == one)
        );
        let mut retyped = envelope();
        retyped.payload_type = "application/y".into();
        assert!(matches!(retyped.signers_are(&[one]), Err(DsseError::Forged { .. })));
    }

    #[test]
    fn one_party_signs_once() {
        let mut twice = envelope();
        let signer = key(1).party();
        assert_eq!(twice.add_signature(&key(1)), Err(DsseError::SignedTwice { signer }));
        twice.signatures.push(twice.signatures[0].clone());
        assert_eq!(Envelope::parse(&twice.to_bytes()), Err(DsseError::SignedTwice { signer }));
    }

    #[test]
    fn signatures_are_1_to_8() {
        let mut full = envelope();
        for seed in 2..=8 {
            full.add_signature(&key(seed)).expect("up to eight");
        }
        assert_eq!(full.add_signature(&key(9)), Err(DsseError::SignatureCount { count: 9 }));
        let none = r#"{"payload":"","payloadType":"","signatures":[]}"#;
        assert_eq!(refused(none), DsseError::SignatureCount { count: 0 });
    }

    #[test]
    fn the_largest_payload_with_the_most_signatures_still_fits() {
        let kind = "k".repeat(PAYLOAD_TYPE_BYTES_MAX);
        let mut full = Envelope::sign(&kind, vec![7; PAYLOAD_BYTES_MAX], &key(1)).expect("fits");
        for seed in 2..=8 {
            full.add_signature(&key(seed)).expect("up to eight");
        }
        assert_eq!(Envelope::parse(&full.to_bytes()), Ok(full));
        let bytes = PAYLOAD_BYTES_MAX + 1;
        let refused = Envelope::sign("k", vec![7; bytes], &key(1));
        assert_eq!(refused, Err(DsseError::PayloadTooLarge { bytes }));
        let refused = Envelope::sign(&format!("{kind}k"), vec![], &key(1));
        let bytes = PAYLOAD_TYPE_BYTES_MAX + 1;
        assert_eq!(refused, Err(DsseError::PayloadTypeTooLong { bytes }));
        let bytes = ENVELOPE_BYTES_MAX + 1;
        assert_eq!(refused_size(bytes), DsseError::TooLarge { bytes });
    }

    fn refused_size(bytes: usize) -> DsseError {
        Envelope::parse(&vec![b' '; bytes]).expect_err("must be refused")
    }

    #[test]
    fn envelopes_join_over_the_same_payload_only() {
        let theirs = Envelope::sign("application/x", b"hello".to_vec(), &key(2)).expect("small");
        let mut joined = envelope();
        joined.merge(&theirs).expect("the same payload");
        joined.merge(&theirs).expect("nothing new");
        assert_eq!(joined.signers().collect::<Vec<_>>(), [key(1).party(), key(2).party()]);
        let other = Envelope::sign("application/x", b"hullo".to_vec(), &key(2)).expect("small");
        assert_eq!(joined.merge(&other), Err(DsseError::DifferentPayloads));
        let retyped = Envelope::sign("application/y", b"hello".to_vec(), &key(2)).expect("small");
        assert_eq!(joined.merge(&retyped), Err(DsseError::DifferentPayloads));
    }

    #[test]
    fn a_second_spelling_is_refused() {
        let text = String::from_utf8(envelope().to_bytes()).expect("JSON is text");
        let spaced = text.replace("\":", "\": ");
        assert!(matches!(refused(&spaced), DsseError::NotCanonical { .. }));
        assert!(matches!(refused(&format!("{text}\n")), DsseError::NotCanonical { .. }));
        // The same five bytes with a stray bit in the last digit, and without padding.
        let stray = text.replace("aGVsbG8=", "aGVsbG9=");
        assert_eq!(refused(&stray), DsseError::Base64 { member: "/payload".into() });
        let bare = text.replace("aGVsbG8=", "aGVsbG8");
        assert_eq!(refused(&bare), DsseError::Base64 { member: "/payload".into() });
        let unknown = text.replacen('{', r#"{"alg":"none","#, 1);
        assert!(matches!(refused(&unknown), DsseError::Malformed { .. }));
        let nameless = text.replace("did:key:z6Mk", "did:web:z6Mk");
        assert_eq!(refused(&nameless), DsseError::KeyId { index: 0 });
    }
}
