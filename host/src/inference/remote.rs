//! A worker process as the host sees it: what is under way there, and how it ends.
//!
//! The worker is foreign to the host: it may answer anything, late or never. A computation whose caller has left is cancelled, and if
//! the worker has not let go of it after [`CANCEL_GRACE`], the process is killed. What else was under way there is lost with it.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore, SemaphorePermit, oneshot};

use super::backend::{BackendError, BackendKind};
use super::graph::ComputeError;
use super::protocol::{Done, Head, Job, JobError, Layout, Offered, Order, Report, Setup, VERSION};
use super::signature::ModelSignature;
use super::strikes::{Culprit, Strikes};
use crate::id::Digest;
use crate::tensor::Tensor;
use crate::worker::channel::{Buffer, Received, Watched};
use crate::worker::{
    ChannelError, Confinement, MemoryError, Process, Program, Role, SharedMemory, SpawnError,
    Spawned, ending,
};

/// Time that a worker has to let go of a computation that was cancelled.
const CANCEL_GRACE: Duration = Duration::from_millis(250);

/// Time that a worker has to be ready.
const READY_TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes that are copied from or to shared memory before others get their turn.
const COPY_BYTES: usize = 1 << 20;

/// Bytes of a window's part that stay resident between computations.
const RESIDENT_BYTES: usize = 4 << 20;

/// Why a worker is not there.
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
    #[error("the worker is of another version of this program")]
    Version,
    #[error("`inference.tensor_bytes_max` and `inference.threads` are too large together")]
    Layout,
}

/// What a worker said when it was ready.
#[derive(Debug, Clone)]
pub struct Ready {
    pub backends: Vec<Offered>,
    pub confinement: Confinement,
}

/// A worker. The process ends when this is dropped.
pub struct Worker {
    inner: Arc<Inner>,
    ready: Ready,
    /// The models that it has loaded, and their numbers there.
    models: RwLock<HashMap<(Digest, BackendKind), (u32, ModelSignature)>>,
    /// Held while a model is loaded, so that it is loaded once.
    pub(super) loading: tokio::sync::Mutex<()>,
}

struct Inner {
    work: Watched,
    control: Watched,
    memory: SharedMemory,
    layout: Layout,
    strikes: Arc<Strikes>,
    /// One permit a free window.
    windows: Semaphore,
    state: Mutex<State>,
    /// Something for the task that looks after the process: a computation was cancelled, or this is to end.
    changed: Notify,
    closing: AtomicBool,
    alive: AtomicBool,
    next_job: AtomicU64,
    next_model: AtomicU32,
    process: u32,
}

struct State {
    running: HashMap<u64, Running>,
    /// When which cancelled job has to be over.
    overdue: BTreeSet<(Instant, u64)>,
    loads: HashMap<u32, oneshot::Sender<Result<ModelSignature, BackendError>>>,
    ready: Option<oneshot::Sender<Ready>>,
    free: Vec<u32>,
    ended: Option<Arc<str>>,
}

/// A job that the worker has.
struct Running {
    window: u32,
    culprit: Culprit,
    answer: oneshot::Sender<Result<Vec<Head>, Loss>>,
    /// Its caller has left: whoever hears that it is over gives the window back.
    left: bool,
}

/// Why a job has no outputs.
pub(super) enum Loss {
    Job(JobError),
    /// The process ended.
    Ended(Arc<str>),
}

