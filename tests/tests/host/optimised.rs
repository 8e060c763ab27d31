//! What the optimiser makes of real models, and what its gate refuses. Each method wins on one model and wrecks another.
//!
//! Times depend on the machine, so these tests ask for them only where the difference is large. That 8-bit layers are twice as fast
//! shows only on processors with VNNI.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hospes::backend::BackendKind;
use hospes::data::{self, DataSet, Options};
use hospes::evaluate::Pool;
use hospes::inference::backend::onnxruntime::OnnxRuntime;
use hospes::inference::backend::{Backend, Call, Context, Model, Source, Stop};
use hospes::onnx;
use hospes::optimize::execute::{Metric, Named, Rows};
use hospes::optimize::gate::{Loss, Refusal, Verdict};
use hospes::optimize::{Executor, Limits, Made, Method, Report, Task, judge, make, passes};
use serde_json::Value;
use system_tests::{HostProcess, TestHost, oracle, oracle_json, workspace};

/// ONNX Runtime in this process.
struct Here(OnnxRuntime);

impl Here {
    fn start() -> Self {
        let found = OnnxRuntime::find(&[TestHost::onnxruntime()], NonZeroUsize::MIN);
        Self(found.expect("`make test` installs it first"))
    }
}

impl Executor for Here {
    type Loaded = Box<dyn Model>;

    fn backends(&self) -> Vec<BackendKind> {
        vec![BackendKind::Onnxruntime]
    }

    fn load(&self, model: Bytes, _backend: BackendKind) -> Result<Box<dyn Model>, String> {
        self.0.load(Source::Model(&model)).map_err(|error| error.to_string())
    }

    fn compute(&self, model: &Box<dyn Model>, inputs: Named) -> Result<Named, String> {
        let signature = model.signature();
        let inputs = signature.bind(inputs).map_err(|error| error.to_string())?;
        let call = Call::of_nobody(Instant::now() + Duration::from_secs(60));
        let outputs = model.run(&inputs, &Context { call, stop: &Stop::default() });
        let outputs = outputs.map_err(|error| error.to_string())?;
        Ok(signature.outputs.iter().map(|output| output.name.clone()).zip(outputs).collect())
    }
}

/// A model of the plugins.
fn model(name: &str) -> Bytes {
    let path = workspace().join(format!("plugins/target/models/{name}/model.onnx"));
    std::fs::read(path).expect("`make plugins` made it").into()
}

/// The encoder of sentences with the weights that were published, in floats. The file that is shipped has them in 8 bits.
fn sentence_encoder(folder: &Path) -> PathBuf {
    let fetched = workspace().join("plugins/target");
    let (shipped, published) =
        (fetched.join("models/minilm/model.onnx"), fetched.join("fetch/minilm.zip"));
    let whole = folder.join("whole.onnx");
    oracle("floats.py", &[&shipped, &published, &whole]);
    whole
}

/// Rows as files: held-out and for calibration.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn of(kind: &str, source: &str) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let source = workspace().join(source);
        oracle("rows.py", &[kind.as_ref(), &source, folder.path()]);
        Self { folder }
    }

    fn fashion() -> Self {
        Self::of("fashion", "plugins/target/fetch/fashion-mnist")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.npz"))
    }

    /// At most so many rows.
    fn rows(&self, name: &str, max: usize) -> Rows {
        let set: DataSet =
            data::read(&self.path(name), &Options::default()).expect("written just now");
        let count = set.rows().min(max);
        let row = |at: usize| -> Named {
            let columns = set.columns().iter();
            columns.map(|column| (column.name.clone(), set.slice(column, at..at + 1))).collect()
        };
        let labels = set.select(&(0..count).collect::<Vec<_>>()).labels().cloned();
        Rows { inputs: (0..count).map(row).collect(), labels, ..Rows::default() }
    }
}

/// What is asked for: held-out rows, rows for calibration, and what may be lost.
struct Asked<'a> {
    held_out: &'a Rows,
    calibration: Option<&'a Rows>,
    limits: Limits,
}

