//! The provenance of a training: what went in and what came out by digest, signed by who ran it.

use std::collections::BTreeMap;
use std::path::Path;

use crate::bundle::provenance::{
    Artifact, Code, Content, DataSet, ProvenanceError, Trainer as Ran, Training,
};
use crate::training::report::Read;
use crate::training::{Job, Recipe, Trainer};
use hospes_cli::Context;
use hospes_cli::failure::Failure;
use jiff::Timestamp;

/// The file.
pub(super) const PROVENANCE: &str = "provenance.dsse";

/// What a provenance says.
pub(super) struct Made<'m> {
    pub recipe: &'m Recipe,
    pub data: &'m BTreeMap<String, Read>,
    /// The recipe's file, and its folder.
    pub file: &'m Path,
    pub beside: &'m Path,
    pub job: &'m Job,
    pub out: &'m Path,
    pub confined: bool,
    pub started: Timestamp,
}

/// Writes the provenance beside the model. Returns who signed; nobody if there is no key.
///
/// # Errors
/// If a file cannot be read any more, or the document cannot be written.
pub(super) fn write(context: &Context, made: &Made<'_>) -> Result<Option<String>, Failure> {
    let named = context.identity.is_some();
    // Training needs no key: only where there is one, or one was asked for, the result is signed.
    let key = match context
        .home
        .identity(context.identity.as_ref())
        .and_then(|identity| identity.key())
    {
        Ok(key) => key,
        Err(error) if named => return Err(error),
        Err(_) => return Ok(None),
    };
    let training = training(made, context.clock.now())?;
    for set in &training.data {
        let (before, now) = (made.data[&set.name].sha256, set.content.digest());
        if before != now {
            let message = format!(
                "data set `{}` was changed while it was trained on: it was {before}, it is {now}",
                set.name
            );
            return Err(Failure::new(message).fix("train again with `--force`"));
        }
    }
    let envelope = training.sign(&key)?;
    super::write(&made.out.join(PROVENANCE), &envelope.to_bytes())?;
    Ok(Some(key.party().to_string()))
}

fn training(made: &Made<'_>, finished: Timestamp) -> Result<Training, ProvenanceError> {
    let Made { recipe, data, file, beside, job, out, confined, started } = made;
    let here = |name: &str| Artifact::of_file(&out.join(name));
    let sets = recipe.data.iter().map(|(name, set)| {
        let (there, read) = (beside.join(&set.path), &data[name]);
        let content = match there.exists() {
            true => Content::of(&there)?,
            // What several files' names begin with.
            false => Content::File { sha256: read.sha256, bytes: read.bytes },
        };
        let path = Some(set.path.display().to_string());
        Ok(DataSet { name: name.clone(), path, content, licence: set.licence.clone() })
    });
    let parameters = job.hyperparameters.iter().map(|(name, value)| (name.clone(), value.clone()));
    let (trainer, seed) = match recipe.trainer() {
        Trainer::Native(native) => ("hospes-train".to_owned(), Some(native.seed)),
        Trainer::Command(command) => {
            let seed = command.hyperparameters.get("seed").and_then(|seed| seed.as_integer());
            (command.argv.join(" "), seed.and_then(|seed| u64::try_from(seed).ok()))
        }
    };
    let environment = [
        ("threads", job.threads.into()),
        ("gpus", job.gpus.into()),
        ("confined", (*confined).into()),
    ];
    Ok(Training {
        model: here(super::MODEL)?,
        report: Some(here(super::REPORT)?),
        events: Some(here(super::EVENTS)?),
        recipe: Artifact::of_file(file)?,
        seed,
        parameters: parameters.collect(),
        environment: environment.map(|(name, value)| (name.to_owned(), value)).into(),
        data: sets.collect::<Result<_, ProvenanceError>>()?,
        code: code(recipe, beside)?,
        lock: lock(recipe, beside)?,
        base: None,
        trainer: Ran { name: trainer, version: env!("CARGO_PKG_VERSION").into() },
        started: *started,
        finished,
    })
}

/// The files that a script consists of: what `argv` and `files` name beside the recipe. Not an environment: its lock file says what is in it.
fn code(recipe: &Recipe, beside: &Path) -> Result<Vec<Code>, ProvenanceError> {
    let Trainer::Command(command) = recipe.trainer() else { return Ok(Vec::new()) };
    let arguments = command.argv.iter().skip(1).map(|argument| argument.as_ref());
    let files = command.files.iter().map(|file| file.as_path());
    let there = arguments.chain(files).filter(|path: &&Path| {
        let path = beside.join(path);
        path.exists() && !path.join("pyvenv.cfg").exists()
    });
    let code = there.map(|path| {
        let content = Content::of(&beside.join(path))?;
        Ok(Code::Files { path: path.display().to_string(), content })
    });
    code.collect()
}

fn lock(recipe: &Recipe, beside: &Path) -> Result<Option<Artifact>, ProvenanceError> {
    let Trainer::Command(command) = recipe.trainer() else { return Ok(None) };
    command.lock.as_ref().map(|lock| Artifact::of_file(&beside.join(lock))).transpose()
}
