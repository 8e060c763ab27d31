//! Other libraries' models as ONNX.
//!
//! XGBoost's and LightGBM's files are data: [`convert()`] reads them itself. What only its own library can read (scikit-learn, PyTorch, Keras) is
//! exported by that library in a Python environment, confined by `hospes_confine`, since a pickle is a program. Every model is compared with its
//! source's own answers on given rows before there is a file. This crate starts no workers: [`Execute`] lends the host's.

mod budget;
mod error;
mod lightgbm;
mod pickle;
mod python;
mod state_dict;
mod trees;
mod ubjson;
mod verify;
mod weights;
mod xgboost;

pub use budget::VALUES_MAX;
pub use error::ConvertError;
pub use pickle::{PickleError, Pickled};
pub use python::Python;
pub use state_dict::{
    ARCHIVE_FILES_MAX, EXPORT, INDEX_BYTES_MAX, NAME_BYTES_MAX, WEIGHT_ENTRIES_MAX, Weight, weights,
};
pub use trees::{FEATURES_MAX, TARGETS_MAX, TREE_NODES_MAX};
pub use verify::{Compared, EXPECTED, EXPECTED_LABELS, Execute, Named, NotRun};
pub use weights::Weights;

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use bytes::Bytes;
use hospes_data::{DataSet, Options};
use hospes_onnx::{Model, Told};

use budget::Budget;
use error::refused;

/// Maximum bytes of a source.
pub const SOURCE_BYTES_MAX: u64 = 1 << 30;

/// The library that made a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Xgboost,
    Lightgbm,
    Torch,
    Sklearn,
    Keras,
}

impl Source {
    /// Every source's name, as `--from` takes it.
    pub const NAMES: &'static str = "xgboost, lightgbm, torch, sklearn, keras";

    const ALL: [(Source, &'static str); 5] = [
        (Source::Xgboost, "xgboost"),
        (Source::Lightgbm, "lightgbm"),
        (Source::Torch, "torch"),
        (Source::Sklearn, "sklearn"),
        (Source::Keras, "keras"),
    ];
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(source, _)| source == self).map(|(_, name)| name);
        f.write_str(name.copied().unwrap_or_default())
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|(_, name)| *name == text);
        known.map(|(source, _)| *source).ok_or_else(|| format!("give one of {}", Self::NAMES))
    }
}

/// What is to be converted, and how it is checked.
#[derive(Debug)]
pub struct Task<'t> {
    pub path: &'t Path,
    /// The library; otherwise the name and the first bytes tell.
    pub source: Option<Source>,
    /// Rows, with the source's answers as [`EXPECTED`] or [`EXPECTED_LABELS`] if there are any.
    pub rows: &'t Path,
    /// Whether a pickle may be run.
    pub allow_pickle: bool,
    pub python: Python,
}

/// A converted and verified model.
#[derive(Debug)]
pub struct Converted {
    pub onnx: Bytes,
    pub source: Source,
    /// Rows that were compared.
    pub rows: usize,
    /// Whose answers they were compared with.
    pub expected_from: String,
    pub compared: Vec<Compared>,
    /// What was changed so that hosts take it.
    pub cures: Vec<String>,
    /// Of weights in a recipe's network whose rows have labels: the rows where the source's highest score is of the label.
    pub labels_met: Option<usize>,
}

