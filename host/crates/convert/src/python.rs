//! Models that only their own library can read, exported by it in a Python environment.
//!
//! The environment is made once, with network and before anything foreign is read. The exporter runs confined: it reads the environment, the model
//! and the rows, and writes in one folder. What it writes is foreign, and read as such.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use hospes_confine::{Confined, Confinement, Ended, Limits, ending};
use hospes_core::id::Digest;
use hospes_data::{DataSet, Options};

use super::error::{ConvertError, refused};
use super::{SOURCE_BYTES_MAX, Source, Task, state_dict};

/// The environment's packages, pinned, by source.
const REQUIREMENTS: [(Source, &str); 5] = [
    (Source::Xgboost, "numpy==2.3.5\nxgboost-cpu==3.2.0\n"),
    (Source::Lightgbm, "numpy==2.3.5\nlightgbm==4.7.0\nscikit-learn==1.9.1\n"),
    (
        Source::Sklearn,
        "numpy==2.3.5\nscikit-learn==1.9.1\nskl2onnx==1.20.0\nskops==0.16.0\njoblib==1.6.0\npandas==3.1.1\n",
    ),
    (Source::Torch, "numpy==2.3.5\ntorch==2.15.0\nonnx==1.23.2\nonnxscript==0.7.2\n"),
    (Source::Keras, "numpy==2.3.5\nkeras==3.15.1\ntensorflow==2.21.0\ntf2onnx==1.17.0\n"),
];

const EXPORT: &str = include_str!("../scripts/export.py");

/// Where Python comes from, and how it is confined.
#[derive(Debug, Clone)]
pub struct Python {
    /// An interpreter that has the library; otherwise an environment is made.
    pub interpreter: Option<PathBuf>,
    /// The user's cache, below which environments are made.
    pub cache: PathBuf,
    pub confinement: Confinement,
    /// How long an exporter may take.
    pub deadline: Duration,
}

/// Whether a file may be given to its library.
///
/// # Errors
/// [`ConvertError::Refused`] for a pickle without permission, and for weights without a graph.
pub(crate) fn may_run(task: &Task<'_>, source: Source, bytes: &[u8]) -> Result<(), ConvertError> {
    let name = task.path.to_string_lossy().to_lowercase();
    if source == Source::Torch && !name.ends_with(".pt2") {
        match state_dict::weights(bytes) {
            Ok(Some(weights)) => return Err(state_dict::no_graph(&weights)),
            Ok(None) => {}
            // A module's pickle has operations that no state dict has.
            Err(ConvertError::Broken { place, .. }) if place.ends_with("data.pkl`") => {}
            Err(error) => return Err(error),
        }
    }
    // skops names what it would load, and loads nothing else; Keras 3 and `torch.export` have data, a graph and no code.
    let is_data = [".skops", ".keras", ".pt2"].iter().any(|end| name.ends_with(end));
    if is_data || task.allow_pickle {
        return Ok(());
    }
    Err(refused(
        format!(
            "`{}` is a pickle, which is a program: whoever loads it runs it",
            task.path.display()
        ),
        "if you know who made it, pass `--allow-pickle` (it runs without network and reaches its own folder only); \
         better save it with `skops.io.dump`",
    ))
}

/// The model that the library exports, and its answers to the rows.
///
/// # Errors
/// [`ConvertError::Refused`] with what the library said.
pub(crate) fn export(
    task: &Task<'_>,
    source: Source,
    progress: &mut dyn FnMut(&str),
) -> Result<(Bytes, DataSet), ConvertError> {
    let interpreter = interpreter(task, source, progress)?;
    progress(&format!("exporting with {source}'s own library, confined"));
    let folder = run(task, source, &interpreter)?;
    let path = folder.0.join("model.onnx");
    let length = std::fs::metadata(&path)
        .map_err(|source| ConvertError::File { path: path.clone(), source })?
        .len();
    if length > SOURCE_BYTES_MAX {
        return Err(ConvertError::Large { path, bytes: length, max: SOURCE_BYTES_MAX });
    }
    let onnx = std::fs::read(&path);
    let onnx = onnx.map_err(|source| ConvertError::File { path, source })?;
    Ok((onnx.into(), read_answers(&folder.0)?))
}

/// The library's own answers to the rows.
///
/// # Errors
/// As of [`export`].
pub(crate) fn answers(task: &Task<'_>, source: Source) -> Result<DataSet, ConvertError> {
    if task.python.interpreter.is_none() {
        let fix = format!(
            "add the source's own predictions to the `--verify` file (`np.savez(\"rows.npz\", X=X, expected=model.predict_proba(X))`), \
             or name a Python that has {source} with `--python`"
        );
        return Err(refused("there is nothing to compare the converted model with", fix));
    }
    let interpreter = interpreter(task, source, &mut |_| ())?;
    let folder = run(task, source, &interpreter)?;
    read_answers(&folder.0)
}

fn read_answers(folder: &Path) -> Result<DataSet, ConvertError> {
    hospes_data::read(&folder.join("answers.npz"), &Options::default())
        .map_err(|error| ConvertError::Rows(Box::new(error)))
}

/// A folder that is removed when this is dropped.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Folder {
    fn new(parent: &Path) -> Result<Self, ConvertError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ConvertError::File { path, source }
        };
        std::fs::create_dir_all(parent).map_err(failed(parent))?;
        for number in 0_u32..1000 {
            let path = parent.join(format!("run-{}-{number}", std::process::id()));
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(&path)(error)),
            }
        }
        Err(refused(format!("`{}` is full of old runs", parent.display()), "empty it"))
    }
}

