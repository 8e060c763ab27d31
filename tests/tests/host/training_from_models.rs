//! Trainings that learn from other models: a teacher's answers, embeddings of texts, and what pruning leaves of a network itself.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Output;

use hospes::id::Digest;
use serde_json::{Value, json};
use system_tests::{HostProcess, TestHost, built, plugin};
use tempfile::TempDir;

use super::training::{agree, bars, refused, report, train, write};

/// A recipe for the bars, with more settings of `[native]`.
fn recipe(folder: &Path, name: &str, more: &str) {
    let recipe = format!(
        "[data]\ntrain = {{ path = \"a\" }}\ntest = {{ path = \"b\" }}\n[native]\ntask = \"image\"\narchitecture = \"cnn\"\n\
         batch = 16\noptimizer = {{ kind = \"sgd\", lr = 0.02, momentum = 0.9 }}\n{more}\n"
    );
    write(&folder.join(name), recipe);
}

fn pictures() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    bars(folder.path(), "a", 2000);
    bars(folder.path(), "b", 200);
    folder
}

fn metric(report: &Value, name: &str) -> f64 {
    report["metrics"][name].as_f64().unwrap_or_else(|| panic!("no {name}: {report}"))
}

#[test]
fn a_taught_network_is_reported_beside_the_same_one_without_its_teacher() {
    let folder = pictures();
    recipe(folder.path(), "large.toml", "widths = [8, 16]\nepochs = 3");
    let large = report(&train(folder.path(), &["large.toml"]));
    let small = "widths = [2, 2]\nepochs = 2\nteacher = { model = \"large/model.onnx\", weight = 0.7 }\n[gate]\naccuracy = 0.5";
    recipe(folder.path(), "small.toml", small);
    let taught = report(&train(folder.path(), &["small.toml"]));
    agree(&taught);
    assert_eq!(taught["teacher"]["path"], "large/model.onnx");
    assert_eq!(taught["teacher"]["model"]["sha256"], large["model"]["sha256"]);
    let (with, without) = (metric(&taught, "accuracy"), metric(&taught, "alone_accuracy"));
    assert!(with > 0.5 && without > 0.5, "{taught}");
    assert!(metric(&taught, "loss") != metric(&taught, "alone_loss"), "{taught}");

    // The same network, trained without a teacher by itself, is what it was compared with.
    recipe(folder.path(), "alone.toml", "widths = [2, 2]\nepochs = 2");
    let alone = ["--threads", "1", "--out"];
    let by_itself = report(&train(folder.path(), &[&["alone.toml"][..], &alone, &["x"]].concat()));
    let beside = report(&train(folder.path(), &[&["small.toml"][..], &alone, &["y"]].concat()));
    assert_eq!(metric(&by_itself, "accuracy"), metric(&beside, "alone_accuracy"));
}

/// Runs `hospes` with the keys of the folder's own home.
fn hospes(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = HostProcess::command();
    command.arg("--json").args(arguments).current_dir(folder);
    command.env("HOSPES_HOME", folder.join("home")).output().expect("it runs")
}

#[track_caller]
fn json_of(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"))
}

/// The proof of `run` names this base. `verify-lineage` finds it in `same`, and a change in `other`.
#[track_caller]
fn proves_base(folder: &Path, run: &str, name: &str, same: &str, other: &str) {
    let (model, proof) = (format!("{run}/model.onnx"), format!("{run}/provenance.dsse"));
    let pack = ["pack", &model, "--name", "learnt", "--provenance", &proof, "-o", "learnt.wasm"];
    json_of(&hospes(folder, &pack));
    let shown = json_of(&hospes(folder, &["inspect", "learnt.wasm"]));
    let proven = &shown["extras"]["provenance"];
    let bytes = std::fs::read(folder.join(same)).expect("there");
    assert_eq!(proven["base"], json!({"name": name, "sha256": Digest::of(&bytes)}), "{proven}");
    let verified = |more: &[&str]| {
        let said = hospes(folder, &[&["verify-lineage", "learnt.wasm"], more].concat());
        let json = json_of(&said);
        let checks = json["checks"].as_array().expect("a list").iter();
        let mut checks = checks.filter(|check| check["what"] == format!("base {name}"));
        let found = checks.next().expect("listed")["result"].as_str().expect("text").to_owned();
        (said.status.code(), found)
    };
    assert_eq!(verified(&["--base", same]), (Some(0), "ok".into()));
    assert_eq!(verified(&["--base", other]), (Some(1), "changed".into()));
    assert_eq!(verified(&[]), (Some(0), "not-checked".into()));
}

