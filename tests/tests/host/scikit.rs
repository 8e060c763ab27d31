//! What users of scikit-learn export without a thought of who will serve it (`tests/oracle/scikit.py`): packed as it is, published, and
//! answered as scikit-learn answers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};
use system_tests::{HostProcess, TestHost, terms, workspace};

fn fixtures() -> PathBuf {
    workspace().join("tests/fixtures/scikit")
}

/// Models that answer no list of maps: they have one output, of numbers.
const OF_NUMBERS: [&str; 3] = ["scaler", "forest_of_numbers", "boosting_of_numbers"];

/// A column or a table as an input of the Open Inference Protocol.
fn input(given: &Value) -> Value {
    let rows = given["data"].as_array().expect("rows");
    let columns = rows[0].as_array().map_or(1, Vec::len);
    let data: Vec<&Value> = rows
        .iter()
        .flat_map(|row| row.as_array().map_or(vec![row], |row| row.iter().collect()))
        .collect();
    let datatype = if data[0].is_string() { "BYTES" } else { "FP32" };
    json!({"name": given["name"], "datatype": datatype, "shape": [rows.len(), columns], "data": data})
}

/// All numbers in it, from the first to the last.
fn flat(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(flat).collect(),
        other => other.as_f64().into_iter().collect(),
    }
}

#[track_caller]
fn close(name: &str, ours: &Value, theirs: &Value) {
    let (ours, theirs) = (flat(ours), flat(theirs));
    assert_eq!(ours.len(), theirs.len(), "{name}: {ours:?} and {theirs:?}");
    for (one, other) in ours.iter().zip(&theirs) {
        assert!(
            (one - other).abs() <= 1e-5 * other.abs().max(1.0),
            "{name}: {ours:?} and {theirs:?}"
        );
    }
}

#[test]
fn models_of_scikit_learn_answer_as_it_does() {
    let said = std::fs::read(fixtures().join("answers.json")).expect("readable");
    let said: BTreeMap<String, Value> = serde_json::from_slice(&said).expect("JSON");
    assert!(said.len() > 10);
    let host = TestHost::start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let folder = tempfile::tempdir().expect("a directory");
    let out = folder.path().join("m.wasm");
    for (name, said) in said {
        let model = fixtures().join(format!("{name}.onnx"));
        let label = name.replace('_', "-");
        let path = |path: &std::path::Path| path.to_str().expect("text").to_owned();
        let pack =
            ["--json", "pack", &path(&model), "--name", &label, "--force", "-o", &path(&out)];
        let packed = HostProcess::run(&pack);
        let packed: Value = serde_json::from_slice(&packed.stdout).expect("JSON");
        let cures = packed["cures"].as_array().unwrap_or_else(|| panic!("{name}: {packed}"));
        assert_eq!(cures.len(), usize::from(!OF_NUMBERS.contains(&&*name)), "{name}: {cures:?}");
        let published = host.publish(&acme, &std::fs::read(&out).expect("packed"));
        host.agree(&acme, &zoe, &published, vec![terms("infer")]);
        let inputs: Vec<Value> =
            said["inputs"].as_array().expect("inputs").iter().map(input).collect();
        let body = json!({ "inputs": inputs }).to_string();
        let answer = host.call(&zoe, &format!("acme/{label}/infer")).json(&body).send().ok().json();
        let outputs = answer["outputs"].as_array().expect("outputs");
        let (first, last) = (&outputs[0]["data"], &outputs[outputs.len() - 1]["data"]);
        if said["labels"].is_null() {
            close(&name, first, &said["scores"]);
        } else if said["labels"][0].is_f64() {
            close(&name, first, &said["labels"]);
        } else {
            assert_eq!(*first, said["labels"], "{name}");
            // Of two classes scikit-learn gives one distance, and its exporter gives it and its opposite.
            if name == "machine_two" {
                let both = flat(last);
                let first: Vec<f64> = both.iter().step_by(2).copied().collect();
                close(&name, &json!(first), &said["scores"]);
            } else {
                close(&name, last, &said["scores"]);
            }
        }
    }
}
