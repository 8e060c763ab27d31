//! Signed documents as transmitted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The media type of such a document.
pub const MEDIA_TYPE: &str = "application/vnd.dsse.envelope.v1+json";

/// A document with its signatures: a DSSE envelope. `hospes-core` checks it; here is how it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// The payload, in base64.
    #[schemars(extend("contentEncoding" = "base64"))]
    pub payload: String,
    /// Its media type.
    pub payload_type: String,
    /// The signatures.
    pub signatures: Vec<Signature>,
}

/// A signature of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Signature {
    /// The signer.
    pub keyid: String,
    /// The signature, in base64.
    #[schemars(extend("contentEncoding" = "base64"))]
    pub sig: String,
}
