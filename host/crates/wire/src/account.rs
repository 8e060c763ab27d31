//! Accounts and their keys, as the account itself and the operator see them.

use hospes_core::id::{AccountName, Party};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::operations::Action;
use super::status::Crashes;
use super::text;
use super::word::words;

/// An account and its standing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    /// Its name.
    #[schemars(with = "text::AccountName")]
    pub name: AccountName,
    /// Its signing key.
    #[schemars(with = "text::Party")]
    pub party: Party,
    /// Its standing.
    pub standing: Standing,
    /// Since when and why it is suspended or closed.
    #[serde(default)]
    pub cause: Option<Cause>,
}

words! {
    /// An account's standing.
    Standing {
        /// Not restricted.
        Open = "open",
        /// Suspended by the operator.
        Suspended = "suspended",
        /// Closed by the operator for good.
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

/// An account with its keys: the response to `GET /accounts/{name}` and `POST /api/account/keys/{id}/revocation`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountWithKeys {
    /// The account.
    #[serde(flatten)]
    pub account: Account,
    /// Its former signing keys, oldest first.
    #[serde(default)]
    #[schemars(with = "Vec<text::Party>")]
    pub former: Vec<Party>,
    /// Its API keys.
    #[serde(default)]
    pub keys: Vec<Key>,
}

/// An API key, without the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ApiKey")]
pub struct Key {
    /// Its public identifier.
    pub id: String,
    /// Its owner's name for it.
    #[serde(default)]
    pub name: Option<String>,
    /// When it was created.
    #[schemars(with = "text::Time")]
    pub made: String,
    /// When it was last used, approximately.
    #[serde(default)]
    #[schemars(with = "Option<text::Time>")]
    pub used: Option<String>,
    /// Since when and why it is revoked.
    #[serde(default)]
    pub revoked: Option<Cause>,
}

/// The caller's own account: the response to `GET /api/account`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OwnAccount {
    /// The account with its keys.
    #[serde(flatten)]
    pub account: AccountWithKeys,
    /// The key of this request.
    #[serde(default)]
    pub key: Option<String>,
    /// The latest actions on the account or something it owns, newest first.
    #[serde(default)]
    pub actions: Vec<Action>,
    /// The account's models that crashed a worker process, longest wait first.
    #[serde(default)]
    pub incidents: Vec<ModelIncident>,
}

/// A model of the account that crashed a worker process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelIncident {
    /// The live versions that contain it, as `publisher/model@version`.
    pub versions: Vec<String>,
    /// The crashes.
    #[serde(flatten)]
    pub crashes: Crashes,
}

/// Why a key is revoked: the request of `POST /api/account/keys/{id}/revocation`. The body is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeKey {
    /// For the log.
    #[serde(default)]
    pub reason: String,
}

/// A signed key change: the response to `POST /api/successions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Succession {
    /// The old key.
    #[schemars(with = "text::Party")]
    pub from: Party,
    /// The new key.
    #[schemars(with = "text::Party")]
    pub to: Party,
    /// The reason.
    pub cause: String,
    /// When it was signed.
    #[schemars(with = "text::Time")]
    pub issued: String,
}
