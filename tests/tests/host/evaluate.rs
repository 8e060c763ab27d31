//! `hospes evaluate`: known answers on each backend, from files, bundles and over HTTP, and what it says when it cannot measure.

use std::path::PathBuf;
use std::process::Output;

use serde_json::Value;
use system_tests::{HostProcess, TestHost, workspace};
use tempfile::TempDir;

/// Iris flowers and the class that scikit-learn's logistic regression gives them (`tests/fixtures/scikit/answers.json`).
const FLOWERS: [(&str, u32); 5] = [
    ("4.6,3.1,1.5,0.2", 0),
    ("5.0,2.0,3.5,1.0", 1),
    ("6.7,3.0,5.0,1.7", 2),
    ("6.9,3.2,5.7,2.3", 2),
    ("6.9,3.1,5.1,2.3", 2),
];

/// A folder in which somebody evaluates models.
pub(crate) struct Desk {
    folder: TempDir,
    /// The host's data directory, which may have ONNX Runtime.
    data: PathBuf,
}

impl Desk {
    fn new() -> Self {
        // The folder in which `make test` installs ONNX Runtime as a host does.
        let library = TestHost::onnxruntime();
        let data = library.ancestors().nth(3).expect("DATA/runtime/VERSION/LIBRARY").to_owned();
        Self { data, ..Self::without_library() }
    }

    /// Without ONNX Runtime.
    pub(crate) fn without_library() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { data: folder.path().join("data"), folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let mut command = HostProcess::command();
        command.args(arguments).current_dir(&self.folder).env("HOSPES_HOME", self.path("home"));
        command.env("HOSPES_DATA", &self.data).output().expect("it runs")
    }

    /// A table whose labels are the model's own answers, `rows` times, except that the first `wrong` rows of class 1 say 2.
    fn flowers(&self, name: &str, rows: usize, wrong: usize) {
        let mut text = "a,b,c,d,y\n".to_owned();
        let mut left = wrong;
        for (flower, class) in FLOWERS.iter().cycle().take(rows) {
            let is_wrong = *class == 1 && left > 0;
            left -= usize::from(is_wrong);
            text += &format!("{flower},{}\n", if is_wrong { 2 } else { *class });
        }
        std::fs::write(self.path(name), text).expect("written");
    }

