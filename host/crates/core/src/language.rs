//! What a guest and a decoder model say to each other (`wit/deps/hospes-plugin-0.2.0`), as types: the sandbox reads them from the guest, the
//! worker's engine computes them.

use serde::{Deserialize, Serialize};

/// A piece of a prompt. Text is never searched for control tokens: only [`Part::Special`] becomes one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    Text(String),
    /// The name of one control token.
    Special(String),
    Tokens(Vec<u32>),
}

/// What the generated text must match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grammar {
    /// Any JSON object.
    Json,
    JsonSchema(String),
    Regex(String),
    /// llguidance's format.
    Lark(String),
}

/// How the next token is chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 chooses the likeliest token.
    pub temperature: f32,
    /// The likeliest tokens considered; 0 for all.
    pub top_k: u32,
    pub top_p: f32,
    pub min_p: f32,
    /// Divides the logits of tokens that are there already; 1 for none.
    pub repeat: f32,
    pub frequency: f32,
    pub presence: f32,
    pub seed: Option<u64>,
    /// Added to the logits of tokens.
    pub bias: Vec<(u32, f32)>,
    pub grammar: Option<Grammar>,
    /// The likeliest tokens that are reported at each place; `None` for no log probabilities.
    pub logprobs: Option<u8>,
}

impl Default for Sampling {
    /// The likeliest token, always.
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat: 1.0,
            frequency: 0.0,
            presence: 0.0,
            seed: None,
            bias: Vec::new(),
            grammar: None,
            logprobs: None,
        }
    }
}

/// Where a generation ends, besides the model's own end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Until {
    pub max_tokens: u32,
    /// Texts that end it, without them, also where they cross tokens.
    pub stop: Vec<String>,
    pub stop_tokens: Vec<u32>,
}

/// A token and its log probability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Likely {
    pub token: u32,
    pub logprob: f32,
    /// Its bytes, which need not be whole characters.
    pub bytes: Vec<u8>,
}

/// A generated token, and the likeliest ones at its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chosen {
    pub token: Likely,
    pub top: Vec<Likely>,
}

/// More of the text.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TextPiece {
    pub text: String,
    /// How many tokens it came from.
    pub tokens: u32,
    /// One a token, if log probabilities were asked for.
    pub logprobs: Vec<Chosen>,
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Finish {
    /// The model ended, or came to a text or token to stop at, or the grammar was complete.
    Stop,
    /// It came to the most tokens, or to the end of the context or of the tokens that the agreement permits.
    Length,
    Deadline,
}

/// What a sequence has taken so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub prompt: u32,
    /// Of them, those that were in the cache.
    pub cached: u32,
    pub completion: u32,
    pub finish: Finish,
}

/// A part of a generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Piece {
    Text(TextPiece),
    /// The last piece.
    End(Totals),
}

/// Why something was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The prompt does not fit into the context.
    TooLong,
    /// The agreement permits no more tokens.
    TokensSpent,
    Busy,
    /// The grammar cannot be used; the text names the key.
    BadGrammar,
    Deadline,
    /// Anything else that the guest did wrong.
    Invalid,
}

/// A refusal, with its reason for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    pub why: Refusal,
    pub text: String,
}

/// What a guest may know of a decoder model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Most tokens of a sequence.
    pub context: u32,
    pub vocabulary: u32,
    /// The chat template, in Jinja.
    pub template: Option<String>,
    /// The tokens that end a turn.
    pub end: Vec<u32>,
    /// Names of control tokens.
    pub specials: Vec<String>,
}
