//! Agreements: their usage and events, and whether a call would be permitted.

use hospes_core::id::{Digest, FunctionName, ModelName, Party};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::envelope::Envelope;
use super::text;
use super::word::words;

/// An agreement was submitted: the response to `POST /api/agreements`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SubmittedAgreement")]
pub struct Submitted {
    /// The agreement's identifier: SHA-256 of the payload.
    #[schemars(with = "text::Digest")]
    pub id: Digest,
    /// Its state.
    pub state: State,
    /// Who has not signed yet.
    pub missing: Vec<Role>,
    /// Why the host has not signed for the publisher, if the publisher has given it a mandate for the offer. Older hosts omit it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

words! {
    /// An agreement's state.
    State {
        /// A signature is missing.
        Proposed = "proposed",
        /// Calls may use it.
        Active = "active",
        /// Blocked by its parent agreement or by the model.
        Stopped = "stopped",
        /// A party, or the operator, has suspended it.
        Suspended = "suspended",
        /// The operator has frozen it.
        Frozen = "frozen",
        /// It has expired.
        Ended = "ended",
        /// It was fulfilled.
        Completed = "completed",
        /// It was terminated early.
        Terminated = "terminated",
    }
}

words! {
    /// A side of an agreement.
    Role {
        /// Permits the use of its model.
        Publisher = "publisher",
        /// May use it.
        Consumer = "consumer",
    }
}

/// A page of the caller's agreements: the response to `GET /api/agreements`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Agreements")]
pub struct Page {
    /// The agreements, ordered by identifier.
    pub agreements: Vec<Entry>,
    /// Where the next page begins, if there is one.
    #[serde(default)]
    #[schemars(with = "Option<text::Digest>")]
    pub next: Option<Digest>,
}

/// An agreement with its usage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Agreement")]
pub struct Entry {
    /// The agreement's identifier.
    #[schemars(with = "text::Digest")]
    pub id: Digest,
    /// The model.
    #[schemars(with = "text::ModelName")]
    pub model: ModelName,
    /// The publisher.
    #[schemars(with = "text::Party")]
    pub publisher: Party,
    /// The consumer.
    #[schemars(with = "text::Party")]
    pub consumer: Party,
    /// Its state.
    pub state: State,
    /// Who has not signed yet.
    pub missing: Vec<Role>,
    /// What blocks it, if anything.
    #[serde(default)]
    pub held: Option<String>,
    /// Its versions that are out of service, with the reason as text.
    #[serde(default)]
    pub withdrawn: Vec<String>,
    /// Usage of each rule.
    pub rules: Vec<RuleUse>,
}

/// Usage of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleUse {
    /// The number of the agreement's permission, from 0.
    pub rule: u16,
    /// The permitted function.
    #[schemars(with = "text::FunctionName")]
    pub function: FunctionName,
    /// Calls so far.
    pub used: u64,
    /// Rows of all calls so far.
    #[serde(default)]
    pub rows: u64,
    /// Bytes of all inputs so far.
    #[serde(default)]
    pub bytes: u64,
    /// Tokens of all calls so far.
    #[serde(default)]
    pub tokens: u64,
    /// Time of all calls so far, in microseconds.
    #[serde(default)]
    pub time_micros: u64,
    /// Running calls.
    #[serde(default)]
    pub running: u64,
    /// Amount charged so far, in millionths of the currency; none without a price.
    pub price_micros: Option<u64>,
    /// Maximum calls, if limited.
    pub max: Option<u64>,
    /// Remaining calls, if limited.
    pub remaining: Option<u64>,
    /// When the rule expires, if it does.
    #[schemars(with = "Option<text::Time>")]
    pub ends: Option<String>,
    /// Every limit that calls use up. Older hosts omit it.
    #[serde(default)]
    pub limits: Vec<LimitUse>,
}

/// Usage of a limit over all calls of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LimitUse {
    /// The unit: `calls`, `rows`, `bytes` or `tokens`; `callsInPeriod`; `timeMicros`; `priceMicros`.
    pub limit: String,
    /// Used so far.
    pub used: u64,
    /// The maximum.
    pub max: u64,
    /// The remainder.
    pub left: u64,
}

