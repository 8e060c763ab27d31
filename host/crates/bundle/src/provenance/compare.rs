//! Compares a provenance with the files that are at hand.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};

use super::{Artifact, Code, Content, DataSet, Part, Provenance, ProvenanceError};
use hospes_core::files::meant;
use hospes_core::id::Digest;

/// Where the files of a training are. What is absent is not checked, and the result says so.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// A data set itself, or the folder that the recipe's paths begin in.
    pub data: Option<PathBuf>,
    /// Data sets that lie elsewhere, by name.
    pub data_sets: BTreeMap<String, PathBuf>,
    pub recipe: Option<PathBuf>,
    pub report: Option<PathBuf>,
    pub events: Option<PathBuf>,
    /// The folder that the recipe's paths of code begin in, or the code itself.
    pub code: Option<PathBuf>,
    pub lock: Option<PathBuf>,
    pub base: Option<PathBuf>,
    /// The models in it, if it is a bundle.
    pub base_models: Vec<Digest>,
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It is what was recorded.
    Same,
    /// It is not what was recorded: the details, one a line.
    Changed(Vec<String>),
    /// Nothing was compared, and why.
    NotChecked(String),
}

/// One comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was compared: `recipe`, `data train`.
    pub what: String,
    pub finding: Finding,
}

/// What was read so far, by path: several data sets may lie in one folder, or bear one name.
#[derive(Default)]
struct Seen(RefCell<HashMap<PathBuf, Content>>);

impl Seen {
    fn content(&self, path: &Path) -> Result<Content, ProvenanceError> {
        if let Some(seen) = self.0.borrow().get(path) {
            return Ok(seen.clone());
        }
        let content = Content::of(path)?;
        self.0.borrow_mut().insert(path.to_owned(), content.clone());
        Ok(content)
    }

    fn compare(&self, recorded: &Content, place: &Path) -> Result<Finding, ProvenanceError> {
        Ok(compare(recorded, &self.content(place)?, place))
    }
}

/// Most changed parts of a folder that are named.
const CHANGES_SHOWN_MAX: usize = 10;

impl Provenance {
    /// Compares everything that the training recorded with what is at `places`. Reads all of it.
    ///
    /// # Errors
    /// If a file that was named cannot be read.
    pub fn check(&self, places: &Places) -> Result<Vec<Check>, ProvenanceError> {
        let training = self.training();
        let seen = Seen::default();
        let mut checks = Vec::new();
        // In a folder that does not exist nothing would be found, and nothing checked.
        for place in [&places.data, &places.code].into_iter().flatten() {
            if !is_there(place) {
                seen.content(place)?;
            }
        }
        for data in &training.data {
            let what = format!("data {}", data.name);
            let finding = self.data(data, places, &seen)?;
            checks.push(Check { what, finding });
        }
        let artifacts = [
            ("recipe", "--recipe", Some(&training.recipe), &places.recipe),
            ("report", "--report", training.report.as_ref(), &places.report),
            ("events", "--events", training.events.as_ref(), &places.events),
            ("lock file", "--lock", training.lock.as_ref(), &places.lock),
        ];
        for (what, option, recorded, place) in artifacts {
            let finding = match (recorded, place) {
                (None, None) => continue,
                (Some(recorded), Some(place)) => file(recorded, place)?,
                (Some(_), None) => not_here(option),
                (None, Some(place)) => stranger(place),
            };
            checks.push(Check { what: what.to_owned(), finding });
        }
        for code in &self.training().code {
            checks.push(self.code(code, places.code.as_deref(), &seen)?);
        }
        if let Some(check) = self.base(places)? {
            checks.push(check);
        }
        Ok(checks)
    }

