//! A recipe: a TOML file that says what a training reads, who trains, and what the model must reach.
//!
//! Nothing is guessed: an unknown member is an error, because a misspelt setting would otherwise train another model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hospes_core::id::Digest;
use serde::{Deserialize, Serialize};

use crate::events::PatternText;
use crate::native::Native;

/// Longest recipe, in bytes.
pub const RECIPE_BYTES_MAX: u64 = 1 << 20;
/// Most data sets of a recipe. A proof can list more, since others may write proofs too.
pub const CHANNELS_MAX: usize = 32;

/// A recipe that was checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Recipe {
    /// Data sets by the name of their channel.
    pub data: BTreeMap<String, DataSet>,
    trainer: Own,
    /// The least that the model must reach, by the name of a metric. Without it, any model is kept.
    pub gate: BTreeMap<String, f64>,
}

/// Who trains, with the settings.
#[derive(Debug, Clone, PartialEq)]
enum Own {
    Native(Native),
    Command(Command),
}

/// A recipe, as its file has it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    data: BTreeMap<String, DataSet>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    native: Option<Native>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    command: Option<Command>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    gate: BTreeMap<String, f64>,
}

impl TryFrom<Written> for Recipe {
    type Error = RecipeError;

    fn try_from(written: Written) -> Result<Self, RecipeError> {
        let Written { data, native, command, gate } = written;
        check_data(&data)?;
        let trainer = match (native, command) {
            (Some(_), Some(_)) => return Err(RecipeError::TwoTrainers),
            (None, None) => return Err(RecipeError::NoTrainer),
            (Some(native), None) => {
                native.check()?;
                check_gate(&gate, &native, &data)?;
                Own::Native(native)
            }
            (None, Some(command)) if command.argv.is_empty() => return Err(RecipeError::Argv),
            (None, Some(command)) => {
                command.metrics.iter().try_for_each(|metric| metric.compile().map(drop))?;
                Own::Command(command)
            }
        };
        Ok(Self { data, trainer, gate })
    }
}

impl From<Recipe> for Written {
    fn from(Recipe { data, trainer, gate }: Recipe) -> Self {
        let (native, command) = match trainer {
            Own::Native(native) => (Some(native), None),
            Own::Command(command) => (None, Some(command)),
        };
        Self { data, native, command, gate }
    }
}

/// A file or folder that a training reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table: write `{ path = \"…\" }`")]
pub struct DataSet {
    /// A file or a folder, seen from the recipe's folder.
    pub path: PathBuf,
    /// Its digest, see [`hospes_core::files`]. `hospes train --lock` writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The licence that it is used under, as an SPDX expression or a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
}

/// A program of the user's that trains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The program and its arguments. It runs in the recipe's folder.
    pub argv: Vec<String>,
    /// Files that fix the versions of what it uses, such as `requirements.txt`. Their digests go into the proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<PathBuf>,
    /// Other files that it reads, its own source among them. Folders are taken whole.
    #[serde(default)]
    pub files: Vec<PathBuf>,
    /// Metrics that are read from what it prints.
    #[serde(default)]
    pub metrics: Vec<PatternText>,
    /// Those of its metrics that it finds on the data set `test`. Only these may be shown as figures about the model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_out: Vec<String>,
    /// What it gets as `SM_HPS` and `SM_HP_<NAME>`.
    #[serde(default)]
    pub hyperparameters: BTreeMap<String, toml::Value>,
}

