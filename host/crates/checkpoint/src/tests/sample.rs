//! A small Llama: as a GGUF file, and as a folder.

use std::collections::BTreeMap;
use std::path::Path;

use half::f16;
use serde_json::{Value, json};
use tempfile::TempDir;

const LAYERS: u32 = 2;
const HIDDEN: u64 = 64;
const HEAD: u64 = 16;
const TOKENS: [&str; 8] = ["<s>", "</s>", "a", "b", "ab", "c", "d", "e"];

/// A weight that follows from its place, in both forms of the model.
pub(super) fn weight(name: &str, row: usize, column: usize) -> f32 {
    let salt: usize = name.bytes().map(usize::from).sum();
    ((row * 31 + column * 17 + salt) % 23) as f32 / 8.0 - 1.25
}

/// Names in GGUF files, in folders, and shapes.
fn tensors() -> Vec<(String, String, Vec<u64>)> {
    let mut all = vec![
        ("token_embd.weight".to_owned(), "model.embed_tokens.weight".to_owned(), vec![8, HIDDEN]),
        ("output_norm.weight".to_owned(), "model.norm.weight".to_owned(), vec![HIDDEN]),
    ];
    for layer in 0..LAYERS {
        let mut one = |gguf: &str, own: &str, shape: Vec<u64>| {
            let own = format!("model.layers.{layer}.{own}.weight");
            all.push((format!("blk.{layer}.{gguf}.weight"), own, shape));
        };
        one("attn_norm", "input_layernorm", vec![HIDDEN]);
        one("attn_q", "self_attn.q_proj", vec![64, HIDDEN]);
        one("attn_k", "self_attn.k_proj", vec![32, HIDDEN]);
        one("attn_v", "self_attn.v_proj", vec![32, HIDDEN]);
        one("attn_output", "self_attn.o_proj", vec![HIDDEN, 64]);
        one("ffn_norm", "post_attention_layernorm", vec![HIDDEN]);
        one("ffn_gate", "mlp.gate_proj", vec![96, HIDDEN]);
        one("ffn_up", "mlp.up_proj", vec![96, HIDDEN]);
        one("ffn_down", "mlp.down_proj", vec![HIDDEN, 96]);
    }
    all
}

fn values(name: &str, shape: &[u64]) -> Vec<Vec<f32>> {
    let columns = shape.last().copied().unwrap_or_default() as usize;
    let rows = if shape.len() > 1 { shape[0] as usize } else { 1 };
    let row = |row| (0..columns).map(|column| weight(name, row, column)).collect();
    (0..rows).map(row).collect()
}

fn f32s(rows: &[Vec<f32>]) -> Vec<u8> {
    rows.iter().flatten().flat_map(|value| value.to_le_bytes()).collect()
}

/// A GGUF file that tests change before it is made.
#[derive(Clone)]
pub(super) struct Gguf {
    pub(super) keys: BTreeMap<String, Vec<u8>>,
    /// Name, sizes with the innermost first, type, data.
    pub(super) tensors: Vec<(String, Vec<u64>, u32, Vec<u8>)>,
    pub(super) version: u32,
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

fn value(kind: u32, bytes: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], bytes].concat()
}

impl Gguf {
    pub(super) fn text(&mut self, key: &str, value_of: &str) {
        self.keys.insert(key.to_owned(), value(8, &text(value_of)));
    }

    pub(super) fn size(&mut self, key: &str, size: u32) {
        self.keys.insert(key.to_owned(), value(4, &size.to_le_bytes()));
    }

    pub(super) fn float(&mut self, key: &str, number: f32) {
        self.keys.insert(key.to_owned(), value(6, &number.to_le_bytes()));
    }

    fn list(&mut self, key: &str, kind: u32, count: usize, items: &[u8]) {
        let head = [&kind.to_le_bytes()[..], &(count as u64).to_le_bytes()].concat();
        self.keys.insert(key.to_owned(), value(9, &[&head[..], items].concat()));
    }

    pub(super) fn texts(&mut self, key: &str, all: &[&str]) {
        let items: Vec<u8> = all.iter().flat_map(|one| text(one)).collect();
        self.list(key, 8, all.len(), &items);
    }

    pub(super) fn numbers(&mut self, key: &str, all: &[f32]) {
        let items: Vec<u8> = all.iter().flat_map(|one| one.to_le_bytes()).collect();
        self.list(key, 6, all.len(), &items);
    }

    /// Stores a tensor in another type, simply: scale 1/8, so that most weights are near.
    pub(super) fn store(&mut self, name: &str, kind: u32) {
        let tensor = self.tensors.iter_mut().find(|tensor| tensor.0 == name).expect("a tensor");
        let values: Vec<f32> =
            tensor.3.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let scale = f16::from_f32(0.125).to_le_bytes();
        let block = |block: &[f32]| -> Vec<u8> {
            let code = |value: f32, zero: f32| (value * 8.0 + zero).round().clamp(0.0, 15.0) as u8;
            let nibbles = |zero: f32| {
                let (low, high) = block.split_at(16);
                low.iter()
                    .zip(high)
                    .map(|(l, h)| code(*l, zero) | code(*h, zero) << 4)
                    .collect::<Vec<u8>>()
            };
            match kind {
                8 => {
                    let codes =
                        block.iter().map(|value| ((value * 8.0).round() as i8).cast_unsigned());
                    [&scale[..], &codes.collect::<Vec<u8>>()].concat()
                }
                2 => [&scale[..], &nibbles(8.0)].concat(),
                3 => {
                    let minimum = f16::from_f32(-1.25).to_le_bytes();
                    [&scale[..], &minimum, &nibbles(10.0)].concat()
                }
                other => panic!("type {other}"),
            }
        };
        tensor.3 = values.chunks(32).flat_map(block).collect();
        tensor.2 = kind;
    }

