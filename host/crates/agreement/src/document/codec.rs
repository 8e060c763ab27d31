//! Offers and agreements as signed envelopes, and their signers.
//!
//! The type tells what is proven: a [`SignedOffer`] is signed by its assigner, a [`Proposal`] by at least one role, a [`SignedAgreement`]
//! by both. Roles count, not signatures: two signatures of one party are one.

use std::sync::Arc;

use super::odrl;
use super::{Agreement, Offer, Request, Role};
use crate::AgreementError;
use crate::process::mandate::SignedMandate;
use hospes_core::dsse::{DsseError, Envelope};
use hospes_core::id::{Digest, Party};
use hospes_core::key::PartyKey;

pub(crate) const OFFER_TYPE: &str = "application/vnd.hospes.offer.v1+json";
pub(crate) const REQUEST_TYPE: &str = "application/vnd.hospes.request.v1+json";
pub(crate) const AGREEMENT_TYPE: &str = "application/vnd.hospes.agreement.v1+json";
const ROLES: [Role; 2] = [Role::Publisher, Role::Consumer];

/// An offer, signed by its assigner and nobody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedOffer {
    id: Digest,
    offer: Offer,
    envelope: Envelope,
}

/// A request, signed by its assignee and nobody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRequest {
    id: Digest,
    request: Request,
    envelope: Envelope,
}

/// An agreement that at least one of its roles has signed. Every signature on it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    id: Digest,
    agreement: Arc<Agreement>,
    envelope: Envelope,
    /// An agent whose signature counts as the publisher's.
    agent: Option<Party>,
}

/// An agreement that both roles have signed. Nothing else can be enforced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedAgreement(Proposal);

impl SignedOffer {
    /// Signs an offer with its assigner's key.
    ///
    /// # Errors
    /// [`AgreementError::NotAParty`] with any other key, [`AgreementError::TooLarge`].
    pub fn sign(offer: Offer, key: &PartyKey) -> Result<Self, AgreementError> {
        if key.party() != *offer.assigner() {
            return Err(AgreementError::NotAParty { signer: key.party() });
        }
        let payload = odrl::write_offer(&offer)?;
        let id = Digest::of(&payload);
        Ok(Self { id, offer, envelope: Envelope::sign(OFFER_TYPE, payload, key)? })
    }

    /// Reads an offer and checks its signature.
    ///
    /// # Errors
    /// [`AgreementError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, AgreementError> {
        let envelope = open(bytes, OFFER_TYPE)?;
        let offer = odrl::read_offer(envelope.payload())?;
        envelope.signers_are(&[*offer.assigner()])?;
        Ok(Self { id: Digest::of(envelope.payload()), offer, envelope })
    }

    /// SHA-256 of the payload.
    pub fn id(&self) -> &Digest {
        &self.id
    }

    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// The envelope, as it is kept and sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.envelope.to_bytes()
    }
}

impl SignedRequest {
    /// Signs a request with its assignee's key.
    ///
    /// # Errors
    /// [`AgreementError::NotAParty`] with any other key, [`AgreementError::TooLarge`].
    pub fn sign(request: Request, key: &PartyKey) -> Result<Self, AgreementError> {
        if key.party() != *request.assignee() {
            return Err(AgreementError::NotAParty { signer: key.party() });
        }
        let payload = odrl::write_request(&request)?;
        let id = Digest::of(&payload);
        Ok(Self { id, request, envelope: Envelope::sign(REQUEST_TYPE, payload, key)? })
    }

    /// Reads a request and checks its signature.
    ///
    /// # Errors
    /// [`AgreementError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, AgreementError> {
        let envelope = open(bytes, REQUEST_TYPE)?;
        let request = odrl::read_request(envelope.payload())?;
        envelope.signers_are(&[*request.assignee()])?;
        Ok(Self { id: Digest::of(envelope.payload()), request, envelope })
    }

    /// SHA-256 of the payload.
    pub fn id(&self) -> &Digest {
        &self.id
    }

    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The envelope, as it is kept and sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.envelope.to_bytes()
    }
}

