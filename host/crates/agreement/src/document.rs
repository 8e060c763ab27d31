//! Offers, requests and agreements as checked values. No parsing, no signatures.

pub(crate) mod clause;
pub(crate) mod codec;
pub(crate) mod odrl;
pub(crate) mod value;

use std::fmt;

use jiff::Timestamp;
use semver::Version;

use crate::registry::RegistryVersion;
use crate::{
    AUDIENCE_MAX, AgreementError, DEPTH_MAX, OBLIGATIONS_MAX, PERMISSIONS_MAX, PROHIBITIONS_MAX,
};
use clause::{Constraint, Obligation, Permission, Prohibition};
use codec::{SignedOffer, SignedRequest};
use hospes_core::id::{Digest, ModelName, Party};
use hospes_core::key;
use value::{Span, ascending};

/// A side of an agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// ODRL's assigner: permits the use of its model.
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

/// The terms on which a publisher lets those who accept them use a model. Permits nothing by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    pub(crate) policy: Policy,
    pub(crate) audience: Vec<Party>,
}

/// The terms on which a consumer would use a model: an existing offer or a counter-offer. ODRL's Request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub(crate) policy: Policy,
    pub(crate) offer: Digest,
    pub(crate) assignee: Party,
    pub(crate) issued: Timestamp,
}

/// The terms of an offer or request, accepted by one consumer. Binds nobody until both have signed: see [`crate::SignedAgreement`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    pub(crate) policy: Policy,
    pub(crate) offer: Digest,
    pub(crate) assignee: Party,
    pub(crate) issued: Timestamp,
}

/// Common to all documents (ODRL Information Model 2.2, section 2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    pub uid: uuid::Uuid,
    pub assigner: Party,
    /// The registry version of its clauses.
    pub registry: RegistryVersion,
    pub clauses: Clauses,
}

/// Everything that is agreed on, except the parties.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clauses {
    pub target: Target,
    /// Permissions to execute functions. A rule's position in this list is its number.
    pub permissions: Vec<Permission>,
    /// How many levels of sub-agreements the consumer may make (`odrl:grantUse`); `None` if none.
    pub depth: Option<u8>,
    pub prohibitions: Vec<Prohibition>,
    pub obligations: Vec<Obligation>,
    /// The notice that a publisher must give before it suspends or ends the agreement without cause.
    pub notice: Span,
    /// Maximum age of the host's knowledge of the agreement; calls are refused beyond it.
    pub max_stale: Option<Span>,
    pub on_suspend: OnSuspend,
    /// The parent agreement, of which this is a narrower part.
    pub parent: Option<Digest>,
    /// The superseded agreement.
    pub supersedes: Option<Digest>,
}

/// The licensed model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub model: ModelName,
    pub versions: Versions,
}

/// The licensed versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Versions {
    /// The version with this digest.
    Bundle(Digest),
    /// Versions from the first on, and before the second.
    Range { from: Option<Version>, before: Option<Version> },
}

/// What happens to running calls when the agreement is suspended or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnSuspend {
    /// They may finish.
    #[default]
    Finish,
    /// They are ended, and nothing of them is released.
    Abort,
}

impl OnSuspend {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            OnSuspend::Finish => "finish",
            OnSuspend::Abort => "abort",
        }
    }
}

impl Versions {
    /// Whether a bundle is covered.
    pub fn cover(&self, bundle: &Digest, version: &Version) -> bool {
        match self {
            Versions::Bundle(digest) => digest == bundle,
            Versions::Range { from, before } => {
                // By precedence: build metadata makes no difference, and a pre-release of an excluded version is excluded too.
                let at_least = |from: &Version| version.cmp_precedence(from).is_ge();
                let below = |before: &Version| {
                    version.cmp_precedence(before).is_lt()
                        && (version.major, version.minor, version.patch)
                            != (before.major, before.minor, before.patch)
                };
                from.as_ref().is_none_or(at_least) && before.as_ref().is_none_or(below)
            }
        }
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Versions::Bundle(digest) => write!(f, "bundle {digest}"),
            Versions::Range { from: None, before: None } => f.write_str("every version"),
            Versions::Range { from: Some(from), before: None } => {
                write!(f, "versions from {from} on")
            }
            Versions::Range { from: None, before: Some(before) } => {
                write!(f, "versions before {before}")
            }
            Versions::Range { from: Some(from), before: Some(before) } => {
                write!(f, "versions from {from} on, before {before}")
            }
        }
    }
}

impl Clauses {
    /// Permission to use a model under these permissions, with nothing else set.
    pub fn new(target: Target, permissions: Vec<Permission>) -> Self {
        Self {
            target,
            permissions,
            depth: None,
            prohibitions: Vec::new(),
            obligations: Vec::new(),
            notice: Span::ZERO,
            max_stale: None,
            on_suspend: OnSuspend::Finish,
            parent: None,
            supersedes: None,
        }
    }
}

