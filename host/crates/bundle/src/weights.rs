//! Checks models before they are packed. A model that every host would reject is repaired or rejected here, where the publisher can fix it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use super::pack::{ModelInput, PackError, Source};
use hospes_core::id::Digest;
use hospes_onnx::{self as onnx, Problem};

/// A model as packed, and its repairs, one line each.
pub(super) struct Ready {
    pub(super) input: ModelInput,
    pub(super) notes: Vec<String>,
}

/// Reads and repairs a model, and checks it like a host does before a backend sees it. The checked bytes are the ones to be packed.
pub(super) fn ready(input: &ModelInput) -> Result<Ready, PackError> {
    let model = || input.name.clone();
    let (bytes, folder) = match &input.source {
        Source::Bytes(bytes) => (bytes.clone(), None),
        Source::File(path) => {
            let read = read(path);
            let read = read.map_err(|source| PackError::Read {
                model: model(),
                path: path.clone(),
                source,
            });
            (read?.into(), path.parent())
        }
    };
    if bytes.is_empty() {
        return Err(PackError::EmptyModel { model: model() });
    }
    // The pinned digest is that of the publisher's file, not of the repaired model.
    let found = Digest::of(&bytes);
    if let Some(pinned) = input.pin.filter(|pinned| *pinned != found) {
        return Err(PackError::Pin { model: model(), pinned, found });
    }
    let refused = |source| PackError::Model { model: model(), source };
    let is_outside = match onnx::check(&bytes) {
        Ok(facts) if !facts.has("ai.onnx.ml", "ZipMap") => {
            let source = Source::Bytes(bytes);
            let input = ModelInput { source, pin: None, ..input.clone() };
            return Ok(Ready { input, notes: Vec::new() });
        }
        Ok(_) => false,
        Err(error) => match (error.problem(), folder) {
            (Problem::External { .. }, Some(_)) => true,
            _ => return Err(refused(error)),
        },
    };
    let folder = folder.filter(|_| is_outside);
    let cured = onnx::cure(&bytes, &|name| beside(folder, name));
    let cured = cured.map_err(|source| PackError::Cure { model: model(), source })?;
    onnx::check(&cured.model).map_err(refused)?;
    let source = Source::Bytes(cured.model.into());
    Ok(Ready { input: ModelInput { source, pin: None, ..input.clone() }, notes: cured.notes })
}

/// A file beside the model.
fn beside(folder: Option<&Path>, name: &str) -> io::Result<Option<Vec<u8>>> {
    let Some(folder) = folder else { return Ok(None) };
    match read(&folder.join(name)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a whole file, but at most one byte more than the maximum, which shows that it is too large.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(onnx::MODEL_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
