//! The host's side of a worker process: its running jobs, and its end.
//!
//! The worker is untrusted: it may answer anything, late or never. If a caller leaves, its job is cancelled. If the worker does not release
//! the job within [`job::CANCEL_GRACE`], the host kills the process. Another worker then runs the other jobs. A suspect
//! ([`super::strikes`]) runs alone, which shows what crashed the process.

mod compute;
mod end;
mod job;
mod lease;

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, Shared};
use tokio::sync::{Notify, oneshot};

use super::backend::BackendError;
use super::figures::Figures;
use super::graph::{ComputeError, Held};
use super::protocol::{Done, Form, Head, JobError, Layout, Offered, Order, Report, Setup, VERSION};
use super::signature::ModelSignature;
use super::strikes::{Blame, Culprit, Strikes};
use super::windows::Windows;
pub(super) use compute::{Company, Task};
use hospes_core::backend::BackendKind;
use hospes_core::id::Digest;
use hospes_telemetry::{Allowance, Source};
use hospes_worker::channel::{Buffer, Received, Watched};
use hospes_worker::files::Name;
use hospes_worker::{
    ChannelError, Confinement, MemoryError, Process, Program, Role, Share, SharedMemory,
    SpawnError, Spawned,
};
pub(super) use lease::Lease;
use lease::Users;

/// How long a worker may take to become ready.
const READY_TIMEOUT: Duration = Duration::from_secs(20);

/// Why a worker could not be started.
#[derive(Debug, thiserror::Error)]
pub enum WorkerStartError {
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error("the connection to a worker failed")]
    Channel(#[from] ChannelError),
    #[error("a worker was not ready within {} s", READY_TIMEOUT.as_secs())]
    Late,
    #[error("a worker ended before it was ready: {0}")]
    Ended(Arc<str>),
    #[error("the worker is a different version of this program")]
    Version,
    #[error("`inference.tensor_bytes_max` and `inference.threads` are too large together")]
    Layout,
}

/// What a worker reports when it is ready.
#[derive(Debug, Clone)]
pub struct Ready {
    pub backends: Vec<Offered>,
    pub confinement: Confinement,
}

/// A worker. Dropping this ends the process.
pub struct Worker {
    inner: Arc<Inner>,
    ready: Ready,
    models: RwLock<HashMap<ModelKey, Loaded>>,
    /// Locked while a model is loaded, so that only one loads at a time.
    pub(super) loading: tokio::sync::Mutex<()>,
    /// Models that are loading or queued. Concurrent users of a model share the load.
    loadings: Mutex<HashMap<ModelKey, Loading>>,
    users: Users,
    lines: Source,
}

/// A model that the worker has loaded.
struct Loaded {
    number: u32,
    signature: ModelSignature,
    /// `None` until it was measured.
    held: Option<Held>,
}

/// A model's weights and its backend.
pub(super) type ModelKey = (Digest, BackendKind);

/// The load of a model. It continues even if nobody waits for it any more.
pub(super) type Loading = Shared<BoxFuture<'static, Result<ModelSignature, LoadLoss>>>;

/// Why loading failed.
#[derive(Debug, Clone)]
pub(super) enum LoadLoss {
    Backend(BackendError),
    Timeout,
    Lost(String),
    /// The process ended for another reason. Another worker can load the model.
    Bystander,
}

struct Inner {
    work: Watched,
    control: Watched,
    memory: SharedMemory,
    layout: Layout,
    strikes: Arc<Strikes>,
    windows: Windows,
    /// Suspects take the write lock to run alone, other jobs the read lock.
    company: Arc<tokio::sync::RwLock<()>>,
    state: Mutex<State>,
    /// Wakes the supervising task when a computation was cancelled or the process must end.
    changed: Notify,
    closing: AtomicBool,
    /// Set if no model that was loading is to blame for the end of the process.
    spares_loads: AtomicBool,
    alive: AtomicBool,
    next_job: AtomicU64,
    next_model: AtomicU32,
    process: u32,
}

struct State {
    running: HashMap<u64, Running>,
    /// The cancelled jobs, with the time at which the process is killed for each.
    overdue: BTreeSet<(Instant, u64)>,
    loads: HashMap<u32, (Culprit, oneshot::Sender<Result<ModelSignature, BackendError>>)>,
    ready: Option<oneshot::Sender<Ready>>,
    ended: Option<Arc<str>>,
}

