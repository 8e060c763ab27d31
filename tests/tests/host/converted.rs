//! `hospes convert`: models of XGBoost and LightGBM answer as their library did (`tests/fixtures/convert/make.py`), pipelines of scikit-learn as it
//! does, a changed model is refused, and a hostile pickle reaches nothing. `make converters` makes the environments of the converters, too.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use serde_json::Value;
use system_tests::{HostProcess, TestHost, built, workspace};
use tempfile::TempDir;

fn fixtures() -> PathBuf {
    workspace().join("tests/fixtures/convert")
}

fn convert(folder: &Path, source: &Path, rows: &Path, more: &[&str]) -> Output {
    command(folder, source, rows, more).output().expect("it runs")
}

fn command(folder: &Path, source: &Path, rows: &Path, more: &[&str]) -> Command {
    let library = TestHost::onnxruntime();
    let data = library.ancestors().nth(3).expect("DATA/runtime/VERSION/LIBRARY");
    let mut command = HostProcess::command();
    command.args(["--json", "convert"]).arg(source).arg("--verify").arg(rows);
    command.arg("-o").arg(folder.join("model.onnx")).arg("--force").args(more);
    command.current_dir(folder).env("HOSPES_DATA", data).env("HOME", folder);
    command
}

#[test]
fn trees_answer_as_their_library_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut count = 0;
    for entry in std::fs::read_dir(fixtures()).expect("readable") {
        let source = entry.expect("readable").path();
        if !source.extension().is_some_and(|end| end == "json" || end == "ubj" || end == "txt") {
            continue;
        }
        let output = convert(folder.path(), &source, &source.with_extension("npz"), &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", source.display());
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let compared = report["compared"].as_array().expect("a list").iter();
        let numbers: u64 = compared.filter_map(|one| one["numbers"].as_u64()).sum();
        assert!(numbers >= 60, "{}: {report}", source.display());
        count += 1;
    }
    assert!(count >= 18, "{count}");
}

/// The file that `docs/convert.md` tells to make is held-out data too.
#[test]
fn the_rows_of_a_conversion_are_taken_by_evaluate() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows = fixtures().join("lgb_multi.npz");
    let output = convert(folder.path(), &fixtures().join("lgb_multi.txt"), &rows, &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let pack = report["pack"].as_str().expect("a command");
    assert!(pack.ends_with("--backend onnxruntime"), "tract does not run trees: {pack}");
    let library = TestHost::onnxruntime();
    let data = library.ancestors().nth(3).expect("DATA/runtime/VERSION/LIBRARY");
    let evaluate = |more: &[&str]| {
        let mut command = HostProcess::command();
        command.args(["--json", "evaluate", "model.onnx", "--backend", "onnxruntime"]);
        command.arg("--data").arg(&rows).args(more).current_dir(folder.path());
        let output = command.env("HOSPES_DATA", data).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    evaluate(&[]);
    let report = evaluate(&["--label", "expected_labels"]);
    assert_eq!(report["runs"][0]["figures"]["value"], 1.0, "{report}");
}

#[test]
fn what_is_said_of_a_conversion_is_no_log_and_has_nothing_that_is_absent() {
    let folder = tempfile::tempdir().expect("a folder");
    let (source, rows) =
        (fixtures().join("lgb_regression.txt"), fixtures().join("lgb_regression.npz"));
    let said = |output: &str| {
        let library = TestHost::onnxruntime();
        let data = library.ancestors().nth(3).expect("DATA/runtime/VERSION/LIBRARY");
        let mut command = HostProcess::command();
        command.arg("convert").arg(&source).arg("--verify").arg(&rows).args(["-o", output]);
        command.current_dir(folder.path()).env("HOSPES_DATA", data).env("HOME", folder.path());
        let output = command.output().expect("it runs");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let converted = said("model.onnx");
    assert!(converted.contains("numbers at most"), "{converted}");
    for unwanted in ["labels equal", "WARN", "cgroup"] {
        assert!(!converted.contains(unwanted), "{converted}");
    }
    let refused = said("nodir/model.onnx");
    assert!(refused.contains("there is no folder `nodir`"), "{refused}");
    let no_model = folder.path().join("other.json");
    std::fs::write(&no_model, "{\"version\": 1}").expect("written");
    let refused = convert(folder.path(), &no_model, &rows, &[]);
    let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.contains("not a model of XGBoost: it has no `learner`"), "{refused}");
}

#[test]
fn a_wrong_base_score_is_refused_and_no_file_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let sound = std::fs::read_to_string(fixtures().join("xgb_regression.json")).expect("readable");
    let (before, after) = sound.split_once("\"base_score\":\"").expect("there is one");
    let (_, after) = after.split_once('"').expect("a text");
    let planted = folder.path().join("planted.json");
    std::fs::write(&planted, format!("{before}\"base_score\":\"[1.5E2]\"{after}"))
        .expect("written");
    let output = convert(folder.path(), &planted, &fixtures().join("xgb_regression.npz"), &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("row ") && said.contains("expected"), "{said}");
    assert!(!folder.path().join("model.onnx").exists());
}