impl Proposal {
    /// Signs an agreement with the key of one of its parties.
    ///
    /// # Errors
    /// [`AgreementError::NotAParty`] with any other key, [`AgreementError::TooLarge`].
    pub fn sign(agreement: Agreement, key: &PartyKey) -> Result<Self, AgreementError> {
        takes_part(&agreement, key)?;
        let payload = odrl::write_agreement(&agreement)?;
        let id = Digest::of(&payload);
        let envelope = Envelope::sign(AGREEMENT_TYPE, payload, key)?;
        Ok(Self { id, agreement: Arc::new(agreement), envelope, agent: None })
    }

    /// Reads an agreement and checks every signature on it.
    ///
    /// # Errors
    /// [`AgreementError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, AgreementError> {
        Self::parse_with(bytes, None)
    }

    /// The same for an agreement that a mandate's agent may have signed for the publisher.
    ///
    /// # Errors
    /// [`AgreementError`]; [`AgreementError::NotMandated`] if the mandate does not cover it.
    pub fn parse_with(
        bytes: &[u8],
        mandate: Option<&SignedMandate>,
    ) -> Result<Self, AgreementError> {
        let envelope = open(bytes, AGREEMENT_TYPE)?;
        let agreement = odrl::read_agreement(envelope.payload())?;
        let (publisher, consumer) = (*agreement.assigner(), *agreement.assignee());
        let agent = mandate.map(|mandate| agent_of(&agreement, mandate)).transpose()?;
        match agent {
            Some(agent) => envelope.signers_are(&[publisher, consumer, agent])?,
            None => envelope.signers_are(&[publisher, consumer])?,
        }
        let id = Digest::of(envelope.payload());
        Ok(Self { id, agreement: Arc::new(agreement), envelope, agent })
    }

    /// The offer that an unchecked agreement claims to accept, to find its mandate.
    ///
    /// # Errors
    /// [`AgreementError`].
    pub fn offer_of(bytes: &[u8]) -> Result<Digest, AgreementError> {
        let envelope = open(bytes, AGREEMENT_TYPE)?;
        Ok(*odrl::read_agreement(envelope.payload())?.offer_id())
    }

    /// The claimed sides of an agreement, even if the rest cannot be parsed. Nothing is verified.
    pub fn parties_of(bytes: &[u8]) -> Option<[Party; 2]> {
        #[derive(serde::Deserialize)]
        struct Sides {
            assigner: Party,
            assignee: Party,
        }
        let envelope = open(bytes, AGREEMENT_TYPE).ok()?;
        let Sides { assigner, assignee } = serde_json::from_slice(envelope.payload()).ok()?;
        Some([assigner, assignee])
    }

    /// Number and document of an envelope with already verified signatures.
    ///
    /// # Errors
    /// [`AgreementError`].
    pub fn document_of(bytes: &[u8]) -> Result<(Digest, Agreement), AgreementError> {
        let envelope = open(bytes, AGREEMENT_TYPE)?;
        let agreement = odrl::read_agreement(envelope.payload())?;
        Ok((Digest::of(envelope.payload()), agreement))
    }

    /// Signs for the publisher, as its mandate's agent. The caller has checked number and expiry.
    ///
    /// # Errors
    /// [`AgreementError::NotMandated`], or [`AgreementError::NotAParty`] if the key is not the agent's.
    pub fn sign_for_publisher(
        &mut self,
        mandate: &SignedMandate,
        key: &PartyKey,
    ) -> Result<(), AgreementError> {
        let agent = agent_of(&self.agreement, mandate)?;
        if key.party() != agent {
            return Err(AgreementError::NotAParty { signer: key.party() });
        }
        self.envelope.add_signature(key)?;
        self.agent = Some(agent);
        Ok(())
    }

    /// Whether a mandate's agent signed for the publisher.
    pub fn is_by_agent(&self) -> bool {
        self.agent.is_some_and(|agent| self.envelope.signers().any(|signer| signer == agent))
    }

    /// Adds the other party's signature.
    ///
    /// # Errors
    /// [`AgreementError::NotAParty`]; [`DsseError::SignedTwice`] if this party has already signed.
    pub fn add_signature(&mut self, key: &PartyKey) -> Result<(), AgreementError> {
        takes_part(&self.agreement, key)?;
        Ok(self.envelope.add_signature(key)?)
    }

    /// Adds the signatures from `other`, a copy of the same agreement, that this one lacks.
    ///
    /// # Errors
    /// [`AgreementError::OtherAgreement`].
    pub fn merge(&mut self, other: &Proposal) -> Result<(), AgreementError> {
        self.agent = self.agent.or(other.agent);
        self.envelope.merge(&other.envelope).map_err(|error| match error {
            DsseError::DifferentPayloads => AgreementError::OtherAgreement,
            other => AgreementError::Envelope(other),
        })
    }

    /// SHA-256 of the payload, independent of the signatures.
    pub fn id(&self) -> &Digest {
        &self.id
    }

    pub fn agreement(&self) -> &Agreement {
        &self.agreement
    }

    pub fn signed_by(&self, role: Role) -> bool {
        let agent = self.agent.filter(|_| role == Role::Publisher);
        let party = *self.agreement.party(role);
        self.envelope.signers().any(|signer| signer == party || Some(signer) == agent)
    }

    /// The roles that have not signed.
    pub fn missing(&self) -> Vec<Role> {
        ROLES.into_iter().filter(|role| !self.signed_by(*role)).collect()
    }

    /// The envelope, as it is kept and sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.envelope.to_bytes()
    }

    /// The agreement, if both roles have signed.
    ///
    /// # Errors
    /// The proposal itself, while a signature is missing.
    pub fn complete(self) -> Result<SignedAgreement, Box<Proposal>> {
        if ROLES.into_iter().all(|role| self.signed_by(role)) {
            Ok(SignedAgreement(self))
        } else {
            Err(Box::new(self))
        }
    }
}

