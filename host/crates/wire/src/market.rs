//! The market: what is offered, and for what.

use hospes_core::id::Digest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::models::Description;
use super::text;

/// A page of offers: the answer to `GET /api/market`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Market")]
pub struct Page {
    /// The offers, in the order of models and numbers.
    pub offers: Vec<Offer>,
    /// What the next page begins after, while there is more.
    #[serde(default)]
    #[schemars(with = "Option<text::Digest>")]
    pub next: Option<Digest>,
}

/// An offer, and the newest version that it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "MarketOffer")]
pub struct Offer {
    /// The offer's number: SHA-256 of what is signed.
    #[schemars(with = "text::Digest")]
    pub id: Digest,
    /// The version.
    #[serde(flatten)]
    pub description: Description,
    /// Which versions the offer is for.
    #[serde(default)]
    pub versions: String,
    /// Whether it is to named parties only, of whom the caller is one.
    pub private: bool,
    /// What is offered of each function, for people.
    pub terms: Vec<String>,
}
