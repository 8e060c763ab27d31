//! Files of weights: PyTorch's archives with their pickles, and safetensors. They are read without running anything, and no names of theirs
//! take more than a fixed memory.
#![no_main]

use hospes::convert::{NAME_BYTES_MAX, Pickled, Weights, weights};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Pickled::read(bytes);
    // Every number takes two bytes of the file at least.
    if let Ok(read) = Weights::read(bytes) {
        assert!(
            read.tensors.iter().map(|(_, numbers)| numbers.len()).sum::<usize>() <= bytes.len() / 2
        );
    }
    if let Ok(Some(found)) = weights(bytes) {
        assert!(found.iter().map(|weight| weight.name.len()).sum::<usize>() <= NAME_BYTES_MAX);
    }
});
