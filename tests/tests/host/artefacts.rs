//! Models in the form that ONNX Runtime maps: little memory, the same answers, and never anybody else's.
#![allow(
    clippy::print_stdout,
    reason = "figures are for whoever runs it, and requests are written in place"
)]

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hospes::backend::BackendKind;
use hospes::config::Config;
use hospes::host::inference_settings;
use hospes::inference::{
    ArtefactSettings, Call, Graph, Inference, ModelSource, Placement, Settings,
};
use hospes::tensor::{DataType, Tensor};
use system_tests::{HostProcess, TestHost, identity, workspace};

/// Sessions of a model in a worker.
const THREADS: usize = 2;

const MODELS: [&str; 5] = ["lenet", "magika", "silero", "efficientnet-lite0", "minilm"];

fn settings(folder: Option<&Path>) -> Settings {
    let mut config = Config::default();
    config.inference.onnxruntime_library = Some(TestHost::onnxruntime());
    config.inference.backend = BackendKind::Onnxruntime.into();
    config.inference.threads = NonZeroUsize::new(THREADS).expect("not zero");
    config.inference.worker_program = Some(HostProcess::program());
    let artefacts = folder.map(|folder| ArtefactSettings {
        folder: folder.to_owned(),
        secret: [7; 32],
        bytes_max: 1 << 30,
    });
    Settings { artefacts, ..inference_settings(&config) }
}

async fn inference(folder: Option<&Path>) -> Inference {
    Inference::start(settings(folder)).await.expect("starts")
}

fn source(model: &str) -> ModelSource {
    let path = workspace().join(format!("plugins/target/models/{model}/model.onnx"));
    let bytes = fs::read(path).expect("`make test` builds it first");
    ModelSource::in_memory("acme".parse().expect("a name"), bytes.into())
}

async fn load(inference: &Inference, model: &str) -> Arc<Graph> {
    inference.load(source(model), Placement::default()).await.expect(model)
}

async fn prepared(inference: &Inference, model: &str) -> Arc<Graph> {
    inference.prepare(&source(model), Placement::default()).await;
    load(inference, model).await
}

fn tensor(ty: DataType, shape: &[usize], data: Vec<u8>) -> Tensor {
    Tensor::new(ty, shape.to_vec(), data.into()).expect("fits")
}

fn floats(shape: &[usize]) -> Tensor {
    let values = (0..shape.iter().product()).map(|n: usize| (n * 37 % 255) as f32 / 255.0 - 0.5);
    tensor(DataType::F32, shape, values.flat_map(f32::to_le_bytes).collect())
}

fn ids(shape: &[usize]) -> Tensor {
    let values = (0..shape.iter().product()).map(|n: usize| (n * 37 % 1000) as i64);
    tensor(DataType::I64, shape, values.flat_map(i64::to_le_bytes).collect())
}

fn inputs(model: &str) -> Vec<(String, Tensor)> {
    let ones = |shape: &[usize]| {
        let count: usize = shape.iter().product();
        tensor(DataType::I64, shape, 1_i64.to_le_bytes().repeat(count))
    };
    let bytes = (0..2048_i32).map(|n| n % 257).flat_map(i32::to_le_bytes).collect();
    let named = match model {
        "lenet" => vec![("image", floats(&[3, 3, 32, 32]))],
        "magika" => vec![("bytes", tensor(DataType::I32, &[1, 2048], bytes))],
        "silero" => vec![
            ("input", floats(&[1, 576])),
            ("state", floats(&[2, 1, 128])),
            ("sr", tensor(DataType::I64, &[], 16_000_i64.to_le_bytes().into())),
        ],
        "efficientnet-lite0" => vec![("image", floats(&[1, 3, 224, 224]))],
        _ => vec![
            ("input_ids", ids(&[2, 64])),
            ("attention_mask", ones(&[2, 64])),
            ("token_type_ids", tensor(DataType::I64, &[2, 64], vec![0; 1024])),
        ],
    };
    named.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect()
}

