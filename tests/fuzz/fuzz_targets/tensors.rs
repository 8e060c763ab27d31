//! Named tensors in JSON. Whatever is read fits its shape, and is read again from what is written.
#![no_main]

use hospes::tensor::json::{parse_inputs, write_outputs};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(inputs) = parse_inputs(bytes) else { return };
    let mut text = Vec::new();
    if write_outputs(&inputs, &mut text).is_ok() {
        let text = String::from_utf8(text).expect("text").replacen("outputs", "inputs", 1);
        assert_eq!(parse_inputs(text.as_bytes()).expect("what is written is read").len(), inputs.len());
    }
});
