//! GGUF files, version 2 and 3, of the architectures that hosts compute.

mod header;
mod names;
mod pieces;
mod tokenizer;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use hospes_decoder::{Architecture, Config, FORMAT};

use super::error::CheckpointError;
use super::source::Source;
use super::store::{Checkpoint, Entry, Told};

pub(super) use header::{HEADER_BYTES_MAX, KEYS_MAX};
use header::{Header, Tensor};

/// Texts of tokens that end a turn in known models, whether or not a file names them as such.
const END_TEXTS: [&str; 6] =
    ["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "</s>"];

/// Opens a GGUF file.
///
/// # Errors
/// [`CheckpointError`].
pub fn open_gguf_file(path: &Path) -> Result<Checkpoint, CheckpointError> {
    let wrong = |source| CheckpointError::File { path: path.to_owned(), source };
    open_gguf(Box::new(File::open(path).map_err(wrong)?))
}

/// Opens what a GGUF file contains.
///
/// # Errors
/// [`CheckpointError`].
pub fn open_gguf(source: Box<dyn Source>) -> Result<Checkpoint, CheckpointError> {
    let Header { keys, tensors } = header::read(&*source)?;
    let keys = Keys(keys);
    if let Some(count) = keys.integer("split.count")?.filter(|count| *count > 1) {
        let (key, value) = ("split.count".to_owned(), count.to_string());
        let hint = ": merge the parts with `llama-gguf-split --merge`";
        return Err(CheckpointError::Unsupported { key, value, hint });
    }
    let mut config = config(&keys, &tensors)?;
    let tokens = tokenizer::Tokens::read(&keys)?;
    config.eos = ends(&keys, &tokens)?;
    let tokenizer = tokens.json(&keys)?;
    let template = keys.text("tokenizer.chat_template")?.map(str::to_owned);
    let mut notes = Vec::new();
    if template.is_none() {
        notes.push("the file has no chat template: guests must bring their own".to_owned());
    }
    config.rope_divisors = divisors(&*source, &tensors)?;
    let entries = names::entries(tensors, &config)?;
    let told = told(&keys, &config);
    let checkpoint =
        Checkpoint { config, tokenizer, template, told, sources: vec![source], entries, notes };
    checkpoint.check()?;
    Ok(checkpoint)
}

/// The keys of a file's header, by their names.
pub(super) struct Keys(BTreeMap<String, header::Value>);

impl Keys {
    fn wrong<T>(key: &str, wanted: &'static str) -> Result<T, CheckpointError> {
        Err(CheckpointError::Wrong { key: key.to_owned(), wanted })
    }

    fn missing(key: &str) -> CheckpointError {
        CheckpointError::Missing { key: key.to_owned() }
    }

    fn integer(&self, key: &str) -> Result<Option<u64>, CheckpointError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(header::Value::Integer(value)) => Ok(Some(*value)),
            Some(_) => Self::wrong(key, "a whole number from 0"),
        }
    }

    /// A size.
    fn size(&self, key: &str) -> Result<Option<u32>, CheckpointError> {
        let fits = |value: u64| {
            let large = || CheckpointError::TooLarge { key: key.to_owned(), value };
            u32::try_from(value).map_err(|_| large())
        };
        self.integer(key)?.map(fits).transpose()
    }

    fn need_size(&self, key: &str) -> Result<u32, CheckpointError> {
        self.size(key)?.ok_or_else(|| Self::missing(key))
    }

    fn float(&self, key: &str) -> Result<Option<f64>, CheckpointError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(header::Value::Float(value)) => Ok(Some(*value)),
            Some(_) => Self::wrong(key, "a number"),
        }
    }

    fn boolean(&self, key: &str) -> Result<Option<bool>, CheckpointError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(header::Value::Bool(value)) => Ok(Some(*value)),
            Some(_) => Self::wrong(key, "true or false"),
        }
    }

    fn text(&self, key: &str) -> Result<Option<&str>, CheckpointError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(header::Value::Text(value)) => Ok(Some(value)),
            Some(_) => Self::wrong(key, "a text"),
        }
    }

    fn texts(&self, key: &str) -> Result<Option<&[String]>, CheckpointError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(header::Value::Texts(values)) => Ok(Some(values)),
            Some(_) => Self::wrong(key, "a list of texts"),
        }
    }

    fn numbers(&self, key: &str) -> Result<Option<&[f64]>, CheckpointError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(header::Value::Numbers(values)) => Ok(Some(values)),
            Some(_) => Self::wrong(key, "a list of numbers"),
        }
    }
}

fn architecture(keys: &Keys) -> Result<Architecture, CheckpointError> {
    let key = "general.architecture";
    match keys.text(key)?.ok_or_else(|| Keys::missing(key))? {
        "llama" => Ok(Architecture::Llama),
        "qwen2" => Ok(Architecture::Qwen2),
        "qwen3" => Ok(Architecture::Qwen3),
        found => Err(CheckpointError::Architecture { found: found.to_owned() }),
    }
}

