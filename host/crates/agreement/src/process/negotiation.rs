//! Negotiating an agreement: the Dataspace Protocol's negotiation, with every message signed.
//!
//! States and transitions follow the Dataspace Protocol 2025-1, which signs nothing. Here each message is a signed document, so that both
//! sides can prove later who proposed and accepted what. A negotiation is just the list of its messages. This module knows neither HTTP nor
//! storage; the host checks whether an offer may be made.

mod moves;

use std::fmt;

use jiff::Timestamp;

use super::statement::{Statement as _, StatementError};
use crate::AgreementError;
use crate::document::codec::{self, Proposal, SignedOffer, SignedRequest};
use crate::document::{Clauses, Role};
use hospes_core::dsse::{DsseError, Envelope};
use hospes_core::id::{Digest, ModelName, Party};

pub use moves::{Move, MoveKind, SignedMove};

/// Maximum messages of a negotiation.
pub const MESSAGES_MAX: usize = 32;

/// A negotiation's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// The consumer has requested.
    Requested,
    /// The publisher has offered.
    Offered,
    /// The consumer has accepted the offer.
    Accepted,
    /// The publisher has signed the agreement.
    Agreed,
    /// The consumer has signed it too.
    Verified,
    /// It is in force.
    Finalized,
    Terminated,
}

impl State {
    pub const ALL: [State; 7] = [
        State::Requested,
        State::Offered,
        State::Accepted,
        State::Agreed,
        State::Verified,
        State::Finalized,
        State::Terminated,
    ];

    /// The protocol's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            State::Requested => "REQUESTED",
            State::Offered => "OFFERED",
            State::Accepted => "ACCEPTED",
            State::Agreed => "AGREED",
            State::Verified => "VERIFIED",
            State::Finalized => "FINALIZED",
            State::Terminated => "TERMINATED",
        }
    }

    /// Who moves next; `None` if the host does, or nobody.
    pub const fn turn(self) -> Option<Role> {
        match self {
            State::Requested | State::Accepted => Some(Role::Publisher),
            State::Offered | State::Agreed => Some(Role::Consumer),
            State::Verified | State::Finalized | State::Terminated => None,
        }
    }

    /// Whether `role` may end the negotiation here (from AGREED the consumer only, from VERIFIED the publisher only).
    const fn may_terminate(self, role: Role) -> bool {
        match self {
            State::Requested | State::Offered | State::Accepted => true,
            State::Agreed => matches!(role, Role::Consumer),
            State::Verified => matches!(role, Role::Publisher),
            State::Finalized | State::Terminated => false,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One signed message.
#[derive(Debug, Clone)]
pub enum Message {
    Request(SignedRequest),
    Offer(SignedOffer),
    Move(SignedMove),
    /// Signed by the publisher alone, or by both.
    Agreement(Proposal),
}

impl Message {
    /// Reads a message and checks the signatures on it.
    ///
    /// # Errors
    /// [`NegotiationError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NegotiationError> {
        let kind = Envelope::parse(bytes)?.payload_type().to_owned();
        match kind.as_str() {
            codec::REQUEST_TYPE => Ok(Message::Request(SignedRequest::parse(bytes)?)),
            codec::OFFER_TYPE => Ok(Message::Offer(SignedOffer::parse(bytes)?)),
            codec::AGREEMENT_TYPE => Ok(Message::Agreement(Proposal::parse(bytes)?)),
            Move::TYPE => Ok(Message::Move(SignedMove::parse(bytes)?)),
            _ => Err(NegotiationError::Kind { seen: kind }),
        }
    }

    /// Its kind, for people and programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Message::Request(_) => "request",
            Message::Offer(_) => "offer",
            Message::Move(signed) => signed.content().kind.name(),
            Message::Agreement(proposal) if proposal.signed_by(Role::Consumer) => "verification",
            Message::Agreement(_) => "agreement",
        }
    }

    /// SHA-256 of the payload.
    pub fn id(&self) -> &Digest {
        match self {
            Message::Request(request) => request.id(),
            Message::Offer(offer) => offer.id(),
            Message::Move(signed) => signed.id(),
            Message::Agreement(proposal) => proposal.id(),
        }
    }

    /// The envelope.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Message::Request(request) => request.to_bytes(),
            Message::Offer(offer) => offer.to_bytes(),
            Message::Move(signed) => signed.to_bytes(),
            Message::Agreement(proposal) => proposal.to_bytes(),
        }
    }
}

