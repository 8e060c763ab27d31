//! What a guest's host functions can reach during one call: its own models, terms and budget.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::random::Deterministic;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::WasiHttpCtx;

use super::http::{NoEgress, Responder};
use super::language::{Meter, Speakers};
use super::limits::{CallLimits, Growth, LimitReached};
use crate::admission::{Allotment, Priority};
use crate::id::{AccountName, CallId, Digest};
use crate::inference::{Call, Caller, Graph, Meets, PrefixScope, Tokens};
use crate::stop::Stops;
use crate::telemetry::Allowance;
use crate::tensor::Tensor;

use super::stop::{CpuClock, Ends};
use super::stream::Sink;

/// The models of one bundle, by the names its code may load.
pub type Graphs = Arc<HashMap<Box<str>, Arc<Graph>>>;

/// Asked before each computation whether to permit it.
pub trait ComputeGate: Send + Sync {
    /// Permits the tensors, or returns the reason why not, which ends the call.
    ///
    /// # Errors
    /// The reason, for the caller.
    fn admit(&self, inputs: &[(String, Tensor)]) -> Result<(), String>;

    /// The tokens that language models may take; `None` if nobody counts them.
    fn tokens(&self) -> Option<Arc<dyn Tokens>>;
}

/// What a guest may know about its call, and what can end it.
#[derive(Clone)]
pub struct CallContext {
    /// The call's identifier in the operator's log. Guests cannot ask for it.
    pub call: CallId,
    /// The agreement that permits the call; `None` if a publisher calls its own model.
    pub agreement: Option<Digest>,
    /// The account that models are computed for.
    pub caller: Caller,
    /// The order of its computations among those of that account.
    pub priority: Priority,
    /// Whose computations may be joined with its own.
    pub meets: Meets,
    /// The account whose turn the guest takes.
    pub account: AccountName,
    /// Size of the call's arguments, in bytes.
    pub input_bytes: usize,
    /// The purpose that the caller declared, as an IRI.
    pub purpose: Option<Arc<str>>,
    /// Maximum size of the encoded response, in bytes.
    pub output_bytes_max: u64,
    /// The bundle's models that speak.
    pub speakers: Speakers,
    /// Whose earlier beginnings of texts need not be computed again; `None` for nobody's.
    pub scope: Option<PrefixScope>,
    /// Asked before each computation; `None` if everything is permitted.
    pub gate: Option<Arc<dyn ComputeGate>>,
    /// Ends the call from outside.
    pub stop: Stops,
    /// The sink for stream elements, if the caller takes a stream.
    pub sink: Option<Arc<dyn Sink>>,
    /// The sink for the response of an HTTP handler, if one is called.
    pub responder: Option<Arc<dyn Responder>>,
    /// How much its publisher's plugins may log.
    pub log: Arc<Allowance>,
}

/// The data of one instance's `wasm_store`.
pub(super) struct CallState {
    pub(super) table: ResourceTable,
    pub(super) growth: Growth,
    pub(super) limits: CallLimits,
    pub(super) graphs: Graphs,
    pub(super) context: CallContext,
    pub(super) cpu: Option<Arc<CpuClock>>,
    /// The tokens of the call's sequences.
    pub(super) meter: Arc<Meter>,
    /// Live sequences of language models.
    pub(super) sequences: usize,
    /// Whether the guest's start functions are running.
    starting: bool,
    /// Bytes of tensors that the host holds for the guest.
    tensor_bytes: usize,
    /// Bytes of the latest tensor copy for the guest.
    copied_bytes: usize,
    /// Bytes of log lines that this call may still write.
    log_bytes_left: usize,
    wasi: Option<Wasi>,
    pub(super) http: WasiHttpCtx,
    pub(super) egress: NoEgress,
}

/// WASI for components that import it: no files, arguments or network; output is captured.
struct Wasi {
    ctx: WasiCtx,
    output: MemoryOutputPipe,
}

