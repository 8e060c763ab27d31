//! Checkpoints that are read, and files that are refused by name.

mod hostile;
mod sample;

use std::path::Path;

use hospes_decoder::{Decoder, Kind, Matrix, Storage};
use serde_json::{Value, json};

use super::element::Element;
use super::*;
use sample::{Gguf, folder, gguf, settings, weight};

fn open(file: &Gguf) -> Checkpoint {
    open_gguf(Box::new(file.bytes())).expect("opened")
}

fn written(checkpoint: &Checkpoint, quantise: Option<Quantise>) -> (Vec<u8>, Cost) {
    let mut out = Vec::new();
    let written = checkpoint.write(quantise, &mut out).expect("written");
    assert_eq!(written.bytes, out.len() as u64);
    (out, written.cost)
}

fn rows(matrix: &Matrix<'_>) -> Vec<Vec<f32>> {
    let row = |index| {
        let mut row = vec![0.0; matrix.columns];
        matrix.row(index, &mut row);
        row
    };
    (0..matrix.rows).map(row).collect()
}

#[test]
fn a_gguf_file_and_a_folder_of_one_model_give_the_same_weights() {
    let (from_gguf, _) = written(&open(&gguf()), None);
    let place = folder(&settings());
    let checkpoint = open_folder(place.path()).expect("opened");
    let (from_folder, cost) = written(&checkpoint, None);
    assert_eq!((cost.largest, cost.worst), (0.0, None));
    let (one, other) =
        (Decoder::read(&from_gguf).expect("read"), Decoder::read(&from_folder).expect("read"));
    assert_eq!(one.config(), other.config());
    for (a, b) in one.layers().zip(other.layers()) {
        assert_eq!(rows(&a.query), rows(&b.query));
        assert_eq!(rows(&a.key), rows(&b.key));
        assert_eq!(a, b);
    }
    assert_eq!(rows(&one.embedding()), rows(&other.embedding()));
    // The rows of Llama's queries are interleaved in the GGUF file.
    let query = rows(&one.layer(1).expect("a layer").query);
    assert_eq!(query[5][7], weight("model.layers.1.self_attn.q_proj.weight", 5, 7));
    assert_eq!(one.template(), Some("{{ messages }}"));
    assert_eq!(other.template(), Some("{{ messages }}"));
}

#[test]
fn weights_are_kept_where_the_layout_allows_it() {
    let mut file = gguf();
    file.store("blk.0.ffn_up.weight", 8);
    file.store("blk.0.ffn_gate.weight", 2);
    file.store("blk.1.ffn_up.weight", 3);
    let checkpoint = open(&file);
    let (bytes, cost) = written(&checkpoint, None);
    let decoder = Decoder::read(&bytes).expect("read");
    let layer = decoder.layer(0).expect("a layer");
    assert!(matches!(layer.up.storage, Storage::Q8(_)), "Q8_0 is 8 bits");
    assert!(matches!(layer.gate.storage, Storage::Q4(_)), "Q4_0 is 4 bits");
    let up = decoder.layer(1).expect("a layer").up;
    assert!(matches!(up.storage, Storage::Q8(_)), "Q4_1 becomes 8 bits");
    for (matrix, name, number) in
        [(&layer.up, "blk.0.ffn_up.weight", 8), (&layer.gate, "blk.0.ffn_gate.weight", 2)]
    {
        let element = Element::of_gguf(number).expect("known");
        let mut values = Vec::new();
        element.values(file.data(name), &mut values);
        assert_eq!(rows(matrix).concat(), values, "{name} keeps every bit");
    }
    assert_eq!(cost.worst.as_deref(), Some("model.layers.1.mlp.up_proj.weight"));
    assert!(cost.largest > 0.0 && cost.largest < 0.01, "{cost:?}");
    assert!(cost.mean > 0.0 && cost.mean < cost.largest);
}

