//! NumPy files. Any tensor that parses must survive a round trip.
#![no_main]

use bytes::Bytes;
use hospes::tensor::npy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(tensor) = npy::read(&Bytes::copy_from_slice(bytes)) else { return };
    let written = npy::write(&tensor).expect("a parsed tensor can be written");
    assert_eq!(npy::read(&written.into()).expect("a written tensor parses"), tensor);
});
