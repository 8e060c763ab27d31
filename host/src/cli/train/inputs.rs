//! What goes into a training besides its settings: recipe, data, code. Read before it begins and again when it has ended, since what is recorded
//! must be what ran.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::bundle;
use crate::bundle::provenance::{Artifact, Base, Code, Content, DataSet};
use crate::training::report::{Made, Read, Taught};
use crate::training::{Recipe, Trainer, dataset};
use hospes_cli::failure::{During as _, Failure};
use hospes_cli::screen::Screen;

/// All inputs of a training, as they were before it began.
pub(super) struct Inputs {
    recipe: Input,
    others: Vec<Input>,
}

/// A file or a folder that a training reads.
struct Input {
    what: What,
    /// Its path as the recipe says it, and where that is.
    said: String,
    path: PathBuf,
    content: Content,
}

/// What an input is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Recipe,
    Data {
        name: String,
        licence: Option<String>,
    },
    /// A model whose answers to the rows are learnt from.
    Teacher,
    Code,
    Lock,
}

impl Inputs {
    /// The recipe that was read, and nothing else yet.
    pub(super) fn of_recipe(path: &Path, text: &str) -> Self {
        let Artifact { name, sha256, bytes } = Artifact::of_bytes(name(path), text.as_bytes());
        let content = Content::File { sha256, bytes };
        let recipe = Input { what: What::Recipe, said: name, path: path.to_owned(), content };
        Self { recipe, others: Vec::new() }
    }

    /// Reads and adds each data set, and compares it with the recipe.
    pub(super) fn add_data(
        &mut self,
        recipe: &Recipe,
        beside: &Path,
        screen: Screen,
    ) -> Result<(), Failure> {
        let progress = screen.spinner("reading the data");
        for (name, set) in &recipe.data {
            progress.step(&format!("reading data set `{name}`"));
            self.others.push(Input {
                what: What::Data { name: name.clone(), licence: set.licence.clone() },
                said: set.path.display().to_string(),
                path: beside.join(&set.path),
                content: dataset::read(name, set, beside)?.into(),
            });
        }
        Ok(())
    }

    /// Reads and adds the teacher, if the recipe has one.
    pub(super) fn add_teacher(&mut self, recipe: &Recipe, beside: &Path) -> Result<(), Failure> {
        let Trainer::Native(native) = recipe.trainer() else { return Ok(()) };
        let Some(teacher) = &native.teacher else { return Ok(()) };
        let (said, path) = (teacher.model.display().to_string(), beside.join(&teacher.model));
        let content = Content::of(&path)
            .during(|| format!("the teacher `{said}`, which the recipe names, cannot be read"))?;
        self.others.push(Input { what: What::Teacher, said, path, content });
        Ok(())
    }

    /// Reads and adds what a script consists of: its program, and what `argv`, `files` and `lock` name beside the recipe. Not an environment:
    /// its lock file says what is in it.
    pub(super) fn add_code(
        &mut self,
        recipe: &Recipe,
        beside: &Path,
        program: &Path,
    ) -> Result<(), Failure> {
        let Trainer::Command(command) = recipe.trainer() else { return Ok(()) };
        let Some((first, arguments)) = command.argv.split_first() else { return Ok(()) };
        let arguments = arguments.iter().filter(|argument| !argument.starts_with('-'));
        let files = command.files.iter().map(|file| file.display().to_string());
        let mut named = vec![(first.clone(), program.to_owned())];
        for said in arguments.cloned().chain(files) {
            let path = beside.join(&said);
            let is_code = path.is_file() || path.is_dir();
            if is_code && !is_environment(&path) && named.iter().all(|(_, other)| *other != path) {
                named.push((said, path));
            }
        }
        let mut inputs: Vec<(What, String, PathBuf)> =
            named.into_iter().map(|(said, path)| (What::Code, said, path)).collect();
        if let Some(lock) = &command.lock {
            inputs.push((What::Lock, lock.display().to_string(), beside.join(lock)));
        }
        for (what, said, path) in inputs {
            let content = Content::of(&path)
                .during(|| format!("`{said}`, which the recipe names, cannot be recorded"))?;
            self.others.push(Input { what, said, path, content });
        }
        Ok(())
    }

    /// Checks that the results, which the training changes, do not lie in a folder that it reads.
    ///
    /// # Errors
    /// Names the folder.
    pub(super) fn lie_apart(&self, out: &Path) -> Result<(), Failure> {
        let places: Vec<PathBuf> =
            out.ancestors().filter_map(|folder| std::fs::canonicalize(folder).ok()).collect();
        let holds_out = |input: &&Input| {
            std::fs::canonicalize(&input.path).is_ok_and(|path| places.contains(&path))
        };
        let Some(input) = self.others.iter().find(holds_out) else { return Ok(()) };
        let out = out.display();
        let message = format!("the results would lie at `{out}`, inside {}", input.in_words());
        Err(Failure::new(message).fix("name another folder for them with `--out`"))
    }

