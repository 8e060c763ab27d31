//! What an offer and an agreement say, as checked values. No reading, no signatures.

use std::fmt;

use jiff::Timestamp;

use super::codec::SignedOffer;
use super::{AgreementError, INTEGER_MAX, PERMISSIONS_MAX};
use crate::id::{Digest, FunctionName, ModelName, Party};
use crate::key;

/// A side of an agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// ODRL's assigner: grants the use of its model.
    Publisher,
    /// ODRL's assignee: may use it.
    Consumer,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Publisher => "publisher",
            Role::Consumer => "consumer",
        })
    }
}

/// The terms on which a publisher lets anyone who accepts them use one bundle. Grants nothing by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    pub(super) policy: Policy,
}

/// The terms of an offer, accepted by one consumer. Binds nobody before both have signed: see [`super::SignedAgreement`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    pub(super) policy: Policy,
    pub(super) offer: Digest,
    pub(super) assignee: Party,
    pub(super) issued: Timestamp,
}

/// What both kinds of document hold (ODRL Information Model 2.2, section 2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Policy {
    pub uid: uuid::Uuid,
    pub assigner: Party,
    pub model: ModelName,
    pub bundle: Digest,
    pub permissions: Vec<Permission>,
}

/// Leave to execute one function while every constraint holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    pub function: FunctionName,
    /// In the order of the document; at most one of each kind.
    pub constraints: Vec<Constraint>,
}

/// A bound on the calls that a permission allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Constraint {
    /// `count` `lteq`: so many calls in all.
    CountMax(u64),
    /// `dateTime` `gteq`: calls that begin at this time or later.
    From(Timestamp),
    /// `dateTime` `lt`: calls that begin before this time.
    Before(Timestamp),
    /// `dateTime` `lteq`: calls that begin at this time or before.
    Until(Timestamp),
    /// `hospes:inputBytes` `lteq`: calls whose arguments are so many bytes at most.
    InputBytesMax(u64),
    /// `hospes:outputBytes` `lteq`: answers of so many bytes at most are released.
    OutputBytesMax(u64),
}

/// A permission to be offered. What is `None` is not limited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermissionSpec {
    pub function: FunctionName,
    /// Most calls, at least 1.
    pub count: Option<u64>,
    /// First moment at which a call may begin.
    pub from: Option<Timestamp>,
    /// First moment at which none may any more.
    pub until: Option<Timestamp>,
    pub input_bytes_max: Option<u64>,
    pub output_bytes_max: Option<u64>,
}

impl Offer {
    /// An offer of `bundle`, a version of `model`, by `assigner`.
    ///
    /// # Errors
    /// [`AgreementError::PermissionCount`], [`AgreementError::IntegerTooLarge`], [`AgreementError::NeverAllows`],
    /// [`AgreementError::WeakParty`], [`AgreementError::Random`].
    pub fn new(
        assigner: Party,
        model: ModelName,
        bundle: Digest,
        permissions: Vec<PermissionSpec>,
    ) -> Result<Self, AgreementError> {
        let permissions = permissions.into_iter().map(Permission::from).collect();
        let policy = Policy { uid: new_uid()?, assigner, model, bundle, permissions };
        policy.check()?;
        Ok(Self { policy })
    }

    pub fn assigner(&self) -> &Party {
        &self.policy.assigner
    }

    pub fn model(&self) -> &ModelName {
        &self.policy.model
    }

    /// The one version that is offered.
    pub fn bundle(&self) -> &Digest {
        &self.policy.bundle
    }

    pub fn permissions(&self) -> &[Permission] {
        &self.policy.permissions
    }
}

impl Agreement {
    /// Accepts an offer whole, for `assignee`. Nobody has signed the result yet.
    ///
    /// # Errors
    /// [`AgreementError::SameParty`], [`AgreementError::WeakParty`], [`AgreementError::Random`].
    pub fn accept(
        offer: &SignedOffer,
        assignee: Party,
        now: Timestamp,
    ) -> Result<Self, AgreementError> {
        let policy = Policy { uid: new_uid()?, ..offer.offer().policy.clone() };
        let agreement = Self { policy, offer: *offer.id(), assignee, issued: now };
        agreement.check()?;
        Ok(agreement)
    }

    /// Checks that this agreement accepts `offer` and changes nothing in it.
    ///
    /// # Errors
    /// [`AgreementError::OtherOffer`], [`AgreementError::NotAsOffered`].
    pub fn matches(&self, offer: &SignedOffer) -> Result<(), AgreementError> {
        if self.offer != *offer.id() {
            return Err(AgreementError::OtherOffer { seen: self.offer, wanted: *offer.id() });
        }
        let (ours, theirs) = (&self.policy, &offer.offer().policy);
        let differs = [
            ("/assigner", ours.assigner != theirs.assigner),
            ("/target", ours.model != theirs.model || ours.bundle != theirs.bundle),
            ("/permission", ours.permissions != theirs.permissions),
        ];
        match differs.into_iter().find(|(_, differs)| *differs) {
            Some((pointer, _)) => Err(AgreementError::NotAsOffered { pointer }),
            None => Ok(()),
        }
    }

