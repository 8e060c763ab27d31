//! Actions: what the operator did to accounts, models and agreements. They are leaves of the receipt log.
//!
//! Actions have a chain of their own, but share the Merkle tree with receipts. So a checkpoint that a party holds covers them too, and none
//! can be omitted, reordered or backdated later. At start, the host derives from these leaves alone what is stopped or withdrawn. For all
//! other actions, the state is in the store, and the leaves are only notes.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use minicbor::decode::Decoder;
use minicbor::encode::Encoder;

use super::encode::FormError;
use super::{RECEIPT_BYTES_MAX, Receipt};
use hospes_core::id::{AccountName, CallId, Digest};

/// The first byte of every action: an array. A receipt is a map, so the first byte distinguishes them.
const FORM: &str = "hospes-action-1";

/// The number of members of an action, including its format.
const MEMBERS: u64 = 9;

/// Maximum length of a target, in bytes. A model's name and version fit.
pub const TARGET_BYTES_MAX: usize = 512;

/// Maximum length of a reason, in bytes.
pub const REASON_BYTES_MAX: usize = 1024;

/// A written action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    pub id: CallId,
    /// To the microsecond.
    pub at: Timestamp,
    pub by: Actor,
    pub deed: Deed,
    /// The target. Its form depends on the action.
    pub target: Box<str>,
    pub reason: Box<str>,
    /// The action's index among the actions, from 0.
    pub sequence: u64,
    /// The leaf hash of the previous action; 32 zero bytes for the first.
    pub previous: Digest,
}

/// An action that is not in the log yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAction {
    pub id: CallId,
    pub at: Timestamp,
    pub by: Actor,
    pub deed: Deed,
    pub target: Box<str>,
    pub reason: Box<str>,
}

/// The actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// The holder of the operator's token.
    Operator,
    /// An account, acting on its own models.
    Account(AccountName),
}

/// The action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Deed {
    SuspendAccount,
    ResumeAccount,
    CloseAccount,
    RevokeKey,
    WithdrawVersion,
    ReinstateVersion,
    WithdrawModel,
    ReinstateModel,
    WithdrawDigest,
    ReinstateDigest,
    WithdrawOffer,
    ReinstateOffer,
    StopAgreement,
    /// Freezes an agreement whose use may be higher than the host knows, because receipts were lost.
    FreezeAgreement,
    ReleaseAgreement,
    /// Freezes all agreements with limits on all calls that were made before.
    FreezeAgreements,
    ReleaseAgreements,
    RotateToken,
    /// Opens an account. The party and the key are in the reason.
    OpenAccount,
    /// Makes an API key for an existing account.
    MakeKey,
    /// Loads an out-of-service version again.
    RetryVersion,
    /// Withdraws an out-of-service version. Its publisher may load it again.
    TakeOutVersion,
    /// A record that was set aside is removed. Its digest is in the reason.
    RemoveRecord,
    /// A publisher takes its own model out of service.
    UnloadModel,
    /// A publisher puts its own model back into service.
    LoadModel,
    /// Restores the data directory from a backup. Entries after this place are lost.
    Restore,
}

impl Deed {
    /// Every action.
    pub const ALL: [Deed; 26] = [
        Deed::SuspendAccount,
        Deed::ResumeAccount,
        Deed::CloseAccount,
        Deed::RevokeKey,
        Deed::WithdrawVersion,
        Deed::ReinstateVersion,
        Deed::WithdrawModel,
        Deed::ReinstateModel,
        Deed::WithdrawDigest,
        Deed::ReinstateDigest,
        Deed::WithdrawOffer,
        Deed::ReinstateOffer,
        Deed::StopAgreement,
        Deed::FreezeAgreement,
        Deed::ReleaseAgreement,
        Deed::FreezeAgreements,
        Deed::ReleaseAgreements,
        Deed::RotateToken,
        Deed::OpenAccount,
        Deed::MakeKey,
        Deed::RetryVersion,
        Deed::TakeOutVersion,
        Deed::RemoveRecord,
        Deed::UnloadModel,
        Deed::LoadModel,
        Deed::Restore,
    ];

