//! A decoder's sizes and settings, and their limits.

use serde::{Deserialize, Serialize};

use super::refused::ConfigRefused;

/// The only format of the file that this version reads and writes.
pub const FORMAT: u32 = 1;
/// Maximum layers.
pub const LAYERS_MAX: u32 = 256;
/// Maximum size of a token's state.
pub const HIDDEN_MAX: u32 = 32_768;
/// Maximum heads of a layer.
pub const HEADS_MAX: u32 = 512;
/// Maximum size of a head.
pub const HEAD_SIZE_MAX: u32 = 512;
/// Maximum size between the matrices of a feed-forward step.
pub const INTERMEDIATE_MAX: u32 = 262_144;
/// Maximum tokens of a vocabulary.
pub const VOCABULARY_MAX: u32 = 1 << 20;
/// Maximum tokens of a sequence.
pub const CONTEXT_MAX: u32 = 1 << 20;
/// Maximum tokens that end a turn.
pub const END_TOKENS_MAX: usize = 16;
/// Maximum of `rope_theta`.
const THETA_MAX: f64 = 1e12;
/// Maximum of a divisor of a frequency.
const DIVISOR_MAX: f32 = 1e6;
/// Maximum of `norm_eps`.
const EPS_MAX: f32 = 0.1;

/// What a layer computes. Sizes and switches are in [`Config`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// Also SmolLM, SmolLM2 and Mistral.
    Llama,
    Qwen2,
    Qwen3,
}

impl Architecture {
    /// The name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }
}

/// A decoder's sizes and settings. [`Config::check`] holds for that of a [`Decoder`](super::Decoder).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Always [`FORMAT`].
    pub format: u32,
    pub architecture: Architecture,
    pub layers: u32,
    /// Size of a token's state.
    pub hidden: u32,
    /// Heads of the queries.
    pub heads: u32,
    /// Heads of the keys and the values; divides `heads`.
    pub kv_heads: u32,
    /// Size of a head, which need not be `hidden / heads`.
    pub head_size: u32,
    pub intermediate: u32,
    /// Rows of the embedding, which can be more than the tokenizer's tokens.
    pub vocabulary: u32,
    /// Most tokens of a sequence.
    pub context: u32,
    /// The base of the rotary positions' frequencies. Pairs are `(i, i + head_size / 2)`, as in Hugging Face's models.
    pub rope_theta: f64,
    /// Divisors of the frequencies, one for each pair; absent if all are 1. All known scalings with fixed frequencies are such divisors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_divisors: Option<Vec<f32>>,
    pub norm_eps: f32,
    /// Whether the embedding is also the matrix that gives the logits.
    pub tied: bool,
    /// Whether queries, keys and values have a bias.
    #[serde(default)]
    pub qkv_bias: bool,
    /// Whether each head's queries and keys are normalised.
    #[serde(default)]
    pub qk_norm: bool,
    /// The token at the beginning of a text, if the model has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bos: Option<u32>,
    /// The tokens that end a turn.
    pub eos: Vec<u32>,
}

impl Config {
    /// Rows of the queries' matrix.
    pub fn query_size(&self) -> u32 {
        self.heads * self.head_size
    }

    /// Rows of the keys' matrix, and of the values'.
    pub fn kv_size(&self) -> u32 {
        self.kv_heads * self.head_size
    }

    /// The rotary positions' angles for position 1: one for each pair of a head.
    pub fn frequencies(&self) -> Vec<f64> {
        let divisor = |pair: usize| {
            let divisors = self.rope_divisors.as_ref();
            divisors.and_then(|all| all.get(pair)).copied().map_or(1.0, f64::from)
        };
        let exponent = |pair: usize| -2.0 * pair as f64 / f64::from(self.head_size);
        let pairs = 0..self.head_size as usize / 2;
        pairs.map(|pair| self.rope_theta.powf(exponent(pair)) / divisor(pair)).collect()
    }

    /// Checks the sizes, and that they fit together.
    ///
    /// # Errors
    /// [`ConfigRefused`] with the member.
    pub fn check(&self) -> Result<(), ConfigRefused> {
        if self.format != FORMAT {
            return Err(ConfigRefused::Format { found: self.format });
        }
        for (member, value, max) in [
            ("layers", self.layers, LAYERS_MAX),
            ("hidden", self.hidden, HIDDEN_MAX),
            ("heads", self.heads, HEADS_MAX),
            ("kv_heads", self.kv_heads, HEADS_MAX),
            ("head_size", self.head_size, HEAD_SIZE_MAX),
            ("intermediate", self.intermediate, INTERMEDIATE_MAX),
            ("vocabulary", self.vocabulary, VOCABULARY_MAX),
            ("context", self.context, CONTEXT_MAX),
        ] {
            if value == 0 || value > max {
                return Err(ConfigRefused::Size { member, value, max });
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(ConfigRefused::Heads { heads: self.heads, kv_heads: self.kv_heads });
        }
        if !self.head_size.is_multiple_of(2) {
            return Err(ConfigRefused::OddHead { head_size: self.head_size });
        }
        self.check_numbers()?;
        self.check_switches()?;
        self.check_tokens()
    }

    fn check_numbers(&self) -> Result<(), ConfigRefused> {
        let number = |member, value: f64| Err(ConfigRefused::Number { member, value });
        if !(self.rope_theta >= 1.0 && self.rope_theta <= THETA_MAX) {
            return number("rope_theta", self.rope_theta);
        }
        if !(self.norm_eps > 0.0 && self.norm_eps <= EPS_MAX) {
            return number("norm_eps", self.norm_eps.into());
        }
        let Some(divisors) = &self.rope_divisors else { return Ok(()) };
        let pairs = self.head_size as usize / 2;
        if divisors.len() != pairs {
            return Err(ConfigRefused::Divisors { found: divisors.len(), pairs });
        }
        match divisors.iter().find(|divisor| !(**divisor > 0.0 && **divisor <= DIVISOR_MAX)) {
            Some(divisor) => number("rope_divisors", f64::from(*divisor)),
            None => Ok(()),
        }
    }

    /// What an architecture always or never has.
    fn check_switches(&self) -> Result<(), ConfigRefused> {
        let contradiction = |member, value| {
            let architecture = self.architecture.name();
            Err(ConfigRefused::Switch { architecture, member, value })
        };
        match self.architecture {
            Architecture::Llama | Architecture::Qwen2 if self.qk_norm => {
                contradiction("qk_norm", true)
            }
            Architecture::Qwen2 if !self.qkv_bias => contradiction("qkv_bias", false),
            Architecture::Qwen3 if !self.qk_norm => contradiction("qk_norm", false),
            Architecture::Llama | Architecture::Qwen2 | Architecture::Qwen3 => Ok(()),
        }
    }

    fn check_tokens(&self) -> Result<(), ConfigRefused> {
        if self.eos.is_empty() || self.eos.len() > END_TOKENS_MAX {
            return Err(ConfigRefused::EndTokens { count: self.eos.len() });
        }
        let bos = self.bos.iter().map(|token| ("bos", *token));
        let mut tokens = bos.chain(self.eos.iter().map(|token| ("eos", *token)));
        match tokens.find(|(_, token)| *token >= self.vocabulary) {
            Some((member, token)) => {
                Err(ConfigRefused::Token { member, token, vocabulary: self.vocabulary })
            }
            None => Ok(()),
        }
    }
}
