//! The context of a computation: its call, and the means to stop it early.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::Caller;
use crate::batch::Meets;
use hospes_admission::{Priority, Took, Wish};
use hospes_core::id::CallId;

/// The call that a computation is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// `None` in a model's trial run.
    pub id: Option<CallId>,
    pub caller: Caller,
    /// From this time on, nobody waits for the outputs. The caller's side stops the computation ([`Stop`]), so a backend need not check it.
    pub deadline: Instant,
    /// Its order among its own caller's computations.
    pub priority: Priority,
    /// Whose rows may be in a batch with its own.
    pub meets: Meets,
}

impl Call {
    /// A computation that no account has requested, such as a trial run or a measurement.
    pub fn of_nobody(deadline: Instant) -> Self {
        let (priority, meets) = (Priority::default(), Meets::Nobody);
        Self { id: None, caller: Caller::NOBODY, deadline, priority, meets }
    }

    /// What it asks for besides a turn, if it takes so long.
    pub(crate) fn wish(&self, takes: Option<Took>) -> Wish {
        Wish { priority: self.priority, takes, until: Some(self.deadline) }
    }
}

/// What a backend knows of a computation besides its inputs.
pub struct Context<'c> {
    pub call: Call,
    pub stop: &'c Stop,
}

/// Stops a computation from another thread, in the way that its backend provides.
#[derive(Default)]
pub struct Stop(Mutex<Stopping>);

#[derive(Default)]
enum Stopping {
    /// The backend has not called [`Stop::on_stop`] yet.
    #[default]
    Unarmed,
    Armed(Box<dyn Fn() + Send>),
    Stopped,
}

impl Stop {
    /// Sets the function that stops the computation. It is called at once if the computation was stopped before.
    pub fn on_stop(&self, end: impl Fn() + Send + 'static) {
        let mut stopping = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*stopping, Stopping::Stopped) {
            drop(stopping);
            end();
        } else {
            *stopping = Stopping::Armed(Box::new(end));
        }
    }

    /// Whether the computation was stopped, for backends that can only check between two steps.
    pub fn is_stopped(&self) -> bool {
        let stopping = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(*stopping, Stopping::Stopped)
    }

    /// Stops the computation, now or as soon as [`Stop::on_stop`] is called.
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