#[test]
fn a_proof_names_the_teacher_as_the_base() {
    let folder = pictures();
    let at = folder.path();
    json_of(&hospes(at, &["keys", "new", "acme"]));
    let runtime = built("runtime");
    let trained = |recipe: &str, more: &[&str]| {
        let data = runtime.to_str().expect("text");
        report(&hospes(at, &[&["train", recipe, "--host-data", data], more].concat()));
    };
    recipe(at, "large.toml", "widths = [8, 16]\nepochs = 3");
    trained("large.toml", &[]);
    json_of(&hospes(at, &["pack", "large/model.onnx", "--name", "large", "-o", "large.wasm"]));
    let of = |model: &str| {
        format!(
            "widths = [2, 2]\nepochs = 1\nteacher = {{ model = \"{model}\" }}\n[gate]\naccuracy = 0.0"
        )
    };
    recipe(at, "file.toml", &of("large/model.onnx"));
    trained("file.toml", &[]);
    proves_base(at, "file", "large/model.onnx", "large/model.onnx", "file/model.onnx");
    // The bundle of that model holds it.
    let held = json_of(&hospes(at, &["verify-lineage", "learnt.wasm", "--base", "large.wasm"]));
    assert_eq!(held["holds"], true, "{held}");
    let what = "base large/model.onnx: the bundle `large.wasm` holds it";
    let checks = held["checks"].as_array().expect("a list");
    assert!(checks.iter().any(|check| check["what"] == what && check["result"] == "ok"), "{held}");
    std::fs::remove_file(at.join("learnt.wasm")).expect("packed");
    recipe(at, "bundle.toml", &of("large.wasm"));
    trained("bundle.toml", &[]);
    proves_base(at, "bundle", "large@1.0.0", "large.wasm", "large/model.onnx");
}

#[test]
fn a_teacher_of_other_classes_teaches_nothing() {
    let folder = pictures();
    recipe(folder.path(), "large.toml", "widths = [8, 16]\nepochs = 2");
    report(&train(folder.path(), &["large.toml"]));
    // The labels the other way round.
    let path = folder.path().join("a-labels-idx1-ubyte");
    let mut labels = std::fs::read(&path).expect("there");
    labels[8..].iter_mut().for_each(|label| *label = 1 - *label);
    write(&path, labels);
    let teacher = "widths = [2, 2]\nteacher = { model = \"large/model.onnx\" }";
    recipe(folder.path(), "small.toml", teacher);
    refused(&train(folder.path(), &["small.toml"]), "no more than if it always named");
    let nobody = "teacher = { model = \"nobody.onnx\" }";
    recipe(folder.path(), "nobody.toml", nobody);
    refused(&train(folder.path(), &["nobody.toml"]), "nobody.onnx");
}

#[test]
fn a_pruned_network_is_smaller_and_still_right() {
    let folder = pictures();
    recipe(folder.path(), "whole.toml", "widths = [8, 16]\nepochs = 3");
    let prune =
        "widths = [8, 16]\nepochs = 3\nprune = { share = 0.5, epochs = 2 }\n[gate]\naccuracy = 0.9";
    recipe(folder.path(), "half.toml", prune);
    let whole = report(&train(folder.path(), &["whole.toml", "--threads", "1"]));
    let half = report(&train(folder.path(), &["half.toml", "--threads", "1"]));
    agree(&half);
    assert_eq!(metric(&half, "unpruned_accuracy"), metric(&whole, "accuracy"));
    assert!(metric(&half, "accuracy") >= 0.9, "{half}");
    let bytes = |report: &Value| report["model"]["bytes"].as_u64().expect("a size");
    assert!(bytes(&half) * 2 < bytes(&whole), "{} {}", bytes(&half), bytes(&whole));
}

#[test]
fn a_network_that_loses_by_its_pruning_is_not_kept_without_a_gate() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows = |from: u32| {
        let numbers = (0..200).map(|at| f64::from((at * 37 + from) % 101) / 101.0);
        numbers.fold("a,b,c\n".to_owned(), |text, a| {
            let b = (a * 7.0).fract();
            format!("{text}{a},{b},{}\n", 3.0 * a - 2.0 * b + 0.5)
        })
    };
    write(&folder.path().join("train.csv"), rows(0));
    write(&folder.path().join("test.csv"), rows(11));
    // All rows in a step: after the pruning there is one step, which cannot make up for nine tenths of the units.
    let recipe = "[data]\ntrain = { path = \"train.csv\" }\ntest = { path = \"test.csv\" }\n[native]\ntask = \"table\"\n\
        target = \"c\"\npredict = \"number\"\narchitecture = \"mlp\"\nwidths = [64]\nepochs = 300\nbatch = 1000\n\
        optimizer = { kind = \"adam\", lr = 0.01 }\nprune = { share = 0.9, epochs = 1 }\n";
    write(&folder.path().join("line.toml"), recipe);
    let output = train(folder.path(), &["line.toml"]);
    refused(&output, "pruning costs too much: r2 is");
    refused(&output, "leave `prune` out");
    assert!(!folder.path().join("line/model.onnx").exists());
    let kept = report(&train(folder.path(), &["line.toml", "--set", "gate.r2=-1000.0"]));
    assert!(metric(&kept, "unpruned_r2") > metric(&kept, "r2") + 0.01, "{kept}");
}

