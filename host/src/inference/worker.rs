//! An inference worker: the process in which backends load and compute models.
//!
//! One thread steers, one loads, the others compute. It believes its host, for it can do nothing to it; what it must not do is
//! reach anything else, which [`crate::worker::confine`] sees to before the first model comes.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::os::fd::AsFd as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Instant;

use super::backend::onnxruntime::OnnxRuntime;
use super::backend::tract::Tract;
use super::backend::{Backend, BackendError, BackendKind, Model, Stop};
use super::protocol::{Done, Head, Job, JobError, Offered, Order, Report, Setup, VERSION};
use crate::tensor::Tensor;
use crate::worker::channel::{Buffer, Received};
use crate::worker::confine::{confine_around, start_no_more_threads};
use crate::worker::{ChannelError, End, MemoryError, SharedMemory};

/// Why a worker ends before its host wants it to.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("the connection to the host failed")]
    Channel(#[from] ChannelError),
    #[error("the shared memory cannot be used")]
    Memory(#[from] MemoryError),
    #[error("the host sent something else than was expected")]
    Unexpected,
    #[error("the host is of another version")]
    Version,
    #[error("a thread could not be started")]
    Thread(#[source] std::io::Error),
}

/// A model to load, as the thread that loads gets it.
struct Load {
    model: u32,
    backend: BackendKind,
    file: File,
    bytes: u64,
}

/// What the worker's threads share.
struct Shared {
    setup: Setup,
    work: End,
    control: End,
    memory: Arc<SharedMemory>,
    onnxruntime: Result<OnnxRuntime, BackendError>,
    models: Mutex<HashMap<u32, Arc<dyn Model>>>,
    jobs: Mutex<Jobs>,
}

#[derive(Default)]
struct Jobs {
    running: HashMap<u64, Arc<Stop>>,
    /// Cancelled before a thread took them: to be skipped.
    cancelled: BTreeSet<u64>,
}

/// Works until the host closes the connection.
///
/// # Errors
/// [`WorkerError`].
pub fn run(work: End, control: End) -> Result<(), WorkerError> {
    let mut buffer = Buffer::default();
    let Some(Received { message: Order::Setup(setup), file: Some(file) }) =
        control.receive(&mut buffer)?
    else {
        return Err(WorkerError::Unexpected);
    };
    if setup.version != VERSION {
        return Err(WorkerError::Version);
    }
    let bytes = setup.layout.bytes().ok_or(WorkerError::Unexpected)?;
    let memory = Arc::new(SharedMemory::open(file, bytes)?);
    let threads = NonZeroUsize::new(setup.threads as usize).ok_or(WorkerError::Unexpected)?;
    // The library is the operator's and is opened while there are files. It starts a thread when it begins: then they are given up.
    let library = OnnxRuntime::map(&setup.libraries);
    let keep = [work.as_fd(), control.as_fd(), memory.file()];
    let (confinement, onnxruntime) =
        confine_around(setup.limits, &keep, || library.and_then(|library| library.begin(threads)));
    let shared = Arc::new(Shared {
        setup,
        work,
        control,
        memory,
        onnxruntime,
        models: Mutex::default(),
        jobs: Mutex::default(),
    });
    let loader = start_threads(&shared, threads)?;
    start_no_more_threads();
    let backends = shared.offered();
    shared.control.send(&Report::Ready { version: VERSION, backends, confinement }, None)?;
    while let Some(order) = shared.control.receive(&mut buffer)? {
        shared.obey(order, &loader)?;
    }
    Ok(())
}

fn start_threads(
    shared: &Arc<Shared>,
    threads: NonZeroUsize,
) -> Result<mpsc::Sender<Load>, WorkerError> {
    for number in 0..threads.get() {
        let shared = Arc::clone(shared);
        let thread = std::thread::Builder::new().name(format!("compute-{number}"));
        thread.spawn(move || shared.compute()).map_err(WorkerError::Thread)?;
    }
    let (loader, loads) = mpsc::channel();
    let shared = Arc::clone(shared);
    let thread = std::thread::Builder::new().name("load".into());
    thread
        .spawn(move || loads.iter().for_each(|load| shared.load(load)))
        .map_err(WorkerError::Thread)?;
    Ok(loader)
}

/// Nothing that is kept in these locks is left half-way by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn offered(&self) -> Vec<Offered> {
        let found = self.onnxruntime.as_ref().map(OnnxRuntime::describe).map_err(Clone::clone);
        vec![
            Offered { kind: BackendKind::Onnxruntime, usable: found },
            Offered { kind: BackendKind::Tract, usable: Ok(Tract::describe()) },
        ]
    }

    fn obey(&self, order: Received<Order>, loader: &mpsc::Sender<Load>) -> Result<(), WorkerError> {
        match (order.message, order.file) {
            (Order::Load { model, backend, bytes }, Some(file)) => {
                let load = Load { model, backend, file: file.into(), bytes };
                loader.send(load).map_err(|_| WorkerError::Unexpected)
            }
            (Order::Unload { model }, None) => {
                let unloaded = lock(&self.models).remove(&model);
                drop(unloaded);
                Ok(())
            }
            (Order::Cancel { job }, None) => self.cancel(job),
            (Order::Setup(_), _)
            | (Order::Load { .. }, None)
            | (Order::Unload { .. } | Order::Cancel { .. }, Some(_)) => {
                Err(WorkerError::Unexpected)
            }
        }
    }

    fn cancel(&self, job: u64) -> Result<(), WorkerError> {
        let mut jobs = lock(&self.jobs);
        if let Some(stop) = jobs.running.get(&job).cloned() {
            drop(jobs);
            stop.stop();
            return Ok(());
        }
        jobs.cancelled.insert(job);
        // Some had ended already and will never be skipped: of as many as can be under way the newest are enough.
        while jobs.cancelled.len() > 2 * self.setup.layout.windows as usize {
            jobs.cancelled.pop_first();
        }
        drop(jobs);
        self.answer(&Done { job, nanos: 0, result: Err(JobError::Cancelled) });
        Ok(())
    }

    fn load(&self, load: Load) {
        let model = load.model;
        let loaded = catch_unwind(AssertUnwindSafe(|| self.try_load(load)));
        let report = match loaded.unwrap_or(Err(BackendError::Panicked)) {
            Ok(loaded) => {
                let signature = loaded.signature().clone();
                lock(&self.models).insert(model, loaded);
                Report::Loaded { model, signature }
            }
            Err(error) => Report::NotLoaded { model, error },
        };
        if let Err(ChannelError::TooLong { bytes }) = self.control.send(&report, None) {
            let text = format!("its inputs and outputs take {bytes} bytes to describe");
            let error = BackendError::Unsupported(text);
            // If that fails too, the host has gone, and the thread that steers ends the process.
            let _ = self.control.send(&Report::NotLoaded { model, error }, None);
        }
    }

    fn try_load(&self, load: Load) -> Result<Arc<dyn Model>, BackendError> {
        let mut bytes = Vec::new();
        let read = load.file.take(load.bytes).read_to_end(&mut bytes);
        read.map_err(|error| BackendError::Failed(format!("it cannot be read: {error}")))?;
        let model = match load.backend {
            BackendKind::Tract => Tract.load(&bytes)?,
            BackendKind::Onnxruntime => match &self.onnxruntime {
                Ok(backend) => backend.load(&bytes)?,
                Err(reason) => return Err(reason.clone()),
            },
        };
        Ok(model.into())
    }

    /// What a thread that computes does, until the host closes the connection.
    fn compute(&self) {
        let mut buffer = Buffer::default();
        while let Ok(Some(Received { message: job, file: None })) = self.work.receive(&mut buffer) {
            if let Some(done) = self.done(job) {
                self.answer(&done);
            }
        }
    }

    fn done(&self, job: Job) -> Option<Done> {
        let (number, window) = (job.job, job.window);
        let stop = Arc::new(Stop::default());
        {
            let mut jobs = lock(&self.jobs);
            if jobs.cancelled.remove(&number) {
                return None;
            }
            jobs.running.insert(number, Arc::clone(&stop));
        }
        let mark = |begun: bool| self.memory.write(self.setup.layout.mark(window), &[begun.into()]);
        let marked = mark(true);
        let began = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| self.outputs(job, &stop)))
            .unwrap_or(Err(JobError::Backend(BackendError::Panicked)));
        let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let marked = marked.and_then(|()| mark(false));
        lock(&self.jobs).running.remove(&number);
        let result = if marked.is_ok() { result } else { Err(JobError::Unknown) };
        Some(Done { job: number, nanos, result })
    }

    fn outputs(&self, job: Job, stop: &Stop) -> Result<Vec<Head>, JobError> {
        let layout = &self.setup.layout;
        let model = lock(&self.models).get(&job.model).cloned().ok_or(JobError::Unknown)?;
        let heads = job.inputs.iter().flatten();
        let mut places = layout.places(heads).ok_or(JobError::Unknown)?.into_iter();
        let inputs = job.inputs.into_iter().map(|head| {
            let Some((head, place)) = head.and_then(|head| Some((head, places.next()?))) else {
                return Ok(None);
            };
            let data = self.memory.view(layout.inputs(job.window) + place, head.bytes);
            let data = data.map_err(|_| JobError::Unknown)?;
            let tensor = Tensor::new(head.data_type, head.shape, data);
            tensor.map(Some).map_err(|_| JobError::Unknown)
        });
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let outputs = model.run(&inputs, stop).map_err(JobError::Backend)?;
        let heads: Vec<Head> = outputs.iter().map(Head::of).collect();
        let bytes = || heads.iter().map(|head| head.bytes as u64).fold(0, u64::saturating_add);
        let places = layout.places(&heads).ok_or_else(|| JobError::TooLarge { bytes: bytes() })?;
        for (output, place) in outputs.iter().zip(places) {
            let written = self.memory.write(layout.outputs(job.window) + place, output.data());
            written.map_err(|_| JobError::Unknown)?;
        }
        Ok(heads)
    }

    fn answer(&self, done: &Done) {
        if let Err(ChannelError::TooLong { bytes }) = self.work.send(done, None) {
            let error = BackendError::Failed(format!("its outputs take {bytes} bytes to describe"));
            let done = Done { result: Err(JobError::Backend(error)), ..*done };
            // If that fails too, the host has gone, and the thread that steers ends the process.
            let _ = self.work.send(&done, None);
        }
    }
}
