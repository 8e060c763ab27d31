//! Ending calls from outside: by their agreement, by the operator, or because the key that they were made with is revoked.

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
pub struct Stops([Option<Arc<Stop>>; STOPS_MAX]);

impl Stops {
    /// Those of a call.
    pub fn new(stops: [Option<Arc<Stop>>; STOPS_MAX]) -> Self {
        Self(stops)
    }

    /// Whether the call has to end.
    pub fn is_set(&self) -> bool {
        self.0.iter().flatten().any(|stop| stop.is_set())
    }

    /// Waits until the call has to end.
    pub async fn wait(&self) {
        let [one, two, three, four] = &self.0;
        tokio::select! {
            biased;
            () = wait(one.as_ref()) => {}
            () = wait(two.as_ref()) => {}
            () = wait(three.as_ref()) => {}
            () = wait(four.as_ref()) => {}
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
            assert!(!stops.is_set());
            let waiting = tokio::spawn({
                let stops = stops.clone();
                async move { stops.wait().await }
            });
            tokio::task::yield_now().await;
            all[at].set();
            waiting.await.expect("it ends");
            assert!(stops.is_set());
            stops.wait().await;
        }
        assert!(!Stops::default().is_set());
    }
}