/// The settings, without the tokens that end a turn and the divisors of frequencies.
fn config(keys: &Keys, tensors: &[Tensor]) -> Result<Config, CheckpointError> {
    let architecture = architecture(keys)?;
    let of = |rest: &str| format!("{}.{rest}", architecture.name());
    let (hidden, heads) =
        (keys.need_size(&of("embedding_length"))?, keys.need_size(&of("attention.head_count"))?);
    let head_size = keys.size(&of("attention.key_length"))?;
    let head_size = head_size.unwrap_or_else(|| hidden.checked_div(heads).unwrap_or_default());
    for key in ["attention.value_length", "rope.dimension_count"] {
        let key = of(key);
        if let Some(size) = keys.size(&key)?.filter(|size| *size != head_size) {
            let (value, hint) = (size.to_string(), ": only heads of one size are");
            return Err(CheckpointError::Unsupported { key, value, hint });
        }
    }
    refuse_scaling(keys, architecture)?;
    let has = |name: &str| tensors.iter().any(|tensor| tensor.name == name);
    let embedding = tensors.iter().find(|tensor| tensor.name == "token_embd.weight");
    let embedding = embedding
        .ok_or_else(|| CheckpointError::NoTensor { name: "token_embd.weight".to_owned() })?;
    let vocabulary = embedding.shape.first().copied().unwrap_or_default();
    let key = "token_embd.weight";
    let large = || CheckpointError::TooLarge { key: key.to_owned(), value: vocabulary };
    let theta = keys.float(&of("rope.freq_base"))?.unwrap_or(10_000.0);
    let eps = of("attention.layer_norm_rms_epsilon");
    let norm_eps = keys.float(&eps)?.ok_or_else(|| Keys::missing(&eps))?;
    Ok(Config {
        format: FORMAT,
        architecture,
        layers: keys.need_size(&of("block_count"))?,
        hidden,
        heads,
        kv_heads: keys.size(&of("attention.head_count_kv"))?.unwrap_or(heads),
        head_size,
        intermediate: keys.need_size(&of("feed_forward_length"))?,
        vocabulary: u32::try_from(vocabulary).map_err(|_| large())?,
        context: keys.need_size(&of("context_length"))?,
        rope_theta: theta,
        rope_divisors: None,
        norm_eps: norm_eps as f32,
        tied: !has("output.weight"),
        qkv_bias: has("blk.0.attn_q.bias"),
        qk_norm: has("blk.0.attn_q_norm.weight"),
        bos: keys.size("tokenizer.ggml.bos_token_id")?,
        eos: Vec::new(),
    })
}

/// Ways to stretch the context, and parts of a model, that a decoder's config does not say.
fn refuse_scaling(keys: &Keys, architecture: Architecture) -> Result<(), CheckpointError> {
    let of = |rest: &str| format!("{}.{rest}", architecture.name());
    let kind = of("rope.scaling.type");
    if let Some(value) = keys.text(&kind)?.filter(|kind| *kind != "none") {
        let hint = ": pack the Hugging Face folder, or a file without it";
        return Err(CheckpointError::Unsupported { key: kind, value: value.to_owned(), hint });
    }
    for key in ["expert_count", "attention.sliding_window"] {
        let key = of(key);
        if let Some(value) = keys.integer(&key)?.filter(|value| *value > 0) {
            return Err(CheckpointError::Unsupported { key, value: value.to_string(), hint: "" });
        }
    }
    let key = of("rope.scale_linear");
    match keys.float(&key)?.filter(|scale| *scale != 1.0) {
        Some(value) => {
            Err(CheckpointError::Unsupported { key, value: value.to_string(), hint: "" })
        }
        None => Ok(()),
    }
}

/// Llama 3's stretching of the context, which the file has as numbers that divide frequencies.
fn divisors(source: &dyn Source, tensors: &[Tensor]) -> Result<Option<Vec<f32>>, CheckpointError> {
    let Some(tensor) = tensors.iter().find(|tensor| tensor.name == names::DIVISORS) else {
        return Ok(None);
    };
    let entry = Entry {
        source: 0,
        offset: tensor.offset,
        element: tensor.element,
        shape: tensor.shape.clone(),
        interleaved: None,
    };
    let pairs = u64::from(hospes_decoder::HEAD_SIZE_MAX / 2);
    if entry.columns() > pairs || entry.shape.len() != 1 {
        let (name, found) = (tensor.name.clone(), tensor.shape.clone());
        return Err(CheckpointError::Shape { name, found, wanted: vec![pairs] });
    }
    let mut bytes = vec![0; entry.bytes().unwrap_or_default() as usize];
    source.fill(entry.offset, &mut bytes).map_err(CheckpointError::Read)?;
    let mut values = Vec::new();
    entry.element.values(&bytes, &mut values);
    Ok(Some(values))
}

/// The tokens that end a turn: those that the file names, then those that do in known models.
fn ends(keys: &Keys, tokens: &tokenizer::Tokens<'_>) -> Result<Vec<u32>, CheckpointError> {
    let mut ends = Vec::new();
    for name in ["eos", "eot", "eom"] {
        ends.extend(keys.size(&format!("tokenizer.ggml.{name}_token_id"))?);
    }
    ends.extend(END_TEXTS.iter().filter_map(|text| tokens.control(text)));
    let mut seen = std::collections::BTreeSet::new();
    ends.retain(|token| seen.insert(*token));
    if ends.is_empty() { Err(CheckpointError::NoEnd) } else { Ok(ends) }
}

/// What the file says about itself. Strange values are left out: they are for people only.
fn told(keys: &Keys, config: &Config) -> Told {
    let text = |key: &str| keys.text(key).ok().flatten().map(str::to_owned);
    let list = |key: &str| keys.texts(key).ok().flatten().unwrap_or_default().to_vec();
    let name = text("general.name");
    let size = text("general.size_label");
    let what = name.clone().unwrap_or_else(|| config.architecture.name().to_owned());
    let size = size.map(|size| format!(", {size} weights")).unwrap_or_default();
    Told {
        licence: text("general.license"),
        languages: list("general.languages"),
        tags: list("general.tags"),
        summary: format!("The language model {what}{size}."),
        name,
    }
}
