//! Whether the host takes calls: every state in which they fail is one in which it says so.
//!
//! While no worker process can be started, models are not computed, and code without models runs as always. What is asked for one version says
//! so of that version. What is asked for all of inference (the Open Inference Protocol: "all the models are ready") says so if it
//! concerns any version; what is asked for the host, only if it concerns every one: then it can do nothing, and another host may.

use std::ops::ControlFlow;
use std::time::Duration;

use super::Host;

/// How long after its start the host says that it is not ready because versions are still being loaded. A call loads the version
/// that it needs, before as after.
const LOADING_PATIENCE: Duration = Duration::from_secs(1);

/// How often it is looked whether the host is ready, where somebody waits for it.
const READY_POLL: Duration = Duration::from_millis(100);

/// Why the host takes no calls now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    #[error("the host is stopping; use another one")]
    Draining,
    #[error("the host has just started and is loading published versions: {left} of {of} are left")]
    Loading { left: usize, of: usize },
    #[error("the host cannot write receipts now; see its log")]
    Receipts,
    #[error("the host cannot read or write its records now; see its log")]
    Records,
    #[error(
        "the host cannot start a process for inference, which {concerned} of {of} versions need; see its log"
    )]
    Workers { concerned: usize, of: usize },
}

impl Host {
    /// Whether the host takes calls.
    ///
    /// # Errors
    /// [`NotReady`] says why not.
    pub fn readiness(&self) -> Result<(), NotReady> {
        self.takes_calls()?;
        match self.not_computed() {
            Some((concerned, of)) if concerned == of => Err(NotReady::Workers { concerned, of }),
            _ => Ok(()),
        }
    }

    /// Whether the host takes calls and each of its models can be computed.
    ///
    /// # Errors
    /// [`NotReady`] says why not.
    pub fn inference_readiness(&self) -> Result<(), NotReady> {
        self.takes_calls()?;
        self.not_computed()
            .map_or(Ok(()), |(concerned, of)| Err(NotReady::Workers { concerned, of }))
    }

    /// The same but for what the versions need.
    fn takes_calls(&self) -> Result<(), NotReady> {
        if self.is_draining() {
            return Err(NotReady::Draining);
        }
        let left = self.deployments.loading().left();
        if left > 0 && self.started.elapsed() < LOADING_PATIENCE {
            let of = self.deployments.count();
            return Err(NotReady::Loading { left, of });
        }
        if self.receipts.take_calls().is_err() {
            return Err(NotReady::Receipts);
        }
        if self.store.is_failing() {
            return Err(NotReady::Records);
        }
        Ok(())
    }

    /// How many versions cannot be computed, of how many; none if each can.
    fn not_computed(&self) -> Option<(usize, usize)> {
        if !self.inference.starts_no_workers() {
            return None;
        }
        let (mut concerned, mut of) = (0, 0);
        self.deployments.visit(None, |published| {
            if let Some(live) = published.deployment() {
                of += 1;
                concerned += usize::from(!live.can_compute());
            }
            ControlFlow::Continue(())
        });
        (concerned > 0).then_some((concerned, of))
    }

    /// Waits until every version was loaded that could be.
    pub async fn loaded(&self) {
        self.deployments.loading().finished().await;
    }

    /// Waits until the host takes calls.
    pub async fn ready(&self) {
        let left = LOADING_PATIENCE.saturating_sub(self.started.elapsed());
        // Later, calls load what they need.
        let _ = tokio::time::timeout(left, self.loaded()).await;
        while self.readiness().is_err() {
            tokio::time::sleep(READY_POLL).await;
        }
    }
}