impl Asked<'_> {
    fn task<'t>(&'t self, methods: &'t [Method]) -> Task<'t> {
        let (held_out, calibration) = (self.held_out, self.calibration);
        Task { methods, held_out, calibration, metric: None, limits: self.limits }
    }

    /// Tries methods on a model.
    fn report(&self, executor: &Here, model: &Bytes, methods: &[Method]) -> Report {
        let task = self.task(methods);
        let made = make(executor, model, &task, &mut |_| {}).expect("made");
        let (report, _) = judge(executor, model, made, &task, &mut |_| {}).expect("judged");
        assert!(report.skipped.is_empty(), "{:?}", report.skipped);
        report
    }
}

#[track_caller]
fn verdict(report: &Report, name: Method) -> &Verdict {
    let found = report.verdicts.iter().find(|verdict| verdict.candidate == name.name());
    found.unwrap_or_else(|| panic!("{name}: {}", report.table()))
}

#[track_caller]
fn loss(report: &Report, name: Method) -> Loss {
    verdict(report, name).loss.unwrap_or_else(|| panic!("{name}: {}", report.table()))
}

/// The share of held-out rows to which models give the class of the float model: those that were made, and those of ONNX Runtime's tools.
fn agreements(name: &str, files: &Files, made: &[Made]) -> Value {
    let folder = files.folder.path();
    for Made { name, bytes, .. } in made {
        std::fs::write(folder.join(format!("{name}.onnx")), bytes).expect("written");
    }
    let float = workspace().join(format!("plugins/target/models/{name}/model.onnx"));
    oracle_json("quantise.py", &[&float, folder])
}

/// How much less often than another quantiser's a model of ours may agree with the one that both made it of.
const MARGIN: f64 = 0.01;

#[track_caller]
fn is_no_worse(found: &Value, ours: Method, theirs: &str) {
    let of = |side: &str, name: &str| found[side][name].as_f64().expect("a share");
    let (own, other) = (of("ours", ours.name()), of("theirs", theirs));
    assert!(own >= other - MARGIN, "{found}");
    assert!(other > 0.2, "theirs is no model to compare with: {found}");
}

#[test]
fn a_small_net_keeps_what_it_is_and_what_wrecks_it_is_refused() {
    let (here, files) = (Here::start(), Files::fashion());
    let rows = files.rows("held-out", 2000);
    let asked = Asked { held_out: &rows, calibration: None, limits: Limits::default() };
    let methods = [Method::Store8, Method::Dynamic8All, Method::PruneRandom, Method::Prune];
    let report = asked.report(&here, &model("lenet"), &methods);
    let table = report.table();
    assert!(loss(&report, Method::Store8).loss < 0.01, "{table}");
    assert!(verdict(&report, Method::Store8).size < 0.35, "{table}");
    // As `quantize_dynamic` does by default: three times slower.
    assert!(verdict(&report, Method::Dynamic8All).refused.is_some(), "{table}");
    let random = verdict(&report, Method::PruneRandom);
    assert!(matches!(random.refused, Some(Refusal::Loss { .. })), "{table}");
    assert!(loss(&report, Method::PruneRandom).value < 0.6, "{table}");
    assert!(loss(&report, Method::Prune).loss < loss(&report, Method::PruneRandom).loss / 4.0);
    // Zeros take as much room as other numbers.
    assert!(verdict(&report, Method::Prune).refused.is_some(), "{table}");
}

