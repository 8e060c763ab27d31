//! Assigns models to workers, and keeps a spare worker.
//!
//! A group of models shares a worker: all models of a publisher, or a single model (`inference.isolation`). The worker starts on first
//! use. It ends with its last model, or when it is idle and another group needs its place (`inference.workers_max`). If a worker has ended,
//! the next call starts another one and loads its model again. A spare worker has the libraries loaded, so starting takes no longer than
//! loading the models.

mod load;
mod spare;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};

use super::artefacts::Mapped;
use super::backend::Call;
use super::figures::Figures;
use super::footprint;
use super::graph::Held;
use super::protocol::{Layout, Setup, VERSION};
use super::remote::{Lease, LoadLoss, ModelKey, RemoteError, Task, Worker};
use super::seats::{Seat, Seats};
use super::signature::ModelSignature;
use super::strikes::{Culprit, Strikes};
use super::{Caller, ComputeError, LoadError, ModelSource, Settings};
use hospes_admission::{Late, Wish};
use hospes_core::backend::BackendKind;
use hospes_core::id::{AccountName, Digest};
use hospes_core::tensor::Tensor;
use hospes_telemetry::{Allowance, Allowances};
use hospes_worker::{Limits, Program};
pub use load::in_memory;
use load::{Content, loading, owned};
use spare::Spare;

/// Jobs per worker thread: one running, and one queued so that the thread does not wait for the next job.
const JOBS_PER_THREAD: u32 = 2;

/// Jobs of callers that have nothing else in a worker, beside those of its threads. They share the cores with them.
const NEWCOMERS: u32 = 1;

/// Attempts at a computation whose worker ended before it began, and at getting a worker.
const TRIES: usize = 3;

/// Which models share a worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Together {
    Publisher(AccountName),
    Model(AccountName, Digest),
}

/// The workers.
pub(super) struct Pool {
    program: Program,
    setup: Setup,
    threads: NonZeroUsize,
    workers_max: usize,
    /// One place per possible worker.
    seats: Arc<Seats>,
    began: Instant,
    spare: Mutex<Spare>,
    /// Whether the last attempt to start a worker failed.
    starts_none: AtomicBool,
    groups: Mutex<HashMap<Together, Weak<Group>>>,
    pub(super) strikes: Arc<Strikes>,
    pub(super) figures: Arc<Figures>,
    allowances: Arc<Allowances>,
}

impl Pool {
    pub(super) fn new(settings: &Settings) -> Self {
        let threads = u32::try_from(settings.threads.get()).unwrap_or(u32::MAX);
        let windows = threads.saturating_mul(JOBS_PER_THREAD);
        let setup = Setup {
            version: VERSION,
            threads,
            layout: Layout::new(windows, settings.tensor_bytes_max.get())
                .and_for_newcomers(NEWCOMERS),
            limits: Limits {
                memory_bytes_max: settings.worker_memory_bytes_max,
                file_bytes_max: 0,
                cpu_max: None,
            },
            libraries: settings.libraries.clone(),
        };
        Self {
            program: settings.program.clone(),
            setup,
            threads: settings.threads,
            workers_max: settings.workers_max.get(),
            seats: Seats::new(settings.workers_max.get()),
            began: Instant::now(),
            spare: Mutex::default(),
            starts_none: AtomicBool::new(false),
            groups: Mutex::default(),
            strikes: Arc::default(),
            figures: Arc::default(),
            allowances: Arc::clone(&settings.allowances),
        }
    }

    /// The worker processes.
    pub(super) fn processes(&self) -> Vec<u32> {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let workers = groups.values().filter_map(Weak::upgrade).filter_map(|group| group.current());
        workers.map(|worker| worker.process()).collect()
    }

    /// A place for another worker of this publisher. It is a free one within the publisher's share, or that of the longest idle worker of
    /// this publisher or of one with more workers.
    pub(super) fn seat(&self, publisher: &AccountName) -> Result<Seat, ComputeError> {
        if let Some(seat) = self.seats.take(publisher) {
            return Ok(seat);
        }
        let mut groups = self.givers(publisher);
        groups.sort_by_key(|group| group.latest.load(Ordering::Relaxed));
        let seat = groups.iter().find_map(|group| group.give_way());
        let seat = seat.map(|seat| seat.pass_to(publisher));
        seat.ok_or(ComputeError::Workers { max: self.workers_max })
    }

