//! Decoder models. What is accepted has every weight that its config names, and rows of the right size.
#![no_main]

use hospes::decoder::Decoder;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(decoder) = Decoder::read(bytes) {
        let config = decoder.config();
        assert_eq!(decoder.layers().count(), config.layers as usize);
        assert!(config.eos.iter().all(|token| *token < config.vocabulary));
        let mut row = vec![0.0; config.hidden as usize];
        decoder.head().row(config.vocabulary as usize - 1, &mut row);
        for layer in decoder.layers() {
            layer.gate.row(0, &mut row);
            assert_eq!(layer.input_norm.values().count(), row.len());
        }
    }
});
