//! The source: a model's file, or a plugin's directory.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use semver::Version;

use super::watch::Look;
use crate::bundle::{PROJECT_FILE, Packed, Project, Said};
use crate::id::ModelLabel;
use crate::onnx;
use hospes_cli::failure::{During as _, Failure};
use hospes_cli::pack::Codeless;

/// Most entries of a model's folder to search for files that belong to it.
const ENTRIES_MAX: usize = 4096;

/// Bytes that show a file's kind.
const FOREIGN_BYTES: u64 = 16;

/// Where the bundle comes from.
#[derive(Debug)]
pub enum Source {
    Model { path: PathBuf, name: ModelLabel },
    Folder(PathBuf),
}

impl Source {
    /// What is at `path`: a plugin's directory (or its `hospes.toml`), or else a model.
    ///
    /// # Errors
    /// If there is nothing, it is a file of another kind, or it has no name.
    pub fn new(path: &Path, name: Option<ModelLabel>) -> Result<Self, Failure> {
        let meta = std::fs::metadata(path)
            .map_err(|error| Failure::file("read", path, &error))
            .or_fix(|| "name an ONNX model, or a plugin's directory".into())?;
        let folder = if meta.is_dir() {
            Some(path)
        } else {
            path.parent().filter(|_| path.ends_with(PROJECT_FILE))
        };
        if let Some(folder) = folder {
            if !folder.join(PROJECT_FILE).exists() {
                let missing = format!("there is no `{PROJECT_FILE}` in `{}`", folder.display());
                return Err(Failure::new(missing).fix(
                    "name an ONNX model's file, or make a plugin's directory with `hospes new NAME --lang rust`",
                ));
            }
            return match name {
                None => Ok(Self::Folder(folder.into())),
                Some(_) => Err(Failure::new("a plugin's `hospes.toml` names the model").fix(
                    format!("leave `--name` out, or change `package.name` in `{PROJECT_FILE}`"),
                )),
            };
        }
        refuse_foreign(path)?;
        let name = match name.or_else(|| named(path)) {
            Some(name) => name,
            None => {
                return Err(Failure::new(format!(
                    "no model name follows from `{}`",
                    path.display()
                ))
                .fix("name the model with `--name NAME`"));
            }
        };
        Ok(Self::Model { path: path.into(), name })
    }

    /// Packs it into an unsigned bundle: as its own version, or as the one after `last` if that is not lower.
    ///
    /// # Errors
    /// As `hospes pack` and `hospes build`.
    pub fn pack(&self, last: Option<&Version>, bundle: &Path) -> Result<Packed, Failure> {
        match self {
            Self::Model { path, name } => {
                let codeless = Codeless {
                    model: path.clone(),
                    name: name.clone(),
                    version: next(&Version::new(1, 0, 0), last),
                    licence: "NOASSERTION".parse()?,
                    summary: None,
                    said: Said::default(),
                    backend: None,
                };
                codeless.pack_to_file(bundle)
            }
            Self::Folder(folder) => {
                let wrong = || format!("cannot build `{}`", folder.display());
                let mut project = Project::read(folder).during(wrong)?;
                project.set_version(next(project.version(), last));
                project.pack_to_file(bundle).during(wrong)
            }
        }
    }

    /// The bundle's current source files; only `hospes.toml` if that cannot be read.
    pub fn look(&self) -> Look {
        Look::at(&match self {
            Self::Model { path, .. } => with_weights(path),
            Self::Folder(folder) => match Project::read(folder) {
                Ok(project) => project.places(),
                Err(_) => vec![folder.join(PROJECT_FILE)],
            },
        })
    }
}

/// Refuses a file that no change makes an ONNX model, so that nobody waits for one.
fn refuse_foreign(path: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::file("read", path, &error);
    let mut start = Vec::new();
    File::open(path)
        .map_err(failed)?
        .take(FOREIGN_BYTES)
        .read_to_end(&mut start)
        .map_err(failed)?;
    let Some((what, fix)) = onnx::foreign(&start) else { return Ok(()) };
    Err(Failure::new(format!("`{}` is not an ONNX model but {what}", path.display())).fix(fix))
}

