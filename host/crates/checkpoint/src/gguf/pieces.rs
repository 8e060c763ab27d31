//! SentencePiece's tokens of a GGUF file (`tokenizer.ggml.model` is `llama`), as merges.
//!
//! SentencePiece merges the pair whose joined piece has the best score. Merges in the order of the scores do the same. So every way to
//! cut a piece into two pieces becomes a merge, as the transformers library converts such models.

use serde_json::{Value, json};

use super::Keys;
use super::tokenizer::{Parts, Tokens};
use crate::error::CheckpointError;

/// Longest piece that merges make, in bytes.
const PIECE_BYTES_MAX: usize = 128;

pub(super) fn json(tokens: &Tokens<'_>, keys: &Keys) -> Result<Value, CheckpointError> {
    let key = "tokenizer.ggml.scores";
    let scores = keys.numbers(key)?.ok_or_else(|| Keys::missing(key))?;
    let prefix = keys.boolean("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let replaced = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let before = json!({"type": "Prepend", "prepend": "▁"});
    let normalizers = if prefix { vec![before, replaced] } else { vec![replaced] };
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let model = json!({
        "type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null, "end_of_word_suffix": null,
        "fuse_unk": true, "byte_fallback": true, "ignore_merges": false, "vocab": tokens.vocabulary()?,
        "merges": merges(tokens, scores),
    });
    Ok(tokens.whole(Parts {
        normalizer: json!({"type": "Sequence", "normalizers": normalizers}),
        pre_tokenizer: Value::Null,
        post_processor: tokens.beginning(keys, true)?.unwrap_or(Value::Null),
        decoder: json!({"type": "Sequence", "decoders": decoders}),
        model,
    }))
}

/// All ways to cut pieces in two, those of the best pieces first.
fn merges(tokens: &Tokens<'_>, scores: &[f64]) -> Vec<[String; 2]> {
    let normal = tokens.normal();
    let score = |id: usize| scores.get(id).copied().unwrap_or(f64::NEG_INFINITY);
    let mut all = Vec::new();
    for (piece, id) in normal.iter().filter(|(piece, _)| piece.len() <= PIECE_BYTES_MAX) {
        let cuts = piece.char_indices().skip(1).map(|(at, _)| piece.split_at(at));
        all.extend(cuts.filter_map(|(left, right)| {
            let (one, other) = (normal.get(left)?, normal.get(right)?);
            Some((score(*id), *id, *one, *other, [left.to_owned(), right.to_owned()]))
        }));
    }
    all.sort_by(|(score_a, a, left_a, right_a, _), (score_b, b, left_b, right_b, _)| {
        let order = score_b.total_cmp(score_a);
        order.then(a.cmp(b)).then(left_a.cmp(left_b)).then(right_a.cmp(right_b))
    });
    all.into_iter().map(|(.., pair)| pair).collect()
}