impl Offer {
    /// An offer by `assigner`, to `audience` or, if that is empty, to everybody.
    ///
    /// # Errors
    /// [`AgreementError`] names the invalid clause.
    pub fn new(
        assigner: Party,
        clauses: Clauses,
        mut audience: Vec<Party>,
    ) -> Result<Self, AgreementError> {
        audience.sort_by_key(ToString::to_string);
        audience.dedup();
        let policy =
            Policy { uid: new_uid()?, assigner, registry: RegistryVersion::newest(), clauses };
        let offer = Self { policy, audience };
        offer.check()?;
        Ok(offer)
    }

    pub fn assigner(&self) -> &Party {
        &self.policy.assigner
    }

    pub fn clauses(&self) -> &Clauses {
        &self.policy.clauses
    }

    pub fn model(&self) -> &ModelName {
        &self.policy.clauses.target.model
    }

    /// The named audience; empty for everybody.
    pub fn audience(&self) -> &[Party] {
        &self.audience
    }

    /// Whether `party` may see and accept it.
    pub fn is_for(&self, party: &Party) -> bool {
        self.audience.is_empty() || self.audience.contains(party)
    }

    pub(crate) fn check(&self) -> Result<(), AgreementError> {
        self.policy.check()?;
        if self.audience.len() > AUDIENCE_MAX || !ascending(&self.audience) {
            return Err(AgreementError::Audience { count: self.audience.len() });
        }
        self.audience.iter().try_for_each(|party| {
            key::check_party(party)
                .map_err(|source| AgreementError::WeakParty { pointer: "/hospes:audience", source })
        })
    }
}

impl Request {
    /// Requests an offer's model under `clauses`, which may be the offer's own.
    ///
    /// # Errors
    /// [`AgreementError`] names the invalid clause.
    pub fn new(
        offer: &SignedOffer,
        clauses: Clauses,
        assignee: Party,
        now: Timestamp,
    ) -> Result<Self, AgreementError> {
        let (assigner, registry) = (*offer.offer().assigner(), RegistryVersion::newest());
        let policy = Policy { uid: new_uid()?, assigner, registry, clauses };
        let request = Self { policy, offer: *offer.id(), assignee, issued: micros(now) };
        request.check()?;
        Ok(request)
    }

    /// The requested offer.
    pub fn offer_id(&self) -> &Digest {
        &self.offer
    }

    pub fn assigner(&self) -> &Party {
        &self.policy.assigner
    }

    pub fn assignee(&self) -> &Party {
        &self.assignee
    }

    pub fn clauses(&self) -> &Clauses {
        &self.policy.clauses
    }

    pub fn model(&self) -> &ModelName {
        &self.policy.clauses.target.model
    }

    /// When it was made, by its author's clock.
    pub fn issued(&self) -> Timestamp {
        self.issued
    }

    pub(crate) fn check(&self) -> Result<(), AgreementError> {
        check_sides(&self.policy, &self.assignee)
    }
}

impl Agreement {
    /// Accepts a whole offer for `assignee`. The result is unsigned.
    ///
    /// # Errors
    /// [`AgreementError::SameParty`], [`AgreementError::WeakParty`], [`AgreementError::NotForYou`], [`AgreementError::Random`].
    pub fn accept(
        offer: &SignedOffer,
        assignee: Party,
        now: Timestamp,
    ) -> Result<Self, AgreementError> {
        if !offer.offer().is_for(&assignee) {
            return Err(AgreementError::NotForYou { party: assignee });
        }
        Self::new(&offer.offer().policy, *offer.id(), assignee, now)
    }

    /// Grants a request unchanged. The result is unsigned.
    ///
    /// # Errors
    /// [`AgreementError::Random`].
    pub fn grant(request: &SignedRequest, now: Timestamp) -> Result<Self, AgreementError> {
        let asked = request.request();
        Self::new(&asked.policy, *request.id(), asked.assignee, now)
    }

    fn new(
        policy: &Policy,
        offer: Digest,
        assignee: Party,
        now: Timestamp,
    ) -> Result<Self, AgreementError> {
        let policy = Policy { uid: new_uid()?, ..policy.clone() };
        let agreement = Self { policy, offer, assignee, issued: micros(now) };
        agreement.check()?;
        Ok(agreement)
    }

    /// Checks that this agreement accepts `offer` unchanged.
    ///
    /// # Errors
    /// [`AgreementError::OtherOffer`], [`AgreementError::NotAsOffered`], [`AgreementError::NotForYou`].
    pub fn matches(&self, offer: &SignedOffer) -> Result<(), AgreementError> {
        if !offer.offer().is_for(&self.assignee) {
            return Err(AgreementError::NotForYou { party: self.assignee });
        }
        self.is_of(offer.id(), &offer.offer().policy)
    }

