//! Signed, numbered events that suspend, resume and end an agreement.
//!
//! States follow the Dataspace Protocol: STARTED, SUSPENDED, COMPLETED, TERMINATED. Each event names its predecessor, so none can be
//! dropped or replayed, and must be the next in order: the host collects events from all parties and tells the next number. The state is a
//! function of events and time, so announced events take effect by themselves.

mod lifecycle;
#[cfg(test)]
mod tests;

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::statement::{Signed, Statement, StatementError};
use crate::Role;
use hospes_core::id::{Digest, Party};

pub use lifecycle::{AgreementState, Applied, Happened, Lifecycle};

/// Maximum length of an event's note, in characters.
pub const NOTE_CHARS_MAX: usize = 500;

/// Maximum clock difference between a party and the host, in seconds: an event is accepted at most this long after it was issued.
pub const EVENT_SKEW_SECONDS: i64 = 300;

/// Maximum announcement period, in days.
pub const AHEAD_DAYS_MAX: i64 = 366;

/// Maximum suspension by an operator, in days. Then it lapses.
pub const OPERATOR_SUSPENSION_DAYS: i64 = 30;

/// Maximum events of one role per agreement.
pub const EVENTS_PER_ROLE_MAX: usize = 250;

/// Extra announcements of the end per role, beyond [`EVENTS_PER_ROLE_MAX`]. Ending at once is always possible.
pub const ENDINGS_PER_ROLE_MAX: usize = 16;

/// An event's effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    Suspend,
    Resume,
    /// Ends the agreement early.
    Terminate,
    /// Ends the agreement as fulfilled.
    Complete,
}

/// An event's author.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Actor {
    Publisher,
    Consumer,
    /// The host.
    Operator,
}

/// The reason, from a closed list: some reasons need no notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    Routine,
    Maintenance,
    Withdrawn,
    Expired,
    Exhausted,
    Superseded,
    Abuse,
    NonPayment,
    LegalOrder,
    Security,
    KeyCompromise,
}

impl Reason {
    pub const ALL: [Reason; 11] = [
        Reason::Routine,
        Reason::Maintenance,
        Reason::Withdrawn,
        Reason::Expired,
        Reason::Exhausted,
        Reason::Superseded,
        Reason::Abuse,
        Reason::NonPayment,
        Reason::LegalOrder,
        Reason::Security,
        Reason::KeyCompromise,
    ];

    /// The name in events.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Routine => "routine",
            Reason::Maintenance => "maintenance",
            Reason::Withdrawn => "withdrawn",
            Reason::Expired => "expired",
            Reason::Exhausted => "exhausted",
            Reason::Superseded => "superseded",
            Reason::Abuse => "abuse",
            Reason::NonPayment => "non-payment",
            Reason::LegalOrder => "legal-order",
            Reason::Security => "security",
            Reason::KeyCompromise => "key-compromise",
        }
    }

    /// The reason of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// Whether a publisher may act on it at once, despite the notice period.
    pub const fn is_urgent(self) -> bool {
        matches!(
            self,
            Reason::Abuse
                | Reason::NonPayment
                | Reason::LegalOrder
                | Reason::Security
                | Reason::KeyCompromise
        )
    }
}

impl From<Role> for Actor {
    fn from(role: Role) -> Self {
        match role {
            Role::Publisher => Actor::Publisher,
            Role::Consumer => Actor::Consumer,
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Actor::Publisher => "publisher",
            Actor::Consumer => "consumer",
            Actor::Operator => "operator",
        })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Change::Suspend => "suspend",
            Change::Resume => "resume",
            Change::Terminate => "terminate",
            Change::Complete => "complete",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One event, as signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    pub agreement: Digest,
    /// From 1.
    pub sequence: u32,
    /// The previous event's digest; for the first, the agreement's.
    pub previous: Digest,
    pub change: Change,
    pub role: Actor,
    /// The signer.
    pub by: Party,
    pub reason: Reason,
    /// When it takes effect.
    pub effective: Timestamp,
    /// When it was made, by its author's clock.
    pub issued: Timestamp,
    /// What caused it: the agreement that supersedes this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<Box<str>>,
}

/// An event, signed by the party that it names.
pub type SignedEvent = Signed<Event>;

impl Statement for Event {
    const TYPE: &'static str = "application/vnd.hospes.event.v1+json";
    const BYTES_MAX: usize = 4096;

    fn signers(&self) -> Vec<Party> {
        vec![self.by]
    }

    fn check(&self) -> Result<(), String> {
        check_note(self.note.as_deref())
    }
}

fn check_note(note: Option<&str>) -> Result<(), String> {
    let wrong =
        |note: &str| note.chars().count() > NOTE_CHARS_MAX || note.contains(char::is_control);
    if note.is_some_and(wrong) {
        return Err(format!(
            "the note is longer than {NOTE_CHARS_MAX} characters, or has control characters"
        ));
    }
    Ok(())
}

/// Why an event was rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    #[error(transparent)]
    Statement(#[from] StatementError),
    #[error("the event is about agreement `{seen}`")]
    OtherAgreement { seen: Digest },
    #[error("`{party}` is not the {role} of this agreement")]
    NotThatRole { party: Party, role: Actor },
    #[error("a different event {sequence} already exists: the history would fork")]
    Fork { sequence: u32 },
    #[error("event {sequence} does not follow the last event")]
    Unlinked { sequence: u32 },
    #[error(
        "event {sequence} is out of turn: the next is event {next}, which follows `{previous}`; sign it again"
    )]
    OutOfOrder { sequence: u32, next: u32, previous: Digest },
    #[error("the agreement is {state} for good")]
    Over { state: AgreementState },
    #[error("the {role} may not {change} an agreement for reason `{reason}`")]
    NotAllowed { role: Actor, change: Change, reason: Reason },
    #[error("the {role} has not suspended the agreement, so it cannot resume it")]
    NotSuspended { role: Actor },
    #[error(
        "the agreement is not over: its dates have not passed, and not every rule is used up; end it with `terminate`, which keeps the notice period"
    )]
    NotOver,
    #[error("the agreement has a notice period: it can take effect at {earliest} at the earliest")]
    Notice { earliest: Timestamp },
    #[error(
        "it was issued at {issued}, and the host's clock says {now}: more than {EVENT_SKEW_SECONDS} s apart"
    )]
    Clock { issued: Timestamp, now: Timestamp },
    #[error(
        "it would take effect at {effective}: that is before it was issued, or more than {AHEAD_DAYS_MAX} days ahead"
    )]
    Effective { effective: Timestamp },
    #[error(
        "the {role} has made {max} events, the most allowed; it may still end the agreement at once"
    )]
    TooMany { role: Actor, max: usize },
}