/// Who trains.
#[derive(Debug, Clone, Copy)]
pub enum Trainer<'r> {
    Native(&'r Native),
    Command(&'r Command),
}

/// Why a recipe cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    #[error("cannot read the recipe `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "the recipe has {bytes} bytes, the limit is {RECIPE_BYTES_MAX}: data belong in files of their own"
    )]
    Size { bytes: u64 },
    #[error("the recipe is not valid: {0}")]
    Toml(#[from] Box<toml::de::Error>),
    #[error("the recipe has both `[native]` and `[command]`: keep the one that trains")]
    TwoTrainers,
    #[error(
        "the recipe does not say what trains: add `[native]` for a network of Hospes, or `[command]` for a program of yours"
    )]
    NoTrainer,
    #[error("the recipe has no data set `train`: add `train = {{ path = \"…\" }}` below `[data]`")]
    NoTrainingData,
    #[error(
        "the recipe has {found} data sets, the limit is {CHANNELS_MAX}: put files into one folder"
    )]
    DataSets { found: usize },
    #[error(
        "`{name}` cannot name a data set: use at most 32 characters of a-z, 0-9 and `_`, and begin with a letter"
    )]
    Channel { name: String },
    #[error(
        "`argv` is empty: write the program and its arguments, as in `argv = [\"python3\", \"train.py\"]`"
    )]
    Argv,
    #[error("`{setting}` is {found}: {wanted}")]
    Value { setting: &'static str, found: String, wanted: &'static str },
    #[error(
        "the gate asks for `{metric}`, which `[native]` does not report here: it reports {reported}"
    )]
    Gate { metric: String, reported: &'static str },
    #[error(
        "the gate asks for `{metric}`, but there are no data to measure it on: add `test = {{ path = \"…\" }}` below `[data]`"
    )]
    GateWithoutTest { metric: String },
    #[error("metric `{name}` has the pattern `{regex}`, which is not usable: {why}")]
    Pattern { name: String, regex: String, why: String },
    #[error(
        "`--set {given}` is not a setting and its value: write it as `lr=0.02` or `optimizer.lr=0.02`"
    )]
    Set { given: String },
    #[error(
        "`--set {name}=…`: `hyperparameters` of `[command]` has no `{name}`, it has {has}; correct the name, or add it to the recipe"
    )]
    Hyperparameter { name: String, has: String },
    #[error(
        "the digest `{found}` of data set `{name}` is not 64 hexadecimal digits: let `hospes train RECIPE --lock` write it"
    )]
    Digest { name: String, found: String },
}

impl Recipe {
    /// Reads the recipe of a file and checks all that can be checked without its data.
    ///
    /// # Errors
    /// [`RecipeError`].
    pub fn read(path: &Path) -> Result<Self, RecipeError> {
        Self::parse(&text(path)?, &[])
    }

    /// A recipe's text, with settings changed as `--set` does: `NAME=VALUE`, where a name without a dot is one of the trainer.
    ///
    /// # Errors
    /// [`RecipeError`].
    pub fn parse(text: &str, set: &[String]) -> Result<Self, RecipeError> {
        let mut document: toml::Table = toml::from_str(text).map_err(Box::new)?;
        for given in set {
            apply(&mut document, given)?;
        }
        // From the text where it can be, so that errors name the line.
        let written: Written = match set {
            [] => toml::from_str(text).map_err(Box::new)?,
            _ => toml::Value::Table(document).try_into().map_err(Box::new)?,
        };
        written.try_into()
    }

    /// Who trains.
    pub fn trainer(&self) -> Trainer<'_> {
        match &self.trainer {
            Own::Native(native) => Trainer::Native(native),
            Own::Command(command) => Trainer::Command(command),
        }
    }

    /// Sets the seed: of `[native]`, or the hyperparameter `seed`.
    ///
    /// # Errors
    /// [`RecipeError::Value`] if it is no number of TOML.
    pub fn set_seed(&mut self, seed: u64) -> Result<(), RecipeError> {
        match &mut self.trainer {
            Own::Native(native) => native.seed = seed,
            Own::Command(command) => {
                let wanted = "a hyperparameter must be below 2^63";
                let refused =
                    |_| RecipeError::Value { setting: "seed", found: seed.to_string(), wanted };
                let seed = i64::try_from(seed).map_err(refused)?;
                command.hyperparameters.insert("seed".into(), seed.into());
            }
        }
        Ok(())
    }
}

