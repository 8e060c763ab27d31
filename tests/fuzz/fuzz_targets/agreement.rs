//! Offers and agreements. Whatever is read is written again as the same bytes.
#![no_main]

use hospes::agreement::{Proposal, SignedAgreement, SignedOffer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(offer) = SignedOffer::parse(bytes) {
        assert_eq!(offer.to_bytes(), bytes);
    }
    if let Ok(proposal) = Proposal::parse(bytes) {
        assert_eq!(proposal.to_bytes(), bytes);
    }
    if let Ok(agreement) = SignedAgreement::parse(bytes) {
        assert_eq!(agreement.to_bytes(), bytes);
    }
});
