//! What the operator does, on a listener of their own: accounts, actions, versions out of service, what a restore has lost.

use hospes_core::id::{AccountName, Digest, ModelName, Party};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::account::{Account, Cause};
use super::text;

/// What `POST /accounts` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenAccount {
    /// The account's name. Of one that is open already, another API key is made.
    #[schemars(with = "text::AccountName")]
    pub name: AccountName,
    /// The key that signs for it.
    #[schemars(with = "text::Party")]
    pub party: Party,
    /// What the API key is to be called.
    #[serde(default)]
    pub key_name: Option<String>,
}

/// An account has a new API key: the answer to `POST /accounts`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OpenedAccount {
    /// The account's name.
    #[schemars(with = "text::AccountName")]
    pub name: AccountName,
    /// The key that signs for it.
    #[schemars(with = "text::Party")]
    pub party: Party,
    /// The API key. It is here and nowhere else.
    pub key: String,
}

/// Every account: the answer to `GET /accounts`.
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
    /// How many API keys it has.
    #[serde(default)]
    pub keys: usize,
}

/// What `POST /actions` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// What to do, such as `suspend-account`.
    pub action: String,
    /// To what, as the action takes it: an account, a key, a version, a model, a digest, an offer or an agreement.
    pub target: String,
    /// Why, for the log.
    #[serde(default)]
    pub reason: String,
}

/// An action is in force: the answer to `POST /actions`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Acted {
    /// What was done.
    pub action: String,
    /// To what.
    pub target: String,
    /// What does not come back though it is withdrawn no more; only of what gives versions back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Vec<NotBack>>,
    /// The operator's new token; only of what makes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// A version that is withdrawn no more and does not come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotBack {
    /// The model.
    #[schemars(with = "text::ModelName")]
    pub model: ModelName,
    /// Which version of it.
    pub version: String,
    /// Why not.
    pub why: String,
}

/// Actions in the order of their numbers: the answer to `GET /actions`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ActionLog {
    /// The host, which signs the log.
    #[schemars(with = "text::Party")]
    pub party: Party,
    /// How many actions there are in all.
    pub total: u64,
    /// Those from the number asked for, as many as one answer has.
    pub actions: Vec<LoggedAction>,
}

/// Something that was done to an account, or to something of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Action {
    /// Its number among the actions.
    pub sequence: u64,
    /// Its UUID.
    #[schemars(with = "text::CallId")]
    pub id: String,
    /// When it was done.
    #[schemars(with = "text::Time")]
    pub at: String,
    /// By whom: `operator`, or `account:NAME`.
    pub by: String,
    /// What was done.
    pub action: String,
    /// To what.
    pub target: String,
    /// Why.
    pub reason: String,
}

/// An action, and that it is in the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoggedAction {
    /// The action.
    #[serde(flatten)]
    pub action: Action,
    /// The proof that it is in the log.
    #[schemars(with = "text::Object")]
    pub proof: Value,
}

/// What is withdrawn or frozen now: the answer to `GET /withdrawals`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Withdrawals {
    /// Versions, models and digests.
    pub models: Vec<Withdrawal>,
    /// Offers.
    pub offers: Vec<Withdrawal>,
    /// Agreements; `all` for all that have limits and were made before.
    #[serde(default)]
    pub frozen: Vec<Withdrawal>,
}

/// Something that is withdrawn or frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Withdrawal {
    /// What.
    pub what: String,
    /// Since when and why.
    #[serde(flatten)]
    pub cause: Cause,
}

/// What the operator's `POST /agreements/{id}/events` takes; the host signs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Operate {
    /// `suspend` or `resume`.
    pub change: String,
    /// Why, of the reasons that events know.
    pub reason: String,
    /// A sentence for the parties.
    #[serde(default)]
    pub note: Option<String>,
}

/// What could not be brought back when the host started: the answer to `GET /out-of-service`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutOfService {
    /// Versions.
    pub out_of_service: Vec<BrokenVersion>,
    /// Records that could not be read.
    #[serde(default)]
    pub records: Vec<RecordAside>,
}

/// A version that was published and could not be brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BrokenVersion {
    /// Its publisher.
    #[schemars(with = "text::AccountName")]
    pub publisher: AccountName,
    /// The model.
    #[schemars(with = "text::ModelName")]
    pub model: ModelName,
    /// Which version of it.
    pub version: String,
    /// SHA-256 of the bundle.
    #[schemars(with = "Option<text::Digest>")]
    pub digest: Option<Digest>,
    /// Why.
    pub reason: String,
}

/// A record that could not be read, and is not written over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordAside {
    /// What it is a record of.
    pub kind: String,
    /// The name that it is kept under.
    pub key: String,
    /// Why it cannot be read.
    pub reason: String,
}

/// A version: what `POST /out-of-service/retry` and `POST /out-of-service/withdraw` take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichVersion {
    /// The model.
    #[schemars(with = "text::ModelName")]
    pub model: ModelName,
    /// Which version of it.
    pub version: String,
}

/// A version is in service again: the answer to `POST /out-of-service/retry`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Retried {
    /// The model.
    #[schemars(with = "text::ModelName")]
    pub model: ModelName,
    /// Which version of it.
    pub version: String,
    /// That it is.
    pub live: bool,
}

/// A version is taken away: the answer to `POST /out-of-service/withdraw`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TakenAway {
    /// The model.
    #[schemars(with = "text::ModelName")]
    pub model: ModelName,
    /// Which version of it.
    pub version: String,
    /// That it is.
    pub withdrawn: bool,
}

/// What `POST /lost` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shown {
    /// Files of the host's own: receipts with their proofs, and checkpoints.
    pub shown: Vec<String>,
}

/// What of it the host's log lacks: the answer to `POST /lost`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lost {
    /// Whether it lacks anything.
    pub lost: bool,
    /// From which leaf of the log on, if the log itself says that it was restored.
    #[serde(default)]
    pub lost_from: Option<u64>,
    /// How far the log had come, by what it lacks.
    #[serde(default)]
    pub lost_up_to: Option<u64>,
    /// Agreements that are frozen now: what is lost may have used them.
    #[serde(default)]
    #[schemars(with = "Vec<text::Digest>")]
    pub frozen: Vec<Digest>,
    /// Whether all are that have limits and were made before.
    #[serde(default)]
    pub all: bool,
    /// What the operator had done and the log lacks.
    #[serde(default)]
    pub undone: Vec<Undone>,
}

/// An action that the log lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Undone {
    /// What was done.
    pub action: String,
    /// To what.
    pub target: String,
}
