//! Readiness: whenever calls would fail, the host reports it.
//!
//! While no worker process can be started, models cannot be computed, but code without models still runs. The readiness of a version
//! reports its own state. The readiness of inference (the Open Inference Protocol: "all the models are ready") fails if any version is
//! affected. The host's readiness fails only if all are: then it can do nothing, and another host may.

use std::ops::ControlFlow;
use std::time::Duration;

use super::Host;

/// How long after start the host is not ready because versions are still loading. A call loads its version in any case.
const LOADING_PATIENCE: Duration = Duration::from_secs(1);

/// How often readiness is checked while somebody waits for it.
const READY_POLL: Duration = Duration::from_millis(100);

/// Why the host is not ready. Its text is for everybody, and names no more than the cause; the numbers are for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    #[error("the host is stopping; use another one")]
    Draining,
    #[error("the host has just started and is loading published versions")]
    Loading { left: usize, of: usize },
    #[error("the host cannot write receipts now; see its log")]
    Receipts,
    #[error("the host cannot read or write its records now; see its log")]
    Records,
    #[error("the host cannot start a process for inference now; see its log")]
    Workers { concerned: usize, of: usize },
}

impl Host {
    /// Whether the host is ready.
    ///
    /// # Errors
    /// [`NotReady`] with the reason.
    pub fn readiness(&self) -> Result<(), NotReady> {
        self.takes_calls()?;
        match self.not_computed() {
            Some((concerned, of)) if concerned == of => Err(NotReady::Workers { concerned, of }),
            _ => Ok(()),
        }
    }

    /// Whether the host is ready and each of its models can be computed.
    ///
    /// # Errors
    /// [`NotReady`] with the reason.
    pub fn inference_readiness(&self) -> Result<(), NotReady> {
        self.takes_calls()?;
        self.not_computed()
            .map_or(Ok(()), |(concerned, of)| Err(NotReady::Workers { concerned, of }))
    }

    /// The same without the versions' requirements.
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

    /// How many versions cannot be computed, and the total; `None` if all can.
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

    /// Waits until every loadable version is loaded.
    pub async fn loaded(&self) {
        self.deployments.loading().finished().await;
    }

    /// Waits until the host is ready.
    pub async fn ready(&self) {
        let left = LOADING_PATIENCE.saturating_sub(self.started.elapsed());
        // After that, calls load what they need.
        let _ = tokio::time::timeout(left, self.loaded()).await;
        while self.readiness().is_err() {
            tokio::time::sleep(READY_POLL).await;
        }
    }
}
