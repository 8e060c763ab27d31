//! Starts workers and keeps a spare one. If starting the spare worker fails, the pool tries again every second.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use super::Pool;
use crate::protocol::Setup;
use crate::remote::{Ready, Worker, WorkerStartError};
use hospes_core::id::AccountName;
use hospes_worker::Limits;

/// Time between two attempts to start the spare worker.
const START_AGAIN: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Spare {
    ready: Option<Arc<Worker>>,
    is_starting: bool,
}

impl Pool {
    /// Starts the first spare worker and returns its report.
    pub(crate) async fn first(self: &Arc<Self>) -> Result<Ready, WorkerStartError> {
        let worker = self.start().await?;
        let ready = worker.ready().clone();
        self.spare().ready = Some(worker);
        Ok(ready)
    }

    async fn start(&self) -> Result<Arc<Worker>, WorkerStartError> {
        let shared = (Arc::clone(&self.strikes), Arc::clone(&self.figures));
        let started = Worker::start(&self.program, self.setup.clone(), shared).await;
        self.starts_none.store(started.is_err(), Ordering::Release);
        started
    }

    /// A worker outside all groups, which makes an artefact of one of this publisher's models. It may write files of so many bytes. Nobody
    /// else is in it, so its end is no model's strike.
    pub(crate) async fn maker(
        &self,
        publisher: &AccountName,
        file_bytes_max: u64,
    ) -> Result<Arc<Worker>, WorkerStartError> {
        let limits = Limits { file_bytes_max, ..self.setup.limits };
        let setup = Setup { threads: 1, limits, ..self.setup.clone() };
        let worker = Worker::start(&self.program, setup, Default::default()).await?;
        worker.belongs_to(self.allowances.of(publisher));
        Ok(worker)
    }

    /// Whether the last attempt to start a worker failed and there is no spare one.
    pub(crate) fn starts_none(&self) -> bool {
        // Several workers start at a time: one may have succeeded before another failed.
        self.starts_none.load(Ordering::Acquire) && self.spare().ready.is_none()
    }

    fn spare(&self) -> MutexGuard<'_, Spare> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the spare worker or starts a new one, and starts the next spare one.
    pub(super) async fn take(self: &Arc<Self>) -> Result<Arc<Worker>, WorkerStartError> {
        let spare = self.spare().ready.take().filter(|worker| worker.is_alive());
        let worker = match spare {
            Some(worker) => worker,
            None => self.start().await.inspect_err(|_| self.make_spare())?,
        };
        self.make_spare();
        Ok(worker)
    }

    /// Starts a spare worker in the background, and retries until it succeeds.
    fn make_spare(self: &Arc<Self>) {
        let mut spare = self.spare();
        if spare.is_starting || spare.ready.is_some() {
            return;
        }
        spare.is_starting = true;
        drop(spare);
        let pool = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                // Stops when the pool is dropped.
                let Some(starting) = pool.upgrade() else { return };
                match starting.start().await {
                    Ok(worker) => {
                        let mut spare = starting.spare();
                        spare.is_starting = false;
                        spare.ready = Some(worker);
                        return;
                    }
                    Err(error) => tracing::error!(%error, "no spare worker could be started"),
                }
                drop(starting);
                tokio::time::sleep(START_AGAIN).await;
            }
        });
    }
}