    /// Checks that this agreement grants `request` unchanged.
    ///
    /// # Errors
    /// [`AgreementError::OtherOffer`], [`AgreementError::NotAsOffered`].
    pub fn matches_request(&self, request: &SignedRequest) -> Result<(), AgreementError> {
        if self.assignee != request.request().assignee {
            return Err(AgreementError::NotAsOffered { pointer: "/assignee" });
        }
        self.is_of(request.id(), &request.request().policy)
    }

    fn is_of(&self, id: &Digest, theirs: &Policy) -> Result<(), AgreementError> {
        if self.offer != *id {
            return Err(AgreementError::OtherOffer { seen: self.offer, wanted: *id });
        }
        let (ours, theirs) = (&self.policy, theirs);
        let (mine, offered) = (&ours.clauses, &theirs.clauses);
        let differs = [
            ("/assigner", ours.assigner != theirs.assigner),
            ("/hospes:registry", ours.registry != theirs.registry),
            ("/target", mine.target != offered.target),
            ("/permission", mine.permissions != offered.permissions || mine.depth != offered.depth),
            ("/prohibition", mine.prohibitions != offered.prohibitions),
            ("/obligation", mine.obligations != offered.obligations),
            ("/", mine != offered),
        ];
        match differs.into_iter().find(|(_, differs)| *differs) {
            Some((pointer, _)) => Err(AgreementError::NotAsOffered { pointer }),
            None => Ok(()),
        }
    }

    /// The digest of the accepted offer or granted request.
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
        &self.policy.clauses.target.model
    }

    pub fn clauses(&self) -> &Clauses {
        &self.policy.clauses
    }

    /// When it was made, by its author's clock.
    pub fn issued(&self) -> Timestamp {
        self.issued
    }

    pub(crate) fn check(&self) -> Result<(), AgreementError> {
        check_sides(&self.policy, &self.assignee)
    }
}

fn check_sides(policy: &Policy, assignee: &Party) -> Result<(), AgreementError> {
    policy.check()?;
    key::check_party(assignee)
        .map_err(|source| AgreementError::WeakParty { pointer: "/assignee", source })?;
    if *assignee == policy.assigner {
        return Err(AgreementError::SameParty { party: *assignee });
    }
    Ok(())
}

impl Policy {
    pub(crate) fn check(&self) -> Result<(), AgreementError> {
        key::check_party(&self.assigner)
            .map_err(|source| AgreementError::WeakParty { pointer: "/assigner", source })?;
        self.clauses.check()
    }
}

impl Clauses {
    fn check(&self) -> Result<(), AgreementError> {
        let counts = [
            ("permissions", self.permissions.len(), 1, PERMISSIONS_MAX),
            ("prohibitions", self.prohibitions.len(), 0, PROHIBITIONS_MAX),
            ("obligations", self.obligations.len(), 0, OBLIGATIONS_MAX),
        ];
        for (what, count, min, max) in counts {
            if !(min..=max).contains(&count) {
                return Err(AgreementError::RuleCount { what, count, min, max });
            }
        }
        if let Some(depth) = self.depth.filter(|depth| !(1..=DEPTH_MAX).contains(depth)) {
            return Err(AgreementError::Depth { depth });
        }
        if let Versions::Range { from: Some(from), before: Some(before) } = &self.target.versions
            && from.cmp_precedence(before).is_ge()
        {
            let reason = "its versions end before they begin";
            return Err(AgreementError::NeverAllows { pointer: "/target".to_owned(), reason });
        }
        for (index, permission) in self.permissions.iter().enumerate() {
            permission.check(&format!("/permission/{index}"))?;
        }
        for (index, prohibition) in self.prohibitions.iter().enumerate() {
            prohibition.check(&format!("/prohibition/{index}"))?;
            if self.prohibitions[..index].contains(prohibition) {
                return Err(AgreementError::Repeated { pointer: format!("/prohibition/{index}") });
            }
        }
        for (index, obligation) in self.obligations.iter().enumerate() {
            obligation.check(&format!("/obligation/{index}"))?;
            if self.obligations[..index].contains(obligation) {
                return Err(AgreementError::Repeated { pointer: format!("/obligation/{index}") });
            }
        }
        Ok(())
    }

    /// Every constraint of every rule, to see what is used.
    pub fn constraints(&self) -> impl Iterator<Item = &Constraint> {
        let permissions = self
            .permissions
            .iter()
            .flat_map(|permission| permission.refinements.iter().chain(&permission.constraints));
        permissions.chain(self.prohibitions.iter().flat_map(|prohibition| &prohibition.constraints))
    }
}

/// Documents have microseconds, so that times survive every parser.
fn micros(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

/// A random UUID (RFC 9562, version 4). ODRL requires a unique name per policy, and two agreements on the same terms are two agreements.
fn new_uid() -> Result<uuid::Uuid, AgreementError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(AgreementError::Random)?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}
