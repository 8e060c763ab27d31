//! IDX files. What is parsed has as many elements as its shape says, and no bytes make the parser panic.
#![no_main]

use bytes::Bytes;
use hospes::data::idx;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(tensor) = idx::parse(&Bytes::copy_from_slice(bytes)) else { return };
    let elements: usize = tensor.shape().iter().product();
    let width = tensor.data_type().size().expect("IDX has numbers only");
    assert_eq!(tensor.data().len(), elements * width);
});