    /// Maximum worker processes.
    pub(super) fn workers_max(&self) -> usize {
        self.workers_max
    }

    /// What the process of a decoder gets: its program, its limits, and the possible paths of the library.
    pub(super) fn for_decoders(&self) -> (&Program, Limits, Vec<PathBuf>) {
        (&self.program, self.setup.limits, self.setup.libraries.clone())
    }

    /// How much a publisher's processes may log.
    pub(super) fn allowance(&self, publisher: &AccountName) -> Arc<Allowance> {
        self.allowances.of(publisher)
    }

    /// Whether [`Pool::seat`] would return a place now.
    fn has_seat(&self, publisher: &AccountName) -> bool {
        self.seats.has_for(publisher) || self.givers(publisher).iter().any(|group| group.gives())
    }

    /// The groups whose places this publisher may take.
    fn givers(&self, publisher: &AccountName) -> Vec<Arc<Group>> {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let mut groups: Vec<Arc<Group>> = groups.values().filter_map(Weak::upgrade).collect();
        groups.retain(|group| self.seats.gives(&group.publisher, publisher));
        groups
    }

    /// The group of a model.
    pub(super) fn group(self: &Arc<Self>, together: Together) -> Arc<Group> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.retain(|_, group| group.strong_count() > 0);
        if let Some(group) = groups.get(&together).and_then(Weak::upgrade) {
            return group;
        }
        let (Together::Publisher(publisher) | Together::Model(publisher, _)) = &together;
        let group = Arc::new(Group {
            pool: Arc::clone(self),
            publisher: publisher.clone(),
            worker: ArcSwapOption::empty(),
            state: Mutex::default(),
            latest: AtomicU64::new(0),
            wanted: Mutex::default(),
        });
        groups.insert(together, Arc::downgrade(&group));
        group
    }
}

/// Models that share a worker.
pub(super) struct Group {
    pool: Arc<Pool>,
    publisher: AccountName,
    worker: ArcSwapOption<Worker>,
    state: Mutex<State>,
    /// The last use of its worker, in milliseconds since the pool started.
    latest: AtomicU64,
    /// Number of users of each model. A model without users is unloaded.
    wanted: Mutex<HashMap<ModelKey, usize>>,
}

#[derive(Default)]
struct State {
    /// Its worker's place.
    seat: Option<Seat>,
    starting: Option<Starting>,
}

/// The start of a worker, shared by all who need the worker. It continues even if nobody waits any more.
type Starting = Shared<BoxFuture<'static, Result<Arc<Worker>, ComputeError>>>;

impl Group {
    /// The worker, if it is alive.
    fn current(&self) -> Option<Arc<Worker>> {
        self.worker.load_full().filter(|worker| worker.is_alive())
    }

    /// A lease on the worker. During the lease, the worker is not replaced.
    async fn lease(self: &Arc<Self>) -> Result<Lease, ComputeError> {
        self.note_use();
        for _ in 0..TRIES {
            if let Some(lease) = self.current().and_then(|worker| worker.lease()) {
                return Ok(lease);
            }
            // A worker that has just started may have been replaced already.
            if let Some(lease) = self.starting()?.await?.lease() {
                return Ok(lease);
            }
        }
        Err(ComputeError::Workers { max: self.pool.workers_max })
    }

