//! A model's weights, before they are packed: what every host would refuse is refused here, where its publisher can cure it.

use std::fs::File;
use std::io::Read as _;

use super::pack::{ModelInput, PackError, Source};
use crate::onnx;

/// Reads a model and walks it, as hosts do before a backend sees it. What was walked is what will be packed.
pub(super) fn ready(input: &ModelInput) -> Result<ModelInput, PackError> {
    let bytes = match &input.source {
        Source::Bytes(bytes) => bytes.clone(),
        Source::File(path) => {
            let unreadable =
                |source| PackError::Read { model: input.name.clone(), path: path.clone(), source };
            let mut bytes = Vec::new();
            let file = File::open(path).map_err(unreadable)?;
            // One byte more than a model may have, so that the walk sees that it is too large.
            let read = file.take(onnx::MODEL_BYTES_MAX as u64 + 1).read_to_end(&mut bytes);
            read.map_err(unreadable)?;
            bytes.into()
        }
    };
    if bytes.is_empty() {
        return Err(PackError::EmptyModel { model: input.name.clone() });
    }
    onnx::check(&bytes).map_err(|source| PackError::Model { model: input.name.clone(), source })?;
    Ok(ModelInput { source: Source::Bytes(bytes), ..input.clone() })
}
