//! An inference worker: the process in which backends load and run models.
//!
//! One thread handles control messages, one loads models, the others run jobs. The worker trusts its host and must not reach anything
//! else. [`hospes_worker::confine`] ensures that before the first model arrives.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::num::NonZeroUsize;
use std::os::fd::AsFd as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Instant;

use super::backend::{Backend, BackendError, Context, Model, Needs, Source, Stop, TABLE};
use super::protocol::{self, Done, Form, Head, Job, JobError, Order, Report, Setup, VERSION};
use hospes_core::backend::BackendKind;
use hospes_core::tensor::Tensor;
use hospes_worker::channel::{Buffer, Received};
use hospes_worker::confine::{be_nice, confine_around, start_no_more_threads};
use hospes_worker::files::{Name, Offered};
use hospes_worker::memory::{give_back_heap, share_heaps};
use hospes_worker::{ChannelError, End, MemoryError, SharedMemory};

/// Why a worker ends early.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("the connection to the host failed")]
    Channel(#[from] ChannelError),
    #[error("the shared memory cannot be used")]
    Memory(#[from] MemoryError),
    #[error("the host sent an unexpected message")]
    Unexpected,
    #[error("the host is a different version")]
    Version,
    #[error("a thread could not be started")]
    Thread(#[source] std::io::Error),
}

/// A model for the loading thread.
struct Load {
    model: u32,
    backend: BackendKind,
    file: File,
    bytes: u64,
    form: Form,
}

/// What the worker's threads share.
struct Shared {
    setup: Setup,
    work: End,
    control: End,
    memory: Arc<SharedMemory>,
    /// In the order of the table.
    backends: Backends,
    models: Mutex<HashMap<u32, Arc<dyn Model>>>,
    /// What the backends' libraries may open by name.
    offered: Mutex<Vec<Offered>>,
    jobs: Mutex<Jobs>,
}

type Backends = Vec<(BackendKind, Result<Arc<dyn Backend>, BackendError>)>;

struct Jobs {
    running: HashMap<u64, Arc<Stop>>,
    /// Jobs that were cancelled before a thread took them. They are skipped, because their windows may belong to other jobs by then. The
    /// connection limits their number, because each job is cancelled only once, after it was sent.
    cancelled: BTreeSet<u64>,
    /// The newest job that was taken, for each window. A window's jobs have increasing numbers, so an older job that is not running has
    /// ended.
    taken: Vec<u64>,
}

/// What to do about a cancelled job.
enum Cancelled {
    Stop(Arc<Stop>),
    /// It has not begun. A thread will skip it, and its answer is sent now.
    Skip,
    /// It has already ended.
    Nothing,
}

impl Jobs {
    fn new(windows: u32) -> Self {
        let taken = vec![0; windows as usize];
        Self { running: HashMap::new(), cancelled: BTreeSet::new(), taken }
    }

    /// A thread takes a job. Returns its stop handle, or `None` if it was cancelled.
    fn take(&mut self, job: u64, window: u32) -> Option<Arc<Stop>> {
        if let Some(taken) = self.taken.get_mut(window as usize) {
            *taken = job.max(*taken);
        }
        if self.cancelled.remove(&job) {
            return None;
        }
        let stop = Arc::new(Stop::default());
        self.running.insert(job, Arc::clone(&stop));
        Some(stop)
    }

    fn cancel(&mut self, job: u64, window: u32) -> Result<Cancelled, WorkerError> {
        if let Some(stop) = self.running.get(&job) {
            return Ok(Cancelled::Stop(Arc::clone(stop)));
        }
        let taken = self.taken.get(window as usize).ok_or(WorkerError::Unexpected)?;
        if job <= *taken {
            return Ok(Cancelled::Nothing);
        }
        self.cancelled.insert(job);
        Ok(Cancelled::Skip)
    }
}

/// Runs the worker until the host closes the connection.
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
    let all = threads.saturating_add(setup.layout.newcomers as usize);
    share_heaps();
    // Libraries must be opened before the worker gives up access to files, and initialised afterwards, because that starts threads.
    let needs = Needs { libraries: &setup.libraries, threads, all_threads: all };
    let mapped: Vec<_> = TABLE.iter().map(|row| (row.kind, (row.map)(&needs))).collect();
    let keep = [work.as_fd(), control.as_fd(), memory.file()];
    let (confinement, backends) = confine_around(setup.limits, &keep, || {
        let begun =
            mapped.into_iter().map(|(kind, mapped)| (kind, mapped.and_then(|begin| begin())));
        begun.collect::<Backends>()
    });
    let jobs = Mutex::new(Jobs::new(setup.layout.windows));
    let (models, offered) = (Mutex::default(), Mutex::default());
    let shared = Shared { setup, work, control, memory, backends, models, offered, jobs };
    let shared = Arc::new(shared);
    let threads = start_threads(&shared, threads)?;
    start_no_more_threads();
    let backends = shared.offered();
    shared.control.send(&Report::Ready { version: VERSION, backends, confinement }, None)?;
    while let Some(order) = shared.control.receive(&mut buffer)? {
        shared.obey(order, &threads)?;
    }
    Ok(())
}

/// What the control thread hands on.
struct Threads {
    load: mpsc::Sender<Load>,
    /// To the threads for newcomers.
    first: mpsc::Sender<Job>,
}

fn start_threads(shared: &Arc<Shared>, threads: NonZeroUsize) -> Result<Threads, WorkerError> {
    for number in 0..threads.get() {
        start(shared, &format!("compute-{number}"), |shared| {
            leave_cores_to_newcomers();
            shared.compute();
        })?;
    }
    let (first, jobs) = mpsc::channel();
    let jobs = Arc::new(Mutex::new(jobs));
    for number in 0..shared.setup.layout.newcomers {
        let jobs = Arc::clone(&jobs);
        start(shared, &format!("first-{number}"), move |shared| {
            loop {
                let Ok(job) = lock(&jobs).recv() else { return };
                if let Some(done) = shared.done(job) {
                    shared.answer(&done);
                }
            }
        })?;
    }
    let (load, loads) = mpsc::channel();
    start(shared, "load", move |shared| {
        leave_cores_to_newcomers();
        loads.iter().for_each(|load| shared.load(load));
    })?;
    Ok(Threads { load, first })
}

/// The threads for newcomers have more of the cores that they share.
fn leave_cores_to_newcomers() {
    // Without it, newcomers are only less quick.
    let _ = be_nice();
}

fn start(
    shared: &Arc<Shared>,
    name: &str,
    work: impl FnOnce(&Shared) + Send + 'static,
) -> Result<(), WorkerError> {
    let shared = Arc::clone(shared);
    let thread = std::thread::Builder::new().name(name.into());
    thread.spawn(move || work(&shared)).map_err(WorkerError::Thread)?;
    Ok(())
}

/// Ignores poisoning: no panic leaves the locked data inconsistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn offered(&self) -> Vec<protocol::Offered> {
        let backends = self.backends.iter().map(|(kind, backend)| {
            let usable = backend.as_ref().map(|backend| backend.describe()).map_err(Clone::clone);
            protocol::Offered { kind: *kind, usable }
        });
        backends.collect()
    }

    fn obey(&self, order: Received<Order>, threads: &Threads) -> Result<(), WorkerError> {
        match (order.message, order.file) {
            (Order::Load { model, backend, bytes, form }, Some(file)) => {
                let load = Load { model, backend, file: file.into(), bytes, form };
                threads.load.send(load).map_err(|_| WorkerError::Unexpected)
            }
            (Order::First(job), None) => {
                threads.first.send(job).map_err(|_| WorkerError::Unexpected)
            }
            (Order::Offer { name }, Some(file)) => {
                lock(&self.offered).push(Offered::new(name, file));
                Ok(())
            }
            (Order::Unload { model }, None) => {
                let unloaded = lock(&self.models).remove(&model);
                drop(unloaded);
                give_back_heap();
                Ok(())
            }
            (Order::Cancel { job, window }, None) => self.cancel(job, window),
            (Order::Setup(_), _)
            | (Order::Load { .. } | Order::Offer { .. }, None)
            | (Order::Unload { .. } | Order::Cancel { .. } | Order::First(_), Some(_)) => {
                Err(WorkerError::Unexpected)
            }
        }
    }

    fn cancel(&self, job: u64, window: u32) -> Result<(), WorkerError> {
        let cancelled = lock(&self.jobs).cancel(job, window)?;
        match cancelled {
            Cancelled::Stop(stop) => stop.stop(),
            Cancelled::Skip => {
                self.answer(&Done { job, nanos: 0, result: Err(JobError::Cancelled) });
            }
            Cancelled::Nothing => {}
        }
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
            // If that fails too, the host is gone, and the control thread ends the process.
            let _ = self.control.send(&Report::NotLoaded { model, error }, None);
        }
    }

    fn try_load(&self, load: Load) -> Result<Arc<dyn Model>, BackendError> {
        let Load { backend: wanted, mut file, bytes, form, .. } = load;
        let mut backends = self.backends.iter();
        let backend = backends.find_map(|(kind, backend)| (*kind == wanted).then_some(backend));
        let lacking = || BackendError::Unsupported("this worker does not have the backend".into());
        let backend = backend.ok_or_else(lacking)?.as_ref().map_err(Clone::clone)?;
        let begin = match form {
            Form::Model | Form::Written => 0,
            Form::Mapped { weights_bytes } => weights_bytes,
        };
        let mut content = Vec::new();
        let read = file
            .seek(SeekFrom::Start(begin))
            .and_then(|_| (&mut file).take(bytes.saturating_sub(begin)).read_to_end(&mut content));
        read.map_err(|error| BackendError::Failed(format!("it cannot be read: {error}")))?;
        let loaded = match form {
            Form::Model => backend.load(Source::Model(&content)),
            Form::Written => backend.load(Source::Written(&content)),
            Form::Mapped { .. } => {
                let (signature, model) = postcard::take_from_bytes(&content)
                    .map_err(|error| BackendError::Failed(error.to_string()))?;
                let _weights = Offered::new(Name::Weights, file.into());
                backend.load(Source::Mapped { model, signature })
            }
        };
        loaded.map(Into::into)
    }

    /// A computing thread's loop, until the host closes the connection.
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
        let stop = lock(&self.jobs).take(number, window)?;
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
        let context = Context { call: job.call.received(), stop };
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
        let outputs = model.run(&inputs, &context).map_err(JobError::Backend)?;
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
            // If that fails too, the host is gone, and the control thread ends the process.
            let _ = self.work.send(&done, None);
        }
    }
}