    /// Starts a worker, unless there is one or one is starting.
    fn starting(self: &Arc<Self>) -> Result<Starting, ComputeError> {
        let mut state = self.state();
        if let Some(starting) = &state.starting {
            return Ok(starting.clone());
        }
        if let Some(worker) = self.current() {
            return Ok(std::future::ready(Ok(worker)).boxed().shared());
        }
        self.worker.store(None);
        // The task owns the place until the worker has started. If that fails, the place is free again.
        let seat = match state.seat.take() {
            Some(seat) => seat,
            None => self.pool.seat(&self.publisher)?,
        };
        let group = Arc::clone(self);
        let started = tokio::spawn(async move {
            let started = group.pool.take().await;
            let mut state = group.state();
            state.starting = None;
            match started {
                Ok(worker) => {
                    worker.belongs_to(group.pool.allowances.of(&group.publisher));
                    group.worker.store(Some(Arc::clone(&worker)));
                    state.seat = Some(seat);
                    Ok(worker)
                }
                Err(error) => {
                    tracing::error!(%error, "no worker could be started");
                    Err(ComputeError::Lost { how: "not starting".into() })
                }
            }
        });
        let started = async move {
            let lost =
                |panic: tokio::task::JoinError| ComputeError::Lost { how: panic.to_string() };
            started.await.unwrap_or_else(|panic| Err(lost(panic)))
        };
        let starting = started.boxed().shared();
        state.starting = Some(starting.clone());
        Ok(starting)
    }

    /// Whether the group has a worker or would get one now. Reserves nothing, because a call may not use all models of its deployment.
    fn check_seat(&self) -> Result<(), ComputeError> {
        // Noted first, so that the worker is not replaced meanwhile.
        self.note_use();
        if self.worker.load().as_ref().is_some_and(|worker| worker.is_alive()) {
            return Ok(());
        }
        let is_starting = self.state().starting.is_some();
        if is_starting || self.pool.has_seat(&self.publisher) {
            return Ok(());
        }
        Err(ComputeError::Workers { max: self.pool.workers_max })
    }

    /// Whether the group would give up its place. A group with a place has a worker, maybe a dead one.
    fn gives(&self) -> bool {
        self.worker.load().as_ref().is_some_and(|worker| worker.is_idle() || !worker.is_alive())
    }

