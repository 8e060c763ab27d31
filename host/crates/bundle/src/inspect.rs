//! Shows a bundle's content to a person. Checks the same as [`super::verify()`], but also accepts a bundle without a signature.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::BundleLimits;
use super::componentize::is_passthrough;
use super::extras::Extras;
use super::layout::Layout;
use super::manifest::{Encoding, Manifest};
use super::names::GraphName;
use super::verify::{BundleError, Checked, check};
use hospes_core::id::{Digest, Party};
use hospes_onnx::Told;

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

/// The content of a consistent bundle. This is not a proof: a host verifies the bundle itself.
#[derive(Debug)]
pub struct Inspection {
    signer: Option<Party>,
    manifest: Manifest,
    digest: Digest,
    imports: Vec<String>,
    extras: Extras,
    told: Vec<(GraphName, Told)>,
}

/// Reads a bundle from a file and checks all of it, including its signature if it has one. Runs no code.
///
/// # Errors
/// If the file cannot be read, or the first check that fails.
pub fn inspect(path: &Path) -> Result<Inspection, InspectError> {
    let read = |source| InspectError::Read { path: path.to_owned(), source };
    let bytes = Bytes::from(std::fs::read(path).map_err(read)?);
    let layout = Layout::read(&bytes, &BundleLimits::NONE).map_err(BundleError::from)?;
    let Checked { manifest, shape, signer, digest, extras, .. } = check(&bytes, &layout)?;
    let models = manifest.models.iter().filter(|spec| spec.encoding == Encoding::Onnx);
    let told = models.filter_map(|spec| {
        let (_, section) = layout.models.iter().find(|(name, _)| *name == spec.name)?;
        let told = Told::of_bytes(&bytes.slice(section.payload.clone()));
        (!told.is_empty()).then(|| (spec.name.clone(), told))
    });
    let told = told.collect();
    Ok(Inspection { signer, manifest, digest, imports: shape.imports, extras, told })
}

/// The model of a bundle that is nothing but one model: its component is the built-in guest, which passes tensors on. `None` for other bundles:
/// what their functions answer is not what their models compute.
///
/// # Errors
/// As [`inspect()`].
pub fn only_model(path: &Path) -> Result<Option<Bytes>, InspectError> {
    let read = |source| InspectError::Read { path: path.to_owned(), source };
    let bytes = Bytes::from(std::fs::read(path).map_err(read)?);
    let layout = Layout::read(&bytes, &BundleLimits::NONE).map_err(BundleError::from)?;
    let checked = check(&bytes, &layout)?;
    match layout.models.as_slice() {
        [(_, section)] if is_passthrough(&checked.measured.component) => {
            Ok(Some(bytes.slice(section.payload.clone())))
        }
        _ => Ok(None),
    }
}

impl Inspection {
    /// The signer; `None` if the bundle is not signed.
    pub fn signer(&self) -> Option<Party> {
        self.signer
    }

    /// The bundle's manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The digest of the whole file. Signing changes it.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Where the model comes from and what is known about it, as far as the bundle says.
    pub fn extras(&self) -> &Extras {
        &self.extras
    }

    /// What the models say of their numbers, as far as they say something.
    pub fn told(&self) -> &[(GraphName, Told)] {
        &self.told
    }

    /// The interfaces that the component imports.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }
}
