//! The tensors of a model, as its config demands them. Their names are those of Hugging Face's models.

use super::config::Config;

/// The size of a tensor as it is computed with, however it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Rows and columns: answers, and what each is made from.
    Matrix {
        rows: u32,
        columns: u32,
    },
    Vector(u32),
}

/// A tensor that a model has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub name: String,
    pub shape: Shape,
}

pub(super) const EMBEDDING: &str = "model.embed_tokens.weight";
pub(super) const NORM: &str = "model.norm.weight";
pub(super) const HEAD: &str = "lm_head.weight";

/// A layer's tensor: `model.layers.3.self_attn.q_proj.weight`.
pub(super) fn of_layer(layer: u32, rest: &str) -> String {
    format!("model.layers.{layer}.{rest}")
}

/// Every tensor of a model with this config, in the order in which they are written.
pub fn parts(config: &Config) -> Vec<Part> {
    let matrix =
        |name: String, rows, columns| Part { name, shape: Shape::Matrix { rows, columns } };
    let vector = |name: String, size| Part { name, shape: Shape::Vector(size) };
    let (hidden, wide) = (config.hidden, config.intermediate);
    let (query, kv) = (config.query_size(), config.kv_size());
    let mut all = vec![matrix(EMBEDDING.to_owned(), config.vocabulary, hidden)];
    for layer in 0..config.layers {
        let named = |rest: &str| of_layer(layer, rest);
        all.push(vector(named("input_layernorm.weight"), hidden));
        for (one, rows) in [("q", query), ("k", kv), ("v", kv)] {
            all.push(matrix(named(&format!("self_attn.{one}_proj.weight")), rows, hidden));
            if config.qkv_bias {
                all.push(vector(named(&format!("self_attn.{one}_proj.bias")), rows));
            }
        }
        if config.qk_norm {
            all.push(vector(named("self_attn.q_norm.weight"), config.head_size));
            all.push(vector(named("self_attn.k_norm.weight"), config.head_size));
        }
        all.push(matrix(named("self_attn.o_proj.weight"), hidden, query));
        all.push(vector(named("post_attention_layernorm.weight"), hidden));
        all.push(matrix(named("mlp.gate_proj.weight"), wide, hidden));
        all.push(matrix(named("mlp.up_proj.weight"), wide, hidden));
        all.push(matrix(named("mlp.down_proj.weight"), hidden, wide));
    }
    all.push(vector(NORM.to_owned(), hidden));
    if !config.tied {
        all.push(matrix(HEAD.to_owned(), config.vocabulary, hidden));
    }
    all
}