    pub(super) fn data(&self, name: &str) -> &[u8] {
        &self.tensors.iter().find(|tensor| tensor.0 == name).expect("a tensor").3
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.keys.len() as u64).to_le_bytes());
        for (key, value) in &self.keys {
            out.extend(text(key));
            out.extend(value);
        }
        let mut offset = 0_u64;
        for (name, dims, kind, data) in &self.tensors {
            out.extend(text(name));
            out.extend((dims.len() as u32).to_le_bytes());
            dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
            out.extend(kind.to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset = (offset + data.len() as u64).next_multiple_of(32);
        }
        for (.., data) in &self.tensors {
            out.resize(out.len().next_multiple_of(32), 0);
            out.extend(data);
        }
        out
    }
}

/// As llama.cpp's converter writes it, with the rows of queries and keys interleaved.
pub(super) fn gguf() -> Gguf {
    let mut file = Gguf { keys: BTreeMap::new(), tensors: Vec::new(), version: 3 };
    file.text("general.architecture", "llama");
    for (key, size) in [
        ("llama.block_count", LAYERS),
        ("llama.embedding_length", 64),
        ("llama.attention.head_count", 4),
        ("llama.attention.head_count_kv", 2),
        ("llama.feed_forward_length", 96),
        ("llama.context_length", 128),
        ("llama.rope.dimension_count", 16),
        ("tokenizer.ggml.bos_token_id", 0),
        ("tokenizer.ggml.eos_token_id", 1),
    ] {
        file.size(key, size);
    }
    file.float("llama.attention.layer_norm_rms_epsilon", 1e-5);
    file.float("llama.rope.freq_base", 10_000.0);
    file.text("tokenizer.ggml.model", "gpt2");
    file.text("tokenizer.ggml.pre", "smollm");
    file.texts("tokenizer.ggml.tokens", &TOKENS);
    file.texts("tokenizer.ggml.merges", &["a b"]);
    file.numbers("tokenizer.ggml.token_type", &[3.0, 3.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
    file.text("tokenizer.chat_template", "{{ messages }}");
    for (name, own, shape) in tensors() {
        let mut rows = values(&own, &shape);
        if name.contains("attn_q") || name.contains("attn_k") {
            let half = HEAD as usize / 2;
            // `LlamaModel.permute` of convert_hf_to_gguf.py.
            let from = |row: usize| {
                let (head, within) = (row / HEAD as usize, row % HEAD as usize);
                head * HEAD as usize + within % 2 * half + within / 2
            };
            rows = (0..rows.len()).map(|row| rows[from(row)].clone()).collect();
        }
        let dims = shape.into_iter().rev().collect();
        file.tensors.push((name, dims, 0, f32s(&rows)));
    }
    file
}

/// The `config.json`.
pub(super) fn settings() -> Value {
    json!({
        "model_type": "llama", "num_hidden_layers": LAYERS, "hidden_size": 64, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 96, "vocab_size": 8, "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true, "hidden_act": "silu",
        "bos_token_id": 0, "eos_token_id": 1, "torch_dtype": "float32",
    })
}

fn safetensors(tensors: &[(String, Vec<u64>, Vec<u8>)]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    for (name, shape, bytes) in tensors {
        let offsets = [data.len(), data.len() + bytes.len()];
        header
            .insert(name.clone(), json!({"dtype": "F32", "shape": shape, "data_offsets": offsets}));
        data.extend(bytes);
    }
    let header = Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

fn stored() -> Vec<(String, Vec<u64>, Vec<u8>)> {
    let one = |(_, name, shape): (String, String, Vec<u64>)| {
        let data = f32s(&values(&name, &shape));
        (name, shape, data)
    };
    tensors().into_iter().map(one).collect()
}

pub(super) fn folder(settings: &Value) -> TempDir {
    let place = tempfile::tempdir().expect("a directory");
    let write =
        |name: &str, bytes: &[u8]| std::fs::write(place.path().join(name), bytes).expect("written");
    write("config.json", settings.to_string().as_bytes());
    write("model.safetensors", &safetensors(&stored()));
    let vocab: serde_json::Map<String, Value> =
        TOKENS.iter().zip(0..).map(|(token, id)| ((*token).to_owned(), Value::from(id))).collect();
    let added = json!([{"id": 0, "content": "<s>", "special": true}, {"id": 1, "content": "</s>", "special": true}]);
    let tokenizer =
        json!({"model": {"type": "BPE", "vocab": vocab, "merges": []}, "added_tokens": added});
    write("tokenizer.json", tokenizer.to_string().as_bytes());
    write("chat_template.jinja", b"{{ messages }}");
    place
}

/// Puts the weights of a folder into two files.
pub(super) fn split(folder: &Path) {
    let all = stored();
    let (one, other) = all.split_at(5);
    std::fs::remove_file(folder.join("model.safetensors")).expect("removed");
    let mut map = serde_json::Map::new();
    for (file, tensors) in [("a.safetensors", one), ("b.safetensors", other)] {
        std::fs::write(folder.join(file), safetensors(tensors)).expect("written");
        map.extend(tensors.iter().map(|(name, ..)| (name.clone(), Value::from(file))));
    }
    let index = json!({"weight_map": map}).to_string();
    std::fs::write(folder.join("model.safetensors.index.json"), index).expect("written");
}
