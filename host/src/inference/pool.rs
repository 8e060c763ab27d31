//! Which worker computes whose models, and a spare one for when one is lost.
//!
//! A group of models shares a worker: those of one publisher, or one model alone (`inference.isolation`). Its worker is started when
//! it is first needed and ends with its last model; a new one takes its place, and the models are loaded there again, when it
//! was lost. A spare worker with its libraries loaded waits, so that this takes as long as loading the models.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::backend::BackendKind;
use super::protocol::{Layout, Setup, VERSION};
use super::remote::{Loss, Ready, RemoteError, Worker, WorkerStartError};
use super::signature::ModelSignature;
use super::strikes::{Culprit, Strikes};
use super::{ComputeError, LoadError, ModelSource, Settings};
use crate::id::{AccountName, Digest};
use crate::tensor::Tensor;
use crate::worker::{Limits, Program};

/// Jobs that a worker has for each of its threads: one that runs, and one so that the thread need not wait for the next.
const JOBS_PER_THREAD: u32 = 2;

/// Tries of a computation whose worker had ended before it began there.
const TRIES: usize = 3;

/// How often a worker is started again while none can be.
const START_AGAIN: Duration = Duration::from_secs(1);

/// Whose models share a worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Together {
    Publisher(AccountName),
    Model(AccountName, Digest),
}

/// The workers.
pub(super) struct Pool {
    program: Program,
    setup: Setup,
    workers_max: usize,
    workers: AtomicUsize,
    spare: Mutex<Spare>,
    /// Whether the last worker that was to start did not.
    starts_none: AtomicBool,
    groups: Mutex<HashMap<Together, Weak<Group>>>,
    pub(super) strikes: Arc<Strikes>,
}

#[derive(Default)]
struct Spare {
    ready: Option<Arc<Worker>>,
    is_starting: bool,
}

impl Pool {
    pub(super) fn new(settings: &Settings) -> Self {
        let threads = u32::try_from(settings.threads.get()).unwrap_or(u32::MAX);
        let windows = threads.saturating_mul(JOBS_PER_THREAD);
        let setup = Setup {
            version: VERSION,
            threads,
            layout: Layout::new(windows, settings.tensor_bytes_max.get()),
            limits: Limits { memory_bytes_max: settings.worker_memory_bytes_max, cpu_max: None },
            libraries: settings.libraries.clone(),
        };
        Self {
            program: settings.program.clone(),
            setup,
            workers_max: settings.workers_max.get(),
            workers: AtomicUsize::new(0),
            spare: Mutex::default(),
            starts_none: AtomicBool::new(false),
            groups: Mutex::default(),
            strikes: Arc::default(),
        }
    }

    /// Starts the first spare worker and says what it has.
    pub(super) async fn first(self: &Arc<Self>) -> Result<Ready, WorkerStartError> {
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
    pub(super) fn starts_none(&self) -> bool {
        self.starts_none.load(Ordering::Acquire)
    }

    fn spare(&self) -> std::sync::MutexGuard<'_, Spare> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The spare worker, or a new one; another is made ready for the next.
    async fn take(self: &Arc<Self>) -> Result<Arc<Worker>, WorkerStartError> {
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

    /// The processes that compute.
    pub(super) fn processes(&self) -> Vec<u32> {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let workers = groups.values().filter_map(Weak::upgrade).filter_map(|group| group.current());
        workers.map(|worker| worker.process()).collect()
    }

    /// The group of these models.
    pub(super) fn group(self: &Arc<Self>, together: Together) -> Arc<Group> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.retain(|_, group| group.strong_count() > 0);
        if let Some(group) = groups.get(&together).and_then(Weak::upgrade) {
            return group;
        }
        let group = Arc::new(Group {
            pool: Arc::clone(self),
            worker: ArcSwapOption::empty(),
            changing: tokio::sync::Mutex::default(),
        });
        groups.insert(together, Arc::downgrade(&group));
        group
    }
}

/// Models that share a worker.
pub(super) struct Group {
    pool: Arc<Pool>,
    worker: ArcSwapOption<Worker>,
    /// Held while a worker is taken, so that one is.
    changing: tokio::sync::Mutex<()>,
}

impl Group {
    /// The worker, if it is there and alive.
    fn current(&self) -> Option<Arc<Worker>> {
        self.worker.load_full().filter(|worker| worker.is_alive())
    }

