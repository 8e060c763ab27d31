//! The wasmtime engine: compilation, memory pool and interruption of guests.
//!
//! One engine serves synchronous calls, another those with streams. The two must never be mixed (GHSA-hgjw-h833-99q9).

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::{Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::SandboxError;
use crate::config;

/// Bytes of a slot's memory that stay resident between calls. Only with `PAGEMAP_SCAN`, which clears just the pages that a call touched;
/// without it, keeping pages costs more than it saves.
const KEEP_RESIDENT_BYTES: usize = 2 << 20;

/// Host stack of one call in bytes: `sandbox.stack_bytes_max` for the guest, the rest for host functions.
const HOST_STACK_BYTES: usize = 512 << 10;

/// Sandboxes beyond the admitted calls: one for each bundle in its trial run.
pub(super) const SPARE_SLOTS: usize = 4;

/// Maximum memories of a component. Interpreters compiled to components have up to two.
pub(super) const MEMORIES_PER_COMPONENT_MAX: u32 = 4;

/// Maximum tables of a component. Each core module usually brings one or two at most.
pub(super) const TABLES_PER_COMPONENT_MAX: u32 = 64;

/// An engine's purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Functions that return once. Without concurrency support a call costs a third less.
    Calls,
    /// Components with `async` functions and streams.
    Streams,
}

/// Builds the engine for `slots` concurrent calls.
pub(super) fn build(
    limits: &config::Sandbox,
    slots: NonZeroUsize,
    kind: Kind,
) -> Result<Engine, SandboxError> {
    let mut config = wasmtime::Config::new();
    config
        .concurrency_support(kind == Kind::Streams)
        .wasm_component_model_async(kind == Kind::Streams)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(limits, slots)))
        .epoch_interruption(true)
        .max_wasm_stack(limits.stack_bytes_max.get())
        .async_stack_size(limits.stack_bytes_max.get() + HOST_STACK_BYTES)
        .wasm_backtrace_max_frames(NonZeroUsize::new(16))
        // The canonical ABI code here supports 32-bit pointers only.
        .wasm_memory64(false);
    Engine::new(&config).map_err(SandboxError::Engine)
}

fn pool(limits: &config::Sandbox, slots: NonZeroUsize) -> PoolingAllocationConfig {
    let slots = u32::try_from(slots.get() + SPARE_SLOTS).unwrap_or(u32::MAX);
    let instances = u32::try_from(limits.instances_max.get()).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(instances))
        .total_memories(slots.saturating_mul(MEMORIES_PER_COMPONENT_MAX))
        .total_tables(slots.saturating_mul(TABLES_PER_COMPONENT_MAX))
        .total_stacks(slots)
        .max_core_instances_per_component(instances)
        .max_memories_per_component(MEMORIES_PER_COMPONENT_MAX)
        .max_tables_per_component(TABLES_PER_COMPONENT_MAX)
        .max_component_instance_size(4 << 20)
        .max_core_instance_size(4 << 20)
        .table_elements(limits.table_elements_max.get())
        .max_memory_size(limits.memory_bytes_max.get());
    // Memory protection keys are not compiled in: together with copy-on-write images they let a neighbour read and write (wasmtime#13982).
    if nothing_can_be_swapped() {
        pool.pagemap_scan(Enabled::Auto)
            .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
            .table_keep_resident(64 << 10);
    }
    pool
}

/// Whether the machine has no swap at all.
///
/// `PAGEMAP_SCAN` misses dirty pages that were swapped out (wasmtime#14357), so one call's memory could reach the next call. It is used
/// only without swap.
fn nothing_can_be_swapped() -> bool {
    // The first line is a heading; every further line is a swap area.
    std::fs::read_to_string("/proc/swaps").is_ok_and(|areas| areas.lines().count() <= 1)
}

/// Advances the engine's epoch until dropped, so that guests notice their deadlines.
pub(super) struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Starts the thread that ticks every `period`.
    pub(super) fn start(engine: &Engine, period: Duration) -> Result<Self, SandboxError> {
        let engine = engine.weak();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("epoch".into())
            .spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    std::thread::sleep(period);
                    match engine.upgrade() {
                        Some(engine) => engine.increment_epoch(),
                        None => return,
                    }
                }
            })
            .map_err(SandboxError::Thread)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
