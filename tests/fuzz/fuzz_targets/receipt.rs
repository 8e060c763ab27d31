//! Receipts and their proofs, as handed to an auditor.
#![no_main]

use hospes::id::Party;
use hospes::receipt::ReceiptProof;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(proof) = ReceiptProof::parse(bytes) {
        let _ = proof.verify(&Party::from_public_key([7; 32]));
        let again = ReceiptProof::parse(&proof.to_bytes());
        assert!(again.is_ok(), "a receipt survives a round trip");
    }
});
