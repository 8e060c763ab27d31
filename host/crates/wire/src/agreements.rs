//! Agreements: what is used of them, what happened to them, and whether a call would be allowed.

use hospes_core::id::{Digest, FunctionName, ModelName, Party};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::envelope::Envelope;
use super::text;
use super::word::words;

/// An agreement was handed in: the answer to `POST /api/agreements`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SubmittedAgreement")]
pub struct Submitted {
    /// The agreement's number: SHA-256 of what is signed.
    #[schemars(with = "text::Digest")]
    pub id: Digest,
    /// Where it stands.
    pub state: State,
    /// Who has yet to sign.
    pub missing: Vec<Role>,
}

words! {
    /// Where an agreement stands.
    State {
        /// Somebody has yet to sign.
        Proposed = "proposed",
        /// Calls may use it.
        Active = "active",
        /// Something above it stops it: another agreement, or the model.
        Stopped = "stopped",
        /// A party, or the operator, has suspended it.
        Suspended = "suspended",
        /// The operator has frozen it.
        Frozen = "frozen",
        /// Its time is over.
        Ended = "ended",
        /// What was agreed on has been done.
        Completed = "completed",
        /// It was ended before its time.
        Terminated = "terminated",
    }
}

words! {
    /// A side of an agreement.
    Role {
        /// Grants the use of its model.
        Publisher = "publisher",
        /// May use it.
        Consumer = "consumer",
    }
}

/// A page of the caller's agreements: the answer to `GET /api/agreements`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Agreements")]
pub struct Page {
    /// The agreements, in the order of their numbers.
    pub agreements: Vec<Entry>,
    /// What the next page begins after, while there is more.
    #[serde(default)]
    #[schemars(with = "Option<text::Digest>")]
    pub next: Option<Digest>,
}

/// An agreement, and what is used of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Agreement")]
pub struct Entry {
    /// The agreement's number.
    #[schemars(with = "text::Digest")]
    pub id: Digest,
    /// The model.
    #[schemars(with = "text::ModelName")]
    pub model: ModelName,
    /// Who grants the use of it.
    #[schemars(with = "text::Party")]
    pub publisher: Party,
    /// Who may use it.
    #[schemars(with = "text::Party")]
    pub consumer: Party,
    /// Where it stands.
    pub state: State,
    /// Who has yet to sign.
    pub missing: Vec<Role>,
    /// What above it stops it, if anything does.
    #[serde(default)]
    pub held: Option<String>,
    /// Versions that it is for and that are out of service, and why, for people.
    #[serde(default)]
    pub withdrawn: Vec<String>,
    /// What is used of each rule.
    pub rules: Vec<RuleUse>,
}

/// What is used of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleUse {
    /// Which of the agreement's permissions, from 0.
    pub rule: u16,
    /// The function that may be called.
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
    /// Calls that run now.
    #[serde(default)]
    pub running: u64,
    /// What was charged so far, in millionths of the currency; none without a price.
    pub price_micros: Option<u64>,
    /// Most calls, if they are limited.
    pub max: Option<u64>,
    /// Calls that are left, if they are limited.
    pub remaining: Option<u64>,
    /// When the rule ends, if it does.
    #[schemars(with = "Option<text::Time>")]
    pub ends: Option<String>,
    /// Every limit that calls use up. Older hosts have none of it.
    #[serde(default)]
    pub limits: Vec<LimitUse>,
}

/// What is used of a limit over all calls of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LimitUse {
    /// What is counted: `calls`, `rows`, `bytes` or `tokens`; `callsInPeriod`; `timeMicros`; `priceMicros`.
    pub limit: String,
    /// So far.
    pub used: u64,
    /// At most.
    pub max: u64,
    /// What is left.
    pub left: u64,
}