fn oracle() -> String {
    built("oracle/bin/python").to_str().expect("text").to_owned()
}

/// What one backend compared.
fn compared(report: &Value, backend: &str, member: &str) -> u64 {
    let all = report["compared"].as_array().expect("a list");
    let entry = all.iter().find(|entry| entry["backend"] == backend);
    entry.and_then(|entry| entry[member].as_u64()).unwrap_or_default()
}

/// Tables with gaps and texts, and classes that are texts: `tests/oracle/pipeline.py`.
#[test]
fn pipelines_of_scikit_learn_answer_as_it_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let python = oracle();
    let script = workspace().join("tests/oracle/pipeline.py");
    let made = Command::new(&python).arg(script).arg(folder.path()).output().expect("it runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    // As data, a table's pipeline needs no permission. A forest has a type that skops does not know.
    let cases: [(&str, &[&str], u64); 4] = [
        ("table.pkl", &["--allow-pickle"], 60),
        ("table.skops", &[], 60),
        ("matrix.skops", &["--allow-pickle"], 60),
        ("iris.pkl", &["--allow-pickle"], 150),
    ];
    for (name, more, count) in cases {
        let source = folder.path().join(name);
        let rows = source.with_extension("npz");
        let output =
            convert(folder.path(), &source, &rows, &[&["--python", &python], more].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}");
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(report["source"], "sklearn", "{name}");
        let counts = ["labels", "numbers"].map(|what| compared(&report, "onnxruntime", what));
        assert_eq!(counts, [count, 3 * count], "{name}: {report}");
    }
    let matrix = folder.path().join("matrix.skops");
    let rows = matrix.with_extension("npz");
    let refused = convert(folder.path(), &matrix, &rows, &["--python", &python]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("sklearn.tree._tree.Tree") && said.contains("--allow-pickle"), "{said}");
}

