//! Life after signing: signed, numbered events that suspend, resume and end an agreement.
//!
//! Use-phase states by the names of the Dataspace Protocol: STARTED, SUSPENDED, COMPLETED, TERMINATED. An event names the one
//! before it, so that none can be dropped or replayed, and is taken in its turn only: the host is where they come together, and
//! says which number is next. The state is a function of the events and the time: what has been announced takes effect by itself.

mod lifecycle;
#[cfg(test)]
mod tests;

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::statement::{Signed, Statement, StatementError};
use crate::Role;
use hospes_core::id::{Digest, Party};

pub use lifecycle::{Applied, Happened, Lifecycle, State};

/// Longest note in an event, in characters.
pub const NOTE_CHARS_MAX: usize = 500;

/// How far the clocks of a party and the host may be apart, in seconds: an event is taken this long after it was issued at most.
pub const EVENT_SKEW_SECONDS: i64 = 300;

/// How far ahead an event may take effect, in days.
pub const AHEAD_DAYS_MAX: i64 = 366;

/// How long an operator may suspend an agreement, in days. Then the suspension lapses.
pub const OPERATOR_SUSPENSION_DAYS: i64 = 30;

/// Events of one role in one agreement.
pub const EVENTS_PER_ROLE_MAX: usize = 250;

/// Announcements of its end that a role may make beyond [`EVENTS_PER_ROLE_MAX`]. What ends the agreement at once always may.
pub const ENDINGS_PER_ROLE_MAX: usize = 16;

/// What an event does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    Suspend,
    Resume,
    /// Ends it before its time.
    Terminate,
    /// Ends it as agreed: what was agreed on has been done.
    Complete,
}

/// Who makes an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Actor {
    Publisher,
    Consumer,
    /// The host.
    Operator,
}

/// Why: a closed list, for some reasons need no notice.
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

    /// Whether a publisher may act for it at once, whatever the notice period.
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

/// One event, as it is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    pub agreement: Digest,
    /// From 1.
    pub sequence: u32,
    /// The event before it; for the first, the agreement.
    pub previous: Digest,
    pub change: Change,
    pub role: Actor,
    /// Who signs.
    pub by: Party,
    pub reason: Reason,
    /// When it takes effect.
    pub effective: Timestamp,
    /// When it was made, by the clock of who made it.
    pub issued: Timestamp,
    /// What made it: the agreement that supersedes this one.
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

/// Why an event was refused.
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
    Over { state: State },
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
