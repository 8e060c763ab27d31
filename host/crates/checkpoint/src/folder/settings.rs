//! `config.json`: a model's sizes, and what of it this version does not compute.

use serde::Deserialize;
use serde_json::Value;

use hospes_decoder::{Architecture, Config, FORMAT};

use crate::error::CheckpointError;

/// The members of a `config.json` that matter. Others are about training or about programs.
#[derive(Debug, Deserialize)]
pub(super) struct Settings {
    model_type: String,
    num_hidden_layers: u32,
    hidden_size: u32,
    num_attention_heads: u32,
    num_key_value_heads: Option<u32>,
    head_dim: Option<u32>,
    intermediate_size: u32,
    vocab_size: u32,
    max_position_embeddings: u32,
    rms_norm_eps: f32,
    hidden_act: Option<String>,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    rope_theta: Option<f64>,
    rope_scaling: Option<Rope>,
    /// Newer files have both of the above here.
    rope_parameters: Option<Rope>,
    partial_rotary_factor: Option<f64>,
    sliding_window: Option<u32>,
    use_sliding_window: Option<bool>,
    quantization_config: Option<Value>,
    pub(super) bos_token_id: Option<u32>,
    pub(super) eos_token_id: Option<super::tokens::Ids>,
}

#[derive(Debug, Deserialize)]
struct Rope {
    rope_theta: Option<f64>,
    rope_type: Option<String>,
    /// Its older name.
    #[serde(rename = "type")]
    kind: Option<String>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<u32>,
}

fn unsupported<T>(key: &str, value: &(impl ToString + ?Sized)) -> Result<T, CheckpointError> {
    let (key, value) = (key.to_owned(), value.to_string());
    Err(CheckpointError::Unsupported { key, value, hint: "" })
}

impl Settings {
    /// The settings as a decoder has them, without tokens.
    pub(super) fn config(&self) -> Result<Config, CheckpointError> {
        let architecture = match self.model_type.as_str() {
            "llama" | "mistral" => Architecture::Llama,
            "qwen2" => Architecture::Qwen2,
            "qwen3" => Architecture::Qwen3,
            found => return Err(CheckpointError::Architecture { found: found.to_owned() }),
        };
        self.refuse()?;
        let heads = self.num_attention_heads;
        let whole = || self.hidden_size.checked_div(heads).unwrap_or_default();
        let head_size = self.head_dim.unwrap_or_else(whole);
        let rope = self.rope_parameters.as_ref().or(self.rope_scaling.as_ref());
        let theta = rope.and_then(|rope| rope.rope_theta).or(self.rope_theta);
        let rope_theta = theta.unwrap_or(10_000.0);
        let window = self.window();
        Ok(Config {
            format: FORMAT,
            architecture,
            layers: self.num_hidden_layers,
            hidden: self.hidden_size,
            heads,
            kv_heads: self.num_key_value_heads.unwrap_or(heads),
            head_size,
            intermediate: self.intermediate_size,
            vocabulary: self.vocab_size,
            context: window.unwrap_or(u32::MAX).min(self.max_position_embeddings),
            rope_theta,
            rope_divisors: rope
                .map(|rope| rope.divisors(head_size, rope_theta))
                .transpose()?
                .flatten(),
            norm_eps: self.rms_norm_eps,
            // Llama's and Mistral's classes have it off, Qwen's files say it.
            tied: self.tie_word_embeddings.unwrap_or(false),
            qkv_bias: self.attention_bias.unwrap_or(architecture == Architecture::Qwen2),
            qk_norm: architecture == Architecture::Qwen3,
            bos: None,
            eos: Vec::new(),
        })
    }

    /// The tokens that each token sees, if not all before it.
    fn window(&self) -> Option<u32> {
        let used = self.use_sliding_window.unwrap_or(self.model_type == "mistral");
        self.sliding_window.filter(|_| used)
    }

    /// What people should know about the settings.
    pub(super) fn notes(&self, config: &Config) -> Option<String> {
        let window = self.window().filter(|window| *window < self.max_position_embeddings)?;
        let context = config.context;
        Some(format!(
            "the context is {context} tokens: beyond them the model sees only the last {window}, which hosts do not compute"
        ))
    }

    /// Refuses what a decoder's config cannot say.
    fn refuse(&self) -> Result<(), CheckpointError> {
        match self.hidden_act.as_deref() {
            None | Some("silu") => {}
            Some(other) => return unsupported("hidden_act", other),
        }
        if self.mlp_bias == Some(true) {
            return unsupported("mlp_bias", &true);
        }
        if let Some(factor) = self.partial_rotary_factor.filter(|factor| *factor != 1.0) {
            return unsupported("partial_rotary_factor", &factor);
        }
        if let Some(quantised) = &self.quantization_config {
            let method = quantised.get("quant_method").and_then(Value::as_str);
            let (key, value) =
                ("quantization_config".to_owned(), method.unwrap_or("set").to_owned());
            let hint = ": pack the original model, with `--quantise` if you like";
            return Err(CheckpointError::Unsupported { key, value, hint });
        }
        Ok(())
    }
}

impl Rope {
    /// What frequencies are divided by, as transformers computes it (`modeling_rope_utils.py`).
    fn divisors(&self, head_size: u32, theta: f64) -> Result<Option<Vec<f32>>, CheckpointError> {
        let kind = self.rope_type.as_deref().or(self.kind.as_deref()).unwrap_or("default");
        let missing = |key: &str| CheckpointError::Missing { key: format!("rope_scaling.{key}") };
        let factor = || self.factor.ok_or_else(|| missing("factor"));
        let pairs = 0..head_size / 2;
        match kind {
            "default" => Ok(None),
            "linear" => {
                let factor = factor()? as f32;
                Ok(Some(pairs.map(|_| factor).collect()))
            }
            "llama3" => {
                let factor = factor()?;
                let low = self.low_freq_factor.ok_or_else(|| missing("low_freq_factor"))?;
                let high = self.high_freq_factor.ok_or_else(|| missing("high_freq_factor"))?;
                let original = self.original_max_position_embeddings;
                let original =
                    original.ok_or_else(|| missing("original_max_position_embeddings"))?;
                let divisor = |pair: u32| {
                    let frequency = theta.powf(-2.0 * f64::from(pair) / f64::from(head_size));
                    let turns = f64::from(original) * frequency / std::f64::consts::TAU;
                    // 0 stretches in full, 1 not at all.
                    let smooth = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    (1.0 / ((1.0 - smooth) / factor + smooth)) as f32
                };
                Ok(Some(pairs.map(divisor).collect()))
            }
            other => unsupported("rope_scaling.rope_type", other),
        }
    }
}