    /// Reads all of it again.
    ///
    /// # Errors
    /// Names the first that is not as it was.
    pub(super) fn check(&self, screen: Screen) -> Result<(), Failure> {
        let _progress = screen.spinner("comparing the inputs with those before the training");
        for input in std::iter::once(&self.recipe).chain(&self.others) {
            let now = Content::of(&input.path)
                .during(|| format!("{} is not there any more", input.in_words()))?;
            if now != input.content {
                let (before, now) = (input.content.digest(), now.digest());
                let message = format!(
                    "the model is not kept: {} changed during the training: it was {before}, it is {now}",
                    input.in_words()
                );
                return Err(
                    Failure::new(message).fix("train again, and change nothing until it has ended")
                );
            }
        }
        Ok(())
    }

    /// The recipe's file.
    pub(super) fn recipe(&self) -> Artifact {
        self.recipe.artifact()
    }

    /// The file that fixes the versions of what the code uses.
    pub(super) fn lock(&self) -> Option<Artifact> {
        self.others.iter().find(|input| input.what == What::Lock).map(Input::artifact)
    }

    /// The teacher, for the report.
    pub(super) fn teacher(&self) -> Option<Taught> {
        let teacher = self.others.iter().find(|input| input.what == What::Teacher)?;
        let (sha256, bytes) = (teacher.content.digest(), teacher.content.bytes());
        Some(Taught { path: teacher.said.clone(), model: Made { sha256, bytes } })
    }

    /// The data sets, for the report.
    pub(super) fn data_read(&self) -> BTreeMap<String, Read> {
        let read = |input: &Input| {
            let What::Data { name, licence } = &input.what else { return None };
            let content = &input.content;
            let read = Read {
                path: input.said.clone(),
                sha256: content.digest(),
                bytes: content.bytes(),
                files: content.files(),
                licence: licence.clone(),
            };
            Some((name.clone(), read))
        };
        self.others.iter().filter_map(read).collect()
    }

    /// The teacher, for the proof. A bundle bears its own name.
    pub(super) fn base(&self) -> Option<Base> {
        let teacher = self.others.iter().find(|input| input.what == What::Teacher)?;
        let is_bundle = teacher.path.extension().is_some_and(|end| end == "wasm");
        let inspected = is_bundle.then(|| bundle::inspect(&teacher.path).ok()).flatten();
        let name = match inspected.as_ref().map(bundle::Inspection::manifest) {
            Some(manifest) => format!("{}@{}", manifest.name, manifest.version),
            None => teacher.said.clone(),
        };
        Some(Base { name, sha256: teacher.content.digest() })
    }

    /// The data sets, for the proof.
    pub(super) fn data(&self) -> Vec<DataSet> {
        let set = |input: &Input| {
            let What::Data { name, licence } = input.what.clone() else { return None };
            let (path, content) = (Some(input.said.clone()), input.content.clone());
            Some(DataSet { name, path, content, licence })
        };
        self.others.iter().filter_map(set).collect()
    }

    pub(super) fn code(&self) -> Vec<Code> {
        let code = self.others.iter().filter(|input| input.what == What::Code);
        code.map(|input| Code::Files { path: input.said.clone(), content: input.content.clone() })
            .collect()
    }
}

impl Input {
    fn artifact(&self) -> Artifact {
        let (sha256, bytes) = (self.content.digest(), self.content.bytes());
        Artifact { name: name(&self.path), sha256, bytes }
    }

    fn in_words(&self) -> String {
        match &self.what {
            What::Recipe => format!("the recipe `{}`", self.said),
            What::Data { name, .. } => format!("data set `{name}` at `{}`", self.said),
            What::Teacher => format!("the teacher `{}`", self.said),
            What::Code => format!("the code `{}`", self.said),
            What::Lock => format!("the lock file `{}`", self.said),
        }
    }
}

/// Most bytes of `pyvenv.cfg` that are read.
const SETTINGS_BYTES_MAX: u64 = 64 << 10;

/// Whether this is an environment of Python or Conda, with more files than anybody compares. The name of a file does not make a folder of
/// code one: what the file says must be true, and there must be an interpreter.
fn is_environment(path: &Path) -> bool {
    let says_home = || {
        let mut text = String::new();
        let file = File::open(path.join("pyvenv.cfg"));
        let read = file.and_then(|file| file.take(SETTINGS_BYTES_MAX).read_to_string(&mut text));
        let home = text.lines().filter_map(|line| line.split_once('='));
        let mut home = home.filter(|(name, _)| name.trim() == "home");
        read.is_ok() && home.any(|(_, home)| Path::new(home.trim()).is_dir())
    };
    let is_conda = || path.join("conda-meta/history").is_file();
    path.join("bin/python").is_file() && (says_home() || is_conda())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_code_is_no_environment_because_a_file_is_named_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        let write =
            |name: &str, text: &str| std::fs::write(path.join(name), text).expect("written");
        write("pyvenv.cfg", "");
        assert!(!is_environment(path), "an empty file");
        write("pyvenv.cfg", "home = /usr/bin\nversion = 3.11\n");
        assert!(!is_environment(path), "no interpreter");
        std::fs::create_dir(path.join("bin")).expect("made");
        write("bin/python", "");
        assert!(is_environment(path));
        write("pyvenv.cfg", "home = /absent/bin\n");
        assert!(!is_environment(path), "no such home");
        std::fs::create_dir(path.join("conda-meta")).expect("made");
        assert!(!is_environment(path), "an empty folder");
        write("conda-meta/history", "");
        assert!(is_environment(path));
    }
}