#[test]
fn quantising_shows_its_cost() {
    let checkpoint = open(&gguf());
    let mut errors = Vec::new();
    for (quantise, kind) in [
        (Quantise::F32, Kind::F32),
        (Quantise::F16, Kind::F16),
        (Quantise::Q8, Kind::Q8),
        (Quantise::Q4, Kind::Q4),
    ] {
        let (bytes, cost) = written(&checkpoint, Some(quantise));
        let decoder = Decoder::read(&bytes).expect("read");
        assert_eq!(decoder.layer(0).expect("a layer").down.storage.kind(), kind);
        let embedding = if kind == Kind::Q4 { Kind::Q8 } else { kind };
        assert_eq!(decoder.embedding().storage.kind(), embedding);
        assert_eq!(cost.before, checkpoint.weights_bytes());
        errors.push(cost.largest);
    }
    assert_eq!(errors[0], 0.0);
    assert!(errors[1] < 1e-3 && errors[2] < 0.01 && errors[3] < 0.12, "{errors:?}");
    assert!(errors.is_sorted(), "{errors:?}");
}

/// Bytes that look random, and the same in the oracle.
fn bytes(count: usize) -> Vec<u8> {
    let mut state = 12345_u32;
    let mut next = || {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12345) & 0x7fff_ffff;
        (state >> 16) as u8
    };
    (0..count).map(|_| next()).collect()
}

/// The expected values are those of the Python package gguf 0.19, `gguf.quants.dequantize`.
#[test]
fn blocks_have_the_values_that_ggml_gives_them() {
    const HALF: [u8; 2] = [0x00, 0x38];
    const QUARTER: [u8; 2] = [0x00, 0x34];
    type Case = (Element, &'static [usize], [f32; 6], f64);
    let cases: [Case; 10] = [
        (Element::Q4_0, &[0], [-1.5, 1.0, 1.0, -1.0, -1.0, -1.0], -295.5),
        (Element::Q4_1, &[0, 2], [7.75, 6.75, 5.25, 0.75, 0.75, 0.75], 1917.0),
        (Element::Q5_0, &[0], [6.5, -3.0, 2.5, 0.5, 0.5, 0.5], 109.0),
        (Element::Q5_1, &[0, 2], [13.25, 10.75, 7.25, 3.25, 14.75, 3.25], 4229.5),
        (Element::Q8_0, &[0], [50.5, -43.0, 8.0, 57.5, -1.5, 57.5], 7818.5),
        (Element::Q2K, &[80, 82], [2.75, -3.25, 6.0, 0.0, 1.75, -1.75], 187_909.0),
        (Element::Q3K, &[108], [40.0, 10.0, -24.0, -24.0, -4.0, 36.0], -66147.5),
        (Element::Q4K, &[0, 2], [133.0, 179.5, 40.0, 117.5, 92.75, 118.25], 2_688_600.0),
        (Element::Q5K, &[0, 2], [319.0, 71.0, 303.5, 179.5, 169.75, 38.25], 5_642_616.0),
        (Element::Q6K, &[208], [-1512.0, -216.0, 1582.0, 1243.0, 600.0, 139.5], -1_319_560.0),
    ];
    for (element, scales, some, sum) in cases {
        let mut block = bytes(element.bytes());
        for (place, scale) in scales.iter().zip([HALF, QUARTER]) {
            block[*place..place + 2].copy_from_slice(&scale);
        }
        let mut values = Vec::new();
        element.values(&block, &mut values);
        let count = values.len();
        assert_eq!(count, element.weights());
        let middle = if count > 32 { count / 2 + 5 } else { 16 };
        let found = [0, 1, 17, 31, middle, count - 1].map(|place| values[place]);
        assert_eq!(found, some, "{element:?}");
        let numbered = values.iter().zip(1..).map(|(value, n)| f64::from(*value) * f64::from(n));
        assert_eq!(numbered.sum::<f64>(), sum, "{element:?}");
    }
}

#[test]
fn a_gguf_tokenizer_becomes_a_tokenizer_json() {
    let checkpoint = open(&gguf());
    let json: Value = serde_json::from_str(checkpoint.tokenizer()).expect("JSON");
    assert_eq!(json["model"]["vocab"]["ab"], 4);
    assert_eq!(json["model"]["merges"], json!([["a", "b"]]));
    assert_eq!(json["pre_tokenizer"]["pretokenizers"][0]["type"], "Digits");
    assert_eq!(json["added_tokens"][0]["content"], "<s>");
    assert_eq!(json["added_tokens"][0]["special"], true);
    assert_eq!(checkpoint.config().eos, [1]);
    let mut file = gguf();
    file.text("tokenizer.ggml.pre", "qwen2");
    let json: Value = serde_json::from_str(open(&file).tokenizer()).expect("JSON");
    assert_eq!(json["normalizer"]["type"], "NFC");
    assert_eq!(json["pre_tokenizer"]["pretokenizers"][0]["type"], "Split");
}

#[test]
fn sentencepiece_tokens_become_merges_in_the_order_of_their_scores() {
    let mut file = gguf();
    file.text("tokenizer.ggml.model", "llama");
    file.texts("tokenizer.ggml.tokens", &["<s>", "</s>", "a", "b", "ab", "ba", "aba", "\u{2581}"]);
    file.numbers("tokenizer.ggml.scores", &[0.0, 0.0, -9.0, -9.0, -1.0, -2.0, -3.0, -9.0]);
    let json: Value = serde_json::from_str(open(&file).tokenizer()).expect("JSON");
    let merges = json!([["a", "b"], ["b", "a"], ["a", "ba"], ["ab", "a"]]);
    assert_eq!(json["model"]["merges"], merges);
    assert_eq!(json["model"]["byte_fallback"], true);
    assert_eq!(json["post_processor"]["single"][0]["SpecialToken"]["id"], "<s>");
}

#[test]
fn stretched_positions_become_divisors_of_frequencies() {
    let with = |scaling: Value| {
        let mut settings = settings();
        settings["rope_scaling"] = scaling;
        let place = folder(&settings);
        open_folder(place.path()).map(|checkpoint| checkpoint.config().clone())
    };
    let linear = with(json!({"type": "linear", "factor": 4.0})).expect("linear");
    assert_eq!(linear.rope_divisors, Some(vec![4.0; 8]));
    let llama3 = with(json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }));
    let divisors = llama3.expect("llama3").rope_divisors.expect("divisors");
    // High frequencies are kept, low ones stretched in full.
    assert_eq!((divisors[0], divisors[7]), (1.0, 8.0));
    assert!((divisors[6] - 4.681_483).abs() < 1e-5, "{divisors:?}");
    assert!(divisors.is_sorted());
    let yarn = with(json!({"rope_type": "yarn", "factor": 4.0})).expect_err("refused").to_string();
    assert!(yarn.contains("`rope_scaling.rope_type` is yarn"), "{yarn}");
}

