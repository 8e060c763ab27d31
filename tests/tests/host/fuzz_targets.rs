//! The fuzz targets as tests: they keep compiling between runs of `make fuzz`, and are tried with
//! inputs that are nearly valid.
//!
//! `HOSPES_STORM` is the number of inputs for each.

use std::io::Write as _;
use std::os::fd::AsFd as _;

use hospes::backend::BackendKind;
use hospes::bundle::BundleLimits;
use hospes::checkpoint::{Quantise, open_gguf};
use hospes::inference::backend::BackendError;
use hospes::inference::protocol::{
    Done, Form, Head, Job, JobCall, JobError, Layout, Order, Report, Setup,
};
use hospes::tensor::{DataType, Tensor};
use hospes::worker::{ChannelError, Confinement, End, Limits};
use system_tests::{Chance, Party, model_bundle, simple, storms, workspace};

#[path = "../../fuzz/fuzz_targets/agreement.rs"]
#[allow(unused_attributes, reason = "`no_main` is for the fuzzer's own programs")]
mod agreement;
#[path = "../../fuzz/fuzz_targets/arguments.rs"]
#[allow(unused_attributes, reason = "`no_main` is for the fuzzer's own programs")]
mod arguments;
#[path = "../../fuzz/fuzz_targets/bundle.rs"]
#[allow(unused_attributes, reason = "`no_main` is for the fuzzer's own programs")]
mod bundle;
#[path = "../../fuzz/fuzz_targets/card.rs"]
#[allow(unused_attributes, reason = "`no_main` is for the fuzzer's own programs")]
mod card;
#[path = "../../fuzz/fuzz_targets/decoder.rs"]
#[allow(unused_attributes, reason = "`no_main` is for the fuzzer's own programs")]
mod decoder;
#[path = "../../fuzz/fuzz_targets/evaluator.rs"]
#[allow(unused_attributes, reason = "`no_main` is for the fuzzer's own programs")]
mod evaluator;
#[path = "../../fuzz/fuzz_targets/gguf.rs"]
#[allow(unused_attributes, reason = "`no_main` is for the fuzzer's own programs")]
mod gguf;
#[path = "../../fuzz/fuzz_targets/idx.rs"]
#[allow(unused_attributes, reason = "`no_main` is for the fuzzer's own programs")]
mod idx;
#[path = "../../fuzz/fuzz_targets/model.rs"]
#[allow(unused_attributes, reason = "`no_main` is for the fuzzer's own programs")]
mod model;
#[path = "../../fuzz/fuzz_targets/npy.rs"]
#[allow(unused_attributes, reason = "`no_main` is for the fuzzer's own programs")]
mod npy;
#[path = "../../fuzz/fuzz_targets/parquet.rs"]
#[allow(unused_attributes, reason = "`no_main` is for the fuzzer's own programs")]
mod parquet;
#[path = "../../fuzz/fuzz_targets/receipt.rs"]
#[allow(unused_attributes, reason = "`no_main` is for the fuzzer's own programs")]
mod receipt;
#[path = "../../fuzz/fuzz_targets/rewrite.rs"]
#[allow(unused_attributes, reason = "`no_main` is for the fuzzer's own programs")]
mod rewrite;
#[path = "../../fuzz/fuzz_targets/tensors.rs"]
#[allow(unused_attributes, reason = "`no_main` is for the fuzzer's own programs")]
mod tensors;
#[path = "../../fuzz/fuzz_targets/trees.rs"]
#[allow(unused_attributes, reason = "`no_main` is for the fuzzer's own programs")]
mod trees;
#[path = "../../fuzz/fuzz_targets/weights.rs"]
#[allow(unused_attributes, reason = "`no_main` is for the fuzzer's own programs")]
mod weights;
#[path = "../../fuzz/fuzz_targets/worker.rs"]
#[allow(unused_attributes, reason = "`no_main` is for the fuzzer's own programs")]
mod worker;