/// An agreement's events: the response to `GET` and `POST /api/agreements/{id}/events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AgreementHistory")]
pub struct History {
    /// The agreement's identifier.
    #[schemars(with = "text::Digest")]
    pub id: Digest,
    /// Its present state.
    pub state: State,
    /// The required position of the next event; none before both sides have signed the agreement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<NextEvent>,
    /// The events, oldest first.
    pub events: Vec<Event>,
    /// Announced events that have not taken effect yet; none before both sides have signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Vec<Event>>,
    /// Whether the submitted event is new, in the response to `POST`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,
}

words! {
    /// Whether an event is new.
    Applied {
        /// The event is new.
        Now = "now",
        /// The event was known already.
        Known = "known",
    }
}

/// The required position of an agreement's next event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NextEvent {
    /// Its sequence number.
    pub sequence: u32,
    /// The previous event; for the first, the agreement.
    #[schemars(with = "text::Digest")]
    pub previous: Digest,
}

/// An event of an agreement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AgreementEvent")]
pub struct Event {
    /// SHA-256 of the payload.
    #[schemars(with = "text::Digest")]
    pub id: Digest,
    /// The payload.
    #[schemars(with = "text::Object")]
    pub event: Value,
    /// The payload with its signature.
    #[schemars(with = "Envelope")]
    pub envelope: Value,
}

/// A simulated call: the request of `POST /api/agreements/{id}/simulate` and `POST /api/offers/{id}/simulate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SimulatedCall {
    /// The function.
    #[schemars(with = "text::FunctionName")]
    pub function: FunctionName,
    /// Size of its input in bytes.
    #[serde(default)]
    pub input_bytes: u64,
    /// Rows of its input.
    #[serde(default = "one")]
    pub rows: u64,
    /// Its purpose, as an IRI.
    #[serde(default)]
    pub purpose: Option<String>,
    /// When it would begin; now by default.
    #[serde(default)]
    #[schemars(with = "Option<text::Time>")]
    pub at: Option<String>,
}

const fn one() -> u64 {
    1
}

/// Whether a call would be permitted, and why: the response for a simulated call, and a member of a refused call's problem. The names are
/// those of the Compliance Report Model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Report")]
pub struct Report {
    /// `report:PolicyReport`.
    #[serde(rename = "@type", default)]
    pub kind: String,
    /// The agreement, or the offer.
    #[schemars(with = "text::Digest")]
    pub agreement: Digest,
    /// Whether the call would be permitted.
    pub decision: Decision,
    /// Obstacles outside the rules: the agreement's state, or the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<String>,
    /// The result of each rule.
    #[serde(rename = "ruleReport")]
    pub rules: Vec<RuleReport>,
}

words! {
    /// The result of an evaluation.
    Decision {
        /// The call would be permitted.
        Permitted = "permitted",
        /// The call would be refused.
        Denied = "denied",
    }
}

/// The result of one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RuleReport {
    /// `report:PermissionReport` or `report:ProhibitionReport`.
    #[serde(rename = "@type", default)]
    pub kind: String,
    /// The rule's JSON pointer.
    pub rule: String,
    /// `Active` if the rule applies to this call and all its constraints are satisfied, otherwise `Inactive`.
    #[serde(rename = "activationState")]
    pub activation: String,
    /// The result of each constraint.
    #[serde(rename = "premiseReport")]
    pub constraints: Vec<ConstraintReport>,
    /// Whether prepaid credit covers the price or it will be owed; absent without a price.
    #[serde(rename = "deonticState", default, skip_serializing_if = "Option::is_none")]
    pub duty: Option<String>,
}

/// The result of one constraint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConstraintReport {
    /// Its JSON pointer.
    pub clause: String,
    /// Its subject.
    #[serde(rename = "leftOperand")]
    pub operand: String,
    /// `Satisfied` or `Unsatisfied`.
    #[serde(rename = "satisfactionState")]
    pub satisfaction: String,
    /// What the host does about it.
    pub enforcement: Class,
    /// The call's value.
    pub seen: String,
    /// What would satisfy it.
    pub wanted: String,
}

words! {
    /// What a host does about a clause.
    Class {
        /// It prevents violations.
        Prevent = "prevent",
        /// It relies on somebody's statement; a mismatch is refused or becomes visible later.
        Detect = "detect",
        /// It records a promise.
        Record = "record",
    }
}
