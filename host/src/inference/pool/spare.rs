//! The spare worker, and starting workers at all: while none can be started, it is tried again each second.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use super::Pool;
use crate::inference::remote::{Ready, Worker, WorkerStartError};

/// How often a worker is started again while none can be.
const START_AGAIN: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Spare {
    ready: Option<Arc<Worker>>,
    is_starting: bool,
}

impl Pool {
    /// Starts the first spare worker and says what it has.
    pub(in crate::inference) async fn first(self: &Arc<Self>) -> Result<Ready, WorkerStartError> {
        let worker = self.start().await?;
        let ready = worker.ready().clone();
        self.spare().ready = Some(worker);
        Ok(ready)
    }

    async fn start(&self) -> Result<Arc<Worker>, WorkerStartError> {
        let (setup, strikes) = (self.setup.clone(), Arc::clone(&self.strikes));
        let started = Worker::start(&self.program, setup, strikes).await;
        self.starts_none.store(started.is_err(), Ordering::Release);
        started
    }

    /// Whether no worker can be started, as far as it was tried.
    pub(in crate::inference) fn starts_none(&self) -> bool {
        // Several are started at a time: of two, the one that failed may have been the last.
        self.starts_none.load(Ordering::Acquire) && self.spare().ready.is_none()
    }

    fn spare(&self) -> MutexGuard<'_, Spare> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The spare worker, or a new one; another is made ready for the next.
    pub(super) async fn take(self: &Arc<Self>) -> Result<Arc<Worker>, WorkerStartError> {
        let spare = self.spare().ready.take().filter(|worker| worker.is_alive());
        let worker = match spare {
            Some(worker) => worker,
            None => self.start().await.inspect_err(|_| self.make_spare())?,
        };
        self.make_spare();
        Ok(worker)
    }

    /// Makes a spare worker ready, however long none can be started.
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
                // The pool may end meanwhile.
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
