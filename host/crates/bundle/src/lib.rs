//! Makes, reads and stores bundles. A bundle is one `.wasm` file with a component, its manifest, its models' weights, and the publisher's
//! signature.
//!
//! A bundle is untrusted until [`verify()`] has checked all of it. A [`VerifiedBundle`] is the proof. This crate runs no code and does not
//! use an engine. It lists a component's imports; others decide whether to permit them.

use std::fs::{File, Permissions};
use std::io::{self, BufWriter};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::NamedTempFile;

mod componentize;
mod contents;
mod extras;
mod guest;
mod inspect;
mod layout;
mod lineage;
mod manifest;
mod names;
mod origin;
mod pack;
mod profiled;
mod project;
pub mod provenance;
mod readme;
mod registry;
mod report;
mod shape;
mod sign;
mod signature;
mod verify;
mod weights;
mod wit;

#[cfg(test)]
pub mod sample;
#[cfg(test)]
mod tests;

pub use componentize::{ComponentizeError, componentize, is_passthrough, passthrough, plugin_wit};
pub use contents::ContentsError;
pub use extras::{Extras, ExtrasError};
pub use guest::GuestCode;
pub use hospes_onnx::Told;
pub use inspect::{InspectError, Inspection, inspect, only_model};
pub use layout::{
    Extra, LayoutError, PROFILE_BYTES_MAX, PROVENANCE_BYTES_MAX, README_BYTES_MAX,
    SIGNATURE_BYTES_MAX,
};
pub use lineage::{
    DERIVATIONS_MAX, Derivation, EVALUATION_TEXT_BYTES_MAX, EVALUATIONS_MAX, Evaluation, Figure,
    FoundBy, How, HowError, NotFinite, OtherModel, Trained,
};
pub use manifest::{
    BATCH_AXIS_MAX, CARD_ENTRY_BYTES_MAX, CARD_LIST_MAX, Card, Encoding, FUNCTIONS_MAX,
    FunctionSpec, MANIFEST_BYTES_MAX, MANIFEST_FORMAT, MODELS_MAX, Manifest, ManifestError,
    MemberSpec, ModelSpec, Privilege, RequestedLimits, SUMMARY_BYTES_MAX, TEXT_BYTES_MAX, TypeSpec,
    VERSION_BYTES_MAX,
};
pub use names::{
    EXPORT_BYTES_MAX, Export, GRAPH_NAME_BYTES_MAX, GraphName, LICENCE_BYTES_MAX, Licence,
    NameError,
};
pub use origin::{OriginError, OriginFiles, Said};
pub use pack::{Description, ModelInput, Origin, PackError, Packed, Source, pack, pack_to_file};
pub use profiled::OtherProfile;
pub use project::{PROJECT_BYTES_MAX, PROJECT_FILE, Project, ProjectError};
pub use readme::{FRONT_MATTER_BYTES_MAX, Readme, ReadmeError, spdx};
pub use registry::{KeptError, Registry, RegistryError};
pub use report::{REPORT_BYTES_MAX, ReportError, Reported, evaluations};
pub use shape::{NESTING_MAX, Shape, ShapeError};
pub use sign::{SignError, sign, sign_to_file};
pub use signature::{BundlePart, PAYLOAD_TYPE, SignatureSectionError};
pub use verify::{BundleError, VerifiedBundle, verify, verify_kept};
pub use weights::prepare;
pub use wit::WitError;

/// Maximum sizes of a bundle.
#[derive(Debug, Clone, Copy)]
pub struct BundleLimits {
    /// The whole file, in bytes.
    pub bundle_bytes_max: u64,
    /// The component without manifest, weights and signature, in bytes: the compiler's input.
    pub code_bytes_max: u64,
}

impl BundleLimits {
    /// No limits, for a person's own files.
    const NONE: Self = Self { bundle_bytes_max: u64::MAX, code_bytes_max: u64::MAX };
}

/// The mode of a person's own files, the same as the default of `open`.
const READABLE: u32 = 0o666;

/// The mode of files that a host stores for others.
const PRIVATE: u32 = 0o600;

/// Writes a file through `fill`. It appears at `path` complete and durable, or not at all. An older file stays until then.
///
/// Uses a temporary file in the same folder. The process's umask applies to `mode`.
fn write_file<T, E>(
    path: &Path,
    mode: u32,
    fill: impl FnOnce(&mut BufWriter<NamedTempFile>) -> Result<T, E>,
    failed: impl Fn(io::Error) -> E,
) -> Result<T, E> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    let file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(folder)
        .map_err(&failed)?;
    let mut out = BufWriter::new(file);
    let filled = fill(&mut out)?;
    let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
    file.as_file().sync_all().map_err(&failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    sync_folder(folder).map_err(failed)?;
    Ok(filled)
}

/// Makes a folder's entries durable.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
