//! What is evaluated: a file, the model of a bundle, or a published function.

use std::path::Path;

use bytes::Bytes;

use crate::backend::BackendKind;
use crate::bundle;
use crate::evaluate::{EvaluateError, Evaluator, Loaded, Subject};
use crate::id::{Digest, ModelName};
use crate::onnx::Told;
use hospes_cli::failure::{During as _, Failure};

/// A model to evaluate.
pub(in crate::cli) enum Model {
    File { name: String, bytes: Bytes, notes: Vec<String> },
    Published { name: ModelName, reference: Option<String> },
}

impl Model {
    /// Reads a file or a bundle; otherwise the text names a published model.
    pub(in crate::cli) fn read(text: &str) -> Result<Self, Failure> {
        let path = Path::new(text);
        if path.is_file() {
            let is_bundle = path.extension().is_some_and(|end| end == "wasm");
            return if is_bundle { of_bundle(path) } else { of_file(path) };
        }
        let (model, reference) = match text.split_once('@') {
            Some((model, reference)) => (model, Some(reference.to_owned())),
            None => (text, None),
        };
        let is_path =
            text.ends_with(".onnx") || text.ends_with(".wasm") || text.starts_with(['.', '/']);
        match model.parse() {
            Ok(name) if !is_path => Ok(Self::Published { name, reference }),
            _ => Err(Failure::new(format!("`{text}` is neither a file nor a published model"))
                .fix("give an ONNX file, a bundle, or `publisher/model` on the host")),
        }
    }

    pub(in crate::cli) fn subject(&self) -> Subject {
        match self {
            Self::File { name, bytes, .. } => Subject {
                name: name.clone(),
                sha256: Some(Digest::of(bytes)),
                bytes: Some(bytes.len() as u64),
            },
            Self::Published { name, reference } => {
                let at = reference.as_ref().map(|reference| format!("@{reference}"));
                let name = format!("{name}{}", at.unwrap_or_default());
                Subject { name, sha256: None, bytes: None }
            }
        }
    }

    /// The columns that were texts in training, whatever these rows look like. A published function does not say.
    pub(in crate::cli) fn text_columns(&self) -> Vec<String> {
        match self {
            Self::File { bytes, .. } => Told::of_bytes(bytes).text_columns(),
            Self::Published { .. } => Vec::new(),
        }
    }

    /// What was changed when the model was read, as `hospes pack` would change it.
    pub(in crate::cli) fn notes(&self) -> &[String] {
        match self {
            Self::File { notes, .. } => notes,
            Self::Published { .. } => &[],
        }
    }
}

/// Loads a model on the first of these backends that takes it. If none does, the failure has a cause for each.
pub(in crate::cli) async fn load_on_first(
    evaluator: &Evaluator,
    (what, bytes): (&str, &Bytes),
    backends: &[BackendKind],
) -> Result<Loaded, Failure> {
    let mut refused = Vec::new();
    for backend in backends {
        match evaluator.load(bytes.clone(), *backend).await {
            Ok(loaded) => return Ok(loaded),
            // It names the backend itself.
            Err(EvaluateError::Load(error)) => refused.push(Failure::from(*error).in_a_line()),
            Err(error) => return Err(error.into()),
        }
    }
    let Some(last) = refused.pop() else { return Err(Failure::new("no backend is usable")) };
    let causes = refused.into_iter().rev();
    let failure = causes.fold(Failure::new(last), |failure, cause| failure.during(cause));
    Err(failure.during(format!("the {what} cannot be loaded")))
}

fn of_file(path: &Path) -> Result<Model, Failure> {
    let (bytes, notes) =
        bundle::prepare(path).during(|| format!("`{}` cannot be evaluated", path.display()))?;
    Ok(Model::File { name: path.display().to_string(), bytes, notes })
}

fn of_bundle(path: &Path) -> Result<Model, Failure> {
    let found =
        bundle::only_model(path).during(|| format!("`{}` cannot be evaluated", path.display()))?;
    let bytes = found.ok_or_else(|| {
        let text = format!(
            "`{}` has a component of its own, which may answer otherwise than its models",
            path.display()
        );
        Failure::new(text).fix(
            "publish it (`hospes dev` does so on a temporary host), and evaluate `publisher/model`",
        )
    })?;
    Ok(Model::File { name: path.display().to_string(), bytes, notes: Vec::new() })
}