    /// The digest of the offer that is accepted.
    pub fn offer_id(&self) -> &Digest {
        &self.offer
    }

    pub fn assigner(&self) -> &Party {
        &self.policy.assigner
    }

    pub fn assignee(&self) -> &Party {
        &self.assignee
    }

    /// The party in `role`.
    pub fn party(&self, role: Role) -> &Party {
        match role {
            Role::Publisher => &self.policy.assigner,
            Role::Consumer => &self.assignee,
        }
    }

    pub fn model(&self) -> &ModelName {
        &self.policy.model
    }

    /// The one version that may be used.
    pub fn bundle(&self) -> &Digest {
        &self.policy.bundle
    }

    /// When the consumer accepted, by the consumer's clock.
    pub fn issued(&self) -> Timestamp {
        self.issued
    }

    pub fn permissions(&self) -> &[Permission] {
        &self.policy.permissions
    }

    pub(super) fn check(&self) -> Result<(), AgreementError> {
        self.policy.check()?;
        key::check_party(&self.assignee)
            .map_err(|source| AgreementError::WeakParty { pointer: "/assignee", source })?;
        if self.assignee == self.policy.assigner {
            return Err(AgreementError::SameParty { party: self.assignee });
        }
        Ok(())
    }
}

impl Policy {
    pub(super) fn check(&self) -> Result<(), AgreementError> {
        key::check_party(&self.assigner)
            .map_err(|source| AgreementError::WeakParty { pointer: "/assigner", source })?;
        let count = self.permissions.len();
        if count == 0 || count > PERMISSIONS_MAX {
            return Err(AgreementError::PermissionCount { count });
        }
        self.permissions
            .iter()
            .enumerate()
            .try_for_each(|(index, permission)| permission.check(&format!("/permission/{index}")))
    }
}

impl Permission {
    fn check(&self, pointer: &str) -> Result<(), AgreementError> {
        for (index, constraint) in self.constraints.iter().enumerate() {
            let pointer = || format!("{pointer}/constraint/{index}");
            let before = self.constraints.get(..index).unwrap_or_default();
            if before.iter().any(|earlier| earlier.limits() == constraint.limits()) {
                return Err(AgreementError::Repeated { pointer: pointer() });
            }
            match constraint.integer() {
                Some(value) if value > INTEGER_MAX => {
                    let pointer = format!("{}/rightOperand", pointer());
                    return Err(AgreementError::IntegerTooLarge { pointer, value });
                }
                Some(_) | None => {}
            }
            if *constraint == Constraint::CountMax(0) {
                let reason = "it allows 0 calls";
                return Err(AgreementError::NeverAllows { pointer: pointer(), reason });
            }
        }
        if self.window_is_empty() {
            let reason = "it ends before it begins";
            return Err(AgreementError::NeverAllows { pointer: pointer.to_owned(), reason });
        }
        Ok(())
    }

    fn window_is_empty(&self) -> bool {
        let from = self.constraints.iter().find_map(|constraint| match constraint {
            Constraint::From(from) => Some(*from),
            Constraint::CountMax(_)
            | Constraint::Before(_)
            | Constraint::Until(_)
            | Constraint::InputBytesMax(_)
            | Constraint::OutputBytesMax(_) => None,
        });
        from.is_some_and(|from| {
            self.constraints.iter().any(|constraint| match constraint {
                Constraint::Before(end) => *end <= from,
                Constraint::Until(end) => *end < from,
                Constraint::CountMax(_)
                | Constraint::From(_)
                | Constraint::InputBytesMax(_)
                | Constraint::OutputBytesMax(_) => false,
            })
        })
    }
}

impl From<PermissionSpec> for Permission {
    fn from(spec: PermissionSpec) -> Self {
        let constraints = [
            spec.count.map(Constraint::CountMax),
            spec.from.map(Constraint::From),
            spec.until.map(Constraint::Before),
            spec.input_bytes_max.map(Constraint::InputBytesMax),
            spec.output_bytes_max.map(Constraint::OutputBytesMax),
        ];
        Self { function: spec.function, constraints: constraints.into_iter().flatten().collect() }
    }
}

impl Constraint {
    /// What is limited; two constraints of one permission may not limit the same.
    fn limits(self) -> &'static str {
        match self {
            Constraint::CountMax(_) => "count",
            Constraint::From(_) => "begin",
            Constraint::Before(_) | Constraint::Until(_) => "end",
            Constraint::InputBytesMax(_) => "input",
            Constraint::OutputBytesMax(_) => "output",
        }
    }

    fn integer(self) -> Option<u64> {
        match self {
            Constraint::CountMax(value)
            | Constraint::InputBytesMax(value)
            | Constraint::OutputBytesMax(value) => Some(value),
            Constraint::From(_) | Constraint::Before(_) | Constraint::Until(_) => None,
        }
    }
}

/// A random UUID (RFC 9562, version 4): ODRL wants every policy to have a name of its own, and two agreements on the same
/// terms are two agreements.
fn new_uid() -> Result<uuid::Uuid, AgreementError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(AgreementError::Random)?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}