// Replaces libFuzzer's `fuzz_target!`; the targets import it from this crate (see `main.rs`).
macro_rules! fuzz_target {
    (|$input:ident: $type:ty| $body:block) => {
        pub(crate) fn fuzz($input: $type) $body
    };
}
pub(crate) use fuzz_target;

const THREADS: usize = 2;

/// Feeds mutated seeds to a target, which panics if it finds a bug.
fn feed(usual: usize, seeds: &[Vec<u8>], target: fn(&[u8])) {
    assert!(!seeds.is_empty());
    seeds.iter().for_each(|seed| target(seed));
    let (wanted, [done, ..]) = storms(usual, THREADS, |inputs, seed| {
        let mut chance = Chance(seed);
        for _ in 0..inputs {
            let mut bytes = seeds[chance.below(seeds.len())].clone();
            chance.break_it(&mut bytes);
            target(&bytes);
        }
        [inputs, 0, 0]
    });
    assert_eq!(done, wanted / THREADS * THREADS);
}

/// A message as it is sent over the socket.
fn sent(send: impl FnOnce(&End) -> Result<(), ChannelError>) -> Vec<u8> {
    let (one, other) = End::pair().expect("a pair");
    send(&one).expect("sent");
    let mut bytes = vec![0; 1 << 17];
    let flags = rustix::net::RecvFlags::empty();
    let (read, _) = rustix::net::recv(other.as_fd(), &mut *bytes, flags).expect("read");
    bytes.truncate(read);
    bytes
}

#[test]
fn messages_of_workers_are_read_or_refused() {
    let head = |bytes| Head { data_type: DataType::U8, shape: vec![2, bytes], bytes: 2 * bytes };
    let done = |result| Done { job: 7, nanos: 1_000_000, result };
    let limits = Limits { memory_bytes_max: 1 << 30, file_bytes_max: 0, cpu_max: None };
    let setup = Setup {
        version: hospes::inference::protocol::VERSION,
        threads: 2,
        layout: Layout::new(4, 1 << 20),
        limits,
        libraries: vec!["/lib/libonnxruntime.so".into()],
    };
    let backend = BackendKind::Onnxruntime;
    let error = || BackendError::Failed("a text".into());
    let seeds = [
        sent(|end| {
            end.send(
                &Job {
                    job: 1,
                    model: 2,
                    window: 3,
                    call: JobCall { id: Some([7; 16]), account: 5, left_nanos: u64::MAX },
                    inputs: vec![Some(head(5)), None, Some(head(1 << 19))],
                },
                None,
            )
        }),
        sent(|end| end.send(&done(Ok(vec![head(3), head(70)])), None)),
        sent(|end| end.send(&done(Err(JobError::Backend(error()))), None)),
        sent(|end| end.send(&done(Err(JobError::TooLarge { bytes: u64::MAX })), None)),
        sent(|end| end.send(&Order::Setup(setup), None)),
        sent(|end| {
            end.send(&Order::Load { model: 1, backend, bytes: 1 << 40, form: Form::Model }, None)
        }),
        sent(|end| end.send(&Order::Cancel { job: u64::MAX, window: u32::MAX }, None)),
        sent(|end| end.send(&Report::NotLoaded { model: 1, error: error() }, None)),
        sent(|end| {
            end.send(
                &Report::Ready {
                    version: 1,
                    backends: Vec::new(),
                    confinement: Confinement::default(),
                },
                None,
            )
        }),
    ];
    feed(100_000, &seeds, worker::fuzz);
}

/// The models in `tests/cases`, and one more.
fn models() -> Vec<Vec<u8>> {
    let cases = std::fs::read_dir(workspace().join("tests/cases")).expect("readable");
    let paths = cases.map(|entry| entry.expect("readable").path());
    let models = paths.filter(|path| path.extension() == Some("onnx".as_ref()));
    let mut seeds: Vec<Vec<u8>> = models
        .map(|path| std::fs::read(path).expect("readable"))
        .filter(|model| model.len() < 100_000)
        .collect();
    seeds.push(simple());
    seeds
}

