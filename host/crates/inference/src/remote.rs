//! The host's view of a worker process: its running jobs, and its end.
//!
//! The worker is untrusted: it may answer anything, late or never. A job whose caller has left is cancelled, and if the worker has not
//! released it after [`job::CANCEL_GRACE`], the process is killed. Its other jobs are computed elsewhere. A suspect ([`super::strikes`])
//! computes alone, which shows what crashed the process.

mod end;
mod job;
mod lease;

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, Shared};
use tokio::sync::{Notify, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, oneshot};

use super::backend::{BackendError, Call};
use super::graph::ComputeError;
use super::protocol::{
    Done, Head, Job, JobCall, JobError, Layout, Offered, Order, Report, Setup, VERSION,
};
use super::signature::ModelSignature;
use super::strikes::{Blame, Culprit, Strikes};
use super::windows::Windows;
use hospes_core::backend::BackendKind;
use hospes_core::id::Digest;
use hospes_core::tensor::Tensor;
use hospes_telemetry::{Allowance, Source};
use hospes_worker::channel::{Buffer, MESSAGE_BYTES_MAX, Received, Watched};
use hospes_worker::{
    ChannelError, Confinement, MemoryError, Process, Program, Role, Share, SharedMemory,
    SpawnError, Spawned,
};
use job::{UnderWay, Window};
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

/// The worker's report when it was ready.
#[derive(Debug, Clone)]
pub struct Ready {
    pub backends: Vec<Offered>,
    pub confinement: Confinement,
}

/// A worker. Dropping this ends the process.
pub struct Worker {
    inner: Arc<Inner>,
    ready: Ready,
    /// Its loaded models, with their numbers.
    models: RwLock<HashMap<ModelKey, (u32, ModelSignature)>>,
    /// Locked while a model is loaded: one at a time.
    pub(super) loading: tokio::sync::Mutex<()>,
    /// Models loading or queued: concurrent users share the load.
    loadings: Mutex<HashMap<ModelKey, Loading>>,
    users: Users,
    lines: Source,
}

/// The model, and its loading task.
pub(super) type ModelKey = (Digest, BackendKind);

/// A model being loaded, even if nobody waits for it any more.
pub(super) type Loading = Shared<BoxFuture<'static, Result<ModelSignature, LoadLoss>>>;

/// Why loading failed.
#[derive(Debug, Clone)]
pub(super) enum LoadLoss {
    Backend(BackendError),
    Timeout,
    Lost(String),
    /// The process ended for another reason: another one can load it.
    Bystander,
}

struct Inner {
    work: Watched,
    control: Watched,
    memory: SharedMemory,
    layout: Layout,
    strikes: Arc<Strikes>,
    windows: Windows,
    /// Suspects compute alone, others concurrently.
    company: Arc<tokio::sync::RwLock<()>>,
    state: Mutex<State>,
    /// Wakes the supervising task: a computation was cancelled, or the process is to end.
    changed: Notify,
    closing: AtomicBool,
    /// Nothing that it was loading was to blame.
    spares_loads: AtomicBool,
    alive: AtomicBool,
    next_job: AtomicU64,
    next_model: AtomicU32,
    process: u32,
}

struct State {
    running: HashMap<u64, Running>,
    /// The deadline of each cancelled job.
    overdue: BTreeSet<(Instant, u64)>,
    loads: HashMap<u32, (Culprit, oneshot::Sender<Result<ModelSignature, BackendError>>)>,
    ready: Option<oneshot::Sender<Ready>>,
    ended: Option<Arc<str>>,
}

/// A job given to the worker.
struct Running {
    window: u32,
    culprit: Culprit,
    began: Instant,
    answer: oneshot::Sender<Answer>,
    /// Its caller has left: the window is released when the job's end is reported.
    left: bool,
    /// Held until the job is over, even without a caller.
    _company: Company,
}

/// A job's result, and its computing time in nanoseconds, if reported.
type Answer = (Result<Vec<Head>, Loss>, Option<u64>);

