//! Tensors as NumPy's files. Whatever is read is written, and read again as the same tensor.
#![no_main]

use bytes::Bytes;
use hospes::tensor::npy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(tensor) = npy::read(&Bytes::copy_from_slice(bytes)) else { return };
    let written = npy::write(&tensor).expect("what was read has a form");
    assert_eq!(npy::read(&written.into()).expect("its own form"), tensor);
});
