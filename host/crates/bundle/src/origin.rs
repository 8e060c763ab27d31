//! The files that say where a model comes from, read for packing.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Deserialize;

use super::layout::Extra;
use super::lineage::Derivation;
use super::manifest::Card;
use super::names::Licence;
use super::pack::Origin;
use super::readme::{Readme, ReadmeError};
use super::report::{self, REPORT_BYTES_MAX, ReportError};

/// Why a model's origin could not be read.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    #[error("`{}` cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` has no figures", path.display())]
    Report {
        path: PathBuf,
        #[source]
        source: ReportError,
    },
    #[error("`{}` is not a card", path.display())]
    Readme {
        path: PathBuf,
        #[source]
        source: ReadmeError,
    },
}

/// The files and steps of a model's origin: the table `[lineage]` of `hospes.toml`, or options of `hospes pack`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OriginFiles {
    /// The envelope that `hospes train` wrote.
    pub provenance: Option<PathBuf>,
    /// The JSON that `hospes evaluate` wrote.
    pub profile: Option<PathBuf>,
    /// A README with a front matter.
    pub card: Option<PathBuf>,
    /// Reports of `hospes evaluate --json` or `hospes train`.
    #[serde(default)]
    pub reports: Vec<PathBuf>,
    /// What the models were made from, the latest step first.
    #[serde(default)]
    pub derived_from: Vec<Derivation>,
}

/// A model's origin, and what its README says besides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    pub origin: Origin,
    /// What the README says about the model.
    pub card: Card,
    /// The README's licence.
    pub licence: Option<Licence>,
    /// What was passed over, one line each.
    pub notes: Vec<String>,
}

impl OriginFiles {
    /// The named files, each with the name of its member.
    pub fn paths(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let one = |name, path| Option::iter(path).map(move |path| (name, path));
        one("lineage.provenance", &self.provenance)
            .chain(one("lineage.profile", &self.profile))
            .chain(one("lineage.card", &self.card))
            .chain(self.reports.iter().map(|path| ("lineage.reports", path)))
    }

    /// Reads the files, which are relative to `folder`. Packing checks provenance and profile.
    ///
    /// # Errors
    /// [`OriginError`].
    pub fn read(&self, folder: &Path) -> Result<Said, OriginError> {
        let extra = |path: &Option<PathBuf>, extra: Extra| {
            path.as_ref().map(|path| read(&folder.join(path), extra.bytes_max())).transpose()
        };
        let mut said = Said::default();
        let origin = &mut said.origin;
        origin.derived_from.clone_from(&self.derived_from);
        origin.provenance = extra(&self.provenance, Extra::Provenance)?;
        origin.profile = extra(&self.profile, Extra::Profile)?;
        for path in &self.reports {
            let path = folder.join(path);
            let found = report::evaluations(&read(&path, REPORT_BYTES_MAX)?);
            let found = found.map_err(|source| OriginError::Report { path, source })?;
            origin.reports.push(found);
        }
        if let Some(path) = &self.card {
            let path = folder.join(path);
            let readme = Readme::read(read(&path, Extra::Card.bytes_max())?);
            let readme = readme.map_err(|source| OriginError::Readme { path, source })?;
            let Readme { text, licence, card, evaluations, notes } = readme;
            origin.card = Some(text);
            origin.evaluations.extend(evaluations);
            (said.licence, said.card, said.notes) = (licence, card, notes);
        }
        Ok(said)
    }
}

/// Reads a whole file, but at most one byte more than the maximum, which shows that it is too large.
fn read(path: &Path, bytes_max: usize) -> Result<Bytes, OriginError> {
    let mut bytes = Vec::new();
    let file = File::open(path);
    let read = file.and_then(|file| file.take(bytes_max as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|source| OriginError::Read { path: path.to_owned(), source })?;
    Ok(bytes.into())
}

impl Card {
    /// Takes the lists and the task of `other` where this card has none of its own.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let list = |own: Vec<String>, other| if own.is_empty() { other } else { own };
        Self {
            intended_use: self.intended_use.or(other.intended_use),
            limitations: self.limitations.or(other.limitations),
            training_data: self.training_data.or(other.training_data),
            languages: list(self.languages, other.languages),
            tags: list(self.tags, other.tags),
            datasets: list(self.datasets, other.datasets),
            metrics: list(self.metrics, other.metrics),
            base_models: list(self.base_models, other.base_models),
            task: self.task.or(other.task),
        }
    }
}
