//! Ending calls from outside: by their agreement, by the operator, because the key that they were made with is revoked, or because their
//! caller has left.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Ends every call that holds it.
#[derive(Debug, Default)]
pub struct Stop {
    set: AtomicBool,
    notify: Notify,
}

impl Stop {
    /// Ends the calls. A running guest notices at the next tick of the epoch, a waiting one at once.
    pub fn set(&self) {
        self.set.store(true, Ordering::SeqCst);
        self.notify.notify_waiters();
    }

    /// Whether calls have to end.
    pub fn is_set(&self) -> bool {
        self.set.load(Ordering::SeqCst)
    }

    /// Waits until calls have to end.
    pub async fn wait(&self) {
        let mut notified = pin!(self.notify.notified());
        // Registered before the flag is read, so that nothing is missed in between.
        notified.as_mut().enable();
        if !self.is_set() {
            notified.await;
        }
    }
}

/// Most things that one call may be ended by.
const STOPS_MAX: usize = 4;

/// All that may end one call from outside. Any of them does.
#[derive(Debug, Clone, Default)]
pub struct Stops {
    stops: [Option<Arc<Stop>>; STOPS_MAX],
    /// Set when the caller has left.
    left: Option<Arc<Stop>>,
}

/// Why a call has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It may not go on.
    Stopped,
    /// Its caller has left.
    Left,
}

impl Stops {
    /// Those of a call.
    pub fn new(stops: [Option<Arc<Stop>>; STOPS_MAX]) -> Self {
        Self { stops, left: None }
    }

    /// The same, and what is set when the call's caller has left.
    #[must_use]
    pub fn or_left(self, left: Option<Arc<Stop>>) -> Self {
        Self { left, ..self }
    }

    /// Why the call has to end, if it has to.
    pub fn cause(&self) -> Option<Cause> {
        if self.stops.iter().flatten().any(|stop| stop.is_set()) {
            return Some(Cause::Stopped);
        }
        self.left.as_ref().is_some_and(|left| left.is_set()).then_some(Cause::Left)
    }

    /// Waits until the call has to end, and says why.
    pub async fn wait(&self) -> Cause {
        let [one, two, three, four] = &self.stops;
        tokio::select! {
            biased;
            () = wait(one.as_ref()) => Cause::Stopped,
            () = wait(two.as_ref()) => Cause::Stopped,
            () = wait(three.as_ref()) => Cause::Stopped,
            () = wait(four.as_ref()) => Cause::Stopped,
            () = wait(self.left.as_ref()) => Cause::Left,
        }
    }
}

async fn wait(stop: Option<&Arc<Stop>>) {
    match stop {
        Some(stop) => stop.wait().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn any_stop_ends_a_call_that_waits_and_one_that_comes_later() {
        for at in 0..STOPS_MAX {
            let all: [Arc<Stop>; STOPS_MAX] = Default::default();
            let stops = Stops::new(all.clone().map(Some));
            assert_eq!(stops.cause(), None);
            let waiting = tokio::spawn({
                let stops = stops.clone();
                async move { stops.wait().await }
            });
            tokio::task::yield_now().await;
            all[at].set();
            assert_eq!(waiting.await.expect("it ends"), Cause::Stopped);
            assert_eq!(stops.cause(), Some(Cause::Stopped));
            assert_eq!(stops.wait().await, Cause::Stopped);
        }
        assert_eq!(Stops::default().cause(), None);
    }

    #[tokio::test]
    async fn a_caller_who_has_left_ends_a_call_and_a_stop_says_more() {
        let (left, stop) = (Arc::new(Stop::default()), Arc::new(Stop::default()));
        let stops = Stops::new([None, Some(Arc::clone(&stop)), None, None]);
        let stops = stops.or_left(Some(Arc::clone(&left)));
        assert_eq!(stops.cause(), None);
        left.set();
        assert_eq!((stops.cause(), stops.wait().await), (Some(Cause::Left), Cause::Left));
        stop.set();
        assert_eq!((stops.cause(), stops.wait().await), (Some(Cause::Stopped), Cause::Stopped));
    }
}