/// What happened to an agreement: the answer to `GET` and `POST /api/agreements/{id}/events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AgreementHistory")]
pub struct History {
    /// The agreement's number.
    #[schemars(with = "text::Digest")]
    pub id: Digest,
    /// Where it stands now.
    pub state: State,
    /// What the next event has to say; none before both sides have signed the agreement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<NextEvent>,
    /// What happened, the first event first.
    pub events: Vec<Event>,
    /// Events that were announced and are not in force yet; none before both sides have signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Vec<Event>>,
    /// Whether the event that was sent is new: in the answer to `POST`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,
}

words! {
    /// Whether an event is new.
    Applied {
        /// It is.
        Now = "now",
        /// It was known already.
        Known = "known",
    }
}

/// What the next event of an agreement has to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NextEvent {
    /// Its number.
    pub sequence: u32,
    /// The event before it; for the first, the agreement.
    #[schemars(with = "text::Digest")]
    pub previous: Digest,
}

/// An event of an agreement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AgreementEvent")]
pub struct Event {
    /// SHA-256 of what is signed.
    #[schemars(with = "text::Digest")]
    pub id: Digest,
    /// What is signed.
    #[schemars(with = "text::Object")]
    pub event: Value,
    /// The same with its signature.
    #[schemars(with = "Envelope")]
    pub envelope: Value,
}

/// A call that is not made: what `POST /api/agreements/{id}/simulate` and `POST /api/offers/{id}/simulate` take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SimulatedCall {
    /// The function.
    #[schemars(with = "text::FunctionName")]
    pub function: FunctionName,
    /// Bytes of its input.
    #[serde(default)]
    pub input_bytes: u64,
    /// Rows of its input.
    #[serde(default = "one")]
    pub rows: u64,
    /// What the call is for, as an IRI.
    #[serde(default)]
    pub purpose: Option<String>,
    /// When it would begin; now, without it.
    #[serde(default)]
    #[schemars(with = "Option<text::Time>")]
    pub at: Option<String>,
}

const fn one() -> u64 {
    1
}

/// Whether a call would be allowed, and why: the answer about a simulated call, and a member of a refused call's problem. The names are
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
    /// Whether it would be.
    pub decision: Decision,
    /// What stands in the way outside of the rules: the state of the agreement, or the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<String>,
    /// What each rule says.
    #[serde(rename = "ruleReport")]
    pub rules: Vec<RuleReport>,
}

words! {
    /// The end of an evaluation.
    Decision {
        /// The call would be allowed.
        Permitted = "permitted",
        /// It would not.
        Denied = "denied",
    }
}

/// What one rule says of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RuleReport {
    /// `report:PermissionReport` or `report:ProhibitionReport`.
    #[serde(rename = "@type", default)]
    pub kind: String,
    /// Where the rule stands in the document, as a JSON pointer.
    pub rule: String,
    /// `Active` if the rule is about this call and all its constraints are satisfied, else `Inactive`.
    #[serde(rename = "activationState")]
    pub activation: String,
    /// What each constraint says.
    #[serde(rename = "premiseReport")]
    pub constraints: Vec<ConstraintReport>,
    /// Whether the price is covered by credit paid in advance, or will be owed; absent without a price.
    #[serde(rename = "deonticState", default, skip_serializing_if = "Option::is_none")]
    pub duty: Option<String>,
}

/// What one constraint says of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConstraintReport {
    /// Where it stands in the document, as a JSON pointer.
    pub clause: String,
    /// What it is about.
    #[serde(rename = "leftOperand")]
    pub operand: String,
    /// `Satisfied` or `Unsatisfied`.
    #[serde(rename = "satisfactionState")]
    pub satisfaction: String,
    /// What the host does about it.
    pub enforcement: Class,
    /// What the call has.
    pub seen: String,
    /// What satisfies it.
    pub wanted: String,
}

words! {
    /// What a host does about a clause.
    Class {
        /// It cannot happen.
        Prevent = "prevent",
        /// It rests on what somebody states; a mismatch is refused, or shows afterwards.
        Detect = "detect",
        /// It is a promise, written down.
        Record = "record",
    }
}