    #[track_caller]
    fn report(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[&["--json", "evaluate"], arguments].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    #[track_caller]
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(&[&["evaluate"], arguments].concat());
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

fn model(name: &str) -> String {
    workspace().join("tests/fixtures/scikit").join(name).to_str().expect("text").to_owned()
}

#[test]
fn the_accuracy_is_the_known_one_on_each_backend() {
    let desk = Desk::new();
    desk.flowers("held-out.csv", 100, 7);
    let report =
        desk.report(&[&model("logistic.onnx"), "--data", "held-out.csv", "--plot", "m.svg"]);
    assert_eq!((&report["metric"], &report["data"]["rows"]), (&"accuracy".into(), &100.into()));
    let runs = report["runs"].as_array().expect("runs");
    assert_eq!(runs.len(), 2, "{report}");
    for run in runs {
        let figures = &run["figures"];
        assert_eq!(figures["hits"], 93, "{run}");
        // Class 1 lost 7 of its 20 rows to the label 2, so 7 of the 67 rows labelled 2 are predicted as 1.
        assert_eq!(figures["confusion"]["counts"][2], serde_json::json!([0, 7, 60]));
        assert_eq!(figures["classes"][1]["recall"], 1.0);
        // scipy.stats.binomtest(93, 100).proportion_ci(0.95)
        let low = figures["interval"]["low"].as_f64().expect("a number");
        assert!((low - 0.861_080_271_544_133_6).abs() < 1e-9, "{low}");
        let latency = &run["latency"];
        let (p50, p95) = (latency["p50_ms"].as_f64(), latency["p95_ms"].as_f64());
        assert!(p50 > Some(0.0) && p95 >= p50, "{latency}");
        assert!(run["memory_bytes"].as_u64() > Some(1_000_000), "{run}");
    }
    let svg = std::fs::read_to_string(desk.path("m.svg")).expect("written");
    assert!(svg.starts_with("<svg") && svg.contains(">60<"), "{svg}");
    let again =
        desk.refused(&[&model("logistic.onnx"), "--data", "held-out.csv", "--plot", "m.svg"]);
    assert!(again.contains("--force"), "{again}");
}

#[test]
fn without_labels_nothing_is_called_accuracy() {
    let desk = Desk::new();
    desk.flowers("held-out.csv", 20, 0);
    let text = std::fs::read_to_string(desk.path("held-out.csv")).expect("readable");
    let bare: String =
        text.lines().filter_map(|line| Some(line.rsplit_once(',')?.0.to_owned() + "\n")).collect();
    std::fs::write(desk.path("bare.csv"), bare).expect("written");
    let (logistic, forest) = (model("logistic.onnx"), model("forest.onnx"));
    let report = desk.report(&[&logistic, "--data", "bare.csv", "--backend", "onnxruntime"]);
    assert!(report["metric"].is_null() && report["runs"][0]["figures"].is_null(), "{report}");
    assert_eq!(report["runs"].as_array().map(Vec::len), Some(1));
    let notes = report["notes"].as_array().expect("notes").iter().filter_map(|it| it.as_str());
    let note = notes.filter(|note| note.contains("no labels and no reference")).collect::<String>();
    assert!(note.contains("`--label`"), "{report}");
    let said = desk.refused(&[&logistic, "--data", "bare.csv", "--metric", "accuracy"]);
    assert!(said.contains("`--label`"), "{said}");
    // scikit-learn's forest and regression differ on the third flower of five.
    let both = ["--data", "bare.csv", "--backend", "onnxruntime", "--reference", &forest];
    let report = desk.report(&[&[logistic.as_str()][..], &both].concat());
    let figures = &report["runs"][0]["figures"];
    assert_eq!(
        (&figures["metric"], &figures["same"]),
        (&"agreement".into(), &16.into()),
        "{report}"
    );
}

#[test]
fn a_profile_needs_its_rows_and_counts_them() {
    let desk = Desk::new();
    desk.flowers("few.csv", 100, 0);
    desk.flowers("many.csv", 2000, 0);
    let of =
        |data: &'static str| ["--data", data, "--backend", "onnxruntime", "--profile", "p.json"];
    let logistic = model("logistic.onnx");
    let said = desk.refused(&[&[logistic.as_str()][..], &of("few.csv")].concat());
    assert!(said.contains("2000"), "{said}");
    let report = desk.report(&[&[logistic.as_str()][..], &of("many.csv")].concat());
    let written = std::fs::read(desk.path("p.json")).expect("written");
    let profile: hospes::evidence::Profile = serde_json::from_slice(&written).expect("a profile");
    assert_eq!(profile.data().to_string(), report["data"]["sha256"].as_str().expect("a digest"));
    assert_eq!(
        profile.inputs().iter().map(|input| input.name.as_str()).collect::<Vec<_>>(),
        ["a", "b", "c", "d"]
    );
    assert!(!profile.outputs().is_empty());
}

#[test]
fn a_bundle_and_its_published_function_answer_as_the_file() {
    let desk = Desk::new();
    desk.flowers("held-out.csv", 50, 3);
    let library = TestHost::onnxruntime();
    let settings = format!("inference.onnxruntime_library = {library:?}\n");
    let host = HostProcess::start_with(&desk.path("data"), &settings);
    let done = |arguments: &[&str]| {
        let output = desk.run(&[arguments, &["--host", &host.address]].concat());
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    done(&["keys", "new", "acme"]);
    let data = desk.path("data");
    let data = data.to_str().expect("text");
    done(&["account", "new", "acme", "--operator", &host.operator, "--data", data]);
    done(&["pack", &model("logistic.onnx"), "--name", "logistic", "-o", "m.wasm"]);
    let unsigned = desk.report(&["m.wasm", "--data", "held-out.csv", "--backend", "onnxruntime"]);
    assert_eq!(unsigned["runs"][0]["figures"]["hits"], 47);
    done(&["sign", "m.wasm", "--as", "acme"]);
    done(&["publish", "m.wasm", "--as", "acme"]);
    // Nobody can be asked here, so nothing is called without `--yes`.
    let published = ["acme/logistic", "--data", "held-out.csv", "--host", &host.address];
    let said = desk.refused(&published);
    assert!(said.contains("--yes") && said.contains("50 rows are 2 calls"), "{said}");
    // The host passes no names of columns on.
    std::fs::write(desk.path("named.csv"), "a,b,c,d,colour,y\n1,2,3,4,red,0\n").expect("written");
    let said = desk.refused(&["acme/logistic", "--data", "named.csv", "--host", &host.address]);
    let fix = "does not say which columns it was trained with: evaluate its bundle or ONNX file";
    assert!(said.contains(fix), "{said}");
    let report = desk.report(&[&published[..], &["--yes"]].concat());
    let run = &report["runs"][0];
    assert_eq!(
        (&run["figures"]["hits"], &run["latency"]["runs"]),
        (&47.into(), &2.into()),
        "{report}"
    );
    let notes = report["notes"].to_string();
    assert!(notes.contains("in the order of the file: `a`, `b`, `c`, `d`"), "{notes}");
}

#[test]
fn data_that_do_not_fit_are_refused_with_the_fix() {
    let desk = Desk::new();
    std::fs::write(desk.path("three.csv"), "a,b,c,y\n1,2,3,0\n").expect("written");
    std::fs::write(desk.path("typo.csv"), {
        let rows: String = (0..20).map(|row| format!("{row},1,1,1,0\n")).collect();
        format!("a,b,c,d,y\n{rows}1o,1,1,1,0\n")
    })
    .expect("written");
    let logistic = model("logistic.onnx");
    for (data, said) in [
        ("three.csv", "Give all 4 columns"),
        ("typo.csv", "line 22, `a`: `1o` is not a finite number"),
        ("none.csv", "none.csv"),
    ] {
        let error = desk.refused(&[&logistic, "--data", data]);
        assert!(error.contains(said), "{error}");
    }
    let error = desk.refused(&["none.onnx", "--data", "three.csv"]);
    assert!(error.contains("publisher/model"), "{error}");
}