/// Why a job failed.
pub(super) enum Loss {
    Job(JobError),
    /// The process ended.
    Ended(Arc<str>),
    /// The process ended because of another job: this one can run elsewhere.
    Bystander,
}

/// Why a computation failed.
pub(super) enum RemoteError {
    /// The process ended before the job began, or because of another one: this can run elsewhere.
    NotBegun,
    Compute(ComputeError),
}

impl Worker {
    /// Starts a worker and waits until it is ready.
    ///
    /// # Errors
    /// [`WorkerStartError`].
    pub(super) async fn start(
        program: &Program,
        setup: Setup,
        strikes: Arc<Strikes>,
    ) -> Result<Arc<Self>, WorkerStartError> {
        let layout = setup.layout;
        let bytes = layout.bytes().ok_or(WorkerStartError::Layout)?;
        let memory = SharedMemory::create(bytes)?;
        let share = Share::new(&setup.limits, bytes as u64, setup.threads.into());
        let spawned = Process::spawn(program, Role::Inference, share).await?;
        let Spawned { process, work, control } = spawned;
        control.send(&Order::Setup(setup), Some(memory.file()))?;
        let (ready, is_ready) = oneshot::channel();
        let ends = (Watched::new(work)?, Watched::new(control)?);
        let inner = Arc::new(Inner::new(ends, (memory, layout), (strikes, ready), process.id()));
        let lines = process.lines().clone();
        tokio::spawn(hear(Arc::clone(&inner)));
        tokio::spawn(look_after(Arc::clone(&inner), process));
        // Dropping it ends the process.
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

    /// Its report, and the confinement that is not supported.
    pub(super) fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Sets the publisher whose models it computes, for its log lines.
    pub(super) fn belongs_to(&self, allowance: Arc<Allowance>) {
        self.lines.belongs_to(allowance);
    }

    /// Whether it accepts requests.
    pub(super) fn is_alive(&self) -> bool {
        self.inner.alive.load(Ordering::Acquire)
    }

    /// The models being loaded. Nothing panics while holding this lock.
    pub(super) fn loadings(&self) -> MutexGuard<'_, HashMap<ModelKey, Loading>> {
        self.loadings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its process ID.
    pub(super) fn process(&self) -> u32 {
        self.inner.process
    }

    /// The number of a loaded model.
    pub(super) fn model(&self, key: &ModelKey) -> Option<u32> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        models.get(key).map(|(model, _)| *model)
    }

