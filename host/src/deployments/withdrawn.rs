//! Versions that were withdrawn, and what decides who may know of one.

use std::sync::Arc;

use semver::Version;

use super::{Deployment, Deployments, Models, Published, ResolveError};
use crate::id::{Digest, ModelName};

/// A published version by its name and digest: what decides who may know of it.
#[derive(Debug, Clone, Copy)]
pub struct Release<'r> {
    pub model: &'r ModelName,
    pub version: &'r Version,
    /// None if the record of the publication cannot be read.
    pub digest: Option<&'r Digest>,
}

impl Release<'_> {
    /// Whether these versions of a model are meant for it. Of a record that cannot be read nobody knows that they are not.
    pub fn is_covered(&self, covers: impl Fn(&Digest, &Version) -> bool) -> bool {
        self.digest.is_none_or(|digest| covers(digest, self.version))
    }
}

impl Deployment {
    /// Its name and digest.
    pub fn release(&self) -> Release<'_> {
        Release { model: &self.model, version: &self.version, digest: Some(&self.digest) }
    }
}

impl Deployments {
    /// Takes one version away that is out of service, after `keep` has made that durable.
    ///
    /// # Errors
    /// Those of `keep`; [`ResolveError::NoModel`], [`ResolveError::NoVersion`], [`ResolveError::InService`].
    pub fn take_out<E: From<ResolveError>>(
        &self,
        model: &ModelName,
        version: &Version,
        keep: impl FnOnce(Option<&Digest>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut withdrawn = self.lock();
        let broken = self.broken(model, version)?;
        keep(broken.digest())?;
        self.replace(model, version, None);
        if let Some(digest) = broken.digest() {
            withdrawn.insert((model.clone(), version.clone()), *digest);
        }
        Ok(())
    }

    /// Takes versions away and ends the calls that run on them. Returns them.
    pub fn stop_where(&self, stopped: impl Fn(&Published) -> bool) -> Vec<Arc<Published>> {
        let mut withdrawn = self.lock();
        let mut published = Models::clone(&self.published.load());
        let mut taken = Vec::new();
        for versions in published.values_mut() {
            versions.retain(|_, version| {
                let stays = !stopped(version);
                if !stays {
                    taken.push(Arc::clone(version));
                }
                stays
            });
        }
        published.retain(|_, versions| !versions.is_empty());
        for version in &taken {
            if let Some(digest) = version.digest() {
                withdrawn.insert((version.model().clone(), version.version().clone()), *digest);
            }
        }
        self.published.store(Arc::new(published));
        taken.iter().filter_map(|version| version.deployment()).for_each(|live| live.stop.set());
        taken
    }

    /// Has versions loaded that were withdrawn and are not any more.
    pub fn put_back(&self, versions: Vec<Arc<Published>>) {
        {
            let mut withdrawn = self.lock();
            for version in &versions {
                withdrawn.remove(&(version.model().clone(), version.version().clone()));
            }
        }
        self.remember(versions);
    }

    /// Published versions of a model that were withdrawn, in ascending order, with their digests.
    pub fn withdrawn_of(&self, model: &ModelName) -> Vec<(Version, Digest)> {
        let withdrawn = self.lock();
        let of_model = withdrawn.iter().filter(|((other, _), _)| other == model);
        of_model.map(|((_, version), digest)| (version.clone(), *digest)).collect()
    }

    /// Remembers a version that was withdrawn when the host stopped.
    pub fn remember_withdrawn(&self, model: ModelName, version: Version, digest: Digest) {
        self.lock().insert((model, version), digest);
    }

    /// Published versions that were withdrawn, in the order of names and versions.
    pub fn withdrawn(&self) -> Vec<(ModelName, Version)> {
        self.lock().keys().cloned().collect()
    }
}