impl CallState {
    pub(super) fn new(
        limits: CallLimits,
        graphs: Graphs,
        context: CallContext,
        allotment: Allotment,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.resources_max);
        Self {
            table,
            growth: Growth::new(&limits, allotment),
            cpu: limits.cpu_max.map(|max| Arc::new(CpuClock::new(max))),
            meter: Meter::new(context.gate.as_ref().and_then(|gate| gate.tokens())),
            sequences: 0,
            starting: true,
            graphs,
            context,
            tensor_bytes: 0,
            copied_bytes: 0,
            log_bytes_left: limits.log_bytes_max,
            limits,
            wasi: None,
            http: WasiHttpCtx::new(),
            egress: NoEgress,
        }
    }

    /// Denies the host's own functions to start functions: what a guest learns and does belongs to a call.
    pub(super) fn check_started(&self) -> Result<(), LimitReached> {
        if self.starting { Err(LimitReached::Starting) } else { Ok(()) }
    }

    /// Ends the start phase: from now on clocks run and random numbers are random.
    pub(super) fn end_start(&mut self) {
        self.starting = false;
        if let Some(wasi) = &mut self.wasi {
            wasi.ctx = context_of_calls(&wasi.output);
        }
    }

    /// What models know of the call that they compute for.
    pub(super) fn computes_for(&self) -> Call {
        Call {
            id: Some(self.context.call),
            caller: self.context.caller,
            deadline: self.limits.deadline,
            priority: self.context.priority,
            meets: self.context.meets,
        }
    }

    /// What ends the call while it waits for the host.
    pub(super) fn ends(&self) -> Ends {
        Ends { stop: self.context.stop.clone(), deadline: self.limits.deadline }
    }

    /// Whether the call must end now. Asked at every epoch tick.
    pub(super) fn check_end(&self) -> Result<(), LimitReached> {
        if std::time::Instant::now() >= self.limits.deadline {
            return Err(LimitReached::Deadline);
        }
        if let Some(cause) = self.context.stop.cause() {
            return Err(LimitReached::Ended(cause));
        }
        match &self.cpu {
            Some(cpu) => cpu.check().map_err(|max| LimitReached::Cpu { max }),
            None => Ok(()),
        }
    }

    /// Charges `bytes` of a tensor that the host begins to hold for the guest.
    pub(super) fn hold_tensor(&mut self, bytes: usize) -> Result<(), LimitReached> {
        let wanted = self.tensor_bytes.saturating_add(bytes);
        if wanted > self.limits.tensor_bytes_max {
            return Err(LimitReached::Tensors { wanted, max: self.limits.tensor_bytes_max });
        }
        self.growth.allotment.take(bytes)?;
        self.tensor_bytes = wanted;
        Ok(())
    }

    /// Charges the copy of a tensor into the guest's memory until the guest asks for the next one: its arrival is not reported.
    pub(super) fn hold_copy(&mut self, bytes: usize) -> Result<(), LimitReached> {
        self.growth.allotment.give_back(std::mem::take(&mut self.copied_bytes));
        self.growth.allotment.take(bytes)?;
        self.copied_bytes = bytes;
        Ok(())
    }

    /// Charges a text that the library keeps for the guest, until the call ends.
    pub(super) fn keep_text(&mut self, bytes: usize) -> Result<(), LimitReached> {
        if bytes > 0 {
            self.growth.allotment.take(bytes)?;
        }
        Ok(())
    }

    /// Releases `bytes` of a tensor.
    pub(super) fn release_tensor(&mut self, bytes: usize) {
        self.tensor_bytes = self.tensor_bytes.saturating_sub(bytes);
        self.growth.allotment.give_back(bytes);
    }

    /// The part of `line` that still fits the call's and its publisher's log limits.
    pub(super) fn keep_of<'line>(&mut self, line: &'line str) -> &'line str {
        let mut kept = line.len().min(self.log_bytes_left);
        while !line.is_char_boundary(kept) {
            kept -= 1;
        }
        self.log_bytes_left -= kept;
        let admitted = kept > 0 && self.context.log.admits(kept);
        &line[..if admitted { kept } else { 0 }]
    }

    /// Logs what the guest printed through WASI, after the call has ended.
    pub(super) fn flush_output(&mut self) {
        let Some(wasi) = self.wasi.take() else { return };
        let printed = wasi.output.contents();
        let call = self.context.call;
        for line in String::from_utf8_lossy(&printed).lines() {
            let line = self.keep_of(line);
            if !line.is_empty() {
                tracing::info!(target: "hospes::guest", %call, "{line}");
            }
        }
    }

    fn wasi(&mut self) -> &mut Wasi {
        self.wasi.get_or_insert_with(|| {
            let output = MemoryOutputPipe::new(self.limits.log_bytes_max);
            let starting = self.starting;
            let ctx = if starting { context_of_starts(&output) } else { context_of_calls(&output) };
            Wasi { ctx, output }
        })
    }
}

/// Maximum random bytes per host call: it cannot be interrupted, and may run on a serving thread.
const RANDOM_BYTES_MAX: u64 = 64 << 10;

fn context_of_calls(output: &MemoryOutputPipe) -> WasiCtx {
    WasiCtx::builder()
        .stdout(output.clone())
        .stderr(output.clone())
        .max_random_size(RANDOM_BYTES_MAX)
        .build()
}

/// For start functions: the same in every call, so that every start is the same. Some languages' libraries read clocks and random numbers
/// when they start.
fn context_of_starts(output: &MemoryOutputPipe) -> WasiCtx {
    let numbers = || Deterministic::new((0..=u8::MAX).collect());
    WasiCtx::builder()
        .stdout(output.clone())
        .stderr(output.clone())
        .max_random_size(RANDOM_BYTES_MAX)
        .wall_clock(Still)
        .monotonic_clock(Still)
        .secure_random(numbers())
        .insecure_random(numbers())
        .insecure_random_seed(0)
        .build()
}

/// A clock that always shows its start.
struct Still;

impl HostWallClock for Still {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl HostMonotonicClock for Still {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        0
    }
}

impl WasiView for CallState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi();
        let wasi = self.wasi.as_mut().expect("invariant: `wasi` above has just made it");
        WasiCtxView { ctx: &mut wasi.ctx, table: &mut self.table }
    }
}

impl wasmtime_wasi_io::IoView for CallState {
    fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }
}
