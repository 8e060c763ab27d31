//! Negotiations: their state and messages.

use hospes_core::id::{Digest, ModelName, Party};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::agreements::{Class, Role};
use super::envelope::Envelope;
use super::text;
use super::word::words;

/// A page of the caller's negotiations: the response to `GET /api/negotiations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Negotiations")]
pub struct Page {
    /// The negotiations, oldest first.
    pub negotiations: Vec<Outline>,
    /// Where the next page begins, if there is one.
    #[serde(default)]
    pub next: Option<String>,
}

/// A negotiation's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "NegotiationOutline")]
pub struct Outline {
    /// Its identifier, `urn:uuid:…`.
    pub id: String,
    /// Its state.
    pub state: State,
    /// Who moves next; nobody when it is over.
    pub turn: Option<Role>,
    /// Its model.
    #[schemars(with = "text::ModelName")]
    pub model: ModelName,
    /// The publisher.
    #[schemars(with = "text::Party")]
    pub publisher: Party,
    /// The consumer.
    #[schemars(with = "text::Party")]
    pub consumer: Party,
    /// The agreement, once the publisher has signed it.
    #[serde(default)]
    #[schemars(with = "Option<text::Digest>")]
    pub agreement: Option<Digest>,
}

words! {
    /// A negotiation's state, in the Dataspace Protocol's terms.
    State {
        /// The consumer has requested.
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

/// A negotiation with all its messages: the response of all other routes below `/api/negotiations`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Negotiation")]
pub struct Shown {
    /// Its state.
    #[serde(flatten)]
    pub outline: Outline,
    /// The terms on the table, one sentence each.
    #[serde(default)]
    pub clauses: Vec<Clause>,
    /// The messages, oldest first.
    pub messages: Vec<Message>,
}

/// A sentence of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Clause {
    /// The JSON pointer of its rule; `/` for the whole document.
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
    /// Its kind: `request`, `offer`, `agreement`, `verification`, or the name of a move such as `acceptance`.
    pub kind: String,
    /// SHA-256 of the payload.
    #[schemars(with = "text::Digest")]
    pub id: Digest,
    /// Its author.
    #[schemars(with = "text::Party")]
    pub by: Party,
    /// When the host received it.
    #[schemars(with = "text::Time")]
    pub at: String,
    /// The negotiation's state after it.
    pub state: State,
    /// The document with its signatures.
    #[schemars(with = "Envelope")]
    pub envelope: Value,
}