async fn compute(graph: &Graph, model: &str) -> Vec<(String, Tensor)> {
    let call = Call::of_nobody(Instant::now() + Duration::from_secs(60));
    graph.compute(inputs(model), call).await.expect(model)
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("there").map(|entry| entry.expect("there").path());
    entries.filter(|path| path.extension().is_some_and(|end| end == extension)).collect()
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[tokio::test(flavor = "multi_thread")]
async fn every_session_of_every_worker_shares_the_weights_and_computes_the_same_to_the_last_bit() {
    let folder = tempfile::tempdir().expect("a folder");
    let (plain, mapping) = (inference(None).await, inference(Some(folder.path())).await);
    for model in MODELS {
        let own = load(&plain, model).await;
        let mapped = prepared(&mapping, model).await;
        let (before, after) = (own.held(), mapped.held());
        println!(
            "{model}: {THREADS} sessions, {:.1} MB private before; now {:.1} MB private, {:.1} MB shared, {} mappings",
            megabytes(before.private_bytes),
            megabytes(after.private_bytes),
            megabytes(after.shared_bytes),
            after.mappings,
        );
        // Silero computes none of the inputs that are invented for it, so there is nothing to compare.
        assert!(after.shared_bytes > 0 || model == "silero", "{model} is not mapped");
        assert_eq!(own.signature(), mapped.signature(), "{model}");
        assert_eq!(compute(&own, model).await, compute(&mapped, model).await, "{model}");
        let limit = match model {
            "minilm" => 20_000_000,
            "efficientnet-lite0" => 10_000_000,
            _ => continue,
        };
        assert!(after.private_bytes <= limit, "{model}: {after:?}");
    }
    assert_eq!(files(folder.path(), "plain").len(), 1, "Silero is remembered");
}

/// Regression: the library writes weights where its own kernels cannot read them, and this model crashed every process that mapped them.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_whose_weights_the_library_misaligns_computes_from_its_artefact_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = inference(Some(folder.path())).await;
    let expected = compute(&*prepared(&first, "lenet").await, "lenet").await;
    drop(first);
    let again = inference(Some(folder.path())).await;
    let graph = load(&again, "lenet").await;
    assert!(graph.held().shared_bytes > 0, "it was kept");
    for _ in 0..20 {
        assert_eq!(compute(&graph, "lenet").await, expected);
    }
    assert_eq!(again.incidents().len(), 0, "no process ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_artefact_is_ignored_and_made_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = inference(Some(folder.path())).await;
    let expected = compute(&*prepared(&first, "lenet").await, "lenet").await;
    drop(first);
    let [path] = files(folder.path(), "mapped").try_into().expect("one");
    let mut bytes = fs::read(&path).expect("there");
    bytes[5000] ^= 1;
    fs::write(&path, &bytes).expect("written");
    let again = inference(Some(folder.path())).await;
    let graph = load(&again, "lenet").await;
    assert_eq!(graph.held().shared_bytes, 0, "it is loaded from its own file");
    assert_eq!(compute(&graph, "lenet").await, expected);
    let began = Instant::now();
    while !path.exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "it is not made again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(graph);
    assert!(load(&again, "lenet").await.held().shared_bytes > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_without_weights_worth_mapping_is_loaded_from_its_own_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let inference = inference(Some(folder.path())).await;
    let model = identity(DataType::F32, 1);
    let source = ModelSource::in_memory("acme".parse().expect("a name"), model.into());
    inference.prepare(&source, Placement::default()).await;
    let graph = inference.load(source, Placement::default()).await.expect("loads");
    assert_eq!(graph.held().shared_bytes, 0);
    assert_eq!(files(folder.path(), "mapped"), Vec::<PathBuf>::new());
}

/// The private bytes of the only worker.
fn private_bytes(inference: &Inference) -> u64 {
    let [worker] = inference.workers().try_into().expect("one worker");
    let text = fs::read_to_string(format!("/proc/{worker}/smaps_rollup")).expect("ours");
    let kilobytes = text.lines().filter(|line| line.starts_with("Private_")).map(|line| {
        let number = line.split_whitespace().nth(1).expect("a number");
        number.parse::<u64>().expect("a number")
    });
    kilobytes.sum::<u64>() << 10
}

#[tokio::test(flavor = "multi_thread")]
async fn what_loaded_models_took_is_given_back_however_often_they_come_and_go() {
    let cycles = std::env::var("HOSPES_CYCLES").ok();
    let cycles: usize = cycles.map_or(4, |text| text.parse().expect("a number"));
    let folder = tempfile::tempdir().expect("a folder");
    let inference = inference(Some(folder.path())).await;
    // Keeps the worker alive.
    let small = Bytes::from(identity(DataType::F32, 1));
    let source = ModelSource::in_memory("acme".parse().expect("a name"), small);
    let _kept = inference.load(source, Placement::default()).await.expect("loads");
    for model in MODELS {
        inference.prepare(&self::source(model), Placement::default()).await;
    }
    let mut seen = Vec::new();
    for cycle in 0..cycles + 2 {
        for model in MODELS {
            let graph = load(&inference, model).await;
            compute(&graph, model).await;
        }
        // The worker unloads when it gets to it.
        tokio::time::sleep(Duration::from_millis(20)).await;
        if cycle >= 2 {
            seen.push(private_bytes(&inference));
        }
    }
    let part = (seen.len() / 4).max(1);
    let smallest = |part: &[u64]| part.iter().copied().min().expect("not empty");
    let (first, last) = (smallest(&seen[..part]), smallest(&seen[seen.len() - part..]));
    let most = seen.iter().copied().max().expect("not empty");
    println!(
        "{cycles} cycles of {} models: {:.1} MB private at first, {:.1} MB at last, {:.1} MB at most",
        MODELS.len(),
        megabytes(first),
        megabytes(last),
        megabytes(most)
    );
    // A few cycles show a model that stays, hundreds of them a little that does.
    let room = if cycles < 50 { first / 4 } else { first / 20 };
    assert!(last <= first + room, "it grew from {first} to {last} bytes");
}
