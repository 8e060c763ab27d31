//! ONNX models, before any backend sees them. Any accepted model has at most as many operators as
//! bytes.
#![no_main]

use hospes::onnx;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match onnx::check(bytes) {
        Ok(facts) => {
            let nodes: u64 = facts.operators().iter().map(|operator| operator.count).sum();
            assert!(nodes <= bytes.len() as u64);
        }
        Err(refused) => assert!(refused.to_string().len() < 2000),
    }
});