#[test]
fn a_folder_may_have_its_weights_in_several_files() {
    let place = folder(&settings());
    let whole = open_folder(place.path()).expect("opened");
    let (before, _) = written(&whole, None);
    sample::split(place.path());
    let (after, _) = written(&open_folder(place.path()).expect("opened"), None);
    assert_eq!(before, after);
}

#[test]
fn tokens_that_end_a_turn_come_from_all_files() {
    let place = folder(&settings());
    let write = |name: &str, value: Value| {
        std::fs::write(place.path().join(name), value.to_string()).expect("written");
    };
    std::fs::remove_file(place.path().join("chat_template.jinja")).expect("removed");
    write("generation_config.json", json!({"eos_token_id": [3, 1]}));
    write(
        "tokenizer_config.json",
        json!({"eos_token": {"content": "</s>"}, "bos_token": "<s>",
        "chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]}),
    );
    let checkpoint = open_folder(place.path()).expect("opened");
    assert_eq!(checkpoint.config().eos, [3, 1]);
    assert_eq!(checkpoint.config().bos, Some(0));
    assert_eq!(checkpoint.template(), Some("d"));
}

#[test]
fn a_window_smaller_than_the_context_bounds_it() {
    let mut settings = settings();
    settings["model_type"] = json!("mistral");
    settings["sliding_window"] = json!(32);
    let checkpoint = open_folder(folder(&settings).path()).expect("opened");
    assert_eq!(checkpoint.config().context, 32);
    assert!(checkpoint.notes()[0].contains("the context is 32 tokens"));
}

#[test]
fn a_missing_file_is_named() {
    let error = open_gguf_file(Path::new("no/such.gguf")).err().expect("refused").to_string();
    assert_eq!(error, "`no/such.gguf` cannot be read");
}
