//! Model cards and proofs of trainings, which people get from elsewhere. A card's typed members stay
//! within what a manifest takes, and a proof that is read names its signer.
#![no_main]

use bytes::Bytes;
use hospes::bundle::provenance::Provenance;
use hospes::bundle::{CARD_ENTRY_BYTES_MAX, CARD_LIST_MAX, EVALUATIONS_MAX, Readme, evaluations};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(readme) = Readme::read(Bytes::copy_from_slice(bytes)) {
        assert_eq!(readme.text, bytes);
        let card = &readme.card;
        for list in [&card.languages, &card.tags, &card.datasets, &card.metrics, &card.base_models]
        {
            assert!(list.len() <= CARD_LIST_MAX);
            assert!(list.iter().all(|entry| entry.len() <= CARD_ENTRY_BYTES_MAX));
        }
        assert!(readme.evaluations.len() <= EVALUATIONS_MAX);
    }
    if let Ok(report) = evaluations(bytes) {
        assert!(report.evaluations.len() <= EVALUATIONS_MAX);
    }
    if let Ok(proof) = Provenance::parse(bytes) {
        assert!(proof.summary().signer == proof.signer());
    }
});
