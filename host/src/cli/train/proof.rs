//! The provenance of a training: what went in and what came out by digest, signed by who ran it.

use std::path::Path;

use crate::bundle::provenance::{Artifact, Base, Content, Trainer as Named, Training};
use crate::id::Digest;
use crate::key::PartyKey;
use crate::training::report::Embedded;
use crate::training::{Job, Recipe, Trainer};
use hospes_cli::Context;
use hospes_cli::failure::{During as _, Failure};
use jiff::Timestamp;

use super::inputs::Inputs;
use super::{EVENTS, MODEL, REPORT, write};

/// The file.
pub(super) const PROVENANCE: &str = "provenance.dsse";

/// Who will sign; nobody if there is no key. Training needs none: only where there is one, or one was asked for, the result is signed.
///
/// # Errors
/// If there are several keys and none was chosen, or if the key cannot be read.
pub(super) fn key(context: &Context) -> Result<Option<PartyKey>, Failure> {
    let has_keys = context.home.keys().is_ok_and(|keys| !keys.is_empty());
    if context.identity.is_none() && !has_keys {
        return Ok(None);
    }
    context.home.identity(context.identity.as_ref())?.key().map(Some)
}

/// What a provenance says of how the model was made.
pub(super) struct Made<'m> {
    pub recipe: &'m Recipe,
    pub job: &'m Job,
    pub inputs: &'m Inputs,
    /// What made vectors of texts.
    pub embeddings: Option<&'m Embedded>,
    pub ran: Ran,
}

/// What a training leaves, as it was written.
pub(super) struct Files {
    pub model: Artifact,
    pub report: Artifact,
    pub events: Artifact,
}

/// How a trainer ran.
#[derive(Clone, Copy)]
pub(super) struct Ran {
    /// The digest of Hospes' own trainer. A script's program is among its code.
    pub program: Option<Digest>,
    pub is_confined: bool,
    pub started: Timestamp,
}

/// The digest of Hospes' own trainer, if it trains.
///
/// # Errors
/// If it cannot be read.
pub(super) fn native(recipe: &Recipe, program: &Path) -> Result<Option<Digest>, Failure> {
    match recipe.trainer() {
        Trainer::Native(_) => Ok(Some(Content::of(program)?.digest())),
        Trainer::Command(_) => Ok(None),
    }
}

impl Made<'_> {
    /// Whether this can be proven, before anything is trained: a limit of the proof must not be found when the work is done.
    ///
    /// # Errors
    /// If a limit of the proof is exceeded.
    pub(super) fn check(&self, key: &PartyKey) -> Result<(), Failure> {
        let empty = |name| Artifact::of_bytes(name, b"");
        let files = Files { model: empty(MODEL), report: empty(REPORT), events: empty(EVENTS) };
        let training = self.training(files, self.ran.started);
        training.sign(key).map(drop).during(|| "this training could not be proven".into())
    }

    /// Writes the provenance of these files beside them.
    ///
    /// # Errors
    /// If the document cannot be written.
    pub(super) fn write(
        &self,
        out: &Path,
        files: Files,
        key: &PartyKey,
        finished: Timestamp,
    ) -> Result<(), Failure> {
        let training = self.training(files, finished);
        write(&out.join(PROVENANCE), &training.sign(key)?.to_bytes())
    }

    fn training(&self, files: Files, finished: Timestamp) -> Training {
        let Files { model, report, events } = files;
        let Self { recipe, job, inputs, embeddings, ran } = self;
        let hyperparameters = job.hyperparameters.iter();
        let (trainer, seed) = match recipe.trainer() {
            Trainer::Native(native) => ("hospes-train", Some(native.seed)),
            Trainer::Command(command) => {
                let seed = command.hyperparameters.get("seed").and_then(|seed| seed.as_integer());
                // The script has no version that Hospes knows. Its digest is among the code.
                ("hospes", seed.and_then(|seed| u64::try_from(seed).ok()))
            }
        };
        let mut environment = vec![
            ("threads", job.threads.into()),
            ("gpus", job.gpus.into()),
            ("confined", ran.is_confined.into()),
        ];
        if let Some(program) = ran.program {
            environment.push(("program", program.to_string().into()));
        }
        // A recipe has one of the two at most.
        let base = embeddings.map_or_else(
            || inputs.base(),
            |Embedded { model, version, sha256 }| {
                Some(Base { name: format!("{model}@{version}"), sha256: *sha256 })
            },
        );
        Training {
            model,
            report: Some(report),
            events: Some(events),
            recipe: inputs.recipe(),
            seed,
            parameters: hyperparameters
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            environment: environment
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            data: inputs.data(),
            code: inputs.code(),
            lock: inputs.lock(),
            base,
            trainer: Named { name: trainer.into(), version: env!("CARGO_PKG_VERSION").into() },
            started: ran.started,
            finished,
        }
    }
}