    /// The action's name.
    pub const fn name(self) -> &'static str {
        match self {
            Deed::SuspendAccount => "suspend-account",
            Deed::ResumeAccount => "resume-account",
            Deed::CloseAccount => "close-account",
            Deed::RevokeKey => "revoke-key",
            Deed::WithdrawVersion => "withdraw-version",
            Deed::ReinstateVersion => "reinstate-version",
            Deed::WithdrawModel => "withdraw-model",
            Deed::ReinstateModel => "reinstate-model",
            Deed::WithdrawDigest => "withdraw-digest",
            Deed::ReinstateDigest => "reinstate-digest",
            Deed::WithdrawOffer => "withdraw-offer",
            Deed::ReinstateOffer => "reinstate-offer",
            Deed::StopAgreement => "stop-agreement",
            Deed::FreezeAgreement => "freeze-agreement",
            Deed::ReleaseAgreement => "release-agreement",
            Deed::FreezeAgreements => "freeze-agreements",
            Deed::ReleaseAgreements => "release-agreements",
            Deed::RotateToken => "rotate-token",
            Deed::OpenAccount => "open-account",
            Deed::MakeKey => "make-key",
            Deed::RetryVersion => "retry-version",
            Deed::TakeOutVersion => "take-out-version",
            Deed::RemoveRecord => "remove-record",
            Deed::UnloadModel => "unload-model",
            Deed::LoadModel => "load-model",
            Deed::Restore => "restore",
        }
    }

    /// Whether the action stops nothing: it undoes another action, or concerns only the operator.
    pub const fn lifts(self) -> bool {
        match self {
            Deed::ResumeAccount
            | Deed::ReinstateVersion
            | Deed::ReinstateModel
            | Deed::ReinstateDigest
            | Deed::ReinstateOffer
            | Deed::ReleaseAgreement
            | Deed::ReleaseAgreements
            | Deed::RotateToken
            | Deed::OpenAccount
            | Deed::MakeKey
            | Deed::RetryVersion
            | Deed::TakeOutVersion
            | Deed::RemoveRecord
            | Deed::LoadModel
            | Deed::Restore => true,
            Deed::SuspendAccount
            | Deed::CloseAccount
            | Deed::RevokeKey
            | Deed::WithdrawVersion
            | Deed::WithdrawModel
            | Deed::WithdrawDigest
            | Deed::WithdrawOffer
            | Deed::StopAgreement
            | Deed::UnloadModel
            | Deed::FreezeAgreement
            | Deed::FreezeAgreements => false,
        }
    }

    /// Whether the leaf is only a note. The effect of such an action is stored elsewhere, if at all.
    pub const fn is_noted(self) -> bool {
        matches!(
            self,
            Deed::OpenAccount
                | Deed::MakeKey
                | Deed::RetryVersion
                | Deed::TakeOutVersion
                | Deed::RemoveRecord
                | Deed::UnloadModel
                | Deed::LoadModel
                | Deed::Restore
        )
    }
}

impl FromStr for Deed {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|deed| deed.name() == text).ok_or(())
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Actor::Operator => f.write_str("operator"),
            Actor::Account(name) => write!(f, "account:{name}"),
        }
    }
}

impl FromStr for Actor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.strip_prefix("account:") {
            Some(name) => name.parse().map(Actor::Account).map_err(drop),
            None if text == "operator" => Ok(Actor::Operator),
            None => Err(()),
        }
    }
}

impl NewAction {
    /// Whether the action can be written: its text is short enough and on one line.
    pub fn is_sound(&self) -> bool {
        is_text(&self.target, TARGET_BYTES_MAX) && is_text(&self.reason, REASON_BYTES_MAX)
    }

    /// The action with its index among the actions.
    pub(super) fn at(self, sequence: u64, previous: Digest) -> Action {
        let Self { id, at, by, deed, target, reason } = self;
        let at = Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at);
        Action { id, at, by, deed, target, reason, sequence, previous }
    }
}

fn is_text(text: &str, bytes_max: usize) -> bool {
    text.len() <= bytes_max && !text.contains(char::is_control)
}

