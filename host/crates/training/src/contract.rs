//! The contract between Hospes and whatever trains: SageMaker's script mode, and a file for events.
//!
//! | variable | is |
//! | --- | --- |
//! | `SM_MODEL_DIR` | the folder that `model.onnx` must be written to |
//! | `SM_CHANNEL_<NAME>` | the file or folder of a data set of the recipe |
//! | `SM_CHANNELS` | their names, as JSON |
//! | `SM_HPS`, `SM_HP_<NAME>` | the hyperparameters, as JSON and each by itself |
//! | `SM_OUTPUT_DATA_DIR` | a folder for anything else |
//! | `SM_NUM_CPUS`, `SM_NUM_GPUS` | what it may use |
//! | `HOSPES_EVENTS` | a file to which it may append events as JSON lines, see [`crate::Event`] |
//! | `HOSPES_CHECKPOINTS` | a folder that is still there when training is resumed |
//! | `HOSPES_TEACHER` | for Hospes' own trainer: a file (`.npz`) with a teacher's answers to the rows of `train` |
//! | `HOSPES_WEIGHTS` | for Hospes' own trainer: a file of [`crate::weights::Weights`], which it places in the network instead of training it |
//!
//! A trainer that ends with exit code 65 says that its data have faults, with 78 that its settings do not fit them. Its last lines name what.
//!
//! SageMaker stages data in folders; here a channel is what the recipe names, so it may also be a file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::recipe::{Recipe, Trainer};

/// The exit code of a trainer that cannot learn from its data: `EX_DATAERR` of `sysexits.h`.
pub const DATA_FAULTS: u8 = 65;

/// The exit code of a trainer whose settings do not fit the data: `EX_CONFIG`.
pub const SETTINGS_UNFIT: u8 = 78;

/// The variables that Hospes' own trainer reads too.
pub const MODEL_DIR: &str = "SM_MODEL_DIR";
pub const OUTPUT_DIR: &str = "SM_OUTPUT_DATA_DIR";
pub const SETTINGS: &str = "SM_HPS";
pub const GPUS: &str = "SM_NUM_GPUS";
pub const EVENTS_FILE: &str = "HOSPES_EVENTS";
pub const CHECKPOINTS_DIR: &str = "HOSPES_CHECKPOINTS";
pub const TEACHER_FILE: &str = "HOSPES_TEACHER";
pub const WEIGHTS_FILE: &str = "HOSPES_WEIGHTS";

/// The file in `SM_MODEL_DIR` that must be there.
pub const MODEL: &str = "model.onnx";

/// The file in `SM_OUTPUT_DATA_DIR` with rows and the trainer's answers to them, which may be missing: arrays with the names of the
/// model's inputs and outputs.
pub const ANSWERS: &str = "answers.npz";

/// What lies in a job's folder.
const MODELS: &str = "model";
pub const OUTPUT: &str = "output";
const CHECKPOINTS: &str = "checkpoints";
pub(crate) const EVENTS: &str = "events";

/// Where a training reads and writes.
#[derive(Debug, Clone)]
pub struct Job {
    /// Data sets by channel, absolute.
    pub channels: BTreeMap<String, PathBuf>,
    /// The folder that belongs to the trainer, absolute.
    pub folder: PathBuf,
    pub hyperparameters: serde_json::Map<String, Value>,
    pub threads: usize,
    pub gpus: usize,
    /// A teacher's answers, absolute, an array `answers` of `[rows, classes]`.
    pub teacher: Option<PathBuf>,
    /// Weights that are placed in the network, absolute. Then nothing is trained.
    pub weights: Option<PathBuf>,
}

impl Job {
    /// What a recipe asks for, with the recipe's folder and the trainer's own.
    pub fn new(recipe: &Recipe, beside: &Path, folder: PathBuf, threads: usize) -> Self {
        let channels = recipe.data.iter().map(|(name, set)| (name.clone(), beside.join(&set.path)));
        let as_object = |value: Result<Value, serde_json::Error>| match value {
            Ok(Value::Object(members)) => members,
            Ok(_) | Err(_) => serde_json::Map::new(),
        };
        let hyperparameters = match recipe.trainer() {
            Trainer::Native(native) => as_object(serde_json::to_value(native)),
            Trainer::Command(command) => as_object(serde_json::to_value(&command.hyperparameters)),
        };
        Self {
            channels: channels.collect(),
            folder,
            hyperparameters,
            threads,
            gpus: 0,
            teacher: None,
            weights: None,
        }
    }

    pub fn model_dir(&self) -> PathBuf {
        self.folder.join(MODELS)
    }

    pub fn output_dir(&self) -> PathBuf {
        self.folder.join(OUTPUT)
    }

    pub fn checkpoints(&self) -> PathBuf {
        self.folder.join(CHECKPOINTS)
    }

    pub fn events(&self) -> PathBuf {
        self.folder.join(EVENTS)
    }

    /// The model that the trainer leaves.
    pub fn model(&self) -> PathBuf {
        self.folder.join(Self::model_name())
    }

    /// Its name within the folder.
    pub(crate) fn model_name() -> PathBuf {
        Path::new(MODELS).join(MODEL)
    }

    /// The variables of the contract.
    pub fn variables(&self) -> Vec<(String, String)> {
        let path = |path: PathBuf| path.display().to_string();
        let mut all = vec![
            (MODEL_DIR.to_owned(), path(self.model_dir())),
            (OUTPUT_DIR.to_owned(), path(self.output_dir())),
            ("SM_NUM_CPUS".to_owned(), self.threads.to_string()),
            (GPUS.to_owned(), self.gpus.to_string()),
            (EVENTS_FILE.to_owned(), path(self.events())),
            (CHECKPOINTS_DIR.to_owned(), path(self.checkpoints())),
        ];
        for (name, file) in [(TEACHER_FILE, &self.teacher), (WEIGHTS_FILE, &self.weights)] {
            all.extend(file.clone().map(|file| (name.to_owned(), path(file))));
        }
        let names: Vec<&String> = self.channels.keys().collect();
        all.push(("SM_CHANNELS".to_owned(), serde_json::json!(names).to_string()));
        for (name, at) in &self.channels {
            all.push((format!("SM_CHANNEL_{}", name.to_uppercase()), at.display().to_string()));
        }
        all.push((SETTINGS.to_owned(), Value::Object(self.hyperparameters.clone()).to_string()));
        for (name, value) in &self.hyperparameters {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            all.push((format!("SM_HP_{}", name.to_uppercase().replace('-', "_")), value));
        }
        // What libraries would otherwise take from the machine.
        for name in
            ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"]
        {
            all.push((name.to_owned(), self.threads.to_string()));
        }
        all
    }
}
