//! Files that are refused by name.

use serde_json::{Value, json};

use super::sample::{Gguf, folder, gguf, settings};
use crate::{CheckpointError, Quantise, open_folder, open_gguf};

fn text(error: &CheckpointError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(one) = cause {
        text = format!("{text}: {one}");
        cause = one.source();
    }
    text
}

/// The error of a changed GGUF file.
fn refused(change: impl FnOnce(&mut Gguf)) -> String {
    let mut file = gguf();
    change(&mut file);
    text(&open_gguf(Box::new(file.bytes())).err().expect("refused"))
}

fn bytes_refused(bytes: Vec<u8>) -> String {
    text(&open_gguf(Box::new(bytes)).err().expect("refused"))
}

fn folder_refused(member: &str, value: Value) -> String {
    let mut settings = settings();
    settings[member] = value;
    text(&open_folder(folder(&settings).path()).err().expect("refused"))
}

#[test]
fn gguf_files_that_contradict_themselves_are_refused() {
    type Change = fn(&mut Gguf);
    let cases: [(Change, &str); 18] = [
        (|f| f.text("general.architecture", "mamba"), "architecture `mamba` is not supported"),
        (|f| drop(f.keys.remove("llama.block_count")), "`llama.block_count` is missing"),
        (|f| f.text("llama.block_count", "2"), "`llama.block_count` is not a whole number"),
        (|f| f.size("llama.block_count", 3), "model.layers.2.input_layernorm.weight` is missing"),
        (|f| f.size("llama.block_count", 1), "model.layers.1."),
        (|f| f.size("llama.block_count", 4_000_000_000), "must be 1 to 256"),
        (|f| f.size("llama.attention.head_count", 0), "only heads of one size are"),
        (|f| f.size("llama.feed_forward_length", 64), "but the config demands [64, 64]"),
        (|f| f.size("llama.rope.dimension_count", 8), "only heads of one size"),
        (|f| f.text("llama.rope.scaling.type", "yarn"), "`llama.rope.scaling.type` is yarn"),
        (|f| f.size("llama.expert_count", 8), "`llama.expert_count` is 8"),
        (|f| f.text("tokenizer.ggml.pre", "surprise"), "`tokenizer.ggml.pre` is surprise"),
        (|f| f.text("tokenizer.ggml.model", "t5"), "`tokenizer.ggml.model` is t5"),
        (|f| f.texts("tokenizer.ggml.merges", &["ab"]), "not a list of pairs"),
        (|f| f.numbers("tokenizer.ggml.token_type", &[1.0]), "as long as the list of tokens"),
        (
            |f| f.size("tokenizer.ggml.eos_token_id", u32::MAX),
            "`eos` is token 4294967295, but the vocabulary has 8",
        ),
        (
            |f| f.size("tokenizer.ggml.bos_token_id", 8),
            "`bos` is token 8, but the vocabulary has 8",
        ),
        (|f| f.texts("tokenizer.ggml.tokens", &["a"; 8]), "named twice in the tokenizer"),
    ];
    for (change, expected) in cases {
        let text = refused(change);
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn malformed_gguf_headers_are_refused() {
    type Change = fn(&mut Gguf);
    let cases: [(Change, &str); 9] =
        [
            (|f| f.version = 1, "GGUF version 1"),
            (|f| f.version = 3_u32.swap_bytes(), "big-endian"),
            (|f| f.size("general.alignment", 24), "a power of two up to 65536"),
            (|f| f.size("general.alignment", 0), "a power of two up to 65536"),
            (|f| drop(f.keys.insert("x".to_owned(), vec![99, 0, 0, 0])), "`x` has type 99"),
            (
                |f| {
                    drop(f.keys.insert(
                        "x".to_owned(),
                        vec![9, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
                    ));
                },
                "list of lists",
            ),
            (|f| f.tensors[0].2 = 20, "`token_embd.weight` has type 20"),
            (|f| f.tensors[2].1 = vec![u64::MAX, u64::MAX], "whose rows do not fit its type"),
            (|f| f.tensors[2].1 = vec![64, 1 << 40], "outside the"),
        ];
    for (change, expected) in cases {
        let text = refused(change);
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let text = refused(|file| {
        let twice = file.tensors[2].clone();
        file.tensors.push(twice);
    });
    assert!(text.contains("`blk.0.attn_norm.weight` is there twice"), "{text}");
    let text = refused(|file| {
        file.tensors.push(("blk.0.ffn_gate_exps.weight".into(), vec![1], 0, vec![0; 4]));
    });
    assert!(text.contains("`blk.0.ffn_gate_exps.weight` does not belong"), "{text}");
}

#[test]
fn lengths_that_no_file_has_reserve_nothing() {
    let list = |count: u64, kind: u32| {
        let mut file = gguf();
        let head = [&9_u32.to_le_bytes()[..], &kind.to_le_bytes(), &count.to_le_bytes()].concat();
        file.keys.insert("zzz".to_owned(), head);
        file.tensors.clear();
        bytes_refused(file.bytes())
    };
    for kind in [0, 4, 8, 12] {
        assert_eq!(list(u64::MAX, kind), "its header ends within `zzz`");
    }
    let counts = |tensors: u64, keys: u64| {
        let counts = [tensors.to_le_bytes(), keys.to_le_bytes()].concat();
        bytes_refused([&b"GGUF\x03\0\0\0"[..], &counts].concat())
    };
    assert!(counts(u64::MAX, 0).contains("more than the 32768 allowed"));
    assert!(counts(0, u64::MAX).contains("more than the 4096 allowed"));
    assert_eq!(bytes_refused(b"PK".to_vec()), "its header ends within `magic`");
    assert_eq!(bytes_refused(b"ONNX....".to_vec()), "it is not a GGUF file");
}

#[test]
fn tensors_that_overlap_are_refused() {
    let mut file = gguf().bytes();
    // The second tensor's offset becomes that of the first.
    let name = b"output_norm.weight";
    let at = file.windows(name.len()).position(|window| window == name).expect("the name");
    let offset = at + name.len() + 4 + 8 + 4;
    file[offset..offset + 8].fill(0);
    let text = bytes_refused(file.clone());
    assert!(text.contains("overlap"), "{text}");
    file[offset] = 1;
    let text = bytes_refused(file);
    assert!(text.contains("no multiple of 32"), "{text}");
}

#[test]
fn numbers_that_are_not_finite_are_refused() {
    for bad in [f32::NAN, f32::INFINITY] {
        let mut file = gguf();
        file.tensors[3].3[256 * 2..256 * 2 + 4].copy_from_slice(&bad.to_le_bytes());
        let checkpoint = open_gguf(Box::new(file.bytes())).expect("opened");
        for quantise in [None, Some(Quantise::Q4)] {
            let error = checkpoint.write(quantise, &mut Vec::new()).expect_err("refused");
            let text = text(&error);
            assert!(
                text.contains("tensor `model.layers.0.self_attn.q_proj.weight`, row 1"),
                "{text}"
            );
        }
    }
}

#[test]
fn folders_that_are_not_supported_are_refused() {
    for (member, value, expected) in [
        ("model_type", json!("gemma3"), "architecture `gemma3` is not supported"),
        ("hidden_act", json!("gelu"), "`hidden_act` is gelu"),
        ("mlp_bias", json!(true), "`mlp_bias` is true"),
        ("attention_bias", json!(true), "q_proj.bias` is missing"),
        ("quantization_config", json!({"quant_method": "gptq"}), "`quantization_config` is gptq"),
        ("partial_rotary_factor", json!(0.5), "`partial_rotary_factor` is 0.5"),
        ("vocab_size", json!(9), "but the config demands [9, 64]"),
        ("tie_word_embeddings", json!(false), "`lm_head.weight` is missing"),
        ("num_hidden_layers", json!(1), "does not belong"),
        ("num_attention_heads", json!(0), "`heads` is 0"),
        ("eos_token_id", json!(null), "no token ends a turn"),
        ("hidden_size", json!("64"), "is not the expected JSON"),
    ] {
        let text = folder_refused(member, value);
        assert!(text.contains(expected), "{member}: {text}");
    }
}

#[test]
fn files_outside_a_folder_are_not_read() {
    let place = folder(&settings());
    std::fs::remove_file(place.path().join("model.safetensors")).expect("removed");
    let missing = text(&open_folder(place.path()).err().expect("refused"));
    assert!(missing.contains("no `model.safetensors`"), "{missing}");
    for name in ["../a.safetensors", "/etc/a.safetensors", "passwd"] {
        let index = json!({"weight_map": {"x": name}}).to_string();
        std::fs::write(place.path().join("model.safetensors.index.json"), index).expect("written");
        let text = text(&open_folder(place.path()).err().expect("refused"));
        assert!(text.contains(&format!("`{name}`, which is no file of the folder")), "{text}");
    }
}