/// A job that the worker has.
struct Running {
    window: u32,
    /// Those of the callers whose rows it computes.
    culprits: Vec<Culprit>,
    began: Instant,
    answer: oneshot::Sender<Answer>,
    /// Whether its caller has left. Then the window is released when the worker reports the job's end.
    left: bool,
    /// Held until the job is over, even if its caller has left.
    _company: Company,
}

/// A job's result, and its computing time in nanoseconds if the worker has reported it.
type Answer = (Result<Vec<Head>, Loss>, Option<u64>);

/// Why a job failed.
pub(super) enum Loss {
    Job(JobError),
    /// The process ended.
    Ended(Arc<str>),
    /// The process ended because of another job. This job can run in another worker.
    Bystander,
}

/// Why a computation failed.
#[derive(Debug)]
pub(super) enum RemoteError {
    /// The process ended before the job began, or because of another job. This job can run in another worker.
    NotBegun,
    Compute(ComputeError),
    /// The batch that it was part of failed, so it must be computed alone: from now on, if the model has not one row of outputs for each.
    Alone {
        for_good: bool,
    },
}

impl Worker {
    /// Starts a worker and waits until it is ready.
    ///
    /// # Errors
    /// [`WorkerStartError`].
    pub(super) async fn start(
        program: &Program,
        setup: Setup,
        (strikes, figures): (Arc<Strikes>, Arc<Figures>),
    ) -> Result<Arc<Self>, WorkerStartError> {
        let (layout, threads) = (setup.layout, setup.threads as usize);
        let bytes = layout.bytes().ok_or(WorkerStartError::Layout)?;
        let memory = SharedMemory::create(bytes)?;
        let share = Share::new(&setup.limits, bytes as u64, setup.threads.into());
        let spawned = Process::spawn(program, Role::Inference, share).await?;
        let Spawned { process, work, control } = spawned;
        control.send(&Order::Setup(setup), Some(memory.file()))?;
        let (ready, is_ready) = oneshot::channel();
        let ends = (Watched::new(work)?, Watched::new(control)?);
        let windows = Windows::new(layout, threads, figures);
        let inner = Inner::new(ends, (memory, layout), (strikes, ready), (windows, process.id()));
        let inner = Arc::new(inner);
        let lines = process.lines().clone();
        tokio::spawn(hear(Arc::clone(&inner)));
        tokio::spawn(look_after(Arc::clone(&inner), process));
        // Dropping the `Worker` ends the process.
        let worker = |ready| Self {
            inner: Arc::clone(&inner),
            ready,
            models: RwLock::default(),
            loading: tokio::sync::Mutex::default(),
            loadings: Mutex::default(),
            users: Users::default(),
            lines: lines.clone(),
        };
        match tokio::time::timeout(READY_TIMEOUT, is_ready).await {
            Ok(Ok(ready)) => Ok(Arc::new(worker(ready))),
            Ok(Err(_ended)) => Err(WorkerStartError::Ended(inner.how_it_ended())),
            Err(_elapsed) => {
                inner.close();
                Err(WorkerStartError::Late)
            }
        }
    }

    /// What the worker has reported.
    pub(super) fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Attributes the worker's log lines to the publisher whose models it runs.
    pub(super) fn belongs_to(&self, allowance: Arc<Allowance>) {
        self.lines.belongs_to(allowance);
    }

    /// Whether the worker accepts requests.
    pub(super) fn is_alive(&self) -> bool {
        self.inner.alive.load(Ordering::Acquire)
    }

    /// The models that are loading. Nothing panics while holding this lock.
    pub(super) fn loadings(&self) -> MutexGuard<'_, HashMap<ModelKey, Loading>> {
        self.loadings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process ID.
    pub(super) fn process(&self) -> u32 {
        self.inner.process
    }

