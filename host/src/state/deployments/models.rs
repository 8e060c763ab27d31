//! The published versions of all models, for look-ups by name and ordered lists.
//!
//! Readers share one of these; a change copies the path to it, but not other models' versions.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use semver::Version;

use super::{Deployment, Deployments, Published, Reference, ResolveError};
use crate::id::{AccountName, ById, ModelName};

/// The versions of one model.
pub(super) type Versions = BTreeMap<Version, Arc<Published>>;

/// Where a list continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    pub model: ModelName,
    /// `None` for all of the model's versions.
    pub version: Option<Version>,
}

impl fmt::Display for After {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, version } = self;
        match version {
            Some(version) => write!(f, "{model}@{version}"),
            None => model.fmt(f),
        }
    }
}

#[derive(Default, Clone)]
pub(super) struct Models {
    by_name: ById<ModelName, Arc<Versions>>,
    /// The names, sorted.
    names: Arc<Vec<ModelName>>,
}

impl Models {
    /// A model's versions; `None` without any.
    pub(super) fn get(&self, model: &ModelName) -> Option<&Arc<Versions>> {
        self.by_name.get(model)
    }

    /// Replaces a model's versions. Without any, removes the model.
    pub(super) fn set(&mut self, model: &ModelName, versions: Versions) {
        let place = self.names.binary_search(model);
        if versions.is_empty() {
            self.by_name.remove(model);
            if let Ok(place) = place {
                Arc::make_mut(&mut self.names).remove(place);
            }
            return;
        }
        self.by_name.insert(model.clone(), Arc::new(versions));
        if let Err(place) = place {
            Arc::make_mut(&mut self.names).insert(place, model.clone());
        }
    }

    /// Changes the versions of a model.
    pub(super) fn change<T>(
        &mut self,
        model: &ModelName,
        change: impl FnOnce(&mut Versions) -> T,
    ) -> T {
        let mut versions =
            self.get(model).map(|versions| Versions::clone(versions)).unwrap_or_default();
        let changed = change(&mut versions);
        self.set(model, versions);
        changed
    }

    /// Every version, ordered by name and version, from a given place on.
    fn from(&self, after: Option<&After>) -> impl Iterator<Item = &Arc<Published>> {
        let begin = after.map_or(0, |after| self.names.partition_point(|name| *name < after.model));
        self.names[begin..].iter().flat_map(move |name| {
            let low = match after {
                Some(After { model, version: Some(version) }) if model == name => {
                    Some(Bound::Excluded(version))
                }
                Some(After { model, version: None }) if model == name => None,
                Some(_) | None => Some(Bound::Unbounded),
            };
            let versions = low.zip(self.by_name.get(name));
            versions.into_iter().flat_map(|(low, versions)| {
                versions.range::<Version, _>((low, Bound::Unbounded)).map(|(_, version)| version)
            })
        })
    }

    /// Every version of a publisher, ordered by name and version.
    fn of_publisher(&self, publisher: &AccountName) -> impl Iterator<Item = &Arc<Published>> {
        let begin = self.names.partition_point(|name| name.publisher < *publisher);
        let own = self.names[begin..].iter().take_while(move |name| name.publisher == *publisher);
        own.filter_map(|name| self.by_name.get(name)).flat_map(|versions| versions.values())
    }

    /// Every version, ordered by name and version.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Published>> {
        self.from(None)
    }
}

/// The version that a reference means, among those the caller knows of.
pub(super) fn find<'p>(
    published: &'p Models,
    model: &ModelName,
    reference: &Reference,
    known: impl Fn(&Published) -> bool,
) -> Result<&'p Arc<Published>, ResolveError> {
    let none = || ResolveError::NoModel(model.clone());
    let versions = &**published.get(model).ok_or_else(none)?;
    if let Some(picked) = pick(versions, reference, &known) {
        return Ok(picked);
    }
    let known = versions.iter().filter(|(_, version)| known(version));
    let versions: Vec<_> = known.map(|(version, _)| version.to_string()).collect();
    if versions.is_empty() {
        return Err(none());
    }
    Err(ResolveError::NoVersion { model: model.clone(), wanted: wanted(reference), versions })
}