    fn data(
        &self,
        data: &DataSet,
        places: &Places,
        seen: &Seen,
    ) -> Result<Finding, ProvenanceError> {
        let DataSet { name, path, content: recorded, .. } = data;
        if let Some(place) = places.data_sets.get(name) {
            return seen.compare(recorded, place);
        }
        let is_absolute = path.as_deref().is_some_and(|path| Path::new(path).is_absolute());
        let Some(place) = &places.data else {
            return Ok(Finding::NotChecked(match path {
                Some(path) if is_absolute => format!(
                    "the recipe says `{path}`, which is absolute: name the data with `--data {name}=PATH`"
                ),
                _ => "name it with `--data`".to_owned(),
            }));
        };
        let wanted = Wanted { path: path.as_deref(), name, only: self.training().data.len() == 1 };
        let found = wanted.compare(recorded, place, seen)?;
        let Finding::NotChecked(why) = found else { return Ok(found) };
        // A path that others signed is never read as it is.
        let absolute = if is_absolute { ", and the recipe's path is absolute" } else { "" };
        let fix = format!("{why}{absolute}: name the data with `--data {name}=PATH`");
        Ok(Finding::NotChecked(fix))
    }

    fn code(
        &self,
        code: &Code,
        place: Option<&Path>,
        seen: &Seen,
    ) -> Result<Check, ProvenanceError> {
        let (name, finding) = match (code, place) {
            (Code::Git { commit, .. }, _) => {
                let how = format!(
                    "it is a Git commit: `git rev-parse HEAD` must print {commit}, and `git status --porcelain` nothing"
                );
                ("commit", Finding::NotChecked(how))
            }
            (Code::Files { path, .. }, None) => (&**path, not_here("--code")),
            (Code::Files { path, content }, Some(place)) => {
                let only = self.training().code.len() == 1;
                let wanted = Wanted { path: Some(path), name: path, only };
                (&**path, wanted.compare(content, place, seen)?)
            }
        };
        Ok(Check { what: format!("code {name}"), finding })
    }

    fn base(&self, places: &Places) -> Result<Option<Check>, ProvenanceError> {
        let place = places.base.as_deref();
        let Some(base) = &self.training().base else {
            let what = "base".to_owned();
            return Ok(place.map(|place| Check { what, finding: stranger(place) }));
        };
        let mut what = format!("base {}", base.name);
        let finding = match place {
            None => not_here("--base"),
            // The proof names the model's file, which was packed since.
            Some(place) if places.base_models.contains(&base.sha256) => {
                what += &format!(": the bundle `{}` holds it", place.display());
                Finding::Same
            }
            Some(place) => {
                let found = Artifact::of_file(place)?;
                same_or(base.sha256, found.sha256, place, Vec::new())
            }
        };
        Ok(Some(Check { what, finding }))
    }
}

/// Something to find in a folder that a user named.
struct Wanted<'a> {
    /// Its path as the recipe says it.
    path: Option<&'a str>,
    name: &'a str,
    /// Whether nothing else was recorded, so that the place that the user named can be the thing itself.
    only: bool,
}

impl Wanted<'_> {
    fn compare(
        &self,
        recorded: &Content,
        place: &Path,
        seen: &Seen,
    ) -> Result<Finding, ProvenanceError> {
        let exact = self.path.and_then(inside).map(|path| place.join(path));
        if let Some(path) = exact.filter(|path| is_there(path)) {
            return seen.compare(recorded, &path);
        }
        let mut differs = None;
        for path in self.moved(place) {
            match seen.compare(recorded, &path)? {
                Finding::Same => return Ok(Finding::Same),
                finding => differs = differs.or(Some(finding)),
            }
        }
        if let Some(finding) = differs {
            return Ok(finding);
        }
        // What bears the name of the data set, or is the only place given, may be something else.
        let named = inside(self.name).map(|name| place.join(name));
        let itself = self.only.then(|| place.to_owned());
        for path in named.into_iter().chain(itself).filter(|path| is_there(path)) {
            let is_folder = path.is_dir();
            if is_folder && matches!(recorded, Content::File { .. }) {
                continue;
            }
            let Ok(found) = seen.content(&path) else { continue };
            let finding = compare(recorded, &found, &path);
            if finding == Finding::Same || shares_files(recorded, &found) {
                return Ok(finding);
            }
        }
        let wanted = self.path.unwrap_or(self.name);
        Ok(Finding::NotChecked(format!("there is no `{wanted}` in `{}`", place.display())))
    }

    /// What bears the last name of the recipe's path: in `place`, or `place` itself.
    fn moved(&self, place: &Path) -> Vec<PathBuf> {
        let last = self.path.map(Path::new).and_then(Path::file_name);
        let Some(last) = last else { return Vec::new() };
        let itself = (place.file_name() == Some(last)).then(|| place.to_owned());
        let found = [place.join(last)].into_iter().chain(itself);
        found.filter(|path| is_there(path)).collect()
    }
}

