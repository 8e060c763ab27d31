//! Models, versions and digests that the operator has withdrawn. None of them is in service.
//!
//! Restored from the log alone, which `operations` reads when the host starts.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use semver::Version;

use crate::id::{ById, Digest, ModelName};
use crate::state::accounts::Cause;
use crate::state::deployments::{Deployments, Published, ResolveError};

/// What can be withdrawn.
#[derive(Debug, Clone, Copy)]
pub enum Withdrawable<'a> {
    Model(&'a ModelName),
    Version(&'a ModelName, &'a Version),
    /// The digest of a bundle, a component or a model's weights.
    Digest(&'a Digest),
}

/// Why a version is out of service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawal {
    /// What was withdrawn: the version, its model, or a digest of it.
    pub what: String,
    pub cause: Cause,
}

#[derive(Debug, Default, Clone)]
struct Withdrawn {
    models: ById<ModelName, Cause>,
    versions: ById<(ModelName, Version), Cause>,
    digests: ById<Digest, Cause>,
    /// Published versions that are out of service because of it.
    out: ById<(ModelName, Version), Withdrawal>,
}

impl Withdrawn {
    fn of<'d>(
        &self,
        model: &ModelName,
        version: &Version,
        digests: impl IntoIterator<Item = &'d Digest>,
    ) -> Option<Withdrawal> {
        let found = |what: String, cause: &Cause| Withdrawal { what, cause: cause.clone() };
        if self.is_empty() {
            return None;
        }
        if let Some(cause) = self.models.get(model) {
            return Some(found(model.to_string(), cause));
        }
        if let Some(cause) = self.versions.get(&(model.clone(), version.clone())) {
            return Some(found(format!("{model}@{version}"), cause));
        }
        let mut digests = digests.into_iter();
        digests.find_map(|digest| {
            self.digests.get(digest).map(|cause| found(digest.to_string(), cause))
        })
    }

    /// Why a published version is withdrawn. For a version that is not loaded yet, only its name and digest are checked.
    fn of_published(&self, published: &Published) -> Option<Withdrawal> {
        let (model, version) = (published.model(), published.version());
        let noted = self.out.get(&(model.clone(), version.clone())).cloned();
        noted.or_else(|| match published.deployment() {
            Some(live) => self.of(model, version, live.digests()),
            None => self.of(model, version, published.digest()),
        })
    }

    fn is_empty(&self) -> bool {
        self.models.is_empty() && self.versions.is_empty() && self.digests.is_empty()
    }

    /// Whether what is named so is withdrawn.
    fn has(&self, what: &str) -> bool {
        let is_version =
            |(model, version): &(ModelName, Version)| format!("{model}@{version}") == what;
        self.models.keys().any(|model| model.to_string() == what)
            || self.versions.keys().any(is_version)
            || self.digests.keys().any(|digest| digest.to_string() == what)
    }
}

/// What is withdrawn on this host.
#[derive(Default)]
pub struct Withdrawals(ArcSwap<Withdrawn>);

impl Withdrawals {
    /// Withdraws something. What is already in service stays until [`Withdrawals::take_out_of`].
    pub fn withdraw(&self, what: Withdrawable<'_>, cause: &Cause) {
        self.change(|withdrawn| {
            let cause = cause.clone();
            match what {
                Withdrawable::Model(model) => drop(withdrawn.models.insert(model.clone(), cause)),
                Withdrawable::Version(model, version) => {
                    drop(withdrawn.versions.insert((model.clone(), version.clone()), cause));
                }
                Withdrawable::Digest(digest) => drop(withdrawn.digests.insert(*digest, cause)),
            }
        });
    }

    /// Ends a withdrawal. Versions that it took out of service stay there until they are loaded again.
    pub fn lift(&self, what: Withdrawable<'_>) {
        let name = what.to_string();
        self.change(|withdrawn| {
            match what {
                Withdrawable::Model(model) => drop(withdrawn.models.remove(model)),
                Withdrawable::Version(model, version) => {
                    drop(withdrawn.versions.remove(&(model.clone(), version.clone())));
                }
                Withdrawable::Digest(digest) => drop(withdrawn.digests.remove(digest)),
            }
            withdrawn.out.retain(|_, withdrawal| withdrawal.what != name);
        });
    }