#[test]
fn a_pass_that_breaks_one_class_is_refused_whatever_the_whole_may_lose() {
    let (here, files) = (Here::start(), Files::fashion());
    let rows = files.rows("held-out", 2000);
    let limits = Limits { loss_max: 0.12, ..Limits::default() };
    let asked = Asked { held_out: &rows, calibration: None, limits };
    let original = model("lenet");
    let stored = onnx::Model::read(original.clone()).expect("whole");
    let mut stored = passes::store8(&stored).expect("applied").expect("weights").model;
    // The last layer never gives class 9.
    let last = stored.graph.nodes.iter().rev().find(|node| node.operator == "Gemm");
    let bias = last.and_then(|node| node.inputs.get(2)).cloned().expect("a bias");
    let tensor = stored.graph.initialisers.iter_mut().find(|tensor| tensor.name == bias);
    let tensor = tensor.expect("an initialiser");
    let mut values = tensor.elements::<f32>().expect("floats").into_owned();
    values[9] = -1000.0;
    tensor.data = onnx::model::Tensor::new("", &[10], &values).data;
    let bytes = stored.write().expect("whole").into();
    let made = vec![Made { name: "patched".into(), is_lossy: true, bytes, notes: Vec::new() }];
    let task = asked.task(&[]);
    let judged = judge(&here, &original, (made, Vec::new()), &task, &mut |_| {});
    let (report, best) = judged.expect("judged");
    let refused = &report.verdicts[0].refused;
    assert!(matches!(refused, Some(Refusal::Class { class: 9, .. })), "{}", report.table());
    assert!(best.is_none() && report.chosen.is_none());
}

/// Whether this processor multiplies 8-bit numbers without overflow.
fn has_vnni() -> bool {
    let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    ["avx512_vnni", "avx_vnni"].iter().any(|flag| flags.contains(flag))
}

#[test]
fn a_net_for_pictures_is_judged_by_its_answers_and_takes_no_dynamic_integers() {
    let here = Here::start();
    let files = Files::of("pictures", "target/samples/pictures");
    // How many answers stay depends on how many rows show which values occur.
    let shown = if has_vnni() { 128 } else { 48 };
    let (rows, calibration) = (files.rows("held-out", 150), files.rows("calibration", shown));
    // Of most of its thousand classes, these pictures have a few rows or none.
    let limits = Limits { loss_max: 0.06, class_loss_max: 1.0, ..Limits::default() };
    let asked = Asked { held_out: &rows, calibration: Some(&calibration), limits };
    let original = model("efficientnet-lite0");
    let task = asked.task(&[Method::Static8]);
    let (made, skipped) = make(&here, &original, &task, &mut |_| {}).expect("made");
    let found = agreements("efficientnet-lite0", &files, &made);
    is_no_worse(&found, Method::Static8, "static");
    let judged = judge(&here, &original, (made, skipped), &task, &mut |_| {});
    let (report, _) = judged.expect("judged");
    // How many answers stay depends on the processor: without VNNI, sums of 8-bit products can overflow. With fewer than these, the
    // pass itself is at fault. Whether it is enough, the gate says.
    let (answers, found) = (loss(&report, Method::Static8), verdict(&report, Method::Static8));
    let least = if has_vnni() { 0.94 } else { 0.7 };
    assert!(answers.value >= least, "{}", report.table());
    assert!(found.size < 0.4, "{}", report.table());
    assert_eq!(found.refused.is_some(), answers.bound > 0.06, "{}", report.table());
    let few = Rows { inputs: rows.inputs[..30].to_vec(), ..Rows::default() };
    let asked = Asked { held_out: &few, calibration: None, limits };
    let report = asked.report(&here, &original, &[Method::Dynamic8All]);
    let dynamic = verdict(&report, Method::Dynamic8All);
    let is_slow = dynamic.time.is_some_and(|time| time > 1.5);
    assert!(is_slow && dynamic.refused.is_some(), "{}", report.table());
}