    /// A loaded model's signature.
    pub(super) fn signature(&self, key: &ModelKey) -> Option<ModelSignature> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        models.get(key).map(|(_, signature)| signature.clone())
    }

    /// Loads a model from a file of this size. One at a time: see [`Worker::loading`].
    ///
    /// # Errors
    /// The backend's error, or that the process ended.
    pub(super) async fn load(
        &self,
        key: ModelKey,
        culprit: &Culprit,
        (file, bytes): (OwnedFd, u64),
    ) -> Result<ModelSignature, Loss> {
        let model = self.inner.next_model.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        {
            let mut state = self.inner.lock();
            if state.ended.is_some() {
                // It has not begun there.
                return Err(Loss::Bystander);
            }
            state.loads.insert(model, (culprit.clone(), answer));
        }
        let order = Order::Load { model, backend: key.1, bytes };
        if self.inner.control.send(&order, Some(file.as_fd())).is_err() {
            self.inner.give_up();
        }
        match answered.await {
            Ok(Ok(signature)) => {
                let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
                models.insert(key, (model, signature.clone()));
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
        if let Some((model, _)) = model
            && self.inner.control.send(&Order::Unload { model }, None).is_err()
        {
            self.inner.give_up();
        }
    }

    /// Kills the process because of a model; its other jobs are computed elsewhere.
    pub(super) fn end_for(&self, culprit: &Culprit, how: &str) {
        // Once: several may find it useless at the same time.
        if self.inner.alive.swap(false, Ordering::AcqRel) {
            self.inner.strikes.strike(culprit, how);
        }
        self.inner.close();
    }

    /// Waits until all others have finished, if it must be alone.
    pub(super) async fn company(&self, alone: bool) -> Company {
        let company = Arc::clone(&self.inner.company);
        if alone {
            Company::Alone(company.write_owned().await)
        } else {
            Company::Others(company.read_owned().await)
        }
    }

    /// Computes a model's outputs. Dropping the future cancels the computation.
    pub(super) async fn compute(
        &self,
        task: Task<'_>,
        inputs: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>, RemoteError> {
        let inner = &self.inner;
        let Task { model, call, culprit, alone } = task;
        let number = inner.windows.take(call.caller).await.ok_or(RemoteError::NotBegun)?;
        let mut window = Window::new(inner, number);
        // After taking a window, so that nobody who waits for one blocks a job that must be alone.
        let company = self.company(alone).await;
        let heads: Vec<Option<Head>> =
            inputs.iter().map(|input| input.as_ref().map(Head::of)).collect();
        window.write_inputs(inputs, &heads).await.map_err(RemoteError::Compute)?;
        let (answer, answered) = oneshot::channel();
        let mut under_way = UnderWay::begin(window, culprit, company, answer)?;
        let (job, call) = (under_way.job, JobCall::of(&call));
        let job = Job { job, model, window: number, call, inputs: heads };
        match inner.work.send_ready(&job).await {
            Ok(()) => under_way.is_sent = true,
            Err(ChannelError::TooLong { bytes }) => {
                let text = format!(
                    "its inputs take {bytes} bytes to describe, more than the {MESSAGE_BYTES_MAX} \
                     that they may"
                );
                let error = BackendError::Unsupported(text);
                return Err(RemoteError::Compute(ComputeError::Backend(error)));
            }
            // It has gone: the reason is known when its process has ended.
            Err(_gone) => inner.give_up(),
        }
        let answer = answered.await;
        under_way.is_over = true;
        let (result, nanos) =
            answer.unwrap_or_else(|_dropped| (Err(Loss::Ended(inner.how_it_ended())), None));
        under_way.window.nanos = nanos;
        match result {
            Ok(heads) => under_way.window.read_outputs(&heads).await.map_err(RemoteError::Compute),
            Err(Loss::Bystander) => Err(RemoteError::NotBegun),
            Err(Loss::Ended(how)) => {
                Err(RemoteError::Compute(ComputeError::Lost { how: how.to_string() }))
            }
            Err(Loss::Job(error)) => Err(RemoteError::Compute(inner.error(error))),
        }
    }
}

/// The job, its caller, and whether it must run alone.
pub(super) struct Task<'c> {
    pub(super) model: u32,
    pub(super) call: Call,
    pub(super) culprit: &'c Culprit,
    pub(super) alone: bool,
}

/// What a computation holds of a worker until dropped.
#[expect(dead_code, reason = "they are held, not read")]
pub(super) enum Company {
    Others(OwnedRwLockReadGuard<()>),
    Alone(OwnedRwLockWriteGuard<()>),
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
        process: u32,
    ) -> Self {
        Self {
            work,
            control,
            memory,
            layout,
            strikes,
            windows: Windows::new(layout.windows),
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

    /// Has the supervising task end the process.
    fn close(&self) {
        self.alive.store(false, Ordering::Release);
        self.closing.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    /// The same if the process has ended or is useless: blames whoever ended it.
    fn give_up(&self) {
        self.alive.store(false, Ordering::Release);
        self.changed.notify_one();
    }

    /// An abandoned window: whether its pages go back to the system, and how long was computed in it.
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

    /// The worker's report on a job.
    fn take_done(&self, done: Done) {
        let mut state = self.lock();
        // An unknown job was never sent, or is over.
        let Some(running) = state.running.remove(&done.job) else { return };
        state.overdue.retain(|(_, job)| *job != done.job);
        drop(state);
        if running.left {
            // The worker may have written any amount there.
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

    /// When the process will be killed, if nothing changes.
    fn next_overdue(&self) -> Option<Instant> {
        self.lock().overdue.first().map(|(at, _)| *at)
    }
}

/// Receives the worker's job reports.
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
            // After a broken connection the process may have ended by itself: its own exit status says more.
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
                // It may have released that one by now.
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
