//! Checks models before they are packed. A model that every host would reject is repaired or rejected here, where the publisher can fix it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use bytes::Bytes;

use super::manifest::Encoding;
use super::pack::{ModelInput, PackError, Source};
use hospes_core::backend::Device;
use hospes_core::id::Digest;
use hospes_decoder::{Config, Decoder, FILE_BYTES_MAX};
use hospes_onnx::{self as onnx, Interface, Model, Told};

/// A model as packed, its repairs, one line each, and what callers give it and get.
pub(super) struct Ready {
    pub(super) input: ModelInput,
    pub(super) notes: Vec<String>,
    pub(super) interface: Interface,
    pub(super) told: Told,
    pub(super) decoder: Option<Config>,
    /// The digest of the publisher's file, if it was repaired.
    pub(super) repaired: Option<Digest>,
}

/// Reads and repairs a model, checks it like a host does before a backend sees it, and checks that backends can run it. The checked bytes
/// are the ones to be packed; a model without anything to repair stays as it is, byte for byte.
pub(super) fn ready(input: &ModelInput) -> Result<Ready, PackError> {
    let model = || input.name.clone();
    let bytes_max = match input.encoding {
        Encoding::Onnx => onnx::MODEL_BYTES_MAX as u64,
        Encoding::Decoder => FILE_BYTES_MAX,
    };
    let (bytes, folder) = match &input.source {
        Source::Bytes(bytes) => (bytes.clone(), None),
        Source::File(path) => {
            let read = read(path, bytes_max);
            let read = read.map_err(|source| PackError::Read {
                model: model(),
                path: path.clone(),
                source,
            });
            (Bytes::from(read?), path.parent())
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
    match input.encoding {
        Encoding::Onnx => onnx(input, bytes, folder),
        Encoding::Decoder => decoder(input, bytes),
    }
}

/// A decoder is packed as it is: there is nothing to repair.
fn decoder(input: &ModelInput, bytes: Bytes) -> Result<Ready, PackError> {
    let refused = |source| PackError::Decoder { model: input.name.clone(), source };
    let config = Decoder::read(&bytes).map_err(|refusal| refused(Box::new(refusal)))?;
    let config = config.config().clone();
    let input = ModelInput { source: Source::Bytes(bytes), pin: None, ..input.clone() };
    let interface = Interface { inputs: Vec::new(), outputs: Vec::new(), opsets: Vec::new() };
    let (notes, told) = (Vec::new(), Told::default());
    Ok(Ready { input, notes, interface, told, decoder: Some(config), repaired: None })
}

fn onnx(input: &ModelInput, bytes: Bytes, folder: Option<&Path>) -> Result<Ready, PackError> {
    let (model, found) = (|| input.name.clone(), Digest::of(&bytes));
    let refused = |source| PackError::Model { model: model(), source };
    if folder.is_none() {
        onnx::check(&bytes).map_err(refused)?;
    }
    let mut whole = Model::read(bytes.clone()).map_err(refused)?;
    let notes = onnx::cure(&mut whole, &|name| beside(folder, name));
    let notes = notes.map_err(|source| PackError::Cure { model: model(), source })?;
    let interface = onnx::fit(&whole).map_err(refused)?;
    let told = Told::of(&whole);
    let bytes = if notes.is_empty() { bytes } else { whole.write().map_err(refused)?.into() };
    onnx::check(&bytes).map_err(refused)?;
    let repaired = (!notes.is_empty()).then_some(found);
    let input = ModelInput { source: Source::Bytes(bytes), pin: None, ..input.clone() };
    Ok(Ready { input, notes, interface, told, decoder: None, repaired })
}

/// Reads a model's file as [`super::pack()`] would put it into a bundle. Returns its bytes and its repairs, one line each.
///
/// # Errors
/// As for packing, with the fix.
pub fn prepare(path: &Path) -> Result<(Bytes, Vec<String>), PackError> {
    let input = ModelInput {
        name: "model".parse().expect("invariant: a name"),
        encoding: Encoding::Onnx,
        batch_axis: None,
        device: Device::Any,
        backend: None,
        pin: None,
        source: Source::File(path.to_owned()),
    };
    let ready = ready(&input)?;
    match ready.input.source {
        Source::Bytes(bytes) => Ok((bytes, ready.notes)),
        Source::File(path) => {
            let source = io::Error::other("it was not read");
            Err(PackError::Read { model: input.name, path, source })
        }
    }
}

/// A file beside the model.
fn beside(folder: Option<&Path>, name: &str) -> io::Result<Option<Vec<u8>>> {
    let Some(folder) = folder else { return Ok(None) };
    match read(&folder.join(name), onnx::MODEL_BYTES_MAX as u64) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a whole file, but at most one byte more than the maximum, which shows that it is too large.
fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