#[test]
fn a_net_for_texts_is_judged_by_its_answers_and_takes_stored_integers() {
    let here = Here::start();
    let files = Files::of("sentences", "plugins/target/models/minilm/vocab.txt");
    let (rows, calibration) = (files.rows("held-out", 40), files.rows("calibration", 16));
    let limits = Limits::default();
    let asked = Asked { held_out: &rows, calibration: Some(&calibration), limits };
    let whole = Bytes::from(std::fs::read(sentence_encoder(files.folder.path())).expect("written"));
    let methods = [Method::Store8, Method::Dynamic8, Method::Dynamic8Safe, Method::Static8];
    let report = asked.report(&here, &whole, &methods);
    let table = report.table();
    // By the vectors of all tokens. Those of padding, which nobody uses, lose most. It was 0.992 where this was written.
    assert!(loss(&report, Method::Store8).value >= 0.97, "{table}");
    assert!(verdict(&report, Method::Store8).size <= 1.0 / 3.5, "{table}");
    // What else stays of the answers depends on the processor: with VNNI, 8-bit sums are exact. The gate follows what was measured.
    for method in [Method::Dynamic8, Method::Dynamic8Safe, Method::Static8] {
        let refused = &verdict(&report, method).refused;
        let loses = matches!(refused, Some(Refusal::Loss { .. } | Refusal::Unproven { .. }));
        assert_eq!(loses, loss(&report, method).bound > limits.loss_max, "{table}");
    }
}

#[test]
fn methods_in_8_bits_agree_with_a_small_net_as_often_as_onnx_runtime_s_tools_do() {
    let (here, files) = (Here::start(), Files::fashion());
    let (rows, calibration) = (Rows::default(), files.rows("calibration", 128));
    let limits = Limits::default();
    let asked = Asked { held_out: &rows, calibration: Some(&calibration), limits };
    let task = asked.task(&[Method::Dynamic8All, Method::Static8]);
    let (made, _) = make(&here, &model("lenet"), &task, &mut |_| {}).expect("made");
    let found = agreements("lenet", &files, &made);
    is_no_worse(&found, Method::Dynamic8All, "dynamic");
    is_no_worse(&found, Method::Static8, "static");
}

#[test]
fn sentences_are_judged_by_the_vectors_that_their_users_pool() {
    let here = Here::start();
    let files = Files::of("sentences", "plugins/target/models/minilm/vocab.txt");
    let rows = files.rows("held-out", 40);
    let whole = sentence_encoder(files.folder.path());
    let original = Bytes::from(std::fs::read(&whole).expect("written"));
    let usual = Limits::default();
    let strict = Limits { loss_max: 0.002, ..usual };
    let methods = [Method::Store8, Method::Dynamic8, Method::Dynamic8Safe];
    let asked = Asked { held_out: &rows, calibration: None, limits: usual };
    let task = asked.task(&methods);
    let made = make(&here, &original, &task, &mut |_| {}).expect("made");
    let by = |limits: Limits, metric: Option<Metric>| {
        let task = Task { metric, limits, ..asked.task(&methods) };
        let judged = judge(&here, &original, made.clone(), &task, &mut |_| {});
        let (report, _) = judged.expect("judged");
        // What stays of the answers depends on the processor. The gate follows what was measured.
        for method in methods {
            let refused = &verdict(&report, method).refused;
            let is_lost = matches!(refused, Some(Refusal::Loss { .. } | Refusal::Unproven { .. }));
            assert_eq!(
                is_lost,
                loss(&report, method).bound > limits.loss_max,
                "{}",
                report.table()
            );
        }
        report
    };
    let tokens = by(strict, None);
    let pooled = by(usual, Some(Metric::Pooled(Pool::Mean)));
    assert_eq!(tokens.compared_by, "cosine");
    assert_eq!(pooled.compared_by, "cosine (mean-pooled)");
    let table = format!("{}{}", tokens.table(), pooled.table());
    for method in methods {
        assert!(loss(&pooled, method).value > loss(&tokens, method).value, "{method}: {table}");
    }
    assert!(loss(&pooled, Method::Store8).value >= 0.999, "{table}");
    assert!(loss(&pooled, Method::Dynamic8).value >= 0.99 || !has_vnni(), "{table}");
    // With weights of 7 bits, which every processor computes exactly.
    assert!(loss(&pooled, Method::Dynamic8Safe).value >= 0.99, "{table}");
    // Only who is refused by the vectors of tokens is told.
    assert!(tokens.advice.is_some_and(|advice| advice.contains("`--pool mean`")), "{table}");
    assert_eq!(pooled.advice, None, "{table}");
}

