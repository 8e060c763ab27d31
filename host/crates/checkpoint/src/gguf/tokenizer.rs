//! A GGUF file's tokens as the `tokenizer.json` that the tokenizers library reads.
//!
//! The file says how texts are split before tokens are looked for, but only by a name (`tokenizer.ggml.pre`). What a name means is in
//! llama.cpp's code (`llama-vocab.cpp`), and for those that are known here, as here.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

use super::{Keys, pieces};
use crate::error::CheckpointError;

/// GGUF's kinds of tokens that are never made from text.
const UNKNOWN: u8 = 2;
const CONTROL: u8 = 3;
/// Tokens that are looked for before the text is split.
const USER_DEFINED: u8 = 4;

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|",
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// How a text is split before tokens are looked for.
struct Splitting {
    pattern: &'static str,
    /// Whether each digit is a part of its own, before the pattern.
    digits: bool,
    /// Whether a part that is a token is taken whole.
    whole: bool,
    /// Whether text is composed first (NFC).
    composed: bool,
    /// Whether texts begin with the first token, if the file does not say.
    bos: bool,
}

const PLAIN: Splitting =
    Splitting { pattern: GPT2, digits: false, whole: false, composed: false, bos: false };

/// What the name of a way to split means.
fn splitting(name: &str) -> Option<Splitting> {
    match name {
        "gpt-2" | "gpt2" => Some(PLAIN),
        "smollm" | "codeshell" => Some(Splitting { digits: true, ..PLAIN }),
        "llama3" | "llama-v3" | "llama-bpe" => {
            Some(Splitting { pattern: LLAMA3, whole: true, bos: true, ..PLAIN })
        }
        "qwen2" | "deepseek-r1-qwen" => Some(Splitting { pattern: QWEN2, composed: true, ..PLAIN }),
        "tekken" => Some(Splitting { pattern: TEKKEN, whole: true, bos: true, ..PLAIN }),
        _ => None,
    }
}

/// A file's tokens; a token's id is its place.
pub(super) struct Tokens<'k> {
    texts: &'k [String],
    /// What each is. Empty if the file does not say.
    kinds: &'k [f64],
}

impl<'k> Tokens<'k> {
    pub(super) fn read(keys: &'k Keys) -> Result<Self, CheckpointError> {
        let key = "tokenizer.ggml.tokens";
        let texts = keys.texts(key)?.ok_or_else(|| Keys::missing(key))?;
        let key = "tokenizer.ggml.token_type";
        let kinds = keys.numbers(key)?.unwrap_or_default();
        if !kinds.is_empty() && kinds.len() != texts.len() {
            return Keys::wrong(key, "as long as the list of tokens");
        }
        Ok(Self { texts, kinds })
    }

    fn kind(&self, id: usize) -> u8 {
        // Kinds are 0 to 6; others become one that does not exist.
        self.kinds.get(id).map_or(1, |kind| *kind as u8)
    }

    /// The id of a control token.
    pub(super) fn control(&self, text: &str) -> Option<u32> {
        let mut tokens = self.texts.iter().enumerate();
        let (id, _) = tokens.find(|(id, token)| *token == text && self.kind(*id) == CONTROL)?;
        u32::try_from(id).ok()
    }

    /// The `tokenizer.json`.
    pub(super) fn json(&self, keys: &Keys) -> Result<String, CheckpointError> {
        let key = "tokenizer.ggml.model";
        let hint = ": pack the Hugging Face folder, which has a `tokenizer.json`";
        let json = match keys.text(key)?.ok_or_else(|| Keys::missing(key))? {
            "gpt2" => {
                let key = "tokenizer.ggml.pre";
                let name = keys.text(key)?.unwrap_or("gpt-2");
                let unknown = || {
                    let (key, value) = (key.to_owned(), name.to_owned());
                    CheckpointError::Unsupported { key, value, hint }
                };
                self.bytes(keys, &splitting(name).ok_or_else(unknown)?)?
            }
            "llama" => pieces::json(self, keys)?,
            other => {
                let (key, value) = (key.to_owned(), other.to_owned());
                return Err(CheckpointError::Unsupported { key, value, hint });
            }
        };
        Ok(json.to_string())
    }