    fn note_use(&self) {
        let now = u64::try_from(self.pool.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.latest.store(now, Ordering::Relaxed);
    }

    /// Ends an idle worker and frees its place.
    fn give_way(&self) -> Option<Seat> {
        // Does not wait for the lock: two groups that each want the other's place would deadlock.
        let mut state = self.state.try_lock().ok()?;
        state.seat.as_ref()?;
        if self.current().is_some_and(|worker| !worker.retire()) {
            return None;
        }
        if let Some(worker) = self.worker.swap(None) {
            let process = worker.process();
            tracing::debug!(
                process,
                "an idle worker is replaced by another (`inference.workers_max`)"
            );
        }
        state.seat.take()
    }

    /// Nothing panics while holding this lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing panics while holding this lock.
    fn wanted(&self) -> MutexGuard<'_, HashMap<ModelKey, usize>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Marks a model of a group as in use. When the last mark is dropped, the model is unloaded.
struct Wanted {
    group: Arc<Group>,
    key: ModelKey,
}

impl Wanted {
    fn new(group: Arc<Group>, key: ModelKey) -> Self {
        *group.wanted().entry(key).or_default() += 1;
        Self { group, key }
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        let mut wanted = self.group.wanted();
        let Some(times) = wanted.get_mut(&self.key) else { return };
        *times -= 1;
        if *times > 0 {
            return;
        }
        wanted.remove(&self.key);
        if let Some(worker) = self.group.current() {
            worker.unload(&self.key);
        }
    }
}

/// A model that runs in the current worker of its group.
pub(super) struct RemoteModel {
    wanted: Wanted,
    source: ModelSource,
    /// What is loaded instead of the source, as long as that works.
    mapped: ArcSwapOption<Mapped>,
    pub(super) signature: ModelSignature,
    /// The axis along which computations are joined, and one more; zero if they are not.
    joins: AtomicU64,
    /// For an answer after its worker has ended.
    estimated: Held,
}

impl RemoteModel {
    /// The memory that it takes in its worker, as it was measured when it was loaded.
    pub(super) fn held(&self) -> Held {
        let worker = self.wanted.group.current();
        worker.and_then(|worker| worker.held(&self.wanted.key)).unwrap_or(self.estimated)
    }

    /// Whether its worker is alive, or can be started according to the last attempt.
    pub(super) fn has_worker(&self) -> bool {
        self.wanted.group.current().is_some() || !self.wanted.group.pool.starts_none()
    }

    /// Loads a model into its group's worker.
    pub(super) async fn load(
        group: Arc<Group>,
        source: ModelSource,
        kind: BackendKind,
        mapped: Option<Mapped>,
    ) -> Result<Self, LoadError> {
        let failed = |loss| match loss {
            LoadLoss::Backend(source) => LoadError::Backend { kind, source },
            LoadLoss::Timeout => LoadError::Timeout { kind },
            LoadLoss::Lost(how) => LoadError::Lost { kind, how },
            LoadLoss::Bystander => {
                LoadError::Lost { kind, how: "being replaced repeatedly for others".into() }
            }
        };
        let culprit = Culprit::loading(owned(&source));
        if let Some(wait) = group.pool.strikes.standing(&culprit).wait {
            return Err(LoadError::BackedOff { wait });
        }
        let wanted = Wanted::new(group, (source.digest, kind));
        let mut mapped = mapped;
        let mut loaded = Err(LoadLoss::Bystander);
        for _ in 0..TRIES {
            let worker = match wanted.group.lease().await {
                Ok(worker) => worker,
                Err(ComputeError::Workers { max }) => return Err(LoadError::Workers { max }),
                Err(ComputeError::Lost { how }) => return Err(failed(LoadLoss::Lost(how))),
                Err(error) => return Err(failed(LoadLoss::Lost(error.to_string()))),
            };
            let content = Content {
                source: source.clone(),
                bytes: Some(source.bytes.clone()),
                artefact: mapped.as_ref().map(Mapped::artefact),
            };
            loaded = loading(&wanted, &worker, content).await;
            match (&loaded, mapped.take()) {
                (Err(LoadLoss::Bystander), kept) => mapped = kept,
                (Err(loss), Some(failed)) => failed.give_up(loss).await,
                (_, kept) => {
                    mapped = kept;
                    break;
                }
            }
        }
        let signature = loaded.map_err(failed)?;
        let threads = wanted.group.pool.threads;
        let estimated = footprint::estimate(source.bytes.len(), threads);
        let mapped = ArcSwapOption::from_pointee(mapped);
        let (source, joins) = (source.without_bytes(), AtomicU64::new(0));
        Ok(Self { wanted, source, mapped, signature, joins, estimated })
    }

    /// Whether its group has a worker or would get one now.
    pub(super) fn check_seat(&self) -> Result<(), ComputeError> {
        self.wanted.group.check_seat()
    }

    /// Joins computations along this axis from now on.
    pub(super) fn join_along(&self, axis: u32) {
        self.joins.store(u64::from(axis) + 1, Ordering::Relaxed);
    }

    fn axis(&self) -> Option<usize> {
        self.joins.load(Ordering::Relaxed).checked_sub(1)?.try_into().ok()
    }

    /// Whether a computation that came now would come too late.
    pub(super) fn comes_too_late(&self, caller: Caller, wish: &Wish) -> Option<Late> {
        self.wanted.group.current()?.comes_too_late(caller, wish)
    }

    /// Computes the outputs; also returns the computing time in nanoseconds. Dropping the future cancels the computation.
    pub(super) async fn compute(
        &self,
        inputs: &[Option<Tensor>],
        (call, wish): (Call, Wish),
    ) -> Result<(Vec<Tensor>, u64), ComputeError> {
        let mut axis = self.axis();
        let culprit = Culprit::computing(owned(&self.source), call.caller.number);
        let Wanted { group, key } = &self.wanted;
        for _ in 0..TRIES {
            // Checked on every attempt: this model may have ended the last worker.
            let standing = group.pool.strikes.standing(&culprit);
            if let Some(wait) = standing.wait {
                return Err(ComputeError::BackedOff { wait });
            }
            let worker = group.lease().await?;
            let model = match worker.model(key) {
                Some(model) => model,
                None => match self.load_again(&worker).await? {
                    Some(model) => model,
                    None => continue,
                },
            };
            let task = Task { model, call, wish, culprit: &culprit, alone: standing.alone, axis };
            match worker.compute(task, inputs).await {
                Err(RemoteError::NotBegun) => {}
                Err(RemoteError::Alone { for_good }) => {
                    if for_good {
                        tracing::warn!(model = %self.source.digest, "its batches have not one row of outputs for each of inputs, so it has none from now on");
                        self.joins.store(0, Ordering::Relaxed);
                    }
                    axis = None;
                }
                Err(RemoteError::Compute(error)) => return Err(error),
                Ok(outputs) => return Ok(outputs),
            }
        }
        Err(ComputeError::Lost { how: "ending repeatedly before the computation began".into() })
    }

    /// Loads the model into a new worker; `None` if that worker has ended too.
    async fn load_again(&self, worker: &Lease) -> Result<Option<u32>, ComputeError> {
        let mapped = self.mapped.load_full();
        let artefact = mapped.as_deref().map(Mapped::artefact);
        let content = Content { source: self.source.clone(), bytes: None, artefact };
        let loaded = loading(&self.wanted, worker, content).await;
        if let (Err(loss), Some(failed)) = (&loaded, &mapped)
            && !matches!(loss, LoadLoss::Bystander)
        {
            failed.give_up(loss).await;
            self.mapped.store(None);
            return Ok(None);
        }
        match loaded {
            Ok(signature) if signature == self.signature => Ok(worker.model(&self.wanted.key)),
            Ok(_other) => {
                let how = "loading the model as another one";
                worker.end_for(&Culprit::loading(owned(&self.source)), how);
                Err(ComputeError::Lost { how: how.into() })
            }
            Err(LoadLoss::Backend(error)) => Err(ComputeError::Backend(error)),
            Err(LoadLoss::Timeout) => {
                Err(ComputeError::Lost { how: "not loading the model in time".into() })
            }
            Err(LoadLoss::Lost(_) | LoadLoss::Bystander) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hospes_config::{BackendChoice, Isolation};

    /// A pool with one worker that never becomes ready.
    fn settings() -> Settings {
        Settings {
            threads: NonZeroUsize::MIN,
            queue_length_max: 1,
            tensor_bytes_max: NonZeroUsize::MIN,
            backend: BackendChoice::Auto,
            libraries: Vec::new(),
            library_required: false,
            isolation: Isolation::Publisher,
            trusted: Vec::new(),
            workers_max: NonZeroUsize::MIN,
            worker_memory_bytes_max: 1 << 30,
            program: Program::File("/bin/sleep".into()),
            allowances: Arc::new(Allowances::new(1 << 20)),
            artefacts: None,
        }
    }

    #[tokio::test]
    async fn a_caller_that_leaves_while_a_worker_starts_takes_no_place_along() {
        let pool = Arc::new(Pool::new(&settings()));
        let groups = ["acme", "umbrella"]
            .map(|name| pool.group(Together::Publisher(name.parse().expect("a name"))));
        for group in &groups {
            assert!(group.lease().now_or_never().is_none(), "it waits for the worker, and leaves");
            assert_eq!(pool.seats.free(), 0, "it is started for whoever comes next");
            let began = Instant::now();
            while pool.seats.free() == 0 {
                assert!(began.elapsed().as_secs() < 30, "the place is lost");
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
        for group in &groups {
            group.check_seat().expect("nobody has it");
        }
        assert_eq!(pool.seats.free(), 1, "nothing was taken");
        let seat = groups[0].pool.seat(&groups[0].publisher).expect("nobody has it");
        assert!(groups[1].check_seat().is_err());
        drop(seat);
    }

    #[tokio::test]
    async fn a_model_that_nobody_wants_any_more_is_not_counted() {
        let pool = Arc::new(Pool::new(&settings()));
        let group = pool.group(Together::Publisher("acme".parse().expect("a name")));
        let key = (Digest::of(b"model"), BackendKind::Tract);
        let two = [Wanted::new(Arc::clone(&group), key), Wanted::new(Arc::clone(&group), key)];
        assert_eq!(group.wanted().get(&key), Some(&2));
        drop(two);
        assert!(group.wanted().is_empty());
    }
}