/// A version without a pre-release part, so that it is the default for callers.
fn next(wanted: &Version, last: Option<&Version>) -> Version {
    let wanted = Version::new(wanted.major, wanted.minor, wanted.patch);
    match last {
        Some(last) if wanted <= *last => {
            Version::new(last.major, last.minor, last.patch.saturating_add(1))
        }
        _ => wanted,
    }
}

/// The model's name from a path: the file's, or its folder's if the file is called `model`.
fn named(path: &Path) -> Option<ModelLabel> {
    let path = std::path::absolute(path).ok()?;
    let name = label(path.file_stem()?.to_str()?);
    let folder = || label(path.parent()?.file_name()?.to_str()?);
    match name {
        Some(name) if name.as_str() == "model" => folder().or(Some(name)),
        name => name,
    }
}

/// Text as a name: lower case, with hyphens for forbidden characters.
fn label(text: &str) -> Option<ModelLabel> {
    let kept = text.chars().map(|c| c.to_ascii_lowercase());
    let kept: String = kept.map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let parts = kept.trim_start_matches(|c: char| !c.is_ascii_lowercase()).split('-');
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    parts.join("-").parse().ok()
}

/// A model, and the files beside it whose names begin with the model's: exporters put weights there.
fn with_weights(path: &Path) -> Vec<PathBuf> {
    let mut places = vec![path.to_owned()];
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return places };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(entries) = std::fs::read_dir(folder) else { return places };
    let beside = entries.take(ENTRIES_MAX).filter_map(|entry| {
        let other = entry.ok()?.file_name();
        let is_beside =
            other != name && other.as_encoded_bytes().starts_with(name.as_encoded_bytes());
        is_beside.then(|| folder.join(other))
    });
    places.extend(beside);
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_what_the_file_says_or_the_next() {
        let version = |text: &str| text.parse::<Version>().expect("a version");
        let next = |wanted: &str, last: Option<&str>| {
            super::next(&version(wanted), last.map(version).as_ref()).to_string()
        };
        assert_eq!(next("0.3.0", None), "0.3.0");
        assert_eq!(next("0.3.0-rc.1", None), "0.3.0");
        assert_eq!(next("0.3.0", Some("0.3.0")), "0.3.1");
        assert_eq!(next("0.3.0", Some("0.3.7")), "0.3.8");
        assert_eq!(next("0.4.0", Some("0.3.7")), "0.4.0");
    }

    #[test]
    fn a_folder_without_a_plugin_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let refused = Source::new(folder.path(), None).expect_err("no plugin").to_string();
        assert!(refused.contains(PROJECT_FILE) && refused.contains("hospes new"), "{refused}");
        std::fs::write(folder.path().join(PROJECT_FILE), "").expect("written");
        assert!(matches!(Source::new(folder.path(), None), Ok(Source::Folder(_))));
    }

    #[test]
    fn a_path_gives_a_name() {
        let named = |path: &str| named(Path::new(path)).map(|name| name.to_string());
        assert_eq!(named("iris.onnx").as_deref(), Some("iris"));
        assert_eq!(named("models/iris/model.onnx").as_deref(), Some("iris"));
        assert_eq!(named("/model.onnx").as_deref(), Some("model"));
        assert_eq!(named("My Model_v2.onnx").as_deref(), Some("my-model-v2"));
        assert_eq!(named("2nd--try.onnx").as_deref(), Some("nd-try"));
        assert_eq!(named("42.onnx"), None);
    }

    #[test]
    fn weights_beside_a_model_belong_to_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let model = folder.path().join("m.onnx");
        for name in ["m.onnx", "m.onnx.data", "m.onnx_data", "other.onnx"] {
            std::fs::write(folder.path().join(name), "x").expect("written");
        }
        let mut places = with_weights(&model);
        places.sort();
        assert_eq!(places.len(), 3, "{places:?}");
        assert_eq!(places[0], model);
    }
}