/// Why a computation has no result.
pub(super) enum RemoteError {
    /// The process had ended before it got the job: another one can have it.
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
        let memory = SharedMemory::create(layout.bytes().ok_or(WorkerStartError::Layout)?)?;
        let Spawned { process, work, control } = Process::spawn(program, Role::Inference)?;
        control.send(&Order::Setup(setup), Some(memory.file()))?;
        let (ready, is_ready) = oneshot::channel();
        let inner = Arc::new(Inner {
            work: Watched::new(work)?,
            control: Watched::new(control)?,
            memory,
            layout,
            strikes,
            windows: Semaphore::new(layout.windows as usize),
            state: Mutex::new(State {
                running: HashMap::new(),
                overdue: BTreeSet::new(),
                loads: HashMap::new(),
                ready: Some(ready),
                free: (0..layout.windows).collect(),
                ended: None,
            }),
            changed: Notify::new(),
            closing: AtomicBool::new(false),
            alive: AtomicBool::new(true),
            next_job: AtomicU64::new(1),
            next_model: AtomicU32::new(1),
            process: process.id(),
        });
        tokio::spawn(hear(Arc::clone(&inner)));
        tokio::spawn(look_after(Arc::clone(&inner), process));
        // Dropping it ends the process.
        let worker = |ready| Self {
            inner: Arc::clone(&inner),
            ready,
            models: RwLock::default(),
            loading: tokio::sync::Mutex::default(),
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

    /// What it has and what it could not give up.
    pub(super) fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Whether it can be asked.
    pub(super) fn is_alive(&self) -> bool {
        self.inner.alive.load(Ordering::Acquire)
    }

    /// The number of its process.
    pub(super) fn process(&self) -> u32 {
        self.inner.process
    }

    /// The number of a model that it has loaded.
    pub(super) fn model(&self, key: &(Digest, BackendKind)) -> Option<u32> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        models.get(key).map(|(model, _)| *model)
    }

    /// What a model takes and gives, if it has loaded it.
    pub(super) fn signature(&self, key: &(Digest, BackendKind)) -> Option<ModelSignature> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        models.get(key).map(|(_, signature)| signature.clone())
    }

    /// Loads a model from a file, of so many bytes. One at a time: see [`Worker::loading`].
    ///
    /// # Errors
    /// What the backend says, or that the process ended.
    pub(super) async fn load(
        &self,
        key: (Digest, BackendKind),
        file: OwnedFd,
        bytes: u64,
    ) -> Result<ModelSignature, Loss> {
        let model = self.inner.next_model.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        {
            let mut state = self.inner.lock();
            if let Some(how) = &state.ended {
                return Err(Loss::Ended(Arc::clone(how)));
            }
            state.loads.insert(model, answer);
        }
        let order = Order::Load { model, backend: key.1, bytes };
        if self.inner.control.send(&order, Some(file.as_fd())).is_err() {
            self.inner.close();
        }
        match answered.await {
            Ok(Ok(signature)) => {
                let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
                models.insert(key, (model, signature.clone()));
                Ok(signature)
            }
            Ok(Err(error)) => Err(Loss::Job(JobError::Backend(error))),
            Err(_ended) => Err(Loss::Ended(self.inner.how_it_ended())),
        }
    }

    /// Forgets a model.
    pub(super) fn unload(&self, key: &(Digest, BackendKind)) {
        let model = self.models.write().unwrap_or_else(PoisonError::into_inner).remove(key);
        if let Some((model, _)) = model
            && self.inner.control.send(&Order::Unload { model }, None).is_err()
        {
            self.inner.close();
        }
    }

    /// Ends the process now; what is under way there is lost.
    pub(super) fn kill(&self) {
        self.inner.close();
    }

    /// Computes a model's outputs. Dropping the future cancels the computation.
    pub(super) async fn compute(
        &self,
        model: u32,
        inputs: &[Option<Tensor>],
        culprit: Culprit,
    ) -> Result<Vec<Tensor>, RemoteError> {
        let inner = &self.inner;
        let permit = inner.windows.acquire().await.map_err(|_ended| RemoteError::NotBegun)?;
        let mut window = Window::take(inner, permit).ok_or(RemoteError::NotBegun)?;
        let heads: Vec<Option<Head>> =
            inputs.iter().map(|input| input.as_ref().map(Head::of)).collect();
        window.write_inputs(inputs, &heads).await.map_err(RemoteError::Compute)?;
        let (answer, answered) = oneshot::channel();
        let mut under_way = UnderWay::begin(inner, &window, culprit, answer)?;
        let job = Job { job: under_way.job, model, window: window.number, inputs: heads };
        if inner.work.send(&job, None).is_err() {
            inner.close();
        }
        let result = answered.await;
        under_way.is_over = true;
        window.is_busy = false;
        match result {
            Ok(Ok(heads)) => window.read_outputs(&heads).await.map_err(RemoteError::Compute),
            Ok(Err(loss)) => Err(RemoteError::Compute(self.inner.error(loss))),
            Err(_dropped) => {
                Err(RemoteError::Compute(inner.error(Loss::Ended(inner.how_it_ended()))))
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.inner.close();
    }
}

impl Inner {
    /// Nothing panics while this is held.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the process ended by the task that looks after it.
    fn close(&self) {
        self.alive.store(false, Ordering::Release);
        self.closing.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    fn how_it_ended(&self) -> Arc<str> {
        self.lock().ended.clone().unwrap_or_else(|| "being closed".into())
    }

    fn error(&self, loss: Loss) -> ComputeError {
        match loss {
            Loss::Ended(how) => ComputeError::Lost { how: how.to_string() },
            Loss::Job(JobError::Backend(error)) => ComputeError::Backend(error),
            Loss::Job(JobError::TooLarge { bytes }) => ComputeError::TooLarge {
                what: "outputs",
                bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
                max: self.layout.part_bytes,
            },
            Loss::Job(JobError::Cancelled | JobError::Unknown) => {
                ComputeError::Lost { how: "an answer that does not belong to the question".into() }
            }
        }
    }

    /// What the worker says of a job.
    fn take_done(&self, done: Done) {
        let mut state = self.lock();
        // A job that was cancelled while it ended is answered twice.
        let Some(running) = state.running.remove(&done.job) else { return };
        state.overdue.retain(|(_, job)| *job != done.job);
        if running.left {
            state.free.push(running.window);
            drop(state);
            self.windows.add_permits(1);
            return;
        }
        drop(state);
        let _ = running.answer.send(done.result.map_err(Loss::Job));
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
                let _ = state.loads.remove(&model).ok_or(())?.send(Ok(signature));
            }
            Report::NotLoaded { model, error } => {
                let _ = state.loads.remove(&model).ok_or(())?.send(Err(error));
            }
        }
        Ok(())
    }

    /// When the process has to be killed, if nothing changes.
    fn next_overdue(&self) -> Option<Instant> {
        self.lock().overdue.first().map(|(at, _)| *at)
    }

    /// The process has ended: everybody who waits for it hears so.
    fn end(&self, how: &str, killed_for_overdue: bool) {
        self.alive.store(false, Ordering::Release);
        let mut state = self.lock();
        let how: Arc<str> = how.into();
        state.ended = Some(Arc::clone(&how));
        let running = std::mem::take(&mut state.running);
        let overdue: BTreeSet<u64> = state.overdue.iter().map(|(_, job)| *job).collect();
        state.loads.clear();
        state.ready = None;
        drop(state);
        self.windows.close();
        if !self.closing.load(Ordering::Acquire) {
            let began = |running: &Running| {
                let mut mark = Vec::new();
                self.memory.read(self.layout.mark(running.window), 1, &mut mark).is_ok()
                    && mark == [1]
            };
            for (job, running) in &running {
                let guilty =
                    if killed_for_overdue { overdue.contains(job) } else { began(running) };
                if guilty {
                    self.strikes.record(&running.culprit, &how);
                }
            }
        }
        for running in running.into_values() {
            let _ = running.answer.send(Err(Loss::Ended(Arc::clone(&how))));
        }
    }
}