fn pick<'live>(
    versions: &'live Versions,
    reference: &Reference,
    known: impl Fn(&Published) -> bool,
) -> Option<&'live Arc<Published>> {
    match reference {
        Reference::Latest => versions
            .iter()
            .rfind(|(version, published)| version.pre.is_empty() && known(published))
            .or_else(|| versions.iter().rfind(|(_, published)| known(published)))
            .map(|(_, published)| published),
        Reference::Version(version) => versions.get(version).filter(|published| known(published)),
        Reference::Digest(digest) => versions
            .values()
            .find(|published| published.digest() == Some(digest) && known(published)),
    }
}

fn wanted(reference: &Reference) -> String {
    match reference {
        Reference::Latest => "at all".into(),
        Reference::Version(version) => format!("`{version}`"),
        Reference::Digest(digest) => format!("with digest `{digest}`"),
    }
}

impl Deployments {
    /// Passes every published version that is not withdrawn to `visit`, ordered by name and version, from a given place on, until `visit`
    /// stops.
    pub fn visit(
        &self,
        after: Option<&After>,
        visit: impl FnMut(&Arc<Published>) -> ControlFlow<()>,
    ) {
        // The visitor knows whether it reached the end.
        let _ = self.published.load().from(after).try_for_each(visit);
    }

    /// A publisher's versions that are in service, ordered by name and version.
    pub fn of_publisher(&self, publisher: &AccountName) -> Vec<Arc<Deployment>> {
        let published = self.published.load();
        published.of_publisher(publisher).filter_map(|one| one.deployment()).collect()
    }

    /// Number of published versions that are not withdrawn.
    pub fn count(&self) -> usize {
        self.published.load().by_name.values().map(|versions| versions.len()).sum()
    }

    /// Number of those in service, loaded or not.
    pub fn count_live(&self) -> usize {
        self.published.load().all().filter(|version| version.out_of_service().is_none()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Digest;

    fn name(text: &str) -> ModelName {
        text.parse().expect("a name")
    }

    fn version(text: &str) -> Version {
        text.parse().expect("a version")
    }

    fn add(models: &mut Models, model: &str, number: &str) {
        let (model, number) = (name(model), version(number));
        let published = Published::waiting(model.clone(), number.clone(), Digest::of(b"x"));
        models.change(&model, |versions| versions.insert(number, published));
    }

    fn listed(models: &Models, after: Option<&After>) -> Vec<String> {
        models.from(after).map(|one| format!("{}@{}", one.model(), one.version())).collect()
    }

    #[test]
    fn versions_are_listed_in_order_from_anywhere_on() {
        let mut models = Models::default();
        for (model, number) in [
            ("b/y", "1.0.0"),
            ("a/x", "2.0.0"),
            ("b/y", "0.9.0"),
            ("a/x", "10.0.0"),
            ("a/z", "1.0.0"),
        ] {
            add(&mut models, model, number);
        }
        let all = ["a/x@2.0.0", "a/x@10.0.0", "a/z@1.0.0", "b/y@0.9.0", "b/y@1.0.0"];
        assert_eq!(listed(&models, None), all);
        let after = |model: &str, number: Option<&str>| After {
            model: name(model),
            version: number.map(version),
        };
        assert_eq!(listed(&models, Some(&after("a/x", Some("2.0.0")))), all[1..]);
        assert_eq!(listed(&models, Some(&after("a/x", None))), all[2..]);
        assert_eq!(listed(&models, Some(&after("a/y", None))), all[2..], "it need not be there");
        assert_eq!(listed(&models, Some(&after("b/y", None))), all[5..]);
        let of = |publisher: &str| models.of_publisher(&publisher.parse().expect("a name")).count();
        assert_eq!(["a", "a-b", "b", "c"].map(of), [3, 0, 2, 0]);
        models.change(&name("a/z"), Versions::clear);
        assert!(models.get(&name("a/z")).is_none());
        assert_eq!(listed(&models, Some(&after("a/x", None))), all[3..]);
    }
}
