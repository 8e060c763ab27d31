//! A publisher's own offers, and the mandate that lets a host agree for them.

use hospes_core::id::{Digest, ModelName, Party};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text;
use super::word::words;

/// A page of the caller's own offers: the answer to `GET /api/offers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "OwnOffers")]
pub struct Page {
    /// The offers, in the order of their numbers.
    pub offers: Vec<Own>,
    /// What the next page begins after, while there is more.
    #[serde(default)]
    #[schemars(with = "Option<text::Digest>")]
    pub next: Option<Digest>,
}

/// One of the caller's own offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "OwnOffer")]
pub struct Own {
    /// The offer's number: SHA-256 of what is signed.
    #[schemars(with = "text::Digest")]
    pub id: Digest,
    /// The model.
    #[schemars(with = "text::ModelName")]
    pub model: ModelName,
    /// Which versions of it.
    pub versions: String,
    /// Whether it is to named parties only.
    pub private: bool,
    /// Where it stands.
    pub state: State,
    /// Since when it is withdrawn, if it is.
    #[schemars(with = "Option<text::Time>")]
    pub since: Option<String>,
    /// Why the operator withdrew it, if they did.
    pub reason: Option<String>,
    /// What is offered of each function, for people.
    #[serde(default)]
    pub terms: Vec<String>,
}

words! {
    /// Where an offer stands.
    State {
        /// It is in the market.
        Listed = "listed",
        /// No version that it is for is live.
        NotLive = "not-live",
        /// Its publisher took it out of the market.
        Withdrawn = "withdrawn",
        /// The operator did.
        WithdrawnByOperator = "withdrawn-by-operator",
    }
}

/// An offer is in the market: the answer to `POST /api/offers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ListedOffer")]
pub struct Listed {
    /// The offer's number.
    #[schemars(with = "text::Digest")]
    pub id: Digest,
    /// The model.
    #[schemars(with = "text::ModelName")]
    pub model: ModelName,
    /// The earlier offer that it took the place of: the answer to `POST /api/offers/{id}/replacement` has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Digest>")]
    pub replaced: Option<Digest>,
}

/// What `POST /api/offers/{id}/withdrawal` takes: nothing yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WithdrawOffer")]
pub struct Withdraw {}

/// An offer is out of the market: the answer to `POST /api/offers/{id}/withdrawal`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "WithdrawnOffer")]
pub struct Withdrawn {
    /// The offer's number.
    #[schemars(with = "text::Digest")]
    pub id: Digest,
    /// The model.
    #[schemars(with = "text::ModelName")]
    pub model: ModelName,
    /// That it is withdrawn.
    pub state: State,
    /// Since when.
    #[schemars(with = "text::Time")]
    pub since: String,
}

/// A publisher's word that a host may agree for it, as it is signed: the answer to `POST /api/offers/{id}/mandate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Mandate {
    /// Who gives it.
    #[schemars(with = "text::Party")]
    pub publisher: Party,
    /// Whose signature counts as the publisher's: the host's.
    #[schemars(with = "text::Party")]
    pub agent: Party,
    /// Under which offer.
    #[schemars(with = "text::Digest")]
    pub offer: Digest,
    /// Most agreements.
    pub max: u32,
    /// Most agreements with one consumer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_per_consumer: Option<u32>,
    /// From when on the host may sign no more.
    #[schemars(with = "text::Time")]
    pub expires: String,
    /// When it was given.
    #[schemars(with = "text::Time")]
    pub issued: String,
}
