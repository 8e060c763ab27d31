//! Why a checkpoint cannot become a decoder.

use std::io;
use std::path::PathBuf;

use hospes_decoder::{ConfigRefused, TENSORS_MAX, WriteError};

use super::folder::{FILES_MAX, JSON_BYTES_MAX};
use super::gguf::{HEADER_BYTES_MAX, KEYS_MAX};

/// Why a checkpoint cannot be read or written as a decoder.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("`{}` cannot be read", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    #[error("it is not a GGUF file")]
    NotGguf,
    #[error(
        "it has GGUF version {version}, but 2 and 3 are known: convert it with a newer llama.cpp"
    )]
    Version { version: u32 },
    #[error("it is big-endian: convert it for little-endian processors")]
    BigEndian,
    #[error("its header ends within `{place}`")]
    Ends { place: String },
    #[error("its header has more than the {HEADER_BYTES_MAX} bytes allowed")]
    HeaderTooLarge,
    #[error("its header has {count} keys, more than the {KEYS_MAX} allowed")]
    TooManyKeys { count: u64 },
    #[error("it has {count} tensors, more than the {TENSORS_MAX} allowed")]
    TooManyTensors { count: u64 },
    #[error("`{place}` has type {found}, which GGUF does not have")]
    ValueType { place: String, found: u32 },
    #[error("`{place}` is a list of lists, which no known key is")]
    Nested { place: String },
    #[error("`{place}` is not UTF-8")]
    NotText { place: String },
    #[error("`{place}` has a name of {bytes} bytes, more than the {bytes_max} allowed")]
    NameTooLong { place: String, bytes: u64, bytes_max: u64 },
    #[error("`{key}` is there twice")]
    Twice { key: String },
    #[error("`{key}` is missing")]
    Missing { key: String },
    #[error("`{key}` is not {wanted}")]
    Wrong { key: String, wanted: &'static str },
    #[error("tensor `{name}` has {found} dimensions, more than the 4 of GGUF")]
    Rank { name: String, found: u64 },
    #[error(
        "tensor `{name}` has type {found}, which is not supported: use F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1 or a K-quant"
    )]
    ElementType { name: String, found: String },
    #[error("tensor `{name}` has shape {found:?}, whose rows do not fit its type `{element}`")]
    Rows { name: String, found: Vec<u64>, element: &'static str },
    #[error(
        "tensor `{name}` lies at {from} with {bytes} bytes, outside the {total} bytes of the file"
    )]
    Outside { name: String, from: u64, bytes: u64, total: u64 },
    #[error("tensors `{name}` and `{other}` overlap")]
    Overlap { name: String, other: String },
    #[error("tensor `{name}` begins at {offset}, which is no multiple of {alignment}")]
    Alignment { name: String, offset: u64, alignment: u64 },
    #[error("tensor `{name}` is missing")]
    NoTensor { name: String },
    #[error(
        "tensor `{name}` does not belong to a model of this architecture: its answers would be wrong without it"
    )]
    UnknownTensor { name: String },
    #[error("tensor `{name}` has shape {found:?}, but the config demands {wanted:?}")]
    Shape { name: String, found: Vec<u64>, wanted: Vec<u64> },
    #[error("tensor `{name}`, row {row}: {source}")]
    NotFinite { name: String, row: usize, source: hospes_decoder::NotFinite },
    #[error(
        "the architecture `{found}` is not supported: use a model of Llama, SmolLM2, Mistral, Qwen2 or Qwen3"
    )]
    Architecture { found: String },
    #[error("`{key}` is {value}, which is not supported{hint}")]
    Unsupported { key: String, value: String, hint: &'static str },
    #[error("`{key}` is {value}, more than a model can have")]
    TooLarge { key: String, value: u64 },
    #[error("the settings are refused")]
    Config(#[from] ConfigRefused),
    #[error("`{}` is not the expected JSON", path.display())]
    Json {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("`{}` has {bytes} bytes, more than the {JSON_BYTES_MAX} allowed", path.display())]
    JsonTooLarge { path: PathBuf, bytes: u64 },
    #[error("the folder has no `{name}`: {fix}")]
    NoFile { name: &'static str, fix: &'static str },
    #[error("the index names {count} files, more than the {FILES_MAX} allowed")]
    TooManyFiles { count: usize },
    #[error("the index names `{name}`, which is no file of the folder")]
    Path { name: String },
    #[error("token {id} is named twice in the tokenizer")]
    TokenTwice { id: u64 },
    #[error("no token ends a turn: add `eos_token_id` to `generation_config.json`")]
    NoEnd,
    #[error("the decoder cannot be written")]
    Write(#[source] Box<WriteError<CheckpointError>>),
}