/// A path that stays below where it is joined. Nothing that others signed may lead out of the folder that the user named.
fn inside(path: &str) -> Option<&Path> {
    let path = Path::new(path);
    // `./data` is as good as `data`.
    let stays = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    path.components().all(stays).then_some(path)
}

/// Whether what was found is what was recorded with changes, rather than something else: a file for a file, or a folder with some of the names.
fn shares_files(recorded: &Content, found: &Content) -> bool {
    match (recorded, found) {
        (Content::File { .. }, Content::File { .. }) => true,
        (Content::Folder(recorded), Content::Folder(found)) => {
            let known = |part: &Part| recorded.parts.iter().any(|other| other.path == part.path);
            found.parts.iter().any(known)
        }
        (Content::File { .. }, Content::Folder(_)) | (Content::Folder(_), Content::File { .. }) => {
            false
        }
    }
}

/// Whether there is something: a file, a folder, or files whose names begin so, as those of IDX.
fn is_there(path: &Path) -> bool {
    !meant(path).is_empty()
}

fn file(recorded: &Artifact, place: &Path) -> Result<Finding, ProvenanceError> {
    let found = Artifact::of_file(place)?;
    let sizes = (recorded.bytes != found.bytes)
        .then(|| format!("it has {} bytes, not {}", found.bytes, recorded.bytes));
    Ok(same_or(recorded.sha256, found.sha256, place, sizes.into_iter().collect()))
}

fn compare(recorded: &Content, found: &Content, place: &Path) -> Finding {
    let details = match (recorded, found) {
        (Content::Folder(recorded), Content::Folder(found)) => {
            let mut details = recorded.changes(found);
            if details.len() > CHANGES_SHOWN_MAX {
                let more = details.len() - CHANGES_SHOWN_MAX;
                details.truncate(CHANGES_SHOWN_MAX);
                details.push(format!("and {more} more"));
            }
            if recorded.files != found.files {
                details.push(format!("it has {} files, not {}", found.files, recorded.files));
            }
            details
        }
        (Content::File { .. }, Content::File { .. }) if recorded.bytes() != found.bytes() => {
            vec![format!("it has {} bytes, not {}", found.bytes(), recorded.bytes())]
        }
        (Content::File { .. }, Content::File { .. }) => Vec::new(),
        (Content::File { .. }, Content::Folder(_)) => vec!["a file was recorded".to_owned()],
        (Content::Folder(_), Content::File { .. }) => vec!["a folder was recorded".to_owned()],
    };
    same_or(recorded.digest(), found.digest(), place, details)
}

fn same_or(recorded: Digest, found: Digest, place: &Path, details: Vec<String>) -> Finding {
    if recorded == found && details.is_empty() {
        return Finding::Same;
    }
    let whole = format!("`{}` has digest {found}, but {recorded} was recorded", place.display());
    Finding::Changed([whole].into_iter().chain(details).collect())
}

fn not_here(option: &str) -> Finding {
    Finding::NotChecked(format!("name it with `{option}`"))
}

fn stranger(place: &Path) -> Finding {
    Finding::Changed(vec![format!("none was recorded, so `{}` proves nothing", place.display())])
}
