//! `hospes pack`: what it shows, what it changes in a model, and what it refuses, with the fix.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hospes_onnx::model::{ElementType, Graph, Model, Node, Size, Type, TypeKind, ValueInfo};
use serde_json::{Value, json};

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests")
}

/// Packs a file.
fn pack(folder: &Path, model: &Path, is_json: bool) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hospes-cli"));
    command.current_dir(folder).env("HOSPES_HOME", folder).env_remove("HOSPES_AS");
    command.arg("pack").arg(model).args(["--name", "m", "--force", "-o", "m.wasm"]);
    if is_json {
        command.arg("--json");
    }
    command.output().expect("the program starts")
}

/// What is said of a model that is refused.
#[track_caller]
fn refused(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("m.onnx");
    std::fs::write(&model, bytes).expect("written");
    let output = pack(folder.path(), &model, false);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(!folder.path().join("m.wasm").exists());
    flat(&output.stderr)
}

/// Text without its line breaks.
fn flat(text: &[u8]) -> String {
    String::from_utf8_lossy(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn model() -> Model {
    let mut graph = Graph::new("g");
    graph.inputs.push(ValueInfo::tensor(
        "x",
        ElementType::FLOAT,
        &[Size::Named("rows".into()), 4.into()],
    ));
    graph.nodes.push(Node::new("Relu", &["x"], &["y"]).named("n"));
    graph.outputs.push(ValueInfo::tensor("y", ElementType::FLOAT, &[Size::Open, 4.into()]));
    Model::new(graph, 13)
}

/// What is said of a model that was changed.
#[track_caller]
fn refused_with(change: impl FnOnce(&mut Model)) -> String {
    let mut model = model();
    change(&mut model);
    refused(&model.write().expect("written"))
}

#[test]
fn what_callers_give_and_get_is_shown_with_the_sizes_that_they_choose() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("m.onnx");
    let bytes = model().write().expect("written");
    std::fs::write(&file, &bytes).expect("written");
    let shown = pack(folder.path(), &file, false);
    let text = String::from_utf8(shown.stdout).expect("text");
    assert!(text.contains("model  input   x: FLOAT[rows, 4]"), "{text}");
    assert!(text.contains("model  output  y: FLOAT[?, 4]"), "{text}");
    let shown: Value =
        serde_json::from_slice(&pack(folder.path(), &file, true).stdout).expect("JSON");
    let port = |name: &str, first: Value| json!([{"name": name, "type": "FLOAT", "shape": [first, 4], "has_default": false}]);
    let wanted = json!([{
        "model": "model",
        "inputs": port("x", json!("rows")),
        "outputs": port("y", Value::Null),
        "opsets": {"ai.onnx": 13},
    }]);
    assert_eq!((&shown["interfaces"], &shown["cures"]), (&wanted, &json!([])));
    let packed = std::fs::read(folder.path().join("m.wasm")).expect("packed");
    assert!(
        packed.windows(bytes.len()).any(|part| part == bytes),
        "nothing to repair: byte for byte"
    );
}

#[test]
fn what_hosts_would_refuse_is_refused_with_the_fix() {
    let tensor = || Type::tensor(ElementType::FLOAT, &[]);
    let map = || Type::from(TypeKind::Map(ElementType::INT64, Some(Box::new(tensor()))));
    let list = |of: Type| Type::from(TypeKind::Sequence(Some(Box::new(of))));
    type Change = Box<dyn FnOnce(&mut Model)>;
    let of_type = |ty: Type| -> Change { Box::new(|model| model.graph.outputs[0].ty = Some(ty)) };
    let operator = |name: &'static str| -> Change {
        Box::new(move |model| model.graph.nodes[0].operator = name.into())
    };
    let cases: Vec<(Change, &str, &str)> = vec![
        (of_type(list(tensor())), "output `y`: it is a sequence", "`ConcatFromSequence`"),
        (of_type(list(map())), "output `y`: it is a list of maps", "options={'zipmap': False}"),
        (of_type(map()), "output `y`: it is a map", "two tensors"),
        (of_type(TypeKind::Optional(None).into()), "an optional value", "`OptionalGetElement`"),
        (of_type(Type::tensor(ElementType(14), &[])), "elements of type COMPLEX64", "`Cast`"),
        (operator("Invented"), "node `n` (Invented)", "do that step in a plugin's code"),
        (operator("Gelu"), "came with opset 20", "export it with opset 20 or a later one"),
        (operator("Upsample"), "went with opset 10", "which writes `Resize`"),
        (
            Box::new(|model| model.opsets[0].version = 99),
            "opset 99 of domain `ai.onnx`",
            "opset 26",
        ),
        (Box::new(|model| model.ir_version = 99), "IR version 99", "`ir_version=13`"),
        (Box::new(|model| model.opsets.clear()), "of which opset", "onnx.helper.make_opsetid"),
    ];
    for (change, what, fix) in cases {
        let said = refused_with(change);
        assert!(said.contains("model `model` would be refused by hosts"), "{said}");
        assert!(said.contains(what) && said.contains(fix), "{said}");
    }
}

#[test]
fn what_every_host_refuses_before_a_backend_sees_it_is_refused() {
    for (case, what, fix) in [
        ("ext_missing.onnx", "there is no such file beside it", "save_as_external_data=False"),
        ("ext_hostkey.onnx", "is not a file beside it", "save_as_external_data=False"),
        ("shape-overflow.onnx", "more elements than can be counted", "give it sizes that fit"),
    ] {
        let said = refused(&std::fs::read(tests().join("cases").join(case)).expect("readable"));
        assert!(said.contains(what) && said.contains(fix), "{case}: {said}");
    }
}

