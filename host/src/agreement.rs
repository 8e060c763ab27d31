//! Agreements: what a publisher offers, what a consumer accepts, and whether one call is within it.
//!
//! A document is an ODRL 2.2 policy in plain JSON ([`document`], [`odrl`]), signed by both its roles ([`codec`]) and compiled
//! before the first call ([`Terms`]); calls run the compiled form only. This module must not know HTTP, sandboxes or where
//! agreements are kept, and it counts nothing: a [`Permit`] says what holds apart from the count. The surprise: nothing that
//! is not understood is ever skipped. An unknown term makes the whole document unreadable here.

mod codec;
mod document;
mod evaluate;
mod odrl;
mod render;
mod terms;
#[cfg(test)]
mod tests;

use crate::dsse::DsseError;
use crate::id::{Digest, Party};
use crate::key::SignatureError;

pub use codec::{Proposal, SignedAgreement, SignedOffer};
pub use document::{Agreement, Constraint, Offer, Permission, PermissionSpec, Role};
pub use evaluate::{CallFacts, Clause, Denial, Permit, Unmet};
pub use render::{offer_lines, render, render_offer};
pub use terms::{RuleSummary, Terms};

/// The profile of ODRL that this host understands, and the only one it accepts.
pub const PROFILE: &str = "urn:hospes:profile:1";

/// Longest offer or agreement, in bytes of its payload.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;

/// Most permissions in one document.
pub const PERMISSIONS_MAX: usize = 64;

/// Largest number in a document: every JSON reader holds it exactly (RFC 8785 section 3.2.2.3).
pub const INTEGER_MAX: u64 = (1 << 53) - 1;

/// Why an offer or an agreement was refused.
#[derive(Debug, thiserror::Error)]
pub enum AgreementError {
    #[error(transparent)]
    Envelope(#[from] DsseError),
    #[error("the payload is of type `{seen}`; `{wanted}` is wanted here")]
    PayloadType { seen: String, wanted: &'static str },
    #[error(
        "the document is {bytes} bytes, more than the {PAYLOAD_BYTES_MAX} allowed; name fewer permissions"
    )]
    TooLarge { bytes: usize },
    #[error("`{pointer}` cannot be read: {reason}")]
    Malformed { pointer: String, reason: String },
    #[error(
        "`{pointer}` is `{seen}`, which this host does not know and so cannot enforce; it knows {known}"
    )]
    Unknown { pointer: String, seen: String, known: &'static str },
    #[error("`{pointer}` limits the same thing a second time; keep one of the two constraints")]
    Repeated { pointer: String },
    #[error("`{pointer}` is {value}, more than the {INTEGER_MAX} that JSON can hold exactly")]
    IntegerTooLarge { pointer: String, value: u64 },
    #[error("`{pointer}` never allows a call: {reason}")]
    NeverAllows { pointer: String, reason: &'static str },
    #[error(
        "the document is not in its canonical form (RFC 8785): it differs from byte {offset} on"
    )]
    NotCanonical { offset: usize },
    #[error("the document has {count} permissions; it needs 1 to {PERMISSIONS_MAX}")]
    PermissionCount { count: usize },
    #[error("`{party}` stands on both sides; an agreement needs two parties")]
    SameParty { party: Party },
    #[error("`{pointer}` names a party that cannot sign")]
    WeakParty {
        pointer: &'static str,
        #[source]
        source: SignatureError,
    },
    #[error("`{signer}` has no part in this document, so its signature is not wanted")]
    NotAParty { signer: Party },
    #[error("the {role} `{party}` has not signed")]
    Unsigned { role: Role, party: Party },
    #[error("the two agreements are different documents, so their signatures cannot be joined")]
    OtherAgreement,
    #[error("the agreement accepts offer `{seen}`, not `{wanted}`")]
    OtherOffer { seen: Digest, wanted: Digest },
    #[error("`{pointer}` is not as the offer has it; an agreement accepts an offer whole")]
    NotAsOffered { pointer: &'static str },
    #[error("the operating system gave no random bytes")]
    Random(#[source] getrandom::Error),
}
