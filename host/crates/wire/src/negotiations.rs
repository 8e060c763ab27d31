//! Negotiations: where each stands, and what was said.

use hospes_core::id::{Digest, ModelName, Party};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::agreements::{Class, Role};
use super::envelope::Envelope;
use super::text;
use super::word::words;

/// A page of the caller's negotiations: the answer to `GET /api/negotiations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Negotiations")]
pub struct Page {
    /// The negotiations, the oldest first.
    pub negotiations: Vec<Outline>,
    /// What the next page begins after, while there is more.
    #[serde(default)]
    pub next: Option<String>,
}

/// Where a negotiation stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "NegotiationOutline")]
pub struct Outline {
    /// Its number, `urn:uuid:…`.
    pub id: String,
    /// Where it stands.
    pub state: State,
    /// Whose turn it is; nobody's when it is over.
    pub turn: Option<Role>,
    /// The model that it is about.
    #[schemars(with = "text::ModelName")]
    pub model: ModelName,
    /// Who would grant the use of it.
    #[schemars(with = "text::Party")]
    pub publisher: Party,
    /// Who would use it.
    #[schemars(with = "text::Party")]
    pub consumer: Party,
    /// The agreement, once the publisher has signed it.
    #[serde(default)]
    #[schemars(with = "Option<text::Digest>")]
    pub agreement: Option<Digest>,
}

words! {
    /// Where a negotiation stands, in the words of the Dataspace Protocol.
    State {
        /// The consumer has asked.
        Requested = "REQUESTED",
        /// The publisher has offered.
        Offered = "OFFERED",
        /// The consumer has accepted.
        Accepted = "ACCEPTED",
        /// The publisher has signed the agreement.
        Agreed = "AGREED",
        /// The consumer has signed it too.
        Verified = "VERIFIED",
        /// The agreement is in force.
        Finalized = "FINALIZED",
        /// One side has ended it.
        Terminated = "TERMINATED",
    }
}

/// A negotiation with all its messages: the answer to everything else below `/api/negotiations`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Negotiation")]
pub struct Shown {
    /// Where it stands.
    #[serde(flatten)]
    pub outline: Outline,
    /// What is on the table, a sentence each.
    #[serde(default)]
    pub clauses: Vec<Clause>,
    /// What was said, the first message first.
    pub messages: Vec<Message>,
}

/// A sentence of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Clause {
    /// The rule that it belongs to, as a JSON pointer; `/` for the whole document.
    pub rule: String,
    /// What a host does about it.
    pub class: Class,
    /// The sentence.
    pub text: String,
}

/// A message of a negotiation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "NegotiationMessage")]
pub struct Message {
    /// What it is: `request`, `offer`, `agreement`, `verification`, or the name of a move such as `acceptance`.
    pub kind: String,
    /// SHA-256 of what is signed.
    #[schemars(with = "text::Digest")]
    pub id: Digest,
    /// Whose it is.
    #[schemars(with = "text::Party")]
    pub by: Party,
    /// When the host took it.
    #[schemars(with = "text::Time")]
    pub at: String,
    /// Where the negotiation stood after it.
    pub state: State,
    /// The document with its signatures.
    #[schemars(with = "Envelope")]
    pub envelope: Value,
}
