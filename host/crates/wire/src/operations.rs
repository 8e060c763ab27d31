//! The operator's API, on its own listener: accounts, actions, versions out of service, and losses after a restore.

use hospes_core::id::{AccountName, Digest, ModelName, Party};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::account::{Account, Cause};
use super::text;

/// The request of `POST /accounts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenAccount {
    /// The account's name. An existing account gets another API key.
    #[schemars(with = "text::AccountName")]
    pub name: AccountName,
    /// The account's signing key.
    #[schemars(with = "text::Party")]
    pub party: Party,
    /// The API key's name.
    #[serde(default)]
    pub key_name: Option<String>,
}

/// An account has a new API key: the response to `POST /accounts`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OpenedAccount {
    /// The account's name.
    #[schemars(with = "text::AccountName")]
    pub name: AccountName,
    /// The account's signing key.
    #[schemars(with = "text::Party")]
    pub party: Party,
    /// The API key. Only this response contains it.
    pub key: String,
}

/// Every account: the response to `GET /accounts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Accounts {
    /// The accounts.
    pub accounts: Vec<ListedAccount>,
}

/// An account in the list of all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListedAccount {
    /// The account.
    #[serde(flatten)]
    pub account: Account,
    /// Number of its API keys.
    #[serde(default)]
    pub keys: usize,
}

/// The request of `POST /actions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// The action, such as `suspend-account`.
    pub action: String,
    /// Its target: an account, a key, a version, a model, a digest, an offer or an agreement.
    pub target: String,
    /// The reason, for the log.
    #[serde(default)]
    pub reason: String,
}

/// An action is in force: the response to `POST /actions`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Acted {
    /// The action.
    pub action: String,
    /// Its target.
    pub target: String,
    /// Versions that failed to come back, if the action restores versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Vec<NotBack>>,
    /// The operator's new token, if the action makes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// A version that is no longer withdrawn but failed to come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotBack {
    /// The model.
    #[schemars(with = "text::ModelName")]
    pub model: ModelName,
    /// The version.
    pub version: String,
    /// The reason.
    pub why: String,
}

/// Actions, ordered by number: the response to `GET /actions`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ActionLog {
    /// The host, which signs the log.
    #[schemars(with = "text::Party")]
    pub party: Party,
    /// Total number of actions.
    pub total: u64,
    /// Those from the requested number on, as many as fit a response.
    pub actions: Vec<LoggedAction>,
}

/// An action on an account or something it owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Action {
    /// Its number among the actions.
    pub sequence: u64,
    /// Its UUID.
    #[schemars(with = "text::CallId")]
    pub id: String,
    /// When it was taken.
    #[schemars(with = "text::Time")]
    pub at: String,
    /// The actor: `operator`, or `account:NAME`.
    pub by: String,
    /// The action.
    pub action: String,
    /// Its target.
    pub target: String,
    /// The reason.
    pub reason: String,
}

/// An action with its proof.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoggedAction {
    /// The action.
    #[serde(flatten)]
    pub action: Action,
    /// The inclusion proof.
    #[schemars(with = "text::Object")]
    pub proof: Value,
}

/// What is withdrawn or frozen: the response to `GET /withdrawals`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Withdrawals {
    /// Versions, models and digests.
    pub models: Vec<Withdrawal>,
    /// Offers.
    pub offers: Vec<Withdrawal>,
    /// Agreements; `all` for all agreements with limits made before.
    #[serde(default)]
    pub frozen: Vec<Withdrawal>,
}

/// A withdrawn or frozen target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Withdrawal {
    /// The target.
    pub what: String,
    /// Since when and why.
    #[serde(flatten)]
    pub cause: Cause,
}

/// The request of the operator's `POST /agreements/{id}/events`. The host signs the event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Operate {
    /// `suspend` or `resume`.
    pub change: String,
    /// The reason, one of those that events define.
    pub reason: String,
    /// A note for the parties.
    #[serde(default)]
    pub note: Option<String>,
}

/// What could not be restored at start: the response to `GET /out-of-service`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutOfService {
    /// Versions.
    pub out_of_service: Vec<BrokenVersion>,
    /// Records that could not be read.
    #[serde(default)]
    pub records: Vec<RecordAside>,
}

/// A published version that could not be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BrokenVersion {
    /// Its publisher.
    #[schemars(with = "text::AccountName")]
    pub publisher: AccountName,
    /// The model.
    #[schemars(with = "text::ModelName")]
    pub model: ModelName,
    /// The version.
    pub version: String,
    /// SHA-256 of the bundle.
    #[schemars(with = "Option<text::Digest>")]
    pub digest: Option<Digest>,
    /// The reason.
    pub reason: String,
}

/// An unreadable record, which is never overwritten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordAside {
    /// Its kind.
    pub kind: String,
    /// Its key.
    pub key: String,
    /// The reason.
    pub reason: String,
}

/// A version: the request of `POST /out-of-service/retry` and `POST /out-of-service/withdraw`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichVersion {
    /// The model.
    #[schemars(with = "text::ModelName")]
    pub model: ModelName,
    /// The version.
    pub version: String,
}

/// A version is in service again: the response to `POST /out-of-service/retry`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Retried {
    /// The model.
    #[schemars(with = "text::ModelName")]
    pub model: ModelName,
    /// The version.
    pub version: String,
    /// Always true.
    pub live: bool,
}

/// A version is withdrawn: the response to `POST /out-of-service/withdraw`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TakenAway {
    /// The model.
    #[schemars(with = "text::ModelName")]
    pub model: ModelName,
    /// The version.
    pub version: String,
    /// Always true.
    pub withdrawn: bool,
}

/// An unreadable record: the request of `POST /out-of-service/remove`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveRecord {
    /// Its kind.
    pub kind: String,
    /// Its key.
    pub key: String,
    /// SHA-256 of its bytes, so that only what the operator has seen is removed.
    #[schemars(with = "text::Digest")]
    pub digest: Digest,
    /// The reason, for the log.
    #[serde(default)]
    pub reason: String,
}

/// The record is removed: the response to `POST /out-of-service/remove`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemovedRecord {
    /// Its kind.
    pub kind: String,
    /// Its key.
    pub key: String,
    /// SHA-256 of its bytes.
    #[schemars(with = "text::Digest")]
    pub digest: Digest,
    /// Always true.
    pub removed: bool,
    /// The agreement that is frozen now, because the record was of it.
    #[serde(default)]
    #[schemars(with = "Option<text::Digest>")]
    pub frozen: Option<Digest>,
}

/// The request of `POST /lost`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shown {
    /// The host's own receipts with their proofs, and checkpoints.
    pub shown: Vec<String>,
}

/// What the host's log has lost: the response to `POST /lost`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lost {
    /// Whether anything is lost.
    pub lost: bool,
    /// The first lost leaf, if the log records a restore.
    #[serde(default)]
    pub lost_from: Option<u64>,
    /// The size of the lost log, according to the evidence.
    #[serde(default)]
    pub lost_up_to: Option<u64>,
    /// Agreements now frozen: lost calls may have used them.
    #[serde(default)]
    #[schemars(with = "Vec<text::Digest>")]
    pub frozen: Vec<Digest>,
    /// Whether all agreements with limits made before are frozen.
    #[serde(default)]
    pub all: bool,
    /// Lost actions of the operator.
    #[serde(default)]
    pub undone: Vec<Undone>,
}

/// A lost action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Undone {
    /// The action.
    pub action: String,
    /// Its target.
    pub target: String,
}
