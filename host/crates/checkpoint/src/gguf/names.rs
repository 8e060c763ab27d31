//! GGUF's names of tensors, and those of Hugging Face's models.

use std::collections::BTreeMap;

use hospes_decoder::{Architecture, Config};

use super::header::Tensor;
use crate::error::CheckpointError;
use crate::store::Entry;

/// The tensor with divisors of frequencies.
pub(super) const DIVISORS: &str = "rope_freqs.weight";

/// Where each weight lies, by the name that it has in a decoder.
pub(super) fn entries(
    tensors: Vec<Tensor>,
    config: &Config,
) -> Result<BTreeMap<String, Entry>, CheckpointError> {
    let mut entries = BTreeMap::new();
    for Tensor { name, shape, element, offset } in tensors {
        if name == DIVISORS {
            continue;
        }
        let Some((known, rotated)) = known(&name) else {
            return Err(CheckpointError::UnknownTensor { name });
        };
        // llama.cpp rotates neighbours in Llama, and halves of a head in the others.
        let interleaved = rotated && config.architecture == Architecture::Llama;
        let interleaved = interleaved.then_some(config.head_size).filter(|size| *size >= 2);
        entries.insert(known, Entry { source: 0, offset, element, shape, interleaved });
    }
    Ok(entries)
}

/// A tensor's name in a decoder, and whether rotary positions turn what it computes.
fn known(name: &str) -> Option<(String, bool)> {
    let whole = match name {
        "token_embd.weight" => "model.embed_tokens.weight",
        "output_norm.weight" => "model.norm.weight",
        "output.weight" => "lm_head.weight",
        _ => "",
    };
    if !whole.is_empty() {
        return Some((whole.to_owned(), false));
    }
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let layer: u32 = layer.parse().ok()?;
    let (part, kind) = rest.rsplit_once('.')?;
    let part = match (part, kind) {
        ("attn_norm", "weight") => "input_layernorm",
        ("attn_q", "weight" | "bias") => "self_attn.q_proj",
        ("attn_k", "weight" | "bias") => "self_attn.k_proj",
        ("attn_v", "weight" | "bias") => "self_attn.v_proj",
        ("attn_q_norm", "weight") => "self_attn.q_norm",
        ("attn_k_norm", "weight") => "self_attn.k_norm",
        ("attn_output", "weight") => "self_attn.o_proj",
        ("ffn_norm", "weight") => "post_attention_layernorm",
        ("ffn_gate", "weight") => "mlp.gate_proj",
        ("ffn_up", "weight") => "mlp.up_proj",
        ("ffn_down", "weight") => "mlp.down_proj",
        _ => return None,
    };
    let rotated = matches!(part, "self_attn.q_proj" | "self_attn.k_proj");
    Some((format!("model.layers.{layer}.{part}.{kind}"), rotated))
}
