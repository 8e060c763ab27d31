//! Bundles, the first thing that a publisher sends. Any bundle that verifies names a publisher and
//! contains what its manifest lists.
#![no_main]

use hospes::bundle::{BundleLimits, Shape, verify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = BundleLimits { bundle_bytes_max: 1 << 20, code_bytes_max: 1 << 20 };
    if let Ok(bundle) = verify(bytes.to_vec().into(), &limits) {
        assert_eq!(bundle.manifest().publisher.as_ref(), Some(bundle.publisher()));
    }
    let _ = Shape::read(bytes);
});