/// Which library made a file.
///
/// # Errors
/// [`ConvertError::Unknown`], and [`ConvertError::Refused`] for formats that cannot be converted.
pub fn recognise(path: &Path, bytes: &[u8]) -> Result<Source, ConvertError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    if bytes.starts_with(b"tree\n") || bytes.starts_with(b"tree\r\n") {
        return Ok(Source::Lightgbm);
    }
    if ends(&[".json", ".ubj", ".xgb", ".model"]) || bytes.starts_with(b"binf") {
        return Ok(Source::Xgboost);
    }
    if ends(&[".pt", ".pth", ".pt2", ".safetensors", ".ckpt"]) {
        return Ok(Source::Torch);
    }
    if ends(&[".skops", ".pkl", ".pickle", ".joblib"]) {
        return Ok(Source::Sklearn);
    }
    if ends(&[".keras", ".h5", ".hdf5"]) {
        return Ok(Source::Keras);
    }
    if ends(&[".onnx"]) {
        return Err(refused("this is an ONNX model already", "give it to `hospes pack`"));
    }
    if ends(&[".gguf"]) {
        let fix = "there is no conversion, and Hospes does not serve language models yet";
        return Err(refused("a GGUF file has a language model's weights, and no graph", fix));
    }
    if ends(&[".mlmodel", ".mlpackage", ".tflite", ".pb"]) {
        let fix = "convert the original model (PyTorch, Keras, scikit-learn) instead, or use `tf2onnx` and give its ONNX file to `hospes pack`";
        return Err(refused("this is a format for one platform", fix));
    }
    Err(ConvertError::Unknown { path: path.to_owned() })
}

/// Converts a model, and compares it with its source.
///
/// # Errors
/// [`ConvertError`]. Then there is no model.
pub fn convert(
    task: &Task<'_>,
    execute: &dyn Execute,
    progress: &mut dyn FnMut(&str),
) -> Result<Converted, ConvertError> {
    let bytes = read(task.path)?;
    let source = match task.source {
        Some(source) => source,
        None => recognise(task.path, &bytes)?,
    };
    let rows = rows(task, progress)?;
    let has_answers = has_answers(&rows);
    progress(&format!("converting from {source}"));
    let (onnx, answers): (Bytes, Option<DataSet>) = match source {
        Source::Xgboost | Source::Lightgbm => {
            let onnx = native(source, &bytes)?.into();
            let answers = if has_answers {
                None
            } else {
                progress(&format!("asking {source} for its answers"));
                Some(python::answers(task, source)?)
            };
            (onnx, answers)
        }
        Source::Torch | Source::Sklearn | Source::Keras => {
            python::may_run(task, source, &bytes)?;
            let (onnx, answers) = python::export(task, source, progress)?;
            (onnx, Some(answers))
        }
    };
    compared(task, (source, onnx), &rows, answers.as_ref(), execute, progress)
}

/// The weights of a file that has no graph.
///
/// # Errors
/// [`ConvertError`] if it is no file of PyTorch's or safetensors' weights.
pub fn weights_of(task: &Task<'_>) -> Result<Weights, ConvertError> {
    let bytes = read(task.path)?;
    let source = match task.source {
        Some(source) => source,
        None => recognise(task.path, &bytes)?,
    };
    if source != Source::Torch {
        let fix = "leave out `--recipe`: a model of another library says itself what it computes";
        return Err(refused(
            format!("a recipe's network takes PyTorch's weights, and this is of {source}"),
            fix,
        ));
    }
    Weights::read(&bytes)
}

/// Compares the model that was made of a file's weights with the answers in the rows.
///
/// # Errors
/// [`ConvertError`]. Then it is not the model that has those weights.
pub fn with_weights(
    task: &Task<'_>,
    onnx: Bytes,
    execute: &dyn Execute,
    progress: &mut dyn FnMut(&str),
) -> Result<Converted, ConvertError> {
    let rows = rows(task, progress)?;
    if !has_answers(&rows) {
        let fix = "add the source's own predictions to the `--verify` file: \
                   `np.savez(\"rows.npz\", image=X, expected=module(prepared).detach().numpy())`, for a table `row=X`";
        return Err(refused("there is nothing to compare the converted model with", fix));
    }
    let compared = compared(task, (Source::Torch, onnx), &rows, None, execute, progress);
    let converted = compared.map_err(|error| match error {
        ConvertError::Refused { what, fix } if fix == verify::WRONG => {
            refused(what, verify::WRONG_WEIGHTS)
        }
        error => error,
    })?;
    let labels_met = verify::labels_met(&Told::of_bytes(&converted.onnx).classes, &rows);
    Ok(Converted { labels_met, ..converted })
}

