//! Folders as on Hugging Face: `config.json`, `tokenizer.json`, and weights in one or several safetensors files.

mod settings;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::CheckpointError;
use super::safetensors;
use super::source::Source;
use super::store::{Checkpoint, Entry, Told};
use hospes_decoder::{Config, TOKENIZER_BYTES_MAX};

use settings::Settings;
use tokens::{Generation, TokenizerSettings, Tokens};

/// The file by which such a folder is known.
pub const CONFIG_FILE: &str = "config.json";
/// Maximum size of a JSON file in bytes, but for the tokenizer.
pub(super) const JSON_BYTES_MAX: u64 = 16 << 20;
/// Maximum files with weights.
pub(super) const FILES_MAX: usize = 512;

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Opens a folder.
///
/// # Errors
/// [`CheckpointError`].
pub fn open_folder(folder: &Path) -> Result<Checkpoint, CheckpointError> {
    let settings: Settings = json(&folder.join(CONFIG_FILE))?.ok_or(CheckpointError::NoFile {
        name: CONFIG_FILE,
        fix: "name the folder of a Hugging Face model",
    })?;
    let mut config = settings.config()?;
    let tokenizer = text(&folder.join("tokenizer.json"), TOKENIZER_BYTES_MAX as u64)?;
    let tokenizer = tokenizer.ok_or(CheckpointError::NoFile {
        name: "tokenizer.json",
        fix: "save the tokenizer with `AutoTokenizer.from_pretrained(…).save_pretrained(…)` of transformers",
    })?;
    let generation: Option<Generation> = json(&folder.join("generation_config.json"))?;
    let said: Option<TokenizerSettings> = json(&folder.join("tokenizer_config.json"))?;
    let named = Tokens::read(&tokenizer, &folder.join("tokenizer.json"))?;
    let mut notes = Vec::new();
    (config.bos, config.eos) =
        tokens::ends(&settings, (generation.as_ref(), said.as_ref()), &named)?;
    let template = text(&folder.join("chat_template.jinja"), JSON_BYTES_MAX)?;
    let template = template.or_else(|| said.as_ref().and_then(TokenizerSettings::template));
    if template.is_none() {
        notes.push("the folder has no chat template: guests must bring their own".to_owned());
    }
    notes.extend(settings.notes(&config));
    let (sources, entries) = weights(folder, &config)?;
    let told = told(folder, &config);
    let checkpoint = Checkpoint { config, tokenizer, template, told, sources, entries, notes };
    checkpoint.check()?;
    Ok(checkpoint)
}

type Weights = (Vec<Box<dyn Source>>, BTreeMap<String, Entry>);

fn weights(folder: &Path, config: &Config) -> Result<Weights, CheckpointError> {
    let (mut sources, mut entries, mut strange) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    for name in files(folder)? {
        let path = folder.join(&name);
        let file = File::open(&path).map_err(|source| CheckpointError::File { path, source })?;
        safetensors::read((sources.len(), &file), &mut entries, &mut strange)?;
        sources.push(Box::new(file) as Box<dyn Source>);
    }
    if config.tied {
        // Some programs save the embedding twice.
        entries.remove("lm_head.weight");
    }
    // Frequencies follow from the settings.
    let left_out = |name: &str| name.ends_with(".rotary_emb.inv_freq");
    entries.retain(|name, _| !left_out(name));
    match strange.into_iter().find(|(name, _)| !left_out(name)) {
        Some((name, found)) => Err(CheckpointError::ElementType { name, found }),
        None => Ok((sources, entries)),
    }
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The names of the files with weights.
fn files(folder: &Path) -> Result<BTreeSet<String>, CheckpointError> {
    let Some(index) = json::<Index>(&folder.join(INDEX))? else {
        if folder.join(WEIGHTS).exists() {
            return Ok(BTreeSet::from([WEIGHTS.to_owned()]));
        }
        return Err(CheckpointError::NoFile {
            name: WEIGHTS,
            fix: "save the weights as safetensors, e.g. with `save_pretrained` of transformers",
        });
    };
    let files: BTreeSet<String> = index.weight_map.into_values().collect();
    if files.len() > FILES_MAX {
        return Err(CheckpointError::TooManyFiles { count: files.len() });
    }
    // Only files of this folder, whatever the index says.
    let is_name = |name: &str| !name.contains(['/', '\\', '\0']) && name.ends_with(".safetensors");
    match files.iter().find(|name| !is_name(name)) {
        Some(name) => Err(CheckpointError::Path { name: name.clone() }),
        None => Ok(files),
    }
}

fn told(folder: &Path, config: &Config) -> Told {
    let name = std::fs::canonicalize(folder).ok();
    let name = name.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
    let name = name.map(str::to_owned);
    let what = name.clone().unwrap_or_else(|| config.architecture.name().to_owned());
    Told { summary: format!("The language model {what}."), name, ..Told::default() }
}

/// A JSON file; `None` if there is none.
fn json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, CheckpointError> {
    let Some(text) = text(path, JSON_BYTES_MAX)? else { return Ok(None) };
    let wrong = |source| CheckpointError::Json { path: path.to_owned(), source };
    serde_json::from_str(&text).map(Some).map_err(wrong)
}

/// A text file; `None` if there is none.
fn text(path: &Path, bytes_max: u64) -> Result<Option<String>, CheckpointError> {
    let wrong = |source| CheckpointError::File { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error)),
    };
    let bytes = file.metadata().map_err(wrong)?.len();
    if bytes > bytes_max {
        return Err(CheckpointError::JsonTooLarge { path: path.to_owned(), bytes });
    }
    let mut text = String::new();
    file.take(bytes_max).read_to_string(&mut text).map_err(wrong)?;
    Ok(Some(text))
}
