//! Who trains: Hospes' own program, or one of the user's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::confine::{Confined, Confinement, Limits};
use crate::files;
use crate::training::recipe::Command;
use crate::training::{Job, Recipe, Trainer};
use hospes_cli::failure::Failure;

/// The program of Hospes that trains. It lies beside this one.
const NATIVE: &str = "hospes-train";

/// How long a training may take: it ends earlier when somebody stops it.
const DEADLINE: Duration = Duration::from_hours(24 * 30);

/// A trainer that is ready to run.
pub(in crate::cli) struct Program {
    pub name: String,
    pub path: PathBuf,
    pub confined: Confined,
    pub is_confined: bool,
}

impl Program {
    /// The trainer of a recipe.
    ///
    /// # Errors
    /// If it is not there.
    pub(in crate::cli) fn of(
        recipe: &Recipe,
        beside: &Path,
        job: &Job,
        unconfined: bool,
    ) -> Result<Self, Failure> {
        // A GPU's driver needs devices and files of the whole system.
        let is_confined = !unconfined && job.gpus == 0;
        let limits = Limits {
            memory_bytes_max: u64::MAX,
            cpu_max: DEADLINE,
            processes_max: 4096,
            files_max: 4096,
            file_bytes_max: u64::MAX,
            ..Limits::default()
        };
        let (name, path, mut confined) = match recipe.trainer() {
            Trainer::Native(_) => native(job)?,
            Trainer::Command(command) => foreign(command, beside, job)?,
        };
        for channel in job.channels.values() {
            for file in files::meant(channel) {
                confined = confined.reading(file);
            }
        }
        let confinement = if is_confined { Confinement::Full } else { Confinement::None };
        let confined = confined.within(limits).at_most(DEADLINE).confined(confinement);
        Ok(Self { name, path, confined, is_confined })
    }
}

fn native(job: &Job) -> Result<(String, PathBuf, Confined), Failure> {
    let here = std::env::current_exe()
        .map_err(|error| Failure::file("find", Path::new("hospes"), &error))?;
    let path = here.with_file_name(NATIVE);
    if !path.is_file() {
        let message =
            format!("`{NATIVE}`, which trains `[native]` recipes, is not at `{}`", path.display());
        let fix = "put it beside `hospes`; from the source: `make trainer`";
        return Err(Failure::new(message).fix(fix));
    }
    let confined = Confined::new(&path, &job.folder).reading_system().reading(&path);
    Ok((format!("{NATIVE} {}", env!("CARGO_PKG_VERSION")), path, confined))
}

/// A program of the user's. What lies beside the recipe and is named in `argv` or `files` can be read.
fn foreign(
    command: &Command,
    beside: &Path,
    job: &Job,
) -> Result<(String, PathBuf, Confined), Failure> {
    let Some((program, arguments)) = command.argv.split_first() else {
        return Err(Failure::new("`argv` is empty"));
    };
    let path = find(program, beside)?;
    let mut confined = Confined::new(&path, &job.folder).reading_system();
    if !path.starts_with("/usr") && !path.starts_with("/bin") {
        confined = confined.reading(&path).reading_python(&path);
    }
    for argument in arguments {
        // The trainer works in a folder of its own, so files of the recipe are named from the root.
        let there = beside.join(argument);
        let is_option = argument.starts_with('-');
        let is_file = !is_option && there.exists();
        let is_script = Path::new(argument).extension().is_some_and(|end| end == "py");
        if is_script && !is_option && !is_file {
            return Err(absent(&there, "argv"));
        }
        if is_file {
            confined = confined.reading(&there).argument(&there);
        } else {
            confined = confined.argument(argument);
        }
    }
    for file in command.files.iter().chain(&command.lock) {
        let there = beside.join(file);
        if !there.exists() {
            return Err(absent(&there, "files` or `lock"));
        }
        confined = confined.reading(there);
    }
    // A compiler of Python would write into folders that it may only read.
    Ok((
        command.argv.join(" "),
        path,
        confined.variable("PYTHONDONTWRITEBYTECODE", "1").variable("PYTHONUNBUFFERED", "1"),
    ))
}

/// What a setting of the recipe names is not there.
fn absent(path: &Path, setting: &str) -> Failure {
    let message = format!("`{}`, which the recipe names, is not there", path.display());
    Failure::new(message)
        .fix(format!("correct `{setting}`; paths are seen from the recipe's folder"))
}

/// A program beside the recipe if it is a path, otherwise one of the system's.
fn find(program: &str, beside: &Path) -> Result<PathBuf, Failure> {
    let places: Vec<PathBuf> = match program.contains('/') {
        true => vec![beside.join(program)],
        false => ["/usr/bin", "/bin", "/usr/local/bin"]
            .map(|folder| Path::new(folder).join(program))
            .to_vec(),
    };
    let found = places.iter().find(|path| path.is_file());
    found.cloned().ok_or_else(|| {
        Failure::new(format!("the trainer `{program}` is not at `{}`", places[0].display()))
            .fix("write the program's path, or install it; a virtual environment is named as `.venv/bin/python`, with `.venv` among `files`")
    })
}
