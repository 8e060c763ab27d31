//! Language models that others store become decoders, and are packed with the code that speaks with them.

use std::path::Path;
use std::process::Output;

use hospes::bundle::{self, Encoding, ModelInput};
use hospes::decoder::{Architecture, Decoder, Kind};
use serde_json::{Value, json};
use system_tests::{HostProcess, TestHost, model_input, plugin, smollm2, text_guest, workspace};

fn hospes(folder: &Path, arguments: &[&str]) -> Output {
    HostProcess::command().args(arguments).current_dir(folder).output().expect("it runs")
}

#[track_caller]
fn json_of(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &output.stderr].concat()).into_owned()
}

fn tiny() -> String {
    workspace().join("tests/fixtures/decoder/tiny.gguf").display().to_string()
}

#[test]
fn smollm2_becomes_a_decoder() {
    let folder = tempfile::tempdir().expect("a directory");
    let gguf = smollm2::gguf().display().to_string();
    let packed = json_of(&hospes(folder.path(), &["--json", "pack", &gguf, "-o", "m.safetensors"]));
    assert_eq!(packed["name"], "smollm2-135m-8k-lc100k-mix1-ep2");
    let cost = &packed["decoder"]["cost"];
    assert_eq!(cost["matrices"], json!({"q8": 211}));
    let largest = cost["largest_error"].as_f64().expect("a number");
    assert!(largest > 0.0 && largest < 0.01, "{cost}");
    let bytes = std::fs::read(folder.path().join("m.safetensors")).expect("written");
    let decoder = Decoder::read(&bytes).expect("a decoder");
    let config = decoder.config();
    assert_eq!(config.architecture, Architecture::Llama);
    assert_eq!((config.layers, config.hidden, config.vocabulary), (30, 576, 49_152));
    assert_eq!((config.heads, config.kv_heads, config.head_size), (9, 3, 64));
    assert_eq!((config.context, config.rope_theta, config.tied), (8192, 100_000.0, true));
    assert_eq!((config.bos, config.eos.first()), (Some(1), Some(&2)));
    assert_eq!(decoder.layer(29).expect("a layer").down.storage.kind(), Kind::Q8);
    assert!(decoder.template().expect("a template").contains("<|im_start|>"));
    let tokenizer: Value = serde_json::from_str(decoder.tokenizer()).expect("JSON");
    assert_eq!(tokenizer["model"]["vocab"]["<|im_end|>"], 2);
    assert_eq!(tokenizer["model"]["merges"].as_array().map(Vec::len), Some(48_900));
}

#[test]
fn what_llama_cpp_s_writer_wrote_has_the_weights_that_were_written() {
    let folder = tempfile::tempdir().expect("a directory");
    let packed = json_of(&hospes(folder.path(), &["--json", "pack", &tiny(), "--quantise", "f32"]));
    assert_eq!(packed["file"], "tiny-1.safetensors");
    assert_eq!(packed["decoder"]["cost"]["matrices"], json!({"f32": 8}));
    let bytes = std::fs::read(folder.path().join("tiny-1.safetensors")).expect("written");
    let decoder = Decoder::read(&bytes).expect("a decoder");
    let layer = decoder.layer(0).expect("a layer");
    // As make.py has them.
    let weight = |row: usize, column: usize, salt: usize| {
        ((row * 31 + column * 17 + salt) % 23) as f32 / 8.0 - 1.25
    };
    for (matrix, salt, near) in [
        (&decoder.embedding(), 1, 0.01),
        (&layer.query, 4, 0.0),
        (&layer.key, 5, 0.0),
        (&layer.value, 6, 0.0),
        (&layer.output, 7, 0.11),
        (&layer.gate, 9, 0.1),
        (&layer.up, 10, 0.06),
        (&layer.down, 11, 0.05),
    ] {
        let mut row = vec![0.0; matrix.columns];
        for index in 0..matrix.rows {
            matrix.row(index, &mut row);
            for (column, value) in row.iter().enumerate() {
                let error = (value - weight(index, column, salt)).abs();
                assert!(error <= near, "{} {index},{column}: {value}", matrix.name);
            }
        }
    }
    assert_eq!(decoder.norm().values().nth(3), Some(weight(0, 3, 2)));
}

#[test]
fn a_language_model_is_packed_with_a_guest_s_code() {
    let folder = tempfile::tempdir().expect("a directory");
    std::fs::write(folder.path().join("guest.wasm"), plugin("echo")).expect("written");
    let pack = ["pack", &tiny(), "--guest", "guest.wasm", "-o", "out.wasm"];
    let said = hospes(folder.path(), &pack);
    assert!(said.status.success(), "{}", text(&said));
    let shown = text(&said);
    assert!(shown.contains("llama, 1 layers of 32, 8 tokens, context 64"), "{shown}");
    assert!(shown.contains("next: hospes sign out.wasm"), "{shown}");
    let again = hospes(folder.path(), &pack);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again).contains("--force"), "{}", text(&again));
    let inspected = json_of(&hospes(folder.path(), &["--json", "inspect", "out.wasm"]));
    let manifest = &inspected["manifest"];
    assert_eq!(manifest["licence"], "Apache-2.0");
    assert_eq!(manifest["name"], "tiny-1");
    assert_eq!(manifest["card"]["languages"], json!(["en"]));
    assert_eq!(manifest["models"][0]["encoding"], "decoder");
    assert!(!manifest["functions"].as_array().expect("a list").is_empty());
}

#[test]
fn what_is_no_language_model_is_refused_with_the_way_to_go() {
    let folder = tempfile::tempdir().expect("a directory");
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.path().join(name), bytes).expect("written");
    };
    write("bad.gguf", b"GGUF\x03\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0");
    write("m.onnx", b"\x08\x08\x3a\x00");
    write("m.safetensors", b"x");
    std::fs::create_dir(folder.path().join("plugin")).expect("made");
    for (arguments, expected) in [
        (&["bad.gguf"][..], "more than the 32768 allowed"),
        (&["m.onnx", "--name", "m", "--quantise", "q8"], "hospes optimize"),
        (&["m.onnx"], "--name NAME"),
        (&["m.safetensors"], "name the folder"),
        (&["plugin", "--name", "m"], "hospes build plugin"),
        (&["no.gguf", "--name", "m"], "no.gguf"),
    ] {
        let said = hospes(folder.path(), &[&["pack"], arguments].concat());
        assert_eq!(said.status.code(), Some(1), "{arguments:?}");
        assert!(text(&said).contains(expected), "{arguments:?}: {}", text(&said));
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 4);
}

#[test]
fn a_bundle_whose_decoder_is_malformed_is_not_signed() {
    let model =
        ModelInput { encoding: Encoding::Decoder, ..model_input("m", b"nonsense".to_vec()) };
    let guest = ";; world: export run: func();\n(module (func (export \"run\")))";
    let packed = text_guest(guest, "broken", &[model]);
    let host = TestHost::start();
    let refused = bundle::sign(&packed, &host.party("acme").key).expect_err("refused");
    let cause = std::error::Error::source(&refused).map(ToString::to_string);
    let said = format!("{refused}: {cause:?}");
    assert!(said.contains("model `m` is no decoder that hosts accept"), "{said}");
}
