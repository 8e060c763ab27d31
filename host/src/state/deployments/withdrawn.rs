//! Withdrawn versions, and the data that decides who may know of one.

use std::sync::Arc;

use semver::Version;

use super::models::Models;
use super::{Deployment, Deployments, Published, ResolveError};
use crate::id::{AccountName, Digest, ModelName};

/// A published version's name and digest, which decide who may know of it.
#[derive(Debug, Clone, Copy)]
pub struct Release<'r> {
    pub model: &'r ModelName,
    pub version: &'r Version,
    /// `None` if the publication's record cannot be read.
    pub digest: Option<&'r Digest>,
}

impl Release<'_> {
    /// Whether an offer or agreement covers it. With an unreadable record it is assumed to.
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
    /// Removes an out-of-service version, after `keep` has made that durable. Waits for the disk.
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
        // Before it is removed: its number is never free.
        if let Some(digest) = broken.digest() {
            self.remember_withdrawn(model.clone(), version.clone(), *digest);
        }
        self.replace(model, version, None);
        Ok(())
    }

    /// Removes versions and ends their running calls. Returns them.
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

    /// Puts versions back whose withdrawal has ended. Their numbers stay reserved, so nothing else is published under them meanwhile.
    /// Versions published again since then are left alone. Waits for running changes. Returns the versions that are back.
    pub fn put_back(&self, versions: Vec<Arc<Published>>) -> Vec<Arc<Published>> {
        let changing = self.changing();
        let is_withdrawn = |version: &Arc<Published>| {
            let withdrawn = self.lock();
            let of_model = withdrawn.get(version.model());
            of_model.and_then(|versions| versions.get(version.version())) == version.digest()
        };
        let back: Vec<_> = versions.into_iter().filter(is_withdrawn).collect();
        self.insert(back.iter().map(Arc::clone));
        back.iter().for_each(|back| self.forget_withdrawn(back.model(), back.version()));
        drop(changing);
        back
    }

    /// A model's withdrawn versions, in ascending order, with their digests.
    pub fn withdrawn_of(&self, model: &ModelName) -> Vec<(Version, Digest)> {
        let withdrawn = self.lock();
        let of_model = withdrawn.get(model).into_iter().flatten();
        of_model.map(|(version, digest)| (version.clone(), *digest)).collect()
    }

    /// Registers a version that was withdrawn when the host stopped.
    pub fn remember_withdrawn(&self, model: ModelName, version: Version, digest: Digest) {
        self.lock().entry(model).or_default().insert(version, digest);
    }

    /// A publisher's withdrawn versions, ordered by name and version.
    pub fn withdrawn_by(&self, publisher: &AccountName) -> Vec<(ModelName, Version)> {
        let withdrawn = self.lock();
        let from = withdrawn.range(ModelName::first_of(publisher)..);
        let own = from.take_while(|(model, _)| model.publisher == *publisher);
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
    use crate::state::deployments::Reference;

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

    fn withdrawn() -> (Arc<Deployments>, ModelName, Version, Digest) {
        let deployments = Arc::new(Deployments::default());
        let model: ModelName = "acme/m".parse().expect("a name");
        let (version, digest) = (Version::new(1, 0, 0), Digest::of(b"bundle"));
        deployments.remember_withdrawn(model.clone(), version.clone(), digest);
        (deployments, model, version, digest)
    }

    #[test]
    fn what_was_withdrawn_is_listed_by_publisher() {
        let (deployments, _, version, digest) = withdrawn();
        for model in ["ab/a", "acme/a", "acme-b/a", "b/a"] {
            let model = model.parse().expect("a name");
            deployments.remember_withdrawn(model, version.clone(), digest);
        }
        let of = |publisher: &str| {
            let own = deployments.withdrawn_by(&publisher.parse().expect("a name")).into_iter();
            own.map(|(model, _)| model.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(of("acme"), ["acme/a", "acme/m"]);
        assert_eq!((of("b"), of("c")), (vec!["b/a".to_owned()], Vec::new()));
    }

    #[test]
    fn a_version_that_comes_back_keeps_its_number_while_something_else_changes() {
        let (deployments, model, version, digest) = withdrawn();
        let other: ModelName = "acme/other".parse().expect("a name");
        let busy = Published::waiting(other.clone(), version.clone(), digest);
        deployments.remember(vec![busy]);
        let mut putting = None;
        let changed = deployments.withdraw(&other, |_| {
            let back = Published::waiting(model.clone(), version.clone(), digest);
            let theirs = Arc::clone(&deployments);
            putting = Some(std::thread::spawn(move || theirs.put_back(vec![back]).len()));
            for _ in 0..20 {
                let taken = deployments.check_free(&model, &version, &Digest::of(b"others"));
                assert!(matches!(taken, Err(ResolveError::VersionTaken { .. })), "{taken:?}");
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok::<_, ResolveError>(())
        });
        changed.expect("withdrawn");
        let back = putting.expect("begun").join().expect("no panic");
        assert_eq!((back, deployments.withdrawn_of(&model).len()), (1, 0));
        deployments.check_free(&model, &version, &digest).expect("the same bytes");
        deployments.check_free(&model, &version, &Digest::of(b"others")).expect_err("taken");
    }

    #[test]
    fn what_was_published_again_meanwhile_is_not_put_back() {
        let (deployments, model, version, digest) = withdrawn();
        let back = || vec![Published::waiting(model.clone(), version.clone(), digest)];
        assert_eq!(deployments.put_back(back()).len(), 1);
        let first = deployments.published(&model, &Reference::Version(version.clone()));
        assert!(deployments.put_back(back()).is_empty());
        let still = deployments.published(&model, &Reference::Version(version.clone()));
        let (first, still) = (first.expect("published"), still.expect("published"));
        assert!(Arc::ptr_eq(&first, &still), "nothing has taken its place");
    }
}
