//! Actions: what the operator did to accounts, models and agreements, as a leaf of the same log as the receipts.
//!
//! An action stands in a chain of its own and in the one Merkle tree, so a checkpoint that a party holds covers it too: what the
//! operator did cannot be left out, put in another order or dated back afterwards. What is stopped or withdrawn when the host
//! starts is read back from these leaves; nothing else says it. Other deeds are records of the store as well, and only noted here.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use minicbor::decode::Decoder;
use minicbor::encode::Encoder;

use super::encode::FormError;
use super::{RECEIPT_BYTES_MAX, Receipt};
use hospes_core::id::{AccountName, CallId, Digest};

/// What every action begins with. A receipt is a map, so the two are told apart by their first byte.
const FORM: &str = "hospes-action-1";

/// Members of an action, its form included.
const MEMBERS: u64 = 9;

/// Longest target, in bytes: a model's name and version fit.
pub const TARGET_BYTES_MAX: usize = 512;

/// Longest reason, in bytes.
pub const REASON_BYTES_MAX: usize = 1024;

/// An action, written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    pub id: CallId,
    /// To the microsecond.
    pub at: Timestamp,
    pub by: Actor,
    pub deed: Deed,
    /// What it was done to, as the deed has it.
    pub target: Box<str>,
    pub reason: Box<str>,
    /// The action's place among the actions, from 0.
    pub sequence: u64,
    /// The hash in the log of the action before it; 32 zero bytes for the first.
    pub previous: Digest,
}

/// An action that has no place yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAction {
    pub id: CallId,
    pub at: Timestamp,
    pub by: Actor,
    pub deed: Deed,
    pub target: Box<str>,
    pub reason: Box<str>,
}

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// Whoever holds the operator's token.
    Operator,
    /// An account, to what is its own.
    Account(AccountName),
}

/// What was done.
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
    /// It may have been used more than the host knows, for receipts were lost.
    FreezeAgreement,
    ReleaseAgreement,
    /// All that have limits over their calls and were made before.
    FreezeAgreements,
    ReleaseAgreements,
    RotateToken,
    /// The party and the key are in the reason.
    OpenAccount,
    /// An API key for an account that is there.
    MakeKey,
    /// A version that is out of service is loaded again.
    RetryVersion,
    /// A version that is out of service is taken away. Its publisher may put it back.
    TakeOutVersion,
    /// A publisher takes its own model out of service.
    UnloadModel,
    /// And puts it back.
    LoadModel,
    /// The data directory was restored from a backup: what the log had behind this place is lost.
    Restore,
}

impl Deed {
    /// Every deed.
    pub const ALL: [Deed; 25] = [
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
        Deed::UnloadModel,
        Deed::LoadModel,
        Deed::Restore,
    ];

    /// The deed as it is written.
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
            Deed::UnloadModel => "unload-model",
            Deed::LoadModel => "load-model",
            Deed::Restore => "restore",
        }
    }

    /// Whether it stops nothing: it gives back what another deed took, or concerns the operator alone.
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

    /// Whether the leaf only notes what a route of its own does: what follows from it is kept elsewhere, if at all.
    pub const fn is_noted(self) -> bool {
        matches!(
            self,
            Deed::OpenAccount
                | Deed::MakeKey
                | Deed::RetryVersion
                | Deed::TakeOutVersion
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
    /// Whether it can be written: short enough, and of one line.
    pub fn is_sound(&self) -> bool {
        is_text(&self.target, TARGET_BYTES_MAX) && is_text(&self.reason, REASON_BYTES_MAX)
    }

    /// The action, at its place among the actions.
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
    /// The action's one spelling.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes);
        bytes
    }

    /// Puts the same at the end of `bytes`.
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

    /// Reads an action.
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

/// What a record of the log holds.
pub(super) enum Leaf {
    Receipt(Box<Receipt>),
    Action(Action),
}

impl Leaf {
    /// Reads either.
    ///
    /// # Errors
    /// [`FormError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, FormError> {
        // An array of up to 23 members is one byte from 0x80; a map begins higher.
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