fn rows(task: &Task<'_>, progress: &mut dyn FnMut(&str)) -> Result<DataSet, ConvertError> {
    progress("reading the rows");
    hospes_data::read(task.rows, &Options::default())
        .map_err(|error| ConvertError::Rows(Box::new(error)))
}

fn has_answers(rows: &DataSet) -> bool {
    [EXPECTED, EXPECTED_LABELS].iter().any(|name| rows.column(name).is_some())
}

/// Compares a model with its source's answers: those in the rows, and those of the library.
fn compared(
    task: &Task<'_>,
    (source, onnx): (Source, Bytes),
    rows: &DataSet,
    answers: Option<&DataSet>,
    execute: &dyn Execute,
    progress: &mut dyn FnMut(&str),
) -> Result<Converted, ConvertError> {
    let has_answers = has_answers(rows);
    let (onnx, cures) = cured(&onnx)?;
    let model = Model::read(onnx.clone()).map_err(written)?;
    let interface = hospes_onnx::fit(&model).map_err(|refusal| {
        refused(format!("a host would refuse the model: {refusal}"), "change that in the source")
    })?;
    progress("comparing with the source");
    // Both count, if both are there: the given answers and the library's.
    let given = has_answers.then_some(rows);
    let expected: Vec<&DataSet> = given.into_iter().chain(answers).collect();
    let compared = verify::verify(&onnx, &interface, rows, &expected, execute)?;
    let file = format!("`{}`", task.rows.display());
    let expected_from = match (has_answers, answers) {
        (true, Some(_)) => format!("{file} and {source} itself"),
        (false, Some(_)) => format!("{source} itself"),
        (_, None) => file,
    };
    Ok(Converted {
        onnx,
        source,
        rows: rows.rows(),
        expected_from,
        compared,
        cures,
        labels_met: None,
    })
}

/// The model of a file that is data only.
///
/// # Errors
/// [`ConvertError`] if it is damaged, or has what ONNX has not.
pub fn native(source: Source, bytes: &[u8]) -> Result<Vec<u8>, ConvertError> {
    match source {
        Source::Xgboost => {
            xgboost::refuse_old(bytes)?;
            xgboost::read(bytes, Budget::default())?.onnx()
        }
        Source::Lightgbm => lightgbm::read(bytes, Budget::default())?.onnx(),
        Source::Torch | Source::Sklearn | Source::Keras => {
            let fix = format!("its own library exports it: use `hospes convert --from {source}`");
            Err(refused(format!("a model of {source} is not only data"), fix))
        }
    }
}

fn written(refusal: hospes_onnx::ModelRefused) -> ConvertError {
    ConvertError::Written(Box::new(refusal))
}

/// The model with what hosts would refuse repaired, such as scikit-learn's list of maps.
fn cured(onnx: &Bytes) -> Result<(Bytes, Vec<String>), ConvertError> {
    let mut model = Model::read(onnx.clone()).map_err(written)?;
    let cures = hospes_onnx::cure(&mut model, &|_| Ok(None)).map_err(|error| {
        refused(format!("a host would refuse the model: {error}"), "change that in the source")
    })?;
    let bytes =
        if cures.is_empty() { onnx.clone() } else { model.write().map_err(written)?.into() };
    Ok((bytes, cures))
}

fn read(path: &Path) -> Result<Vec<u8>, ConvertError> {
    let failed = |source| ConvertError::File { path: path.to_owned(), source };
    let data = std::fs::metadata(path).map_err(failed)?;
    if data.is_dir() {
        let fix = "give the file in it: `.keras`, `.pt`, `.skops`, `.json` or `.txt`";
        return Err(refused(format!("`{}` is a folder", path.display()), fix));
    }
    if data.len() > SOURCE_BYTES_MAX {
        let path = path.to_owned();
        return Err(ConvertError::Large { path, bytes: data.len(), max: SOURCE_BYTES_MAX });
    }
    std::fs::read(path).map_err(failed)
}
