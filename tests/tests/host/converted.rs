//! `hospes convert`: models of XGBoost and LightGBM answer as their library did (`tests/fixtures/convert/make.py`), a changed one is refused, and a
//! hostile pickle reaches nothing.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use system_tests::{HostProcess, TestHost, workspace};

fn fixtures() -> PathBuf {
    workspace().join("tests/fixtures/convert")
}

fn convert(folder: &Path, source: &Path, rows: &Path, more: &[&str]) -> Output {
    let library = TestHost::onnxruntime();
    let data = library.ancestors().nth(3).expect("DATA/runtime/VERSION/LIBRARY");
    let mut command = HostProcess::command();
    command.args(["--json", "convert"]).arg(source).arg("--verify").arg(rows);
    command.arg("-o").arg(folder.join("model.onnx")).arg("--force").args(more);
    command.current_dir(folder).env("HOSPES_DATA", data).env("HOME", folder);
    command.output().expect("it runs")
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

#[test]
fn a_hostile_pickle_reaches_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let planted = folder.path().join("planted");
    let pickle = folder.path().join("model.pkl");
    let code = format!("cposix\nsystem\n(S'touch {}'\ntR.", planted.display());
    std::fs::write(&pickle, code).expect("written");
    let rows = fixtures().join("xgb_regression.npz");
    let said = convert(folder.path(), &pickle, &rows, &[]);
    assert_eq!(said.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&said.stderr).contains("--allow-pickle"));
    let python = workspace().join("target/oracle/bin/python");
    let python = python.to_str().expect("text");
    let confined = convert(folder.path(), &pickle, &rows, &["--allow-pickle", "--python", python]);
    assert_eq!(confined.status.code(), Some(1));
    assert!(!planted.exists(), "it wrote outside of its folder");
    // Or the test would say nothing.
    convert(folder.path(), &pickle, &rows, &["--allow-pickle", "--unconfined", "--python", python]);
    assert!(planted.exists());
}
