//! Models that are read, and files that are refused by name.

use std::convert::Infallible;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const VOCABULARY: u32 = 40;

fn config() -> Config {
    Config {
        format: FORMAT,
        architecture: Architecture::Llama,
        layers: 2,
        hidden: 64,
        heads: 4,
        kv_heads: 2,
        head_size: 16,
        intermediate: 96,
        vocabulary: VOCABULARY,
        context: 128,
        rope_theta: 10_000.0,
        rope_divisors: None,
        norm_eps: 1e-5,
        tied: true,
        qkv_bias: false,
        qk_norm: false,
        bos: Some(1),
        eos: vec![2],
    }
}

fn qwen3() -> Config {
    Config { architecture: Architecture::Qwen3, qk_norm: true, tied: false, ..config() }
}

fn tokenizer() -> String {
    let vocab: serde_json::Map<String, Value> =
        (0..VOCABULARY).map(|id| (format!("t{id}"), id.into())).collect();
    let added = json!([{"id": 2, "content": "</s>", "special": true}]);
    json!({"model": {"type": "BPE", "vocab": vocab, "merges": []}, "added_tokens": added})
        .to_string()
}

/// Weights that follow from their place.
struct Sample(Kind);

fn weight(row: usize, column: usize) -> f32 {
    ((row * 31 + column * 17) % 23) as f32 / 8.0 - 1.25
}

impl Weights for Sample {
    type Error = Infallible;

    fn kind(&self, _: &Part) -> Kind {
        self.0
    }

    fn part(&mut self, part: &Part) -> Result<Encoded, Infallible> {
        let (kind, rows, columns) = match part.shape {
            Shape::Matrix { rows, columns } => (self.0, rows, columns),
            Shape::Vector(size) => (Kind::F32, 1, size),
        };
        let mut encoder = Encoder::new(kind);
        for row in 0..rows as usize {
            let row: Vec<f32> = (0..columns as usize).map(|column| weight(row, column)).collect();
            encoder.push(&row).expect("finite");
        }
        Ok(encoder.finish().0)
    }
}

fn written(config: &Config, kind: Kind) -> Vec<u8> {
    let mut out = Vec::new();
    let texts = (&*tokenizer(), Some("{{ messages }}"));
    let bytes = write(config, texts, &mut Sample(kind), &mut out).expect("written");
    assert_eq!(bytes, out.len() as u64);
    out
}

