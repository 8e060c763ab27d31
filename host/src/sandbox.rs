//! Runs guests: compiled once, instantiated afresh for each call, limited in everything, able to reach nothing that is not
//! linked.
//!
//! Knows no tenants, prices or protocols. It gets limits and a context, and gives back an [`Outcome`](crate::outcome).

mod bindings;
mod cache;
mod canonical;
mod compile;
pub mod compiling;
mod context;
mod engine;
mod extent;
mod http;
mod instance;
mod interface;
mod language;
mod limits;
mod linker;
mod plugin;
mod slice;
mod start;
mod stop;
mod stream;
mod threads;
mod wasi_nn;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Engine, Store, UpdateDeadline};
use zeroize::Zeroizing;

use cache::Cache;
use compile::Compiler;
use context::CallState;
use engine::{Kind, SPARE_SLOTS, Ticker};
use extent::{Extent, ExtentLimits};
use interface::{Pool, Resources, TypeLimits};
use slice::{Pace, Work};
use threads::Threads;

pub use context::{CallContext, ComputeGate, Graphs};
pub use extent::ExtentError;
pub use http::{Body, BodyError, Preview, Responder};
pub use instance::{Input, Instance};
pub use interface::{Declared, FunctionType, GuestFunction, Prototype, TypesExceed};
pub use language::Speakers;
pub use limits::CallLimits;
pub use stream::Sink;

use crate::admission::{Asker, FairLine, FairTurns, Footprint, Memory, TurnError};
use crate::capability::{Capabilities, Capability};
use crate::config;
use crate::id::{AccountName, ById, Digest, FunctionName};
use crate::outcome::GuestFailure;
use crate::worker::{Program, SpawnError};