    /// Tokens of bytes, which are written as printable characters.
    fn bytes(&self, keys: &Keys, how: &Splitting) -> Result<Value, CheckpointError> {
        let key = "tokenizer.ggml.merges";
        let merges = keys.texts(key)?.ok_or_else(|| Keys::missing(key))?;
        // A token can begin with a space only in other tokenizers; llama.cpp looks from the second byte.
        let split = |merge: &String| {
            let at = merge.bytes().skip(1).position(|byte| byte == b' ').map(|place| place + 1)?;
            Some(json!([merge.get(..at)?, merge.get(at + 1..)?]))
        };
        let pairs: Option<Vec<Value>> = merges.iter().map(split).collect();
        let Some(pairs) = pairs else { return Keys::wrong(key, "a list of pairs") };
        let byte_level = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex});
        let mut steps = Vec::new();
        if how.digits {
            steps.push(json!({"type": "Digits", "individual_digits": true}));
        }
        let own = how.pattern == GPT2;
        if !own {
            let pattern = json!({"Regex": how.pattern});
            steps.push(json!({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false}));
        }
        steps.push(byte_level(own));
        let model = json!({
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": how.whole, "vocab": self.vocabulary()?, "merges": pairs,
        });
        let normalizer = if how.composed { json!({"type": "NFC"}) } else { Value::Null };
        Ok(self.whole(Parts {
            normalizer,
            pre_tokenizer: json!({"type": "Sequence", "pretokenizers": steps}),
            post_processor: self.beginning(keys, how.bos)?.unwrap_or_else(|| byte_level(true)),
            decoder: byte_level(true),
            model,
        }))
    }

    /// Every token with its id.
    pub(super) fn vocabulary(&self) -> Result<Map<String, Value>, CheckpointError> {
        let mut all = Map::new();
        for (id, token) in self.texts.iter().enumerate() {
            if all.insert(token.clone(), id.into()).is_some() {
                return Err(CheckpointError::TokenTwice { id: id as u64 });
            }
        }
        Ok(all)
    }

    /// Tokens that text can be made from, with their places.
    pub(super) fn normal(&self) -> HashMap<&'k str, usize> {
        let known = self.texts.iter().enumerate();
        let known = known.filter(|(id, _)| matches!(self.kind(*id), 1 | USER_DEFINED));
        known.map(|(id, token)| (token.as_str(), id)).collect()
    }

    /// Puts the first token before a text, if the file says so.
    pub(super) fn beginning(
        &self,
        keys: &Keys,
        default: bool,
    ) -> Result<Option<Value>, CheckpointError> {
        if !keys.boolean("tokenizer.ggml.add_bos_token")?.unwrap_or(default) {
            return Ok(None);
        }
        let Some(id) = keys.size("tokenizer.ggml.bos_token_id")? else { return Ok(None) };
        let Some(token) = self.texts.get(id as usize) else { return Ok(None) };
        let special = |kind: u8| json!({"SpecialToken": {"id": token, "type_id": kind}});
        let sequence = |id: &str, kind: u8| json!({"Sequence": {"id": id, "type_id": kind}});
        let tokens =
            BTreeMap::from([(token, json!({"id": token, "ids": [id], "tokens": [token]}))]);
        Ok(Some(json!({
            "type": "TemplateProcessing",
            "single": [special(0), sequence("A", 0)],
            "pair": [special(0), sequence("A", 0), special(1), sequence("B", 1)],
            "special_tokens": tokens,
        })))
    }

    pub(super) fn whole(&self, parts: Parts) -> Value {
        let added = self.texts.iter().enumerate().filter_map(|(id, token)| {
            let special = match self.kind(id) {
                UNKNOWN | CONTROL => true,
                USER_DEFINED => false,
                _ => return None,
            };
            Some(json!({
                "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                "special": special,
            }))
        });
        let added: Vec<Value> = added.collect();
        let Parts { normalizer, pre_tokenizer, post_processor, decoder, model } = parts;
        json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer, "post_processor": post_processor, "decoder": decoder, "model": model,
        })
    }
}

/// The steps of a tokenizer.
pub(super) struct Parts {
    pub(super) normalizer: Value,
    pub(super) pre_tokenizer: Value,
    pub(super) post_processor: Value,
    pub(super) decoder: Value,
    pub(super) model: Value,
}