    async fn worker(&self) -> Result<Arc<Worker>, ComputeError> {
        if let Some(worker) = self.current() {
            return Ok(worker);
        }
        let _changing = self.changing.lock().await;
        if let Some(worker) = self.current() {
            return Ok(worker);
        }
        let pool = &self.pool;
        if self.worker.load().is_none() {
            let counted =
                pool.workers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |workers| {
                    (workers < pool.workers_max).then_some(workers + 1)
                });
            counted.map_err(|_| ComputeError::Workers { max: pool.workers_max })?;
        }
        match pool.take().await {
            Ok(worker) => {
                self.worker.store(Some(Arc::clone(&worker)));
                Ok(worker)
            }
            Err(error) => {
                self.worker.store(None);
                pool.workers.fetch_sub(1, Ordering::Relaxed);
                tracing::error!(%error, "no worker could be started");
                Err(ComputeError::Lost { how: "not starting".into() })
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.worker.load().is_some() {
            self.pool.workers.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A model that is computed by its group's worker, whichever that is at the moment.
pub(super) struct RemoteModel {
    group: Arc<Group>,
    source: ModelSource,
    kind: BackendKind,
    pub(super) signature: ModelSignature,
}

impl RemoteModel {
    /// Whether there is a process that computes it, or one can be started, as far as it was tried.
    pub(super) fn has_worker(&self) -> bool {
        self.group.current().is_some() || !self.group.pool.starts_none()
    }

    /// Loads a model into its group's worker.
    pub(super) async fn load(
        group: Arc<Group>,
        source: ModelSource,
        kind: BackendKind,
    ) -> Result<Self, LoadError> {
        let failed = |loss| match loss {
            LoadLoss::Backend(source) => LoadError::Backend { kind, source },
            LoadLoss::Timeout => LoadError::Timeout { kind },
            LoadLoss::Lost(how) => LoadError::Lost { kind, how },
        };
        let worker =
            group.worker().await.map_err(|error| failed(LoadLoss::Lost(error.to_string())))?;
        let signature =
            load(&worker, &source, kind, Some(source.bytes.clone())).await.map_err(failed)?;
        Ok(Self { group, source: source.without_bytes(), kind, signature })
    }

    /// Computes the outputs. Dropping the future cancels the computation.
    pub(super) async fn compute(
        &self,
        inputs: &[Option<Tensor>],
        caller: u64,
    ) -> Result<Vec<Tensor>, ComputeError> {
        let culprit = Culprit { model: self.source.digest, caller };
        if let Some(wait) = self.group.pool.strikes.wait(&culprit) {
            return Err(ComputeError::BackedOff { wait });
        }
        for _ in 0..TRIES {
            let worker = self.group.worker().await?;
            let model = match worker.model(&(self.source.digest, self.kind)) {
                Some(model) => model,
                None => match self.load_again(&worker).await? {
                    Some(model) => model,
                    None => continue,
                },
            };
            match worker.compute(model, inputs, culprit).await {
                Err(RemoteError::NotBegun) => {}
                Err(RemoteError::Compute(error)) => return Err(error),
                Ok(outputs) => return Ok(outputs),
            }
        }
        Err(ComputeError::Lost {
            how: "ending again and again before the computation began".into(),
        })
    }

    /// Loads the model into a new worker; none if that has ended, too.
    async fn load_again(&self, worker: &Arc<Worker>) -> Result<Option<u32>, ComputeError> {
        let key = (self.source.digest, self.kind);
        match load(worker, &self.source, self.kind, None).await {
            Ok(signature) if signature == self.signature => Ok(worker.model(&key)),
            Ok(_other) => {
                worker.kill();
                Err(ComputeError::Lost { how: "loading the model as another one".into() })
            }
            Err(LoadLoss::Backend(error)) => Err(ComputeError::Backend(error)),
            Err(LoadLoss::Timeout) => {
                Err(ComputeError::Lost { how: "not loading the model in time".into() })
            }
            Err(LoadLoss::Lost(_)) => Ok(None),
        }
    }
}

impl Drop for RemoteModel {
    fn drop(&mut self) {
        if let Some(worker) = self.group.current() {
            worker.unload(&(self.source.digest, self.kind));
        }
    }
}

enum LoadLoss {
    Backend(super::BackendError),
    Timeout,
    Lost(String),
}

/// Has a worker load a model, unless it has it.
async fn load(
    worker: &Arc<Worker>,
    source: &ModelSource,
    kind: BackendKind,
    bytes: Option<bytes::Bytes>,
) -> Result<ModelSignature, LoadLoss> {
    let _loading = worker.loading.lock().await;
    if let Some(signature) = worker.signature(&(source.digest, kind)) {
        return Ok(signature);
    }
    let lost = |why: &dyn std::fmt::Display| LoadLoss::Lost(why.to_string());
    let reopen = Arc::clone(&source.reopen);
    let opened = tokio::task::spawn_blocking(move || match bytes {
        Some(bytes) => in_memory(&bytes),
        None => reopen(),
    });
    let opened = opened.await.unwrap_or_else(|panic| Err(io::Error::other(panic)));
    let file = opened.map_err(|error| lost(&error))?;
    let size = rustix::fs::fstat(&file).map_err(|error| lost(&error))?.st_size;
    let size = u64::try_from(size).unwrap_or_default();
    let loading = worker.load((source.digest, kind), file, size);
    match tokio::time::timeout(super::LOAD_TIMEOUT, loading).await {
        Ok(Ok(signature)) => Ok(signature),
        Ok(Err(Loss::Job(super::protocol::JobError::Backend(error)))) => {
            Err(LoadLoss::Backend(error))
        }
        Ok(Err(Loss::Job(_))) => Err(LoadLoss::Lost("an answer that is none".into())),
        Ok(Err(Loss::Ended(how))) => Err(LoadLoss::Lost(how.to_string())),
        Err(_elapsed) => {
            worker.kill();
            Err(LoadLoss::Timeout)
        }
    }
}

/// A file that is nowhere but in memory: what a worker reads a model from that is not kept yet.
pub(super) fn in_memory(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(rustix::fs::memfd_create("model", rustix::fs::MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}