#[test]
fn maps_that_only_wrap_probabilities_are_removed_and_others_refused() {
    let zipped = |model: &mut Model| {
        let classes: &[&str] = &["no", "yes"];
        let map = Node::new("ZipMap", &["y"], &["z"]).named("Zip").of("ai.onnx.ml");
        model.graph.nodes.push(map.with("classlabels_strings", classes));
        let list =
            TypeKind::Sequence(Some(Box::new(TypeKind::Map(ElementType::STRING, None).into())));
        let info = ValueInfo { name: "z".into(), ty: Some(list.into()), ..ValueInfo::default() };
        model.graph.outputs = vec![info];
        model.import("ai.onnx.ml", 1);
    };
    let said = refused_with(|model| {
        zipped(model);
        model.graph.nodes.push(Node::new("SequenceLength", &["z"], &["n"]).named("many"));
    });
    assert!(
        said.contains("node `Zip` (ZipMap)") && said.contains("options={'zipmap': False}"),
        "{said}"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("m.onnx");
    let mut model = model();
    zipped(&mut model);
    std::fs::write(&file, model.write().expect("written")).expect("written");
    let shown: Value =
        serde_json::from_slice(&pack(folder.path(), &file, true).stdout).expect("JSON");
    assert!(
        shown["cures"][0].as_str().is_some_and(|cure| cure.ends_with("its columns are no, yes")),
        "{shown}"
    );
    assert_eq!(shown["interfaces"][0]["outputs"][0]["name"], "z");
    assert_eq!(shown["interfaces"][0]["outputs"][0]["type"], "FLOAT");
}

#[test]
fn weights_beside_the_model_are_taken_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("m.onnx");
    std::fs::copy(tests().join("cases/ext_missing.onnx"), &file).expect("copied");
    std::fs::write(folder.path().join("weights.bin"), [7; 4096]).expect("written");
    let shown: Value =
        serde_json::from_slice(&pack(folder.path(), &file, true).stdout).expect("JSON");
    assert_eq!(
        shown["cures"],
        json!(["weights of `weights.bin` were put into the model"]),
        "{shown}"
    );
    std::fs::write(folder.path().join("weights.bin"), b"").expect("written");
    let said = flat(&pack(folder.path(), &file, false).stderr);
    assert!(said.contains("shorter than the model says: fetch it again"), "{said}");
}

#[test]
fn what_scikit_learn_exports_by_default_is_packed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut count = 0;
    for entry in std::fs::read_dir(tests().join("fixtures/scikit")).expect("readable") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|end| end == "onnx") {
            let output = pack(folder.path(), &path, true);
            assert!(output.status.success(), "{}: {output:?}", path.display());
            let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            let inputs = shown["interfaces"][0]["inputs"].as_array().expect("a list");
            assert!(inputs.iter().all(|input| input["shape"][0].is_null()), "{shown}");
            count += 1;
        }
    }
    assert!(count > 10, "{count} models");
}

#[test]
fn which_score_is_which_class_is_shown_and_a_profile_of_another_model_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut model = model();
    model.set_metadata("hospes.classes", json!(["ant", "bee", "cat", "dog"]).to_string());
    let columns = json!([{"name": "length"}, {"name": "colour", "categories": ["blue", "red"]}]);
    model.set_metadata("hospes.columns", columns.to_string());
    std::fs::write(folder.path().join("m.onnx"), model.write().expect("written")).expect("written");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hospes-cli"));
        command.current_dir(folder.path()).env("HOSPES_HOME", folder.path());
        command.env_remove("HOSPES_AS").args(arguments).output().expect("the program starts")
    };
    let profile = |name: &str| {
        let counts = json!({"edges": [0.5], "counts": [1000, 1000]});
        let one = |place| json!({"name": format!("{name}[{place}]"), "bins": counts, "missing": 0});
        let data = format!("sha256:{}", "0".repeat(64));
        let places: Vec<Value> = (0..4).map(one).collect();
        let profile =
            json!({"format": 1, "data": data, "rows": 2000, "inputs": [], "outputs": places});
        std::fs::write(folder.path().join("p.json"), profile.to_string()).expect("written");
        run(&["pack", "m.onnx", "--name", "m", "--force", "-o", "m.wasm", "--profile", "p.json"])
    };
    let refused = profile("other");
    assert_eq!(refused.status.code(), Some(1));
    let said = flat(&refused.stderr);
    assert!(
        said.contains("`other` (each row 4 numbers)") && said.contains("`y: FLOAT[?, 4]`"),
        "{said}"
    );
    let packed = profile("y");
    assert!(packed.status.success(), "{}", flat(&packed.stderr));
    let inspected = run(&["inspect", "m.wasm"]);
    for shown in [packed.stdout, inspected.stdout].map(|text| flat(&text)) {
        assert!(shown.contains("classes 0 = ant, 1 = bee, 2 = cat, 3 = dog"), "{shown}");
        assert!(shown.contains("column `colour`: 0 = blue, 1 = red"), "{shown}");
        assert!(shown.contains("columns 0 = length, 1 = colour"), "{shown}");
    }
    let json = run(&["--json", "inspect", "m.wasm"]);
    let json: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["told"][0]["columns"], columns);
}
