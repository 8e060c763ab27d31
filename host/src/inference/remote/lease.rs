//! Who does something with a worker: while anybody does, it does not make way for another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Worker;

/// What is counted of a worker that has made way: nobody begins anything with it.
const RETIRED: usize = usize::MAX;

/// How many do something with a worker.
#[derive(Debug, Default)]
pub(super) struct Users(AtomicUsize);

impl Users {
    /// One more, unless it has made way.
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

    /// Has nobody enter any more, if nobody is there.
    fn retire(&self) -> bool {
        self.0.compare_exchange(0, RETIRED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// A worker that is in use.
pub(in crate::inference) struct Lease(Arc<Worker>);

impl Worker {
    /// The worker, to do something with it; none if it has made way for another.
    pub(in crate::inference) fn lease(self: &Arc<Self>) -> Option<Lease> {
        if self.users.enter() { Some(Lease(Arc::clone(self))) } else { None }
    }

    /// Whether nobody does anything with it.
    pub(in crate::inference) fn is_idle(&self) -> bool {
        self.users.are_none()
    }

    /// Lets it make way for another, if nobody does anything with it: nobody will any more.
    pub(in crate::inference) fn retire(&self) -> bool {
        self.users.retire()
    }
}

impl Clone for Lease {
    fn clone(&self) -> Self {
        // It is in use, so it has not made way.
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