    /// The number of a loaded model.
    pub(super) fn model(&self, key: &ModelKey) -> Option<u32> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        models.get(key).map(|loaded| loaded.number)
    }

    /// A loaded model's signature.
    pub(super) fn signature(&self, key: &ModelKey) -> Option<ModelSignature> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        models.get(key).map(|loaded| loaded.signature.clone())
    }

    /// The memory that a loaded model takes; `None` if it was not measured.
    pub(super) fn held(&self, key: &ModelKey) -> Option<Held> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        models.get(key)?.held
    }

    /// Notes the memory that a loaded model takes.
    pub(super) fn measured(&self, key: &ModelKey, held: Held) {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = models.get_mut(key) {
            loaded.held = Some(held);
        }
    }

    /// Gives the worker's backends a file by name.
    pub(super) fn offer(&self, name: Name, file: BorrowedFd<'_>) {
        if self.inner.control.send(&Order::Offer { name }, Some(file)).is_err() {
            self.inner.give_up();
        }
    }

    /// Loads a model from a file of this size. Callers must hold [`Worker::loading`].
    ///
    /// # Errors
    /// The backend's error, or that the process ended.
    pub(super) async fn load(
        &self,
        key: ModelKey,
        culprit: &Culprit,
        (file, bytes, form): (OwnedFd, u64, Form),
    ) -> Result<ModelSignature, Loss> {
        let model = self.inner.next_model.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        {
            let mut state = self.inner.lock();
            if state.ended.is_some() {
                // Loading has not begun, so the model is not to blame.
                return Err(Loss::Bystander);
            }
            state.loads.insert(model, (culprit.clone(), answer));
        }
        let order = Order::Load { model, backend: key.1, bytes, form };
        if self.inner.control.send(&order, Some(file.as_fd())).is_err() {
            self.inner.give_up();
        }
        match answered.await {
            Ok(Ok(signature)) => {
                let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
                let loaded = Loaded { number: model, signature: signature.clone(), held: None };
                models.insert(key, loaded);
                Ok(signature)
            }
            Ok(Err(error)) => Err(Loss::Job(JobError::Backend(error))),
            Err(_ended) if self.inner.spares_loads.load(Ordering::Acquire) => Err(Loss::Bystander),
            Err(_ended) => Err(Loss::Ended(self.inner.how_it_ended())),
        }
    }

    /// Unloads a model.
    pub(super) fn unload(&self, key: &ModelKey) {
        let model = self.models.write().unwrap_or_else(PoisonError::into_inner).remove(key);
        if let Some(Loaded { number: model, .. }) = model
            && self.inner.control.send(&Order::Unload { model }, None).is_err()
        {
            self.inner.give_up();
        }
    }

    /// Kills the process because of a model. Another worker runs its other jobs.
    pub(super) fn end_for(&self, culprit: &Culprit, how: &str) {
        // Strikes once, even if several callers give the worker up at the same time.
        if self.inner.alive.swap(false, Ordering::AcqRel) {
            self.inner.strikes.strike(culprit, how);
        }
        self.inner.close();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.inner.close();
    }
}

impl Inner {
    fn new(
        (work, control): (Watched, Watched),
        (memory, layout): (SharedMemory, Layout),
        (strikes, ready): (Arc<Strikes>, oneshot::Sender<Ready>),
        (windows, process): (Windows, u32),
    ) -> Self {
        Self {
            work,
            control,
            memory,
            layout,
            strikes,
            windows,
            company: Arc::default(),
            state: Mutex::new(State {
                running: HashMap::new(),
                overdue: BTreeSet::new(),
                loads: HashMap::new(),
                ready: Some(ready),
                ended: None,
            }),
            changed: Notify::new(),
            closing: AtomicBool::new(false),
            spares_loads: AtomicBool::new(false),
            alive: AtomicBool::new(true),
            next_job: AtomicU64::new(1),
            next_model: AtomicU32::new(1),
            process,
        }
    }

