//! Turns the names of the model's classes into a Rust constant, so that a call need not parse JSON.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

use serde_json::Value;

/// The model's classes.
const CLASSES: usize = 1000;

fn main() {
    let plugin = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let path = plugin.join("../target/models/efficientnet-lite0/labels.json");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={}", path.display());
    let json = fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("{}: {e}: run `plugins/fetch classify` first", path.display()));
    let names: Value = serde_json::from_str(&json).expect("labels.json is JSON");

    let mut out = format!("pub(crate) static LABELS: [&str; {CLASSES}] = [\n");
    for class in 0..CLASSES {
        let name = names[class.to_string()].as_str();
        let name = name.unwrap_or_else(|| panic!("class {class} has no name"));
        writeln!(out, "{name:?},").unwrap();
    }
    out += "];\n";
    let folder = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    fs::write(folder.join("labels.rs"), out).expect("the output folder is writable");
}