/// A net of convolutions and an LSTM: `tests/oracle/modules.py`.
#[test]
fn modules_of_pytorch_answer_as_they_do() {
    if !crate::training::has_pytorch() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let python = "/usr/bin/python3";
    let script = workspace().join("tests/oracle/modules.py");
    let made = Command::new(python).arg(script).arg(folder.path()).output().expect("it runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let rows = |name: &str| folder.path().join(format!("{name}.npz"));
    let pickle = ["--python", python, "--allow-pickle"];
    for (name, numbers) in [("convolutions", 20 * 3), ("lstm", 20 * 6 * 7)] {
        let module = folder.path().join(format!("{name}.pt"));
        let output = convert(folder.path(), &module, &rows(name), &pickle);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}");
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(report["source"], "torch", "{name}");
        assert_eq!(compared(&report, "onnxruntime", "numbers"), numbers, "{name}: {report}");
    }
    let refused = |name: &str, more: &[&str]| {
        let file = folder.path().join(name);
        let output = convert(folder.path(), &file, &rows("convolutions"), more);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = refused("convolutions.pt", &pickle[..2]);
    assert!(said.contains("--allow-pickle"), "{said}");
    let said = refused("own.pt", &pickle);
    assert!(said.contains("Can't get attribute") && said.contains("parts of `torch.nn`"), "{said}");
    let said = refused("weights.pt", &pickle);
    assert!(said.contains("no graph") && said.contains("torch.onnx.export"), "{said}");
}

/// A folder with models that the Python of an environment has made, which Hospes has made for their library.
struct Made {
    folder: TempDir,
    source: &'static str,
}

impl Made {
    /// Asks for the environment by a file that is no model, and runs this script with it.
    fn by(script: &str, source: &'static str, ending: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("converter-").tempdir_in(built(""));
        let made = Self { folder: folder.expect("a folder"), source };
        let none = made.folder.path().join("none").with_extension(ending);
        std::fs::write(&none, "no model").expect("written");
        let began = Instant::now();
        let refused = made.convert(&none, &fixtures().join("xgb_regression.npz"));
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains(&format!("{source}'s own library ended with")), "{said}");
        let environments = made.folder.path().join("cache/hospes/convert");
        let environment = std::fs::read_dir(environments).expect("made").next().expect("one");
        let environment = environment.expect("readable").path();
        let size = Command::new("du").arg("-sh").arg(&environment).output().expect("it runs");
        let size = String::from_utf8_lossy(&size.stdout);
        let size = size.split_whitespace().next().unwrap_or_default();
        let _ = writeln!(std::io::stderr(), "{source}: {size} in {:.0?}", began.elapsed());
        let mut python = Command::new(environment.join("bin/python"));
        python.arg(workspace().join("tests/oracle").join(script)).arg(made.folder.path());
        let output = python.output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        made
    }

    fn convert(&self, model: &Path, rows: &Path) -> Output {
        let more = ["--from", self.source, "--allow-pickle"];
        let mut command = command(self.folder.path(), model, rows, &more);
        command
            .env("XDG_CACHE_HOME", self.folder.path().join("cache"))
            .env("PIP_NO_CACHE_DIR", "1");
        command.output().expect("it runs")
    }

    /// Converts a model, and returns how many labels and numbers ONNX Runtime answered as the library did.
    #[track_caller]
    fn converted(&self, name: &str) -> [u64; 2] {
        let model = self.folder.path().join(name);
        let output = self.convert(&model, &model.with_extension("npz"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}");
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        ["labels", "numbers"].map(|what| compared(&report, "onnxruntime", what))
    }
}

#[test]
#[ignore = "installs 440 MB: `make converters`"]
fn an_environment_is_made_that_converts_models_of_scikit_learn() {
    let made = Made::by("pipeline.py", "sklearn", "skops");
    for name in ["table.pkl", "table.skops", "matrix.skops"] {
        assert_eq!(made.converted(name), [60, 180], "{name}");
    }
    assert_eq!(made.converted("iris.pkl"), [150, 450]);
}

#[test]
#[ignore = "installs 5.5 GB: `make converters`"]
fn an_environment_is_made_that_converts_models_of_pytorch() {
    let made = Made::by("modules.py", "torch", "pt2");
    assert_eq!(made.converted("convolutions.pt"), [0, 20 * 3]);
    assert_eq!(made.converted("lstm.pt"), [0, 20 * 6 * 7]);
}

#[test]
#[ignore = "installs 1.6 GB: `make converters`"]
fn an_environment_is_made_that_converts_models_of_keras() {
    let made = Made::by("networks.py", "keras", "keras");
    assert_eq!(made.converted("convolutions.keras"), [0, 20 * 3]);
    assert_eq!(made.converted("lstm.keras"), [0, 20 * 6 * 7]);
}

/// A pickle that runs this when it is loaded: `exec(code, {})`.
fn program(code: &str) -> Vec<u8> {
    let length = u32::try_from(code.len()).expect("short").to_le_bytes();
    [&b"\x80\x02cbuiltins\nexec\n(X"[..], &length, code.as_bytes(), b"}tR."].concat()
}

#[test]
fn a_hostile_pickle_runs_and_reaches_nothing_but_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let (planted, secret) = (folder.path().join("planted"), folder.path().join("secret"));
    std::fs::write(&secret, "the planted secret").expect("written");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("set");
    let port = listener.local_addr().expect("bound").port();
    let pickle = folder.path().join("model.pkl");
    let code = format!(
        "import os, socket, sys\nreached = []\n\
         def attempt(what, do):\n    try:\n        do(); reached.append(what)\n    except OSError: pass\n\
         attempt('secret', lambda: reached.append(open({secret:?}).read()))\n\
         attempt('outside', lambda: open({planted:?}, 'w').write('x'))\n\
         attempt('network', lambda: socket.create_connection(('127.0.0.1', {port}), 2))\n\
         attempt('itself', lambda: open({pickle:?}).close())\n\
         attempt('own folder', lambda: open('mark', 'w').write('x'))\n\
         reached.append(os.environ.get('PLANTED', 'no variable'))\n\
         sys.exit('the pickle ran and reached: ' + ', '.join(reached))\n"
    );
    std::fs::write(&pickle, program(&code)).expect("written");
    let rows = fixtures().join("xgb_regression.npz");
    let python = oracle();
    let run = |more: &[&str]| {
        let mut command = command(folder.path(), &pickle, &rows, more);
        let output = command.env("PLANTED", "a variable").output().expect("it runs");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&[output.stderr, output.stdout].concat()).into_owned()
    };
    let said = run(&["--python", &python]);
    assert!(said.contains("--allow-pickle") && !said.contains("the pickle ran"), "{said}");
    let said = run(&["--python", &python, "--allow-pickle"]);
    assert!(said.contains("the pickle ran and reached: itself, own folder, no variable"), "{said}");
    assert!(!planted.exists(), "it wrote outside of its folder");
    assert!(listener.accept().is_err(), "it connected");
    // Trusted, the same pickle reaches it all: the test would see it.
    let said = run(&["--python", &python, "--allow-pickle", "--unconfined"]);
    let all = "the planted secret, secret, outside, network, itself, own folder, no variable";
    assert!(said.contains(&format!("the pickle ran and reached: {all}")), "{said}");
    assert!(planted.exists() && listener.accept().is_ok());
}
