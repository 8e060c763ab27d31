//! Errors for rejected decoders. They say what is wrong, where, and how to fix it.

use super::config::{END_TOKENS_MAX, FORMAT};
use super::container::{FILE_BYTES_MAX, HEADER_BYTES_MAX, TENSORS_MAX};
use super::decoder::TEMPLATE_BYTES_MAX;
use super::tokenizer::TOKENIZER_BYTES_MAX;

/// Why a decoder's settings are rejected.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigRefused {
    #[error("the format is {found}, but this host reads format {FORMAT}")]
    Format { found: u32 },
    #[error("`{member}` is {value}, but must be 1 to {max}")]
    Size { member: &'static str, value: u32, max: u32 },
    #[error("`kv_heads` is {kv_heads}, which does not divide `heads`, {heads}")]
    Heads { heads: u32, kv_heads: u32 },
    #[error("`head_size` is {head_size}, but rotary positions need an even one")]
    OddHead { head_size: u32 },
    #[error("`{member}` is {value}, which no model has: correct it")]
    Number { member: &'static str, value: f64 },
    #[error("`rope_divisors` has {found} numbers, but a head has {pairs} pairs")]
    Divisors { found: usize, pairs: usize },
    #[error("`{member}` is {value}, which contradicts the architecture `{architecture}`")]
    Switch { architecture: &'static str, member: &'static str, value: bool },
    #[error("`eos` has {count} tokens, but must have 1 to {END_TOKENS_MAX}")]
    EndTokens { count: usize },
    #[error("`{member}` is token {token}, but the vocabulary has {vocabulary}")]
    Token { member: &'static str, token: u32, vocabulary: u32 },
}

/// Why a tokenizer is rejected.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerRefused {
    #[error("it has {bytes} bytes, more than the {TOKENIZER_BYTES_MAX} allowed")]
    TooLarge { bytes: usize },
    #[error("it is not UTF-8")]
    NotText,
    #[error("it is not the JSON of a `tokenizer.json`")]
    Json(#[source] serde_json::Error),
    #[error("its model is `{found}`, but decoders need `BPE` or `Unigram`")]
    Model { found: String },
    #[error("token `{token}` has id {id}, but the vocabulary has {vocabulary}")]
    Id { token: String, id: u64, vocabulary: u32 },
    #[error("tokens have ids twice, the first is {id}")]
    Twice { id: u32 },
    #[error("it has no tokens")]
    Empty,
    #[error("it has {count} tokens, but the vocabulary has {vocabulary}")]
    TooMany { count: usize, vocabulary: u32 },
}

/// Why a decoder is rejected.
#[derive(Debug, thiserror::Error)]
pub enum DecoderRefused {
    #[error("it has {bytes} bytes, more than the {FILE_BYTES_MAX} allowed")]
    TooLarge { bytes: u64 },
    #[error("it is not a decoder model: {what}")]
    NotADecoder { what: &'static str },
    #[error("it is not a decoder model but {what}: pack it with `hospes pack`")]
    Foreign { what: &'static str },
    #[error("its header has {bytes} bytes, more than the {HEADER_BYTES_MAX} allowed")]
    HeaderTooLarge { bytes: u64 },
    #[error("its header is malformed")]
    Header(#[source] serde_json::Error),
    #[error("it has more than the {TENSORS_MAX} tensors allowed")]
    TooManyTensors,
    #[error("its config cannot be read")]
    ConfigJson(#[source] serde_json::Error),
    #[error("its config is refused")]
    Config(#[from] ConfigRefused),
    #[error("tensor `{name}` is listed twice")]
    Twice { name: String },
    #[error("tensor `{name}` lies at {from}..{to}, outside the {bytes} bytes of data")]
    Outside { name: String, from: u64, to: u64, bytes: u64 },
    #[error("tensor `{name}` begins at {from}, but the one before it ends at {end}")]
    Place { name: String, from: u64, end: u64 },
    #[error("tensor `{name}` begins at {from}, which is no multiple of 64")]
    Alignment { name: String, from: u64 },
    #[error("{bytes} bytes after the last tensor belong to none")]
    Rest { bytes: u64 },
    #[error("tensor `{name}` is missing, which the config demands")]
    Missing { name: String },
    #[error("tensor `{name}` does not belong to a model with this config")]
    Unknown { name: String },
    #[error("tensor `{name}` has shape {found:?}, but the config demands {wanted:?}")]
    Shape { name: String, found: Vec<u64>, wanted: Vec<u64> },
    #[error("tensor `{name}` has type {found}, but must have {wanted}")]
    Type { name: String, found: &'static str, wanted: &'static str },
    #[error("tensor `{name}` has {found} bytes, but its shape and type demand {wanted}")]
    Bytes { name: String, found: u64, wanted: u64 },
    #[error("tensor `{name}` has rows of {columns}, which are no multiple of a block's 32")]
    Blocks { name: String, columns: u64 },
    #[error("tensor `{name}` holds {value} at element {element}: quantise or train it again")]
    NotFinite { name: String, element: usize, value: f32 },
    #[error("its `tokenizer.json` is refused")]
    Tokenizer(#[from] TokenizerRefused),
    #[error("its chat template has {bytes} bytes, more than the {TEMPLATE_BYTES_MAX} allowed")]
    TemplateTooLarge { bytes: usize },
    #[error("its chat template is not UTF-8")]
    TemplateNotText,
}
