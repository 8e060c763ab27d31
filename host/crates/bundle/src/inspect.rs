//! Inspecting: what [`super::verify()`] checks, for a person who has a file. A bundle without a signature is shown too.

use std::io;
use std::path::{Path, PathBuf};

use super::BundleLimits;
use super::layout::Layout;
use super::manifest::Manifest;
use super::verify::{BundleError, Checked, check};
use hospes_core::id::{Digest, Party};

/// Why a bundle cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error("`{}` cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

/// What is in a bundle. It holds together, and is no proof of anything else: a host verifies for itself.
#[derive(Debug)]
pub struct Inspection {
    signer: Option<Party>,
    manifest: Manifest,
    digest: Digest,
    imports: Vec<String>,
}

/// Reads a bundle from a file and checks all of it; its signature only if it has one. Nothing is run.
///
/// # Errors
/// If the file cannot be read, or with the first thing that does not hold.
pub fn inspect(path: &Path) -> Result<Inspection, InspectError> {
    let read = |source| InspectError::Read { path: path.to_owned(), source };
    let bytes = std::fs::read(path).map_err(read)?;
    let layout = Layout::read(&bytes, &BundleLimits::NONE).map_err(BundleError::from)?;
    let Checked { manifest, shape, signer, digest, .. } = check(&bytes, &layout)?;
    Ok(Inspection { signer, manifest, digest, imports: shape.imports })
}

impl Inspection {
    /// Who signed the bundle; none if nobody did.
    pub fn signer(&self) -> Option<Party> {
        self.signer
    }

    /// What the bundle says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Digest of the whole file. Signing changes it.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The interfaces that the component asks its host for.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }
}
