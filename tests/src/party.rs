//! A party of the tests: a key, and an account once a host has opened one.

use hospes::agreement::{
    Agreement, Clauses, Offer, Permission, Proposal, SignedOffer, Target, Versions,
};
use hospes::bundle;
use hospes::id::{Digest, ModelName};
use hospes::key::PartyKey;
use jiff::Timestamp;

/// Somebody with a key, and an API key of one host.
#[derive(Clone, Debug)]
pub struct Party {
    pub name: String,
    pub key: PartyKey,
    pub api_key: String,
}

impl Party {
    /// The key of the party with this name: always the same.
    pub fn key_of(name: &str) -> PartyKey {
        PartyKey::from_secret(Digest::of(name.as_bytes()).as_bytes())
    }

    /// The bundle, signed by this party.
    pub fn sign(&self, bundle: &[u8]) -> Vec<u8> {
        bundle::sign(bundle, &self.key).expect("a sound bundle")
    }

    /// A signed offer.
    pub fn offer(&self, model: &ModelName, bundle: Digest, terms: Vec<Permission>) -> SignedOffer {
        let target = Target { model: model.clone(), versions: Versions::Bundle(bundle) };
        self.offer_of(Clauses::new(target, terms), Vec::new())
    }

    /// A signed offer of anything, to everybody or to `audience`.
    pub fn offer_of(&self, clauses: Clauses, audience: Vec<hospes::id::Party>) -> SignedOffer {
        let offer = Offer::new(self.key.party(), clauses, audience).expect("a sound offer");
        SignedOffer::sign(offer, &self.key).expect("signed")
    }

    /// An agreement to `offer`, signed by this party as consumer only.
    pub fn accept(&self, offer: &SignedOffer) -> Proposal {
        let agreement = Agreement::accept(offer, self.key.party(), Timestamp::now());
        Proposal::sign(agreement.expect("two parties"), &self.key).expect("signed")
    }
}

/// The terms of one function, limited in nothing.
pub fn terms(function: &str) -> Permission {
    Permission::new(function.parse().expect("a function's name"))
}

/// Terms with limits, in short lines such as `count lteq 2 call`.
pub trait Limited {
    /// The same with one limit more.
    #[must_use]
    fn limit(self, line: &str) -> Self;
}

impl Limited for Permission {
    fn limit(self, line: &str) -> Self {
        self.limited(line, Timestamp::now()).expect("a clause")
    }
}
