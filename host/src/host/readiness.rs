//! Readiness: whenever calls would fail, the host reports it.
//!
//! While no worker process can be started, models cannot be computed, but code without models still runs. The readiness of a version
//! reports its own state. The readiness of inference (the Open Inference Protocol: "all the models are ready") fails if any version is
//! affected. The host's readiness fails only if all are: then it can do nothing, and another host may.

use std::ops::ControlFlow;
use std::time::Duration;

use super::Host;
use crate::state::deployments::{Deployment, Published, Reference};

/// How often readiness is checked while somebody waits for it.
const READY_POLL: Duration = Duration::from_millis(100);

/// Why the host is not ready. Its text is for everybody, and names no more than the cause; the numbers are for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    #[error("the host is stopping; use another one")]
    Draining,
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
                concerned += usize::from(!self.computes(published, &live));
            }
            ControlFlow::Continue(())
        });
        (concerned > 0).then_some((concerned, of))
    }

    /// Whether a version's models can be computed now. A version that is not loaded would need a worker for its models.
    pub fn can_compute(&self, live: &Deployment) -> bool {
        let reference = Reference::Digest(*live.digest());
        let published = self.deployments.published(live.model(), &reference);
        published.is_ok_and(|published| self.computes(&published, live))
    }

    fn computes(&self, published: &Published, live: &Deployment) -> bool {
        match published.loaded() {
            Some(loaded) => loaded.can_compute(),
            None => {
                let needs_none = live.models().is_empty() && live.decoders().is_empty();
                needs_none || !self.inference.starts_no_workers()
            }
        }
    }

    /// Waits until every version is described: those of older hosts are loaded for that once.
    pub async fn described(&self) {
        self.deployments.loading().all_known().await;
    }

    /// Waits until the host is ready.
    pub async fn ready(&self) {
        while self.readiness().is_err() {
            tokio::time::sleep(READY_POLL).await;
        }
    }
}