/// Hears what the worker says of its jobs.
async fn hear(inner: Arc<Inner>) {
    let mut buffer = Buffer::default();
    while let Ok(Some(Received { message, file: None })) = inner.work.receive(&mut buffer).await {
        inner.take_done(message);
    }
    inner.alive.store(false, Ordering::Release);
    inner.changed.notify_one();
}

/// Looks after the process until it ends.
async fn look_after(inner: Arc<Inner>, mut process: Process) {
    let mut buffer = Buffer::default();
    let mut overdue = false;
    let status = loop {
        if !inner.alive.load(Ordering::Acquire) {
            // What broke off may have ended by itself: then its own end says more than ours.
            let by_itself = tokio::time::timeout(Duration::from_millis(20), process.wait()).await;
            if let (Ok(status), false) = (by_itself, inner.closing.load(Ordering::Acquire)) {
                break status;
            }
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
                overdue = true;
                process.kill();
                break process.wait().await;
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
        (Ok(_), true) => {
            "being killed, for it did not let go of a computation that had to end".into()
        }
        (Ok(status), false) => ending(status),
        (Err(error), _) => format!("an end that is not known ({error})"),
    };
    if !inner.closing.load(Ordering::Acquire) {
        tracing::warn!(process = inner.process, %how, "a worker ended");
    }
    inner.end(&how, overdue);
}

/// A window of the shared memory, given back when it is dropped, unless the worker still has it.
struct Window<'w> {
    inner: &'w Arc<Inner>,
    number: u32,
    /// The worker has a job in it.
    is_busy: bool,
    written: usize,
}

