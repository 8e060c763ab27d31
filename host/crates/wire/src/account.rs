//! Accounts and their keys, as the account itself and the operator see them.

use hospes_core::id::{AccountName, Digest, Party};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::operations::Action;
use super::text;
use super::word::words;

/// Who an account is, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    /// Its name.
    #[schemars(with = "text::AccountName")]
    pub name: AccountName,
    /// The key that signs for it.
    #[schemars(with = "text::Party")]
    pub party: Party,
    /// Where it stands.
    pub standing: Standing,
    /// Since when and why it is not open.
    #[serde(default)]
    pub cause: Option<Cause>,
}

words! {
    /// Where an account stands.
    Standing {
        /// It may do everything.
        Open = "open",
        /// The operator has stopped it for now.
        Suspended = "suspended",
        /// The operator has stopped it for good.
        Closed = "closed",
    }
}

/// Since when and why something is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cause {
    /// Since when.
    #[schemars(with = "text::Time")]
    pub at: String,
    /// Why.
    pub reason: String,
}

/// An account with its keys: the answer to `GET /accounts/{name}` and `POST /api/account/keys/{id}/revocation`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountWithKeys {
    /// The account.
    #[serde(flatten)]
    pub account: Account,
    /// The keys that signed for it before, the first one first.
    #[serde(default)]
    #[schemars(with = "Vec<text::Party>")]
    pub former: Vec<Party>,
    /// Its API keys.
    #[serde(default)]
    pub keys: Vec<Key>,
}

/// An API key, without what opens the door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ApiKey")]
pub struct Key {
    /// What it is known by.
    pub id: String,
    /// What its owner calls it.
    #[serde(default)]
    pub name: Option<String>,
    /// When it was made.
    #[schemars(with = "text::Time")]
    pub made: String,
    /// When it was last used, roughly.
    #[serde(default)]
    #[schemars(with = "Option<text::Time>")]
    pub used: Option<String>,
    /// Since when and why it opens nothing any more.
    #[serde(default)]
    pub revoked: Option<Cause>,
}

/// The caller's own account: the answer to `GET /api/account`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OwnAccount {
    /// The account with its keys.
    #[serde(flatten)]
    pub account: AccountWithKeys,
    /// Which of the keys asks.
    #[serde(default)]
    pub key: Option<String>,
    /// The latest actions that concern the account or something of it, the last one first.
    #[serde(default)]
    pub actions: Vec<Action>,
    /// The account's models that ended the process which computed them, those with the longest wait first.
    #[serde(default)]
    pub incidents: Vec<ModelIncident>,
}

/// A model of the account that ended the process which computed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelIncident {
    /// The live versions that have it, as `publisher/model@version`.
    pub versions: Vec<String>,
    /// The digest of its weights.
    #[schemars(with = "text::Digest")]
    pub model: Digest,
    /// How the process ended.
    pub how: String,
    /// How often that has happened, less one for each minute without.
    pub times: u32,
    /// Milliseconds until it can be computed again by the same caller.
    pub wait_ms: u64,
}

/// Why a key is revoked: what `POST /api/account/keys/{id}/revocation` takes. A body may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeKey {
    /// For the log.
    #[serde(default)]
    pub reason: String,
}

/// One key follows another, as it is signed: the answer to `POST /api/successions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Succession {
    /// The key before.
    #[schemars(with = "text::Party")]
    pub from: Party,
    /// The key that follows it.
    #[schemars(with = "text::Party")]
    pub to: Party,
    /// Why.
    pub cause: String,
    /// When it was signed.
    #[schemars(with = "text::Time")]
    pub issued: String,
}
