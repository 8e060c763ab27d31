//! Named tensors in JSON. Any tensor that parses fits its shape and parses again after it was
//! written.
#![no_main]

use hospes::tensor::json::{parse_inputs, write_outputs};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(inputs) = parse_inputs(bytes) else { return };
    let mut text = Vec::new();
    if write_outputs(&inputs, &mut text).is_ok() {
        let text = String::from_utf8(text).expect("text").replacen("outputs", "inputs", 1);
        assert_eq!(
            parse_inputs(text.as_bytes()).expect("written tensors parse").len(),
            inputs.len()
        );
    }
});