/// Sentences about food and about weather. Those for testing have words that the others do not have.
fn sentences(folder: &Path) {
    let food = ["bread", "soup", "cheese", "rice", "cake", "salad", "noodles", "butter"];
    let weather = ["rain", "snow", "wind", "fog", "hail", "sunshine", "thunder", "drizzle"];
    let about = |word: &str, is_food: bool| match is_food {
        true => [
            format!("We had {word} for dinner, \"again\"."),
            format!("Could you pass me the {word}, please?"),
            format!("The cook made fresh {word} this morning."),
        ],
        false => [
            format!("The forecast says {word} for tomorrow."),
            format!("We got home late because of the {word}."),
            format!("There was a lot of {word} in the mountains."),
        ],
    };
    let mut files = ["id,review,topic\n".to_owned(), "id,review,topic\n".to_owned()];
    for (place, (food, weather)) in food.into_iter().zip(weather).enumerate() {
        for (word, is_food) in [(food, true), (weather, false)] {
            for sentence in about(word, is_food) {
                let sentence = sentence.replace('"', "\"\"");
                let topic = if is_food { "food" } else { "weather" };
                let file = &mut files[usize::from(place >= 6)];
                writeln!(file, "{place},\"{sentence}\",{topic}").expect("text");
            }
        }
    }
    write(&folder.join("train.csv"), &files[0]);
    write(&folder.join("test.csv"), &files[1]);
}

#[test]
fn texts_are_learnt_by_the_embeddings_of_a_published_model() {
    let folder = tempfile::tempdir().expect("a folder");
    sentences(folder.path());
    let recipe = "[data]\ntrain = { path = \"train.csv\" }\ntest = { path = \"test.csv\" }\n[native]\ntask = \"text\"\n\
        text = \"review\"\ntarget = \"topic\"\nembeddings = \"acme/semantic-search\"\narchitecture = \"head\"\nepochs = 20\n\
        batch = 8\noptimizer = { kind = \"adam\", lr = 0.01 }\n[gate]\naccuracy = 0.9\n";
    write(&folder.path().join("topics.toml"), recipe);
    let data = folder.path().join("data");
    let settings = format!("inference.onnxruntime_library = {:?}\n", TestHost::onnxruntime());
    let host = HostProcess::start_with(&data, &settings);
    let on_host = |arguments: &[&str]| -> Output {
        hospes(folder.path(), &[arguments, &["--host", &host.address]].concat())
    };
    let done = |arguments: &[&str]| {
        let output = on_host(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    done(&["keys", "new", "acme"]);
    let at = data.to_str().expect("text");
    done(&["account", "new", "acme", "--operator", &host.operator, "--data", at]);
    let bundle = folder.path().join("search.wasm");
    write(&bundle, plugin("semantic-search"));
    done(&["sign", "search.wasm", "--as", "acme"]);
    done(&["publish", "search.wasm", "--as", "acme"]);

    let library = TestHost::onnxruntime();
    let runtime = library.ancestors().nth(3).and_then(Path::to_str).expect("DATA/runtime/…");
    let run = ["train", "topics.toml", "--host-data", runtime];
    // Nobody can be asked here, so nothing is called without `--yes`.
    refused(&on_host(&run), "--yes");
    let first = on_host(&[&run[..], &["--yes"]].concat());
    let said = String::from_utf8_lossy(&first.stderr).into_owned();
    assert!(said.contains("48 texts are 2 calls of acme/semantic-search"), "{said}");
    let report = report(&first);
    agree(&report);
    assert!(metric(&report, "accuracy") >= 0.9, "{report}");
    assert_eq!(report["embeddings"]["model"], "acme/semantic-search");
    assert_eq!(report["embeddings"]["version"], "1.0.0");
    let base = "acme/semantic-search@1.0.0";
    proves_base(folder.path(), "topics", base, "search.wasm", "topics/model.onnx");

    // The vectors are kept, so a second training calls nothing and need not ask.
    let again = on_host(&[&run[..], &["--force", "--set", "lr=0.02"]].concat());
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(again.status.success() && !said.contains("calls of"), "{said}");

    let wrong = on_host(&[&run[..], &["--force", "--set", "text=title"]].concat());
    refused(&wrong, "has no column `title`");

    // Rows that cannot be learnt from are named before anything is called.
    let sound = std::fs::read_to_string(folder.path().join("train.csv")).expect("there");
    let cells =
        [("Could you pass me the bread, please?", "", "row 2 of"), (",food\n", ",\n", "line 2")];
    for (cell, gap, place) in cells {
        write(&folder.path().join("train.csv"), sound.replacen(cell, gap, 1));
        let output = on_host(&[&run[..], &["--force", "--yes"]].concat());
        refused(&output, "train.csv");
        refused(&output, place);
        assert!(!String::from_utf8_lossy(&output.stderr).contains("calls of"), "{output:?}");
    }
}