fn check_data(data: &BTreeMap<String, DataSet>) -> Result<(), RecipeError> {
    if !data.contains_key("train") {
        return Err(RecipeError::NoTrainingData);
    }
    if data.len() > CHANNELS_MAX {
        return Err(RecipeError::DataSets { found: data.len() });
    }
    for (name, set) in data {
        if !is_channel(name) {
            return Err(RecipeError::Channel { name: name.clone() });
        }
        if let Some(found) = &set.sha256 {
            let digest = format!("sha256:{found}").parse::<Digest>();
            digest.map_err(|_| RecipeError::Digest { name: name.clone(), found: found.clone() })?;
        }
    }
    Ok(())
}

fn check_gate(
    gate: &BTreeMap<String, f64>,
    native: &Native,
    data: &BTreeMap<String, DataSet>,
) -> Result<(), RecipeError> {
    for metric in gate.keys() {
        if !native.metrics().contains(&metric.as_str()) {
            let reported = native.metrics_in_words();
            return Err(RecipeError::Gate { metric: metric.clone(), reported });
        }
        if !data.contains_key("test") {
            return Err(RecipeError::GateWithoutTest { metric: metric.clone() });
        }
    }
    Ok(())
}

/// A recipe's text.
///
/// # Errors
/// [`RecipeError::Read`], [`RecipeError::Size`].
pub fn text(path: &Path) -> Result<String, RecipeError> {
    let failed = |source| RecipeError::Read { path: path.to_owned(), source };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > RECIPE_BYTES_MAX {
        return Err(RecipeError::Size { bytes });
    }
    std::fs::read_to_string(path).map_err(failed)
}

/// The recipe's text with these digests of its data sets. Everything else stays as it was written, comments too.
///
/// # Errors
/// [`RecipeError::Toml`].
pub fn locked(text: &str, digests: &BTreeMap<String, Digest>) -> Result<String, RecipeError> {
    let mut document: toml_edit::DocumentMut =
        text.parse().map_err(|error: toml_edit::TomlError| {
            use serde::de::Error as _;
            Box::new(toml::de::Error::custom(error))
        })?;
    for (name, digest) in digests {
        document["data"][name]["sha256"] = toml_edit::value(digest.hex());
    }
    Ok(document.to_string())
}

fn is_channel(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase());
    first
        && name.len() <= 32
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Changes a setting as `--set` does.
fn apply(document: &mut toml::Table, given: &str) -> Result<(), RecipeError> {
    let failed = || RecipeError::Set { given: given.to_owned() };
    let (name, value) = given.split_once('=').ok_or_else(failed)?;
    // What is not a TOML value is text, so that shells need no second quotes.
    let value = format!("v={value}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut table| table.remove("v"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let mut path: Vec<&str> = name.split('.').collect();
    if path.iter().any(|part| part.is_empty()) {
        return Err(failed());
    }
    let is_native = document.contains_key("native");
    match (path[0], is_native) {
        ("data" | "native" | "command" | "gate", _) => {}
        // What is looked for first.
        ("lr" | "momentum" | "weight_decay" | "schedule", true) => {
            path.splice(0..0, ["native", "optimizer"]);
        }
        (_, true) => path.insert(0, "native"),
        (_, false) => {
            path.splice(0..0, ["command", "hyperparameters"]);
        }
    }
    let last = path.pop().ok_or_else(failed)?;
    let is_of_script = path == ["command", "hyperparameters"];
    let mut table = document;
    for part in path {
        let next = table.entry(part).or_insert_with(|| toml::Table::new().into());
        table = next.as_table_mut().ok_or_else(failed)?;
    }
    // A script does not refuse a name that it does not know: it would train as before.
    if is_of_script && !table.contains_key(last) {
        let has: Vec<String> = table.keys().map(|name| format!("`{name}`")).collect();
        let has = if has.is_empty() { "none".into() } else { has.join(", ") };
        return Err(RecipeError::Hyperparameter { name: last.to_owned(), has });
    }
    table.insert(last.to_owned(), value);
    Ok(())
}
