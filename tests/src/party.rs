//! A test party: a key, and an account once a host has opened one.

use hospes::agreement::{
    Agreement, Clauses, Offer, Permission, Proposal, SignedOffer, Target, Versions,
};
use hospes::bundle;
use hospes::id::{Digest, ModelName};
use hospes::key::PartyKey;
use jiff::Timestamp;

/// A party with a key and an API key for one host.
#[derive(Clone, Debug)]
pub struct Party {
    pub name: String,
    pub key: PartyKey,
    pub api_key: String,
}

impl Party {
    /// The key of the party with this name. The same name always gives the same key.
    pub fn key_of(name: &str) -> PartyKey {
        PartyKey::from_secret(Digest::of(name.as_bytes()).as_bytes())
    }

    /// The bundle, signed by this party.
    pub fn sign(&self, bundle: &[u8]) -> Vec<u8> {
        bundle::sign(bundle, &self.key).expect("a sound bundle")
    }

    /// Signs an offer of one model.
    pub fn offer(&self, model: &ModelName, bundle: Digest, terms: Vec<Permission>) -> SignedOffer {
        let target = Target { model: model.clone(), versions: Versions::Bundle(bundle) };
        self.offer_of(Clauses::new(target, terms), Vec::new())
    }

    /// Signs an offer of anything, to everyone or to `audience`.
    pub fn offer_of(&self, clauses: Clauses, audience: Vec<hospes::id::Party>) -> SignedOffer {
        let offer = Offer::new(self.key.party(), clauses, audience).expect("a sound offer");
        SignedOffer::sign(offer, &self.key).expect("signed")
    }

    /// Accepts `offer`: an agreement that only this party, the consumer, has signed.
    pub fn accept(&self, offer: &SignedOffer) -> Proposal {
        let agreement = Agreement::accept(offer, self.key.party(), Timestamp::now());
        Proposal::sign(agreement.expect("two parties"), &self.key).expect("signed")
    }
}

/// Terms for one function, without limits.
pub fn terms(function: &str) -> Permission {
    Permission::new(function.parse().expect("a function's name"))
}

/// Terms with limits, written as short lines such as `count lteq 2 call`.
pub trait Limited {
    /// Adds a limit.
    #[must_use]
    fn limit(self, line: &str) -> Self;
}

impl Limited for Permission {
    fn limit(self, line: &str) -> Self {
        self.limited(line, Timestamp::now()).expect("a clause")
    }
}
