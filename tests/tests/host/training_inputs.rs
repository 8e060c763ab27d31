//! What trainings read: folders of pictures and Parquet tables, from the files to a model that `hospes evaluate` finds as good as its
//! report says, and what libraries of Python look up.

use std::path::Path;

use image::{Rgb, RgbImage};
use serde_json::{Value, json};
use system_tests::{HostProcess, built};
use tempfile::TempDir;

use super::held_out::parquet;
use super::training::{agree, copying, refused, report, train, write};

/// `hospes evaluate` finds on each backend what the report says of the test data.
#[track_caller]
fn measured_as_reported(folder: &Path, out: &str, test: &str, report: &Value) {
    let mut command = HostProcess::command();
    let file = |name: &str| folder.join(out).join(name);
    command.args(["--json", "evaluate"]).arg(file("model.onnx")).args(["--data", test, "--report"]);
    command.arg(file("report.json")).current_dir(folder).env("HOSPES_DATA", built("runtime"));
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(found["reported"]["differs"], json!([]), "{found}");
    let runs = found["runs"].as_array().expect("runs");
    assert_eq!(runs.len(), 2, "{found}");
    for run in runs {
        assert_eq!(run["figures"]["value"], report["metrics"]["accuracy"], "{run}");
    }
}

/// A picture of 12 by 12 pixels with noise: a beam, a post or a frame, somewhere.
fn picture(path: &Path, kind: &str, row: u32) {
    let mut state = row.wrapping_mul(2_654_435_761);
    let (at, size) = (2 + row % 5, 5 + row % 3);
    let picture = RgbImage::from_fn(12, 12, |x, y| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = (state >> 25) as u8;
        let (from_x, from_y) = (x.wrapping_sub(at), y.wrapping_sub(at));
        let is_on = |place: u32| place == 0 || place == size;
        let is_drawn = match kind {
            "beam" => from_y < 2,
            "post" => from_x < 2,
            _ => (is_on(from_x) && from_y <= size) || (is_on(from_y) && from_x <= size),
        };
        let pixel = if is_drawn { 100 + noise } else { noise / 2 };
        Rgb([pixel, pixel / 2, noise])
    });
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    picture.save(path).expect("PNG");
}

/// Three classes in folders, and a recipe for them.
fn pictures() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (part, rows) in [("train", 0..24), ("test", 100..110)] {
        for kind in ["beam", "post", "frame"] {
            for row in rows.clone() {
                let name = format!("pictures/{part}/{kind}/{row}.png");
                picture(&folder.path().join(name), kind, row);
            }
        }
    }
    let recipe = "[data]\ntrain = { path = \"pictures/train\" }\ntest = { path = \"pictures/test\" }\n[native]\ntask = \"image\"\n\
        architecture = \"cnn\"\nwidths = [8, 16]\nepochs = 20\nbatch = 8\noptimizer = { kind = \"adam\", lr = 0.01 }\n\
        [gate]\naccuracy = 0.9\n";
    write(&folder.path().join("shapes.toml"), recipe);
    folder
}

#[test]
fn a_folder_of_pictures_trains_a_model_that_is_measured_as_reported() {
    let folder = pictures();
    let report = report(&train(folder.path(), &["shapes.toml", "--threads", "1"]));
    agree(&report);
    assert!(report["metrics"]["accuracy"].as_f64() >= Some(0.9), "{report}");
    measured_as_reported(folder.path(), "shapes", "pictures/test", &report);
}

#[test]
fn pictures_that_cannot_be_learnt_from_are_named_before_anything_is_trained() {
    let folder = pictures();
    let path = |name: &str| folder.path().join("pictures/train").join(name);
    let sound = std::fs::read(path("post/7.png")).expect("there");
    write(&path("post/7.png"), &sound[..sound.len() / 2]);
    RgbImage::new(12, 9).save(path("frame/low.png")).expect("PNG");
    let output = train(folder.path(), &["shapes.toml"]);
    refused(&output, "post/7.png");
    refused(&output, "frame/low.png");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("epoch"), "{output:?}");
    assert!(!folder.path().join("shapes/model.onnx").exists());
}

/// Two numbers, and how many of them are above a half.
fn counted(rows: u32) -> (Vec<f64>, Vec<f64>, Vec<i64>) {
    let place = |row: u32, by: u32| f64::from(row.wrapping_mul(by) % 997) / 997.0;
    let a: Vec<f64> = (0..rows).map(|row| place(row, 613)).collect();
    let b: Vec<f64> = (0..rows).map(|row| place(row, 389)).collect();
    let count = |(a, b): (&f64, &f64)| i64::from(*a > 0.5) + i64::from(*b > 0.5);
    let labels = a.iter().zip(&b).map(count).collect();
    (a, b, labels)
}

