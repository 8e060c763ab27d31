//! Agreements: what a publisher offers, what a consumer accepts, whether a call is permitted, and what of its response may be released.
//!
//! A document is an ODRL 2.2 policy in plain JSON ([`document`]), signed by both roles and compiled before the first call ([`Terms`]);
//! calls use only the compiled form. A [`RuleSet`] holds the rules that apply, apart from usage, which only [`ledger`] counts, in memory.
//! This crate must not depend on HTTP, sandboxes or storage. The surprise: nothing that is not understood is ever skipped. An unknown term
//! makes the whole document unreadable here.

pub mod controls;
mod decide;
mod document;
pub mod ledger;
mod process;
pub mod registry;
#[cfg(test)]
mod tests;
mod words;

use hospes_core::dsse::DsseError;
use hospes_core::id::{Digest, Party};
use hospes_core::key::SignatureError;

pub use decide::compiled::{CallBounds, Rule, TensorLimits, Terms, controls_of};
pub use decide::evaluate::{CallFacts, InputFacts, RuleSet};
pub use decide::narrow::{Wider, parent_rules};
pub use decide::report::{
    Activation, ConstraintReport, Decision, Facts, Report, RuleReport, Satisfaction,
};
pub use document::clause::{
    Asset, Ban, Constraint, Obligation, Permission, Price, Prohibition, Unit,
};
pub use document::codec::{Proposal, SignedAgreement, SignedOffer, SignedRequest};
pub use document::value::{DailyWindow, Micros, RightOperand, Span, is_iri};
pub use document::{Agreement, Clauses, Offer, OnSuspend, Request, Role, Target, Versions};
pub use process::mandate::{Mandate, SignedMandate};
pub use process::statement::{Signed, Statement, StatementError};
pub use process::succession::{Cause, SignedSuccession, Succession};
pub use process::{events, negotiation};
pub use registry::{Operand, RegistryVersion, profile};
pub use words::phrase::PhraseError;
pub use words::render::{
    Line, lines, offer_lines, render, render_offer, render_request, sentence, span,
};
pub use words::templates;

/// The only ODRL profile that this host accepts.
pub const PROFILE: &str = "urn:hospes:profile:1";

/// Maximum payload of an offer or agreement, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 128 * 1024;

/// Maximum execute permissions in a document.
pub const PERMISSIONS_MAX: usize = 64;

/// Maximum prohibitions in a document.
pub const PROHIBITIONS_MAX: usize = 64;

/// Maximum obligations in a document.
pub const OBLIGATIONS_MAX: usize = 16;

/// Maximum constraints, and maximum refinements, of a rule.
pub const CONSTRAINTS_MAX: usize = 32;

/// Maximum parties named by an offer.
pub const AUDIENCE_MAX: usize = 64;

/// Maximum levels of sub-agreements.
pub const DEPTH_MAX: u8 = 8;

/// Largest number in a document, exact in every JSON reader (RFC 8785 section 3.2.2.3).
pub const INTEGER_MAX: u64 = (1 << 53) - 1;

/// Why an offer or agreement was rejected.
#[derive(Debug, thiserror::Error)]
pub enum AgreementError {
    #[error(transparent)]
    Envelope(#[from] DsseError),
    #[error("the payload is of type `{seen}`; it must be `{wanted}`")]
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
    Unknown { pointer: String, seen: String, known: String },
    #[error(
        "`/hospes:registry` names `{seen}`, which this host does not know, so it cannot tell what the terms mean; update the host"
    )]
    UnknownRegistry { seen: Digest },
    #[error("`{pointer}` repeats a limit; keep one of the two constraints")]
    Repeated { pointer: String },
    #[error("`{pointer}` never allows a call: {reason}")]
    NeverAllows { pointer: String, reason: &'static str },
    #[error(
        "the document is not in its canonical form (RFC 8785): it differs from byte {offset} on"
    )]
    NotCanonical { offset: usize },
    #[error("the document has {count} {what}; {min} to {max} are allowed")]
    RuleCount { what: &'static str, count: usize, min: usize, max: usize },
    #[error("the sub-agreements are {depth} levels deep; 1 to {DEPTH_MAX} are allowed")]
    Depth { depth: u8 },
    #[error(
        "`/hospes:audience` names {count} parties; at most {AUDIENCE_MAX} are allowed, each once and in ascending order"
    )]
    Audience { count: usize },
    #[error("the offer is not made to `{party}`")]
    NotForYou { party: Party },
    #[error("`{party}` stands on both sides; an agreement needs two parties")]
    SameParty { party: Party },
    #[error("`{pointer}` names a party that cannot sign")]
    WeakParty {
        pointer: &'static str,
        #[source]
        source: SignatureError,
    },
    #[error("`{signer}` signed this document, but is not a party to it")]
    NotAParty { signer: Party },
    #[error("the {role} `{party}` has not signed")]
    Unsigned { role: Role, party: Party },
    #[error("the two agreements are different documents, so their signatures cannot be joined")]
    OtherAgreement,
    #[error("the agreement accepts offer `{seen}`, not `{wanted}`")]
    OtherOffer { seen: Digest, wanted: Digest },
    #[error("`{pointer}` differs from the offer; an agreement must accept the whole offer")]
    NotAsOffered { pointer: &'static str },
    #[error(transparent)]
    Statement(#[from] StatementError),
    #[error("the mandate is for offer `{offer}`, or from another publisher")]
    NotMandated { offer: Digest },
    #[error("the operating system gave no random bytes")]
    Random(#[source] getrandom::Error),
}
