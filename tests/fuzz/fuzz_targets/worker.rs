//! Messages between a host and its workers.
#![no_main]

use hospes::inference::protocol::{Done, Job, Order, Report};
use hospes::sandbox::compiling::{Compiled, Task};
use hospes::worker::channel::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = decode::<Order>(bytes);
    let _ = decode::<Report>(bytes);
    if let Ok(job) = decode::<Job>(bytes) {
        let _ = job.call.received();
        let layout = hospes::inference::protocol::Layout::new(4, 1 << 20);
        if let Some(places) = layout.places(job.inputs.iter().flatten()) {
            for (head, place) in job.inputs.iter().flatten().zip(places) {
                assert!(place + head.bytes <= layout.part_bytes, "a tensor stays within its part");
            }
        }
    }
    let _ = decode::<Done>(bytes);
    let _ = decode::<Task>(bytes);
    let _ = decode::<Compiled>(bytes);
});