/// Changes the header's JSON.
fn changed(file: &[u8], change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> Vec<u8> {
    let (length, rest) = file.split_first_chunk::<8>().expect("a length");
    let (json, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let mut header: Value = serde_json::from_slice(json).expect("a header");
    change(header.as_object_mut().expect("an object"));
    with_header(header.to_string(), data)
}

fn with_header(mut header: String, data: &[u8]) -> Vec<u8> {
    while !(8 + header.len()).is_multiple_of(64) {
        header.push(' ');
    }
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

fn changed_config(file: &[u8], member: &str, value: Value) -> Vec<u8> {
    changed(file, |header| {
        let metadata = &mut header["__metadata__"]["hospes.decoder"];
        let text = metadata.as_str().expect("a config");
        let mut config: Value = serde_json::from_str(text).expect("JSON");
        config[member] = value;
        *metadata = config.to_string().into();
    })
}

/// The error's text with all that caused it.
fn refused(file: &[u8]) -> String {
    let error = Decoder::read(file).expect_err("refused");
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(one) = cause {
        text = format!("{text}: {one}");
        cause = one.source();
    }
    text
}

#[test]
fn what_was_written_is_read() {
    for config in [config(), qwen3()] {
        let file = written(&config, Kind::F32);
        let decoder = Decoder::read(&file).expect("read");
        assert_eq!(*decoder.config(), config);
        assert_eq!(decoder.tokenizer(), tokenizer());
        assert_eq!(decoder.template(), Some("{{ messages }}"));
        assert_eq!(decoder.layers().count(), 2);
        let layer = decoder.layer(1).expect("a layer");
        assert_eq!((layer.key.rows, layer.key.columns), (32, 64));
        assert_eq!((layer.down.rows, layer.down.columns), (64, 96));
        assert_eq!(layer.head_norms.is_some(), config.qk_norm);
        assert_eq!(decoder.head().name == decoder.embedding().name, config.tied);
        let mut row = vec![0.0; 64];
        layer.gate.row(5, &mut row);
        assert_eq!(row[7], weight(5, 7));
        assert_eq!(decoder.norm().values().nth(3), Some(weight(0, 3)));
        assert!(decoder.layer(2).is_none());
    }
}

#[test]
fn tensors_lie_at_multiples_of_64_bytes_and_the_same_model_gives_the_same_bytes() {
    let odd = Config { hidden: 72, head_size: 18, ..config() };
    let file = written(&odd, Kind::F16);
    assert_eq!(file, written(&odd, Kind::F16));
    let decoder = Decoder::read(&file).expect("read");
    for layer in decoder.layers() {
        let Storage::F16(bytes) = layer.query.storage else { panic!("f16") };
        let place = bytes.as_ptr() as usize - file.as_ptr() as usize;
        assert_eq!(place % 64, 0);
    }
}

#[test]
fn quantised_rows_are_near_the_original_ones() {
    for (kind, near) in [(Kind::F16, 1e-3), (Kind::BF16, 1e-2), (Kind::Q8, 0.01), (Kind::Q4, 0.13)]
    {
        let file = written(&config(), kind);
        let decoder = Decoder::read(&file).expect("read");
        let matrix = decoder.layer(0).expect("a layer").up;
        assert_eq!(matrix.storage.kind(), kind);
        let mut row = vec![0.0; 64];
        for index in 0..matrix.rows {
            matrix.row(index, &mut row);
            for (column, value) in row.iter().enumerate() {
                let error = (value - weight(index, column)).abs();
                assert!(error <= near, "{kind:?} {index},{column}: {value}");
            }
        }
    }
}

#[test]
fn zero_points_of_blocks_are_used() {
    let (blocks, scales) = ([0x21_u8; 32], [1_f32, 2.0].map(f32::to_le_bytes).concat());
    let blocks = |zero_points| Blocks { blocks: &blocks, scales: &scales, zero_points };
    let matrix = |storage| Matrix { name: String::new(), rows: 1, columns: 64, storage };
    let mut row = [0.0; 64];
    matrix(Storage::Q4(blocks(None))).row(0, &mut row);
    assert_eq!((row[0], row[1], row[32], row[33]), (-7.0, -6.0, -14.0, -12.0));
    matrix(Storage::Q4(blocks(Some(&[0x31])))).row(0, &mut row);
    assert_eq!((row[0], row[1], row[32], row[33]), (0.0, 1.0, -4.0, -2.0));
}

#[test]
fn a_config_that_contradicts_the_tensors_is_refused() {
    let file = written(&config(), Kind::Q8);
    for (member, value, expected) in [
        ("hidden", json!(128), "but the config demands"),
        ("layers", json!(3), "model.layers.2.input_layernorm.weight` is missing"),
        ("layers", json!(1), "model.layers.1.input_layernorm.weight` does not belong"),
        ("kv_heads", json!(4), "but the config demands [64, 2, 32]"),
        ("tied", json!(false), "lm_head.weight` is missing"),
        ("vocabulary", json!(41), "but the config demands [41, 2, 32]"),
        ("kv_heads", json!(3), "does not divide"),
        ("layers", json!(1_000_000), "`layers` is 1000000, but must be 1 to 256"),
        ("context", json!(0), "`context` is 0"),
        ("head_size", json!(15), "even"),
        ("rope_theta", json!(-1.0), "`rope_theta` is -1"),
        ("norm_eps", json!(0.0), "`norm_eps` is 0"),
        ("rope_divisors", json!([1.0]), "8 pairs"),
        ("eos", json!([40]), "`eos` is token 40, but the vocabulary has 40"),
        ("bos", json!(4_000_000_000_u32), "`bos` is token 4000000000"),
        ("eos", json!([]), "`eos` has 0 tokens"),
        ("qk_norm", json!(true), "contradicts the architecture `llama`"),
        ("format", json!(2), "the format is 2"),
        ("architecture", json!("mamba"), "unknown variant `mamba`"),
        ("surprise", json!(1), "unknown field `surprise`"),
    ] {
        let text = refused(&changed_config(&file, member, value));
        assert!(text.contains(expected), "{member}: {text}");
    }
}

#[test]
fn a_malformed_container_is_refused() {
    let file = written(&config(), Kind::F32);
    let norm = "model.norm.weight";
    let moved = |by: i64| {
        changed(&file, |header| {
            let offsets = header[norm]["data_offsets"].as_array_mut().expect("offsets");
            for offset in offsets {
                *offset = (offset.as_i64().expect("a number") + by).into();
            }
        })
    };
    assert!(refused(&moved(-64)).contains("but the one before it ends at"));
    let longer = changed(&file, |header| header[norm]["data_offsets"][1] = json!(1_u64 << 40));
    assert!(refused(&longer).contains("outside the"));
    let longer = [&file[..], &[0; 3]].concat();
    assert!(refused(&longer).contains("3 bytes after the last tensor"));
    assert!(refused(&file[..file.len() - 1]).contains("outside the"));
    let typed = changed(&file, |header| header[norm]["dtype"] = json!("I64"));
    assert!(refused(&typed).contains("unknown variant `I64`"));
    let shaped = changed(&file, |header| header[norm]["shape"] = json!([1_u64 << 62, 8]));
    assert!(refused(&shaped).contains("256 bytes, but its shape and type demand"));
    let halved = changed(&file, |header| {
        header[norm] =
            json!({"dtype": "F16", "shape": [128], "data_offsets": header[norm]["data_offsets"]});
    });
    assert!(refused(&halved).contains("has type F16, but must have F32"));
    let other = changed(&file, |header| header["__metadata__"] = json!({}));
    assert!(refused(&other).contains("it is not a decoder model: its header has no"));
    assert!(refused(b"GGUF\x03\0\0\0").contains("a GGUF file"));
    assert!(refused(b"").contains("shorter than its header"));
    assert!(refused(&[0xff; 64]).contains("more than the 8388608 allowed"));
    let twice = r#"{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},
        "__metadata__":{"hospes.decoder":"{}"}}"#;
    assert!(refused(&with_header(twice.to_owned(), &[])).contains("`a` is listed twice"));
    let many: Vec<_> = (0..=TENSORS_MAX)
        .map(|index| format!(r#""{index}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#))
        .collect();
    let many = with_header(format!("{{{}}}", many.join(",")), &[]);
    assert!(refused(&many).contains("more than the 32768 tensors"));
}

#[test]
fn numbers_that_are_not_finite_are_refused_by_the_tensors_name() {
    for (kind, name, bad) in [
        (Kind::Q8, "model.layers.1.self_attn.k_proj.weight.scales", &f32::NAN.to_le_bytes()[..]),
        (Kind::Q4, "model.embed_tokens.weight.scales", &f32::INFINITY.to_le_bytes()),
        (Kind::F16, "model.layers.0.mlp.up_proj.weight", &[0, 0x7c]),
        (Kind::BF16, "model.layers.0.mlp.up_proj.weight", &[0xff, 0x7f]),
        (Kind::F32, "model.norm.weight", &f32::NEG_INFINITY.to_le_bytes()),
    ] {
        let mut file = written(&config(), kind);
        let length = u64::from_le_bytes(*file.first_chunk().expect("a length")) as usize;
        let header: Value = serde_json::from_slice(&file[8..8 + length]).expect("a header");
        let from = header[name]["data_offsets"][0].as_u64().expect("an offset") as usize;
        let place = 8 + length + from + 2 * bad.len();
        file[place..place + bad.len()].copy_from_slice(bad);
        let text = refused(&file);
        assert!(
            text.contains(&format!("`{name}` holds")) && text.contains("at element 2"),
            "{text}"
        );
        assert!(Decoder::open(&file).is_ok());
    }
}

#[test]
fn tokenizers_with_absurd_ids_are_refused() {
    let of = |tokenizer: Value, vocabulary| {
        let text = tokenizer.to_string();
        let checked = super::tokenizer::check(text.as_bytes(), vocabulary);
        checked.map(drop).expect_err("refused").to_string()
    };
    let bpe = |vocab: Value| json!({"model": {"type": "BPE", "vocab": vocab}});
    let text = of(bpe(json!({"a": 2_147_483_648_u64})), 40);
    assert_eq!(text, "token `a` has id 2147483648, but the vocabulary has 40");
    assert!(of(bpe(json!({"a": -1})), 40).contains("not the JSON"));
    assert!(of(bpe(json!({"a": 1, "b": 1})), 40).contains("twice, the first is 1"));
    assert!(of(bpe(json!({})), 40).contains("no tokens"));
    assert!(of(bpe(json!({"a": 0, "b": 1})), 1).contains("2 tokens"));
    let added =
        json!({"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 40, "content": "<x>"}]});
    assert!(of(added, 40).contains("`<x>` has id 40"));
    let word = json!({"model": {"type": "WordLevel", "vocab": {"a": 0}}});
    assert!(of(word, 40).contains("`WordLevel`"));
    let unigram = json!({"model": {"type": "Unigram", "vocab": [["a", 0.0], ["b", -1.0]]}});
    assert!(super::tokenizer::check(unigram.to_string().as_bytes(), 2).is_ok());
    let deep = format!("{{\"model\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(super::tokenizer::check(deep.as_bytes(), 2).is_err());
    assert!(super::tokenizer::check(&[0xff], 2).is_err());
}

#[test]
fn frequencies_are_divided() {
    let mut config = Config { head_size: 4, ..config() };
    assert_eq!(config.frequencies(), [1.0, 0.01]);
    config.rope_divisors = Some(vec![2.0, 4.0]);
    assert_eq!(config.frequencies(), [0.5, 0.0025]);
}

#[test]
fn rows_that_are_not_finite_are_not_stored() {
    for kind in [Kind::F32, Kind::F16, Kind::Q8, Kind::Q4] {
        let mut row = [1.0_f32; 32];
        row[9] = f32::NAN;
        assert_eq!(Encoder::new(kind).push(&row).expect_err("refused").column, 9);
    }
    assert_eq!(Encoder::new(Kind::F16).push(&[1e6; 32]).expect_err("too large").column, 0);
}

proptest! {
    #[test]
    fn no_change_of_a_file_makes_the_reader_panic(at in 0_usize..6000, byte: u8, cut in 0_usize..80_000) {
        let file = written(&config(), Kind::Q4);
        let mut file = file[..cut.min(file.len())].to_vec();
        if let Some(place) = file.get_mut(at) {
            *place = byte;
        }
        if let Ok(decoder) = Decoder::read(&file) {
            prop_assert_eq!(decoder.layers().count(), 2);
        }
    }

    #[test]
    fn eight_bits_lose_at_most_half_a_step(row in proptest::collection::vec(-1e3_f32..1e3, 32)) {
        let mut encoder = Encoder::new(Kind::Q8);
        encoder.push(&row).expect("finite");
        let (encoded, loss) = encoder.finish();
        let blocks = Blocks { blocks: &encoded.data, scales: &encoded.scales, zero_points: None };
        let matrix = Matrix { name: String::new(), rows: 1, columns: 32, storage: Storage::Q8(blocks) };
        let mut back = [0.0; 32];
        matrix.row(0, &mut back);
        let step = row.iter().fold(0.0_f32, |a, b| a.max(b.abs())) / 127.0;
        let mut errors = 0.0;
        for (value, stored) in row.iter().zip(back) {
            prop_assert!((value - stored).abs() <= step * 0.501);
            errors += f64::from(value - stored).powi(2);
        }
        prop_assert!((errors - loss.errors).abs() <= errors * 1e-3 + 1e-9);
    }
}