impl Action {
    /// The action's only encoding.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes);
        bytes
    }

    /// Appends that encoding to `bytes`.
    pub(super) fn write_to(&self, bytes: &mut Vec<u8>) {
        let mut cbor = Encoder::new(bytes);
        let mut write = || {
            cbor.array(MEMBERS)?.str(FORM)?;
            cbor.bytes(self.id.as_bytes())?.i64(self.at.as_microsecond())?;
            cbor.str(&self.by.to_string())?.str(self.deed.name())?;
            cbor.str(&self.target)?.str(&self.reason)?;
            cbor.u64(self.sequence)?.bytes(self.previous.as_bytes())?;
            Ok::<_, minicbor::encode::Error<std::convert::Infallible>>(())
        };
        write().expect("invariant: a vector takes every byte");
    }

    /// Parses an action.
    ///
    /// # Errors
    /// [`FormError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, FormError> {
        if bytes.len() > RECEIPT_BYTES_MAX {
            return Err(FormError::TooLarge { bytes: bytes.len() });
        }
        let mut cbor = Decoder::new(bytes);
        let form = |error: minicbor::decode::Error| FormError::Cbor(error.to_string());
        if cbor.array().map_err(form)? != Some(MEMBERS) || cbor.str().map_err(form)? != FORM {
            return Err(FormError::Value(0));
        }
        fn array<const N: usize>(bytes: &[u8], member: u8) -> Result<[u8; N], FormError> {
            bytes.try_into().map_err(|_| FormError::Value(member))
        }
        let action = Self {
            id: CallId::from_bytes(array(cbor.bytes().map_err(form)?, 1)?),
            at: Timestamp::from_microsecond(cbor.i64().map_err(form)?)
                .map_err(|_| FormError::Value(2))?,
            by: cbor.str().map_err(form)?.parse().map_err(|()| FormError::Value(3))?,
            deed: cbor.str().map_err(form)?.parse().map_err(|()| FormError::Value(4))?,
            target: cbor.str().map_err(form)?.into(),
            reason: cbor.str().map_err(form)?.into(),
            sequence: cbor.u64().map_err(form)?,
            previous: Digest::from_bytes(array(cbor.bytes().map_err(form)?, 8)?),
        };
        if !is_text(&action.target, TARGET_BYTES_MAX) || !is_text(&action.reason, REASON_BYTES_MAX)
        {
            return Err(FormError::Value(5));
        }
        if action.to_bytes() == bytes { Ok(action) } else { Err(FormError::NotCanonical) }
    }
}

/// The content of a log record.
pub(super) enum Leaf {
    Receipt(Box<Receipt>),
    Action(Action),
}

impl Leaf {
    /// Parses a receipt or an action.
    ///
    /// # Errors
    /// [`FormError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, FormError> {
        // The first byte of an array of up to 23 members is 0x80 or more. That of a map is higher.
        match bytes.first() {
            Some(first) if *first == 0x80 + MEMBERS as u8 => Action::parse(bytes).map(Leaf::Action),
            Some(_) | None => Ok(Leaf::Receipt(Box::new(Receipt::parse(bytes)?))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(deed: Deed) -> Action {
        let at = Timestamp::from_microsecond(1_800_000_000_000_001).expect("a time");
        let by = match deed {
            Deed::RevokeKey => Actor::Account("acme".parse().expect("a name")),
            _ => Actor::Operator,
        };
        let new = NewAction {
            id: CallId::from_bytes([7; 16]),
            at,
            by,
            deed,
            target: "acme/iris@1.0.0".into(),
            reason: "a court said so".into(),
        };
        new.at(3, Digest::from_bytes([9; 32]))
    }

    #[test]
    fn every_action_has_one_spelling_and_is_no_receipt() {
        for deed in Deed::ALL {
            let action = action(deed);
            let bytes = action.to_bytes();
            assert_eq!(Action::parse(&bytes), Ok(action.clone()));
            assert!(matches!(Leaf::parse(&bytes), Ok(Leaf::Action(read)) if read == action));
            assert!(Receipt::parse(&bytes).is_err());
            for end in 0..bytes.len() {
                assert!(Leaf::parse(&bytes[..end]).is_err(), "cut at {end}");
            }
            assert!(Action::parse(&[bytes.as_slice(), b"\0"].concat()).is_err());
        }
    }

    #[test]
    fn an_action_is_of_one_line_and_bounded() {
        let new = |target: &str, reason: &str| NewAction {
            id: CallId::from_bytes([7; 16]),
            at: Timestamp::UNIX_EPOCH,
            by: Actor::Operator,
            deed: Deed::WithdrawModel,
            target: target.into(),
            reason: reason.into(),
        };
        assert!(new("acme/iris", "why").is_sound());
        assert!(!new("acme/iris\n", "why").is_sound());
        assert!(!new("acme/iris", "why\u{1b}[2K").is_sound());
        assert!(!new("acme/iris", &"y".repeat(REASON_BYTES_MAX + 1)).is_sound());
        let longest = new(&"t".repeat(TARGET_BYTES_MAX), &"y".repeat(REASON_BYTES_MAX));
        let longest = longest.at(u64::MAX, Digest::from_bytes([9; 32])).to_bytes();
        assert!(longest.len() < RECEIPT_BYTES_MAX, "{}", longest.len());
    }
}
