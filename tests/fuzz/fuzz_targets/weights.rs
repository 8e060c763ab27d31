//! Files of weights: PyTorch's archives with their pickles, and safetensors. They are read without running anything, and no names of theirs
//! take more than a fixed memory.
#![no_main]

use hospes::convert::{NAME_BYTES_MAX, Pickled, weights};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Pickled::read(bytes);
    if let Ok(Some(found)) = weights(bytes) {
        assert!(found.iter().map(|weight| weight.name.len()).sum::<usize>() <= NAME_BYTES_MAX);
    }
});
