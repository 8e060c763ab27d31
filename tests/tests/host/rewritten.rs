//! Models that were read and written again compute what they computed before, bit for bit, on each backend that takes them.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hospes::inference::TensorSpec;
use hospes::inference::backend::onnxruntime::OnnxRuntime;
use hospes::inference::backend::tract::Tract;
use hospes::inference::backend::{Backend, Call, Context, Source, Stop};
use hospes::onnx;
use hospes::tensor::{DataType, Tensor, pack_strings};
use system_tests::{TestHost, workspace};

/// It loads as gigabytes.
const LEFT_OUT: &str = "const-bomb.onnx";

/// Each `.onnx` file below a folder.
fn models(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            found.extend(models(&path));
        } else if path.extension().is_some_and(|end| end == "onnx") && !path.ends_with(LEFT_OUT) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A tensor that an input takes: open dimensions have two elements, and numbers are small. No whole number is zero: one
/// of the models divides.
fn sample(spec: &TensorSpec) -> Tensor {
    let sizes = spec.shape.iter().flatten().map(|size| size.unwrap_or(2));
    let shape: Vec<usize> = sizes.collect();
    let count = shape.iter().product();
    let numbers = (0..count).map(|at| (at * 7 % 11) as u8);
    let data = match spec.data_type {
        DataType::Bytes => pack_strings((0..count).map(|_| &b"text"[..])).expect("short"),
        DataType::F32 => numbers.flat_map(|n| (f32::from(n) / 4.0).to_le_bytes()).collect(),
        DataType::F64 => numbers.flat_map(|n| (f64::from(n) / 4.0).to_le_bytes()).collect(),
        DataType::Bool => numbers.map(|n| n % 2).collect(),
        other => {
            let width = other.size().expect("fixed");
            numbers.flat_map(|n| [&[1 + n % 2][..], &vec![0; width - 1]].concat()).collect()
        }
    };
    Tensor::new(spec.data_type, shape, data).expect("fits")
}

/// What a backend computes, or why it does not.
fn computed(backend: &dyn Backend, model: &[u8]) -> Result<Vec<Tensor>, String> {
    let model = backend.load(Source::Model(model)).map_err(|error| error.to_string())?;
    let inputs: Vec<_> = model
        .signature()
        .inputs
        .iter()
        .map(|spec| (!spec.optional).then(|| sample(spec)))
        .collect();
    let call = Call::of_nobody(Instant::now() + Duration::from_secs(60));
    let stop = Stop::default();
    let run = || model.run(&inputs, &Context { call, stop: &stop });
    // tract panics at indices beyond the end. Workers catch that, as here.
    let outputs = catch_unwind(AssertUnwindSafe(run)).map_err(|_| "it panicked".to_owned())?;
    outputs.map_err(|error| error.to_string())
}

#[test]
fn every_model_computes_the_same_when_it_was_read_and_written() {
    let folders =
        ["plugins/target/models", "tests/cases", "tests/fixtures/exports", "tests/fixtures/scikit"];
    let onnxruntime = OnnxRuntime::find(&[TestHost::onnxruntime()], NonZeroUsize::MIN);
    let onnxruntime = onnxruntime.expect("`make test` installs it first");
    let backends: [(&str, &dyn Backend); 2] = [("onnxruntime", &onnxruntime), ("tract", &Tract)];
    let mut same = [0, 0];
    for path in folders.iter().flat_map(|folder| models(&workspace().join(folder))) {
        let bytes = std::fs::read(&path).expect("readable");
        let refused = onnx::check(&bytes).is_err();
        let written = onnx::Model::read(bytes.clone()).and_then(|model| model.write());
        assert_eq!(written.is_err(), refused, "{}: {:?}", path.display(), written.err());
        let Ok(written) = written else { continue };
        for ((name, backend), same) in backends.iter().zip(&mut same) {
            // Not every backend takes every model.
            let Ok(before) = computed(*backend, &bytes) else { continue };
            let after = computed(*backend, &written);
            assert!(after.as_ref() == Ok(&before), "{name}, {}", path.display());
            *same += 1;
        }
    }
    assert!(same[0] >= 12 && same[1] >= 5, "compared: {same:?}");
}