#[test]
fn a_parquet_table_trains_a_model_that_is_measured_as_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut a, b, labels) = counted(500);
    let (learnt, held) = (..400, 400..);
    let table = |a: &[f64]| parquet([&a[learnt], &b[learnt]], &labels[learnt]);
    write(&folder.path().join("rows.parquet"), table(&a));
    let test = parquet([&a[held.clone()], &b[held.clone()]], &labels[held]);
    write(&folder.path().join("test.parquet"), test);
    let recipe = "[data]\ntrain = { path = \"rows.parquet\" }\ntest = { path = \"test.parquet\" }\n[native]\ntask = \"table\"\n\
        target = \"y\"\narchitecture = \"mlp\"\nwidths = [32]\nepochs = 40\nbatch = 16\n\
        optimizer = { kind = \"adam\", lr = 0.01 }\n[gate]\naccuracy = 0.9\n";
    write(&folder.path().join("counted.toml"), recipe);
    let report = report(&train(folder.path(), &["counted.toml", "--threads", "1"]));
    agree(&report);
    assert!(report["metrics"]["accuracy"].as_f64() >= Some(0.9), "{report}");
    measured_as_reported(folder.path(), "counted", "test.parquet", &report);

    // A cell is missing.
    a[16] = f64::NAN;
    write(&folder.path().join("rows.parquet"), table(&a));
    let output = train(folder.path(), &["counted.toml", "--out", "gap"]);
    refused(&output, "column `a` of data set `train` has empty cells (1, the first in row 17)");
    assert!(!folder.path().join("gap/model.onnx").exists());
}

/// What TensorFlow does when it is imported: it ends the process where it cannot.
const AS_TENSORFLOW: &str = "import os, shutil, sys\n\
    if 'python' in os.readlink('/proc/self/exe'): open('/proc/self/cmdline').close()\n\
    shutil.copy(sys.argv[1], os.environ['SM_MODEL_DIR'] + '/model.onnx')\n";

#[test]
fn a_script_that_looks_itself_up_as_tensorflow_does_is_trained_confined() {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder.path().join("data.csv"), "x,y\n1,a\n");
    write(&folder.path().join("made.onnx"), system_tests::simple());
    write(&folder.path().join("train.py"), AS_TENSORFLOW);
    let environment = built("oracle");
    let of_environment = environment.join("bin/python").display().to_string();
    for python in ["python3", &of_environment] {
        let recipe = format!(
            "[data]\ntrain = {{ path = \"data.csv\" }}\n[command]\nargv = [\"{python}\", \"train.py\", \"made.onnx\"]\n"
        );
        write(&folder.path().join("recipe.toml"), recipe);
        let report = report(&train(folder.path(), &["recipe.toml", "--force"]));
        assert_eq!(report["confined"], true, "{report}");
    }
}

#[test]
fn a_misspelt_script_is_named_before_anything_is_trained() {
    let folder = copying("");
    let path = folder.path().join("recipe.toml");
    let recipe = std::fs::read_to_string(&path).expect("there");
    write(&path, recipe.replace("other.py", "ohter.py"));
    let output = train(folder.path(), &["recipe.toml"]);
    refused(&output, "ohter.py`, which the recipe names, is not there");
    refused(&output, "correct `argv`");
    assert!(!folder.path().join("recipe").exists(), "nothing was trained");
}

#[test]
fn a_pattern_that_matches_no_line_is_named() {
    let folder = copying("echo loss=0.5");
    let path = folder.path().join("recipe.toml");
    let recipe = std::fs::read_to_string(&path).expect("there");
    let metric = |name: &str| format!("{{ name = \"{name}\", regex = \"{name}=([0-9.]+)\" }}");
    let metrics = format!("metrics = [{}, {}]\n", metric("loss"), metric("accuracy"));
    write(&path, format!("{recipe}{metrics}"));
    let output = train(folder.path(), &["recipe.toml"]);
    report(&output);
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["metrics_unmatched"], serde_json::json!(["accuracy"]), "{answer}");
}

#[test]
fn folders_behind_links_and_results_inside_the_code_are_refused() {
    let folder = copying("");
    let recipe = std::fs::read_to_string(folder.path().join("recipe.toml")).expect("there");
    write(&folder.path().join("recipe.toml"), format!("{recipe}files = [\".\"]\n"));
    refused(&train(folder.path(), &["recipe.toml"]), "inside the code `.`");
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("made");
    std::os::unix::fs::symlink(folder.path(), data.join("circle")).expect("made");
    write(&folder.path().join("recipe.toml"), recipe.replace("\"pair\"", "\"data\""));
    refused(&train(folder.path(), &["recipe.toml"]), "data/circle` is a link to a folder");
}
