//! Sorts the vocabulary into tables that are searched in place. Each call is a fresh instance, and should not have to build a map.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let plugin = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let path = plugin.join("../target/models/minilm/vocab.txt");
    println!("cargo:rerun-if-changed={}", path.display());
    let text = fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("{}: {e}: run `plugins/fetch minilm` first", path.display()));
    let tokens: Vec<(usize, &str)> = text.lines().enumerate().collect();
    assert!(tokens.len() <= usize::from(u16::MAX), "identifiers are kept in 16 bits");
    let folder = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    let pieces = tokens.iter().filter_map(|(id, token)| Some((*id, token.strip_prefix("##")?)));
    table(&folder, "pieces", pieces.collect());
    let words = tokens.iter().copied().filter(|(_, token)| !token.starts_with("##"));
    table(&folder, "words", words.collect());
}

/// Writes the texts in order, one after the other. For each it writes its end and its identifier, little-endian.
fn table(folder: &std::path::Path, name: &str, mut tokens: Vec<(usize, &str)>) {
    tokens.sort_by_key(|(_, token)| *token);
    let (mut text, mut index) = (String::new(), Vec::new());
    for (id, token) in tokens {
        text.push_str(token);
        index.extend(u32::try_from(text.len()).expect("a short vocabulary").to_le_bytes());
        index.extend(u32::try_from(id).expect("checked above").to_le_bytes());
    }
    fs::write(folder.join(format!("{name}.txt")), text).expect("the output folder is writable");
    fs::write(folder.join(format!("{name}.bin")), index).expect("the output folder is writable");
}