/// Why a guest could not be compiled or instantiated.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("the sandbox engine could not be set up: {0:#}")]
    Engine(#[source] wasmtime::Error),
    #[error("the compiled-code cache `{}` cannot be used", path.display())]
    Cache {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the threads for guests could not be started")]
    Thread(#[source] std::io::Error),
    #[error("the component is refused before compilation")]
    Extent(#[source] ExtentError),
    #[error("the component does not compile: {0:#}")]
    Compile(#[source] wasmtime::Error),
    #[error("the component did not compile within {} s (`sandbox.compile_timeout`)", waited.as_secs())]
    CompileTimeout { waited: Duration },
    #[error("the component waits for compilation")]
    CompileTurn(#[source] TurnError),
    #[error("the compiler failed: {0}")]
    CompilerPanicked(String),
    #[error(
        "the compiler was ended by {how}; `sandbox.compile_memory_bytes_max` limits its memory"
    )]
    CompilerEnded { how: String },
    #[error("the compiler could not be started")]
    CompileWorker(#[from] SpawnError),
    #[error("the component needs something that plugins may not have: {0:#}")]
    Capability(#[source] wasmtime::Error),
    #[error(
        "the component does not export `{export}` as a function, though the manifest declares it"
    )]
    NoExport { export: String },
    #[error("function `{function}` uses {what}, which cannot be called from outside")]
    UnsupportedType { function: FunctionName, what: &'static str },
    #[error("the component's types are refused: {0}")]
    Types(TypesExceed),
    #[error("the component does not start within the limits of a call ({code}): {failure}", code = .failure.code())]
    Start { failure: GuestFailure },
    #[error("the host could not make a sandbox: {0:#}")]
    Instantiate(#[source] wasmtime::Error),
    #[error("all sandboxes are taken")]
    PoolExhausted,
}

/// Components that wait to be compiled.
const COMPILE_WAITING_MAX: usize = 256;

/// Compiles and instantiates guests.
pub struct Sandbox {
    calls: Arc<Machine>,
    /// Made when the first component is deployed that answers with streams: it has a pool of its own.
    streams: OnceLock<Arc<Machine>>,
    threads: Threads,
    setup: Setup,
}

/// What machines are made of.
struct Setup {
    limits: config::Sandbox,
    slots: NonZeroUsize,
    memory: Memory,
    cache_folder: PathBuf,
    host_secret: Zeroizing<Vec<u8>>,
    program: Program,
    /// One set of turns for both machines.
    turns: Arc<FairTurns>,
}

/// An engine with what belongs to it. Nothing of one may be used with another.
struct Machine {
    engine: Engine,
    compiler: Compiler,
    plugin: Linker<CallState>,
    plugin_with_wasi: Linker<CallState>,
    types: TypeLimits,
    _ticker: Ticker,
}

impl Machine {
    fn new(setup: &Setup, kind: Kind) -> Result<Self, SandboxError> {
        let Setup { limits, slots, cache_folder, host_secret, .. } = setup;
        let engine = engine::build(limits, *slots, kind)?;
        let cache = Cache::open(cache_folder.clone(), host_secret, &engine)?;
        Ok(Self {
            compiler: Compiler::new(engine.clone(), kind, cache, setup),
            plugin: linker::plugin(&engine, kind).map_err(SandboxError::Engine)?,
            plugin_with_wasi: linker::plugin_with_wasi(&engine, kind)
                .map_err(SandboxError::Engine)?,
            types: TypeLimits {
                nodes: limits.type_nodes_max.get(),
                name_bytes: limits.type_name_bytes_max.get(),
            },
            _ticker: Ticker::start(&engine, limits.epoch_tick)?,
            engine,
        })
    }

    /// Links a component and finds the declared functions.
    fn link(&self, component: &Component, declared: Vec<Declared>) -> Result<Guest, SandboxError> {
        let uses_wasi = uses_wasi(&self.engine, component);
        let linker = if uses_wasi { &self.plugin_with_wasi } else { &self.plugin };
        let stubbed =
            linker::without_sockets(linker, component).map_err(SandboxError::Capability)?;
        let linker = stubbed.as_ref().unwrap_or(linker);
        let pre = linker.instantiate_pre(component).map_err(SandboxError::Capability)?;
        let resources = Resources::of(&self.engine, component);
        let mut pool = Pool::new(self.types);
        let functions = declared.into_iter().map(|declared| {
            interface::function(&self.engine, component, &resources, &mut pool, declared)
        });
        let functions = functions.collect::<Result<_, _>>()?;
        let imports = capabilities(&self.engine, component);
        Ok(Guest { pre, functions, imports, uses_wasi, pace: Pace::default() })
    }
}

/// A compiled component whose imports are all linked. Cheap to instantiate.
#[derive(Clone)]
pub struct Guest {
    pre: InstancePre<CallState>,
    functions: Arc<[GuestFunction]>,
    imports: Capabilities,
    uses_wasi: bool,
    /// How long making an instance usually takes.
    pace: Pace,
}

/// One function of a guest, to be called. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Entry {
    functions: Arc<[GuestFunction]>,
    index: usize,
}

impl std::ops::Deref for Entry {
    type Target = GuestFunction;

    fn deref(&self) -> &GuestFunction {
        &self.functions[self.index]
    }
}

/// Bytes and memory mappings that a guest takes besides its code.
const GUEST_BYTES: u64 = 64 << 10;
const GUEST_MAPPINGS: u64 = 4;

impl Guest {
    /// The functions that can be called, as their callers see them.
    pub fn prototypes(&self) -> impl Iterator<Item = Prototype> {
        self.functions.iter().map(GuestFunction::prototype)
    }

    /// The function of this name.
    pub fn entry(&self, name: &FunctionName) -> Option<Entry> {
        let index = self.functions.iter().position(|function| function.name() == name)?;
        Some(Entry { functions: Arc::clone(&self.functions), index })
    }

    /// What its compiled code takes while it is loaded.
    pub fn footprint(&self) -> Footprint {
        let image = self.pre.component().image_range();
        let bytes = (image.end as usize).saturating_sub(image.start as usize) as u64;
        Footprint { bytes: bytes.saturating_add(GUEST_BYTES), mappings: GUEST_MAPPINGS }
    }

    /// What of the host the component could reach: what it imports.
    pub fn imports(&self) -> Capabilities {
        self.imports
    }
}

impl Sandbox {
    /// A sandbox for the calls that are admitted. `host_secret` authenticates compiled code in `cache_folder`; `program` is what compile
    /// workers run. Guests wait with the runtime in which this is called.
    ///
    /// # Errors
    /// [`SandboxError::Engine`], [`SandboxError::Cache`], [`SandboxError::Thread`].
    pub fn new(
        limits: config::Sandbox,
        admission: &config::Admission,
        cache_folder: PathBuf,
        host_secret: &[u8],
        program: Program,
    ) -> Result<Self, SandboxError> {
        let host_secret = Zeroizing::new(host_secret.to_vec());
        let weights: ById<_, _> = admission.weights.clone().into_iter().collect();
        let threads = Threads::start(limits.threads, &weights, &Handle::current());
        let threads = threads.map_err(SandboxError::Thread)?;
        let slots = admission.slots_max;
        let memory = Memory::new(admission.memory_bytes_max.get(), slots.get() + SPARE_SLOTS);
        let turns = Arc::new(FairTurns::new(FairLine {
            turns: limits.compile_concurrency.get(),
            each_max: 1,
            waiting_max: COMPILE_WAITING_MAX,
            wait_max: limits.compile_timeout / 2,
            expected: Duration::from_secs(1),
            weights: Asker::weights(&admission.weights),
        }));
        let setup = Setup { limits, slots, memory, cache_folder, host_secret, program, turns };
        let calls = Arc::new(Machine::new(&setup, Kind::Calls)?);
        Ok(Self { calls, streams: OnceLock::new(), threads, setup })
    }

    /// What all calls together may have.
    pub fn memory(&self) -> &Memory {
        &self.setup.memory
    }

    fn streams(&self) -> Result<&Arc<Machine>, SandboxError> {
        if self.streams.get().is_none() {
            // Of two that are made at once one is dropped.
            let _ = self.streams.set(Arc::new(Machine::new(&self.setup, Kind::Streams)?));
        }
        Ok(self.streams.get().expect("invariant: it has just been set"))
    }

    /// Compiles a component for `account`, or loads it from the cache, links it and finds the declared functions.
    ///
    /// What instantiating it would take is counted first: nothing is compiled that could not be instantiated.
    ///
    /// # Errors
    /// [`SandboxError`] says what about the component cannot be run here.
    pub async fn compile(
        &self,
        account: &AccountName,
        digest: Digest,
        code: bytes::Bytes,
        declared: Vec<Declared>,
    ) -> Result<Guest, SandboxError> {
        let machine = match self.examine(code.clone()).await? {
            Kind::Calls => &self.calls,
            Kind::Streams => self.streams()?,
        };
        let component = machine.compiler.compile(account, digest, code).await?;
        let machine = Arc::clone(machine);
        // Reading the types of a large bundle takes a while.
        let linked = tokio::task::spawn_blocking(move || machine.link(&component, declared));
        linked.await.unwrap_or_else(|panic| Err(SandboxError::CompilerPanicked(panic.to_string())))
    }

    /// Finds out whether a component may be compiled, and for which engine. Reading 32 MiB takes a while.
    async fn examine(&self, code: bytes::Bytes) -> Result<Kind, SandboxError> {
        let limits = extent_limits(&self.setup.limits);
        let examined = tokio::task::spawn_blocking(move || {
            Extent::measure(&code, &limits).map_err(SandboxError::Extent)?;
            Ok(if extent::needs_streams(&code) { Kind::Streams } else { Kind::Calls })
        });
        examined
            .await
            .unwrap_or_else(|panic| Err(SandboxError::CompilerPanicked(panic.to_string())))
    }

    /// The limits of a call that begins at `began` and that neither bundle nor agreement narrows.
    pub fn call_limits(&self, began: Instant, tensor_bytes_max: usize) -> CallLimits {
        let limits = &self.setup.limits;
        CallLimits {
            began,
            deadline: began + limits.deadline,
            cpu_max: None,
            memory_bytes_max: limits.memory_bytes_max.get(),
            table_elements_max: limits.table_elements_max.get(),
            resources_max: limits.resources_max.get(),
            tensor_bytes_max,
            hostcall_bytes_max: limits.hostcall_bytes_max.get(),
            log_bytes_max: limits.log_bytes_max,
        }
    }

    /// Makes a fresh instance for one call and runs its start functions, if it has some.
    ///
    /// A start that fails is no error here but the end of the call: [`Instance::run`] gives it back, metered like any other.
    ///
    /// # Errors
    /// [`SandboxError::PoolExhausted`] if more instances are alive than admission allows; [`SandboxError::Instantiate`] if the
    /// operating system refuses.
    pub async fn instantiate(
        &self,
        guest: &Guest,
        graphs: &Graphs,
        limits: CallLimits,
        context: CallContext,
    ) -> Result<Instance, SandboxError> {
        let account = context.account.clone();
        let allotment = self.setup.memory.open(&account);
        let state = CallState::new(limits, Arc::clone(graphs), context, allotment);
        let mut wasm_store = Store::new(guest.pre.engine(), state);
        wasm_store.limiter_async(|state| &mut state.growth);
        wasm_store.set_hostcall_fuel(limits.hostcall_bytes_max);
        wasm_store.set_max_component_handles(limits.resources_max);
        wasm_store.set_epoch_deadline(1);
        wasm_store.epoch_deadline_callback(|store| {
            store.data().check_end()?;
            Ok(if slice::is_over() {
                UpdateDeadline::Yield(1)
            } else {
                UpdateDeadline::Continue(1)
            })
        });
        let threads = Arc::clone(self.threads.shared());
        let (pre, may_wait) = (guest.pre.clone(), guest.uses_wasi);
        let own = Arc::clone(&threads);
        Work::new(threads, account, guest.pace.clone(), (0, 0), async move {
            let started = start::start(&pre, &mut wasm_store, may_wait).await?;
            Ok(Instance { wasm_store, started, may_wait, threads: own })
        })
        .await
    }
}

/// What one component may take, by these settings and by what the pool has.
fn extent_limits(limits: &config::Sandbox) -> ExtentLimits {
    ExtentLimits {
        core_instances: limits.instances_max.get(),
        components: limits.components_max.get(),
        definitions: limits.definitions_max.get(),
        memories: engine::MEMORIES_PER_COMPONENT_MAX as usize,
        tables: engine::TABLES_PER_COMPONENT_MAX as usize,
    }
}

/// Whether the component imports anything of WASI besides `wasi:nn`.
fn uses_wasi(engine: &Engine, component: &Component) -> bool {
    component
        .component_type()
        .imports(engine)
        .any(|(name, _)| name.starts_with("wasi:") && !name.starts_with("wasi:nn/"))
}

/// The capabilities behind a component's imports.
fn capabilities(engine: &Engine, component: &Component) -> Capabilities {
    let ty = component.component_type();
    let imports = ty.imports(engine);
    imports.filter_map(|(name, _)| Capability::of_import(name)).collect()
}
