//! The publisher's signature: a DSSE envelope with the digests of a bundle's parts and of the whole.
//!
//! The digest of all bytes before the signature would be enough to detect a change. The digests of the parts show where it is. Payload and
//! envelope are canonical JSON (RFC 8785), so the signature section cannot be changed either.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::layout::{Extra, Layout};
use super::names::GraphName;
use hospes_core::dsse::{DsseError, Envelope, first_difference};
use hospes_core::id::{Digest, Hasher, Party};
use hospes_core::key::PartyKey;

/// The payload type, so that a signature for another purpose cannot pass as a bundle's.
pub const PAYLOAD_TYPE: &str = "application/vnd.hospes.bundle+json";

/// Why a signature section was rejected.
#[derive(Debug, thiserror::Error)]
pub enum SignatureSectionError {
    #[error("the envelope is refused")]
    Envelope(#[from] DsseError),
    #[error("the payload has type `{found}`, not `{PAYLOAD_TYPE}`: it is not a bundle's signature")]
    PayloadType { found: String },
    #[error("the bundle has {count} signatures; it must have only its publisher's")]
    Signers { count: usize },
    #[error("the payload is not a list of digests in JSON")]
    Payload(#[source] serde_json::Error),
    #[error(
        "the payload is not in its canonical form (RFC 8785): it differs from byte {offset} on"
    )]
    NotCanonical { offset: usize },
}

/// A part of a bundle, for error messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BundlePart {
    Component,
    Manifest,
    /// The weights of one model.
    Weights(GraphName),
    /// The list of models and its order.
    Models,
    /// Where the model comes from.
    Provenance,
    /// The profile of held-out data.
    Profile,
    /// The publisher's `README.md`.
    Card,
    /// The bytes between the other parts.
    Headers,
}

impl fmt::Display for BundlePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BundlePart::Component => f.write_str("the code (its component)"),
            BundlePart::Manifest => f.write_str("the manifest"),
            BundlePart::Weights(model) => write!(f, "the weights of model `{model}`"),
            BundlePart::Models => f.write_str("the list of models"),
            BundlePart::Provenance => f.write_str("the provenance"),
            BundlePart::Profile => f.write_str("the profile"),
            BundlePart::Card => f.write_str("the card"),
            BundlePart::Headers => f.write_str("a section header"),
        }
    }
}

/// The signed statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignedDigests {
    /// The digest of the component: everything before the manifest's section.
    pub component: Digest,
    /// The digest of the manifest's JSON.
    pub manifest: Digest,
    /// The digests of the weights, in the order of their sections.
    pub models: Vec<ModelDigest>,
    /// The digests of the extras. A bundle without one has no member for it, as before there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<Digest>,
    /// The digest of every byte before the signature section.
    pub sha256: Digest,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelDigest {
    pub name: GraphName,
    pub sha256: Digest,
}

/// The actual digests of a bundle.
pub(super) struct Measured {
    pub statement: SignedDigests,
    /// The digest of the whole file, including the signature.
    pub file: Digest,
}

impl Measured {
    pub(super) fn of(bytes: &[u8], layout: &Layout) -> Self {
        let (sha256, file) = whole(bytes, layout);
        let models = layout.models.iter().map(|(name, section)| ModelDigest {
            name: name.clone(),
            sha256: Digest::of(&bytes[section.payload.clone()]),
        });
        let extra = |extra| layout.extra(extra, bytes).map(Digest::of);
        let statement = SignedDigests {
            provenance: extra(Extra::Provenance),
            profile: extra(Extra::Profile),
            card: extra(Extra::Card),
            component: Digest::of(&bytes[layout.code.clone()]),
            manifest: Digest::of(&bytes[layout.manifest.payload.clone()]),
            models: models.collect(),
            sha256,
        };
        Self { statement, file }
    }
}

/// The digests of a bundle's bytes before its signature and of the whole file, in one pass.
pub(super) fn whole(bytes: &[u8], layout: &Layout) -> (Digest, Digest) {
    let (signed, rest) = bytes.split_at(layout.signed_end(bytes));
    let mut hasher = Hasher::default().with(signed);
    let sha256 = hasher.clone().finish();
    hasher.update(rest);
    (sha256, hasher.finish())
}

impl SignedDigests {
    /// The first part that differs from what was signed; `None` if every byte is the same.
    pub(super) fn first_change(&self, found: &Self) -> Option<BundlePart> {
        if self.component != found.component {
            return Some(BundlePart::Component);
        }
        if self.manifest != found.manifest {
            return Some(BundlePart::Manifest);
        }
        if !self.models.iter().map(|m| &m.name).eq(found.models.iter().map(|m| &m.name)) {
            return Some(BundlePart::Models);
        }
        let mut models = self.models.iter().zip(&found.models);
        if let Some((signed, _)) = models.find(|(signed, found)| signed.sha256 != found.sha256) {
            return Some(BundlePart::Weights(signed.name.clone()));
        }
        let extras = [
            (BundlePart::Provenance, self.provenance, found.provenance),
            (BundlePart::Profile, self.profile, found.profile),
            (BundlePart::Card, self.card, found.card),
        ];
        if let Some((part, ..)) = extras.into_iter().find(|(_, signed, found)| signed != found) {
            return Some(part);
        }
        (self.sha256 != found.sha256).then_some(BundlePart::Headers)
    }

    fn to_bytes(&self) -> Vec<u8> {
        serde_json_canonicalizer::to_vec(self)
            .expect("invariant: strings and lists always serialise")
    }
}

/// The payload of the signature section.
pub(super) fn seal(statement: &SignedDigests, key: &PartyKey) -> Result<Vec<u8>, DsseError> {
    Ok(Envelope::sign(PAYLOAD_TYPE, statement.to_bytes(), key)?.to_bytes())
}

/// Parses a signature section, verifies the signature, and returns signer and digests. Others check whether the signer may sign this bundle,
/// and whether the bundle matches the digests.
pub(super) fn open(section: &[u8]) -> Result<(Party, SignedDigests), SignatureSectionError> {
    let envelope = Envelope::parse(section)?;
    if envelope.payload_type() != PAYLOAD_TYPE {
        return Err(SignatureSectionError::PayloadType { found: shown(envelope.payload_type()) });
    }
    let signers: Vec<Party> = envelope.signers().collect();
    let [signer] = signers[..] else {
        return Err(SignatureSectionError::Signers { count: signers.len() });
    };
    envelope.signers_are(&[signer])?;
    let statement: SignedDigests =
        serde_json::from_slice(envelope.payload()).map_err(SignatureSectionError::Payload)?;
    let canonical = statement.to_bytes();
    if canonical != envelope.payload() {
        let offset = first_difference(&canonical, envelope.payload());
        return Err(SignatureSectionError::NotCanonical { offset });
    }
    Ok((signer, statement))
}

fn shown(text: &str) -> String {
    text.chars().flat_map(char::escape_debug).collect()
}