/// A language model as llama.cpp's writer makes it.
fn tiny_gguf() -> Vec<u8> {
    std::fs::read(workspace().join("tests/fixtures/decoder/tiny.gguf")).expect("a fixture")
}

#[test]
fn gguf_files_become_decoders_or_are_refused() {
    feed(4_000, &[tiny_gguf()], gguf::fuzz);
}

#[test]
fn decoders_are_read_or_refused() {
    let checkpoint = open_gguf(Box::new(tiny_gguf())).expect("opened");
    let written = |quantise| {
        let mut out = Vec::new();
        checkpoint.write(quantise, &mut out).expect("written");
        out
    };
    let seeds = [None, Some(Quantise::F16), Some(Quantise::Q4)].map(written);
    feed(8_000, &seeds, decoder::fuzz);
}

#[test]
fn models_are_walked_or_refused() {
    feed(4_000, &models(), model::fuzz);
}

#[test]
fn models_are_rewritten_or_refused() {
    feed(4_000, &models(), rewrite::fuzz);
}

#[test]
fn cards_and_proofs_are_read_or_refused() {
    let digest = hospes::id::Digest::of(b"rows");
    let trained = format!(
        r#"{{"metrics": {{"accuracy": 0.9}}, "data": {{"test": {{"sha256": "{digest}"}}}}, "recipe": {{"native": {{}}}}}}"#
    );
    let evaluated = format!(
        r#"{{"model": {{"sha256": "{digest}"}}, "data": {{"name": "t10k", "sha256": "{digest}"}}, "runs": [
            {{"place": "onnxruntime", "figures": {{"metric": "accuracy", "value": 0.9, "interval": {{"low": 0.8, "high": 1}}, "rows": 10}}}},
            {{"place": "tract", "figures": {{"metric": "accuracy", "value": 0.8, "interval": null, "rows": 10}}}}]}}"#
    );
    for (report, figures) in [(&trained, 1), (&evaluated, 2)] {
        let found = hospes::bundle::evaluations(report.as_bytes()).expect("figures");
        assert_eq!(found.evaluations.len(), figures);
    }
    let seeds = [
        crate::lineage::README.as_bytes().to_vec(),
        b"---\na: &a [1, 2]\ntags: [*a, *a]\nlicense: {b: !!str c}\n---\n".to_vec(),
        crate::lineage::proof(),
        trained.into_bytes(),
        evaluated.into_bytes(),
    ];
    feed(20_000, &seeds, card::fuzz);
}

#[test]
fn models_of_trees_are_converted_or_refused() {
    let fixtures = std::fs::read_dir(workspace().join("tests/fixtures/convert")).expect("readable");
    let paths = fixtures.map(|entry| entry.expect("readable").path());
    let is_model = |path: &std::path::PathBuf| {
        ["json", "ubj", "txt"].iter().any(|end| path.extension() == Some(end.as_ref()))
    };
    let seeds: Vec<Vec<u8>> = paths
        .filter(is_model)
        .map(|path| std::fs::read(path).expect("readable"))
        .filter(|model| model.len() < 50_000)
        .collect();
    feed(2_000, &seeds, trees::fuzz);
}

