//! The market: offers and their terms.

use hospes_core::id::Digest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::models::Description;
use super::text;

/// A page of offers: the response to `GET /api/market`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Market")]
pub struct Page {
    /// The offers, ordered by model and identifier.
    pub offers: Vec<Offer>,
    /// Where the next page begins, if there is one.
    #[serde(default)]
    #[schemars(with = "Option<text::Digest>")]
    pub next: Option<Digest>,
}

/// An offer with its newest version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "MarketOffer")]
pub struct Offer {
    /// The offer's identifier: SHA-256 of the payload.
    #[schemars(with = "text::Digest")]
    pub id: Digest,
    /// The version.
    #[serde(flatten)]
    pub description: Description,
    /// The versions that the offer covers.
    #[serde(default)]
    pub versions: String,
    /// Whether it is for named parties only, including the caller.
    pub private: bool,
    /// The terms for each function, as text.
    pub terms: Vec<String>,
}