    /// Nothing panics while holding this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the supervising task to end the process. Nobody is to blame.
    fn close(&self) {
        self.alive.store(false, Ordering::Release);
        self.closing.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    /// Tells it to end the process after an error. The supervising task then finds out who is to blame.
    fn give_up(&self) {
        self.alive.store(false, Ordering::Release);
        self.changed.notify_one();
    }

    /// Returns a window. If `is_large`, its pages go back to the system. `nanos` is the reported computing time.
    fn free(&self, window: u32, is_large: bool, nanos: Option<u64>) {
        if is_large {
            let (at, bytes) = (self.layout.inputs(window), self.layout.part_bytes);
            self.memory.give_back(at, bytes.saturating_mul(2));
        }
        self.windows.give_back(window, nanos);
    }

    fn how_it_ended(&self) -> Arc<str> {
        self.lock().ended.clone().unwrap_or_else(|| "being closed".into())
    }

    fn error(&self, error: JobError) -> ComputeError {
        match error {
            JobError::Backend(error) => ComputeError::Backend(error),
            JobError::TooLarge { bytes } => ComputeError::TooLarge {
                what: "outputs",
                bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
                max: self.layout.part_bytes,
            },
            JobError::Cancelled | JobError::Unknown => {
                ComputeError::Lost { how: "an answer to a different request".into() }
            }
        }
    }

    /// Handles the worker's answer to a job.
    fn take_done(&self, done: Done) {
        let mut state = self.lock();
        // A job that is not running was never sent, or is over.
        let Some(running) = state.running.remove(&done.job) else { return };
        state.overdue.retain(|(_, job)| *job != done.job);
        drop(state);
        if running.left {
            // The worker may have written to the whole window.
            self.free(running.window, true, Some(done.nanos));
            return;
        }
        let _ = running.answer.send((done.result.map_err(Loss::Job), Some(done.nanos)));
    }

    fn take_report(&self, report: Report) -> Result<(), ()> {
        let mut state = self.lock();
        match report {
            Report::Ready { version, backends, confinement } if version == VERSION => {
                let ready = state.ready.take().ok_or(())?;
                let _ = ready.send(Ready { backends, confinement });
            }
            Report::Ready { .. } => return Err(()),
            Report::Loaded { model, signature } => {
                let _ = state.loads.remove(&model).ok_or(())?.1.send(Ok(signature));
            }
            Report::NotLoaded { model, error } => {
                let _ = state.loads.remove(&model).ok_or(())?.1.send(Err(error));
            }
        }
        Ok(())
    }

    /// When the next cancelled job becomes overdue. The process is then killed.
    fn next_overdue(&self) -> Option<Instant> {
        self.lock().overdue.first().map(|(at, _)| *at)
    }
}

/// Receives the worker's answers to jobs.
async fn hear(inner: Arc<Inner>) {
    let mut buffer = Buffer::default();
    while let Ok(Some(Received { message, file: None })) = inner.work.receive(&mut buffer).await {
        inner.take_done(message);
    }
    inner.alive.store(false, Ordering::Release);
    inner.changed.notify_one();
}

/// Supervises the process until it ends.
async fn look_after(inner: Arc<Inner>, mut process: Process) {
    let mut buffer = Buffer::default();
    let (mut overdue, mut refused) = (None, false);
    let status = loop {
        if !inner.alive.load(Ordering::Acquire) {
            // If the connection is broken, the process may have ended by itself. Its own exit status says more than a kill.
            let by_itself = tokio::time::timeout(Duration::from_millis(20), process.wait()).await;
            if let (Ok(status), false) = (by_itself, inner.closing.load(Ordering::Acquire)) {
                break status;
            }
            refused = true;
            process.kill();
            break process.wait().await;
        }
        let next = inner.next_overdue();
        let due = async {
            match next {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            status = process.wait() => break status,
            () = inner.changed.notified() => {}
            () = due => {
                // The worker may have released that job by now.
                let now = Instant::now();
                if inner.next_overdue().is_some_and(|at| at <= now) {
                    overdue = Some(now);
                    process.kill();
                    break process.wait().await;
                }
            }
            heard = inner.control.receive::<Report>(&mut buffer) => {
                let understood = match heard {
                    Ok(Some(Received { message, file: None })) => inner.take_report(message),
                    Ok(Some(Received { file: Some(_), .. }) | None) | Err(_) => Err(()),
                };
                if understood.is_err() {
                    inner.alive.store(false, Ordering::Release);
                }
            }
        }
    };
    let how = match (&status, overdue) {
        (Ok(_), Some(_)) => "being killed, because it did not stop a cancelled computation".into(),
        (Ok(status), None) => process.ending(status),
        (Err(error), _) => format!("an unknown end ({error})"),
    };
    if !inner.closing.load(Ordering::Acquire) {
        let publisher = process.lines().owner();
        tracing::warn!(process = inner.process, publisher, %how, "a worker ended");
    }
    let from_outside = status.as_ref().is_ok_and(|status| process.was_killed_from_outside(status));
    let blame = match (overdue, from_outside) {
        (Some(at), _) => Blame::Overdue(at),
        (None, true) if !refused => Blame::Nobody,
        (None, _) => Blame::Running,
    };
    inner.end(&how, blame);
}
