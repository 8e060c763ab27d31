//! GGUF files. What can be written as a decoder, hosts accept.
#![no_main]

use hospes::checkpoint::{Quantise, open_gguf};
use hospes::decoder::Decoder;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(checkpoint) = open_gguf(Box::new(bytes.to_vec())) {
        for quantise in [None, Some(Quantise::Q4)] {
            let mut out = Vec::new();
            if checkpoint.write(quantise, &mut out).is_ok() {
                Decoder::read(&out).expect("what is written is sound");
            }
        }
    }
});
