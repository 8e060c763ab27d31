//! Checks a manifest's claims against the component and the weights.
//!
//! Making and accepting a bundle use the same checks, so that every bundle that can be signed can be verified.

use super::layout::{Layout, Section};
use super::manifest::Manifest;
use super::names::{Export, GraphName};
use super::shape::Shape;
use hospes_core::id::{Digest, FunctionName};

/// A false claim of the manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentsError {
    #[error("function `{name}` needs export `{export}`, which the component does not have")]
    FunctionMissing { name: FunctionName, export: Export },
    #[error("model `{name}` of the manifest is not at its place in the bundle")]
    ModelMissing { name: GraphName },
    #[error("model `{name}` is in the bundle, but not at its place in the manifest")]
    ModelExtra { name: GraphName },
    #[error("model `{name}` has {found} bytes, but the manifest says {listed}")]
    ModelSize { name: GraphName, listed: u64, found: u64 },
    #[error("model `{name}` has digest {found}, but the manifest says {listed}")]
    ModelDigest { name: GraphName, listed: Digest, found: Digest },
}

/// Checks that the component exports each function of the manifest.
pub(super) fn check_functions(manifest: &Manifest, shape: &Shape) -> Result<(), ContentsError> {
    match manifest.functions.iter().find(|f| !shape.functions.contains(f.export.as_str())) {
        None => Ok(()),
        Some(function) => Err(ContentsError::FunctionMissing {
            name: function.name.clone(),
            export: function.export.clone(),
        }),
    }
}

/// Checks that the manifest lists the models in the bundle, in order. `digests` are those of the actual weights.
pub(super) fn check_models(
    manifest: &Manifest,
    layout: &Layout,
    digests: &[Digest],
) -> Result<(), ContentsError> {
    let mut found = layout.models.iter().zip(digests);
    for listed in &manifest.models {
        let name = listed.name.clone();
        let (section, digest) = match found.next() {
            Some(((found, section), digest)) if *found == name => (section, digest),
            Some(_) | None => return Err(ContentsError::ModelMissing { name }),
        };
        let bytes = size(section);
        if bytes != listed.bytes {
            return Err(ContentsError::ModelSize { name, listed: listed.bytes, found: bytes });
        }
        if *digest != listed.sha256 {
            let (listed, found) = (listed.sha256, *digest);
            return Err(ContentsError::ModelDigest { name, listed, found });
        }
    }
    match found.next() {
        Some(((name, _), _)) => Err(ContentsError::ModelExtra { name: name.clone() }),
        None => Ok(()),
    }
}

fn size(section: &Section) -> u64 {
    section.payload.len() as u64
}
