//! A publisher's own offers, and mandates that let a host sign for it.

use hospes_core::id::{Digest, ModelName, Party};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text;
use super::word::words;

/// A page of the caller's own offers: the response to `GET /api/offers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "OwnOffers")]
pub struct Page {
    /// The offers, ordered by identifier.
    pub offers: Vec<Own>,
    /// Where the next page begins, if there is one.
    #[serde(default)]
    #[schemars(with = "Option<text::Digest>")]
    pub next: Option<Digest>,
}

/// One of the caller's own offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "OwnOffer")]
pub struct Own {
    /// The offer's identifier: SHA-256 of the payload.
    #[schemars(with = "text::Digest")]
    pub id: Digest,
    /// The model.
    #[schemars(with = "text::ModelName")]
    pub model: ModelName,
    /// The versions that it covers.
    pub versions: String,
    /// Whether it is for named parties only.
    pub private: bool,
    /// Its state.
    pub state: State,
    /// When it was withdrawn, if it was.
    #[schemars(with = "Option<text::Time>")]
    pub since: Option<String>,
    /// Why the operator withdrew it, if so.
    pub reason: Option<String>,
    /// The terms for each function, as text.
    #[serde(default)]
    pub terms: Vec<String>,
}

words! {
    /// An offer's state.
    State {
        /// Listed in the market.
        Listed = "listed",
        /// None of its versions is live.
        NotLive = "not-live",
        /// Withdrawn by its publisher.
        Withdrawn = "withdrawn",
        /// Withdrawn by the operator.
        WithdrawnByOperator = "withdrawn-by-operator",
    }
}

/// An offer is listed: the response to `POST /api/offers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ListedOffer")]
pub struct Listed {
    /// The offer's identifier.
    #[schemars(with = "text::Digest")]
    pub id: Digest,
    /// The model.
    #[schemars(with = "text::ModelName")]
    pub model: ModelName,
    /// The replaced offer, in the response to `POST /api/offers/{id}/replacement`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Digest>")]
    pub replaced: Option<Digest>,
    /// Agreements to the replaced offer with one signature. They cannot be signed unless that offer is published again. None if nothing was
    /// replaced, or from older hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_proposals: Option<usize>,
}

/// The request of `POST /api/offers/{id}/withdrawal`: empty so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WithdrawOffer")]
pub struct Withdraw {}

/// An offer is withdrawn: the response to `POST /api/offers/{id}/withdrawal`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "WithdrawnOffer")]
pub struct Withdrawn {
    /// The offer's identifier.
    #[schemars(with = "text::Digest")]
    pub id: Digest,
    /// The model.
    #[schemars(with = "text::ModelName")]
    pub model: ModelName,
    /// Always true.
    pub state: State,
    /// When it was withdrawn.
    #[schemars(with = "text::Time")]
    pub since: String,
    /// Agreements to it with one signature. They cannot be signed unless it is published again. Older hosts omit it.
    #[serde(default)]
    pub open_proposals: usize,
}

/// A signed mandate that lets a host sign for a publisher: the response to `POST /api/offers/{id}/mandate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Mandate {
    /// The publisher.
    #[schemars(with = "text::Party")]
    pub publisher: Party,
    /// The key whose signature counts as the publisher's: the host's.
    #[schemars(with = "text::Party")]
    pub agent: Party,
    /// The offer that it covers.
    #[schemars(with = "text::Digest")]
    pub offer: Digest,
    /// Maximum agreements.
    pub max: u32,
    /// Maximum agreements with one consumer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_per_consumer: Option<u32>,
    /// When it expires.
    #[schemars(with = "text::Time")]
    pub expires: String,
    /// When it was signed.
    #[schemars(with = "text::Time")]
    pub issued: String,
}
