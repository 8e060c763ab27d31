//! Mandates: if a publisher lets the host sign for it, an agreement is in force as soon as the consumer has signed.

use std::sync::Arc;

use jiff::Timestamp;

use super::directory::Room;
use super::{Agreements, AgreementsError, Standing};
use crate::agreement::{Mandate, Proposal, Role, SignedMandate, SignedOffer};
use crate::id::{Digest, Party};
use crate::state::Shared;
use crate::state::accounts::Caller;
use crate::store::Table;

/// Why the host does not sign for a publisher who has given it a mandate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    #[error("its mandate for this offer expired at {0}")]
    Expired(Timestamp),
    #[error("its mandate for this offer permits {}, which are made", agreements(*max))]
    UsedUp { max: u32 },
    #[error(
        "its mandate for this offer permits {} with one consumer, which are made", agreements(*max)
    )]
    UsedUpByConsumer { max: u32 },
    #[error("it has signed {max} agreements, as many as `market.agreements_per_party_max` allows")]
    PublisherFull { max: usize },
    #[error("after a restore, the host may lack agreements that it has signed under the mandate")]
    Lost,
}

fn agreements(count: u32) -> String {
    if count == 1 { "1 agreement".into() } else { format!("{count} agreements") }
}

impl Agreements {
    /// Stores a publisher's mandate for an offer, replacing any earlier one. Mandates for offers that the market has forgotten (`is_known`)
    /// are removed unless agreements are based on them, so that replaced offers leave nothing behind.
    ///
    /// # Errors
    /// [`AgreementsError`]; nothing was changed.
    pub fn mandate(
        &self,
        caller: &Caller,
        offer: &SignedOffer,
        envelope: &[u8],
        is_known: impl Fn(&Digest) -> bool,
    ) -> Result<SignedMandate, AgreementsError> {
        let signed = SignedMandate::parse(envelope)?;
        let mandate = signed.content();
        let fits = mandate.publisher == *caller.party()
            && mandate.publisher == *offer.offer().assigner()
            && mandate.offer == *offer.id()
            && mandate.agent == self.key.party();
        if !fits {
            return Err(AgreementsError::MandateElsewhere { agent: self.key.party() });
        }
        // While this is held, no agreement begins to use a mandate that is removed.
        let room = self.room();
        let mut mandates = Shared::clone(&self.mandates.load());
        let gone = self.useless(&room, mandates.values(), (caller, is_known));
        for gone in &gone {
            mandates.remove_mut(gone);
        }
        mandates.insert_mut(*offer.id(), signed.clone());
        let gone: Vec<String> = gone.iter().map(Digest::to_string).collect();
        let out: Vec<_> = gone.iter().map(|gone| (Table::Mandates, &**gone)).collect();
        self.store.change(&out, &[(Table::Mandates, &offer.id().to_string(), envelope)])?;
        self.mandates.store(Arc::new(mandates));
        Ok(signed)
    }

    /// The offers whose mandates are useless: no agreement is based on them, and none can be made. Agreements that the host may have lost
    /// or cannot read could be based on any.
    fn useless<'m>(
        &self,
        room: &Room,
        mandates: impl Iterator<Item = &'m SignedMandate>,
        (publisher, is_known): (&Caller, impl Fn(&Digest) -> bool),
    ) -> Vec<Digest> {
        let aside = self.store.all_aside();
        if self.has_lost_agreements() || aside.iter().any(|one| one.table == Table::Agreements) {
            return Vec::new();
        }
        let own = mandates.map(SignedMandate::content).filter(|one| publisher.is(&one.publisher));
        let useless =
            own.filter(|one| !is_known(&one.offer) && room.by_agent(&one.offer, &[]) == (0, 0));
        useless.map(|one| one.offer).collect()
    }

    /// The mandate for an offer.
    pub fn mandate_of(&self, offer: &Digest) -> Option<SignedMandate> {
        self.mandates.load().get(offer).cloned()
    }

    /// Whether a mandate is the caller's own, or the host used it to sign with the caller. Waits for running writes.
    pub fn knows_mandate(&self, caller: &Caller, mandate: &Mandate) -> bool {
        let own: Vec<Party> = caller.parties().copied().collect();
        own.contains(&mandate.publisher) || self.room().by_agent(&mandate.offer, &own).1 > 0
    }

    /// Signs for the publisher, if its mandate permits. If the mandate has expired or is used up, in total or by this consumer, the
    /// publisher must sign itself. The same holds after a restore that may have lost agreements under it.
    pub(super) fn agree_for_publisher(
        &self,
        room: &Room,
        proposal: &mut Proposal,
    ) -> Result<(), AgreementsError> {
        if proposal.signed_by(Role::Publisher) || !proposal.signed_by(Role::Consumer) {
            return Ok(());
        }
        let agreement = proposal.agreement();
        let Some(signed) = self.mandate_of(agreement.offer_id()) else { return Ok(()) };
        if self.unusable(room, signed.content(), agreement.assignee()).is_some() {
            return Ok(());
        }
        Ok(proposal.sign_for_publisher(&signed, &self.key)?)
    }

    /// Why the host has not signed for the publisher, if there is a mandate for the offer. Waits for running writes.
    pub fn why_unsigned(&self, standing: &Standing) -> Option<Unsigned> {
        let outline = standing.outline();
        if outline.missing() != [Role::Publisher] {
            return None;
        }
        let signed = self.mandate_of(&outline.offer)?;
        self.unusable(&self.room(), signed.content(), &outline.consumer)
    }

    /// Why a mandate permits no further agreement with this consumer, if so.
    fn unusable(&self, room: &Room, mandate: &Mandate, consumer: &Party) -> Option<Unsigned> {
        let (made, with_consumer) = room.by_agent(&mandate.offer, &self.auth.parties_of(consumer));
        let (max, max_per_consumer) = (mandate.max, mandate.max_per_consumer());
        if self.now() >= mandate.expires {
            Some(Unsigned::Expired(mandate.expires))
        } else if made >= max {
            Some(Unsigned::UsedUp { max })
        } else if with_consumer >= max_per_consumer {
            Some(Unsigned::UsedUpByConsumer { max: max_per_consumer })
        } else if self.is_full(room, &mandate.publisher) {
            Some(Unsigned::PublisherFull { max: self.limits.agreements_per_party_max })
        } else if self.has_lost_agreements() {
            Some(Unsigned::Lost)
        } else {
            None
        }
    }

    pub(super) fn restore_mandates(&self) -> Result<(), AgreementsError> {
        let mut mandates = Shared::default();
        for (key, record) in self.store.all(Table::Mandates)? {
            match SignedMandate::parse(&record) {
                Ok(signed) => mandates.insert_mut(signed.content().offer, signed),
                Err(error) => self.store.set_aside(Table::Mandates, &key, &error),
            }
        }
        self.mandates.store(Arc::new(mandates));
        Ok(())
    }
}
