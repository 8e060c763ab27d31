//! Leases on a worker. While there is one, the worker is not replaced.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Worker;

/// The count of a retired worker. Nobody can lease it.
const RETIRED: usize = usize::MAX;

/// The number of leases on a worker.
#[derive(Debug, Default)]
pub(super) struct Users(AtomicUsize);

impl Users {
    /// Adds a lease, unless the worker is retired.
    fn enter(&self) -> bool {
        let more = |users| if users == RETIRED { None } else { Some(users + 1) };
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    fn leave(&self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }

    fn are_none(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }

    /// Retires the worker if there are no leases.
    fn retire(&self) -> bool {
        self.0.compare_exchange(0, RETIRED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// A worker that is in use.
pub(crate) struct Lease(Arc<Worker>);

impl Worker {
    /// A lease on the worker; `None` if it is retired.
    pub(crate) fn lease(self: &Arc<Self>) -> Option<Lease> {
        if self.users.enter() { Some(Lease(Arc::clone(self))) } else { None }
    }

    /// Whether nobody has a lease on it.
    pub(crate) fn is_idle(&self) -> bool {
        self.users.are_none()
    }

    /// Retires the worker if nobody has a lease on it. After that, nobody can lease it.
    pub(crate) fn retire(&self) -> bool {
        self.users.retire()
    }
}

impl Clone for Lease {
    fn clone(&self) -> Self {
        // There is a lease, so the worker is not retired.
        self.0.users.enter();
        Self(Arc::clone(&self.0))
    }
}

impl std::ops::Deref for Lease {
    type Target = Arc<Worker>;

    fn deref(&self) -> &Arc<Worker> {
        &self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.users.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_does_not_make_way_and_what_has_made_way_is_not_used() {
        let users = Users::default();
        assert!(users.enter() && users.enter());
        users.leave();
        assert!(!users.retire() && !users.are_none());
        users.leave();
        assert!(users.are_none() && users.retire());
        assert!(!users.enter() && !users.retire());
    }
}