#[test]
fn weights_are_listed_or_refused() {
    let tensor = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x02tQK\x00K\x02\x85K\x01\x85\x89tR";
    let pickle = [&b"\x80\x02}q\x00X\x01\x00\x00\x00w"[..], tensor, b"s."].concat();
    let header = br#"{"fc.weight":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}"#;
    let numbers = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 8]].concat();
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    archive.start_file("m/data.pkl", options).expect("begun");
    archive.write_all(&pickle).expect("written");
    archive.start_file("m/data/0", options).expect("begun");
    archive.write_all(&[0; 8]).expect("written");
    let archive = archive.finish().expect("whole").into_inner();
    let found = hospes::convert::weights(&archive).expect("sound").expect("weights");
    assert_eq!((found[0].name.as_str(), &found[0].shape[..]), ("w", &[2][..]));
    let read = hospes::convert::Weights::read(&archive).expect("sound");
    assert_eq!(read.tensors[0].1, [0.0, 0.0]);
    feed(50_000, &[pickle, numbers, archive], weights::fuzz);
}

#[test]
fn footers_of_parquet_files_are_counted_or_refused() {
    let table = crate::held_out::parquet_table();
    let footer = hospes::data::parquet::footer(&table).expect("sound");
    assert_eq!((footer.columns, footer.row_groups, footer.column_chunks), (3, 1, 3));
    let length = u32::from_le_bytes(*table[..table.len() - 4].last_chunk().expect("a length"));
    let footer = table[table.len() - 8 - length as usize..].to_vec();
    feed(50_000, &[table, footer], parquet::fuzz);
}

#[test]
fn bundles_are_verified_or_refused() {
    let model = model_bundle("simple", simple(), None);
    let signed = hospes::bundle::sign(&model, &Party::key_of("acme")).expect("signed");
    let limits = BundleLimits { bundle_bytes_max: 1 << 20, code_bytes_max: 1 << 20 };
    hospes::bundle::verify(signed.clone().into(), &limits).expect("sound");
    feed(20_000, &[signed], bundle::fuzz);
}

/// The documents of the conformance corpus, without the frame in which it keeps them.
fn documents() -> Vec<Vec<u8>> {
    let kept = workspace().join("tests/vectors/agreement/valid");
    let paths =
        std::fs::read_dir(kept).expect("readable").map(|entry| entry.expect("readable").path());
    let read = |path| std::fs::read(path).expect("readable");
    let documents = paths.map(|path| {
        let case: serde_json::Value = serde_json::from_slice(&read(path)).expect("JSON");
        case["document"].to_string().into_bytes()
    });
    documents.collect()
}

#[test]
fn agreements_are_read_or_refused() {
    feed(400, &documents(), agreement::fuzz);
}

#[test]
fn terms_and_their_explanations_agree() {
    let lines = "prohibit execute\nprohibit execute f\nlimit 3 calls per day\npurpose urn:x:a\nno retention";
    feed(400, &[lines.as_bytes().to_vec()], |bytes| {
        let seed = bytes.iter().fold(7, |seed: u64, byte| seed.rotate_left(5) ^ u64::from(*byte));
        evaluator::fuzz((seed, &String::from_utf8_lossy(bytes)));
    });
}

#[test]
fn arguments_and_tensors_survive_being_written() {
    let call = br#"{"a": 7, "b": [1.5, -0.0], "c": "AAEC", "d": ["x"], "e": {"x": 1, "y": "z"}, "f": {"q": 3}, "h": ["r"], "l": [{"s": 1}]}"#;
    feed(50_000, &[call.to_vec()], arguments::fuzz);
    let named =
        br#"{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2.5]}]}"#;
    feed(50_000, &[named.to_vec()], tensors::fuzz);
}

#[test]
fn arrays_are_read_or_refused() {
    let tensor = Tensor::new(DataType::F32, vec![1, 2], vec![0; 8].into()).expect("sound");
    let written = hospes::tensor::npy::write(&tensor).expect("written");
    feed(50_000, &[written], npy::fuzz);
    feed(50_000, &[[&[0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 3][..], &[1, 2, 3]].concat()], idx::fuzz);
}

#[test]
fn proofs_of_receipts_are_read_or_refused() {
    let proof = br#"{"receipt": "oA==", "path": [], "checkpoint": "log 1 x"}"#;
    feed(50_000, &[proof.to_vec()], receipt::fuzz);
}