    /// Takes withdrawn versions out of service and ends their running calls.
    pub fn take_out_of(&self, deployments: &Deployments) {
        let withdrawn = self.0.load_full();
        if withdrawn.is_empty() {
            return;
        }
        let is_withdrawn = |published: &Published| withdrawn.of_published(published).is_some();
        for published in deployments.stop_where(is_withdrawn) {
            if let Some(withdrawal) = withdrawn.of_published(&published) {
                self.note(published.model(), published.version(), &withdrawal.into());
            }
        }
    }

    /// Rejects a version that is withdrawn by name or digest.
    ///
    /// # Errors
    /// [`ResolveError::Withdrawn`].
    pub fn check<'d>(
        &self,
        model: &ModelName,
        version: &Version,
        digests: impl IntoIterator<Item = &'d Digest>,
    ) -> Result<(), ResolveError> {
        match self.0.load().of(model, version, digests) {
            None => Ok(()),
            Some(withdrawal) => Err(withdrawal.into()),
        }
    }

    /// Whether digests are withdrawn.
    pub fn has_digests(&self) -> bool {
        !self.0.load().digests.is_empty()
    }

    /// Records that a published version is out of service because of a withdrawal.
    pub fn note(&self, model: &ModelName, version: &Version, error: &ResolveError) {
        let ResolveError::Withdrawn { what, at, reason } = error else { return };
        let cause = Cause { at: *at, reason: Arc::clone(reason) };
        let withdrawal = Withdrawal { what: what.clone(), cause };
        self.change(|withdrawn| {
            // It may have been lifted since somebody looked: nobody would lift it again.
            if withdrawn.has(&withdrawal.what) {
                drop(withdrawn.out.insert((model.clone(), version.clone()), withdrawal.clone()));
            }
        });
    }

    /// Whether no version is out of service because of a withdrawal.
    pub fn is_idle(&self) -> bool {
        self.0.load().out.is_empty()
    }

    /// The withdrawal that keeps a published version out of service, if any.
    pub fn why_out(&self, model: &ModelName, version: &Version) -> Option<Withdrawal> {
        let withdrawn = self.0.load();
        if withdrawn.out.is_empty() {
            return None;
        }
        withdrawn.out.get(&(model.clone(), version.clone())).cloned()
    }

    /// Every withdrawal, as the operator named it, in order.
    pub fn list(&self) -> Vec<Withdrawal> {
        let withdrawn = self.0.load();
        let named = |what: String, cause: &Cause| Withdrawal { what, cause: cause.clone() };
        let models = withdrawn.models.iter().map(|(model, cause)| named(model.to_string(), cause));
        let versions = withdrawn.versions.iter();
        let versions =
            versions.map(|((model, version), cause)| named(format!("{model}@{version}"), cause));
        let digests = withdrawn.digests.iter();
        let digests = digests.map(|(digest, cause)| named(digest.to_string(), cause));
        let mut all: Vec<_> = models.chain(versions).chain(digests).collect();
        all.sort_by(|one, other| one.what.cmp(&other.what));
        all
    }

    fn change(&self, change: impl Fn(&mut Withdrawn)) {
        self.0.rcu(|withdrawn| {
            let mut withdrawn = Withdrawn::clone(withdrawn);
            change(&mut withdrawn);
            withdrawn
        });
    }
}

impl fmt::Display for Withdrawable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Withdrawable::Model(model) => write!(f, "{model}"),
            Withdrawable::Version(model, version) => write!(f, "{model}@{version}"),
            Withdrawable::Digest(digest) => write!(f, "{digest}"),
        }
    }
}

impl From<Withdrawal> for ResolveError {
    fn from(Withdrawal { what, cause: Cause { at, reason } }: Withdrawal) -> Self {
        ResolveError::Withdrawn { what, at, reason }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn what_was_lifted_since_somebody_looked_is_not_noted() {
        let (withdrawals, version) = (Withdrawals::default(), Version::new(1, 0, 0));
        let model: ModelName = "acme/m".parse().expect("a name");
        let digest = Digest::of(b"bundle");
        let cause = Cause { at: Timestamp::UNIX_EPOCH, reason: "a test".into() };
        for what in [
            Withdrawable::Model(&model),
            Withdrawable::Version(&model, &version),
            Withdrawable::Digest(&digest),
        ] {
            withdrawals.withdraw(what, &cause);
            let error = withdrawals.check(&model, &version, [&digest]).expect_err("withdrawn");
            withdrawals.note(&model, &version, &error);
            assert!(withdrawals.why_out(&model, &version).is_some());
            withdrawals.lift(what);
            withdrawals.note(&model, &version, &error);
            assert!(withdrawals.is_idle(), "{what}");
        }
    }
}