impl<'w> Window<'w> {
    fn take(inner: &'w Arc<Inner>, permit: SemaphorePermit<'w>) -> Option<Self> {
        let number = inner.lock().free.pop()?;
        permit.forget();
        Some(Self { inner, number, is_busy: false, written: 0 })
    }

    async fn write_inputs(
        &mut self,
        inputs: &[Option<Tensor>],
        heads: &[Option<Head>],
    ) -> Result<(), ComputeError> {
        let layout = &self.inner.layout;
        let lost = || ComputeError::TooLarge {
            what: "inputs",
            bytes: heads.iter().flatten().map(|head| head.bytes).fold(0, usize::saturating_add),
            max: layout.part_bytes,
        };
        let places = layout.places(heads.iter().flatten()).ok_or_else(lost)?;
        for (input, place) in inputs.iter().flatten().zip(places) {
            let mut at = layout.inputs(self.number) + place;
            for piece in input.data().chunks(COPY_BYTES) {
                if self.written >= COPY_BYTES {
                    tokio::task::yield_now().await;
                }
                self.inner.memory.write(at, piece).map_err(|_| lost())?;
                at += piece.len();
                self.written += piece.len();
            }
        }
        Ok(())
    }

    /// Copies the outputs before anything looks at them: the worker can still write there.
    async fn read_outputs(&mut self, heads: &[Head]) -> Result<Vec<Tensor>, ComputeError> {
        let layout = &self.inner.layout;
        let untrue = |what: &str| ComputeError::Lost { how: format!("an answer of {what}") };
        let places = layout.places(heads).ok_or_else(|| untrue("more than there is room for"))?;
        let mut outputs = Vec::with_capacity(heads.len());
        for (head, place) in heads.iter().zip(places) {
            let mut data = Vec::with_capacity(head.bytes);
            while data.len() < head.bytes {
                if data.len() >= COPY_BYTES {
                    tokio::task::yield_now().await;
                }
                let at = layout.outputs(self.number) + place + data.len();
                let piece = (head.bytes - data.len()).min(COPY_BYTES);
                let read = self.inner.memory.read(at, piece, &mut data);
                read.map_err(|_| untrue("more than there is room for"))?;
            }
            self.written = self.written.max(place + head.bytes);
            let tensor = Tensor::new(head.data_type, head.shape.clone(), data.into());
            outputs.push(tensor.map_err(|_| untrue("something that is no tensor"))?);
        }
        Ok(outputs)
    }
}

impl Drop for Window<'_> {
    fn drop(&mut self) {
        if self.is_busy {
            return;
        }
        if self.written > RESIDENT_BYTES {
            let (at, bytes) = (self.inner.layout.inputs(self.number), self.inner.layout.part_bytes);
            self.inner.memory.give_back(at, bytes.saturating_mul(2));
        }
        self.inner.lock().free.push(self.number);
        self.inner.windows.add_permits(1);
    }
}

/// A job that the worker has. Dropped before it is over, it is cancelled.
struct UnderWay<'w> {
    inner: &'w Inner,
    job: u64,
    is_over: bool,
}

impl<'w> UnderWay<'w> {
    fn begin(
        inner: &'w Inner,
        window: &Window<'_>,
        culprit: Culprit,
        answer: oneshot::Sender<Result<Vec<Head>, Loss>>,
    ) -> Result<Self, RemoteError> {
        let job = inner.next_job.fetch_add(1, Ordering::Relaxed);
        let mut state = inner.lock();
        if state.ended.is_some() {
            return Err(RemoteError::NotBegun);
        }
        let running = Running { window: window.number, culprit, answer, left: false };
        state.running.insert(job, running);
        Ok(Self { inner, job, is_over: false })
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut state = self.inner.lock();
        let Some(running) = state.running.get_mut(&self.job) else { return };
        running.left = true;
        state.overdue.insert((Instant::now() + CANCEL_GRACE, self.job));
        drop(state);
        if self.inner.control.send(&Order::Cancel { job: self.job }, None).is_err() {
            self.inner.close();
        }
        self.inner.changed.notify_one();
    }
}
