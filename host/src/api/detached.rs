//! Work that continues when its caller has gone.
//!
//! When a caller hangs up, the future that serves it is dropped. A running call must still end properly: it is metered, and its sandbox is
//! returned. A task per call would do that at the price of two task switches. Instead a call is polled in place, and becomes a task only if
//! it is dropped. Nobody can read its response then: it need not begin, and if it has begun it may end within [`LEFT_GRACE`], after which it
//! is told to stop.

use std::any::Any;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{CatchUnwind, FutureExt as _};
use tokio::runtime::Handle;

use crate::stop::Stop;

/// How long a call may still run after its caller has left.
const LEFT_GRACE: Duration = Duration::from_secs(1);

/// A future that is polled in place and survives being dropped. A panic in it becomes its result.
pub(super) struct Detached<F: Future + Send + 'static>
where
    F::Output: Send,
{
    /// Until it is done.
    work: Option<Pin<Box<CatchUnwind<AssertUnwindSafe<F>>>>>,
    leaving: Leaving,
}

/// What is set when nobody awaits the work any more.
#[derive(Debug, Clone, Default)]
pub(super) struct Leaving {
    /// At once.
    pub(super) gone: Arc<Stop>,
    /// After [`LEFT_GRACE`].
    pub(super) left: Arc<Stop>,
}

/// The work panicked.
#[derive(Debug)]
pub(super) struct Panicked(String);

impl<F> Detached<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    /// When `leaving.left` is set, the work should stop.
    pub(super) fn new(work: F, leaving: Leaving) -> Self {
        // Shared state is behind locks that survive a panic.
        Self { work: Some(Box::pin(AssertUnwindSafe(work).catch_unwind())), leaving }
    }
}

impl<F> Future for Detached<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    type Output = Result<F::Output, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let work = self.work.as_mut().expect("invariant: nothing polls a future that is done");
        let result = std::task::ready!(work.as_mut().poll(context));
        self.work = None;
        Poll::Ready(result.map_err(|panic| Panicked(message(panic.as_ref()))))
    }
}

impl<F> Drop for Detached<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn drop(&mut self) {
        // Without a runtime the process is ending: there is nobody to answer or meter.
        if let (Some(mut work), Ok(runtime)) = (self.work.take(), Handle::try_current()) {
            self.leaving.gone.set();
            let left = Arc::clone(&self.leaving.left);
            runtime.spawn(async move {
                let in_order = tokio::time::timeout(LEFT_GRACE, work.as_mut()).await;
                let ended = match in_order {
                    Ok(ended) => ended,
                    Err(_elapsed) => {
                        left.set();
                        work.await
                    }
                };
                if let Err(panic) = ended {
                    tracing::error!(
                        error = message(panic.as_ref()),
                        "a call whose caller had left panicked"
                    );
                }
            });
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it said nothing").to_owned()
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a task panicked: {}", self.0)
    }
}

impl std::error::Error for Panicked {}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn work_that_is_left_goes_on() {
        let done = Arc::new(AtomicBool::new(false));
        let work = {
            let done = Arc::clone(&done);
            async move {
                tokio::time::sleep(Duration::from_millis(30)).await;
                done.store(true, Ordering::SeqCst);
            }
        };
        let leaving = Leaving::default();
        let stop = Arc::clone(&leaving.left);
        let work = Detached::new(work, leaving);
        let left = tokio::time::timeout(Duration::from_millis(5), work).await;
        assert!(left.is_err() && !done.load(Ordering::SeqCst));
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(done.load(Ordering::SeqCst) && !stop.is_set());
    }

    #[tokio::test]
    async fn work_that_is_left_for_long_is_told_to_end() {
        let stop = Arc::new(Stop::default());
        let ended = Arc::new(Stop::default());
        let work = {
            let (stop, ended) = (Arc::clone(&stop), Arc::clone(&ended));
            async move {
                stop.wait().await;
                ended.set();
            }
        };
        let leaving = Leaving { left: Arc::clone(&stop), ..Leaving::default() };
        let work = Detached::new(work, leaving);
        let patience = LEFT_GRACE + Duration::from_millis(200);
        assert!(tokio::time::timeout(patience, work).await.is_err());
        assert!(!stop.is_set(), "somebody waited for it until now");
        let left = std::time::Instant::now();
        ended.wait().await;
        assert!(left.elapsed() >= LEFT_GRACE, "{:?}", left.elapsed());
    }

    #[tokio::test]
    async fn a_result_is_handed_on_and_a_panic_is_one() {
        let detached = Detached::new(async { 7 }, Leaving::default());
        assert_eq!(detached.await.ok(), Some(7));
        let panicked = Detached::new(async { panic!("by intent") }, Leaving::default()).await;
        let error = panicked.map(|(): ()| ()).expect_err("a panic").to_string();
        assert_eq!(error, "a task panicked: by intent");
    }
}
