//! Reads language models as others store them, GGUF files and Hugging Face folders, and writes them as decoders.
//!
//! For `hospes pack` only: hosts read nothing but decoders. Files are untrusted. Every size is checked before something is reserved for it,
//! and what this version does not know, a tensor, a scaling, a tokenizer, is refused by name: left out, it would make a model that answers
//! nonsense. The surprise: GGUF files of Llama have the rows of queries and keys in another order, which is undone here.

mod element;
mod error;
mod folder;
mod gguf;
mod kquants;
mod safetensors;
mod source;
mod store;
mod write;

#[cfg(test)]
mod tests;

pub use error::CheckpointError;
pub use folder::{CONFIG_FILE, open_folder};
pub use gguf::{open_gguf, open_gguf_file};
pub use source::Source;
pub use store::{Checkpoint, Told};
pub use write::{Cost, Quantise, Written};

/// What GGUF files begin with.
pub const GGUF_MAGIC: [u8; 4] = *b"GGUF";
