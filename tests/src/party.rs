//! A party of the tests: a key, and an account once a host has opened one.

use hospes::agreement::{Agreement, Offer, PermissionSpec, Proposal, SignedOffer};
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
    pub fn offer(
        &self,
        model: &ModelName,
        bundle: Digest,
        terms: Vec<PermissionSpec>,
    ) -> SignedOffer {
        let offer =
            Offer::new(self.key.party(), model.clone(), bundle, terms).expect("a sound offer");
        SignedOffer::sign(offer, &self.key).expect("signed")
    }

    /// An agreement to `offer`, signed by this party as consumer only.
    pub fn accept(&self, offer: &SignedOffer) -> Proposal {
        let agreement = Agreement::accept(offer, self.key.party(), Timestamp::now());
        Proposal::sign(agreement.expect("two parties"), &self.key).expect("signed")
    }
}

/// The terms of one function, limited in nothing.
pub fn terms(function: &str) -> PermissionSpec {
    PermissionSpec {
        function: function.parse().expect("a function's name"),
        count: None,
        from: None,
        until: None,
        input_bytes_max: None,
        output_bytes_max: None,
    }
}