#[cfg(test)]
pub(crate) mod here {
    //! A worker's threads in this process, for tests of the host's side.

    use super::*;
    use crate::protocol::Layout;
    use hospes_worker::Limits;

    /// Starts them with model 1. They end with the connection.
    pub(crate) fn start(
        (layout, threads): (Layout, u32),
        (work, control): (End, End),
        memory: SharedMemory,
        model: Arc<dyn Model>,
    ) {
        let limits = Limits { memory_bytes_max: 0, file_bytes_max: 0, cpu_max: None };
        let setup = Setup { version: VERSION, threads, layout, limits, libraries: Vec::new() };
        let shared = Arc::new(Shared {
            setup,
            work,
            control,
            memory: Arc::new(memory),
            backends: Vec::new(),
            models: Mutex::new(HashMap::from([(1, model)])),
            offered: Mutex::default(),
            jobs: Mutex::new(Jobs::new(layout.windows)),
        });
        let count = NonZeroUsize::new(threads as usize).expect("not zero");
        let threads = start_threads(&shared, count).expect("they start");
        std::thread::spawn(move || {
            let mut buffer = Buffer::default();
            while let Ok(Some(order)) = shared.control.receive(&mut buffer) {
                shared.obey(order, &threads).expect("an order of this host");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::protocol::{JobCall, Layout};
    use crate::signature::ModelSignature;
    use hospes_worker::Limits;

    const WINDOWS: u32 = 2;

    /// A model without outputs that counts its calls.
    struct Counting {
        signature: ModelSignature,
        runs: Arc<AtomicUsize>,
    }

    impl Model for Counting {
        fn signature(&self) -> &ModelSignature {
            &self.signature
        }

        fn run(&self, _: &[Option<Tensor>], _: &Context<'_>) -> Result<Vec<Tensor>, BackendError> {
            self.runs.fetch_add(1, Ordering::Relaxed);
            Ok(Vec::new())
        }
    }

    /// A worker with model 1, the host's end of the work connection, and the number of computations so far.
    fn worker() -> (Shared, End, Arc<AtomicUsize>) {
        let layout = Layout::new(WINDOWS, 1);
        let limits = Limits { memory_bytes_max: 0, file_bytes_max: 0, cpu_max: None };
        let setup = Setup { version: VERSION, threads: 1, layout, limits, libraries: Vec::new() };
        let (work, host) = End::pair().expect("a pair");
        let (control, _) = End::pair().expect("a pair");
        let memory = SharedMemory::create(layout.bytes().expect("countable")).expect("memory");
        let runs = Arc::new(AtomicUsize::new(0));
        let signature = ModelSignature { inputs: Vec::new(), outputs: Vec::new() };
        let model: Arc<dyn Model> = Arc::new(Counting { signature, runs: Arc::clone(&runs) });
        let worker = Shared {
            setup,
            work,
            control,
            memory: Arc::new(memory),
            backends: Vec::new(),
            models: Mutex::new(HashMap::from([(1, model)])),
            offered: Mutex::default(),
            jobs: Mutex::new(Jobs::new(WINDOWS)),
        };
        (worker, host, runs)
    }

    fn job(job: u64, window: u32) -> Job {
        let call = JobCall { id: None, account: 0, left_nanos: u64::MAX };
        Job { job, model: 1, window, call, inputs: Vec::new() }
    }

    /// Regression: the oldest of many cancelled jobs was forgotten, and ran in a window that belonged to another job by then.
    #[test]
    fn a_job_that_was_cancelled_is_never_computed_however_many_were_cancelled_after_it() {
        let (worker, host, runs) = worker();
        let window = |number: u64| u32::try_from(number).expect("small") % WINDOWS;
        let mut buffer = Buffer::default();
        for number in 1..=100 {
            worker.cancel(number, window(number)).expect("known");
            let done = host.receive::<Done>(&mut buffer).expect("read").expect("there").message;
            assert_eq!(done.job, number, "its caller's window is free at once");
            assert!(matches!(done.result, Err(JobError::Cancelled)));
        }
        for number in 1..=100 {
            assert!(worker.done(job(number, window(number))).is_none(), "{number}");
        }
        assert_eq!(runs.load(Ordering::Relaxed), 0);
        assert!(worker.done(job(101, 0)).is_some_and(|done| done.result.is_ok()));
        assert_eq!(runs.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn of_jobs_that_ended_before_they_were_cancelled_nothing_is_kept_and_nobody_hears_twice() {
        let (worker, host, runs) = worker();
        host.set_nonblocking().expect("a socket");
        // Threads may take jobs out of order.
        for number in [2, 1, 3, 4] {
            assert!(worker.done(job(number, 0)).is_some());
        }
        (1..=4).for_each(|number| worker.cancel(number, 0).expect("known"));
        let heard = host.receive::<Done>(&mut Buffer::default());
        assert!(heard.is_err_and(|error| error.would_block()));
        let jobs = lock(&worker.jobs);
        assert!(jobs.cancelled.is_empty() && jobs.running.is_empty());
        assert_eq!((jobs.taken.as_slice(), runs.load(Ordering::Relaxed)), (&[4, 0][..], 4));
    }

    #[test]
    fn a_job_that_runs_is_stopped_and_one_of_no_window_ends_the_worker() {
        let (worker, ..) = worker();
        let stop = lock(&worker.jobs).take(7, 1).expect("it was not cancelled");
        let cancelled = lock(&worker.jobs).cancel(7, 1);
        assert!(matches!(cancelled, Ok(Cancelled::Stop(same)) if Arc::ptr_eq(&same, &stop)));
        assert!(matches!(worker.cancel(8, WINDOWS), Err(WorkerError::Unexpected)));
    }
}
