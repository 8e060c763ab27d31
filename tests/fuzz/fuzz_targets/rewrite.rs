//! ONNX models, read and written again: what is read once is read again as it was, and no change to it panics.
#![no_main]

use std::collections::BTreeMap;

use hospes::onnx::model::{Model, Names};
use hospes::onnx::{cure, fit};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(mut model) = Model::read(bytes.to_vec()) {
        if let Ok(written) = model.write() {
            let again = Model::read(written.clone()).expect("what was written is read");
            assert_eq!(again.write().expect("what was read is written"), written);
        }
        let was_whole = model.graph.check_order().is_ok();
        let mut names = Names::of(&model);
        let mut own: Vec<String> = model.graph.origins().into_keys().map(str::to_owned).collect();
        own.sort();
        let renamed: BTreeMap<_, _> =
            own.into_iter().map(|name| (name, names.fresh("value"))).collect();
        let is_renamed = model.rename(&renamed).is_ok();
        let _ = model.graph.sort();
        let _ = model.remove_unused();
        assert!(!was_whole || !is_renamed || model.graph.check_order().is_ok());
        let _ = cure(&mut model, &|_| Ok(Some(vec![0; 64])));
        let _ = fit(&model);
    }
});
