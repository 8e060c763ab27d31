//! Versions that were withdrawn, and what decides who may know of one.

use std::sync::Arc;

use semver::Version;

use super::models::Models;
use super::{Deployment, Deployments, Published, ResolveError};
use crate::id::{AccountName, Digest, ModelName};

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
    /// Takes one version away that is out of service, after `keep` has made that durable. Waits for the disk.
    ///
    /// # Errors
    /// Those of `keep`; [`ResolveError::NoModel`], [`ResolveError::NoVersion`], [`ResolveError::InService`].
    pub fn take_out<E: From<ResolveError>>(
        &self,
        model: &ModelName,
        version: &Version,
        keep: impl FnOnce(Option<&Digest>) -> Result<(), E>,
    ) -> Result<(), E> {
        let _changing = self.changing();
        let broken = self.broken(model, version)?;
        keep(broken.digest())?;
        self.replace(model, version, None);
        if let Some(digest) = broken.digest() {
            self.remember_withdrawn(model.clone(), version.clone(), *digest);
        }
        Ok(())
    }

    /// Takes versions away and ends the calls that run on them. Returns them.
    pub fn stop_where(&self, stopped: impl Fn(&Published) -> bool) -> Vec<Arc<Published>> {
        let _changing = self.changing();
        let mut published = Models::clone(&self.published.load());
        let taken: Vec<_> = published.all().filter(|one| stopped(one)).map(Arc::clone).collect();
        for of_model in taken.chunk_by(|one, other| one.model() == other.model()) {
            published.change(of_model[0].model(), |versions| {
                of_model.iter().for_each(|gone| drop(versions.remove(gone.version())));
            });
        }
        for version in &taken {
            if let Some(digest) = version.digest() {
                let (model, version) = (version.model().clone(), version.version().clone());
                self.remember_withdrawn(model, version, *digest);
            }
        }
        self.put(published);
        taken.iter().filter_map(|version| version.deployment()).for_each(|live| live.stop.set());
        taken
    }

    /// Has versions loaded that were withdrawn and are not any more.
    pub fn put_back(&self, versions: Vec<Arc<Published>>) {
        for version in &versions {
            self.forget_withdrawn(version.model(), version.version());
        }
        self.remember(versions);
    }

    /// Published versions of a model that were withdrawn, in ascending order, with their digests.
    pub fn withdrawn_of(&self, model: &ModelName) -> Vec<(Version, Digest)> {
        let withdrawn = self.lock();
        let of_model = withdrawn.get(model).into_iter().flatten();
        of_model.map(|(version, digest)| (version.clone(), *digest)).collect()
    }

    /// Remembers a version that was withdrawn when the host stopped.
    pub fn remember_withdrawn(&self, model: ModelName, version: Version, digest: Digest) {
        self.lock().entry(model).or_default().insert(version, digest);
    }

    /// Published versions of a publisher that were withdrawn, in the order of names and versions.
    pub fn withdrawn_by(&self, publisher: &AccountName) -> Vec<(ModelName, Version)> {
        let withdrawn = self.lock();
        let own = withdrawn.iter().filter(|(model, _)| model.publisher == *publisher);
        own.flat_map(|(model, versions)| {
            versions.keys().map(|version| (model.clone(), version.clone()))
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_asks_does_not_wait_until_a_change_is_durable() {
        let deployments = Arc::new(Deployments::default());
        let model: ModelName = "acme/m".parse().expect("a name");
        let (version, digest) = (Version::new(1, 0, 0), Digest::of(b"bundle"));
        let waiting = Published::waiting(model.clone(), version.clone(), digest);
        deployments.remember(vec![waiting]);
        let (tell, told) = channel();
        let withdrawn = deployments.withdraw(&model, |gone| {
            assert_eq!(gone, [(version.clone(), digest)]);
            let (asking, model) = (Arc::clone(&deployments), model.clone());
            let version = version.clone();
            std::thread::spawn(move || {
                let is_free = asking.check_free(&model, &version, &digest).is_ok();
                let _ = tell.send((is_free, asking.withdrawn_of(&model).len(), asking.count()));
            });
            let told = told.recv_timeout(Duration::from_secs(10));
            assert_eq!(told, Ok((true, 0, 1)), "nothing has changed yet");
            Ok::<_, ResolveError>(())
        });
        withdrawn.expect("withdrawn");
        assert_eq!(deployments.withdrawn_of(&model), [(version, digest)]);
        assert_eq!(deployments.count(), 0);
    }
}