impl SignedAgreement {
    /// Reads an agreement that both roles have signed.
    ///
    /// # Errors
    /// [`AgreementError`]; [`AgreementError::Unsigned`] while a signature is missing.
    pub fn parse(bytes: &[u8]) -> Result<Self, AgreementError> {
        let proposal = Proposal::parse(bytes)?;
        match proposal.missing().first() {
            Some(role) => {
                let party = *proposal.agreement.party(*role);
                Err(AgreementError::Unsigned { role: *role, party })
            }
            None => Ok(Self(proposal)),
        }
    }

    /// Whether a mandate's agent signed for the publisher.
    pub fn is_by_agent(&self) -> bool {
        self.0.is_by_agent()
    }

    /// SHA-256 of the payload.
    pub fn id(&self) -> &Digest {
        &self.0.id
    }

    pub fn agreement(&self) -> &Agreement {
        &self.0.agreement
    }

    /// The envelope, as it is kept and sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_bytes()
    }
}

impl AsRef<Proposal> for SignedAgreement {
    fn as_ref(&self) -> &Proposal {
        &self.0
    }
}

impl From<SignedAgreement> for Proposal {
    fn from(signed: SignedAgreement) -> Self {
        signed.0
    }
}

fn open(bytes: &[u8], wanted: &'static str) -> Result<Envelope, AgreementError> {
    let envelope = Envelope::parse(bytes)?;
    if envelope.payload_type() == wanted {
        Ok(envelope)
    } else {
        Err(AgreementError::PayloadType { seen: envelope.payload_type().to_owned(), wanted })
    }
}

/// The agent of a mandate that covers an agreement.
fn agent_of(agreement: &Agreement, mandate: &SignedMandate) -> Result<Party, AgreementError> {
    let mandate = mandate.content();
    if mandate.publisher == *agreement.assigner() && mandate.offer == *agreement.offer_id() {
        Ok(mandate.agent)
    } else {
        Err(AgreementError::NotMandated { offer: mandate.offer })
    }
}

fn takes_part(agreement: &Agreement, key: &PartyKey) -> Result<(), AgreementError> {
    let signer = key.party();
    if ROLES.into_iter().any(|role| *agreement.party(role) == signer) {
        Ok(())
    } else {
        Err(AgreementError::NotAParty { signer })
    }
}