#[test]
fn the_commands_compare_the_vectors_that_users_pool() {
    let files = Files::of("sentences", "plugins/target/models/minilm/vocab.txt");
    let path = |path: PathBuf| path.to_str().expect("text").to_owned();
    let whole = path(sentence_encoder(files.folder.path()));
    let (data, out) = (path(files.path("held-out")), path(files.folder.path().join("small.onnx")));
    let json = |arguments: &[&str]| -> Value {
        let more = ["--data", &data, "--pool", "mean", "--host-data", "target/runtime"];
        let output = HostProcess::run(&[&["--json"], arguments, &more].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    };
    let report = json(&["optimize", &whole, "-o", &out, "--only", "dynamic8-safe", "--rows", "40"]);
    assert_eq!(report["compared_by"], "cosine (mean-pooled)", "{report}");
    assert!(report["advice"].is_null(), "{report}");
    // On a backend where it is too slow to win, its answers are not computed.
    let mut verdicts = report["verdicts"].as_array().expect("verdicts").iter();
    let judged = verdicts.find(|verdict| !verdict["loss"].is_null());
    let kept = judged.and_then(|verdict| verdict["loss"]["value"].as_f64());
    assert!(kept >= Some(0.99), "{report}");
    let shipped = path(workspace().join("plugins/target/models/minilm/model.onnx"));
    let start = ["evaluate", &shipped, "--reference", &whole, "--rows", "40"];
    let report = json(&[&start[..], &["--backend", "onnxruntime"]].concat());
    assert_eq!(report["metric"], "cosine (mean-pooled)", "{report}");
    assert!(report["runs"][0]["figures"]["mean"].as_f64() >= Some(0.999), "{report}");
}

#[test]
fn the_command_writes_what_passed_and_nothing_otherwise() {
    let files = Files::fashion();
    let out = files.folder.path().join("small.onnx");
    let data = files.path("held-out");
    let lenet = workspace().join("plugins/target/models/lenet/model.onnx");
    let path = |path: &PathBuf| path.to_str().expect("text").to_owned();
    let run = |extra: &[&str]| {
        let (lenet, data, out) = (path(&lenet), path(&data), path(&out));
        let start = ["--json", "optimize", &lenet, "--data", &data, "-o", &out];
        let runtime = ["--rows", "1000", "--host-data", "target/runtime"];
        HostProcess::run(&[&start[..], &runtime, extra].concat())
    };
    let refused = run(&["--only", "prune-random"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let json: Value = serde_json::from_slice(&refused.stdout).expect("JSON");
    assert_eq!(json["chosen"], Value::Null);
    assert!(!out.exists(), "nothing is written");
    let same = run(&["--calibrate", &path(&data)]);
    assert_eq!(same.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&same.stderr).contains("prove nothing"), "{same:?}");
    // Whether it is fast enough is this machine's business, so it may lose nothing but time.
    let plot = path(&files.folder.path().join("plot.svg"));
    let passed = run(&["--only", "store8", "--max-loss", "3%", "--plot", &plot]);
    let json: Value = serde_json::from_slice(&passed.stdout).expect("JSON");
    let verdict = &json["verdicts"][0];
    assert_eq!(passed.status.success(), !json["chosen"].is_null(), "{json}");
    assert_eq!(out.exists(), passed.status.success());
    if out.exists() {
        let bundle = path(&files.folder.path().join("small.wasm"));
        let packed = ["--json", "pack", &path(&out), "--name", "small", "-o", &bundle];
        let packed: Value =
            serde_json::from_slice(&HostProcess::run(&packed).stdout).expect("JSON");
        let said = &packed["manifest"]["models"][0]["backend"];
        assert_eq!(*said, json["chosen"]["backend"], "where it won: {packed}");
    }
    assert!(verdict["size"].as_f64().is_some_and(|size| size < 0.35), "{json}");
    assert!(std::fs::read_to_string(plot).expect("written").contains("store8"));
}
