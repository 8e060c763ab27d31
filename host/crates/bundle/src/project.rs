//! A plugin's directory: its `hospes.toml` describes a bundle.
//!
//! The file names the output of other tools: the compiled guest and the weights. This module compiles and fetches nothing. Parsing is strict,
//! as for a manifest. Paths are relative to the directory and may leave it, because build outputs are usually elsewhere in the same tree.
//! Absolute paths are rejected, because they would work on one machine only.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::componentize::{ComponentizeError, componentize, passthrough};
use super::manifest::{Card, Encoding, RequestedLimits};
use super::names::{GraphName, Licence};
use super::origin::{OriginError, OriginFiles, Said};
use super::pack::{Description, ModelInput, PackError, Packed, Source, pack_to_file};
use super::wit::{self, Exports, WitError};
use hospes_core::backend::{BackendKind, Device};
use hospes_core::id::{Digest, ModelLabel};

/// The name of the file that describes a plugin's directory.
pub const PROJECT_FILE: &str = "hospes.toml";
/// Maximum size of that file, in bytes.
pub const PROJECT_BYTES_MAX: u64 = 1 << 20;

/// The name under which the built-in guest of a bundle without code loads its model.
const PASSTHROUGH_MODEL: &str = "model";

/// Why a plugin's directory is not a valid bundle.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    #[error("`{}` cannot be read: name a directory with a `{PROJECT_FILE}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` has more than the {PROJECT_BYTES_MAX} bytes allowed", path.display())]
    TooLarge { path: PathBuf },
    #[error("`{}` is not a valid plugin file", path.display())]
    Toml {
        path: PathBuf,
        #[source]
        source: Box<toml::de::Error>,
    },
    #[error("`{member}` is the absolute path `{}`: write it relative to the plugin's directory", path.display())]
    AbsolutePath { member: &'static str, path: PathBuf },
    #[error("the guest `{}` cannot be read: compile the plugin first", path.display())]
    Module {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "without `[build]`, a built-in guest computes the model `{PASSTHROUGH_MODEL}`: list only that one"
    )]
    NoCode,
    #[error("a decoder needs a guest that speaks with it: name its component in `[build]`")]
    NoSpeaker,
    #[error("`build.wit` is the folder and `build.world` the world in it: write both, or neither")]
    HalfWorld,
    #[error("the WIT does not show the functions")]
    Wit(#[from] WitError),
    #[error("the guest cannot become a component")]
    Componentize(#[from] ComponentizeError),
    #[error("`lineage` cannot be read")]
    Origin(#[from] OriginError),
    #[error(transparent)]
    Pack(#[from] PackError),
}

/// The content of `hospes.toml`.
#[derive(Debug)]
pub struct Project {
    directory: PathBuf,
    file: ProjectFile,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProjectFile {
    package: Package,
    #[serde(default)]
    card: Card,
    /// Absent for a model without code.
    build: Option<Build>,
    #[serde(default)]
    models: Vec<Model>,
    #[serde(default)]
    limits: RequestedLimits,
    #[serde(default)]
    lineage: OriginFiles,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Package {
    name: ModelLabel,
    version: semver::Version,
    licence: Licence,
    summary: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Build {
    /// The compiled guest: a core module or a component.
    module: PathBuf,
    /// The folder of the WIT package with the world.
    wit: Option<PathBuf>,
    /// The world that the guest was built for. Callers may call every function that it exports. Without a world, the guest's own exports are
    /// used, which have no documentation.
    world: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    name: GraphName,
    path: PathBuf,
    encoding: Encoding,
    sha256: Option<Digest>,
    batch_axis: Option<u32>,
    #[serde(default)]
    device: Device,
    backend: Option<BackendKind>,
}

impl Project {
    /// Parses the `hospes.toml` in `directory`, without opening the files that it names.
    ///
    /// # Errors
    /// If it cannot be read or is invalid.
    pub fn read(directory: &Path) -> Result<Self, ProjectError> {
        let path = directory.join(PROJECT_FILE);
        let mut text = String::new();
        File::open(&path)
            .and_then(|file| file.take(PROJECT_BYTES_MAX + 1).read_to_string(&mut text))
            .map_err(|source| ProjectError::Read { path: path.clone(), source })?;
        if text.len() as u64 > PROJECT_BYTES_MAX {
            return Err(ProjectError::TooLarge { path });
        }
        let file: ProjectFile = toml::from_str(&text)
            .map_err(|source| ProjectError::Toml { path, source: Box::new(source) })?;
        file.check()?;
        Ok(Self { directory: directory.to_owned(), file })
    }

    /// The model's name within its publisher.
    pub fn name(&self) -> &ModelLabel {
        &self.file.package.name
    }

    /// The model's version.
    pub fn version(&self) -> &semver::Version {
        &self.file.package.version
    }

    /// Overrides the file's version.
    pub fn set_version(&mut self, version: semver::Version) {
        self.file.package.version = version;
    }

    /// The inputs of the bundle: `hospes.toml`, and the files and folders that it names.
    pub fn places(&self) -> Vec<PathBuf> {
        let build = self.file.build.iter();
        let named = build
            .flat_map(|build| std::iter::once(&build.module).chain(&build.wit))
            .chain(self.file.models.iter().map(|model| &model.path))
            .chain(self.file.lineage.paths().map(|(_, path)| path));
        let named = named.map(|path| self.directory.join(path));
        std::iter::once(self.directory.join(PROJECT_FILE)).chain(named).collect()
    }

    /// Packs the plugin into an unsigned bundle, which appears complete or not at all. The same inputs give the same bytes.
    ///
    /// # Errors
    /// If a named file cannot be read, or the inputs are invalid.
    pub fn pack_to_file(&self, path: &Path) -> Result<Packed, ProjectError> {
        let component = self.component()?;
        let Exports { functions, types } = self.exports(&component)?;
        let Package { name, version, licence, summary } = &self.file.package;
        // This file's own licence holds, whatever a README says.
        let Said { origin, card, notes, .. } = self.file.lineage.read(&self.directory)?;
        let description = Description {
            name: name.clone(),
            version: version.clone(),
            licence: licence.clone(),
            summary: summary.clone(),
            card: self.file.card.clone().or(card),
            functions,
            types,
            limits: self.file.limits,
            origin,
        };
        let models: Vec<_> = self.file.models.iter().map(|model| self.input(model)).collect();
        let packed = pack_to_file(&component, description, &models, path)?;
        Ok(Packed { notes: [packed.notes, notes].concat(), ..packed })
    }

    fn component(&self) -> Result<Vec<u8>, ProjectError> {
        let Some(build) = &self.file.build else { return Ok(passthrough()?) };
        let path = self.directory.join(&build.module);
        let module =
            std::fs::read(&path).map_err(|source| ProjectError::Module { path, source })?;
        Ok(componentize(&module)?)
    }

    fn exports(&self, component: &[u8]) -> Result<Exports, WitError> {
        match &self.file.build {
            Some(Build { wit: Some(path), world: Some(world), .. }) => {
                wit::exports(&self.directory.join(path), world)
            }
            Some(_) => wit::component_exports(component),
            None => wit::passthrough_exports(),
        }
    }

    fn input(&self, model: &Model) -> ModelInput {
        ModelInput {
            name: model.name.clone(),
            encoding: model.encoding,
            batch_axis: model.batch_axis,
            device: model.device,
            backend: model.backend,
            pin: model.sha256,
            source: Source::File(self.directory.join(&model.path)),
        }
    }
}

impl ProjectFile {
    fn check(&self) -> Result<(), ProjectError> {
        let build = self.build.iter();
        let paths = build
            .flat_map(|build| {
                let wit = build.wit.iter().map(|wit| ("build.wit", wit));
                wit.chain([("build.module", &build.module)])
            })
            .chain(self.models.iter().map(|model| ("models.path", &model.path)))
            .chain(self.lineage.paths());
        for (member, path) in paths {
            if path.is_absolute() {
                return Err(ProjectError::AbsolutePath { member, path: path.clone() });
            }
        }
        if self.build.as_ref().is_some_and(|build| build.wit.is_some() != build.world.is_some()) {
            return Err(ProjectError::HalfWorld);
        }
        match (&self.build, &self.models[..]) {
            (Some(_), _) => Ok(()),
            (None, [model]) if model.encoding == Encoding::Decoder => Err(ProjectError::NoSpeaker),
            (None, [model]) if model.name.as_str() == PASSTHROUGH_MODEL => Ok(()),
            (None, _) => Err(ProjectError::NoCode),
        }
    }
}

#[cfg(test)]
mod tests;
