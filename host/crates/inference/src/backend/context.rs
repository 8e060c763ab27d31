//! What a computation knows beside its tensors: the call that it is part of, and how it is ended early.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::Caller;
use hospes_core::id::CallId;

/// The call that a computation is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// None while a model is tried out.
    pub id: Option<CallId>,
    /// Who calls.
    pub caller: Caller,
    /// Nobody waits for the outputs from then on. Whoever asked ends the computation then ([`Stop`]); a backend need not look.
    pub deadline: Instant,
}

impl Call {
    /// What no account has asked for, as when a model is tried out or measured.
    pub fn of_nobody(deadline: Instant) -> Self {
        Self { id: None, caller: Caller::NOBODY, deadline }
    }
}

/// What a backend is told of a computation.
pub struct Context<'c> {
    pub call: Call,
    pub stop: &'c Stop,
}

/// Ends a computation from another thread, by the backend's own means.
#[derive(Default)]
pub struct Stop(Mutex<Stopping>);

#[derive(Default)]
enum Stopping {
    /// The backend has not said how.
    #[default]
    Unarmed,
    Armed(Box<dyn Fn() + Send>),
    Stopped,
}

impl Stop {
    /// How the computation can be ended. Called at once if it was to stop already.
    pub fn on_stop(&self, end: impl Fn() + Send + 'static) {
        let mut stopping = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*stopping, Stopping::Stopped) {
            drop(stopping);
            end();
        } else {
            *stopping = Stopping::Armed(Box::new(end));
        }
    }

    /// Whether the computation was to end: for backends that can look only between two steps.
    pub fn is_stopped(&self) -> bool {
        let stopping = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(*stopping, Stopping::Stopped)
    }

    /// Ends the computation, now or when it has said how.
    pub fn stop(&self) {
        let mut stopping = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Stopping::Armed(end) = std::mem::replace(&mut *stopping, Stopping::Stopped) {
            drop(stopping);
            end();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_computation_is_ended_once_whether_it_said_how_before_or_after() {
        let ended = Arc::new(AtomicUsize::new(0));
        let end = || {
            let ended = Arc::clone(&ended);
            move || {
                ended.fetch_add(1, Ordering::Relaxed);
            }
        };
        let (before, after) = (Stop::default(), Stop::default());
        before.on_stop(end());
        assert!(!before.is_stopped());
        before.stop();
        before.stop();
        after.stop();
        assert!(before.is_stopped() && after.is_stopped());
        after.on_stop(end());
        assert_eq!(ended.load(Ordering::Relaxed), 2);
    }
}
