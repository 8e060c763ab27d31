//! Decoder language models as data: sizes, weights, tokenizer, chat template. No code of the publisher and no graph: hosts write the graph.
//!
//! A model is one file in the layout of safetensors, so any reader of safetensors shows what is in it. [`Decoder::read`] checks the whole
//! file against the model's [`Config`] before anybody uses a tensor. Weights stay where they are: all views borrow the file's bytes.
//! This crate computes nothing and knows no backend. The surprise: quantised weights are stored in the layout that ONNX Runtime's
//! `MatMulNBits` reads, so that hosts need not convert them.

mod config;
mod container;
mod decoder;
mod parts;
mod quantise;
mod refused;
mod tensor;
mod tokenizer;
mod write;

#[cfg(test)]
mod tests;

pub use config::{
    Architecture, CONTEXT_MAX, Config, END_TOKENS_MAX, FORMAT, HEAD_SIZE_MAX, HEADS_MAX,
    HIDDEN_MAX, INTERMEDIATE_MAX, LAYERS_MAX, VOCABULARY_MAX,
};
pub use container::{ALIGNMENT, FILE_BYTES_MAX, HEADER_BYTES_MAX, TENSORS_MAX};
pub use decoder::{Decoder, Layer, TEMPLATE_BYTES_MAX};
pub use parts::{Part, Shape, parts};
pub use quantise::{Encoded, Encoder, Loss, NotFinite};
pub use refused::{ConfigRefused, DecoderRefused, TokenizerRefused};
pub use tensor::{BLOCK, Blocks, Kind, Matrix, Storage, Vector};
pub use tokenizer::TOKENIZER_BYTES_MAX;
pub use write::{Weights, WriteError, write};