fn requirements(source: Source) -> &'static str {
    let found = REQUIREMENTS.iter().find(|(of, _)| *of == source);
    found.map(|(_, text)| *text).unwrap_or_default()
}

/// The interpreter that the user named, or that of an environment with the pinned packages.
fn interpreter(
    task: &Task<'_>,
    source: Source,
    progress: &mut dyn FnMut(&str),
) -> Result<PathBuf, ConvertError> {
    if let Some(given) = &task.python.interpreter {
        return std::path::absolute(given)
            .map_err(|source| ConvertError::File { path: given.clone(), source });
    }
    let text = requirements(source);
    let name = format!("python-{}", &Digest::of(text.as_bytes()).hex()[..16]);
    let environment = task.python.cache.join(name);
    let interpreter = environment.join("bin/python");
    let complete = environment.join("complete");
    if complete.exists() {
        return Ok(interpreter);
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ConvertError::File { path, source }
    };
    std::fs::create_dir_all(&environment).map_err(failed(&environment))?;
    let list = environment.join("requirements.txt");
    std::fs::write(&list, text).map_err(failed(&list))?;
    progress(&format!("making a Python environment in {}", environment.display()));
    let venv =
        ["-m", "venv", "--clear"].map(Into::into).into_iter().chain([environment.clone().into()]);
    step(Path::new("python3"), &venv.collect::<Vec<_>>())?;
    std::fs::write(&list, text).map_err(failed(&list))?;
    progress(&format!("installing {}", text.trim_end().replace('\n', ", ")));
    let install = ["-m", "pip", "install", "--quiet", "--no-input", "--only-binary=:all:", "-r"];
    let install = install.map(Into::into).into_iter().chain([list.into()]);
    step(&interpreter, &install.collect::<Vec<_>>())?;
    std::fs::write(&complete, "").map_err(failed(&complete))?;
    Ok(interpreter)
}

/// A step of making the environment. It runs as the user does: nothing foreign is in it but the packages.
fn step(program: &Path, arguments: &[std::ffi::OsString]) -> Result<(), ConvertError> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let fix = "install Python 3.11 or newer with `venv`, check the network, or name a Python that has the library with `--python`";
    let output = output
        .map_err(|error| refused(format!("`{}` cannot be run: {error}", program.display()), fix))?;
    if output.status.success() {
        return Ok(());
    }
    let said = last_lines(&output.stderr);
    Err(refused(format!("the Python environment cannot be made: {said}"), fix))
}

/// Lines of an error that people are shown.
const LINES_MAX: usize = 6;

/// Bytes of output that are kept.
const SAID_BYTES_MAX: usize = 64 << 10;

fn last_lines(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(LINES_MAX);
    let shown: String = lines[from..].join(" | ");
    shown.chars().filter(|letter| !letter.is_control()).take(2000).collect()
}

/// Runs the exporter, and returns the folder in which it wrote.
fn run(task: &Task<'_>, source: Source, interpreter: &Path) -> Result<Folder, ConvertError> {
    let absolute = |path: &Path| {
        std::fs::canonicalize(path)
            .map_err(|source| ConvertError::File { path: path.to_owned(), source })
    };
    let folder = Folder::new(&task.python.cache)?;
    let own = absolute(&folder.0)?;
    let (model, rows) = (absolute(task.path)?, absolute(task.rows)?);
    let program = Confined::new(interpreter, &own)
        .reading_system()
        .reading_python(interpreter)
        .reading(&model)
        .reading(&rows)
        .argument("-I")
        .argument("-c")
        .argument(EXPORT)
        .argument(source.to_string())
        .argument(model)
        .argument(rows)
        .argument(if task.allow_pickle { "pickle" } else { "no-pickle" })
        .variable("PYTHONDONTWRITEBYTECODE", "1")
        .variable("TF_CPP_MIN_LOG_LEVEL", "2")
        .variable("OMP_NUM_THREADS", "2")
        .within(Limits { cpu_max: task.python.deadline, ..Limits::default() })
        .at_most(task.python.deadline)
        .confined(task.python.confinement);
    let mut said = Vec::new();
    let ended = program.run(|_, piece| {
        said.extend_from_slice(piece);
        if said.len() > 2 * SAID_BYTES_MAX {
            said.drain(..said.len() - SAID_BYTES_MAX);
        }
        ControlFlow::Continue(())
    });
    match ended.map_err(Box::new)? {
        Ended::With(status) if status.success() => Ok(folder),
        Ended::With(status) => {
            let said = last_lines(&said);
            let what = format!("{source}'s own library ended with {}: {said}", ending(&status));
            Err(refused(what, advice(&said, source)))
        }
        Ended::AtDeadline | Ended::Stopped => {
            let seconds = task.python.deadline.as_secs();
            let fix = "give fewer rows, or export the model yourself and give the ONNX file to `hospes pack`";
            Err(refused(format!("{source}'s own library took more than {seconds} s"), fix))
        }
    }
}

/// What to do about what the exporter said.
fn advice(said: &str, source: Source) -> String {
    if let Some((_, fix)) = said.rsplit_once("fix: ") {
        return fix.to_owned();
    }
    if said.contains("ModuleNotFoundError") || said.contains("ImportError") {
        return "install the missing package in the Python that `--python` names".into();
    }
    if said.contains("MissingShapeCalculator") || said.contains("MissingConverter") {
        return "replace that step by one that skl2onnx converts, or register a converter for it in your own script (`skl2onnx.update_registered_converter`)".into();
    }
    if said.contains("MemoryError") {
        return "give fewer rows, or run it on a machine with more memory".into();
    }
    format!(
        "check that the file is a model of {source} and was saved with the versions that are installed; otherwise name a Python that has them with `--python`"
    )
}
