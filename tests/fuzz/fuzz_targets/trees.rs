//! Models of XGBoost (JSON and UBJSON) and LightGBM. What is converted is an ONNX model that can be read, and a refusal says what to do.
#![no_main]

use hospes::convert::{Source, native};
use hospes::onnx::Model;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for source in [Source::Xgboost, Source::Lightgbm] {
        match native(source, bytes) {
            Ok(model) => drop(Model::read(model).expect("what is written is sound")),
            Err(refused) => assert!(refused.to_string().contains("; "), "{refused}"),
        }
    }
});