/// Why a message was rejected.
#[derive(Debug, thiserror::Error)]
pub enum NegotiationError {
    #[error(transparent)]
    Agreement(#[from] AgreementError),
    #[error(transparent)]
    Envelope(#[from] DsseError),
    #[error("the payload is of type `{seen}`, which is not a negotiation message")]
    Kind { seen: String },
    #[error(transparent)]
    Statement(#[from] StatementError),
    #[error("a negotiation begins with a request, or with an offer to one party by name")]
    Beginning,
    #[error("`{party}` is not a party to this negotiation, or it is the other party's turn")]
    NotYours { party: Party },
    #[error(
        "the negotiation is {state}: {} a `{seen}` is not allowed",
        turn.map_or_else(|| "it is nobody's turn, and".to_owned(), |turn| format!("it is the {turn}'s turn, and"))
    )]
    State { state: State, turn: Option<Role>, seen: &'static str },
    #[error("the message is about `{seen}`; `{wanted}` is on the table")]
    OtherSubject { seen: Digest, wanted: Digest },
    #[error("the move follows message `{seen}`; the last of this negotiation is `{wanted}`")]
    OtherHistory { seen: Digest, wanted: Digest },
    #[error("the move belongs to negotiation `{seen}`")]
    OtherNegotiation { seen: String },
    #[error("the acceptance expired at {expires}")]
    Expired { expires: Timestamp },
    #[error("it is about model `{seen}`; this negotiation is about `{wanted}`")]
    OtherModel { seen: ModelName, wanted: ModelName },
    #[error("the negotiation has {MESSAGES_MAX} messages, the most allowed: begin a new one")]
    TooMany,
}

/// A message, and when the host took it.
#[derive(Debug, Clone)]
pub struct Taken {
    pub message: Message,
    pub at: Timestamp,
    pub by: Party,
    /// The resulting state.
    pub state: State,
}

/// The terms on the table.
#[derive(Debug, Clone)]
enum CurrentTerms {
    Request(SignedRequest),
    Offer(SignedOffer),
}

/// A negotiation: its messages and state.
#[derive(Debug, Clone)]
pub struct Negotiation {
    id: uuid::Uuid,
    publisher: Party,
    consumer: Party,
    model: ModelName,
    table: CurrentTerms,
    state: State,
    taken: Vec<Taken>,
}

impl Negotiation {
    /// Begins a negotiation with a request, or with an offer to one named party.
    ///
    /// # Errors
    /// [`NegotiationError::Beginning`].
    pub fn begin(
        id: uuid::Uuid,
        message: Message,
        now: Timestamp,
    ) -> Result<Self, NegotiationError> {
        let (publisher, consumer, model, table, state) = match &message {
            Message::Request(signed) => {
                let request = signed.request();
                let (publisher, consumer) = (*request.assigner(), *request.assignee());
                (
                    publisher,
                    consumer,
                    request.model().clone(),
                    CurrentTerms::Request(signed.clone()),
                    State::Requested,
                )
            }
            Message::Offer(signed) => {
                let offer = signed.offer();
                let [consumer] = offer.audience() else { return Err(NegotiationError::Beginning) };
                (
                    *offer.assigner(),
                    *consumer,
                    offer.model().clone(),
                    CurrentTerms::Offer(signed.clone()),
                    State::Offered,
                )
            }
            Message::Move(_) | Message::Agreement(_) => return Err(NegotiationError::Beginning),
        };
        let by = if state == State::Requested { consumer } else { publisher };
        let taken = vec![Taken { message, at: now, by, state }];
        Ok(Self { id, publisher, consumer, model, table, state, taken })
    }

    /// Its identifier: `urn:uuid:…`.
    pub fn urn(&self) -> String {
        format!("urn:uuid:{}", self.id.hyphenated())
    }

    pub fn id(&self) -> &uuid::Uuid {
        &self.id
    }

    pub fn publisher(&self) -> &Party {
        &self.publisher
    }

    pub fn consumer(&self) -> &Party {
        &self.consumer
    }

    pub fn model(&self) -> &ModelName {
        &self.model
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// The messages, in order.
    pub fn messages(&self) -> &[Taken] {
        &self.taken
    }

    /// The terms on the table.
    pub fn clauses(&self) -> &Clauses {
        match &self.table {
            CurrentTerms::Request(signed) => signed.request().clauses(),
            CurrentTerms::Offer(signed) => signed.offer().clauses(),
        }
    }

    /// The agreement, once the publisher has signed it.
    pub fn agreement(&self) -> Option<&Proposal> {
        self.taken.iter().rev().find_map(|taken| match &taken.message {
            Message::Agreement(proposal) => Some(proposal),
            Message::Request(_) | Message::Offer(_) | Message::Move(_) => None,
        })
    }

    /// A party's role.
    pub fn role(&self, party: &Party) -> Option<Role> {
        if *party == self.publisher {
            Some(Role::Publisher)
        } else {
            (*party == self.consumer).then_some(Role::Consumer)
        }
    }

    /// Takes a message. The same message again changes nothing.
    ///
    /// # Errors
    /// [`NegotiationError`]; nothing was changed.
    pub fn apply(&mut self, message: Message, now: Timestamp) -> Result<State, NegotiationError> {
        let bytes = message.to_bytes();
        if self.taken.iter().any(|taken| taken.message.to_bytes() == bytes) {
            return Ok(self.state);
        }
        if self.taken.len() >= MESSAGES_MAX {
            return Err(NegotiationError::TooMany);
        }
        let (state, by, table) = self.follow(&message, now)?;
        self.taken.push(Taken { message, at: now, by, state });
        self.state = state;
        if let Some(table) = table {
            self.table = table;
        }
        Ok(state)
    }

    /// Records that the host has put the agreement in force.
    pub fn finalize(&mut self) {
        if self.state == State::Verified {
            self.state = State::Finalized;
        }
    }

    fn follow(
        &self,
        message: &Message,
        now: Timestamp,
    ) -> Result<(State, Party, Option<CurrentTerms>), NegotiationError> {
        let wrong = || NegotiationError::State {
            state: self.state,
            turn: self.state.turn(),
            seen: message.kind(),
        };
        match (self.state, message) {
            (State::Offered, Message::Request(signed)) => {
                let request = signed.request();
                self.is_by(request.assignee(), Role::Consumer)?;
                self.is_by(request.assigner(), Role::Publisher)?;
                self.is_about(request.offer_id(), request.model())?;
                Ok((State::Requested, self.consumer, Some(CurrentTerms::Request(signed.clone()))))
            }
            (State::Requested, Message::Offer(signed)) => {
                let offer = signed.offer();
                self.is_by(offer.assigner(), Role::Publisher)?;
                if !offer.is_for(&self.consumer) {
                    return Err(AgreementError::NotForYou { party: self.consumer }.into());
                }
                self.is_model(offer.model())?;
                Ok((State::Offered, self.publisher, Some(CurrentTerms::Offer(signed.clone()))))
            }
            (_, Message::Move(signed)) => {
                let state = self.moved(signed, now, wrong)?;
                Ok((state, signed.content().by, None))
            }
            (State::Requested | State::Accepted, Message::Agreement(proposal)) => {
                if !proposal.signed_by(Role::Publisher) || proposal.signed_by(Role::Consumer) {
                    return Err(wrong());
                }
                self.is_agreed(proposal)?;
                Ok((State::Agreed, self.publisher, None))
            }
            (State::Agreed, Message::Agreement(proposal)) => {
                let agreed = self.agreement().map(|agreed| *agreed.id());
                match agreed {
                    Some(agreed) if agreed == *proposal.id() => {}
                    Some(wanted) => {
                        return Err(NegotiationError::OtherSubject {
                            seen: *proposal.id(),
                            wanted,
                        });
                    }
                    None => return Err(wrong()),
                }
                if !proposal.missing().is_empty() {
                    return Err(wrong());
                }
                Ok((State::Verified, self.consumer, None))
            }
            (_, Message::Request(_) | Message::Offer(_) | Message::Agreement(_)) => Err(wrong()),
        }
    }

    fn moved(
        &self,
        signed: &SignedMove,
        now: Timestamp,
        wrong: impl Fn() -> NegotiationError,
    ) -> Result<State, NegotiationError> {
        let content = signed.content();
        if content.negotiation != self.urn() {
            return Err(NegotiationError::OtherNegotiation { seen: content.negotiation.clone() });
        }
        let role = self.role(&content.by);
        let role = role.ok_or(NegotiationError::NotYours { party: content.by })?;
        match content.kind {
            MoveKind::Accept if self.state != State::Offered => return Err(wrong()),
            MoveKind::Accept if role != Role::Consumer => {
                return Err(NegotiationError::NotYours { party: content.by });
            }
            MoveKind::Terminate if !self.state.may_terminate(role) => return Err(wrong()),
            MoveKind::Accept | MoveKind::Terminate => {}
        }
        let last = self.taken.last().map(|taken| *taken.message.id());
        if let Some(wanted) = last.filter(|last| *last != content.previous) {
            return Err(NegotiationError::OtherHistory { seen: content.previous, wanted });
        }
        match content.kind {
            MoveKind::Terminate => Ok(State::Terminated),
            MoveKind::Accept => {
                self.is_about(&content.previous, &self.model)?;
                match content.expires {
                    Some(expires) if expires <= now => Err(NegotiationError::Expired { expires }),
                    Some(_) | None => Ok(State::Accepted),
                }
            }
        }
    }

    fn is_by(&self, party: &Party, role: Role) -> Result<(), NegotiationError> {
        if self.role(party) == Some(role) {
            Ok(())
        } else {
            Err(NegotiationError::NotYours { party: *party })
        }
    }

    fn is_model(&self, seen: &ModelName) -> Result<(), NegotiationError> {
        if *seen == self.model {
            return Ok(());
        }
        Err(NegotiationError::OtherModel { seen: seen.clone(), wanted: self.model.clone() })
    }

    fn is_about(&self, seen: &Digest, model: &ModelName) -> Result<(), NegotiationError> {
        self.is_model(model)?;
        let wanted = match &self.table {
            CurrentTerms::Request(signed) => *signed.id(),
            CurrentTerms::Offer(signed) => *signed.id(),
        };
        if *seen == wanted {
            Ok(())
        } else {
            Err(NegotiationError::OtherSubject { seen: *seen, wanted })
        }
    }

    fn is_agreed(&self, proposal: &Proposal) -> Result<(), NegotiationError> {
        let agreement = proposal.agreement();
        self.is_by(agreement.assigner(), Role::Publisher)?;
        self.is_by(agreement.assignee(), Role::Consumer)?;
        match &self.table {
            CurrentTerms::Request(signed) => agreement.matches_request(signed)?,
            CurrentTerms::Offer(signed) => agreement.matches(signed)?,
        }
        Ok(())
    }
}
