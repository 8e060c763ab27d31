//! Turns the model's configuration and its table of content types into Rust constants, so that a call need not parse JSON.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use serde_json::Value;

/// Types that a rule can return, whatever the model's labels are.
const RULES: [&str; 3] = ["empty", "txt", "unknown"];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let plugin = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let model = plugin.join("../target/models/magika");
    let config = read(&model.join("config.min.json"));
    let known = read(&model.join("content_types_kb.min.json"));
    let mut out = String::new();
    constants(&mut out, &config);
    kinds(&mut out, &config, &known);
    let folder = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    fs::write(folder.join("magika.rs"), out).expect("the output folder is writable");
}

fn read(path: &Path) -> Value {
    println!("cargo:rerun-if-changed={}", path.display());
    let text = fs::read_to_string(path)
        .unwrap_or_else(|e| panic!("{}: {e}: run `plugins/fetch magika` first", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The sizes of the model's input.
fn constants(out: &mut String, config: &Value) {
    assert_eq!(config["mid_size"], 0, "this plugin shows a model the beginning and the end");
    assert_eq!(config["use_inputs_at_offsets"], false, "this plugin reads no fixed offsets");
    for (name, member, ty) in [
        ("BEGINNING_TOKENS", "beg_size", "usize"),
        ("END_TOKENS", "end_size", "usize"),
        ("BLOCK_BYTES", "block_size", "usize"),
        ("BYTES_MIN", "min_file_size_for_dl", "usize"),
        ("PADDING", "padding_token", "i32"),
    ] {
        writeln!(out, "pub(crate) const {name}: {ty} = {};", config[member]).unwrap();
    }
}

/// The content types, and for each label of the model the returned type and the minimum score.
fn kinds(out: &mut String, config: &Value, known: &Value) {
    let labels: Vec<&str> = config["target_labels_space"]
        .as_array()
        .expect("a list of labels")
        .iter()
        .map(|label| label.as_str().expect("a label"))
        .collect();
    let answered =
        |label: &str| config["overwrite_map"][label].as_str().unwrap_or(label).to_owned();
    let mut names: BTreeSet<String> = labels.iter().map(|label| (*label).to_owned()).collect();
    names.extend(labels.iter().map(|label| answered(label)));
    names.extend(RULES.map(str::to_owned));
    let names: Vec<String> = names.into_iter().collect();
    let index = |label: &str| names.iter().position(|name| name == label).expect("collected above");

    writeln!(out, "pub(crate) static KINDS: [Kind; {}] = [", names.len()).unwrap();
    names.iter().for_each(|name| kind(out, name, &known[name]));
    writeln!(out, "];").unwrap();
    for rule in RULES {
        let name = rule.to_uppercase();
        writeln!(out, "pub(crate) static {name}: &Kind = &KINDS[{}];", index(rule)).unwrap();
    }
    writeln!(out, "pub(crate) static LABELS: [Label; {}] = [", labels.len()).unwrap();
    for label in labels {
        let threshold = match &config["thresholds"][label] {
            Value::Null => &config["medium_confidence_threshold"],
            own => own,
        };
        let (own, answer) = (index(label), index(&answered(label)));
        writeln!(
            out,
            "Label {{ own: &KINDS[{own}], answer: &KINDS[{answer}], score_min: {threshold}_f64 }},"
        )
        .unwrap();
    }
    writeln!(out, "];").unwrap();
}

/// One content type. Values that are missing in the table get Magika's defaults.
fn kind(out: &mut String, name: &str, info: &Value) {
    let is_text = info["is_text"].as_bool().unwrap_or_else(|| panic!("`{name}` is not described"));
    let mime = if is_text { "text/plain" } else { "application/octet-stream" };
    let text = |member: &str, default: &str| info[member].as_str().unwrap_or(default).to_owned();
    let extensions: Vec<&str> =
        info["extensions"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    writeln!(
        out,
        "Kind {{ label: {name:?}, mime_type: {:?}, group: {:?}, description: {:?}, \
         extensions: &{extensions:?}, is_text: {is_text} }},",
        text("mime_type", mime),
        text("group", "unknown"),
        text("description", name),
    )
    .unwrap();
}
